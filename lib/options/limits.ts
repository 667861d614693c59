// Bounds on what clients may use: the check of each, the preset for public services, and what the native side reads.

import { BlockList, isIP } from 'node:net';
import { totalmem } from 'node:os';
import type { LimitsConfig } from '../../index.js';
import { MAX_DEPTH } from '../socketio/payload.js';
import { isInteger, milliseconds } from './rules.js';

/** The most that the native side counts to. */
const MOST = 2 ** 32 - 1;
const isLimit = (value: unknown): boolean => value === Infinity || isInteger(1, MOST)(value);
const rate = { test: isLimit, allowed: 'a whole number, at least 1, or Infinity' };
const bytes = { test: isInteger(1), allowed: 'an integer number of bytes, at least 1' };

/** Networks that have a name, as Express has them. */
const NAMED: Readonly<Record<string, string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
};

const LIMITS = {
  maxConnections: rate,
  connectionsPerAddress: rate,
  handshakesPerSecond: rate,
  handshakesPerSecondPerAddress: rate,
  trustProxy: {
    test: (value: unknown) => typeof value === 'boolean' || isInteger(0, 1_000)(value) || areNetworks(value),
    allowed: "a boolean, a number of proxies, or their addresses or networks ('loopback', '10.0.0.0/8'), as a string or an array",
  },
  eventsPerSecond: rate,
  eventsBurst: rate,
  eventsPerSecondPerUser: rate,
  eventsBurstPerUser: rate,
  roomsPerSocket: rate,
  pendingAcks: { test: isInteger(1, MOST), allowed: 'a whole number, at least 1' },
  maxQueuedBytes: bytes,
  stallMs: milliseconds(1),
  maxEarlyBytes: bytes,
  maxTotalBytes: { test: (value: unknown) => value === Infinity || bytes.test(value), allowed: `${bytes.allowed}, or Infinity` },
  messageTimeoutMs: milliseconds(1),
  headersTimeoutMs: milliseconds(1),
  bodyTimeoutMs: milliseconds(1),
  maxHeaderBytes: { test: isInteger(8_192, 2 ** 20), allowed: 'an integer number of bytes, 8192 to 1048576' },
  expiryNoticeMs: milliseconds(0),
  maxDepth: { test: isInteger(1, MAX_DEPTH), allowed: `an integer number of levels, 1 to ${MAX_DEPTH}` },
  preset: { test: (value: unknown) => value === 'strict', allowed: "'strict'" },
};

export const limits = {
  test: (value: unknown) => value === 'strict',
  allowed: "an object of limits, or 'strict'",
  members: LIMITS,
};

/** For services that anybody can reach: an honest client of an ordinary application stays far below. */
const STRICT: LimitsConfig = {
  connectionsPerAddress: 100,
  handshakesPerSecondPerAddress: 20,
  eventsPerSecond: 50,
  eventsBurst: 200,
  eventsPerSecondPerUser: 100,
  eventsBurstPerUser: 400,
  roomsPerSocket: 100,
  pendingAcks: 1_000,
  maxQueuedBytes: 1 << 20,
  maxEarlyBytes: 64 << 10,
  messageTimeoutMs: 30_000,
  headersTimeoutMs: 10_000,
  bodyTimeoutMs: 30_000,
  maxHeaderBytes: 16 << 10,
  maxDepth: 100,
};

/** The limits that were given, on top of the preset that was. */
export function chosenLimits(given: LimitsConfig | 'strict'): LimitsConfig {
  const own = given === 'strict' ? {} : given;
  const isStrict = given === 'strict' || given.preset === 'strict';
  const said = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...(isStrict && STRICT), ...(Object.fromEntries(said) as LimitsConfig) };
}

/** The limits as the native side reads them: without those that are no limits. */
export function nativeLimits({ preset: _, trustProxy, ...chosen }: LimitsConfig): Record<string, unknown> {
  const all = { maxTotalBytes: Math.floor(memory() / 2), ...chosen };
  const finite = Object.entries(all).filter(([, value]) => Number.isFinite(value));
  // The only one that has to be a number.
  const rooms = all.roomsPerSocket === Infinity ? { roomsPerSocket: MOST } : {};
  return { ...Object.fromEntries(finite), ...rooms, trustProxy: nativeProxies(trustProxy ?? false) };
}

/** Bytes that the process may have. */
function memory(): number {
  // 0 or a number beyond the machine's where nothing constrains it.
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

function nativeProxies(trusted: boolean | number | string | string[]): Record<string, unknown> {
  if (typeof trusted === 'boolean') return { hops: trusted ? MOST : 0 };
  return typeof trusted === 'number' ? { hops: trusted } : { networks: networksOf(trusted) };
}

function networksOf(value: string | string[]): string[] {
  const names = (Array.isArray(value) ? value : value.split(',')).map((name) => name.trim());
  return names.flatMap((name) => NAMED[name] ?? name);
}

function areNetworks(value: unknown): boolean {
  const isText = typeof value === 'string' || (Array.isArray(value) && value.every((each) => typeof each === 'string'));
  return isText && networksOf(value).every(isNetwork);
}

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  if (prefix === undefined) return true;
  if (!/^\d{1,3}$/.test(prefix)) return false;
  try {
    new BlockList().addSubnet(address, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
    return true;
  } catch {
    return false;
  }
}
