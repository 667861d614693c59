// `service.listen` with `tls`: who the service says it is, whom it lets in, and what goes to Node.js.

import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer, request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import type { ListenOptions, TlsOptions, WebSocketConfig } from '../../index';
import { certificate, type Certificate } from '../support/certificate';
import { eventually } from '../support/eventually';
import { afterTest, connect, next, silentLogger, singleTransports, track, trackServer, WebSocketService } from '../support/harness';

const HOST = '127.0.0.1';
const POLL = '/socket.io/?EIO=4&transport=polling';

let mine: Certificate;
let other: Certificate;
let rsa: Certificate;
let root: Certificate;
let between: Certificate;
let issued: Certificate;
beforeAll(() => {
  [mine, other] = [certificate(), certificate()];
  rsa = certificate({ kind: 'rsa' });
  root = certificate({ isAuthority: true, name: 'root' });
  between = certificate({ isAuthority: true, name: 'between', issuer: root });
  issued = certificate({ issuer: between });
});

async function open(tls: TlsOptions, { options, config }: { options?: Partial<ListenOptions>; config?: WebSocketConfig } = {}) {
  const service = track(new WebSocketService({ logger: silentLogger, ...config }));
  const { port } = await service.listen({ ...options, port: 0, host: HOST, path: undefined, tls });
  return { service, port, url: `https://${HOST}:${port}` };
}

/** A connection after its handshake. */
async function dial(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ port, host: HOST, rejectUnauthorized: false, ...options });
  afterTest(() => socket.destroy());
  await once(socket, 'secureConnect');
  socket.on('error', () => {});
  return socket;
}

/** Which certificate is shown. */
const shown = async (port: number, options?: ConnectionOptions) => (await dial(port, options)).getPeerX509Certificate()!.fingerprint256;
const fingerprint = ({ cert }: Certificate) => new X509Certificate(cert).fingerprint256;

/** What a request is answered. */
function ask(port: number, path: string, { method = 'GET', body = Buffer.alloc(0), ...options }: ConnectionOptions & { method?: string; body?: Buffer } = {}) {
  return new Promise<{ status: number; body: Buffer }>((done, fail) => {
    const sent = request({ host: HOST, port, path, method, rejectUnauthorized: false, agent: false, ...options }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk)).on('error', fail);
      response.on('end', () => done({ status: response.statusCode!, body: Buffer.concat(chunks) }));
    });
    sent.on('error', fail).end(body);
  });
}

const trusting = { rejectUnauthorized: false };

