// What `createRoom` is told besides the facts of a room.

import type { RoomOptions } from '../../index.js';
import { invalidArgument } from '../errors.js';
import { boolean, check, isObject } from './rules.js';

const MEMBERSHIP_EVENTS: unknown[] = ['each', 'gathered', 'none'];

export const membershipEvents = {
  test: (value: unknown) => MEMBERSHIP_EVENTS.includes(value),
  allowed: "'each', 'gathered' or 'none'",
};

const RULES = { membershipEvents, private: boolean };

/** Throws a `TypeError` that names the field. */
export function checkRoom(options: unknown): asserts options is RoomOptions {
  if (!isObject(options)) throw invalidArgument('options', options, "an object such as { membershipEvents: 'gathered' }");
  check('options', options, RULES);
}
