// Contract section 3: the service leaves every other request and upgrade of its HTTP server untouched.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import fastify from 'fastify';
import { WebSocket, WebSocketServer } from 'ws';
import { certificate } from '../support/certificate';
import {
  afterTest,
  connect,
  drained,
  exactly,
  listen,
  never,
  next,
  open,
  received,
  refused,
  silentLogger,
  start,
  track,
  trackServer,
  transportSettings,
  WebSocketService,
} from '../support/harness';
import { raw } from '../support/http';

function attached(httpServer: HttpServer, config = {}) {
  const service = track(new WebSocketService({ logger: silentLogger, ...config }));
  service.initialize(httpServer);
  return service;
}

async function works(service: InstanceType<typeof WebSocketService>, url: string, options = {}): Promise<void> {
  for (const [, transports] of transportSettings) {
    const client = await connect(url, { transports, ...options });
    await drained(service, client);
    expect(service.getUser(client.id!)).toBeDefined();
  }
}

describe('other requests', () => {
  test('reach the listeners that were there before, and those that come later', async () => {
    const before = createServer((req, res) => res.end(`before ${req.url}`));
    const service = attached(before);
    const port = await listen(before);
    expect((await raw(port, '/other')).body).toBe('before /other');
    expect((await raw(port, '/')).body).toBe('before /');
    await works(service, `http://127.0.0.1:${port}`);

    const after = createServer();
    const second = attached(after);
    after.on('request', (req, res) => {
      if (!res.writableEnded && !req.url!.startsWith('/socket.io')) res.end(`after ${req.url}`);
    });
    const secondPort = await listen(after);
    expect((await raw(secondPort, '/other')).body).toBe('after /other');
    await works(second, `http://127.0.0.1:${secondPort}`);
  });

  test('under a path that only begins alike are not ours', async () => {
    const server = createServer((req, res) => res.end(`app ${req.url}`));
    attached(server);
    const port = await listen(server);
    for (const path of ['/socket.iox/', '/socket.io2?EIO=4&transport=polling', '/x/socket.io/']) {
      expect((await raw(port, path)).body).toBe(`app ${path}`);
    }
  });

  test('see nothing of the requests that are ours', async () => {
    const seen: string[] = [];
    const server = createServer((req, res) => {
      seen.push(req.url!);
      res.end();
    });
    const service = attached(server);
    await works(service, `http://127.0.0.1:${await listen(server)}`);
    expect(seen).toEqual([]);
  });

  test('with a body arrive whole', async () => {
    const server = createServer((req, res) => void req.pipe(res));
    attached(server);
    const port = await listen(server);
    const body = 'x'.repeat(300_000);
    expect((await raw(port, '/echo', { method: 'POST', body })).body).toBe(body);
  });
});

test('Express', async () => {
  const app = express();
  app.get('/hello', (_req, res) => void res.send('hi'));
  app.post('/json', express.json(), (req, res) => void res.json(req.body));
  const server = createServer(app);
  const service = attached(server);
  const port = await listen(server);
  expect((await raw(port, '/hello')).body).toBe('hi');
  expect((await raw(port, '/nothing')).status).toBe(404);
  const headers = { 'content-type': 'application/json' };
  expect((await raw(port, '/json', { method: 'POST', headers, body: '{"a":1}' })).body).toBe('{"a":1}');
  await works(service, `http://127.0.0.1:${port}`);
});

test('Fastify', async () => {
  const app = fastify();
  app.get('/hello', async () => 'hi');
  await app.ready();
  const service = attached(app.server);
  await app.listen({ port: 0, host: '127.0.0.1' });
  afterTest(() => app.close());
  const { port } = app.server.address() as AddressInfo;
  expect((await raw(port, '/hello')).body).toBe('hi');
  expect((await raw(port, '/nothing')).status).toBe(404);
  await works(service, `http://127.0.0.1:${port}`);
});

