// What `shutdown` is told.

import type { ShutdownOptions } from '../../index.js';
import { invalidArgument } from '../errors.js';
import { boolean, check, isObject, milliseconds } from './rules.js';

const RULES = { drainMs: milliseconds(0), recover: boolean };

/** Throws a `TypeError` that names the field. `canRecover`: clients may come back, to other instances. */
export function checkShutdown(options: unknown, canRecover: boolean): asserts options is ShutdownOptions {
  if (!isObject(options)) throw invalidArgument('options', options, 'an object such as { drainMs: 10000 }');
  check('', options, RULES);
  if (options['recover'] === true && !canRecover) {
    throw invalidArgument('recover', true, 'left out or false without redis and connectionStateRecovery, by which other instances take over');
  }
}
