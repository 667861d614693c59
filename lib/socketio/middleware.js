// Middleware: lets a connection in, or says why not.

'use strict';

/**
 * Runs middleware functions in order; resolves when all have called `next()`, rejects with the first refusal. A
 * function that returns a promise refuses by rejecting; resolving alone does not let the client in.
 */
async function runMiddleware(middleware, socket) {
  for (const fn of middleware) {
    await new Promise((resolve, reject) => {
      const next = (error) => (error ? reject(error) : resolve());
      try {
        const returned = fn(socket, next);
        if (typeof returned?.then === 'function') returned.then(undefined, reject);
      } catch (error) {
        reject(error);
      }
    });
  }
}

/** A refusal as the client's `connect_error` tells it: message, and `data` as JSON if there is any. */
function refusalOf(error) {
  const message = error instanceof Error || typeof error?.message === 'string' ? error.message : String(error);
  return { message, data: jsonOf(error?.data) };
}

/** JSON of a value; undefined for what has none. */
function jsonOf(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}

module.exports = { runMiddleware, refusalOf };
