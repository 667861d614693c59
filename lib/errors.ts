// The errors that callers see. Match `code`, never the text.

import { inspect } from 'node:util';
import type { WebSocketServiceErrorCode } from '../index.js';
import type { Failure } from '../binding.js';
import { reservedEvents } from './native/addon.js';

/** Longest time that a timer takes, in milliseconds. */
export const MAX_MS = 2 ** 31 - 1;

/** Event names of Socket.IO itself, which no packet may carry. */
export const RESERVED_EVENTS = new Set(reservedEvents());

/** A call that could not be done; `code` is stable. */
export class WebSocketServiceError extends Error {
  declare readonly code: WebSocketServiceErrorCode;
  /** What came until then, where many were asked. As in `index.d.ts`: what servers and clients answer is their own. */
  declare responses?: unknown;

  constructor(code: WebSocketServiceErrorCode, message: string) {
    super(message);
    this.name = 'WebSocketServiceError';
    this.code = code;
  }
}

/** The error that the native side gives. */
export function errorOf({ code, message }: Failure): Error {
  if (code === 'ERR_INVALID_ARGUMENT') return refused(message);
  return new WebSocketServiceError(code as WebSocketServiceErrorCode, message); // `src/error.rs` has them all
}

/** The error of what is asked of a service that has ended. */
export function closed(): WebSocketServiceError {
  return new WebSocketServiceError('ERR_CLOSED', 'The service has been shut down');
}

/** A bad argument or option: a `TypeError` with `code: 'ERR_INVALID_ARGUMENT'`. `hint` may say what was meant. */
export function invalidArgument(name: string, value: unknown, allowed: string, hint?: string): TypeError {
  return refused(`${name} must be ${allowed}, got ${show(value)}${hint === undefined ? '' : `: ${hint}`}`);
}

/** The same in words of its own. */
export function refused(message: string): TypeError & { code: string } {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARGUMENT' });
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  try {
    // Of what is an object of some class, or a function, the name says most.
    const maker = (value as { constructor?: unknown } | null | undefined)?.constructor;
    const isPlain = typeof value !== 'function' && (!maker || maker === Object || maker === Array);
    return inspect(value, { depth: isPlain ? 0 : -1, breakLength: Infinity }).slice(0, 100);
  } catch {
    return `an ${typeof value} that cannot be shown`;
  }
}

/**
 * Runs a conversion of a caller's value. What JavaScript itself says about the value, such as a BigInt in JSON, is an
 * error about an argument; what the value's own code throws stays as it is.
 */
export function converted<T>(convert: () => T): T {
  try {
    return convert();
  } catch (error) {
    if (isOfJavaScript(error)) error.code ??= 'ERR_INVALID_ARGUMENT';
    throw error;
  }
}

/** By its name, since what another realm throws is no instance of this one's classes. */
function isOfJavaScript(error: unknown): error is Error & { code?: string } {
  const name = (error as { name?: unknown } | null | undefined)?.name;
  return name === 'TypeError' || name === 'RangeError';
}

export const assertString = (name: string, value: unknown): void => {
  if (typeof value !== 'string') throw invalidArgument(name, value, 'a string');
};

export const assertEventName = (value: unknown): void => {
  if (typeof value !== 'string' || value === '') throw invalidArgument('event', value, 'a non-empty string');
  if (RESERVED_EVENTS.has(value)) throw invalidArgument('event', value, 'none of the names that Socket.IO reserves');
};

/** Names of rooms, from one or an array of them; numbers are taken as Socket.IO takes them. */
export function roomNames(value: unknown): string[] {
  const names: unknown[] = Array.isArray(value) ? value : [value];
  if (!names.every((each) => typeof each === 'string' || typeof each === 'number')) {
    throw invalidArgument('room', value, 'the name of a room or an array of names');
  }
  return names.map(String);
}

export const assertStrings = (name: string, value: unknown): void => {
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) {
    throw invalidArgument(name, value, 'an array of strings');
  }
};

export const assertMilliseconds = (name: string, value: unknown): void => {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > MAX_MS) {
    throw invalidArgument(name, value, `a number from 0 to ${MAX_MS}`);
  }
};

export const assertExpiry = (value: unknown): void => {
  const isTime = typeof value === 'number' && Number.isInteger(value) && value >= 0;
  if (value !== undefined && !isTime) throw invalidArgument('expiresAt', value, 'a whole number of milliseconds since the epoch, or undefined');
};

export const assertCount = (name: string, value: unknown): void => {
  if (!(value === Infinity || (typeof value === 'number' && Number.isInteger(value) && value >= 0))) {
    throw invalidArgument(name, value, 'a whole number, at least 0');
  }
};

export const assertMetadata = (metadata: unknown): void => {
  if (metadata !== undefined && metadata !== null && (typeof metadata !== 'object' || Array.isArray(metadata))) {
    throw invalidArgument('metadata', metadata, 'an object');
  }
};
