// The errors that callers see. Match `code`, never the text.

'use strict';

const { inspect } = require('node:util');

/** A call that could not be done; `code` is stable. */
class WebSocketServiceError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'WebSocketServiceError';
    this.code = code;
  }
}

/** A bad argument or option: a `TypeError` with `code: 'ERR_INVALID_ARGUMENT'`. */
function invalidArgument(name, value, allowed) {
  const error = new TypeError(`${name} must be ${allowed}, got ${show(value)}`);
  error.code = 'ERR_INVALID_ARGUMENT';
  return error;
}

function show(value) {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  return inspect(value, { depth: 0, breakLength: Infinity }).slice(0, 100);
}

const assertString = (name, value) => {
  if (typeof value !== 'string') throw invalidArgument(name, value, 'a string');
};

const assertEventName = (value) => {
  if (typeof value !== 'string' || value === '') throw invalidArgument('event', value, 'a non-empty string');
  if (RESERVED_EVENTS.has(value)) throw invalidArgument('event', value, 'none of the names that Socket.IO reserves');
};

const assertStrings = (name, value) => {
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) {
    throw invalidArgument(name, value, 'an array of strings');
  }
};

const assertMilliseconds = (name, value) => {
  if (!Number.isFinite(value) || value < 0 || value > MAX_MS) {
    throw invalidArgument(name, value, `a number from 0 to ${MAX_MS}`);
  }
};

const assertCount = (name, value) => {
  if (!(value === Infinity || (Number.isInteger(value) && value >= 0))) {
    throw invalidArgument(name, value, 'a whole number, at least 0');
  }
};

const assertMetadata = (metadata) => {
  if (metadata !== undefined && metadata !== null && (typeof metadata !== 'object' || Array.isArray(metadata))) {
    throw invalidArgument('metadata', metadata, 'an object');
  }
};

/** Longest time that a timer takes, in milliseconds. */
const MAX_MS = 2 ** 31 - 1;

/** Event names of Socket.IO itself, which no packet may carry. */
const RESERVED_EVENTS = new Set([
  'connect',
  'connect_error',
  'disconnect',
  'disconnecting',
  'newListener',
  'removeListener',
]);

module.exports = {
  WebSocketServiceError,
  invalidArgument,
  assertCount,
  assertEventName,
  assertMetadata,
  assertMilliseconds,
  assertString,
  assertStrings,
};
