// `service.listen`: a door of the service's own, which behaves like Node.js's where both can be asked.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type IncomingMessage } from 'node:http';
import { connect as connectTo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CorsConfig, ListenOptions, WebSocketConfig } from '../../index';
import { afterTest, connect, listen, next, silentLogger, singleTransports, start, track, trackServer, WebSocketService } from '../support/harness';
import { raw, upgradeHeaders } from '../support/http';
import { Program } from '../support/program';

const HOST = '127.0.0.1';
const POLL = '/socket.io/?EIO=4&transport=polling';

function make(config: WebSocketConfig = {}): InstanceType<typeof WebSocketService> {
  return track(new WebSocketService({ logger: silentLogger, ...config }));
}

/** A service that listens by itself: its port. */
async function openDoor(config: WebSocketConfig = {}, options: Partial<ListenOptions> = {}) {
  const service = make(config);
  const { port } = await service.listen({ ...options, port: 0, host: HOST, path: undefined });
  return { service, port, url: `http://${HOST}:${port}` };
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'door-'));
  afterTest(() => rmSync(path, { recursive: true }));
  return path;
}

/** What comes back for these bytes until the connection is closed. */
function exchange(port: number, text: string): Promise<string> {
  return new Promise((done) => {
    let received = '';
    const socket = connectTo(port, HOST, () => socket.write(text));
    socket.on('data', (chunk) => (received += chunk));
    socket.on('error', () => {});
    socket.on('close', () => done(received));
  });
}

