// Hooks services into an HTTP server: each gets the requests and upgrades of its path, everything else goes on as if
// nothing were there. Listeners of the application may be added before or after.

import type http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { refused } from '../errors.js';
import { setTimeout } from '../timers.js';

/** How long requests may take to end at shutdown, and how often it is looked whether they have. */
const HTTP_CLOSE_MS = 2000;
const HTTP_LOOK_MS = 20;
/** How long an upgrade that nobody handles may stay, as in Engine.IO. */
const UNHANDLED_UPGRADE_MS = 1000;

export type HttpServer = http.Server | https.Server;

/** What serves a path of an HTTP server. */
export interface Handler {
  readonly path: string;
  /** Whether upgrades are handled; otherwise they are requests like others. */
  readonly upgrades: boolean;
  onRequest(req: http.IncomingMessage, res: http.ServerResponse): void;
  onUpgrade(req: http.IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** A connection that was left to its owner: where it comes from, and what it is for. */
export interface Left {
  address: string | undefined;
  path: string | undefined;
  isUpgraded: boolean;
}

/** What was last begun on a connection: the response of a request, or the request of an upgrade. */
type Begun = http.ServerResponse | http.IncomingMessage | undefined;

interface Use {
  socket: Socket;
  isUsed: boolean;
  handler?: Handler | undefined;
  path?: string | undefined;
  isUpgraded: boolean;
}

interface Hook {
  handlers: Handler[];
  uses(): Use[];
  expectUpgrades(): void;
  remove(): void;
}

/** HTTP server → hook. */
const hooks = new WeakMap<HttpServer, Hook>();

const REQUESTS = new Set(['request', 'checkContinue', 'checkExpectation']);

/** Sends what belongs to `handler.path` to `handler.onRequest` and `handler.onUpgrade`. Returns how to undo it. */
export function hook(server: HttpServer, handler: Handler): () => void {
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

function install(server: HttpServer): Hook {
  const handlers: Handler[] = [];
  // Longest path first, so that a service may live below another.
  const find = ({ url = '' }: http.IncomingMessage) => handlers.find(({ path }) => url.startsWith(`${path}/`));
  /** Open connection → the response or upgrade request that was last begun on it, if any. */
  const connections = new Map<Socket, Begun>();
  const forget = function (this: Socket) {
    connections.delete(this);
  };
  const note = (socket: Socket, begun: Begun) => {
    if (!connections.has(socket)) socket.once('close', forget);
    connections.set(socket, begun);
  };
  const opened = server instanceof https.Server ? 'secureConnection' : 'connection';
  const { emit } = server;
  // What comes with each of these events is as Node.js documents it.
  const hooked = function (this: HttpServer, event: string, ...args: unknown[]): boolean {
    if (event === opened) {
      note(args[0] as Socket, undefined);
    } else if (event === 'upgrade' || event === 'connect') {
      const [req, socket, head] = args as [http.IncomingMessage, Socket, Buffer];
      note(socket, req);
      const handler = event === 'upgrade' ? find(req) : undefined;
      if (handler?.upgrades) {
        handler.onUpgrade(req, socket, head);
        return true;
      }
    } else if (REQUESTS.has(event)) {
      const [req, res] = args as [http.IncomingMessage, http.ServerResponse];
      note(req.socket, res);
      const handler = find(req);
      if (handler) {
        handler.onRequest(req, res);
        return true;
      }
    }
    return (emit as (...all: unknown[]) => boolean).call(this, event, ...args);
  };
  server.emit = hooked;
  // Node.js emits 'upgrade' only when somebody listens.
  const ignored = (_: http.IncomingMessage, stream: Duplex) => {
    const socket = stream as Socket; // of a server, as Node.js gives it
    if (server.listenerCount('upgrade') > 1) return;
    setTimeout(() => {
      if (socket.writable && socket.bytesWritten <= 0) socket.end();
    }, UNHANDLED_UPGRADE_MS).unref();
  };
  const entry: Hook = {
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
function useOf(socket: Socket, begun: Begun, find: (req: http.IncomingMessage) => Handler | undefined): Use {
  const res = begun !== undefined && 'req' in begun ? begun : undefined;
  const req = res?.req ?? (begun as http.IncomingMessage | undefined);
  if (req === undefined || res?.writableFinished) return { socket, isUsed: false, isUpgraded: false };
  const path = req.url?.split('?', 1)[0];
  return { socket, isUsed: true, handler: find(req), path, isUpgraded: res === undefined };
}

/**
 * Closes an HTTP server. Requests are given a while to end. After that, what `handler` or nobody uses is closed, and
 * what belongs to others is left to them: returns where each of those comes from and what it is for.
 */
export async function closeServer(server: HttpServer, handler: Handler): Promise<Left[]> {
  const uses = hooks.get(server)?.uses ?? (() => []);
  if (server.listening) server.close();
  const isOthers = (use: Use) => use.isUsed && use.handler !== handler;
  for (let waited = 0; waited < HTTP_CLOSE_MS; waited += HTTP_LOOK_MS) {
    server.closeIdleConnections();
    // Upgraded connections of others last.
    if (uses().every((use) => isOthers(use) && use.isUpgraded)) break;
    await new Promise<void>((done) => setTimeout(done, HTTP_LOOK_MS));
  }
  for (const use of uses()) if (!isOthers(use)) use.socket.destroy();
  return uses()
    .filter(isOthers)
    .map(({ socket, path, isUpgraded }) => ({ address: socket.remoteAddress, path, isUpgraded }));
}
