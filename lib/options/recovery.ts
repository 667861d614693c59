// The option for clients that lose their connection and come back.

import type { ConnectionStateRecoveryConfig } from '../../index.js';
import { boolean, isInteger, milliseconds, type Rule } from './rules.js';

export const connectionStateRecovery = {
  test: (value: unknown) => typeof value === 'boolean',
  allowed: 'a boolean or an object',
  members: {
    maxDisconnectionDuration: milliseconds(1),
    skipMiddlewares: boolean,
    maxBufferedBytes: { test: isInteger(1), allowed: 'an integer number of bytes, at least 1' },
  },
} satisfies Rule;

/** The option as the native side reads it; undefined for no recovery. */
export function nativeRecovery(option: boolean | ConnectionStateRecoveryConfig): ConnectionStateRecoveryConfig | undefined {
  if (option === false) return undefined;
  return option === true ? {} : option;
}
