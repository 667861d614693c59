// Users test by moving the clock: `Date` is honoured, and with every timer of JavaScript's replaced the service goes on.

import { execFile, fork, type ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { afterTest, connect, members, next, silentLogger, start, track, WebSocketService, type Running, type Service } from '../support/harness';

const MINUTE = 60_000;
/** All that is replaced but `Date`. */
const onlyDate = {
  doNotFake: [
    'hrtime',
    'nextTick',
    'performance',
    'queueMicrotask',
    'setImmediate',
    'clearImmediate',
    'setInterval',
    'clearInterval',
    'setTimeout',
    'clearTimeout',
  ] as any[],
};

afterEach(() => void jest.useRealTimers());

describe('with a moved Date', () => {
  let running: Running;
  beforeEach(async () => {
    running = await start({ history: { maxAgeMs: 60 * MINUTE } });
  });

  test('cleanup closes those that have been silent for so long by that clock', async () => {
    const client = await connect(running);
    jest.useFakeTimers(onlyDate);
    expect(await running.service.cleanup(30)).toBe(0);
    jest.setSystemTime(Date.now() + 31 * MINUTE);
    // Any call tells the service what time it is; a client that comes in by a door of its own does not.
    running.service.getStats();
    const late = await connect(running);
    const gone = next(client, 'disconnect');
    expect(await running.service.cleanup(30)).toBe(1);
    await gone;
    expect(running.service.getConnectedUsers().map((user) => user.socketId)).toEqual([late.id]);
  });

  test.each([31 * MINUTE, -365 * 24 * 60 * MINUTE])('times of calls are those of the clock, moved by %i ms', async (by) => {
    const now = Date.now() + by;
    jest.useFakeTimers({ ...onlyDate, now });
    const { service } = running;
    const room = await service.createRoom('r');
    const message = await service.sendMessage(room.id, 'system', 'hello');
    expect([room.createdAt, message.timestamp]).toEqual([new Date(now), new Date(now)]);
    expect(service.getRoomStats(room.id)).toMatchObject({ createdAt: new Date(now), lastActivity: new Date(now) });
    const socket = new EventEmitter() as any;
    Object.assign(socket, { id: 'by hand' });
    await service.handleConnection(socket);
    expect(service.getUser('by hand')).toMatchObject({ connectedAt: new Date(now), lastActivity: new Date(now) });
  });

  test('what clients do goes on from the time of the last call', async () => {
    const { service } = running;
    const now = Date.now() + 31 * MINUTE;
    jest.useFakeTimers({ ...onlyDate, now });
    const room = await service.createRoom('r');
    const [client] = await members(running, room, 1);
    const joined = service.getUser(client!.id!)!;
    const told = next(service, 'message');
    client!.emit('message', { roomId: room.id, content: 'hello' });
    const [{ timestamp }] = await told;
    for (const date of [joined.connectedAt, joined.lastActivity, timestamp]) {
      expect(date.getTime()).toBeGreaterThanOrEqual(now);
      expect(date.getTime()).toBeLessThan(now + MINUTE);
    }
  });

  test('messages become too old by that clock', async () => {
    const { service } = running;
    const room = await service.createRoom('r');
    await service.sendMessage(room.id, 'system', 'hello');
    jest.useFakeTimers({ ...onlyDate, now: Date.now() + 59 * MINUTE });
    expect(service.getRoomMessages(room.id)).toHaveLength(1);
    jest.setSystemTime(Date.now() + 2 * MINUTE);
    expect(service.getRoomMessages(room.id)).toEqual([]);
    expect(service.getRoomStats(room.id)!.messageCount).toBe(0);
  });

  test('another service keeps its own time', async () => {
    const other = await start();
    // Not socket.io-client, which looks at the clock itself.
    const client = new WebSocket(`${other.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    afterTest(() => client.terminate());
    await next(client, 'message');
    client.send('40');
    await next(client, 'message');
    const [user] = other.service.getConnectedUsers();
    const [before, now] = [Date.now(), Date.now() + 31 * MINUTE];
    jest.useFakeTimers({ ...onlyDate, now });
    const room = await running.service.createRoom('r');
    expect(room.createdAt).toEqual(new Date(now));
    // Nobody has called the other one since.
    client.send('421["typing"]');
    await next(client, 'message');
    const { lastActivity } = user!;
    expect(lastActivity.getTime()).toBeGreaterThanOrEqual(before - 1_000);
    expect(lastActivity.getTime()).toBeLessThan(now);
  });
});

/** A client in a process with timers of its own. */
function startClient(url: string): ChildProcess {
  const child = fork(join(__dirname, '../support/programs/guest.js'), [url]);
  afterTest(() => child.kill('SIGKILL'));
  return child;
}

async function usedByHand(service: Service): Promise<void> {
  service.initialize();
  const told: string[] = [];
  for (const event of ['connection', 'room:join', 'message', 'room:leave', 'disconnect'] as const) {
    service.on(event, () => told.push(event));
  }
  const socket = Object.assign(new EventEmitter(), { id: 'by hand' });
  await service.handleConnection(socket as any);
  const room = await service.createRoom('r');
  await service.joinRoom('by hand', room.id);
  await service.sendMessage(room.id, 'by hand', 'hello');
  await service.disconnectUser('by hand');
  await service.shutdown();
  expect(told).toEqual(['connection', 'room:join', 'message', 'room:leave', 'disconnect']);
}

describe('with every timer replaced', () => {
  test('clients are served, events are told and promises resolve', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('r');
    jest.useFakeTimers();
    const came = next(service, 'connection');
    const guest = startClient(running.url);
    const [user] = await came;
    await service.joinRoom(user.socketId, room.id);
    const said = next(service, 'message');
    guest.send({ event: 'message', data: { roomId: room.id, content: 'hello' } });
    expect((await said)[0].content).toBe('hello');
    const heard = next(guest, 'message');
    await service.emitToSocket(user.socketId, 'news', 1);
    expect(await heard).toEqual([['news', 1], undefined]);
    const answers = new Promise<any[]>((done) => service.timeout(5_000).emit('question', (_error: any, all: any[]) => done(all)));
    expect(await answers).toEqual(['answer']);
    const gone = next(service, 'disconnect');
    await service.shutdown();
    expect((await gone)[0].socketId).toBe(user.socketId);
  });

  test('a service that is used by hand goes on', async () => {
    jest.useFakeTimers();
    await usedByHand(track(new WebSocketService({ logger: silentLogger })));
  });

  test('so does one whose module is loaded only then', async () => {
    jest.useFakeTimers();
    jest.resetModules();
    const { WebSocketService: Fresh } = require('../../index.js');
    await usedByHand(new Fresh({ logger: silentLogger }));
  });

  test('so does one that is loaded after the timers of the whole process were replaced', async () => {
    const script = join(__dirname, '../support/programs/faked.js');
    const output = await new Promise<string>((done, failed) =>
      execFile(process.execPath, [script], { timeout: 10_000 }, (error, stdout) => (error ? failed(error) : done(stdout))),
    );
    expect(output.trim()).toBe('connection room:join room:leave disconnect end');
  });
});
