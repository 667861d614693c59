// Serves the Socket.IO client's bundles and their maps.

'use strict';

const { readFile } = require('node:fs/promises');
const { dirname, join } = require('node:path');

const FILE = /^socket\.io(\.msgpack|\.esm)?(\.min)?\.js(\.map)?$/;

/** The bundles change with the package's version alone. */
const ETAG = `"${require('socket.io-client/package.json').version}"`;

const cache = new Map();

/** Name of the bundle that a request asks for, or undefined. `base` is the service's path. */
function bundleOf(url, base) {
  if (!url.startsWith('socket.io', base.length + 1)) return undefined;
  const path = url.split('?', 1)[0];
  const name = path.startsWith(`${base}/`) ? path.slice(base.length + 1) : '';
  return FILE.test(name) ? name : undefined;
}

/** Answers with a bundle; 404 for one that the client's package does not have. */
async function serveBundle(name, req, res) {
  const body = await load(name);
  if (body === undefined) {
    res.writeHead(404).end();
    return;
  }
  res.setHeader('Cache-Control', 'public, max-age=0');
  res.setHeader('ETag', ETAG);
  if (req.headers['if-none-match'] === ETAG) {
    res.writeHead(304).end();
    return;
  }
  res.setHeader('Content-Type', `application/${name.endsWith('.map') ? 'json' : 'javascript'}; charset=utf-8`);
  res.setHeader('Content-Length', body.length);
  res.writeHead(200).end(req.method === 'HEAD' ? undefined : body);
}

async function load(name) {
  if (!cache.has(name)) {
    const folder = dirname(require.resolve('socket.io-client/dist/socket.io.js'));
    const body = await readFile(join(folder, name)).catch(() => undefined);
    if (body === undefined) return undefined;
    cache.set(name, body);
  }
  return cache.get(name);
}

module.exports = { bundleOf, serveBundle };
