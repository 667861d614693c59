// Contract section 3: `use()`.

import { sign, verify } from 'jsonwebtoken';
import {
  afterTest,
  connect,
  drained,
  eventsDelivered,
  exactly,
  open,
  record,
  refused,
  start,
  transportSettings,
  type Running,
  type Service,
} from '../support/harness';
import type { AuthenticatedSocket, SocketMiddleware, SocketUser } from '../../index';

const { RawClient } = require('../support/raw-client.js');

const withMiddleware = (...middlewares: SocketMiddleware[]) =>
  start({}, { setup: (service: Service) => middlewares.forEach((each) => service.use(each)) });

async function nobodyIsThere(running: Running, connections: unknown[]): Promise<void> {
  await eventsDelivered(running.service);
  expect(connections).toEqual([]);
  expect(running.service.getConnectedUsers()).toEqual([]);
  expect(running.service.getStats()).toMatchObject({ totalConnections: 0, activeConnections: 0 });
}

describe.each(transportSettings)('over %s', (_name, transports) => {
  test('a middleware gives the connection its identity', async () => {
    const running = await withMiddleware((socket, next) => {
      socket.userId = 'alice';
      socket.user = { username: 'Alice', email: 'alice@example.com', roles: ['admin'] } as SocketUser;
      next();
    });
    const client = await connect(running, { transports, query: { username: 'Mallory' } });
    expect(running.service.getUser(client.id!)).toMatchObject({
      id: 'alice',
      socketId: client.id,
      username: 'Alice',
      email: 'alice@example.com',
      roles: ['admin'],
    });
    expect(running.service.getUserSockets('alice')).toEqual([client.id]);
    const socket = running.service.getSocket(client.id!)!;
    expect(socket.userId).toBe('alice');
    expect(socket.user).toMatchObject({ username: 'Alice' });
  });

  test('a token decides', async () => {
    const running = await withMiddleware(async (socket, next) => {
      try {
        const claims = verify(socket.handshake.auth.token, 'key') as { sub: string };
        socket.userId = claims.sub;
        next();
      } catch {
        next(Object.assign(new Error('unauthorized'), { data: { code: 401, retry: false } }));
      }
    });
    const client = await connect(running, { transports, auth: { token: sign({ sub: 'alice' }, 'key') } });
    expect(running.service.getUser(client.id!)!.id).toBe('alice');
    const connections = record(running.service, 'connection');
    const error = await refused(open(running, { transports, auth: { token: sign({ sub: 'eve' }, 'other') } }));
    expect(error.message).toBe('unauthorized');
    expect(error.data).toEqual({ code: 401, retry: false });
    await eventsDelivered(running.service);
    expect(connections).toEqual([]);
    expect(running.service.isUserOnline('eve')).toBe(false);
  });

  test.each<[string, SocketMiddleware, string]>([
    ['an error', (_socket, next) => next(new Error('no')), 'no'],
    [
      'a throw',
      () => {
        throw new Error('thrown');
      },
      'thrown',
    ],
    ['a rejection', async () => Promise.reject(new Error('rejected')), 'rejected'],
    ['a late error', (_socket, next) => void setImmediate(next, new Error('late')), 'late'],
  ])('%s refuses', async (_kind, middleware, message) => {
    const running = await withMiddleware(middleware);
    const connections = record(running.service, 'connection');
    const client = open(running, { transports });
    expect((await refused(client)).message).toBe(message);
    expect(client.connected).toBe(false);
    await nobodyIsThere(running, connections);
  });
});

test('a refusal without data has none', async () => {
  const running = await withMiddleware((_socket, next) => next(new Error('no')));
  const error = await refused(open(running));
  expect(error.data).toBeUndefined();
  expect(error.message).toBe('no');
});

test('they run in order, each once, before the connection', async () => {
  const steps: string[] = [];
  const running = await withMiddleware(
    (_socket, next) => {
      steps.push('first');
      setImmediate(() => {
        steps.push('first done');
        next();
      });
    },
    async (_socket, next) => {
      await Promise.resolve();
      steps.push('second');
      next();
    },
    (_socket, next) => {
      steps.push('third');
      next();
      next();
    },
  );
  running.service.on('connection', () => steps.push('connection'));
  const client = await connect(running);
  await drained(running.service, client);
  await eventsDelivered(running.service);
  expect(steps).toEqual(['first', 'first done', 'second', 'third', 'connection']);
});

