// The `redis` option: which server, as whom, and how long to wait. Errors never show a password.

import type { RedisConfig, RedisNode } from '../../index.js';
import { invalidArgument } from '../errors.js';
import { boolean, check, hidden, isInteger, isObject, milliseconds, type Rules, text } from './rules.js';

const password = { test: (value: unknown): value is string => typeof value === 'string', allowed: 'a string', secret: true };
const host = {
  test: (value: unknown) => text.test(value) && !/[\s/@]/.test(value),
  allowed: 'a host name or an IP address',
  correct: (value: unknown) => (/^[^:]+:\d+$/.test(String(value)) ? 'the port into port' : undefined),
};
const port = { test: isInteger(1, 65535), allowed: 'an integer from 1 to 65535' };
const count = { test: isInteger(1), allowed: 'an integer, at least 1' };
const pem = {
  test: (value: unknown) => /-----BEGIN [A-Z0-9 ]+-----/.test(pemText(value)),
  allowed: 'PEM, as a string or a Buffer',
};

const NODE = { host: { ...host, required: true }, port: { ...port, required: true } };
const nodes = { each: NODE, allowed: 'an array of at least one { host, port }' };

const TLS = {
  ca: pem,
  cert: pem,
  key: pem,
  servername: text,
  rejectUnauthorized: boolean,
};

const SENTINEL = {
  name: { ...text, required: true },
  nodes: { ...nodes, required: true },
  username: text,
  password,
};

export const REDIS = {
  host,
  port,
  username: text,
  password,
  db: { test: isInteger(0, 255), allowed: 'an integer from 0 to 255' },
  tls: { test: boolean.test, allowed: 'a boolean or an object', members: TLS },
  url: {
    test: (value: unknown) => parseUrl(value) !== undefined,
    allowed: 'a URL like redis://user:password@host:port/db, or rediss:// for TLS',
  },
  keyPrefix: text,
  cluster: nodes,
  sentinel: { allowed: 'an object { name, nodes }', members: SENTINEL },
  heartbeatInterval: milliseconds(100),
  responseTimeout: milliseconds(1),
  requestsTimeout: milliseconds(1),
  maxQueuedMessages: count,
  maxQueuedBytes: count,
} satisfies Rules;

/** Fields that say where Redis is, or as whom to go there; a URL says all of it. */
const IN_URL = ['host', 'port', 'username', 'password', 'db', 'cluster', 'sentinel'] as const;

/** Checks the option; throws a `TypeError` that names the field. */
export function checkRedis(redis: unknown): void {
  if (!isObject(redis)) {
    const hint = typeof redis === 'string' ? 'write a URL into redis.url' : undefined;
    throw invalidArgument('redis', hidden(redis, { members: REDIS }), 'an object', hint);
  }
  check('redis', redis, REDIS, hidden);
  checkTogether(redis);
}

/** Which fields may not be given together. Each was checked by itself. */
function checkTogether(redis: RedisConfig): void {
  const given = (name: keyof RedisConfig): boolean => redis[name] !== undefined;
  const refuse = (name: keyof RedisConfig, other: keyof RedisConfig): never => {
    throw invalidArgument(`redis.${name}`, hidden(redis[name], REDIS[name]), `left out when redis.${other} is given`);
  };
  for (const name of IN_URL) if (given('url') && given(name)) refuse(name, 'url');
  if (given('url') && redis.tls === false && parseUrl(redis.url)?.tls) {
    throw invalidArgument('redis.tls', false, 'true or left out with a redis.url that says rediss');
  }
  if (given('cluster') && given('sentinel')) refuse('sentinel', 'cluster');
  for (const kind of ['cluster', 'sentinel'] as const) {
    for (const name of ['host', 'port'] as const) if (given(kind) && given(name)) refuse(name, kind);
  }
  if (given('cluster') && given('db') && redis.db !== 0) {
    throw invalidArgument('redis.db', redis.db, '0, the only database of a Redis Cluster');
  }
  checkKeyPair(redis.tls);
}

