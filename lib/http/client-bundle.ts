// Serves the Socket.IO client's bundles and their maps, from the copies that `scripts/client-bundle.mjs` makes of them.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fresh from 'fresh';
import Negotiator from 'negotiator';

const FOLDER = join(__dirname, '../..', 'client-dist');
const BUNDLES = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'];
const FILES = new Set(BUNDLES.flatMap((name) => [name, `${name}.map`]));

/** Content encoding → what the names of such files end with. */
const SUFFIXES: Readonly<Record<string, string>> = { br: '.br', gzip: '.gz', identity: '' };
/** Of those that a client likes equally, the smallest. */
const PREFERRED = Object.keys(SUFFIXES);

/** What was read, by name: a few files of this package. */
const cache = new Map<string, Buffer>();

/** Name of the bundle that a request asks for, or undefined. `base` is the service's path. */
export function bundleOf(url: string, base: string): string | undefined {
  if (!url.startsWith('socket.io', base.length + 1)) return undefined;
  const [path = ''] = url.split('?', 1);
  const name = path.startsWith(`${base}/`) ? path.slice(base.length + 1) : '';
  return FILES.has(name) ? name : undefined;
}

/** Answers with a bundle, compressed if the client takes it so; 404 where the copies have not been made. */
export async function serveBundle(name: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
  // Its types do not know of `preferred` yet.
  const negotiator: { encoding(available: string[], options: { preferred: string[] }): string | undefined } = new Negotiator(req);
  const encoding = negotiator.encoding(PREFERRED, { preferred: PREFERRED }) ?? 'identity';
  const [version, body] = await Promise.all([load('version.json'), load(name + (SUFFIXES[encoding] ?? ''))]);
  if (version === undefined || body === undefined) {
    res.writeHead(404).end();
    return;
  }
  // The bundles change with the version alone. A strong tag would say that each encoding has the same bytes.
  const tag = `"${(JSON.parse(version.toString()) as { version: string }).version}"`;
  const etag = encoding === 'identity' ? tag : `W/${tag}`;
  res.setHeader('Cache-Control', 'public, max-age=0');
  res.setHeader('ETag', etag);
  res.appendHeader('Vary', 'Accept-Encoding');
  if (fresh(req.headers, { etag })) {
    res.writeHead(304).end();
    return;
  }
  if (encoding !== 'identity') res.setHeader('Content-Encoding', encoding);
  res.setHeader('Content-Type', `application/${name.endsWith('.map') ? 'json' : 'javascript'}; charset=utf-8`);
  res.setHeader('Content-Length', body.length);
  res.writeHead(200).end(req.method === 'HEAD' ? undefined : body);
}

async function load(name: string): Promise<Buffer | undefined> {
  const read = cache.get(name) ?? (await readFile(join(FOLDER, name)).catch(() => undefined));
  if (read !== undefined) cache.set(name, read);
  return read;
}
