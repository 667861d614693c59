// The options: defaults, environment, and one check that names the option, the value and what is allowed.

'use strict';

const { availableParallelism } = require('node:os');
const { invalidArgument } = require('./errors.js');
const { boolean, isInteger, isObject, milliseconds } = require('./option-rules.js');
const { canonicalName, MAX_DEPTH } = require('./payload.js');
const { checkRedis, nativeRedis } = require('./redis-options.js');

const isLimit = (min) => (value) => value === Infinity || isInteger(min)(value);

const fn = { test: (value) => typeof value === 'function', allowed: 'a function' };
const strings = (item) => ({
  test: (value) => Array.isArray(value) && value.every((each) => typeof each === 'string' && each !== ''),
  allowed: `an array of ${item}`,
});

const isOrigin = (value) =>
  typeof value === 'string' || typeof value === 'boolean' || typeof value === 'function' || value instanceof RegExp;
const isListedOrigin = (value) => typeof value === 'string' || value instanceof RegExp;
const isNames = (value) =>
  typeof value === 'string' || (Array.isArray(value) && value.every((name) => typeof name === 'string'));
const names = { test: isNames, allowed: 'a string or an array of strings' };

const CORS = {
  origin: {
    test: (value) => isOrigin(value) || (Array.isArray(value) && value.every(isListedOrigin)),
    allowed: 'a string, a RegExp, an array of those, a boolean or a function (origin, callback)',
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
  expires: { test: (value) => value instanceof Date, allowed: 'a Date' },
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
  redis: { check: checkRedis },
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
  relayEvents: strings('event names'),
  presence: { members: { broadcast: boolean } },
  limits: {
    members: {
      maxQueuedBytes: { test: isInteger(1), allowed: 'an integer number of bytes, at least 1' },
      maxDepth: { test: isInteger(1, MAX_DEPTH), allowed: `an integer number of levels, 1 to ${MAX_DEPTH}` },
    },
  },
  workerThreads: { test: isInteger(1, 1024), allowed: 'an integer from 1 to 1024' },
  logger: {
    test: (value) =>
      (isObject(value) || typeof value === 'function') &&
      ['debug', 'info', 'warn', 'error'].every((level) => typeof value[level] === 'function'),
    allowed: 'an object with the methods debug, info, warn and error',
  },
};

/** Options of Socket.IO that this server does not have; accepting and ignoring them would mislead. */
const UNSUPPORTED = {
  perMessageDeflate: 'WebSocket compression is not supported',
  httpCompression: 'HTTP compression is not supported',
  parser: 'only the default parser is supported',
  adapter: 'the cluster is configured by redis',
  wsEngine: 'the WebSocket engine is native',
  connectionStateRecovery: 'session recovery is not supported yet',
};

const consoleLogger = {
  debug() {},
  info() {},
  warn: (...args) => console.warn(...args),
  error: (...args) => console.error(...args),
};

/** Checks the caller's options and completes them. Does not keep or change the caller's objects. */
function resolveConfig(config = {}) {
  if (!isObject(config)) throw invalidArgument('config', config, 'an object');
  check('', config, OPTIONS);
  if (config.history?.persist && config.redis === undefined) {
    throw invalidArgument('history.persist', true, 'left out or false without redis, which would keep the messages');
  }
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
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
    relayEvents: ['document:edit'],
    presence: {},
    limits: {},
    workerThreads: availableParallelism(),
    logger: consoleLogger,
    ...given,
  };
  const path = given.path ?? (process.env.WEBSOCKET_PATH || '/socket.io');
  if (!OPTIONS.path.test(path)) throw invalidArgument('WEBSOCKET_PATH', path, OPTIONS.path.allowed);
  return { ...options, path: `/${path.replace(/^\/|\/+$/g, '')}`, cors: { ...options.cors } };
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
    relayEvents: options.relayEvents.map(canonicalName),
    presence: options.presence,
    limits: options.limits,
    workerThreads: options.workerThreads,
    redis: options.redis && nativeRedis(options.redis),
  });
}

function check(prefix, values, rules) {
  for (const [name, value] of Object.entries(values)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) throw unknownOption(prefix + name, value, rules);
    if (value === undefined) continue;
    if (rule.check) rule.check(value);
    else if (rule.members && isObject(value)) check(`${prefix}${name}.`, value, rule.members);
    else if (!rule.test?.(value)) throw invalidArgument(prefix + name, value, rule.allowed ?? 'an object');
  }
  for (const [name, rule] of Object.entries(rules)) {
    if (rule.required && values[name] === undefined) throw invalidArgument(prefix + name, undefined, rule.allowed);
  }
}

function unknownOption(name, value, rules) {
  if (Object.hasOwn(UNSUPPORTED, name)) {
    const error = new TypeError(`${name} is not accepted: ${UNSUPPORTED[name]}`);
    error.code = 'ERR_INVALID_ARGUMENT';
    return error;
  }
  return invalidArgument(name, value, `left out, it is unknown (known: ${Object.keys(rules).join(', ')})`);
}

function fromEnvironment(variable, rule) {
  const text = process.env[variable];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!rule.test(value)) throw invalidArgument(variable, text, rule.allowed);
  return value;
}

module.exports = { resolveConfig, nativeConfig };
