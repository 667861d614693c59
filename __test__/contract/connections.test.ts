// Contract section 3: connections, users and their identity.

import {
  afterTest,
  connect,
  drained,
  eventsDelivered,
  exactly,
  never,
  next,
  record,
  start,
  testWhileBusy,
  track,
  TrustingService,
  transportSettings,
  WebSocketService,
  type Client,
  type Running,
} from '../support/harness';

const { RawClient } = require('../support/raw-client.js');

let running: Running;
beforeEach(async () => {
  running = await start({}, { Service: TrustingService });
});

describe('a user', () => {
  test('is registered before its client knows that it is connected', async () => {
    const client = await connect(running);
    expect(running.service.getUser(client.id!)).toBeDefined();
  });

  test('takes its id from the socket, its name from the socket before the query', async () => {
    const client = await connect(running, {
      auth: { userId: 'alice', user: { username: 'Alice', email: 'a@example.com', roles: ['admin'], metadata: { a: 1 } } },
      query: { username: 'Mallory', email: 'm@example.com' },
    });
    expect(running.service.getUser(client.id!)).toMatchObject({
      id: 'alice',
      socketId: client.id,
      username: 'Alice',
      email: 'a@example.com',
      roles: ['admin'],
      metadata: { a: 1 },
    });
  });

  test('has no name when nobody gave one', async () => {
    const client = await connect(running);
    const user = running.service.getUser(client.id!)!;
    expect(user.username).toBeUndefined();
    expect(user.email).toBeUndefined();
    expect(JSON.parse(JSON.stringify(user))).toEqual({
      id: client.id,
      socketId: client.id,
      connectedAt: user.connectedAt.toISOString(),
      lastActivity: user.lastActivity.toISOString(),
    });
  });

  test('keeps names of every script and with escapes as they are', async () => {
    const username = 'Zoë "Ω" \\ 日本 😀 \u0000 <b>';
    const client = await connect(running, { query: { username } });
    expect(running.service.getUser(client.id!)!.username).toBe(username);
  });

  test.each([['without middleware'], ['with middleware']])('has no name where the query gives several, %s', async (kind) => {
    const running = await start();
    if (kind === 'with middleware') running.service.use((_socket, next) => next());
    const client = new RawClient(running.url, { query: '&username=a&username=b&email=a%40b.c&email=d%40e.f' });
    const user = running.service.getUser(await client.connect())!;
    expect(user.username).toBeUndefined();
    expect(user.email).toBeUndefined();
    expect(running.service.getSocket(user.socketId)!.handshake.query).toMatchObject({
      username: ['a', 'b'],
      email: ['a@b.c', 'd@e.f'],
    });
    client.terminate();
  });

  test('is active when its client sends an event', async () => {
    const client = await connect(running);
    const user = running.service.getUser(client.id!)!;
    const before = user.lastActivity.getTime();
    const room = await running.service.createRoom('r');
    await client.emitWithAck('room:join', { roomId: room.id });
    expect(running.service.getUser(client.id!)!.lastActivity.getTime()).toBeGreaterThanOrEqual(before);
    expect(user.lastActivity.getTime()).toBeGreaterThanOrEqual(user.connectedAt.getTime());
  });
});

