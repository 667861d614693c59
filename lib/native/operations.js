// Operations of the native side that JavaScript waits for. While there are some, they keep the process alive.

'use strict';

const { clearInterval, setInterval } = require('../timers.js');

/** A timer that never matters by itself, in milliseconds. */
const FOREVER_MS = 2 ** 31 - 1;

class Operations {
  #waiting = new Map();
  #next = 0;
  #keepAlive;
  #isClosed = false;

  /** A number under which the native side reports; `done` is called then. */
  expect(done) {
    const id = this.#next++;
    if (this.#isClosed) return id;
    this.#waiting.set(id, done);
    this.#keepAlive ??= setInterval(() => {}, FOREVER_MS);
    return id;
  }

  /** Starts an operation and waits for it. */
  run(start) {
    if (this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      start(this.expect(resolve));
    });
  }

  /** The native side has reported. */
  finish(id, args = []) {
    const done = this.#waiting.get(id);
    this.drop(id);
    done?.(...args);
  }

  /** The native side reports no more. */
  close() {
    this.#isClosed = true;
    for (const id of [...this.#waiting.keys()]) this.drop(id);
  }

  /** Waits no longer. */
  drop(id) {
    this.#waiting.delete(id);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
  }
}

module.exports = { Operations };