test('after a refusal no other runs', async () => {
  let ran = false;
  const running = await withMiddleware(
    (_socket, next) => next(new Error('no')),
    (_socket, next) => {
      ran = true;
      next();
    },
  );
  await refused(open(running));
  expect(ran).toBe(false);
});

test('a second answer is ignored', async () => {
  const running = await withMiddleware((_socket, next) => {
    next();
    next(new Error('too late'));
  });
  const client = await connect(running);
  await drained(running.service, client);
  expect(client.connected).toBe(true);
});

test('one that never answers is refused at connectTimeout', async () => {
  const running = await start({ connectTimeout: 300 }, { setup: (service) => service.use(() => {}) });
  const connections = record(running.service, 'connection');
  const client = open(running);
  await new Promise<void>((done) => {
    client.once('connect_error', () => done());
    client.io.engine.once('close', () => done());
  });
  expect(client.connected).toBe(false);
  await nobodyIsThere(running, connections);
});

test('a client that goes while it waits leaves nothing behind', async () => {
  const waiting: Array<() => void> = [];
  let arrived!: () => void;
  const running = await withMiddleware((_socket, next) => {
    waiting.push(next);
    arrived();
  });
  const connections = record(running.service, 'connection');
  const disconnects = record(running.service, 'disconnect');
  const clientThatWaits = async () => {
    const waits = new Promise<void>((done) => (arrived = done));
    const client = open(running, { transports: ['websocket'] });
    await waits;
    return client;
  };

  const impatient = await clientThatWaits();
  impatient.disconnect();
  const patient = await clientThatWaits();
  const connected = new Promise<void>((done) => patient.once('connect', done));
  for (const next of waiting) next();
  await connected;
  await drained(running.service, patient);
  await eventsDelivered(running.service);
  expect(running.service.getConnectedUsers().map((user) => user.socketId)).toEqual([patient.id]);
  expect(connections.length - disconnects.length).toBe(1);
});

test('the socket of a middleware is the socket of the connection', async () => {
  let seen!: AuthenticatedSocket;
  const running = await withMiddleware((socket, next) => {
    seen = socket;
    expect(socket.connected).toBe(false);
    socket.data.from = 'middleware';
    next();
  });
  const client = await connect(running, { auth: { token: 't' }, query: { q: '1' }, extraHeaders: { 'x-test': 'yes' } });
  const socket = running.service.getSocket(client.id!)!;
  expect(socket).toBe(seen);
  expect(socket.connected).toBe(true);
  expect(socket.data).toEqual({ from: 'middleware' });
  expect(socket.handshake).toMatchObject({
    auth: { token: 't' },
    query: { q: '1', EIO: '4', transport: 'polling' },
    headers: { 'x-test': 'yes', host: `127.0.0.1:${running.port}` },
    address: expect.stringMatching(/127\.0\.0\.1$/),
    secure: running.url.startsWith('https'),
    xdomain: false,
    issued: expect.any(Number),
    time: expect.any(String),
    url: expect.stringMatching(/^\/socket\.io\/\?.*EIO=4/),
  });
});

test('a client that is refused receives no broadcast', async () => {
  const running = await withMiddleware((socket, next) => next(socket.handshake.auth.ok ? undefined : new Error('no')));
  const welcome = await connect(running, { auth: { ok: true } });
  const client = new RawClient(running.url);
  afterTest(() => client.terminate());
  await client.next('0{');
  const refusal = client.next('44{');
  client.ws.send('40');
  await refusal;
  await running.service.broadcastToAll('secret', 1);
  await exactly(1, running.service, 'secret', welcome);
  // Let in by the same stream, it is sent what comes from then on.
  const connected = client.next('40{');
  client.ws.send('40{"ok":true}');
  const { sid } = JSON.parse((await connected).slice(2));
  const marker = client.next('42["marker"');
  await running.service.emitToSocket(sid, 'marker', 1);
  await marker;
  expect(client.packets.map((packet: string) => packet.slice(0, 4))).toEqual(['0{"s', '44{"', '40{"', '42["']);
});
