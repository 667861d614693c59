// The options: defaults, environment, and one check that names the option, the value and what is allowed.

'use strict';

const { availableParallelism } = require('node:os');
const { isDate, isRegExp } = require('node:util/types');
const { serialize } = require('cookie');
const { invalidArgument, refused, RESERVED_EVENTS } = require('../errors.js');
const { boolean, check, isInteger, isObject, milliseconds } = require('./rules.js');
const { correctOrigin } = require('../http/origins.js');
const { canonicalName, MAX_DEPTH } = require('../socketio/payload.js');
const { REDIS, checkRedis, nativeRedis } = require('./redis.js');
const { callOf } = require('./wrong-arguments.js');

const isLimit = (min) => (value) => value === Infinity || isInteger(min)(value);

const fn = { test: (value) => typeof value === 'function', allowed: 'a function' };
const strings = (item) => ({
  test: (value) => Array.isArray(value) && value.every((each) => typeof each === 'string' && each !== ''),
  allowed: `an array of ${item}`,
});

const isListedOrigin = (value) => ['string', 'boolean'].includes(typeof value) || isRegExp(value);
const isOrigin = (value) =>
  isListedOrigin(value) || typeof value === 'function' || (Array.isArray(value) && value.every(isListedOrigin));

/** What to write instead of an origin that no browser sends. */
function correctOrigins(value) {
  if (typeof value === 'string') return correctOrigin(value);
  if (!Array.isArray(value)) return undefined;
  if (value.includes('*')) return "origin: '*' without the array to let all in";
  const wrong = value.find((each) => typeof each === 'string' && correctOrigin(each) !== undefined);
  return wrong === undefined ? undefined : `${correctOrigin(wrong)} in place of '${wrong}'`;
}

/** Events that no client can send, or that the service does more with than to relay them. */
function correctRelayed(value) {
  const sent = value.find((name) => RESERVED_EVENTS.has(name));
  if (sent !== undefined) return `it without '${sent}', which no client can send`;
  const handled = value.find((name) => HANDLED_EVENTS.has(name));
  return handled === undefined ? undefined : `it without '${handled}', which the service handles itself`;
}

const HANDLED_EVENTS = new Set(['room:join', 'room:leave', 'message', 'typing']);

/** Whether a header can hold it; otherwise the first request would fail. */
const isHeaderText = (value) => typeof value === 'string' && /^[\t\x20-\x7e]*$/.test(value);
const isNames = (value) => isHeaderText(value) || (Array.isArray(value) && value.every(isHeaderText));
const names = { test: isNames, allowed: 'a string that a header can hold, or an array of those' };

const CORS = {
  origin: {
    test: isOrigin,
    allowed: 'an origin as browsers send it, a RegExp, a boolean, an array of those, or a function (origin, callback)',
    correct: correctOrigins,
  },
  credentials: boolean,
  methods: names,
  allowedHeaders: names,
  exposedHeaders: names,
  maxAge: { test: isInteger(0), allowed: 'a whole number of seconds' },
  preflightContinue: boolean,
  optionsSuccessStatus: { test: isInteger(200, 299), allowed: 'a status from 200 to 299' },
};

const COOKIE = {
  name: { test: (value) => typeof value === 'string' && value !== '', allowed: 'a non-empty string', required: true },
  domain: { test: (value) => typeof value === 'string', allowed: 'a string' },
  encode: fn,
  expires: { test: isDate, allowed: 'a Date' },
  httpOnly: boolean,
  maxAge: { test: Number.isFinite, allowed: 'a number of seconds' },
  partitioned: boolean,
  path: { test: (value) => typeof value === 'string', allowed: 'a string' },
  priority: { test: (value) => ['low', 'medium', 'high'].includes(value), allowed: "'low', 'medium' or 'high'" },
  sameSite: {
    test: (value) => typeof value === 'boolean' || ['lax', 'strict', 'none'].includes(value),
    allowed: "a boolean, 'lax', 'strict' or 'none'",
  },
  secure: boolean,
};