describe('several sockets of one user', () => {
  test('are one user online until the last one goes', async () => {
    const first = await connect(running, { auth: { userId: 'alice' } });
    const second = await connect(running, { auth: { userId: 'alice' } });
    expect(running.service.getConnectedUsers()).toHaveLength(2);
    let gone = next(running.service, 'disconnect');
    first.disconnect();
    await gone;
    expect(running.service.isUserOnline('alice')).toBe(true);
    expect(running.service.getUserSockets('alice')).toEqual([second.id]);
    gone = next(running.service, 'disconnect');
    second.disconnect();
    await gone;
    expect(running.service.isUserOnline('alice')).toBe(false);
    expect(running.service.getUserSockets('alice')).toEqual([]);
  });

  test.each([false, true])('are seen to go at once, with a listener of disconnect: %s', async (isHeard) => {
    const running = await start({}, { Service: TrustingService });
    const { service } = running;
    if (isHeard) service.on('disconnect', () => {});
    const clients: Client[] = [];
    for (let index = 0; index < 3; index++) clients.push(await connect(running, { auth: { userId: 'alice' } }));
    const online = () => clients.map(({ id }) => service.getUser(id!)?.id);
    const ids = clients.map(({ id }) => id!);
    expect([online(), service.isUserOnline('alice')]).toEqual([['alice', 'alice', 'alice'], true]);
    void service.handleDisconnection(ids[0]!);
    expect([service.getUser(ids[0]!), service.isUserOnline('alice')]).toEqual([undefined, true]);
    service.getSocket(ids[1]!)!.disconnect();
    expect([service.getUser(ids[1]!), service.isUserOnline('alice')]).toEqual([undefined, true]);
    expect(service.getUser(ids[2]!)).toMatchObject({ id: 'alice', socketId: ids[2] });
    void service.disconnectUser('alice');
    expect([service.getUser(ids[2]!), service.isUserOnline('alice')]).toEqual([undefined, false]);
  });

  test('are seen to go at once by a listener that disconnects them', async () => {
    const running = await start({}, { Service: TrustingService });
    const { service } = running;
    const [alice, bob] = [await connect(running, { auth: { userId: 'alice' } }), await connect(running, { auth: { userId: 'bob' } })];
    expect([service.getUser(bob.id!)?.id, service.isUserOnline('bob')]).toEqual(['bob', true]);
    const bobId = bob.id!;
    const seen = new Promise((resolve) => {
      service.once('disconnect', () => {
        void service.disconnectUser('bob');
        resolve([service.getUser(bobId), service.isUserOnline('bob')]);
      });
    });
    alice.disconnect();
    expect(await seen).toEqual([undefined, false]);
  });

  testWhileBusy('are seen to go while JavaScript is busy', async () => {
    const running = await start();
    const { service } = running;
    const client = await connect(running, { transports: ['websocket'] });
    const id = client.id!;
    expect([service.getUser(id)?.id, service.isUserOnline(id)]).toEqual([id, true]);
    (client.io.engine.transport as any).ws._socket.destroy();
    const end = performance.now() + 5_000;
    while (service.getUser(id) !== undefined && performance.now() < end);
    expect([service.getUser(id), service.isUserOnline(id)]).toEqual([undefined, false]);
    await eventsDelivered(service);
    expect([service.getUser(id), service.isUserOnline(id)]).toEqual([undefined, false]);
  });

  test('a user id is no socket id and no property name', async () => {
    await connect(running, { auth: { userId: '__proto__' } });
    expect(running.service.isUserOnline('__proto__')).toBe(true);
    expect(running.service.isUserOnline('constructor')).toBe(false);
    expect(running.service.getUser('__proto__')).toBeUndefined();
    expect(running.service.getUserSockets('constructor')).toEqual([]);
  });
});

describe('handleDisconnection', () => {
  test.each(transportSettings)('over %s ends the connection, its rooms and the transport', async (_name, transports) => {
    const client = await connect(running, { transports });
    const other = await connect(running, { transports });
    const id = client.id!;
    const room = await running.service.createRoom('r');
    for (const each of [client, other]) await running.service.joinRoom(each.id!, room.id);
    const disconnects = record(running.service, 'disconnect');
    const closed = next(client, 'disconnect');
    await running.service.handleDisconnection(id, 'client_disconnect');
    await closed;
    expect(running.service.getUser(id)).toBeUndefined();
    expect([...room.members]).toEqual([other.id]);
    await running.service.handleDisconnection(id, 'again');
    await exactly(1, running.service, 'user:left', other);
    await eventsDelivered(running.service);
    expect(disconnects.map(([user, reason]) => [user.socketId, reason])).toEqual([[id, 'client_disconnect']]);
  });

  test('of an unknown id does nothing', async () => {
    const client = await connect(running);
    const disconnects = record(running.service, 'disconnect');
    await running.service.handleDisconnection('unknown', 'whatever');
    await drained(running.service, client);
    await eventsDelivered(running.service);
    expect(disconnects).toEqual([]);
    expect(client.connected).toBe(true);
  });
});

