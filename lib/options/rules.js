// The rules of options, each with what it allows in words, and the check of values against them.

'use strict';

const { distance } = require('fastest-levenshtein');
const { invalidArgument } = require('../errors.js');

/** Longest time that a timer of the system takes, in milliseconds. */
const MAX_MS = 2 ** 31 - 1;

/** Whether this holds options. What is something else, such as a promise, would be taken for none. */
const isObject = (value) => ['[object Object]', '[object Module]'].includes(Object.prototype.toString.call(value));
const isInteger = (min, max = Number.MAX_SAFE_INTEGER) => (value) =>
  Number.isInteger(value) && value >= min && value <= max;

const boolean = { test: (value) => typeof value === 'boolean', allowed: 'a boolean' };
const milliseconds = (min) => ({
  test: isInteger(min, MAX_MS),
  allowed: `an integer number of milliseconds, ${min} to ${MAX_MS}`,
});

/**
 * Checks values against rules of the same names; throws a `TypeError` that names the field. A rule has:
 *
 * - `test(value)`, or `members`, the rules of an object, or `each`, the rules of the objects of an array; and `allowed`
 * - `correct(value)`, what to write instead of a value of the right type that is of no use
 * - `required`, when it may not be left out
 * - `check(value)`, when it checks everything itself
 *
 * `show(value, rule)` gives what an error may show of a value.
 */
function check(path, values, rules, show = (value) => value) {
  for (const [name, value] of Object.entries(values)) {
    const field = path === '' ? name : `${path}.${name}`;
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) throw unknown(field, show(value), name, rules);
    if (value !== undefined) checkValue(field, value, rule, show);
  }
  for (const [name, rule] of Object.entries(rules)) {
    if (rule.required && values[name] === undefined) {
      throw invalidArgument(path === '' ? name : `${path}.${name}`, undefined, rule.allowed);
    }
  }
}

function checkValue(field, value, rule, show) {
  if (rule.check) return rule.check(value);
  if (rule.members && isObject(value)) return check(field, value, rule.members, show);
  if (rule.each && Array.isArray(value) && value.length > 0) {
    value.forEach((item, index) => {
      const place = `${field}[${index}]`;
      if (!isObject(item)) throw invalidArgument(place, show(item, rule), 'an object { host, port }');
      check(place, item, rule.each, show);
    });
    return undefined;
  }
  const allowed = rule.allowed ?? 'an object';
  if (!rule.test?.(value)) {
    const meant = meantByText(value, rule);
    if (meant !== undefined) throw invalidArgument(field, value, allowed, `write ${meant} without quotes`);
    throw invalidArgument(field, show(value, rule), allowed);
  }
  const correction = rule.correct?.(value);
  if (correction !== undefined) throw invalidArgument(field, show(value, rule), allowed, `write ${correction}`);
  return undefined;
}

/** The number or boolean that a text says, as the environment and command lines give them, if it is allowed. */
function meantByText(value, { test }) {
  if (typeof value !== 'string' || !/^(-?[0-9.]+|true|false)$/.test(value) || test === undefined) return undefined;
  const meant = ['true', 'false'].includes(value) ? value === 'true' : Number(value);
  return test(meant) ? meant : undefined;
}

function unknown(field, shown, name, rules) {
  const names = Object.keys(rules);
  const near = nearest(name, names);
  const hint = near === undefined ? undefined : `did you mean ${field.slice(0, -name.length)}${near}?`;
  return invalidArgument(field, shown, `left out, it is unknown (known: ${names.join(', ')})`, hint);
}

/** The name that is most likely meant: one that is cut short, or of which at most half is wrong. */
function nearest(name, names) {
  const given = name.toLowerCase();
  const cut = names.find((known) => given.length > 2 && known.toLowerCase().startsWith(given));
  if (cut !== undefined) return cut;
  const distances = names.map((known) => distance(given, known.toLowerCase()));
  const least = Math.min(...distances);
  const near = names[distances.indexOf(least)];
  return least <= Math.max(name.length, near.length) / 2 ? near : undefined;
}

module.exports = { isObject, isInteger, boolean, milliseconds, check };