describe('a handshake', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('agrees on %s, and on HTTP/1.1', async (version) => {
    const { port } = await open(mine);
    const socket = await dial(port, { minVersion: version, maxVersion: version, ALPNProtocols: ['h2', 'http/1.1'] });
    expect([socket.getProtocol(), socket.alpnProtocol]).toEqual([version, 'http/1.1']);
  });

  test('asks for at least minVersion', async () => {
    const { port } = await open({ ...mine, minVersion: 'TLSv1.3' });
    await expect(dial(port, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/);
    expect((await dial(port)).getProtocol()).toBe('TLSv1.3');
  });

  test('agrees on a protocol of alpn or on none', async () => {
    const { port } = await open({ ...mine, alpn: ['mine', 'http/1.1'] });
    expect((await dial(port, { ALPNProtocols: ['http/1.1', 'mine'] })).alpnProtocol).toBe('mine');
    expect((await dial(port)).alpnProtocol).toBe(false);
    await expect(dial(port, { ALPNProtocols: ['other'] })).rejects.toThrow(/no application protocol/);
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('over %s is shorter for a client that comes back', async (version) => {
    const { port } = await open(mine);
    const first = connectTls({ port, host: HOST, ...trusting, minVersion: version, maxVersion: version });
    afterTest(() => first.destroy());
    const [session] = await once(first, 'session');
    const again = await dial(port, { session, minVersion: version, maxVersion: version });
    expect([first.isSessionReused(), again.isSessionReused()]).toEqual([false, true]);
  });

  test('that comes byte by byte is as good as any', async () => {
    const { port } = await open(mine);
    const slow = connectTcp(port, HOST);
    afterTest(() => slow.destroy());
    const { write } = slow;
    slow.write = ((chunk: Buffer, ...rest: any[]) => {
      for (const byte of chunk) write.call(slow, Buffer.of(byte) as any);
      return typeof rest.at(-1) === 'function' ? (rest.at(-1)(), true) : true;
    }) as any;
    slow.setNoDelay(true);
    const socket = await dial(port, { socket: slow });
    socket.write(`GET ${POLL} HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1.1 200/);
  });

  test('may come with a request, and with the end of the client', async () => {
    const { port } = await open(mine);
    const socket = connectTls({ port, host: HOST, ...trusting });
    socket.end(`GET ${POLL} HTTP/1.1\r\nHost: a\r\n\r\n`);
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk));
    await next(socket, 'close');
    expect(answer).toMatch(/^HTTP\/1.1 200/);
  });

  test('is ended by what is none, and nobody else is disturbed', async () => {
    const { port, url } = await open(mine);
    const client = await connect(url, { transports: ['websocket'], ...trusting });
    for (const rubbish of ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', '\x16\x03\x01\xff\xff'.repeat(50)]) {
      const socket = connectTcp(port, HOST, () => socket.write(rubbish, 'latin1'));
      socket.on('error', () => {}).resume();
      await next(socket, 'close');
    }
    expect(client.connected).toBe(true);
  });

  test('that is never finished does not hold up the end', async () => {
    const { port, service } = await open(mine);
    const socket = connectTcp(port, HOST);
    socket.on('error', () => {}).resume();
    await once(socket, 'connect');
    const closed = next(socket, 'close');
    await service.shutdown();
    await closed;
  });
});

describe('who the service is', () => {
  test.each([
    ['a string', () => ({ cert: String(mine.cert), key: String(mine.key) })],
    ['files', () => ({ certFile: file(mine.cert), keyFile: file(mine.key) })],
    ['one text with both', () => ({ cert: Buffer.concat([mine.key, mine.cert]), key: Buffer.concat([mine.cert, mine.key]) })],
    ['a key with a passphrase', () => ({ cert: mine.cert, key: encrypted(mine.key), passphrase: 'secret' })],
    ['a key with a passphrase of its own', () => ({ cert: mine.cert, key: [{ pem: encrypted(mine.key), passphrase: 'secret' }] })],
    ['a key in the form of its kind', () => ({ cert: mine.cert, key: createPrivateKey(mine.key).export({ type: 'sec1', format: 'pem' }) })],
  ] as [string, () => TlsOptions][])('is told by %s', async (_name, tls) => {
    const { port } = await open(tls());
    expect(await shown(port)).toBe(fingerprint(mine));
  });

  test('is what the client can check, of several, in any order of the keys', async () => {
    const { port } = await open({ cert: [mine.cert, rsa.cert], key: [rsa.key, mine.key] });
    expect(await shown(port)).toBe(fingerprint(mine));
    expect(await shown(port, { sigalgs: 'RSA-PSS+SHA256:RSA+SHA256' })).toBe(fingerprint(rsa));
  });

  test.each(['rsa', 'ed25519'] as const)('may have a key of the kind %s', async (kind) => {
    const own = certificate({ kind });
    const { port, url } = await open(own);
    expect(await shown(port)).toBe(fingerprint(own));
    await connect(url, { transports: ['websocket'], ...trusting });
  });

  test.each([
    ['cert', () => ({ ...issued, cert: Buffer.concat([issued.cert, between.cert]) })],
    ['ca, as with Node.js', () => ({ ...issued, ca: [root.cert, between.cert] })],
  ])('is led to a known authority by what is in %s', async (_name, tls) => {
    const { port } = await open(tls());
    expect((await dial(port, { rejectUnauthorized: true, ca: root.cert })).authorized).toBe(true);
  });
});

describe('clients are asked for a certificate', () => {
  test('with requestCert: those without are refused, and those that nobody vouches for', async () => {
    const guest = certificate({ issuer: root, name: 'guest' });
    const { port } = await open({ ...mine, ca: root.cert, requestCert: true });
    expect((await ask(port, POLL, guest)).status).toBe(200);
    await expect(ask(port, POLL)).rejects.toThrow(/certificate required/);
    await expect(ask(port, POLL, certificate({ issuer: between }))).rejects.toThrow(/alert/);
  });

  test('and an authority that only leads to others lets nobody in', async () => {
    const { port } = await open({ ...mine, ca: [certificate({ isAuthority: true }).cert, between.cert], requestCert: true });
    await expect(ask(port, POLL, certificate({ issuer: between }))).rejects.toThrow(/alert/);
  });

  test('and those without are let in, where rejectUnauthorized is false', async () => {
    const { port } = await open({ ...mine, ca: root.cert, requestCert: true, rejectUnauthorized: false });
    expect((await ask(port, POLL)).status).toBe(200);
    await expect(ask(port, POLL, other)).rejects.toThrow(/alert/);
  });
});

describe('setSecureContext', () => {
  test('gives new connections another certificate, and the others go on', async () => {
    const { service, port, url } = await open(mine);
    const client = await connect(url, { transports: ['websocket'], ...trusting });
    service.setSecureContext(other);
    expect(await shown(port)).toBe(fingerprint(other));
    await connect(url, { transports: ['websocket'], ...trusting });
    const heard = next(client, 'news');
    await service.broadcastToAll('news', 1);
    expect(await heard).toEqual([1]);
  });

  test('leaves everything as it is when the options are of no use', async () => {
    const { service, port } = await open(mine);
    expect(() => service.setSecureContext({ cert: other.cert, key: mine.key })).toThrow('tls.key is not the key of tls.cert');
    expect(await shown(port)).toBe(fingerprint(mine));
  });

  test('needs somewhere to be used', () => {
    const service = track(new WebSocketService({ logger: silentLogger }));
    expect(() => service.setSecureContext(mine)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }));
  });

  test('is over with the service', async () => {
    const { service } = await open(mine);
    await service.shutdown();
    expect(() => service.setSecureContext(other)).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });
});

describe('files that are watched', () => {
  test('are used when they change, as links too, and only when they fit together', async () => {
    const directory = folder();
    const put = (name: string, bytes: Buffer) => {
      // As certbot and Kubernetes do it: a link that leads elsewhere at once.
      const [target, link] = [join(directory, `${name}-${Math.random()}`), join(directory, `${name}-link`)];
      writeFileSync(target, bytes);
      symlinkSync(target, link);
      renameSync(link, join(directory, name));
    };
    put('cert.pem', mine.cert);
    put('key.pem', mine.key);
    const errors: unknown[][] = [];
    const logger = { ...silentLogger, error: (...args: unknown[]) => void errors.push(args) };
    const tls = { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem'), watch: true };
    const { port } = await open(tls, { config: { logger } });
    put('cert.pem', other.cert);
    await eventually(() => expect(errors).toHaveLength(1));
    expect(String(errors[0]![1])).toMatch(/tls.key is not the key of tls.cert/);
    expect(await shown(port)).toBe(fingerprint(mine));
    put('key.pem', other.key);
    await eventually(async () => expect(await shown(port)).toBe(fingerprint(other)));
    expect(errors).toHaveLength(1);
  });
});

test('each door has its own certificate, and looks after its own files', async () => {
  const [one, two] = [folder(), folder()];
  const write = (directory: string, { cert, key }: Certificate) => {
    writeFileSync(join(directory, 'cert.pem'), cert);
    writeFileSync(join(directory, 'key.pem'), key);
  };
  const files = (directory: string) => ({ certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem'), watch: true });
  write(one, mine);
  write(two, rsa);
  const { service, port: first } = await open(files(one));
  const { port: second } = await service.listen({ port: 0, host: HOST, tls: files(two) });
  const { port: third } = await service.listen({ port: 0, host: HOST, tls: mine });
  write(one, other);
  await eventually(async () => expect(await shown(first)).toBe(fingerprint(other)));
  expect([await shown(second), await shown(third)]).toEqual([rsa, mine].map(fingerprint));
  write(two, mine);
  await eventually(async () => expect(await shown(second)).toBe(fingerprint(mine)));
  service.setSecureContext(rsa);
  for (const port of [first, second, third]) expect(await shown(port)).toBe(fingerprint(rsa));
});

describe('what is Node.js’s', () => {
  const echo: RequestListener = (req, res) => {
    const { encrypted, remoteAddress, remotePort, remoteFamily } = req.socket as any;
    res.setHeader('x-client', JSON.stringify({ encrypted, remoteAddress, remotePort, remoteFamily }));
    req.pipe(res);
  };

  test.each([
    ['an http.Server', () => createServer(echo)],
    ['an https.Server', () => createHttpsServer(echo) as any],
  ])('goes to %s, however much it is', async (_name, make) => {
    const { port } = await open(mine, { options: { server: trackServer(make()) } });
    const body = Buffer.alloc(8 << 20, 'x');
    const [answer, small] = await Promise.all([ask(port, '/echo', { method: 'POST', body }), ask(port, '/echo')]);
    expect(answer.body.equals(body)).toBe(true);
    expect(small.status).toBe(200);
  });

  test('knows its client', async () => {
    const server = trackServer(createServer());
    const { port } = await open(mine, { options: { server } });
    const begun = once(server, 'request');
    const socket = await dial(port);
    socket.write('GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const [req, res] = await begun;
    expect([req.socket.encrypted, req.socket.remoteAddress, req.socket.remotePort, req.socket.remoteFamily]).toEqual([true, HOST, socket.localPort, 'IPv4']);
    const closed = next(socket, 'close');
    res.end();
    socket.resume();
    await closed;
  });

  test('ends when its client does', async () => {
    const server = trackServer(createServer());
    const { port } = await open(mine, { options: { server } });
    const begun = once(server, 'request');
    const socket = await dial(port);
    socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n');
    const [req] = await begun;
    const closed = next(req.socket, 'close');
    socket.destroy();
    await closed;
  });

  test('may be a WebSocket', async () => {
    const server = trackServer(createServer());
    const sockets = new WebSocketServer({ server, path: '/echo' });
    afterTest(() => sockets.close());
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    const { port } = await open(mine, { options: { server } });
    const client = new WebSocket(`wss://${HOST}:${port}/echo`, trusting);
    afterTest(() => client.terminate());
    await once(client, 'open');
    client.send('y'.repeat(300_000));
    expect(String((await once(client, 'message'))[0])).toBe('y'.repeat(300_000));
  });

  test.each(singleTransports)('decides about origins, and clients over %s are served', async (transport) => {
    const config = { cors: { origin: /^https:\/\/page\.example$/ } };
    const { service, url } = await open(mine, { config });
    const options = { transports: [transport], ...trusting, extraHeaders: { Origin: 'https://page.example' } };
    const client = await connect(url, options);
    const { handshake } = service.getSocket(client.id!)!;
    expect([handshake.secure, handshake.address]).toEqual([true, HOST]);
    const heard = next(client, 'news');
    await service.broadcastToAll('news', 'z'.repeat(200_000));
    expect(await heard).toEqual(['z'.repeat(200_000)]);
    const gone = next(service, 'disconnect');
    client.disconnect();
    await gone;
    await expect(connect(url, { ...options, extraHeaders: { Origin: 'https://evil.example' }, transports: ['websocket'] })).rejects.toThrow();
  });
});

describe('where connections cannot be handed over, Node.js listens', () => {
  const { platform } = process;
  const become = (name: string) => Object.defineProperty(process, 'platform', { value: name });
  beforeEach(() => void become('win32'));
  afterEach(() => void become(platform));

  test.each([
    ['an http.Server', () => createServer((req, res) => void res.end(req.url))],
    ['an https.Server', () => createHttpsServer((req, res) => void res.end(req.url)) as any],
  ])('with everything that tls says, in front of %s', async (_name, make) => {
    const { service, port, url } = await open(mine, { options: { server: trackServer(make()) } });
    for (const transport of singleTransports) await connect(url, { transports: [transport], ...trusting });
    expect(service.getConnectedUsers()).toHaveLength(2);
    expect((await ask(port, '/other')).body.toString()).toBe('/other');
    service.setSecureContext(other);
    expect(await shown(port)).toBe(fingerprint(other));
    await service.shutdown();
    await expect(dial(port)).rejects.toThrow(/ECONNREFUSED/);
  });
});

describe('what cannot be', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['no object', () => 'tls', /^tls must be an object/],
    ['an unknown option', () => ({ ...mine, certs: 1 }), /did you mean tls.cert/],
    ['no certificate', () => ({ key: mine.key }), /^tls.cert must be given, or tls.certFile/],
    ['no key', () => ({ cert: mine.cert }), /^tls.key must be given, or tls.keyFile/],
    ['two keys for one', () => ({ ...mine, keyFile: 'x' }), /^tls.keyFile must be left out when tls.key/],
    ['no PEM', () => ({ ...mine, cert: 'x' }), /^tls.cert holds no certificate in PEM/],
    ['a certificate that is none', () => ({ ...mine, cert: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }), /^tls.cert holds a certificate that cannot be read/],
    ['a key that is none', () => ({ ...mine, key: 'secret-key' }), /^tls.key holds no private key in PEM/],
    ['a public key', () => ({ ...mine, key: createPublicKey(mine.key).export({ type: 'spki', format: 'pem' }) }), /^tls.key holds no private key/],
    ['the key of another', () => ({ ...mine, key: other.key }), /^tls.key is not the key of tls.cert/],
    ['no passphrase', () => ({ cert: mine.cert, key: encrypted(mine.key) }), /^tls.key is encrypted, and tls.passphrase is missing or wrong/],
    ['a wrong passphrase', () => ({ cert: mine.cert, key: encrypted(mine.key), passphrase: 'hunter2' }), /^tls.key is encrypted/],
    ['a passphrase that is no text', () => ({ ...mine, passphrase: 5 }), /^tls.passphrase must be a string, got \[hidden\]/],
    ['a passphrase of a key that is no text', () => ({ cert: mine.cert, key: [{ pem: mine.key, passphrase: 5 }] }), /^tls.key must be PEM.* got \[hidden\]/],
    ['a file that is not there', () => ({ certFile: '/none/cert.pem', key: mine.key }), /^tls.certFile cannot be read: ENOENT/],
    ['a key in the place of its path', () => ({ cert: mine.cert, keyFile: String(mine.key) }), /^tls.keyFile must be the path of a file, got \[hidden\]/],
    ['nobody who vouches for himself', () => ({ ...mine, ca: between.cert, requestCert: true }), /^tls.ca holds no authority that vouches for itself/],
    ['an old version', () => ({ ...mine, minVersion: 'TLSv1' }), /^tls.minVersion must be 'TLSv1.2' or 'TLSv1.3'/],
    ['HTTP/2', () => ({ ...mine, alpn: ['h2'] }), /^tls.alpn must be/],
    ['nobody who vouches', () => ({ ...mine, requestCert: true }), /^tls.ca must be given with tls.requestCert/],
    ['nothing to watch', () => ({ ...mine, watch: true }), /^tls.watch must be left out/],
    ['a kind of key that is not known', () => curve('secp521r1'), /^tls\.key: /],
    ['a key in the place of another option', () => ({ ...mine, servername: mine.key.toString() }), /^tls.servername must be left out/],
  ])('%s', async (_name, tls, message) => {
    const refused = track(new WebSocketService({ logger: silentLogger })).listen({ port: 0, host: HOST, tls: tls() as TlsOptions });
    const error = await refused.then(() => undefined, (reason) => reason);
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(message) });
    expect(error).toBeInstanceOf(TypeError);
    const secrets = ['secret', 'hunter2', 'PRIVATE KEY', ...String(mine.key).split('\n').filter((line) => line.length > 40)];
    for (const secret of secrets) expect(error.message).not.toContain(secret);
  });

  test('an https.Server without tls', async () => {
    const listening = track(new WebSocketService({ logger: silentLogger })).listen({ port: 0, server: createHttpsServer() });
    await expect(listening).rejects.toThrow(/^server must be an http.Server where tls is not given/);
  });
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'tls-'));
  afterTest(() => rmSync(path, { recursive: true }));
  return path;
}

function file(bytes: Buffer): string {
  const path = join(folder(), 'file');
  writeFileSync(path, bytes);
  return path;
}

function encrypted(key: Buffer): string {
  return createPrivateKey(key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' }) as string;
}

/** A certificate with a key on this curve. */
function curve(name: string): Certificate {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${name}`, '-nodes', '-days', '1', '-subj', '/CN=localhost', '-keyout', '-'];
  const both = execFileSync('openssl', request, { stdio: ['ignore', 'pipe', 'ignore'] });
  return { key: both, cert: both };
}
