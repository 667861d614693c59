// The application's logger, which may throw: a line that is not written ends nothing.

import { types } from 'node:util';
import type { Logger } from '../../index.js';

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

const consoleLogger: Logger = {
  debug() {},
  info() {},
  warn: (...args) => console.warn(...args),
  error: (...args) => console.error(...args),
};

export const logger = {
  test: (value: unknown) => {
    const levels = value as Partial<Record<string, unknown>> | null | undefined;
    return LEVELS.every((level) => typeof levels?.[level] === 'function');
  },
  allowed: 'an object with the methods debug, info, warn and error',
};

/** A logger that writes to another and never throws; of what that one throws, the first is told as a warning of Node.js. */
export function safely(other: Logger = consoleLogger): Logger {
  let isTold = false;
  const failed = (error: unknown) => {
    if (isTold) return;
    isTold = true;
    process.emitWarning(`The logger of a WebSocketService has failed: ${wordsOf(error)}`, 'WebSocketServiceWarning');
  };
  const method = (level: (typeof LEVELS)[number]) => (...args: unknown[]) => {
    try {
      const returned: unknown = other[level](...args);
      if (types.isPromise(returned)) returned.catch(failed);
    } catch (error) {
      failed(error);
    }
  };
  return { debug: method('debug'), info: method('info'), warn: method('warn'), error: method('error') };
}

/** What an error says, which may be code of its own that throws. */
export function wordsOf(error: unknown): string {
  try {
    const { message } = error as { message?: unknown };
    return typeof message === 'string' ? message : String(error);
  } catch {
    try {
      return String(error);
    } catch {
      return 'an error that cannot be read';
    }
  }
}
