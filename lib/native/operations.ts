// Operations of the native side that JavaScript waits for. While there are some, they keep the process alive.

import { clearInterval, setInterval } from '../timers.js';

/** A timer that never matters by itself, in milliseconds. */
const FOREVER_MS = 2 ** 31 - 1;

export class Operations {
  readonly #waiting = new Map<number, (...args: unknown[]) => void>();
  #next = 0;
  #keepAlive: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** A number under which the native side reports; `done` is called then. */
  expect<A extends unknown[]>(done: (...args: A) => void): number {
    const id = this.#next++;
    if (this.#isClosed) return id;
    // Each operation knows what is reported of it.
    this.#waiting.set(id, done as (...args: unknown[]) => void);
    this.#keepAlive ??= setInterval(() => {}, FOREVER_MS);
    return id;
  }

  /** Starts an operation and waits for it. */
  run(start: (id: number) => void): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      start(this.expect(() => resolve()));
    });
  }

  /** The native side has reported. */
  finish(id: number, args: unknown[] = []): void {
    const done = this.#waiting.get(id);
    this.drop(id);
    done?.(...args);
  }

  /** The native side reports no more. */
  close(): void {
    this.#isClosed = true;
    for (const id of [...this.#waiting.keys()]) this.drop(id);
  }

  /** Waits no longer. */
  drop(id: number): void {
    this.#waiting.delete(id);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
  }
}