/** A certificate is of no use without its key, nor the key without it. */
function checkKeyPair(tls: RedisConfig['tls']): void {
  if (typeof tls !== 'object') return;
  const pairs = [
    ['cert', 'key'],
    ['key', 'cert'],
  ] as const;
  for (const [name, other] of pairs) {
    if (tls[name] === undefined && tls[other] !== undefined) {
      throw invalidArgument(`redis.tls.${name}`, undefined, `given together with redis.tls.${other}`);
    }
  }
}

/** The option in the shape that the native side reads (`RedisConfig`). Fills in the environment and the defaults. */
export function nativeRedis(redis: RedisConfig) {
  const sentinel = redis.sentinel;
  const { REDIS_PASSWORD } = process.env;
  const place = parseUrl(redis.url) ?? placeOf(redis);
  return {
    keyPrefix: redis.keyPrefix,
    servers: redis.cluster ?? sentinel?.nodes ?? [{ host: place.host, port: place.port }],
    mode: redis.cluster ? 'cluster' : sentinel ? { sentinel: sentinel.name } : 'single',
    username: place.username,
    // An empty password is none, and keeps that of the environment out.
    password: (place.password ?? REDIS_PASSWORD) || undefined,
    sentinelUsername: sentinel?.username,
    sentinelPassword: sentinel?.password,
    db: place.db ?? 0,
    tls: nativeTls(redis.tls, place.tls),
    heartbeatInterval: redis.heartbeatInterval,
    responseTimeout: redis.responseTimeout,
    requestsTimeout: redis.requestsTimeout,
    maxQueuedMessages: redis.maxQueuedMessages,
    maxQueuedBytes: redis.maxQueuedBytes,
  };
}

/** Where Redis is, and as whom to go there. */
interface Place extends RedisNode {
  username: string | undefined;
  password: string | undefined;
  db: number | undefined;
  tls: boolean;
}

/** What the fields say, then the environment, then the defaults. */
function placeOf(redis: RedisConfig): Place {
  const { REDIS_HOST, REDIS_PORT } = process.env;
  const needsAddress = !redis.cluster && !redis.sentinel;
  return {
    host: redis.host ?? (REDIS_HOST || 'localhost'),
    port: redis.port ?? (needsAddress && REDIS_PORT ? portOf(REDIS_PORT) : 6379),
    username: redis.username,
    password: redis.password,
    db: redis.db,
    tls: false,
  };
}

function portOf(variable: string): number {
  const value = Number(variable);
  if (!port.test(value)) throw invalidArgument('REDIS_PORT', variable, port.allowed);
  return value;
}

/** The parts of a URL, or undefined if it is none of Redis. */
function parseUrl(value: unknown): Place | undefined {
  if (typeof value !== 'string' || !URL.canParse(value)) return undefined;
  const url = new URL(value);
  const path = /^\/?(\d*)$/.exec(url.pathname);
  const db = Number(path?.[1] || 0);
  if (!['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '' || !path || db > 255) return undefined;
  if (url.search !== '' || url.hash !== '' || url.port === '0') return undefined;
  try {
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 6379),
      username: decodeURIComponent(url.username) || undefined,
      password: decodeURIComponent(url.password) || undefined,
      db,
      tls: url.protocol === 'rediss:',
    };
  } catch {
    return undefined; // a lone percent sign
  }
}

function nativeTls(tls: RedisConfig['tls'], byUrl: boolean): object | undefined {
  if (typeof tls !== 'object') return (tls ?? byUrl) ? {} : undefined;
  return {
    ca: tls.ca && pemText(tls.ca),
    cert: tls.cert && pemText(tls.cert),
    key: tls.key && pemText(tls.key),
    servername: tls.servername,
    insecure: tls.rejectUnauthorized === false,
  };
}

function pemText(value: unknown): string {
  if (typeof value === 'string') return value;
  return Buffer.isBuffer(value) ? value.toString() : '';
}
