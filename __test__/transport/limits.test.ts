// Bounds on handshakes, connections, rooms and events: who goes beyond one is told, counted, and nobody else notices.

import { connect, door, next, open, received, record, refused, singleTransports, start, TrustingService, urlOf, type Running } from '../support/harness';
import { handshake, raw, requestTo, upgradeHeaders } from '../support/http';
import { eventually } from '../support/eventually';

const { RawClient } = require('../support/raw-client');

const PATHS = { polling: '/socket.io/?EIO=4&transport=polling', websocket: '/socket.io/?EIO=4&transport=websocket' };
const exceeded = ({ service }: Running) => service.getStats().exceeded;

describe.each(singleTransports)('handshakes over %s', (transport) => {
  const ask = (running: Running, forwarded?: string) =>
    raw(running.port, PATHS[transport], {
      headers: { ...(transport === 'websocket' && upgradeHeaders), ...(forwarded && { 'X-Forwarded-For': forwarded }) },
    });

  test.each([
    ['maxConnections', 503, 'Too many connections'],
    ['connectionsPerAddress', 429, 'Too many connections from this address'],
    ['handshakesPerSecond', 503, 'Too many handshakes'],
    ['handshakesPerSecondPerAddress', 429, 'Too many handshakes from this address'],
  ] as const)('beyond %s get %i, and may come again', async (limit, status, message) => {
    const running = await start({ limits: { [limit]: 2 } });
    const told = record(running.service, 'connection_error');
    const clients = [await connect(running, { transports: [transport] }), await connect(running, { transports: [transport] })];
    const answer = await ask(running);
    expect([answer.status, answer.headers['retry-after'], answer.body.includes(message)]).toEqual([status, '1', true]);
    await eventually(() => expect(told).toEqual([[{ code: 4, message, context: { limit, address: '127.0.0.1', status } }]]));
    expect(exceeded(running)).toEqual({ [limit]: 1 });
    // The others do not notice, and a place is free again when one has gone.
    expect(clients.every((client) => client.connected)).toBe(true);
    clients[0]!.disconnect();
    await eventually(async () => expect((await ask(running)).status).toBe(transport === 'websocket' ? 101 : 200));
  });

  test('a place that nobody takes up is free again', async () => {
    const running = await start({ limits: { maxConnections: 1 }, connectTimeout: 200, pingInterval: 200, pingTimeout: 200 });
    expect((await ask(running)).status).toBeLessThan(300);
    await eventually(async () => expect((await ask(running)).status).toBeLessThan(300));
  });

  test('an address is that of the connection, unless a trusted proxy says otherwise', async () => {
    const limits = { connectionsPerAddress: 1 };
    const untrusting = await start({ limits });
    const hold = (running: Running) => connect(running, { transports: [transport], extraHeaders: { 'X-Forwarded-For': '192.0.2.1' } });
    await hold(untrusting);
    expect((await ask(untrusting, '192.0.2.2')).status).toBe(429);
    for (const trustProxy of [true, 1, 'loopback', ['127.0.0.1']]) {
      const running = await start({ limits: { ...limits, trustProxy } });
      await hold(running);
      expect((await ask(running, '192.0.2.1')).status).toBe(429);
      expect((await ask(running, '192.0.2.2')).status).toBeLessThan(300);
    }
  });

  test('the application is not asked about those that are too many', async () => {
    let asked = 0;
    const running = await start({ limits: { handshakesPerSecondPerAddress: 1 }, allowRequest: (_req, decide) => (asked++, decide(null, true)) });
    expect((await ask(running)).status).toBeLessThan(300);
    expect((await ask(running)).status).toBe(429);
    expect(asked).toBe(1);
  });

  test('an application that never answers refuses after connectTimeout', async () => {
    const running = await start({ connectTimeout: 200, allowRequest: () => {} });
    expect((await ask(running)).status).toBe(transport === 'websocket' ? 400 : 403);
  });
});

