// The rules that options have in common: a test, and what it allows in words.

'use strict';

/** Longest time that a timer of the system takes, in milliseconds. */
const MAX_MS = 2 ** 31 - 1;

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isInteger = (min, max = Number.MAX_SAFE_INTEGER) => (value) =>
  Number.isInteger(value) && value >= min && value <= max;

const boolean = { test: (value) => typeof value === 'boolean', allowed: 'a boolean' };
const milliseconds = (min) => ({
  test: isInteger(min, MAX_MS),
  allowed: `an integer number of milliseconds, ${min} to ${MAX_MS}`,
});

module.exports = { isObject, isInteger, boolean, milliseconds };
