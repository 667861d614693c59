// Doors of the native side: where it listens, and the connections that it leaves to Node.js. Where connections cannot be
// handed over, Node.js listens.

import { lookup } from 'node:dns/promises';
import type http from 'node:http';
import https from 'node:https';
import { type ListenOptions as NodeListenOptions, type Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { getSystemErrorMap } from 'node:util';
import type { ListenAddress, ListenOptions, Logger, TlsOptions } from '../../index.js';
import type { NativeService } from '../../binding.js';
import { closed, refused } from '../errors.js';
import type { Adopted } from '../native/events.js';
import type { ResolvedConfig } from '../options/config.js';
import { nativeDoor } from '../options/listen.js';
import { type Credentials, credentials, filesOf, nodeTls } from '../options/tls.js';
import { FileWatch, stampOf } from './file-watch.js';
import type { HttpServer } from './server-hook.js';

/** As Node.js has it without a host: every address, where the system has IPv6 also those. */
const EVERYWHERE = ['::', '0.0.0.0'];
/** Errors of a system without IPv6. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

/** What a service listens on. */
export type Listening = ListenAddress | ListenAddress<{ path: string }>;

/** Options of TLS, what they say, and the stamp of their files before these were read. */
interface Given {
  options: TlsOptions;
  tls: Credentials;
  seen: string;
}

/** A door with TLS. */
interface Secured {
  /** Gives new connections this certificate. */
  swap(tls: Credentials): void;
  /** Closes the server of Node.js that is in the place of a door. */
  close?(): void;
  /** The files of its certificate, where they are watched. */
  files?: FileWatch | undefined;
}

export class Doors {
  readonly #native: NativeService;
  readonly #config: ResolvedConfig;
  readonly #logger: Logger;
  /** Number of a door → the server that takes what is Node.js's. */
  readonly #servers = new Map<number, HttpServer>();
  readonly #secured: Secured[] = [];

  constructor(native: NativeService, config: ResolvedConfig) {
    this.#native = native;
    this.#config = config;
    this.#logger = config.logger;
  }

  /** Opens a door, unless the service `isEnding` meanwhile. What is Node.js's goes to `server`. */
  async open(options: ListenOptions, server: HttpServer, isEnding: () => boolean): Promise<Listening> {
    const tls = options.tls && read(options.tls);
    return process.platform === 'win32' ? this.#openByNode(options, server, tls) : this.#openNatively(options, server, tls, isEnding);
  }

  /** New connections of the doors with TLS shake hands by this. */
  setSecureContext(options: TlsOptions): void {
    if (this.#secured.length === 0) throw refused('setSecureContext needs a listen() with tls before it');
    const given = read(options);
    for (const secured of this.#secured) secured.swap(given.tls);
    for (const secured of this.#secured) this.#watch(secured, given);
  }

  /** A connection is Node.js's. */
  adopt({ door, fd, bytes, address, port, secure }: Adopted): void {
    const socket = new Socket({ fd, readable: true, writable: true });
    const server = this.#servers.get(door);
    if (server === undefined) {
      socket.destroy();
      return;
    }
    if (secure) {
      // What the application would ask a TLS connection of Node.js; the descriptor is that of a pair.
      const family = address && (address.includes(':') ? 'IPv6' : 'IPv4');
      const known = { encrypted: true, remoteAddress: address, remotePort: port, remoteFamily: family };
      for (const [name, value] of Object.entries(known)) Object.defineProperty(socket, name, { value, enumerable: true, configurable: true });
    }
    accept(server, socket);
    socket.emit('data', bytes);
  }

  /** No more connections are taken. */
  close(): void {
    this.#servers.clear();
    for (const { files, close } of this.#secured) {
      files?.close();
      close?.();
    }
  }

  async #openNatively(options: ListenOptions, server: HttpServer, given: Given | undefined, isEnding: () => boolean): Promise<Listening> {
    const addresses = await numeric(options);
    if (isEnding()) throw closed();
    const number = this.#servers.size;
    this.#servers.set(number, server);
    let failure: Error | undefined;
    for (const address of addresses) {
      const opened = refusing(() => this.#native.openDoor(number, nativeDoor({ options, address, tls: given?.tls }, this.#config)));
      if (typeof opened === 'object') {
        this.#secure(given, { swap: (next) => refusing(() => this.#native.setSecureContext(number, JSON.stringify(next))) });
        if (opened.port === undefined) return { path: opened.address };
        return { address: opened.address, family: opened.address.includes(':') ? 'IPv6' : 'IPv4', port: opened.port };
      }
      failure = listenError(opened, options, address);
      if (!NO_IPV6.has((failure as NodeJS.ErrnoException).code ?? '')) break;
    }
    throw failure;
  }

  async #openByNode(options: ListenOptions, server: HttpServer, given: Given | undefined): Promise<Listening> {
    if (!given) return listenByNode(server, options);
    const tlsServer = createTlsServer(nodeTls(given.tls), (socket) => accept(server, socket));
    const address = await listenByNode(tlsServer, options);
    this.#secure(given, { swap: (next) => tlsServer.setSecureContext(nodeTls(next)), close: () => void tlsServer.close() });
    return address;
  }

  /** A door with TLS is open. */
  #secure(given: Given | undefined, secured: Secured): void {
    if (!given) return;
    this.#secured.push(secured);
    this.#watch(secured, given);
  }

  /** What the files hold when they change takes the place of what they held. */
  #watch(secured: Secured, { options, seen }: Given): void {
    secured.files?.close();
    secured.files = undefined;
    if (!options.watch) return;
    const files = filesOf(options);
    secured.files = new FileWatch(files, seen, () => {
      try {
        secured.swap(credentials(options));
        this.#logger.info(`new connections are given the certificate that ${files[0]} holds now`);
      } catch (error) {
        this.#logger.error('the certificate cannot be used that the files hold now; the earlier one stays', error);
      }
    });
  }
}

function read(options: TlsOptions): Given {
  const seen = stampOf(filesOf(options));
  return { options, tls: credentials(options), seen };
}

/** As if the server had accepted the connection, after TLS if it is one for that. */
function accept(server: HttpServer, socket: Socket): void {
  server.emit(server instanceof https.Server ? 'secureConnection' : 'connection', socket);
}

/** What the native side says of options is an error about an argument. */
function refusing<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw refused((error as Error).message);
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

async function listenByNode(server: http.Server | Server, { port, host, path, backlog }: NodeListenOptions): Promise<Listening> {
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen({ port, host, path, backlog }, () => {
      server.off('error', fail);
      done();
    });
  });
  const address = server.address();
  if (typeof address === 'string' || address === null) return { path: address ?? '' };
  return { ...address, family: address.family as 'IPv4' | 'IPv6' };
}