describe('an address', () => {
  test('is that of the system when any port may be', async () => {
    const { service, port, url } = await openDoor();
    expect(port).toBeGreaterThan(0);
    const client = await connect(url, { transports: ['websocket'] });
    expect(service.getUser(client.id!)).toBeDefined();
  });

  test('is every address without a host', async () => {
    const service = make();
    const address = await service.listen({ port: 0 });
    expect(['::', '0.0.0.0']).toContain(address.address);
    expect(address.family).toBe(address.address === '::' ? 'IPv6' : 'IPv4');
    expect((await raw(address.port, POLL)).status).toBe(200);
  });

  test('is a Unix socket, which goes with the service', async () => {
    const service = make();
    const path = join(folder(), 'socket');
    expect(await service.listen({ path })).toEqual({ path });
    const response = await new Promise<IncomingMessage>((done) => request({ socketPath: path, path: POLL }, done).end());
    response.resume();
    expect(response.statusCode).toBe(200);
    const [upgraded] = await next(request({ socketPath: path, path: '/socket.io/?EIO=4&transport=websocket', headers: upgradeHeaders }).end() as any, 'upgrade');
    expect(upgraded.statusCode).toBe(101);
    await service.shutdown();
    expect(existsSync(path)).toBe(false);
  });

  test('may be one of several, beside an HTTP server', async () => {
    const { service, url } = await start();
    const [one, other] = await Promise.all([service.listen({ port: 0, host: HOST }), service.listen({ port: 0, host: 'localhost' })]);
    const hosts = [url, `http://${HOST}:${one.port}`, `http://localhost:${other.port}`];
    for (const host of hosts) await connect(host);
    expect(service.getConnectedUsers()).toHaveLength(3);
  });

  test('may be shared where that is asked for', async () => {
    const { port } = await openDoor({}, { reusePort: true });
    await expect(make().listen({ port, host: HOST, reusePort: true })).resolves.toMatchObject({ port });
    await expect(make().listen({ port, host: HOST })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

describe('what cannot be', () => {
  test.each([
    [undefined, /^options must be/],
    [{}, /^port must be given/],
    [{ port: -1 }, /^port must be an integer from 0 to 65535/],
    [{ port: '80' }, /write 80 without quotes/],
    [{ prot: 1 }, /did you mean port/],
    [{ port: 1, path: 'x' }, /^path must be left out/],
    [{ port: 1, server: {} }, /^server must be an http.Server/],
    [{ port: 1, backlog: 0 }, /^backlog must be/],
    [{ port: 1, reusePort: 1 }, /^reusePort must be a boolean/],
  ])('%p is refused by its name', async (options, message) => {
    await expect(make().listen(options as any)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) });
  });

  test('an address that is taken has the error of Node.js', async () => {
    const port = await listen(createServer());
    const theirs = createServer();
    const error = next(theirs, 'error');
    theirs.listen(port, HOST);
    const [{ code, errno, syscall, address, message }] = await error;
    await expect(make().listen({ port, host: HOST })).rejects.toMatchObject({ code, errno, syscall, address, port, message });
  });

  test('nobody listens once the end has been asked for', async () => {
    const service = make();
    const ended = service.shutdown();
    await expect(service.listen({ port: 0 })).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await ended;
  });

  test('nobody listens after the end', async () => {
    const { service, port } = await openDoor();
    await service.shutdown();
    await expect(raw(port, POLL)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('other paths', () => {
  test('are not there without a server', async () => {
    const { port } = await openDoor();
    expect((await raw(port, '/other')).status).toBe(404);
    expect((await raw(port, '/other', { headers: upgradeHeaders })).status).toBe(404);
  });

  test('are those of the server, byte for byte, also on a connection that was ours before', async () => {
    const server = trackServer(createServer((req, res) => {
      let body = '';
      req.on('data', (chunk) => (body += chunk));
      req.on('end', () => res.end(JSON.stringify({ url: req.url, headers: req.rawHeaders, body })));
    }));
    const { port } = await openDoor({}, { server });
    const first = `GET ${POLL} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const chunked = 'POST /x?y HTTP/1.1\r\nhOsT: a\r\nX-Twice: 1\r\nX-Twice: 2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n';
    for (const before of ['', first]) {
      const answer = await exchange(port, `${before}${chunked}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`);
      const { url, headers, body } = JSON.parse(/\{"url.*\}/.exec(answer)![0]);
      expect(answer.startsWith('HTTP/1.1 200')).toBe(true);
      expect(answer.includes('0{"sid"')).toBe(before !== '');
      expect([url, body]).toEqual(['/x?y', 'hello world']);
      expect(headers).toEqual(['hOsT', 'a', 'X-Twice', '1', 'X-Twice', '2', 'Transfer-Encoding', 'chunked', 'Connection', 'close']);
    }
  });

  test('the bundle of the client is served', async () => {
    const { port } = await openDoor();
    const bundle = await raw(port, '/socket.io/socket.io.min.js');
    expect([bundle.status, bundle.headers['content-type']]).toEqual([200, 'application/javascript; charset=utf-8']);
  });
});

describe('a request that is none', () => {
  test.each([
    ['without a host', `GET ${POLL} HTTP/1.1\r\n\r\n`],
    ['with two hosts', `GET ${POLL} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`],
    ['with a length and chunks', `POST ${POLL} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['with chunks and a length', `POST ${POLL} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ncontent-length : 4\r\n\r\n0\r\n\r\n`],
    ['with two lengths', `POST ${POLL} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd`],
    ['to another server', `GET http://other${POLL} HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['that is to be a tunnel', 'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['whose lines end otherwise', `GET ${POLL} HTTP/1.1\nHost: a\n\n`],
    ['of rubbish', '\x16\x03\x01\x02\x00\r\n\r\n'],
  ])('%s is refused, and the connection closed', async (_name, text) => {
    const { service, port } = await openDoor();
    const answer = await exchange(port, text);
    expect(answer === '' || answer.startsWith('HTTP/1.1 400 ')).toBe(true);
    expect(service.getStats().totalConnections).toBe(0);
  });

  test.each([
    ['for an unknown session', `POST ${POLL}&sid=none HTTP/1.1\r\nHost: a\r\n`],
    ['that asks for a session', `GET ${POLL} HTTP/1.1\r\nHost: a\r\n`],
    ['that asks what may be', `OPTIONS ${POLL} HTTP/1.1\r\nHost: a\r\n`],
  ])('the body of a request %s is no request', async (_name, head) => {
    const urls: string[] = [];
    const server = trackServer(createServer((req, res) => void res.end(String(urls.push(req.url!)))));
    const { port } = await openDoor({}, { server });
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: a\r\nX: ';
    for (const [announced, body] of [
      [`Content-Length: ${hidden.length}`, hidden],
      ['Transfer-Encoding: chunked', `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`],
    ]) {
      const answer = await exchange(port, `${head}${announced}\r\n\r\n${body}GET /next HTTP/1.1\r\nHost: a\r\n\r\n`);
      expect(answer.match(/HTTP\/1.1 /g)).toHaveLength(1);
      expect(urls).toEqual([]);
    }
  });

  test('what a client sends before it goes is taken', async () => {
    const { service, port } = await openDoor();
    const sid = JSON.parse((await raw(port, POLL)).body.slice(1)).sid;
    await raw(port, `${POLL}&sid=${sid}`, { method: 'POST', body: '40' });
    await raw(port, `${POLL}&sid=${sid}`);
    const [user] = service.getConnectedUsers();
    const heard = new Promise((done) => service.getSocket(user!.socketId)!.on('last', done));
    const body = '42["last",1]';
    const socket = connectTo(port, HOST);
    socket.end(`POST ${POLL}&sid=${sid} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    expect(await heard).toBe(1);
  });

  test('a head that is too large is refused', async () => {
    const { port } = await openDoor();
    const answer = await exchange(port, `GET ${POLL} HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`);
    expect(answer === '' || answer.startsWith('HTTP/1.1 431 ')).toBe(true);
  });

  test('an upgrade without the word for it is a request', async () => {
    const { port } = await openDoor();
    const { Connection, ...headers } = upgradeHeaders;
    const answer = await raw(port, '/socket.io/?EIO=4&transport=websocket', { headers: { ...headers, Connection: 'close' } });
    expect([answer.status, JSON.parse(answer.body).code]).toEqual([400, 3]);
  });
});

describe('as by way of Node.js', () => {
  const OURS = 'https://ours.example';
  test.each<[string, CorsConfig]>([
    ['every origin', { origin: '*', credentials: true }],
    ['each origin', { origin: true, credentials: true, exposedHeaders: ['X-A', 'X-B'] }],
    ['no origin', { origin: false, credentials: true }],
    ['one origin', { origin: OURS, methods: ['GET', 'POST'], maxAge: 60, allowedHeaders: 'X-C' }],
    ['some origins', { origin: [OURS, 'https://other.example'], optionsSuccessStatus: 200 }],
    ['a preflight that goes on', { origin: OURS, preflightContinue: true }],
  ])('browsers are told the same of %s', async (_name, cors) => {
    const httpServer = createServer();
    make({ cors }).initialize(httpServer);
    const theirs = await listen(httpServer);
    const { port } = await openDoor({ cors });
    for (const origin of [OURS, 'https://evil.example']) {
      for (const [method, path] of [['GET', POLL], ['GET', '/socket.io/?transport=none'], ['OPTIONS', POLL]] as const) {
        const headers = { Origin: origin, 'Access-Control-Request-Headers': 'X-D', Host: 'here' };
        const told = async (at: number) => {
          const { status, headers: all } = await raw(at, path, { method, headers });
          // With status 204 there must be no length (RFC 9110, section 8.6), which Node.js lets pass.
          if (status === 204) delete all['content-length'];
          const compared = ['vary', 'content-length', 'content-type', 'cache-control'];
          const own = Object.entries(all).filter(([name]) => name.startsWith('access-control') || compared.includes(name));
          return { status, own: own.sort() };
        };
        expect(await told(port)).toEqual(await told(theirs));
      }
      const upgrade = { headers: { ...upgradeHeaders, Origin: origin, Host: 'here' } };
      const path = '/socket.io/?EIO=4&transport=websocket';
      expect((await raw(port, path, upgrade)).status).toBe((await raw(theirs, path, upgrade)).status);
    }
  });

  test.each(singleTransports)('the handshake over %s says the same', async (transport) => {
    const httpServer = createServer();
    const theirs = make();
    theirs.initialize(httpServer);
    const theirPort = await listen(httpServer);
    const { service, port } = await openDoor();
    const said = async (one: typeof service, at: number) => {
      const extraHeaders = { 'X-One': 'a', Cookie: 'a=1; b=2', Host: 'here', Authorization: 'x' };
      const client = await connect(`http://${HOST}:${at}?a=b&a=c`, { transports: [transport], extraHeaders, auth: { token: 1 } });
      const { time, issued, headers, url, query, ...rest } = one.getSocket(client.id!)!.handshake;
      const { 'sec-websocket-key': _key, host: _host, ...others } = headers;
      return { ...rest, others, query: { ...query, t: undefined }, path: url.split('?')[0] };
    };
    expect(await said(service, port)).toEqual(await said(theirs, theirPort));
  });

  test('a session cookie is set', async () => {
    const { port } = await openDoor({ cookie: { name: 'sid', maxAge: 60 } });
    const { headers, body } = await raw(port, POLL);
    expect(headers['set-cookie']).toEqual([`sid=${JSON.parse(body.slice(1)).sid}; Max-Age=60; Path=/; HttpOnly; SameSite=Lax`]);
  });

  test('a body that is too large ends its session', async () => {
    const { port } = await openDoor({ maxHttpBufferSize: 1000 });
    const sid = JSON.parse((await raw(port, POLL)).body.slice(1)).sid;
    expect((await raw(port, `${POLL}&sid=${sid}`, { method: 'POST', body: 'x'.repeat(1001) })).status).toBe(413);
    expect((await raw(port, `${POLL}&sid=${sid}`)).status).toBe(400);
  });
});

test.each(singleTransports)('a client gets in over %s while JavaScript is busy', async (transport) => {
  const program = new Program('newcomers.js');
  const port = Number((await program.said('port')).slice(5));
  const file = join(folder(), 'served');
  program.tell(file);
  await program.said('busy');
  const client = await connect(`http://${HOST}:${port}`, { transports: [transport] });
  expect(program.lines).not.toContain('free');
  writeFileSync(file, client.id!);
  await program.said('free');
});
