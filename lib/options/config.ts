// The options: defaults, environment, and one check that names the option, the value and what is allowed.

import { availableParallelism } from 'node:os';
import { isDate, isRegExp } from 'node:util/types';
import { serialize } from 'cookie';
import type { AuthorizeConfig, CookieConfig, CorsConfig, LimitsConfig, TransportName, WebSocketConfig } from '../../index.js';
import { invalidArgument, refused, RESERVED_EVENTS } from '../errors.js';
import { correctOrigin } from './origin.js';
import { boolean, check, isInteger, isObject, milliseconds, type Rules } from './rules.js';
import { builtInEvents } from '../native/addon.js';
import { canonicalName } from '../socketio/payload.js';
import { chosenLimits, limits, nativeLimits } from './limits.js';
import { logger, safely } from './logger.js';
import { REDIS, checkRedis, nativeRedis } from './redis.js';
import { connectionStateRecovery, nativeRecovery } from './recovery.js';
import { membershipEvents } from './room.js';
import { callOf } from './wrong-arguments.js';

const isLimit = (min: number) => (value: unknown): value is number => value === Infinity || isInteger(min)(value);

const fn = { test: (value: unknown) => typeof value === 'function', allowed: 'a function' };
const strings = (item: string) => ({
  test: (value: unknown) => Array.isArray(value) && value.every((each) => typeof each === 'string' && each !== ''),
  allowed: `an array of ${item}`,
});

const isListedOrigin = (value: unknown): boolean => ['string', 'boolean'].includes(typeof value) || isRegExp(value);
const isOrigin = (value: unknown): boolean =>
  isListedOrigin(value) || typeof value === 'function' || (Array.isArray(value) && value.every(isListedOrigin));

/** What to write instead of an origin that no browser sends. */
function correctOrigins(value: unknown): string | undefined {
  if (typeof value === 'string') return correctOrigin(value);
  if (!Array.isArray(value)) return undefined;
  if (value.includes('*')) return "origin: '*' without the array to let all in";
  const texts = value.filter((each) => typeof each === 'string');
  const wrong = texts.find((each) => correctOrigin(each) !== undefined);
  return wrong === undefined ? undefined : `${correctOrigin(wrong)} in place of '${wrong}'`;
}

/** Events that no client can send, or that the service does more with than to relay them. */
function correctRelayed(value: unknown): string | undefined {
  const names = value as string[]; // it has passed the test
  const sent = names.find((name) => RESERVED_EVENTS.has(name));
  if (sent !== undefined) return `it without '${sent}', which no client can send`;
  const handled = names.find((name) => HANDLED_EVENTS.has(name));
  return handled === undefined ? undefined : `it without '${handled}', which the service handles itself`;
}

const HANDLED_EVENTS = new Set(builtInEvents());

/** Whether a header can hold it; otherwise the first request would fail. */
const isHeaderText = (value: unknown): boolean => typeof value === 'string' && /^[\t\x20-\x7e]*$/.test(value);
const isNames = (value: unknown): boolean => isHeaderText(value) || (Array.isArray(value) && value.every(isHeaderText));
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
  name: { test: (value: unknown) => typeof value === 'string' && value !== '', allowed: 'a non-empty string', required: true },
  domain: { test: (value: unknown) => typeof value === 'string', allowed: 'a string' },
  encode: fn,
  expires: { test: isDate, allowed: 'a Date' },
  httpOnly: boolean,
  maxAge: { test: Number.isFinite, allowed: 'a number of seconds' },
  partitioned: boolean,
  path: { test: (value: unknown) => typeof value === 'string', allowed: 'a string' },
  priority: { test: (value: unknown) => ['low', 'medium', 'high'].some((each) => each === value), allowed: "'low', 'medium' or 'high'" },
  sameSite: {
    test: (value: unknown) => typeof value === 'boolean' || ['lax', 'strict', 'none'].some((each) => each === value),
    allowed: "a boolean, 'lax', 'strict' or 'none'",
  },
  secure: boolean,
};

const TRANSPORTS: TransportName[] = ['polling', 'websocket'];

