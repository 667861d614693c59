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
  return { message, data: error?.data === undefined ? undefined : JSON.stringify(error.data) };
}

module.exports = { runMiddleware, refusalOf };
