// What the service has to do with the HTTP server of the application: it serves its path there, and keeps the process
// alive for its clients.

import http from 'node:http';
import https from 'node:https';
import type { Logger } from '../index.js';
import type { NativeService } from '../binding.js';
import { invalidArgument } from './errors.js';
import type { Gateway } from './http/gateway.js';
import { closeServer, hook, type HttpServer, type Left } from './http/server-hook.js';
import { serverOf } from './options/wrong-arguments.js';
import { setTimeout } from './timers.js';

/** How many connections of others are named at the end. */
const OTHERS_NAMED = 10;
/** How often a process whose HTTP server is closed looks whether its clients are gone. */
const LINGER_CHECK_MS = 250;

export class Attachment {
  readonly #native: NativeService;
  readonly #gateway: Gateway;
  readonly #logger: Logger;
  #httpServer: HttpServer | undefined;
  #unhook: (() => void) | undefined;
  #isEnding = false;

  constructor(native: NativeService, gateway: Gateway, logger: Logger) {
    this.#native = native;
    this.#gateway = gateway;
    this.#logger = logger;
  }

  /** Serves the gateway's path on a server. `owner` is kept alive by it. */
  attach(httpServer: unknown, owner: object): void {
    if (!(httpServer instanceof http.Server || httpServer instanceof https.Server)) {
      const allowed = 'an http.Server or https.Server (HTTP/2 alone cannot carry WebSocket here)';
      throw invalidArgument('httpServer', httpServer, allowed, serverOf(httpServer));
    }
    this.#gateway.owner = owner;
    this.#unhook = hook(httpServer, this.#gateway);
    httpServer.once('close', () => this.#stayWhileConnected());
    this.#httpServer = httpServer;
  }

  /** The service is about to end: the process is not kept alive any more. */
  release(): void {
    this.#isEnding = true;
  }

  /** Serves no more; resolves when the HTTP server is closed, as far as the service's own connections go. */
  async detach(): Promise<void> {
    this.#gateway.close();
    if (this.#httpServer) this.#warnOfOthers(await closeServer(this.#httpServer, this.#gateway));
    this.#unhook?.();
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
