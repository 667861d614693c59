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

/** A bad argument or option: a `TypeError` with `code: 'ERR_INVALID_ARGUMENT'`. `hint` may say what was meant. */
function invalidArgument(name, value, allowed, hint) {
  return refused(`${name} must be ${allowed}, got ${show(value)}${hint === undefined ? '' : `: ${hint}`}`);
}

/** The same in words of its own. */
function refused(message) {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARGUMENT' });
}

function show(value) {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  try {
    // Of what is an object of some class, or a function, the name says most.
    const isPlain = typeof value !== 'function' && (!value?.constructor || [Object, Array].includes(value.constructor));
    return inspect(value, { depth: isPlain ? 0 : -1, breakLength: Infinity }).slice(0, 100);
  } catch {
    return `an ${typeof value} that cannot be shown`;
  }
}

/**
 * Runs a conversion of a caller's value. What JavaScript itself says about the value, such as a BigInt in JSON, is an
 * error about an argument; what the value's own code throws stays as it is.
 */
function converted(convert) {
  try {
    return convert();
  } catch (error) {
    if (['TypeError', 'RangeError'].includes(error?.name)) error.code ??= 'ERR_INVALID_ARGUMENT';
    throw error;
  }
}

const assertString = (name, value) => {
  if (typeof value !== 'string') throw invalidArgument(name, value, 'a string');
};

const assertEventName = (value) => {
  if (typeof value !== 'string' || value === '') throw invalidArgument('event', value, 'a non-empty string');
  if (RESERVED_EVENTS.has(value)) throw invalidArgument('event', value, 'none of the names that Socket.IO reserves');
};

/** Names of rooms, from one or an array of them; numbers are taken as Socket.IO takes them. */
function roomNames(value) {
  const names = Array.isArray(value) ? value : [value];
  if (!names.every((each) => typeof each === 'string' || typeof each === 'number')) {
    throw invalidArgument('room', value, 'the name of a room or an array of names');
  }
  return names.map(String);
}

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
  RESERVED_EVENTS,
  WebSocketServiceError,
  invalidArgument,
  refused,
  converted,
  roomNames,
  assertCount,
  assertEventName,
  assertMetadata,
  assertMilliseconds,
  assertString,
  assertStrings,
};