const TRANSPORTS = ['polling', 'websocket'];

const OPTIONS = {
  path: {
    test: (value) => typeof value === 'string' && /^\/?[^/?#]/.test(value) && !/[?#]/.test(value),
    allowed: 'a path like /socket.io',
  },
  cors: { members: CORS },
  redis: { check: checkRedis, members: REDIS },
  pingTimeout: milliseconds(1),
  pingInterval: milliseconds(1),
  maxHttpBufferSize: { test: isInteger(1, 2 ** 31 - 1), allowed: 'an integer number of bytes, at least 1' },
  transports: {
    test: (value) => Array.isArray(value) && value.length > 0 && value.every((name) => TRANSPORTS.includes(name)),
    allowed: "an array with at least one of 'polling' and 'websocket'",
  },
  allowUpgrades: boolean,
  upgradeTimeout: milliseconds(1),
  connectTimeout: milliseconds(1),
  serveClient: boolean,
  allowEIO3: boolean,
  allowRequest: fn,
  cookie: { test: (value) => typeof value === 'boolean', allowed: 'a boolean or an object', members: COOKIE },
  history: {
    members: {
      maxMessagesPerRoom: { test: isLimit(0), allowed: 'a whole number of messages or Infinity' },
      maxAgeMs: { test: isLimit(0), allowed: 'a whole number of milliseconds or Infinity' },
      persist: boolean,
    },
  },
  requireMembership: boolean,
  deliverMessages: boolean,
  relayEvents: { ...strings('event names'), correct: correctRelayed },
  presence: { members: { broadcast: boolean } },
  limits: {
    members: {
      maxQueuedBytes: { test: isInteger(1), allowed: 'an integer number of bytes, at least 1' },
      stallMs: milliseconds(1),
      maxDepth: { test: isInteger(1, MAX_DEPTH), allowed: `an integer number of levels, 1 to ${MAX_DEPTH}` },
    },
  },
  workerThreads: { test: isInteger(1, 1024), allowed: 'an integer from 1 to 1024' },
  logger: {
    test: (value) =>
      ['debug', 'info', 'warn', 'error'].every((level) => typeof value?.[level] === 'function'),
    allowed: 'an object with the methods debug, info, warn and error',
  },
};

/**
 * Options of Socket.IO that are no choice here. The values that ask for what this server does are taken; accepting and
 * ignoring others would mislead.
 */
const FIXED = {
  perMessageDeflate: [[false], 'WebSocket compression is not supported'],
  httpCompression: [[false], 'HTTP compression is not supported'],
  parser: [[], 'only the default parser is supported'],
  adapter: [[], 'the cluster is configured by redis'],
  wsEngine: [[], 'the WebSocket engine is native'],
  initialPacket: [[], 'the open packet carries nothing else'],
  connectionStateRecovery: [[false], 'session recovery is not supported yet'],
  cleanupEmptyChildNamespaces: [[false], 'there is only the default namespace'],
  addTrailingSlash: [[true], 'requests of the path have a slash behind it'],
  destroyUpgrade: [[true], 'an upgrade is ended when nobody listens for upgrades, and otherwise left to who listens'],
  destroyUpgradeTimeout: [[1000], 'an upgrade for which nobody listens is ended after 1000 ms'],
};

const consoleLogger = {
  debug() {},
  info() {},
  warn: (...args) => console.warn(...args),
  error: (...args) => console.error(...args),
};

/** Checks the caller's options and completes them. Does not keep or change the caller's objects. */
function resolveConfig(config = {}) {
  const call = callOf(config);
  if (call !== undefined || !isObject(config)) throw invalidArgument('config', config, 'an object of options', call);
  check('', choices(config), OPTIONS);
  checkCookie(config.cookie);
  if (config.history?.persist && config.redis === undefined) {
    throw invalidArgument('history.persist', true, 'left out or false without redis, which would keep the messages');
  }
  const given = present(config);
  const options = {
    cors: { origin: '*', credentials: true },
    pingTimeout: fromEnvironment('WEBSOCKET_PING_TIMEOUT', OPTIONS.pingTimeout) ?? 60_000,
    pingInterval: fromEnvironment('WEBSOCKET_PING_INTERVAL', OPTIONS.pingInterval) ?? 25_000,
    maxHttpBufferSize: 1e6,
    transports: TRANSPORTS,
    allowUpgrades: true,
    upgradeTimeout: 10_000,
    connectTimeout: 45_000,
    serveClient: true,
    allowEIO3: false,
    cookie: false,
    history: {},
    requireMembership: true,
    deliverMessages: true,
    relayEvents: ['document:edit'],
    presence: {},
    limits: {},
    workerThreads: availableParallelism(),
    logger: consoleLogger,
    ...given,
  };
  const path = given.path ?? (process.env.WEBSOCKET_PATH || '/socket.io');
  if (!OPTIONS.path.test(path)) throw invalidArgument('WEBSOCKET_PATH', path, OPTIONS.path.allowed);
  return { ...options, path: `/${path.replace(/^\/|\/+$/g, '')}`, cors: { origin: '*', ...present(options.cors) } };
}

/** The part of the options that the native side reads, as JSON. */
function nativeConfig(options) {
  const finite = (value) => (Number.isFinite(value) ? value : undefined);
  return JSON.stringify({
    path: options.path,
    pingInterval: options.pingInterval,
    pingTimeout: options.pingTimeout,
    maxHttpBufferSize: options.maxHttpBufferSize,
    polling: options.transports.includes('polling'),
    websocket: options.transports.includes('websocket'),
    allowUpgrades: options.allowUpgrades,
    upgradeTimeout: options.upgradeTimeout,
    connectTimeout: options.connectTimeout,
    allowEIO3: options.allowEIO3,
    history: {
      maxMessagesPerRoom: finite(options.history.maxMessagesPerRoom),
      maxAgeMs: finite(options.history.maxAgeMs),
      persist: options.history.persist,
    },
    requireMembership: options.requireMembership,
    deliverMessages: options.deliverMessages,
    relayEvents: options.relayEvents.map(canonicalName),
    presence: options.presence,
    limits: options.limits,
    workerThreads: options.workerThreads,
    redis: options.redis && nativeRedis(options.redis),
  });
}

/** A cookie that cannot be written would fail with the first handshake. */
function checkCookie(cookie) {
  try {
    if (cookie) sessionCookie(cookie, 'sid');
  } catch (error) {
    throw invalidArgument('cookie', cookie, 'a cookie that can be written', error.message);
  }
}

/** The cookie with a session id, as Engine.IO writes it. */
function sessionCookie(cookie, sid) {
  const { name = 'io', ...options } = cookie === true ? {} : cookie;
  return serialize(name, sid, { path: '/', httpOnly: options.path !== false, sameSite: 'lax', ...options });
}

/** The options that are a choice. Throws for what this server does not do. */
function choices(config) {
  const entries = Object.entries(config).filter(([name, value]) => {
    if (!Object.hasOwn(FIXED, name)) return true;
    const [accepted, reason] = FIXED[name];
    if (value !== undefined && !accepted.includes(value)) {
      const instead = accepted.length === 0 ? 'leave it out' : `leave it out or write ${accepted[0]}`;
      throw refused(`${name} is not accepted: ${reason} (${instead})`);
    }
    return false;
  });
  return Object.fromEntries(entries);
}

/** What is given: `undefined` is as good as left out. */
function present(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function fromEnvironment(variable, rule) {
  const text = process.env[variable];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!rule.test(value)) throw invalidArgument(variable, text, rule.allowed);
  return value;
}

module.exports = { resolveConfig, nativeConfig, sessionCookie, OPTIONS, FIXED };
