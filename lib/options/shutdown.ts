// What `shutdown` is told.

import type { ShutdownOptions } from '../../index.js';
import { invalidArgument } from '../errors.js';
import { check, isObject, milliseconds } from './rules.js';

const RULES = { drainMs: milliseconds(0) };

/** Throws a `TypeError` that names the field. */
export function checkShutdown(options: unknown): asserts options is ShutdownOptions {
  if (!isObject(options)) throw invalidArgument('options', options, 'an object such as { drainMs: 10000 }');
  check('', options, RULES);
}