describe.each(singleTransports)('events over %s', (transport) => {
  const enter = (running: Running, auth: object = {}) => connect(running, { transports: [transport], auth });

  test('beyond eventsPerSecond the first is refused and the others are ignored', async () => {
    const running = await start({ limits: { eventsPerSecond: 1, eventsBurst: 5 } });
    const [room, client, other] = [await running.service.createRoom('room'), await enter(running), await enter(running)];
    for (const each of [client, other]) await running.service.joinRoom(each.id!, room.id);
    const answers: any[] = [];
    const content = (number: number) => ({ roomId: room.id, content: `${number}` });
    for (let number = 0; number < 12; number++) client.emit('message', content(number), (answer: any) => answers.push(answer));
    const error = await next(client, 'error');
    expect(error).toEqual([{ message: 'message is sent more often than limits.eventsPerSecond allows', code: 'ERR_LIMIT_EXCEEDED', event: 'message' }]);
    expect((await other.emitWithAck('message', { roomId: room.id, content: 'other' })).ok).toBe(true);
    await eventually(() => expect(answers.filter(({ ok }) => !ok)).toHaveLength(1));
    expect(answers.filter(({ ok }) => ok)).toHaveLength(5);
    expect(running.service.getRoomMessages(room.id)).toHaveLength(6);
    expect(exceeded(running)).toEqual({ eventsPerSecond: 7 });
    expect([client.connected, received(client, 'error').length]).toEqual([true, 1]);
  });

  test('all sockets of a user count together', async () => {
    const running = await start({ limits: { eventsPerSecondPerUser: 4 } }, { Service: TrustingService });
    const room = await running.service.createRoom('room');
    const [one, two, other] = [await enter(running, { userId: 'ada' }), await enter(running, { userId: 'ada' }), await enter(running, { userId: 'eve' })];
    for (const each of [one, two, other]) await running.service.joinRoom(each.id!, room.id);
    for (const each of [one, two]) for (let number = 0; number < 5; number++) each.emit('typing', { roomId: room.id, isTyping: true });
    await Promise.race([next(one, 'error'), next(two, 'error')]);
    await eventually(() => expect(exceeded(running)!.eventsPerSecondPerUser).toBeGreaterThanOrEqual(5));
    expect((await other.emitWithAck('message', { roomId: room.id, content: 'x' })).ok).toBe(true);
  });

  test('roomsPerSocket bounds what the client joins, not what the server does', async () => {
    const running = await start({ limits: { roomsPerSocket: 2 } });
    const rooms = await Promise.all([1, 2, 3, 4].map((number) => running.service.createRoom(`${number}`)));
    const client = await enter(running);
    const join = (index: number) => client.emitWithAck('room:join', { roomId: rooms[index]!.id });
    expect([(await join(0)).ok, (await join(1)).ok]).toEqual([true, true]);
    expect((await join(2)).error).toEqual({ code: 'ERR_LIMIT_EXCEEDED', message: 'Already in 2 rooms (limits.roomsPerSocket)' });
    expect((await join(1)).ok).toBe(true);
    await running.service.joinRoom(client.id!, rooms[3]!.id);
    expect(exceeded(running)).toEqual({ roomsPerSocket: 1 });
    await client.emitWithAck('room:leave', { roomId: rooms[0]!.id });
    await client.emitWithAck('room:leave', { roomId: rooms[1]!.id });
    expect((await join(2)).ok).toBe(true);
  });
});

test('a client that goes on flooding is closed, with a reason', async () => {
  const running = await start({ limits: { eventsPerSecond: 1 } });
  const gone = next(running.service, 'disconnect');
  const client = await connect(running, { transports: ['websocket'] });
  const flooding = setInterval(() => client.emit('own'), 100);
  try {
    expect((await gone)[1]).toBe('forced server close');
  } finally {
    clearInterval(flooding);
  }
  expect(received(client, 'error').length).toBeGreaterThanOrEqual(9);
}, 20_000);

