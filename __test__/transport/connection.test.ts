// Heartbeats, upgrades and protocol versions.

import ioV2 from 'socket.io-client-v2';
import {
  afterTest,
  connect,
  drained,
  exactly,
  members,
  next,
  open,
  received,
  record,
  refused,
  singleTransports,
  start,
  transportSettings,
} from '../support/harness';
import { handshake, raw } from '../support/http';

describe.each(singleTransports)('heartbeats over %s', (transport) => {
  test('keep a connection', async () => {
    const running = await start({ pingInterval: 50, pingTimeout: 5000 });
    const client = await connect(running, { transports: [transport] });
    for (let beat = 0; beat < 5; beat++) await new Promise<void>((done) => client.io.once('ping', done));
    await drained(running.service, client);
    expect(client.connected).toBe(true);
  });

  test('that are not answered end it with ping timeout', async () => {
    const running = await start({ pingInterval: 50, pingTimeout: 100 });
    const disconnects = record(running.service, 'disconnect');
    const client = await connect(running, { transports: [transport] });
    const gone = next(running.service, 'disconnect');
    (client.io.engine as any)._sendPacket = () => {};
    (client.io.engine as any).sendPacket = () => {};
    expect((await gone)[1]).toBe('ping timeout');
    const other = await connect(running);
    await drained(running.service, other);
    expect(disconnects).toHaveLength(1);
  });

  test('do not count as activity', async () => {
    const running = await start({ pingInterval: 50, pingTimeout: 5000 });
    const client = await connect(running, { transports: [transport] });
    const before = running.service.getUser(client.id!)!.lastActivity.getTime();
    for (let beat = 0; beat < 3; beat++) await new Promise<void>((done) => client.io.once('ping', done));
    expect(running.service.getUser(client.id!)!.lastActivity.getTime()).toBe(before);
  });
});

describe('an upgrade', () => {
  test('happens, and loses, repeats and reorders nothing', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const client = open(running);
    const upgraded = new Promise<void>((done) =>
      client.io.once('open', () => client.io.engine.once('upgrade', () => done())),
    );
    await new Promise<void>((done) => client.once('connect', done));
    await running.service.joinRoom(client.id!, room.id);
    let sent = 0;
    let running_ = true;
    void upgraded.then(() => (running_ = false));
    // At least so many, should it be over at once.
    while (running_ || sent < 50) {
      await running.service.sendMessage(room.id, 'server', `${sent++}`);
      await running.service.broadcastToRoom(room.id, 'binary', Buffer.from([sent >> 8, sent & 255]));
      await new Promise((turn) => setImmediate(turn));
    }
    await running.service.sendMessage(room.id, 'server', `${sent++}`);
    await drained(running.service, client);
    expect(client.io.engine.transport.name).toBe('websocket');
    const contents = received(client, 'message').map((message) => message.content);
    expect(contents).toEqual(Array.from({ length: sent }, (_, index) => `${index}`));
    const numbers = received(client, 'binary').map((bytes) => bytes.readUInt16BE());
    expect(numbers).toEqual(Array.from({ length: sent - 1 }, (_, index) => index + 1));
  });

  test('does not disturb what the client sends', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const [reader] = await members(running, room, 1);
    const client = open(running);
    await new Promise<void>((done) => client.once('connect', done));
    const id = client.id;
    await client.emitWithAck('room:join', { roomId: room.id });
    for (let index = 0; index < 100; index++) {
      client.emit('message', { roomId: room.id, content: `${index}` });
      if (index % 5 === 0) await new Promise((turn) => setImmediate(turn));
    }
    await client.emitWithAck('message', { roomId: room.id, content: 'last' });
    await drained(running.service, reader!, client);
    const expected = [...Array.from({ length: 100 }, (_, index) => `${index}`), 'last'];
    for (const each of [reader!, client]) {
      expect(received(each, 'message').map((message) => message.content)).toEqual(expected);
    }
    expect(client.id).toBe(id);
  });

  test('is not offered with allowUpgrades: false', async () => {
    const running = await start({ allowUpgrades: false });
    const { body } = await raw(running.port, '/socket.io/?EIO=4&transport=polling');
    expect(JSON.parse(body.slice(1)).upgrades).toEqual([]);
    const client = await connect(running);
    await drained(running.service, client);
    expect(client.io.engine.transport.name).toBe('polling');
  });

  test('that is not finished leaves the polling session as it was', async () => {
    const running = await start({ upgradeTimeout: 200 });
    const { default: WebSocket } = await import('ws');
    const client = await connect(running, { transports: ['polling'] });
    const sid = client.io.engine.id;
    const probe = new WebSocket(`${running.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket&sid=${sid}`);
    afterTest(() => probe.terminate());
    const closed = new Promise<void>((done) => probe.once('close', () => done()));
    await new Promise<void>((done) => probe.once('open', () => done()));
    const answered = new Promise<string>((done) => probe.once('message', (data) => done(String(data))));
    probe.send('2probe');
    expect(await answered).toBe('3probe');
    await closed;
    await drained(running.service, client);
    expect(client.connected).toBe(true);
  });

  test.each(['before the probe', 'after the probe'])('that breaks %s leaves the polling session as it was', async (when) => {
    const running = await start();
    const { default: WebSocket } = await import('ws');
    const client = await connect(running, { transports: ['polling'] });
    const sid = client.io.engine.id;
    const probe = new WebSocket(`${running.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket&sid=${sid}`);
    await new Promise<void>((done) => probe.once('open', () => done()));
    if (when === 'after the probe') {
      const answered = new Promise<void>((done) => probe.once('message', () => done()));
      probe.send('2probe');
      await answered;
    }
    probe.terminate();
    await drained(running.service, client);
    await drained(running.service, client);
    expect(client.connected).toBe(true);
    const heard = next(running.service.getSocket(client.id!)! as any, 'still');
    client.emit('still', 'here');
    expect(await heard).toEqual(['here']);
  });
});

