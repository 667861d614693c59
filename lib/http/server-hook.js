// Hooks services into an HTTP server: each gets the requests and upgrades of its path, everything else goes on as if
// nothing were there. Listeners of the application may be added before or after.

'use strict';

const https = require('node:https');
const { refused } = require('../errors.js');
const { setTimeout } = require('../timers.js');

/** How long requests may take to end at shutdown, and how often it is looked whether they have. */
const HTTP_CLOSE_MS = 2000;
const HTTP_LOOK_MS = 20;
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
  /** Open connection → the response or upgrade request that was last begun on it, if any. */
  const connections = new Map();
  const forget = function () {
    connections.delete(this);
  };
  const note = (socket, begun) => {
    if (!connections.has(socket)) socket.once('close', forget);
    connections.set(socket, begun);
  };
  const opened = server instanceof https.Server ? 'secureConnection' : 'connection';
  const { emit } = server;
  const hooked = function (event, ...args) {
    if (event === opened) {
      note(args[0], undefined);
    } else if (event === 'upgrade' || event === 'connect') {
      note(args[1], args[0]);
      const handler = event === 'upgrade' ? find(args[0]) : undefined;
      if (handler?.upgrades) return handler.onUpgrade(...args), true;
    } else if (REQUESTS.has(event)) {
      note(args[0].socket, args[1]);
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
    /** Open connections with what they are used for. Of a request that is over nothing is said. */
    uses: () => [...connections].map(([socket, begun]) => useOf(socket, begun, find)),
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

/** What a connection is used for: by which handler, undefined for others; at which path; and whether it was upgraded. */
function useOf(socket, begun, find) {
  const req = begun?.req ?? begun;
  if (req === undefined || begun.writableFinished) return { socket, isUsed: false };
  const path = req.url.split('?', 1)[0];
  return { socket, isUsed: true, handler: find(req), path, isUpgraded: begun === req };
}

/**
 * Closes an HTTP server. Requests are given a while to end. After that, what `handler` or nobody uses is closed, and
 * what belongs to others is left to them: returns where each of those comes from and what it is for.
 */
async function closeServer(server, handler) {
  const { uses } = hooks.get(server);
  if (server.listening) server.close();
  const isOthers = (use) => use.isUsed && use.handler !== handler;
  for (let waited = 0; waited < HTTP_CLOSE_MS; waited += HTTP_LOOK_MS) {
    server.closeIdleConnections();
    // Upgraded connections of others last.
    if (uses().every((use) => isOthers(use) && use.isUpgraded)) break;
    await new Promise((done) => setTimeout(done, HTTP_LOOK_MS));
  }
  for (const use of uses()) if (!isOthers(use)) use.socket.destroy();
  return uses()
    .filter(isOthers)
    .map(({ socket, path, isUpgraded }) => ({ address: socket.remoteAddress, path, isUpgraded }));
}

module.exports = { closeServer, hook };
