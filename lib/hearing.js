// Hears what the native side tells, in order and in turns.

'use strict';

const { SIGNS } = require('./events.js');
const { Fields } = require('./fields.js');
const { attempt } = require('./socket.js');
const { elapsed, setImmediate } = require('./timers.js');

/** Events that are taken from the native side at once. */
const BATCH = 1024;
/** Events that are told between two looks at the clock. */
const EVENTS_PER_LOOK = 64;
/** How long events may be told before timers and sockets have their turn. */
const TURN_MS = 10;

class Hearing {
  #native;
  #signs;
  #readEvent;
  #report;
  /** Events that were taken from the native side, and how many of them have been told. */
  #heard = [];
  #told = 0;
  #isHearing = false;
  #isBehind = false;
  #isScheduled = false;

  /** `readEvent` takes one event off a `Fields` and returns how to tell it; `report` is told what that throws. */
  constructor(native, signs, readEvent, report) {
    this.#native = native;
    this.#signs = signs;
    this.#readEvent = readEvent;
    this.#report = report;
  }

  /** Whether there was more to hear than one turn allows. */
  get isBehind() {
    return this.#isBehind;
  }

  /**
   * Hears, in order, what has happened; callers that caused something hear of it before they go on. When there is very
   * much, the rest is left for later turns of the event loop.
   */
  hear() {
    if (this.#isHearing) return;
    this.#isHearing = true;
    const end = elapsed() + TURN_MS;
    while (this.#tellNext() && elapsed() < end);
    this.#isHearing = false;
    if (this.#isBehind) this.#hearLater();
  }

  /** Tells the events of one batch, or a part of it. False when there is nothing more. */
  #tellNext() {
    if (this.#told === this.#heard.length) {
      this.#heard = [];
      this.#told = 0;
      if (Atomics.load(this.#signs, SIGNS.event) === 0) return (this.#isBehind = false);
      const fields = new Fields(this.#native.take(BATCH));
      while (!fields.done) this.#heard.push(this.#readEvent(fields));
    }
    const turn = Math.min(this.#heard.length, this.#told + EVENTS_PER_LOOK);
    while (this.#told < turn) attempt(this.#report, this.#heard[this.#told++]);
    this.#isBehind = this.#heard.length > 0;
    return this.#isBehind;
  }

  #hearLater() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.hear();
    });
  }
}

module.exports = { Hearing };
