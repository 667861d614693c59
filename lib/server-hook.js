// Hooks services into an HTTP server: each gets the requests and upgrades of its path, everything else goes on as if
// nothing were there. Listeners of the application may be added before or after.

'use strict';

const { refused } = require('./errors.js');

/** How long requests of others may keep the HTTP server open at shutdown. */
const HTTP_CLOSE_MS = 2000;
/** How long an upgrade that nobody handles may stay, as in Engine.IO. */
const UNHANDLED_UPGRADE_MS = 1000;

/** HTTP server → hook. */
const hooks = new WeakMap();

const REQUESTS = new Set(['request', 'checkContinue', 'checkExpectation']);

/** Sends what belongs to `handler.path` to `handler.onRequest` and `handler.onUpgrade`. Returns how to undo it. */
function hook(server, handler) {
  const entry = hooks.get(server) ?? install(server);
  if (entry.handlers.some((other) => other.path === handler.path)) {
    throw refused(`path ${JSON.stringify(handler.path)} is served by another service on this server`);
  }
  entry.handlers.push(handler);
  entry.handlers.sort((one, other) => other.path.length - one.path.length);
  if (handler.upgrades) entry.expectUpgrades();
  return () => {
    entry.handlers.splice(entry.handlers.indexOf(handler), 1);
    if (entry.handlers.length === 0) entry.remove();
  };
}

function install(server) {
  const handlers = [];
  // Longest path first, so that a service may live below another.
  const find = (req) => handlers.find(({ path }) => req.url.startsWith(`${path}/`));
  const { emit } = server;
  const hooked = function (event, ...args) {
    if (event === 'upgrade') {
      const handler = find(args[0]);
      if (handler?.upgrades) return handler.onUpgrade(...args), true;
    } else if (REQUESTS.has(event)) {
      const handler = find(args[0]);
      if (handler) return handler.onRequest(args[0], args[1]), true;
    }
    return emit.call(this, event, ...args);
  };
  server.emit = hooked;
  // Node.js emits 'upgrade' only when somebody listens.
  const ignored = (req, socket) => {
    if (server.listenerCount('upgrade') > 1) return;
    setTimeout(() => {
      if (socket.writable && socket.bytesWritten <= 0) socket.end();
    }, UNHANDLED_UPGRADE_MS).unref();
  };
  const entry = {
    handlers,
    expectUpgrades() {
      if (!server.listeners('upgrade').includes(ignored)) server.on('upgrade', ignored);
    },
    remove() {
      server.off('upgrade', ignored);
      if (server.emit === hooked) server.emit = emit;
      hooks.delete(server);
    },
  };
  hooks.set(server, entry);
  return entry;
}

/** Closes an HTTP server; what others still have open is closed after a while. */
function closeServer(server) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), HTTP_CLOSE_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

module.exports = { closeServer, hook };
