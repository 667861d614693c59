// Doors of the native side: where it listens, and the connections that it leaves to Node.js.

import { lookup } from 'node:dns/promises';
import http from 'node:http';
import { Socket } from 'node:net';
import { getSystemErrorMap } from 'node:util';
import type { ListenAddress, ListenOptions } from '../../index.js';
import type { NativeService } from '../../binding.js';
import { closed } from '../errors.js';
import type { ResolvedConfig } from '../options/config.js';
import { nativeDoor } from '../options/listen.js';

/** As Node.js has it without a host: every address, where the system has IPv6 also those. */
const EVERYWHERE = ['::', '0.0.0.0'];
/** Errors of a system without IPv6. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

/** What a service listens on. */
export type Listening = ListenAddress | ListenAddress<{ path: string }>;

export class Doors {
  readonly #native: NativeService;
  readonly #config: ResolvedConfig;
  /** Number of a door → the server that takes what is Node.js's. */
  readonly #servers = new Map<number, http.Server>();

  constructor(native: NativeService, config: ResolvedConfig) {
    this.#native = native;
    this.#config = config;
  }

  /** Opens a door, unless the service `isEnding` meanwhile. What is Node.js's goes to `server`. */
  async open(options: ListenOptions, server: http.Server, isEnding: () => boolean): Promise<Listening> {
    const addresses = await numeric(options);
    if (isEnding()) throw closed();
    const number = this.#servers.size;
    this.#servers.set(number, server);
    let failure: Error | undefined;
    for (const address of addresses) {
      const opened = this.#native.openDoor(number, nativeDoor(options, address, this.#config));
      if (typeof opened === 'object') {
        if (opened.port === undefined) return { path: opened.address };
        return { address: opened.address, family: opened.address.includes(':') ? 'IPv6' : 'IPv4', port: opened.port };
      }
      failure = listenError(opened, options, address);
      if (!NO_IPV6.has((failure as NodeJS.ErrnoException).code ?? '')) break;
    }
    throw failure;
  }

  /** A connection is Node.js's: `bytes` were read of it. */
  adopt(door: number, fd: number, bytes: Buffer): void {
    const socket = new Socket({ fd, readable: true, writable: true });
    const server = this.#servers.get(door);
    if (server === undefined) {
      socket.destroy();
      return;
    }
    server.emit('connection', socket);
    socket.emit('data', bytes);
  }

  /** No more connections are taken. */
  close(): void {
    this.#servers.clear();
  }
}

/** The addresses to try, in order; `[undefined]` for a Unix socket. */
async function numeric({ path, host }: ListenOptions): Promise<(string | undefined)[]> {
  if (path !== undefined) return [undefined];
  if (host === undefined) return EVERYWHERE;
  const { address } = await lookup(host);
  return [address];
}

/** The error that Node.js's own servers have. */
function listenError(errno: number, { path, port }: ListenOptions, address: string | undefined): NodeJS.ErrnoException {
  const [code = 'UNKNOWN', text = 'unknown error'] = getSystemErrorMap().get(errno) ?? [];
  const where = path ?? `${address}:${port}`;
  const error: NodeJS.ErrnoException = new Error(`listen ${code}: ${text} ${where}`);
  return Object.assign(error, { errno, code, syscall: 'listen', address: path ?? address, ...(path === undefined && { port }) });
}
