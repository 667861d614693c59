// Contract section 4: the events of the service.

import { execFile } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import {
  connect,
  drained,
  eventsDelivered,
  members,
  next,
  record,
  start,
  transportSettings,
  WebSocketService,
  type Running,
} from '../support/harness';

let running: Running;
beforeEach(async () => {
  running = await start();
});

/** Every event of the service in one list. */
function journal(): string[] {
  const entries: string[] = [];
  const { service } = running;
  const note = (name: string, socketId: string) => void entries.push(`${name} ${socketId}`);
  service.on('connection', (user) => note('connection', user.socketId));
  service.on('disconnect', (user) => note('disconnect', user.socketId));
  service.on('room:join', ({ user }) => note('room:join', user.socketId));
  service.on('room:leave', ({ user }) => note('room:leave', user.socketId));
  service.on('message', (message) => message.userId !== 'suite' && note('message', message.userId));
  service.on('typing', ({ user, isTyping }) => note(`typing ${isTyping}`, user.socketId));
  return entries;
}

test('the service is an EventEmitter', () => {
  expect(running.service).toBeInstanceOf(EventEmitter);
  expect(running.service).toBeInstanceOf(WebSocketService);
});

test.each(transportSettings)('events of one socket over %s come in the order in which they happened', async (_name, transports) => {
  const entries = journal();
  const room = await running.service.createRoom('r');
  const client = await connect(running, { transports });
  const id = client.id;
  client.emit('room:join', { roomId: room.id });
  client.emit('message', { roomId: room.id, content: 'one' });
  client.emit('typing', { roomId: room.id, isTyping: true });
  await client.emitWithAck('message', { roomId: room.id, content: 'two' });
  const gone = next(running.service, 'disconnect');
  client.disconnect();
  await gone;
  await eventsDelivered(running.service);
  expect(entries).toEqual([
    `connection ${id}`,
    `room:join ${id}`,
    `message ${id}`,
    `typing true ${id}`,
    `message ${id}`,
    `typing false ${id}`,
    `room:leave ${id}`,
    `disconnect ${id}`,
  ]);
});

test('each connection has exactly one disconnect, after it', async () => {
  const entries = journal();
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(running)));
  const ids = clients.map((client) => client.id!);
  const all = new Promise<void>((done) => {
    let left = clients.length;
    running.service.on('disconnect', () => --left === 0 && done());
  });
  clients.forEach((client, index) => {
    if (index % 3 === 0) client.disconnect();
    else if (index % 3 === 1) client.io.engine.close();
    else void running.service.disconnectUser(client.id!);
  });
  await all;
  await eventsDelivered(running.service);
  for (const id of ids) {
    expect(entries.filter((entry) => entry.endsWith(id))).toEqual([`connection ${id}`, `disconnect ${id}`]);
  }
});

test('a client that connects and goes at once has both events', async () => {
  const entries = journal();
  for (let round = 0; round < 20; round++) {
    const gone = next(running.service, 'disconnect');
    const client = await connect(running, { transports: ['websocket'] });
    const id = client.id;
    client.disconnect();
    await gone;
    expect(entries.splice(0)).toEqual([`connection ${id}`, `disconnect ${id}`]);
  }
});

test('in a listener the state is that of the event', async () => {
  const room = await running.service.createRoom('r');
  const client = await connect(running);
  const joined = next(running.service, 'room:join');
  client.emit('room:join', { roomId: room.id });
  expect(running.service.getRoomMembers((await joined)[0].room.id).map((user) => user.socketId)).toEqual([client.id]);
  const id = client.id!;
  const gone = next(running.service, 'disconnect');
  client.disconnect();
  const [user] = await gone;
  expect(user.socketId).toBe(id);
  expect(running.service.getUser(id)).toBeUndefined();
});

test('a listener may call the service back', async () => {
  running.service.on('connection', (user) => void running.service.emitToSocket(user.socketId, 'welcome', { to: user.id }));
  const room = await running.service.createRoom('lobby');
  running.service.on('connection', (user) => void running.service.joinRoom(user.socketId, room.id));
  const client = await connect(running);
  await eventsDelivered(running.service);
  await drained(running.service, client);
  expect(client.received[0]).toEqual({ event: 'welcome', args: [{ to: client.id }] });
  expect([...room.members]).toEqual([client.id]);
});

test('listeners added and removed later count from then on', async () => {
  const room = await running.service.createRoom('r');
  const [client] = await members(running, room, 1);
  const heard: string[] = [];
  const listener = (message: { content: string }) => heard.push(message.content);
  const send = async (content: string) => {
    await client!.emitWithAck('message', { roomId: room.id, content });
    await eventsDelivered(running.service);
  };
  await send('before');
  running.service.on('message', listener);
  await send('during');
  running.service.off('message', listener);
  await send('after');
  running.service.once('message', listener);
  await send('once');
  await send('not again');
  expect(heard.filter((content) => content !== 'marker')).toEqual(['during', 'once']);
});

test('addListener, prependListener, removeListener and removeAllListeners count too', async () => {
  const heard: string[] = [];
  const second = () => void heard.push('second');
  running.service.addListener('connection', second);
  running.service.prependListener('connection', () => void heard.push('first'));
  running.service.prependOnceListener('connection', () => void heard.push('zeroth'));
  await connect(running);
  await eventsDelivered(running.service);
  expect(heard.splice(0)).toEqual(['zeroth', 'first', 'second']);
  running.service.removeListener('connection', second);
  await connect(running);
  await eventsDelivered(running.service);
  expect(heard.splice(0)).toEqual(['first']);
  running.service.removeAllListeners('connection');
  await connect(running);
  await eventsDelivered(running.service);
  expect(heard).toEqual([]);
  expect(running.service.listenerCount('connection')).toBe(0);
});

test('room:create and room:delete', async () => {
  const created = record(running.service, 'room:create');
  const deleted = record(running.service, 'room:delete');
  const room = await running.service.createRoom('r');
  await running.service.deleteRoom(room.id);
  await running.service.deleteRoom(room.id);
  await eventsDelivered(running.service);
  expect(created.filter(([each]) => each === room)).toHaveLength(1);
  expect(deleted.filter(([each]) => each === room)).toHaveLength(1);
});

test('deleting a room with members announces room:leave for none twice', async () => {
  const room = await running.service.createRoom('r');
  await members(running, room, 2);
  const leaves = record(running.service, 'room:leave');
  await running.service.deleteRoom(room.id);
  await eventsDelivered(running.service);
  const ids = leaves.map(([{ user }]) => user.socketId);
  expect(new Set(ids).size).toBe(ids.length);
});

test('emitting error without a listener does not throw', () => {
  expect(() => running.service.emit('error', new Error('logged'))).not.toThrow();
  const heard = record(running.service, 'error');
  const error = new Error('heard');
  running.service.emit('error', error);
  expect(heard).toEqual([[error]]);
});

test('a listener that throws is reported as Node.js reports it, and stops nobody', async () => {
  const script = join(__dirname, '../support/programs/throwing-listener.js');
  const output = await new Promise<string>((done, fail) =>
    execFile(process.execPath, [script], (error, stdout, stderr) => (error ? fail(new Error(stderr)) : done(stdout))),
  );
  expect(JSON.parse(output)).toEqual({
    uncaught: ['first message', 'second message'],
    heard: ['one', 'two'],
    received: ['one', 'two'],
  });
});
