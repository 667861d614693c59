// Contract section 1: `AuthenticatedSocket`, as `getSocket()` returns it.

import {
  connect,
  drained,
  exactly,
  never,
  next,
  received,
  start,
  transportSettings,
  type Client,
  type Running,
} from '../support/harness';
import type { AuthenticatedSocket } from '../../index';

describe.each(transportSettings)('over %s', (_name, transports) => {
  let running: Running;
  let client: Client;
  let other: Client;
  let socket: AuthenticatedSocket;
  beforeEach(async () => {
    running = await start();
    client = await connect(running, { transports });
    other = await connect(running, { transports });
    socket = running.service.getSocket(client.id!)!;
  });

  test('has the members of a Socket.IO socket', () => {
    expect(socket.id).toBe(client.id);
    expect(socket.connected).toBe(true);
    expect(socket.rooms).toBeInstanceOf(Set);
    expect(socket.rooms.has(socket.id)).toBe(true);
    expect(socket.data).toEqual({});
  });

  test('emits to its client only', async () => {
    expect(socket.emit('hello', 1, { two: 2 })).toBe(true);
    await exactly(1, running.service, 'hello', client);
    expect(client.received[0]).toEqual({ event: 'hello', args: [1, { two: 2 }] });
    await never(running.service, 'hello', other);
  });

  test('asks its client and gets the answer', async () => {
    client.on('question', (a, b, answer) => answer(a + b, Buffer.from([a])));
    const answers = await new Promise<any[]>((done) => socket.emit('question', 1, 2, (...args: any[]) => done(args)));
    expect(answers[0]).toBe(3);
    expect(Buffer.from(answers[1])).toEqual(Buffer.from([1]));
  });

  test('answers its client', async () => {
    socket.on('question', (a, b, answer) => answer({ sum: a + b, bin: Buffer.from([b]) }));
    expect(await client.emitWithAck('question', 1, 2)).toEqual({ sum: 3, bin: Buffer.from([2]) });
    await never(running.service, 'question', other);
  });

  test('hears custom events in order, with every argument', async () => {
    const heard: unknown[][] = [];
    const last = new Promise<void>((done) => socket.on('last', () => done()));
    socket.on('custom', (...args) => heard.push(args));
    for (let index = 0; index < 20; index++) client.emit('custom', index, { index }, [index]);
    client.emit('last');
    await last;
    expect(heard).toEqual(Array.from({ length: 20 }, (_, index) => [index, { index }, [index]]));
  });

  test('once and off', async () => {
    const heard: string[] = [];
    const off = () => heard.push('off');
    socket.once('custom', () => heard.push('once'));
    socket.on('custom', off);
    socket.off('custom', off);
    const last = new Promise<void>((done) => socket.on('last', () => done()));
    client.emit('custom');
    client.emit('custom');
    client.emit('last');
    await last;
    expect(heard).toEqual(['once']);
  });

  test('onAny hears every custom event, with its name', async () => {
    const heard: unknown[][] = [];
    const last = new Promise<void>((done) => socket.on('last', () => done()));
    socket.onAny((...args) => heard.push(args));
    client.emit('first', 1);
    client.emit('second', 2, 3);
    client.emit('last');
    await last;
    expect(heard).toEqual([['first', 1], ['second', 2, 3], ['last']]);
  });

  test('timeout reports a client that does not answer, and passes on one that does', async () => {
    client.on('answered', (answer) => answer('yes'));
    const ask = (event: string, ms: number) =>
      new Promise<any[]>((done) => socket.timeout(ms).emit(event, (...args: any[]) => done(args)));
    const [error, nothing] = await ask('ignored', 50);
    expect(error).toBeTruthy();
    expect(error.message).toMatch(/timed out/i);
    expect(nothing).toBeUndefined();
    expect(await ask('answered', 15_000)).toEqual([null, 'yes']);
  });

  test('volatile reaches a client that reads', async () => {
    await drained(running.service, client);
    let arrived = false;
    client.on('fresh', () => (arrived = true));
    // One may be lost while the connection is busy; a client that reads is not busy for ever.
    while (!arrived) {
      socket.volatile.emit('fresh', 1);
      await new Promise((turn) => setImmediate(turn));
    }
    await never(running.service, 'fresh', other);
  });

  test('plain Socket.IO rooms', async () => {
    await socket.join('plain');
    await running.service.getSocket(other.id!)!.join(['plain', 'more']);
    expect(socket.rooms.has('plain')).toBe(true);
    expect(running.service.listRooms()).toEqual([]);
    expect(running.service.getRoom('plain')).toBeUndefined();
    socket.to('plain').emit('hello', 1);
    await exactly(1, running.service, 'hello', other);
    await never(running.service, 'hello', client);

    socket.to(['plain', 'more']).emit('once', 1);
    await exactly(1, running.service, 'once', other);

    await running.service.getSocket(other.id!)!.leave('plain');
    socket.to('plain').emit('after', 1);
    await never(running.service, 'after', other, client);
    await expect(running.service.broadcastToRoom('plain', 'hello', 1)).rejects.toThrow('Room not found');
  });

  test('to() of a room of the registry reaches its other members', async () => {
    const room = await running.service.createRoom('r');
    for (const each of [client, other]) await running.service.joinRoom(each.id!, room.id);
    socket.to(room.id).emit('hello', 1);
    await exactly(1, running.service, 'hello', other);
    await never(running.service, 'hello', client);
    socket.to('unknown').emit('nothing', 1);
    await never(running.service, 'nothing', other, client);
  });

  test('to() of a socket id reaches that socket', async () => {
    socket.to(other.id!).emit('whisper', 1);
    await exactly(1, running.service, 'whisper', other);
    await never(running.service, 'whisper', client);
  });

  test.each<[how: string, end: () => unknown]>([
    ['its client leaves', () => client.disconnect()],
    ['its transport breaks', () => client.io.engine.close()],
    ['it is kicked', () => socket.disconnect(true)],
    ['its user is kicked', () => running.service.disconnectUser(socket.id)],
  ])('last words to its rooms reach the others when %s', async (_how, end) => {
    await running.service.getSocket(other.id!)!.join('lobby');
    await socket.join('lobby');
    for (const event of ['disconnecting', 'disconnect'] as const) {
      socket.on(event, () => void socket.to('lobby').emit('last words', event));
    }
    const gone = next(running.service, 'disconnect');
    end();
    await gone;
    await drained(running.service, other);
    expect(received(other, 'last words')).toEqual(['disconnecting', 'disconnect']);
  });

  test.each([
    [true, 'with the transport'],
    [false, 'without the transport'],
  ])('disconnect(%p) ends the connection %s', async (close) => {
    const reasons: unknown[] = [];
    const roomsThen: boolean[] = [];
    await socket.join('plain');
    socket.on('disconnecting', () => roomsThen.push(socket.rooms.has('plain')));
    socket.on('disconnect', (reason) => {
      roomsThen.push(socket.rooms.has('plain'));
      reasons.push(reason);
    });
    const id = socket.id;
    const there = next(client, 'disconnect');
    const here = next(running.service, 'disconnect');
    socket.emit('last words', 1);
    socket.disconnect(close);
    expect((await there)[0]).toBe('io server disconnect');
    const [user, reason] = await here;
    expect([user.socketId, reason]).toEqual([id, 'server namespace disconnect']);
    expect(received(client, 'last words')).toEqual([1]);
    expect(socket.connected).toBe(false);
    expect(reasons).toEqual(['server namespace disconnect']);
    expect(roomsThen).toEqual([true, false]);
    expect(running.service.getSocket(id)).toBeUndefined();
    await drained(running.service, other);
  });
});

test('sending through a socket that has gone does no harm', async () => {
  const running = await start();
  const client = await connect(running);
  const socket = running.service.getSocket(client.id!)!;
  const gone = next(running.service, 'disconnect');
  client.disconnect();
  await gone;
  expect(() => socket.emit('hello', 1)).not.toThrow();
  await socket.join('plain');
  await socket.leave('plain');
  socket.to('plain').emit('x');
  socket.disconnect(true);
  expect(running.service.getConnectedUsers()).toEqual([]);
});

test('a question to a client that goes is answered by the timeout', async () => {
  const running = await start();
  const client = await connect(running);
  const socket = running.service.getSocket(client.id!)!;
  client.on('question', () => client.disconnect());
  const [error] = await new Promise<any[]>((done) => socket.timeout(200).emit('question', (...args: any[]) => done(args)));
  expect(error).toBeTruthy();
});

test('reserved names are refused', async () => {
  const running = await start();
  const client = await connect(running);
  const socket = running.service.getSocket(client.id!)!;
  for (const event of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']) {
    expect(() => socket.emit(event)).toThrow();
  }
  await drained(running.service, client);
  expect(client.connected).toBe(true);
});
