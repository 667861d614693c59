// Contract section 3: `shutdown()` holds its 10 s whatever else is open on the HTTP server, and leaves that to its owner.

import { createServer, request, type Server as HttpServer, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect as connectTo, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Duplex } from 'node:stream';
import { Server as SocketIoServer } from 'socket.io';
import { WebSocket, WebSocketServer } from 'ws';
import { certificate } from '../support/certificate';
import { afterTest, connect, drained, listen, next, silentLogger, track, WebSocketService } from '../support/harness';

/** A service on the server, and what it warns of. */
function attached(httpServer: HttpServer, path = '/socket.io') {
  const warnings: string[] = [];
  const logger = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
  const service = track(new WebSocketService({ path, logger }));
  service.initialize(httpServer);
  return { service, warnings };
}

/** An echo of somebody else's on the server, at `/echo`, and a client of it. */
async function echoing(httpServer: HttpServer, url: string): Promise<WebSocket> {
  const echo = new WebSocketServer({ noServer: true });
  echo.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  httpServer.on('upgrade', (req, socket, head) => {
    if (req.url!.startsWith('/echo')) echo.handleUpgrade(req, socket, head, (client) => echo.emit('connection', client));
  });
  const client = new WebSocket(`${url.replace('http', 'ws')}/echo?token=secret`, { rejectUnauthorized: false });
  afterTest(() => client.terminate());
  await next(client, 'open');
  return client;
}

async function echoes(client: WebSocket): Promise<void> {
  const back = next(client, 'message');
  client.send('still here');
  expect(String((await back)[0])).toBe('still here');
}

/** A request whose response the application has yet to give. */
async function pending(httpServer: HttpServer, port: number, path: string) {
  const begun = new Promise<ServerResponse>((done) =>
    httpServer.on('request', (req, res) => void (req.url === path && done(res))),
  );
  const sent = request({ port, host: '127.0.0.1', path, agent: false });
  sent.on('error', () => {});
  const answered = new Promise<number>((done) => sent.on('response', (response) => done(response.resume().statusCode!)));
  sent.end();
  return { response: await begun, answered };
}

function opened(port: number, text: string): Socket {
  const socket = connectTo(port, '127.0.0.1', () => socket.write(text));
  socket.on('error', () => {});
  afterTest(() => socket.destroy());
  return socket.resume();
}

test('a ws server and a socket.io server go on', async () => {
  const httpServer = createServer();
  const other = new SocketIoServer(httpServer, { path: '/other' });
  const { service, warnings } = attached(httpServer);
  const port = await listen(httpServer);
  const url = `http://127.0.0.1:${port}`;
  const echo = await echoing(httpServer, url);
  const foreign = await connect(url, { path: '/other', transports: ['websocket'] });
  await drained(service, await connect(url));
  await service.shutdown();
  await echoes(echo);
  const asked = next(foreign, 'question');
  other.emit('question', 1);
  await asked;
  expect(warnings).toEqual([
    "shutdown has left 2 connections of the HTTP server that are not the service's to their owners: " +
      '127.0.0.1 /echo (upgraded), 127.0.0.1 /other/ (upgraded)',
  ]);
  other.disconnectSockets(true);
});

test('a request of the application is answered when it is ready, even after the shutdown', async () => {
  const httpServer = createServer();
  const { service, warnings } = attached(httpServer);
  const port = await listen(httpServer);
  const { response, answered } = await pending(httpServer, port, '/report?key=secret');
  await service.shutdown();
  expect(warnings).toEqual([expect.stringMatching(/ 1 connections .*: 127\.0\.0\.1 \/report$/)]);
  const over = next(httpServer, 'close');
  response.end('done');
  expect(await answered).toBe(200);
  await over;
});

test('a request that ends meanwhile is waited for and not named', async () => {
  const httpServer = createServer();
  const { service, warnings } = attached(httpServer);
  const port = await listen(httpServer);
  const { response, answered } = await pending(httpServer, port, '/report');
  const ended = service.shutdown();
  response.end('done');
  await Promise.all([ended, answered]);
  expect(warnings).toEqual([]);
});

test('a tunnel stays, and what nobody answers for is closed', async () => {
  const httpServer = createServer();
  const { service, warnings } = attached(httpServer);
  const tunnelled = new Promise<Duplex>((done) => httpServer.on('connect', (_req, socket) => done(socket)));
  const port = await listen(httpServer);
  const silent = opened(port, '');
  const half = opened(port, 'POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4');
  const tunnel = opened(port, 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n');
  const [inner, gone] = [await tunnelled, Promise.all([next(silent, 'close'), next(half, 'close')])];
  await service.shutdown();
  await gone;
  expect(warnings).toEqual([expect.stringMatching(/ 1 connections .*: 127\.0\.0\.1 a:1 \(upgraded\)$/)]);
  const arrived = next(tunnel, 'data');
  inner.write('through');
  expect(String((await arrived)[0])).toBe('through');
  inner.destroy();
});

test('other services on the server keep their clients', async () => {
  const httpServer = createServer();
  const [first, second] = [attached(httpServer, '/first'), attached(httpServer, '/second')];
  const url = `http://127.0.0.1:${await listen(httpServer)}`;
  await connect(url, { path: '/first' });
  const client = await connect(url, { path: '/second', transports: ['websocket'] });
  const echo = await echoing(httpServer, url);
  await first.service.shutdown();
  await drained(second.service, client);
  await second.service.shutdown();
  await echoes(echo);
  for (const { warnings } of [first, second]) expect(warnings).toEqual([expect.stringContaining('/echo (upgraded)')]);
});

test('over TLS it is the same', async () => {
  const httpServer = createHttpsServer(certificate());
  const { service, warnings } = attached(httpServer);
  const port = await listen(httpServer);
  const url = `https://127.0.0.1:${port}`;
  const echo = await echoing(httpServer, url);
  const silent = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }).resume();
  silent.on('error', () => {});
  await next(silent, 'secureConnect');
  const gone = next(silent, 'close');
  await drained(service, await connect(url, { transports: ['websocket'], rejectUnauthorized: false }));
  await service.shutdown();
  await gone;
  await echoes(echo);
  expect(warnings).toEqual([expect.stringContaining('127.0.0.1 /echo (upgraded)')]);
});
