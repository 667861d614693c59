// Where the service is to be found: its path on the HTTP servers of the application, and doors of its own. Keeps the process
// alive for its clients.

import http from 'node:http';
import https from 'node:https';
import type { Logger } from '../index.js';
import type { NativeService } from '../binding.js';
import { invalidArgument } from './errors.js';
import { Doors, type Listening } from './http/doors.js';
import type { Gateway } from './http/gateway.js';
import { closeServer, hook, type HttpServer, type Left } from './http/server-hook.js';
import type { Adopted } from './native/events.js';
import type { ResolvedConfig } from './options/config.js';
import { checkListen } from './options/listen.js';
import { checkTls } from './options/tls.js';
import { serverOf } from './options/wrong-arguments.js';
import { clearInterval, setInterval, setTimeout } from './timers.js';

/** How many connections of others are named at the end. */
const OTHERS_NAMED = 10;
/** Node.js's longest interval. */
const LONGEST_MS = 2 ** 31 - 1;
/** How often a process whose HTTP server is closed looks whether its clients are gone. */
const LINGER_CHECK_MS = 250;

export class Attachment {
  readonly #native: NativeService;
  readonly #gateway: Gateway;
  readonly #logger: Logger;
  readonly #doors: Doors;
  /** HTTP servers on which the gateway is, and how to take it off. */
  readonly #hooked = new Map<HttpServer, () => void>();
  /** Keeps the process and the service alive while there are doors. */
  #listening: ReturnType<typeof setInterval> | undefined;
  #isEnding = false;

  constructor(native: NativeService, gateway: Gateway, config: ResolvedConfig) {
    this.#native = native;
    this.#gateway = gateway;
    this.#logger = config.logger;
    this.#doors = new Doors(native, config);
  }

  /** Serves the gateway's path on a server. `owner` is kept alive by it. */
  attach(httpServer: unknown, owner: object): void {
    if (!(httpServer instanceof http.Server || httpServer instanceof https.Server)) {
      const allowed = 'an http.Server or https.Server (HTTP/2 alone cannot carry WebSocket here)';
      throw invalidArgument('httpServer', httpServer, allowed, serverOf(httpServer));
    }
    this.#gateway.owner = owner;
    this.#hook(httpServer);
  }

  /** Opens a door. `owner` is kept alive by it. */
  async listen(options: unknown, owner: object): Promise<Listening> {
    checkListen(options);
    const server = options.server ?? http.createServer((_req, res) => void res.writeHead(404).end());
    this.#gateway.owner = owner;
    this.#hook(server);
    const isEnding = () => this.#isEnding;
    const address = await this.#doors.open(options, server, isEnding);
    this.#listening ??= setInterval(() => owner, LONGEST_MS);
    return address;
  }

  /** New connections of the doors with TLS shake hands by this. */
  setSecureContext(options: unknown): void {
    checkTls(options);
    this.#doors.setSecureContext(options);
  }

  /** A connection of a door is Node.js's. */
  adopt(connection: Adopted): void {
    this.#doors.adopt(connection);
  }

  #hook(server: HttpServer): void {
    if (this.#hooked.has(server)) return;
    this.#hooked.set(server, hook(server, this.#gateway));
    server.once('close', () => this.#stayWhileConnected());
  }

  /** The service is about to end: the process is not kept alive any more. */
  release(): void {
    this.#isEnding = true;
  }

  /** Serves no more; resolves when the HTTP server is closed, as far as the service's own connections go. */
  async detach(): Promise<void> {
    this.#gateway.close();
    const left = await Promise.all([...this.#hooked.keys()].map((server) => closeServer(server, this.#gateway)));
    this.#warnOfOthers(left.flat());
    for (const unhook of this.#hooked.values()) unhook();
    this.#doors.close();
    clearInterval(this.#listening);
  }

  /** An HTTP server that the application closed waits for its clients, as far as the process goes. */
  #stayWhileConnected(): void {
    if (this.#isEnding || !this.#native.hasSockets()) return;
    setTimeout(() => this.#stayWhileConnected(), LINGER_CHECK_MS);
  }

  #warnOfOthers(left: Left[]): void {
    if (left.length === 0) return;
    const named = left.slice(0, OTHERS_NAMED).map(({ address, path, isUpgraded }) => `${address} ${path}${isUpgraded ? ' (upgraded)' : ''}`);
    const more = left.length > named.length ? ', …' : '';
    this.#logger.warn(
      `shutdown has left ${left.length} connections of the HTTP server that are not the service's to their owners: ${named.join(', ')}${more}`,
    );
  }
}
