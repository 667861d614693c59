// Waiting for what becomes true without an event that says so.

/** Tries until the check holds, and throws what it threw last when it does not in time. */
export async function eventually<T>(check: () => T | Promise<T>, within = 5000): Promise<T> {
  const deadline = Date.now() + within;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((turn) => setTimeout(turn, 10));
  }
}

/** The result, or an error that says what did not come. */
export async function within<T>(milliseconds: number, what: string, result: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_done, fail) => {
    timer = setTimeout(() => fail(new Error(`${what}: not within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
  }
}
