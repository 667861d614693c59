// Smaller differences from Socket.IO, and from what this API promises.

import { createServer } from 'node:http';
import {
  afterTest,
  connect,
  drained,
  exactly,
  listen,
  members,
  never,
  next,
  received,
  silentLogger,
  start,
  track,
  transportSettings,
  WebSocketService,
} from '../support/harness';

const { RawClient } = require('../support/raw-client.js');

/** How long to look for a connection whose CONNECT is on its way; without it the test only shows less. */
const LOOK_MS = 500;

test('a broadcast does not reach a client before what its connection listener sends', async () => {
  const running = await start();
  running.service.on('connection', (user) => void running.service.emitToSocket(user.socketId, 'first', 1));
  const client = new RawClient(running.url);
  afterTest(() => client.terminate());
  await client.next('0{');
  const done = client.next('42["last"');
  client.ws.send('40');
  // JavaScript stays busy until the client is connected; the listener cannot have run when the broadcast is sent.
  const until = Date.now() + LOOK_MS;
  while (running.service.getStats().activeConnections === 0 && Date.now() < until);
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

describe('more than ten buffers', () => {
  const buffers = (count: number) => Array.from({ length: count }, (_, index) => Buffer.from([index]));
  const refusal = { name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' };

  test('in the metadata of a message are refused, and nothing is stored or sent', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('r');
    const [client] = await members(running, room, 1);
    await expect(service.sendMessage(room.id, 'ann', 'hi', 'text', { files: buffers(11) })).rejects.toMatchObject(refusal);
    await never(service, 'message', client!);
    expect(service.getRoomMessages(room.id)).toEqual([]);
    expect(service.getRoomStats(room.id)!.messageCount).toBe(0);
    await service.sendMessage(room.id, 'ann', 'hi', 'text', { files: buffers(10) });
    await exactly(1, service, 'message', client!);
    expect(received(client!, 'message')[0].metadata.files).toEqual(buffers(10));
  });

  test('in the data of a broadcast are refused, and nothing is sent', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('r');
    const [client] = (await members(running, room, 1)) as [Awaited<ReturnType<typeof connect>>];
    const data = { deep: buffers(11) };
    for (const call of [
      () => service.broadcastToAll('files', data),
      () => service.broadcastToRoom(room.id, 'files', data),
      () => service.broadcastToUsers([client.id!], 'files', data),
      () => service.emitToSocket(client.id!, 'files', data),
    ]) {
      await expect(call()).rejects.toMatchObject(refusal);
    }
    await never(service, 'files', client);
    await service.broadcastToAll('files', { deep: buffers(10) });
    await exactly(1, service, 'files', client);
    expect(client.connected).toBe(true);
  });
});

describe('the acknowledgements of a socket', () => {
  test('emitWithAck resolves with the answer', async () => {
    const running = await start();
    const client = await connect(running);
    client.on('question', (text, answer) => answer(`${text}!`));
    const socket = running.service.getSocket(client.id!) as any;
    expect(await socket.emitWithAck('question', 'there')).toBe('there!');
  });

  test('of a socket that has disconnected time out', async () => {
    const running = await start();
    const client = await connect(running);
    const socket = running.service.getSocket(client.id!)!;
    const gone = next(running.service, 'disconnect');
    client.disconnect();
    await gone;
    const error = await new Promise<any>((done) => void socket.timeout(10).emit('question', done));
    expect(error.message).toBe('operation has timed out');
    await expect((socket.timeout(10) as any).emitWithAck('question')).rejects.toThrow('operation has timed out');
  });

  test('awaited while a socket disconnects time out', async () => {
    const running = await start();
    const client = await connect(running);
    const socket = running.service.getSocket(client.id!)!;
    const gone = next(running.service, 'disconnect');
    const failed = new Promise<any>((done) => void socket.timeout(200).emit('question', done));
    client.disconnect();
    await gone;
    expect((await failed).message).toBe('operation has timed out');
  });
});

test("the metadata of a message is the caller's object", async () => {
  const { service } = await start();
  const room = await service.createRoom('r');
  const metadata = { at: new Date(0), nested: { list: [1] } };
  const message = await service.sendMessage(room.id, 'ann', 'hi', 'text', metadata);
  expect(message.metadata).toBe(metadata);
  expect(service.getRoomMessages(room.id)[0]!.metadata).toBe(metadata);
});

test.each([
  ['/socket.io', '/socket.io/admin'],
  ['/socket.io/admin', '/socket.io'],
])('two services at %s and %s each get their own clients', async (...paths) => {
  const server = createServer((_req, res) => void res.writeHead(404).end());
  const services = paths.map((path) => {
    const service = track(new WebSocketService({ path, logger: silentLogger }));
    service.initialize(server);
    return service;
  });
  const url = `http://127.0.0.1:${await listen(server)}`;
  for (const [, transports] of transportSettings) {
    const clients = [];
    for (const path of paths) clients.push(await connect(url, { path, transports }));
    for (const [index, service] of services.entries()) {
      expect(clients.map((client) => service.getUser(client.id!) !== undefined)).toEqual([index === 0, index === 1]);
      await service.broadcastToAll('news', index);
      await drained(service, clients[index]!);
    }
    for (const [index, client] of clients.entries()) expect(received(client, 'news')).toEqual([index]);
    for (const client of clients) client.disconnect();
  }
});