export const OPTIONS = {
  path: {
    test: (value: unknown) => typeof value === 'string' && /^\/?[^/?#]/.test(value) && !/[?#]/.test(value),
    allowed: 'a path like /socket.io',
  },
  cors: { members: CORS },
  redis: { check: checkRedis, members: REDIS },
  pingTimeout: milliseconds(1),
  pingInterval: milliseconds(1),
  maxHttpBufferSize: { test: isInteger(1, 2 ** 31 - 1), allowed: 'an integer number of bytes, at least 1' },
  transports: {
    test: (value: unknown) => Array.isArray(value) && value.length > 0 && value.every((name) => TRANSPORTS.includes(name)),
    allowed: "an array with at least one of 'polling' and 'websocket'",
  },
  allowUpgrades: boolean,
  upgradeTimeout: milliseconds(1),
  connectTimeout: milliseconds(1),
  serveClient: boolean,
  allowEIO3: boolean,
  allowRequest: fn,
  cookie: { test: (value: unknown) => typeof value === 'boolean', allowed: 'a boolean or an object', members: COOKIE },
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
  membershipEvents,
  authorize: { members: { connect: fn, join: fn, message: fn, typing: fn, relay: fn, history: fn } },
  allowSystemMessages: boolean,
  connectionStateRecovery,
  limits,
  workerThreads: { test: isInteger(1, 1024), allowed: 'an integer from 1 to 1024' },
  logger,
} satisfies Rules;

/**
 * Options of Socket.IO that are no choice here. The values that ask for what this server does are taken; accepting and
 * ignoring others would mislead.
 */
export const FIXED: Readonly<Record<string, readonly [accepted: unknown[], reason: string]>> = {
  perMessageDeflate: [[false], 'WebSocket compression is not supported'],
  httpCompression: [[false], 'HTTP compression is not supported'],
  parser: [[], 'only the default parser is supported'],
  adapter: [[], 'the cluster is configured by redis'],
  wsEngine: [[], 'the WebSocket engine is native'],
  initialPacket: [[], 'the open packet carries nothing else'],
  cleanupEmptyChildNamespaces: [[false], 'there is only the default namespace'],
  addTrailingSlash: [[true], 'requests of the path have a slash behind it'],
  destroyUpgrade: [[true], 'an upgrade is ended when nobody listens for upgrades, and otherwise left to who listens'],
  destroyUpgradeTimeout: [[1000], 'an upgrade for which nobody listens is ended after 1000 ms'],
};

/** Options that keep their type, and are always there. */
type Completed =
  | 'pingTimeout'
  | 'pingInterval'
  | 'maxHttpBufferSize'
  | 'transports'
  | 'allowUpgrades'
  | 'upgradeTimeout'
  | 'connectTimeout'
  | 'serveClient'
  | 'allowEIO3'
  | 'cookie'
  | 'history'
  | 'requireMembership'
  | 'deliverMessages'
  | 'relayEvents'
  | 'presence'
  | 'membershipEvents'
  | 'allowSystemMessages'
  | 'connectionStateRecovery'
  | 'workerThreads'
  | 'logger';

/** The options of a service, checked and complete. */
export type ResolvedConfig = { [K in Completed]: NonNullable<WebSocketConfig[K]> } & {
  path: string;
  cors: CorsConfig & { origin: NonNullable<CorsConfig['origin']> };
  authorize: AuthorizeConfig;
  limits: LimitsConfig;
} & Pick<WebSocketConfig, 'allowRequest' | 'redis'>;

/** Checks the caller's options and completes them. Does not keep or change the caller's objects. */
export function resolveConfig(config: WebSocketConfig = {}): ResolvedConfig {
  const call = callOf(config);
  if (call !== undefined || !isObject(config)) throw invalidArgument('config', config, 'an object of options', call);
  check('', choices(config), OPTIONS);
  return completed(config);
}

/** `given` was checked, each option by itself. */
function completed(config: WebSocketConfig): ResolvedConfig {
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
    membershipEvents: 'each' as const,
    allowSystemMessages: false,
    connectionStateRecovery: false,
    workerThreads: availableParallelism(),
    ...given,
    authorize: present(given.authorize ?? {}),
    limits: chosenLimits(given.limits ?? {}),
    logger: safely(given.logger),
  };
  const path = given.path ?? (process.env.WEBSOCKET_PATH || '/socket.io');
  if (!OPTIONS.path.test(path)) throw invalidArgument('WEBSOCKET_PATH', path, OPTIONS.path.allowed);
  return { ...options, path: `/${path.replace(/^\/|\/+$/g, '')}`, cors: { origin: '*', ...present(options.cors) } };
}

/** The part of the options that the native side reads, as JSON. */
export function nativeConfig(options: ResolvedConfig): string {
  const finite = (value: number | undefined) => (Number.isFinite(value) ? value : undefined);
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
    membershipEvents: options.membershipEvents,
    authorize: {
      join: options.authorize.join !== undefined,
      message: options.authorize.message !== undefined,
      typing: options.authorize.typing !== undefined,
      relay: options.authorize.relay !== undefined,
      history: options.authorize.history !== undefined,
    },
    allowSystemMessages: options.allowSystemMessages,
    connectionStateRecovery: nativeRecovery(options.connectionStateRecovery),
    limits: nativeLimits(options.limits),
    workerThreads: options.workerThreads,
    redis: options.redis && nativeRedis(options.redis),
  });
}

/** A cookie that cannot be written would fail with the first handshake. */
function checkCookie(cookie: WebSocketConfig['cookie']): void {
  try {
    if (cookie) sessionCookie(cookie, 'sid');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalidArgument('cookie', cookie, 'a cookie that can be written', why);
  }
}

/** The cookie with a session id, as Engine.IO writes it. */
export function sessionCookie(cookie: true | CookieConfig, sid: string): string {
  const { name = 'io', ...options }: Partial<CookieConfig> = cookie === true ? {} : cookie;
  return serialize(name, sid, { path: '/', httpOnly: true, sameSite: 'lax', ...options });
}

/** The options that are a choice. Throws for what this server does not do. */
function choices(config: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(config).filter(([name, value]) => {
    const fixed = Object.hasOwn(FIXED, name) ? FIXED[name] : undefined;
    if (fixed === undefined) return true;
    const [accepted, reason] = fixed;
    if (value !== undefined && !accepted.includes(value)) {
      const instead = accepted.length === 0 ? 'leave it out' : `leave it out or write ${accepted[0]}`;
      throw refused(`${name} is not accepted: ${reason} (${instead})`);
    }
    return false;
  });
  return Object.fromEntries(entries);
}

/** What is given: `undefined` is as good as left out. */
function present<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

function fromEnvironment(variable: string, rule: ReturnType<typeof milliseconds>): number | undefined {
  const text = process.env[variable];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!rule.test(value)) throw invalidArgument(variable, text, rule.allowed);
  return value;
}