describe('bad arguments', () => {
  beforeEach(async () => {
    running = await start();
  });

  const invalid = { name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' };
  test.each([
    ['joinRoom', [5, 'room']],
    ['joinRoom', ['socket', undefined]],
    ['leaveRoom', ['socket', {}]],
    ['createRoom', [undefined]],
    ['createRoom', ['name', 5]],
    ['createRoom', ['name', 'default', 5]],
    ['createRoom', ['name', 'default', 'me', 'metadata']],
    ['deleteRoom', [null]],
    ['sendMessage', [5, 'user', 'content']],
    ['sendMessage', ['room', 5, 'content']],
    ['sendMessage', ['room', 'user', 5]],
    ['sendMessage', ['room', 'user', 'content', 'video']],
    ['sendMessage', ['room', 'user', 'content', 'text', 'metadata']],
    ['broadcastToRoom', [5, 'event', 1]],
    ['broadcastToRoom', ['room', '', 1]],
    ['broadcastToRoom', ['room', 'event', 1, { except: 'socket' }]],
    ['broadcastToUsers', ['alice', 'event', 1]],
    ['broadcastToUsers', [[5], 'event', 1]],
    ['broadcastToUsers', [['alice'], '', 1]],
    ['broadcastToAll', ['', 1]],
    ['broadcastToAll', [undefined, 1]],
    ['broadcastToAll', ['event', 1, { users: 'alice' }]],
    ['broadcastToAll', ['event', 1, { room: 5 }]],
    ['emitToSocket', [5, 'event', 1]],
    ['emitToSocket', ['socket', '', 1]],
    ['disconnectUser', [5]],
    ['cleanup', [-1]],
    ['cleanup', ['30']],
    ['handleDisconnection', [5]],
    ['handleConnection', [undefined]],
    ['handleConnection', [{}]],
  ])('%s(%j) rejects and changes nothing', async (method, args) => {
    const client = await connect(running);
    await expect((running.service as any)[method](...args)).rejects.toMatchObject(invalid);
    await drained(running.service, client);
    expect(client.received.map(({ event }) => event)).toEqual(['suite:marker']);
    expect(running.service.getConnectedUsers()).toHaveLength(1);
    expect(running.service.listRooms()).toEqual([]);
  });

  test.each(['connect', 'disconnect', 'connect_error', 'disconnecting', 'newListener', 'removeListener'])(
    'the reserved event name %s cannot be sent',
    async (event) => {
      const client = await connect(running);
      await expect(running.service.broadcastToAll(event, 1)).rejects.toMatchObject({ name: expect.any(String) });
      await expect(running.service.emitToSocket(client.id!, event, 1)).rejects.toBeDefined();
      await never(running.service, event, client);
    },
  );

  test('initialize throws for what is no HTTP server', () => {
    const service = track(new WebSocketService({ logger: { ...console, warn() {} } }));
    for (const wrong of [5, 'server', {}, new (require('node:events'))(), require('node:net').createServer()]) {
      expect(() => service.initialize(wrong as any)).toThrow(expect.objectContaining({ name: 'TypeError' }));
    }
    const http2 = require('node:http2').createServer();
    expect(() => service.initialize(http2)).toThrow(expect.objectContaining({ name: 'TypeError' }));
  });

  test('initialize works once', async () => {
    expect(() => running.service.initialize(running.httpServer)).toThrow(
      expect.objectContaining({ code: 'ERR_ALREADY_INITIALIZED' }),
    );
    await connect(running);
  });
});

testWhileBusy('a broadcast does not reach a client before what its connection listener sends', async () => {
  const running = await start();
  running.service.on('connection', (user) => void running.service.emitToSocket(user.socketId, 'first', 1));
  const client = new RawClient(running.url);
  afterTest(() => client.terminate());
  await client.next('0{');
  const done = client.next('42["last"');
  client.ws.send('40');
  // JavaScript stays busy until the client is connected; the listener cannot have run when the broadcast is sent.
  const until = performance.now() + 5_000;
  while (running.service.getStats().activeConnections === 0 && performance.now() < until);
  expect(running.service.getStats().activeConnections).toBe(1);
  void running.service.broadcastToAll('news', 1);
  await next(running.service, 'connection');
  void running.service.broadcastToAll('last', 1);
  await done;
  expect(client.packets.filter((packet: string) => packet.startsWith('42'))[0]).toBe('42["first",1]');
});

// Socket.IO itself closes a client that does not wait for the end of its first connection; this is what we promise.
test('disconnecting and joining again in one write makes a second socket, which gets what follows', async () => {
  const running = await start();
  const heard: string[][] = [];
  let everything!: () => void;
  const heardBoth = new Promise<void>((done) => (everything = done));
  running.service.on('connection', ({ socketId }) => {
    const socket = running.service.getSocket(socketId)!;
    socket.onAny((event) => {
      if (heard.push([socketId, event]) === 2) everything();
    });
    socket.emit('hello', socketId);
  });
  const client = new RawClient(running.url);
  afterTest(() => client.terminate());
  const hello = client.next('42["hello"');
  const first = await client.connect();
  await hello;
  const helloAgain = client.next('42["hello"');
  client.sendAtOnce('42["a"]', '41', '40', '42["b"]');
  const [, second] = JSON.parse((await helloAgain).slice(2));
  await heardBoth;
  expect(second).not.toBe(first);
  expect(client.packets.slice(1)).toEqual([
    expect.stringContaining(`40{"sid":"${first}"`),
    `42["hello","${first}"]`,
    expect.stringContaining(`40{"sid":"${second}"`),
    `42["hello","${second}"]`,
  ]);
  expect(heard).toEqual([
    [first, 'a'],
    [second, 'b'],
  ]);
});
