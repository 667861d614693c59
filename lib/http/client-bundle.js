// Serves the Socket.IO client's bundles and their maps, from the copies that `scripts/client-bundle.mjs` makes of them.

'use strict';

const { readFile } = require('node:fs/promises');
const { join } = require('node:path');
const fresh = require('fresh');
const Negotiator = require('negotiator');

const FOLDER = join(__dirname, '../..', 'client-dist');
const BUNDLES = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'];
const FILES = new Set(BUNDLES.flatMap((name) => [name, `${name}.map`]));

/** Content encoding → what the names of such files end with. */
const SUFFIXES = { br: '.br', gzip: '.gz', identity: '' };
/** Of those that a client likes equally, the smallest. */
const PREFERRED = Object.keys(SUFFIXES);

/** What was read, by name: a few files of this package. */
const cache = new Map();

/** Name of the bundle that a request asks for, or undefined. `base` is the service's path. */
function bundleOf(url, base) {
  if (!url.startsWith('socket.io', base.length + 1)) return undefined;
  const path = url.split('?', 1)[0];
  const name = path.startsWith(`${base}/`) ? path.slice(base.length + 1) : '';
  return FILES.has(name) ? name : undefined;
}

/** Answers with a bundle, compressed if the client takes it so; 404 where the copies have not been made. */
async function serveBundle(name, req, res) {
  const encoding = new Negotiator(req).encoding(PREFERRED, { preferred: PREFERRED }) ?? 'identity';
  const [version, body] = await Promise.all([load('version.json'), load(name + SUFFIXES[encoding])]);
  if (version === undefined || body === undefined) {
    res.writeHead(404).end();
    return;
  }
  // The bundles change with the version alone. A strong tag would say that each encoding has the same bytes.
  const tag = `"${JSON.parse(version).version}"`;
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

async function load(name) {
  if (!cache.has(name)) {
    const body = await readFile(join(FOLDER, name)).catch(() => undefined);
    if (body === undefined) return undefined;
    cache.set(name, body);
  }
  return cache.get(name);
}

module.exports = { bundleOf, serveBundle };