test('what comes before the CONNECT answer is bounded', async () => {
  const running = await start({ limits: { maxEarlyBytes: 10_000 } }, { setup: (service) => void service.use(() => {}) });
  const raw = new RawClient(running.url);
  await raw.next('0{');
  const closed = raw.next('closed');
  raw.ws.send('40');
  for (let number = 0; number < 20; number++) raw.ws.send(`42["early","${'x'.repeat(1_000)}"]`);
  await closed;
  expect(exceeded(running)).toEqual({ maxEarlyBytes: 1 });
});

test.each([
  ['a message', (client: any) => client.ws.send('4', { fin: false })],
  ['the attachments of a packet', (client: any) => client.ws.send('452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')],
])('%s that never comes whole is not waited for for ever', async (_what, begin) => {
  const running = await start({ limits: { messageTimeoutMs: 400 } });
  const gone = next(running.service, 'disconnect');
  const client = new RawClient(running.url);
  await client.connect();
  begin(client);
  expect((await gone)[1]).toBe('transport error');
  expect(exceeded(running)).toEqual({ messageTimeoutMs: 1 });
});

test('a polling client that never sends an attachment is not waited for for ever', async () => {
  const running = await start({ limits: { messageTimeoutMs: 300 } });
  const sid = await handshake(running.port);
  const path = `${PATHS.polling}&sid=${sid}`;
  const post = (body: string) => raw(running.port, path, { method: 'POST', body });
  await post('40');
  await raw(running.port, path);
  const gone = next(running.service, 'disconnect');
  await post('451-["a",{"_placeholder":true,"num":0}]');
  expect((await gone)[1]).toBe('transport error');
});

test('the heaviest clients are closed when all have too much, and the others go on', async () => {
  const running = await start({ limits: { maxTotalBytes: 8 << 20 }, maxHttpBufferSize: 4 << 20 });
  const light = await connect(running, { transports: ['websocket'] });
  const gone = record(running.service, 'disconnect');
  const heavy = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const client = new RawClient(running.url);
      await client.connect();
      // Three megabytes of a message that does not end.
      client.ws.send(`4${'x'.repeat(3 << 20)}`, { fin: false });
      return client;
    }),
  );
  await eventually(() => expect(exceeded(running)?.maxTotalBytes).toBeGreaterThanOrEqual(2));
  await eventually(() => expect(gone.length).toBe(exceeded(running)!.maxTotalBytes));
  expect(gone.length).toBeLessThan(heavy.length);
  expect(light.connected).toBe(true);
  for (const client of heavy) client.terminate();
});

test("the preset 'strict' is a set of other defaults", async () => {
  const running = await start({ limits: { preset: 'strict', connectionsPerAddress: 1 } });
  await connect(running);
  await refused(open(running));
  const strict = await start({ limits: 'strict' });
  const client = await connect(strict);
  const room = await strict.service.createRoom('room');
  await strict.service.joinRoom(client.id!, room.id);
  for (let number = 0; number < 300; number++) client.emit('typing', { roomId: room.id, isTyping: true });
  await next(client, 'error');
  expect(exceeded(strict)!.eventsPerSecond).toBeGreaterThan(0);
});

const ownDoor = door === 'native' || door === 'tls' ? test : test.skip;

ownDoor('heads and bodies that take too long are ended', async () => {
  const running = await start({ limits: { headersTimeoutMs: 200, bodyTimeoutMs: 200 } });
  const sid = await handshake(running.port);
  const status = await new Promise((done) => {
    const request = requestTo(running.port, { method: 'POST', path: `${PATHS.polling}&sid=${sid}`, headers: { 'Content-Length': '10' } });
    request.on('response', (response) => done(response.statusCode));
    request.write('4');
  });
  expect(status).toBe(408);
  expect(exceeded(running)).toEqual({ bodyTimeoutMs: 1 });
  expect(urlOf(running.port)).toBe(running.url);
});
