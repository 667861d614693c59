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
    let isDecided = false;
    const decided = (error, rule) => {
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

/** What to write instead of a text that is no browser's `Origin`; undefined when it can match. */
function correctOrigin(text) {
  if (text === '*' || text === 'null') return undefined;
  const parts = text.split(/[\s,;]+/).filter(Boolean);
  if (parts.length === 0) return "false to let no other origin in, or '*' to let all in";
  if (parts.length > 1) return `an array: [${parts.map((part) => quoted(wholeOrigin(part))).join(', ')}]`;
  const [part] = parts;
  if (part.includes('*')) return wildcard(part);
  const whole = wholeOrigin(part);
  return whole === text ? undefined : quoted(whole);
}

/** The origin that is meant: with a scheme, without a path, in the form in which browsers send it. */
function wholeOrigin(text) {
  const isComplete = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const scheme = /^(localhost|127\.|\[::1\])/i.test(text) ? 'http' : 'https';
  const url = (isComplete ? text : `${scheme}://${text.replace(/^\/+/, '')}`).replace(/^ws(s?:)/i, 'http$1');
  const origin = originOf(url);
  // Of the schemes of apps and extensions `URL` knows no origin.
  return origin === undefined || origin === 'null' ? url.replace(/^([^:]+:\/\/[^/?#]*).*$/, '$1') : origin;
}

function wildcard(text) {
  if (/^\*?$/.test(text.replace(/^https?:\/\//, ''))) return "'*'";
  const source = text
    .replace(/\/+$/, '')
    .split('*')
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    .join('[^/]+');
  const scheme = text.includes('://') ? '' : 'https://';
  return `a RegExp: ${new RegExp(`^${scheme}${source}$`)}`;
}

const quoted = (text) => `'${text}'`;

module.exports = { correctOrigin, Origins };
