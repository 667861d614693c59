// How the client's bundle is sent: compressed as the client likes it, not again to who has it, and otherwise as by a
// real `socket.io` server.

import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import { start } from '../support/harness';
import { requestTo, startReference } from '../support/http';

const BUNDLES = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'];
const FILES = BUNDLES.flatMap((name) => [name, `${name}.map`]);
/** Of the service; Socket.IO has none. */
const DEFAULT_CORS = { origin: '*', credentials: true };

interface Download {
  status: number;
  headers: IncomingHttpHeaders;
  /** As it was sent. */
  bytes: Buffer;
  /** As it was meant. */
  text: string;
}

const decoders: Record<string, (bytes: Buffer) => Buffer> = { br: brotliDecompressSync, gzip: gunzipSync, deflate: inflateSync };

function download(port: number, path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Download> {
  return new Promise((done, fail) => {
    const sent = requestTo(port, { path, method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk)).on('error', fail);
      response.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const decode = bytes.length > 0 ? decoders[response.headers['content-encoding'] ?? ''] : undefined;
        done({ status: response.statusCode!, headers: response.headers, bytes, text: (decode ? decode(bytes) : bytes).toString() });
      });
    });
    sent.on('error', fail).end();
  });
}

const version: string = require('socket.io-client/package.json').version;

test.each(FILES)('%s is sent in each encoding, with the text of Socket.IO', async (file) => {
  const running = await start();
  const reference = await startReference({ cors: DEFAULT_CORS });
  for (const encoding of ['br', 'gzip', 'identity']) {
    const headers = { 'Accept-Encoding': encoding };
    const actual = await download(running.port, `/socket.io/${file}`, headers);
    const expected = await download(reference.port, `/socket.io/${file}`, headers);

    expect(actual.text === expected.text).toBe(true);
    for (const name of ['content-type', 'cache-control', 'content-encoding', 'access-control-allow-origin'] as const) {
      expect([name, actual.headers[name]]).toEqual([name, expected.headers[name]]);
    }
    expect(Number(actual.headers['content-length'])).toBe(actual.bytes.length);
    if (encoding !== 'identity') expect(actual.bytes.length).toBeLessThan(actual.text.length / 2);
  }
});

test.each<[accepts: string | undefined, encoding: string | undefined]>([
  [undefined, undefined],
  ['', undefined],
  ['br', 'br'],
  ['gzip, deflate, br', 'br'],
  ['gzip, deflate, br, zstd', 'br'],
  ['gzip, deflate', 'gzip'],
  ['GZip', 'gzip'],
  ['*', 'br'],
  ['br;q=0.5, gzip', 'gzip'],
  ['br;q=0, gzip;q=0.1', 'gzip'],
  ['gzip;q=0', undefined],
  ['br;q=0, *', 'gzip'],
  ['identity, gzip;q=0.5', undefined],
  ['deflate', undefined],
  ['identity;q=0, *;q=0', undefined],
  [`${'x, '.repeat(1000)};;q=`, undefined],
])('to %j it comes as %s', async (accepts, encoding) => {
  const running = await start();
  const answer = await download(running.port, '/socket.io/socket.io.min.js', accepts === undefined ? {} : { 'Accept-Encoding': accepts });

  expect(answer.status).toBe(200);
  expect(answer.headers['content-encoding']).toBe(encoding);
  expect(answer.text).toContain('Socket.IO v');
});

test('caches learn that the encoding, and with a list of origins the origin, makes a difference', async () => {
  const vary = async (cors?: { origin: string[] }) => {
    const { port } = await start(cors ? { cors } : {});
    const { headers } = await download(port, '/socket.io/socket.io.js', { 'Accept-Encoding': 'gzip' });
    return headers.vary?.split(', ').sort();
  };
  expect(await vary()).toEqual(['Accept-Encoding']);
  expect(await vary({ origin: ['https://example.com'] })).toEqual(['Accept-Encoding', 'Origin']);
});

describe('who has it', () => {
  const strong = `"${version}"`;
  const weak = `W/${strong}`;

  test.each<[tag: string, status: number]>([
    [strong, 304],
    [weak, 304],
    [`"0.0.0", ${weak}`, 304],
    ['*', 304],
    ['"0.0.0"', 200],
    [version, 200],
    ['W/', 200],
  ])('with the tag %s is answered %i, however it takes it', async (tag, status) => {
    const running = await start();
    for (const encoding of ['br', 'gzip', 'identity']) {
      const headers = { 'If-None-Match': tag, 'Accept-Encoding': encoding };
      const answer = await download(running.port, '/socket.io/socket.io.js', headers);
      expect([encoding, answer.status, answer.bytes.length > 0]).toEqual([encoding, status, status === 200]);
      expect(answer.headers.etag).toBe(encoding === 'identity' ? strong : weak);
      expect(answer.headers.vary).toBe('Accept-Encoding');
    }
  });

  test('is sent it again on a forced reload', async () => {
    const running = await start();
    const headers = { 'If-None-Match': strong, 'Cache-Control': 'no-cache' };
    expect((await download(running.port, '/socket.io/socket.io.js', headers)).status).toBe(200);
  });
});

test('a HEAD tells of it without sending it', async () => {
  const running = await start();
  const headers = { 'Accept-Encoding': 'gzip' };
  const whole = await download(running.port, '/socket.io/socket.io.js', headers);
  const head = await download(running.port, '/socket.io/socket.io.js', headers, 'HEAD');

  expect([head.status, head.bytes.length]).toEqual([200, 0]);
  for (const name of ['content-type', 'content-encoding', 'content-length', 'etag', 'cache-control', 'vary'] as const) {
    expect([name, head.headers[name]]).toEqual([name, whole.headers[name]]);
  }
});

test.each(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is answered as by Socket.IO', async (method) => {
  const running = await start();
  const reference = await startReference({ cors: DEFAULT_CORS });
  const paths = [
    ...['socket.io.js', 'socket.io.min.js.map', 'socket.io.js?v=1'],
    ...['socket.io.esm.js', 'socket.io.msgpack.js.map', 'socket.io.js.gz', 'socket.io.js.br', 'socket.io.js.map.map'],
    ...['version.json', 'LICENSE', 'SOCKET.IO.JS', 'socket.io%2ejs', 'x/socket.io.js', 'socket.io.js/'],
  ];
  for (const path of paths) {
    const [actual, expected] = await Promise.all(
      [running.port, reference.port].map((port) => download(port, `/socket.io/${path}`, {}, method)),
    );
    expect([path, actual!.status, actual!.headers['content-type']]).toEqual([path, expected!.status, expected!.headers['content-type']]);
    expect(actual!.text === expected!.text).toBe(true);
  }
});

test('its licence is beside the copies', () => {
  const folder = join(__dirname, '../../client-dist');
  expect(JSON.parse(readFileSync(join(folder, 'version.json'), 'utf8'))).toEqual({ version });
  expect(readFileSync(join(folder, 'LICENSE'), 'utf8')).toMatch(/MIT License[^]*Socket\.IO contributors/);
});