test('a session that never joins is closed at connectTimeout', async () => {
  const running = await start({ connectTimeout: 200 });
  const { default: WebSocket } = await import('ws');
  const silent = new WebSocket(`${running.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
  await new Promise<void>((done) => silent.once('close', () => done()));
  const sid = await handshake(running.port);
  const answer = await raw(running.port, `/socket.io/?EIO=4&transport=polling&sid=${sid}`);
  expect([200, 400]).toContain(answer.status);
  expect(running.service.getStats().totalConnections).toBe(0);
});

describe.each(transportSettings)('binary over %s', (_name, transports) => {
  test('in both directions', async () => {
    const running = await start();
    const client = await connect(running, { transports });
    const bytes = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 256));
    const socket = running.service.getSocket(client.id!)!;
    socket.on('echo', (data, answer) => answer(data));
    const [text, nested] = (await client.emitWithAck('echo', ['text', { deep: [bytes, 5] }])) as any;
    expect(text).toBe('text');
    expect(nested.deep[1]).toBe(5);
    expect(Buffer.compare(Buffer.from(nested.deep[0]), bytes)).toBe(0);
    await running.service.broadcastToAll('bin', { a: bytes, b: [bytes] });
    await exactly(1, running.service, 'bin', client);
    expect(received(client, 'bin')[0]).toEqual({ a: bytes, b: [bytes] });
  });
});

describe('a Socket.IO v2 client', () => {
  const openV2 = (url: string, transports: string[]) => {
    const client: any = (ioV2 as any)(url, { forceNew: true, reconnection: false, transports });
    afterTest(() => client.close());
    return client;
  };

  test.each(singleTransports)('over %s is served with allowEIO3', async (transport) => {
    const running = await start({ allowEIO3: true });
    const connected = next(running.service, 'connection');
    const client = openV2(running.url, [transport]);
    await new Promise<void>((done) => client.once('connect', done));
    const [user] = await connected;
    const room = await running.service.createRoom('r');
    const [modern] = await members(running, room, 1);
    const joined = next(running.service, 'room:join');
    client.emit('room:join', { roomId: room.id });
    await joined;
    const arrived = next(client, 'message');
    client.emit('message', { roomId: room.id, content: 'from v2' });
    expect((await arrived)[0]).toMatchObject({ content: 'from v2', userId: user.id });
    await exactly(1, running.service, 'message', modern!);
    const bin = next(client, 'bin');
    await running.service.broadcastToRoom(room.id, 'bin', { data: Buffer.from([1, 2, 3]) });
    expect(Buffer.from((await bin)[0].data)).toEqual(Buffer.from([1, 2, 3]));
    const gone = next(running.service, 'disconnect');
    client.close();
    expect((await gone)[0]).toBe(user);
  });

  test('gets everything once and in order while it moves to WebSocket, bytes included', async () => {
    const running = await start({ allowEIO3: true });
    const sent = 300;
    running.service.on('connection', async ({ socketId }) => {
      const socket = running.service.getSocket(socketId)!;
      for (let number = 0; number < sent; number += 1) {
        socket.emit('n', number, number % 3 === 0 ? Buffer.from([number % 256, 4]) : 'text');
        if (number % 20 === 0) await new Promise(setImmediate);
      }
    });
    for (let round = 0; round < 5; round += 1) {
      const client = openV2(running.url, ['polling', 'websocket']);
      const got: [number, any][] = [];
      const complete = new Promise<void>((done) => {
        client.on('n', (number: number, value: any) => {
          got.push([number, value]);
          if (number === sent - 1) done();
        });
      });
      const moved = new Promise((done) => client.io.engine.once('upgrade', done));
      await Promise.all([complete, moved]);
      expect(got.map(([number]) => number)).toEqual([...Array(sent).keys()]);
      for (const [number, value] of got) {
        if (number % 3 === 0) expect(Buffer.from(value)).toEqual(Buffer.from([number % 256, 4]));
        else expect(value).toBe('text');
      }
      client.close();
    }
  });

  test.each(singleTransports)('over %s is refused without it', async (transport) => {
    const running = await start();
    const client = openV2(running.url, [transport]);
    await new Promise((done) => {
      client.once('connect_error', done);
      client.once('error', done);
    });
    expect(client.connected).toBe(false);
    expect(running.service.getConnectedUsers()).toEqual([]);
  });
});

test('allowRequest decides before any state is made', async () => {
  const seen: string[] = [];
  const running = await start({
    allowRequest(req, callback) {
      seen.push(req.url!);
      callback(req.headers['x-key'] === 'let me in' ? null : 'not you', req.headers['x-key'] === 'let me in');
    },
  });
  const answer = await raw(running.port, '/socket.io/?EIO=4&transport=polling');
  expect(answer.status).toBe(403);
  expect(JSON.parse(answer.body)).toEqual({ code: 4, message: 'not you' });
  for (const transports of [['polling'], ['websocket']] as const) {
    await refused(open(running, { transports: [...transports] }));
    await connect(running, { transports: [...transports], extraHeaders: { 'x-key': 'let me in' } });
  }
  expect(seen.length).toBeGreaterThanOrEqual(5);
  expect(running.service.getStats().totalConnections).toBe(2);
});
