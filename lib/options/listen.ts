// What `listen` is told: one check that names the field, and what the native side needs of it.

import http from 'node:http';
import https from 'node:https';
import type { ListenOptions } from '../../index.js';
import { invalidArgument } from '../errors.js';
import { type ResolvedConfig, sessionCookie } from './config.js';
import { boolean, check, isInteger, isObject, text } from './rules.js';
import { checkTls, type Credentials } from './tls.js';

const BACKLOG = 511;
/** What stands for a session's id in a cookie that is cut in two there. */
const PLACE = 'SESSION-ID';

const RULES = {
  port: { test: isInteger(0, 65_535), allowed: 'an integer from 0 to 65535' },
  host: text,
  path: text,
  tls: { check: checkTls },
  server: {
    test: (value: unknown) => value instanceof http.Server || value instanceof https.Server,
    allowed: 'an http.Server, which need not listen',
  },
  backlog: { test: isInteger(1, 65_535), allowed: 'an integer from 1 to 65535' },
  reusePort: boolean,
};

/** Throws a `TypeError` that names the field. */
export function checkListen(options: unknown): asserts options is ListenOptions {
  if (!isObject(options)) throw invalidArgument('options', options, 'an object such as { port: 3000 }');
  check('', options, RULES);
  if (options.path === undefined && options.port === undefined) {
    throw invalidArgument('port', undefined, 'given, or path, of a Unix socket');
  }
  if (options.path !== undefined && (options.port !== undefined || options.host !== undefined)) {
    throw invalidArgument('path', options.path, 'left out where port and host are given');
  }
  if (options.server instanceof https.Server && options.tls === undefined) {
    throw invalidArgument('server', options.server, 'an http.Server where tls is not given');
  }
}

/** Where a door is, and what it goes by. `address` is numeric, and absent for a Unix socket. */
export interface DoorOptions {
  options: ListenOptions;
  address: string | undefined;
  tls: Credentials | undefined;
}

/** The part that the native side reads, as JSON. */
export function nativeDoor({ options, address, tls }: DoorOptions, config: ResolvedConfig): string {
  const { path, port, backlog = BACKLOG, reusePort = false, server } = options;
  const host = address?.includes(':') ? `[${address}]` : address;
  return JSON.stringify({
    address: host === undefined ? undefined : `${host}:${port}`,
    unix: path,
    backlog,
    reusePort,
    tls,
    cors: nativeCors(config),
    handsOver: server !== undefined,
    servesClient: config.serveClient,
    cookie: config.cookie ? sessionCookie(config.cookie, PLACE).split(PLACE) : undefined,
  });
}

/** CORS in the forms that need no JavaScript; undefined where a function or a RegExp decides. */
function nativeCors({ cors, allowRequest }: ResolvedConfig): Record<string, unknown> | undefined {
  const { origin, credentials, methods, allowedHeaders, exposedHeaders, maxAge, preflightContinue, optionsSuccessStatus } = cors;
  const isFixed = (each: unknown) => typeof each === 'string' || typeof each === 'boolean';
  if (allowRequest) return undefined;
  if (Array.isArray(origin) ? !origin.every((each) => typeof each === 'string') : !isFixed(origin)) return undefined;
  const list = (names: string | string[] | undefined) => (Array.isArray(names) ? names.join(',') : names) || undefined;
  return {
    origin: origin === '' ? '*' : origin,
    credentials,
    methods: list(methods),
    allowedHeaders: list(allowedHeaders),
    exposedHeaders: list(exposedHeaders),
    maxAge: maxAge?.toString(),
    preflightContinue,
    optionsSuccessStatus,
  };
}
