// Contract section 3: `shutdown()`.

import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { join } from 'node:path';
import {
  connect,
  listen,
  members,
  next,
  open,
  received,
  record,
  silentLogger,
  start,
  track,
  transportSettings,
  WebSocketService,
} from '../support/harness';

describe.each(transportSettings)('over %s', (_name, transports) => {
  test('ends every connection and the HTTP server', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const clients = await members(running, room, 3, { transports });
    const ids = clients.map((client) => client.id).sort();
    const disconnects = record(running.service, 'disconnect');
    const closed = Promise.all(clients.map((client) => next(client, 'disconnect')));
    for (let index = 0; index < 50; index++) void running.service.broadcastToRoom(room.id, 'step', index);
    await running.service.shutdown();
    await closed;
    for (const client of clients) {
      expect(received(client, 'step')).toEqual(Array.from({ length: 50 }, (_, index) => index));
    }
    expect(disconnects.map(([user]) => user.socketId).sort()).toEqual(ids);
    expect(new Set(disconnects.map(([, reason]) => reason))).toEqual(new Set(['server_shutdown']));
    expect(running.service.getConnectedUsers()).toEqual([]);
    expect(running.httpServer.listening).toBe(false);
  });

  test('refuses clients afterwards', async () => {
    const running = await start();
    await connect(running, { transports });
    await running.service.shutdown();
    const late = open(running, { transports });
    await new Promise((done) => late.once('connect_error', done));
    expect(late.connected).toBe(false);
  });

  test('in the middle of a storm of connections leaves nobody behind', async () => {
    const running = await start();
    const connections = record(running.service, 'connection');
    const disconnects = record(running.service, 'disconnect');
    const first = next(running.service, 'connection');
    const clients = Array.from({ length: 30 }, () => open(running, { transports }));
    const ended = clients.map(
      (client) =>
        new Promise<void>((done) => {
          client.once('connect_error', () => done());
          client.once('disconnect', () => done());
        }),
    );
    await first;
    await running.service.shutdown();
    await Promise.all(ended);
    expect(running.service.getConnectedUsers()).toEqual([]);
    const ids = (calls: any[][]) => calls.map(([user]) => user.socketId).sort();
    expect(ids(disconnects)).toEqual(ids(connections));
  });
});

test('is idempotent', async () => {
  const running = await start();
  const client = await connect(running);
  const disconnects = record(running.service, 'disconnect');
  const closed = next(client, 'disconnect');
  await Promise.all([running.service.shutdown(), running.service.shutdown()]);
  await running.service.shutdown();
  await closed;
  expect(disconnects).toHaveLength(1);
});

test('before initialize', async () => {
  const service = track(new WebSocketService({ logger: silentLogger }));
  await service.shutdown();
  await service.shutdown();
});

test('with a server that does not listen', async () => {
  const service = track(new WebSocketService({ logger: silentLogger }));
  service.initialize(createServer());
  await service.shutdown();
});

test('with a client that never reads', async () => {
  const running = await start();
  const client = await connect(running, { transports: ['websocket'] });
  const socket = (client.io.engine.transport as any).ws._socket;
  socket.pause();
  for (let index = 0; index < 100; index++) await running.service.broadcastToAll('bulk', 'x'.repeat(100_000));
  await running.service.shutdown();
  expect(running.service.getConnectedUsers()).toEqual([]);
  socket.destroy();
});

test('what comes after it is answered clearly', async () => {
  const running = await start();
  const client = await connect(running);
  const room = await running.service.createRoom('r');
  const id = client.id!;
  await running.service.shutdown();
  expect(running.service.getUser(id)).toBeUndefined();
  await expect(running.service.joinRoom(id, room.id)).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) });
  await expect(running.service.emitToSocket(id, 'hello', 1)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  await running.service.disconnectUser(id);
  await running.service.handleDisconnection(id);
});

test('an emitted disconnect comes before the promise resolves, room:leave before it', async () => {
  const running = await start();
  const room = await running.service.createRoom('r');
  await members(running, room, 2);
  const order: string[] = [];
  running.service.on('room:leave', ({ user }) => order.push(`leave ${user.socketId}`));
  running.service.on('disconnect', (user) => order.push(`disconnect ${user.socketId}`));
  const [first, second] = [...room.members];
  await running.service.shutdown();
  for (const id of [first, second]) {
    expect(order.indexOf(`leave ${id}`)).toBeGreaterThanOrEqual(0);
    expect(order.indexOf(`leave ${id}`)).toBeLessThan(order.indexOf(`disconnect ${id}`));
  }
  expect(order).toHaveLength(4);
});

test('two services on one server: the first shutdown ends only its own clients', async () => {
  const httpServer = createServer();
  const first = track(new WebSocketService({ path: '/first', logger: silentLogger }));
  const second = track(new WebSocketService({ path: '/second', logger: silentLogger }));
  first.initialize(httpServer);
  second.initialize(httpServer);
  const url = `http://127.0.0.1:${await listen(httpServer)}`;
  const [client, other] = [await connect(url, { path: '/first' }), await connect(url, { path: '/second', transports: ['websocket'] })];
  const closed = next(client, 'disconnect');
  await first.shutdown();
  await closed;
  expect(other.connected).toBe(true);
  const arrived = next(other, 'hello');
  await second.broadcastToAll('hello', 1);
  await arrived;
});

test.each(['shut down', 'never initialized', 'initialized without listen'])(
  'nothing keeps the process of a service alive that was %s',
  async (state) => {
    const script = join(__dirname, '../support/programs/exit.js');
    const output = await new Promise<string>((done, fail) =>
      execFile(process.execPath, [script, state], (error, stdout) => (error ? fail(error) : done(stdout))),
    );
    expect(output.trim()).toBe('end');
  },
);