test.each(['before', 'after'])('another WebSocket server attached %s ours', async (when) => {
  const server = createServer();
  const other = new WebSocketServer({ noServer: true });
  const attachOther = () =>
    server.on('upgrade', (req, socket, head) => {
      if (req.url === '/raw') other.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data) => ws.send(`echo ${data}`)));
    });
  if (when === 'before') attachOther();
  const service = attached(server);
  if (when === 'after') attachOther();
  const port = await listen(server);
  const ws = new WebSocket(`ws://127.0.0.1:${port}/raw`);
  await next(ws, 'open');
  await works(service, `http://127.0.0.1:${port}`);
  const answer = next(ws, 'message');
  ws.send('hello');
  expect(String((await answer)[0])).toBe('echo hello');
  ws.terminate();
});

test('two services with different paths', async () => {
  const server = createServer((_req, res) => void res.writeHead(404).end());
  const [first, second] = [attached(server, { path: '/first' }), attached(server, { path: '/second' })];
  const url = `http://127.0.0.1:${await listen(server)}`;
  for (const [, transports] of transportSettings) {
    const a = await connect(url, { path: '/first', transports });
    const b = await connect(url, { path: '/second', transports });
    expect([first.getUser(a.id!), first.getUser(b.id!)]).toEqual([expect.anything(), undefined]);
    expect([second.getUser(a.id!), second.getUser(b.id!)]).toEqual([undefined, expect.anything()]);
    await first.broadcastToAll('news', 1);
    await exactly(1, first, 'news', a);
    await never(second, 'news', b);
  }
  await refused(open(url, { path: '/third' }));
});

test('two services on servers of their own', async () => {
  const [first, second] = [await start(), await start()];
  const [a, b] = [await connect(first), await connect(second)];
  await first.service.broadcastToAll('news', 1);
  await exactly(1, first.service, 'news', a);
  await never(second.service, 'news', b);
  await first.service.shutdown();
  await drained(second.service, b);
});

test('initialize after listen', async () => {
  const server = createServer();
  const port = await listen(server);
  await works(attached(server), `http://127.0.0.1:${port}`);
});

test('a path with and without a slash at the end', async () => {
  for (const path of ['/chat', '/chat/']) {
    const running = await start({ path });
    await works(running.service, running.url, { path: '/chat' });
    await works(running.service, running.url, { path: '/chat/' });
  }
});

test('an HTTPS server', async () => {
  const server = createHttpsServer(certificate(), (_req, res) => res.end('app'));
  const service = attached(server);
  const port = await listen(trackServer(server as unknown as HttpServer));
  for (const [, transports] of transportSettings) {
    const client = await connect(`https://127.0.0.1:${port}`, { transports, rejectUnauthorized: false });
    expect(service.getSocket(client.id!)!.handshake.secure).toBe(true);
    const room = await service.createRoom('r');
    await client.emitWithAck('room:join', { roomId: room.id });
    for (let index = 0; index < 20; index++) client.emit('message', { roomId: room.id, content: `${index}` });
    await client.emitWithAck('message', { roomId: room.id, content: 'x'.repeat(200_000) });
    await drained(service, client);
    const contents = received(client, 'message').map((message) => message.content);
    expect(contents.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, index) => `${index}`));
    expect(contents[20]).toHaveLength(200_000);
    const bin = next(client, 'bin');
    await service.broadcastToRoom(room.id, 'bin', Buffer.alloc(100_000, 1));
    expect((await bin)[0]).toHaveLength(100_000);
    const gone = next(service, 'disconnect');
    client.disconnect();
    expect((await gone)[1]).toBe('client namespace disconnect');
  }
});

test('what comes over a Unix socket leaves JavaScript as well', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'unix-'));
  afterTest(() => rmSync(directory, { recursive: true }));
  const server = trackServer(createServer());
  const service = attached(server);
  const path = join(directory, 'socket');
  await new Promise<void>((done) => server.listen(path, done));
  const socket = new WebSocket(`ws+unix:${path}:/socket.io/?EIO=4&transport=websocket`);
  afterTest(() => socket.terminate());
  await next(socket, 'message');
  socket.send('40');
  // It is served while nothing else runs here.
  const end = performance.now() + 5_000;
  while (service.getStats().activeConnections === 0 && performance.now() < end);
  expect(service.getStats().activeConnections).toBe(1);
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
