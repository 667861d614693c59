// Which origins may use the service: one decision for requests, whose headers tell the browser about it, and for
// upgrades, about which browsers ask nobody.

'use strict';

const { isRegExp } = require('node:util/types');

class Origins {
  #origin;
  #logger;
  #patience;

  /** `origin` as the npm package `cors` takes it; a function may take `patience` milliseconds. */
  constructor(origin, { logger, patience }) {
    this.#origin = origin;
    this.#logger = logger;
    this.#patience = patience;
  }

  /**
   * The same option for `cors` itself. What it would match is matched here: a RegExp with the flag `g` or `y` starts
   * where its last match ended, which would refuse every second request.
   */
  get forCors() {
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
  admitUpgrade(req, done) {
    const { origin } = req.headers;
    if (origin === undefined || isOwn(req)) return done(true);
    this.#decide(origin, (error, rule) => done(!error && (rule === '*' || matches(origin, rule))));
  }

  /** Calls back once with an error, or with a rule that is no function. A function that fails is logged. */
  #decide(requestOrigin, done) {
    if (typeof this.#origin !== 'function') return done(null, this.#origin);
    let timer;
    let isDecided = false;
    const decided = (error, rule) => {
      if (isDecided) return;
      isDecided = true;
      clearTimeout(timer);
      if (error) this.#logger.error('cors.origin failed', error);
      done(error, rule);
    };
    timer = setTimeout(() => decided(new Error('cors.origin has not answered in time')), this.#patience);
    try {
      const returned = this.#origin(requestOrigin, decided);
      if (typeof returned?.then === 'function') returned.then(undefined, (error) => decided(asError(error)));
    } catch (error) {
      decided(asError(error));
    }
  }
}

/** As `cors` matches, but without the state of a RegExp: a copy starts at the beginning. */
function matches(origin, rule) {
  if (Array.isArray(rule)) return rule.some((each) => matches(origin, each));
  if (isRegExp(rule)) return new RegExp(rule).test(origin);
  return typeof rule === 'string' ? rule === origin : Boolean(rule);
}

/**
 * Whether the page of an upgrade comes from this server. Its scheme may differ when TLS ends in front of Node.js, but a
 * page without TLS is no part of a server with it.
 */
function isOwn({ headers: { origin, host }, socket }) {
  const scheme = /^https?:/.exec(origin)?.[0];
  if (scheme === undefined || host === undefined || (socket.encrypted && scheme === 'http:')) return false;
  // What stands for the same, like a default port or capitals, becomes the same.
  const [page, here] = [origin, `${scheme}//${host}`].map(originOf);
  return page !== undefined && page === here;
}

function originOf(url) {
  return URL.canParse(url) ? new URL(url).origin : undefined;
}

function asError(thrown) {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

module.exports = { Origins };
