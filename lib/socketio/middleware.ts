// Middleware: lets a connection in, or says why not.

import type { AuthenticatedSocket, SocketMiddleware } from '../../index.js';
import { jsonOf } from '../json.js';
import { wordsOf } from '../options/logger.js';

/**
 * Runs middleware functions in order; resolves when all have called `next()`, rejects with the first refusal. A
 * function that returns a promise refuses by rejecting; resolving alone does not let the client in.
 */
export async function runMiddleware(middleware: SocketMiddleware[], socket: AuthenticatedSocket): Promise<void> {
  for (const fn of middleware) {
    await new Promise<void>((resolve, reject) => {
      const next = (error?: unknown) => (error ? reject(error) : resolve());
      try {
        Promise.resolve(fn(socket, next)).catch(reject);
      } catch (error) {
        reject(error);
      }
    });
  }
}

/** A refusal as the client's `connect_error` tells it: message, and `data` as JSON if there is any. */
export function refusalOf(error: unknown): { message: string; data: string | undefined } {
  return { message: wordsOf(error), data: dataOf(error) };
}

function dataOf(error: unknown): string | undefined {
  try {
    return jsonOf((error as { data?: unknown } | null | undefined)?.data);
  } catch {
    return undefined;
  }
}
