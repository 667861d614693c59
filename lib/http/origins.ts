// Which origins may use the service: one decision for requests, whose headers tell the browser about it, and for
// upgrades, about which browsers ask nobody.

import type { IncomingMessage } from 'node:http';
import { isRegExp } from 'node:util/types';
import type { CorsConfig, CorsCustomOrigin, CorsStaticOrigin, Logger } from '../../index.js';
import { originOf } from '../options/origin.js';

export class Origins {
  readonly #origin: NonNullable<CorsConfig['origin']>;
  readonly #logger: Logger;
  readonly #patience: number;

  /** `origin` as the npm package `cors` takes it; a function may take `patience` milliseconds. */
  constructor(origin: NonNullable<CorsConfig['origin']>, { logger, patience }: { logger: Logger; patience: number }) {
    this.#origin = origin;
    this.#logger = logger;
    this.#patience = patience;
  }

  /**
   * The same option for `cors` itself. What it would match is matched here: a RegExp with the flag `g` or `y` starts
   * where its last match ended, which would refuse every second request.
   */
  get forCors(): string | boolean | CorsCustomOrigin {
    const origin = this.#origin;
    if (typeof origin === 'string' || typeof origin === 'boolean') return origin;
    return (requestOrigin, done) =>
      this.#decide(requestOrigin, (error, rule) => {
        const isMatched = Array.isArray(rule) || isRegExp(rule);
        done(error, isMatched ? [matches(requestOrigin, rule)] : rule);
      });
  }

  /**
   * Calls back once, whether an upgrade may go on. Without an `Origin` it comes from no page; and the page that the
   * server itself has sent may always come back to it.
   */
  admitUpgrade(req: IncomingMessage, done: (isAdmitted: boolean) => void): void {
    const { origin } = req.headers;
    if (origin === undefined || isOwn(req)) return done(true);
    this.#decide(origin, (error, rule) => done(!error && (rule === '*' || matches(origin, rule))));
  }

  /** Calls back once with an error, or with a rule that is no function. A function that fails is logged. */
  #decide(requestOrigin: string | undefined, done: (error: Error | null, rule?: CorsStaticOrigin) => void): void {
    if (typeof this.#origin !== 'function') return done(null, this.#origin);
    let isDecided = false;
    const decided = (error: Error | null, rule?: CorsStaticOrigin) => {
      if (isDecided) return;
      isDecided = true;
      clearTimeout(timer);
      // A header could not hold it, and the request would never be answered.
      const isUnfit = !error && typeof rule === 'string' && !/^[\x20-\x7e]*$/.test(rule);
      const failure = isUnfit ? new Error('cors.origin has answered with a text that is no origin') : error;
      if (failure) this.#logger.error('cors.origin failed', failure);
      done(failure, rule);
    };
    const timer = setTimeout(() => decided(new Error('cors.origin has not answered in time')), this.#patience);
    try {
      // It may be an asynchronous function, whatever its type says.
      const returned: unknown = this.#origin(requestOrigin, decided);
      Promise.resolve(returned).catch((error: unknown) => decided(asError(error)));
    } catch (error) {
      decided(asError(error));
    }
  }
}

/** As `cors` matches, but without the state of a RegExp: a copy starts at the beginning. */
function matches(origin: string | undefined, rule: CorsStaticOrigin | undefined): boolean {
  if (Array.isArray(rule)) return rule.some((each) => matches(origin, each));
  // As `RegExp.test` has it, no origin is the text 'undefined'.
  if (isRegExp(rule)) return new RegExp(rule).test(String(origin));
  return typeof rule === 'string' ? rule === origin : Boolean(rule);
}

/**
 * Whether the page of an upgrade comes from this server. Its scheme may differ when TLS ends in front of Node.js, but a
 * page without TLS is no part of a server with it.
 */
function isOwn({ headers: { origin = '', host }, socket }: IncomingMessage): boolean {
  const scheme = /^https?:/.exec(origin)?.[0];
  const isEncrypted = 'encrypted' in socket && socket.encrypted;
  if (scheme === undefined || host === undefined || (isEncrypted && scheme === 'http:')) return false;
  // What stands for the same, like a default port or capitals, becomes the same.
  const [page, here] = [origin, `${scheme}//${host}`].map(originOf);
  return page !== undefined && page === here;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
