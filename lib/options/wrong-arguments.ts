// What callers mean who give a thing to the wrong place.

import { Server } from 'node:net';

/** How to call the service with what was given in place of options; undefined when that is no known mistake. */
export function callOf(given: unknown): string | undefined {
  if (given instanceof Server) return 'call new WebSocketService(options), then initialize(server)';
  if (isSocketIo(given)) {
    return "the service takes the place of Socket.IO's Server: call new WebSocketService(options), then initialize(httpServer)";
  }
  if (typeof given === 'number') {
    return `to listen on a port, call new WebSocketService(options), then initialize(httpServer) and httpServer.listen(${given})`;
  }
  if (isApplication(given)) return 'call new WebSocketService(options), then initialize(http.createServer(app))';
  if (typeof given === 'string') return `for the path, write { path: ${JSON.stringify(given)} }`;
  return undefined;
}

/** What to give to `initialize` in place of something that is no HTTP server; undefined for no known mistake. */
export function serverOf(given: unknown): string | undefined {
  if (isSocketIo(given)) return "the service takes the place of Socket.IO's Server: give it the HTTP server";
  if (typeof given === 'number') return `call httpServer.listen(${given}) yourself`;
  if (isApplication(given)) return 'give it http.createServer(app), and listen on that';
  if (isFastify(given)) return 'give it app.server';
  return undefined;
}

/** A member of whatever was given. */
const member = (value: unknown, name: string): unknown => (value as Record<string, unknown> | null | undefined)?.[name];

const isSocketIo = (value: unknown): boolean =>
  typeof member(value, 'of') === 'function' && typeof member(value, 'attach') === 'function';
const isApplication = (value: unknown): boolean => typeof value === 'function' && typeof member(value, 'handle') === 'function';
const isFastify = (value: unknown): boolean => member(value, 'server') instanceof Server;
