// The rules of options, each with what it allows in words, and the check of values against them.

import { inspect } from 'node:util';
import { distance } from 'fastest-levenshtein';
import { invalidArgument, MAX_MS } from '../errors.js';

/** A rule, see `check`. */
export interface Rule {
  test?: (value: unknown) => boolean;
  allowed?: string;
  members?: Rules;
  each?: Rules;
  correct?: (value: unknown) => string | undefined;
  required?: boolean;
  check?: (value: unknown) => void;
  /** It must never be shown. */
  secret?: boolean;
}

export type Rules = Readonly<Record<string, Rule>>;

/** What an error may show of a value that a rule is for, if there is one. */
export type Show = (value: unknown, rule?: Rule) => unknown;

/** Whether this holds options. What is something else, such as a promise, would be taken for none. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  ['[object Object]', '[object Module]'].includes(Object.prototype.toString.call(value));
export const isInteger = (min: number, max = Number.MAX_SAFE_INTEGER) => (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

export const text = { test: isText, allowed: 'a non-empty string' };
export const boolean = { test: (value: unknown): value is boolean => typeof value === 'boolean', allowed: 'a boolean' };
export const milliseconds = (min: number) => ({
  test: isInteger(min, MAX_MS),
  allowed: `an integer number of milliseconds, ${min} to ${MAX_MS}`,
});

const HIDDEN = Object.freeze({ [inspect.custom]: () => '[hidden]' });

/** The value for an error where a secret can be in any text, when it was put into the wrong place or misspelt. */
export const hidden: Show = (value, rule) =>
  rule === undefined || rule.secret || (value && ['string', 'object'].includes(typeof value)) ? HIDDEN : value;

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
export function check(path: string, values: Record<string, unknown>, rules: Rules, show: Show = (value) => value): void {
  for (const [name, value] of Object.entries(values)) {
    const field = path === '' ? name : `${path}.${name}`;
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) throw unknown(field, show(value), name, rules);
    if (value !== undefined) checkValue(field, value, rule, show);
  }
  for (const [name, rule] of Object.entries(rules)) {
    if (rule.required && values[name] === undefined) {
      throw invalidArgument(path === '' ? name : `${path}.${name}`, undefined, rule.allowed ?? 'given');
    }
  }
}

function checkValue(field: string, value: unknown, rule: Rule, show: Show): void {
  if (rule.check) return rule.check(value);
  if (rule.members && isObject(value)) return check(field, value, rule.members, show);
  const { each } = rule;
  if (each && Array.isArray(value) && value.length > 0) {
    value.forEach((item: unknown, index) => {
      const place = `${field}[${index}]`;
      if (!isObject(item)) throw invalidArgument(place, show(item, rule), 'an object { host, port }');
      check(place, item, each, show);
    });
    return;
  }
  const allowed = rule.allowed ?? 'an object';
  if (!rule.test?.(value)) {
    const meant = meantByText(value, rule);
    if (meant !== undefined) throw invalidArgument(field, value, allowed, `write ${meant} without quotes`);
    throw invalidArgument(field, show(value, rule), allowed);
  }
  const correction = rule.correct?.(value);
  if (correction !== undefined) throw invalidArgument(field, show(value, rule), allowed, `write ${correction}`);
}

/** The number or boolean that a text says, as the environment and command lines give them, if it is allowed. */
function meantByText(value: unknown, { test }: Rule): number | boolean | undefined {
  if (typeof value !== 'string' || !/^(-?[0-9.]+|true|false)$/.test(value) || test === undefined) return undefined;
  const meant = ['true', 'false'].includes(value) ? value === 'true' : Number(value);
  return test(meant) ? meant : undefined;
}

function unknown(field: string, shown: unknown, name: string, rules: Rules): TypeError {
  const names = Object.keys(rules);
  const near = nearest(name, names);
  const hint = near === undefined ? undefined : `did you mean ${field.slice(0, -name.length)}${near}?`;
  return invalidArgument(field, shown, `left out, it is unknown (known: ${names.join(', ')})`, hint);
}

/** The name that is most likely meant: one that is cut short, or of which at most half is wrong. */
function nearest(name: string, names: string[]): string | undefined {
  const given = name.toLowerCase();
  const cut = names.find((known) => given.length > 2 && known.toLowerCase().startsWith(given));
  if (cut !== undefined) return cut;
  const distances = names.map((known) => distance(given, known.toLowerCase()));
  const least = Math.min(...distances);
  const near = names[distances.indexOf(least)];
  return near !== undefined && least <= Math.max(name.length, near.length) / 2 ? near : undefined;
}
