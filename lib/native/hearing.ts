// Hears what the native side tells, in order and in turns.

import type { NativeService } from '../../binding.js';
import { attempt, type Report } from '../attempt.js';
import { elapsed, setImmediate, soon } from '../timers.js';
import { Fields } from './fields.js';
import { SIGNS } from './signs.js';

/** Events that are taken from the native side at once. */
const BATCH = 1024;
/** Events that are told between two looks at the clock. */
const EVENTS_PER_LOOK = 64;
/** How long events may be told before timers and sockets have their turn. */
const TURN_MS = 10;
/** How long reads may have events told beyond that. */
const READS_MS = 1000;

export class Hearing {
  readonly #native: NativeService;
  readonly #signs: Buffer;
  /** How much there has been to take from the native side. */
  readonly #pushed: Uint32Array;
  readonly #readEvent: (fields: Fields) => () => void;
  readonly #report: Report;
  /** Events that were taken from the native side, and how many of them have been told. */
  #heard: (() => void)[] = [];
  #told = 0;
  /**
   * Items that were taken so far, with and without the last batch; and up to which a read wants them told. As `#pushed`,
   * they go round at 2^32.
   */
  #taken = 0;
  #takenBefore = 0;
  #wanted = 0;
  #isHearing = false;
  #isBehind = false;
  #isScheduled = false;
  #isSoon = false;
  /** How long wake-ups have been heard in this turn of the event loop; undefined before the first one. */
  #wakesMs: number | undefined;
  /** When reads began to have events told, since the last turn of the event loop. */
  #since: number | undefined;
  /** Reads had events told for so long that others have their turn first. */
  #isTired = false;

  /** `readEvent` takes one event off a `Fields` and returns how to tell it; `report` is told what that throws. */
  constructor(native: NativeService, signs: Buffer, readEvent: (fields: Fields) => () => void, report: Report) {
    this.#native = native;
    this.#signs = signs;
    this.#pushed = new Uint32Array(signs.buffer, signs.byteOffset + SIGNS.pushed, 1);
    this.#readEvent = readEvent;
    this.#report = report;
  }

  /** Whether there was more to hear than one turn allows. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /**
   * The native side has something to take. Node.js calls this again and again without a turn of the event loop while
   * there is something new, so what comes after a while waits for the next turn.
   */
  woken(): void {
    if (this.#wakesMs === undefined) {
      this.#wakesMs = 0;
      setImmediate(() => {
        this.#wakesMs = undefined;
      });
    }
    if (this.#wakesMs >= TURN_MS) return this.#hearLater();
    const since = elapsed();
    this.hear();
    this.#wakesMs += elapsed() - since;
  }

  /**
   * Hears, in order, what has happened; callers that caused something hear of it before they go on. When there is very
   * much, the rest is left for later turns of the event loop.
   */
  hear(): void {
    if (this.#isHearing) return;
    this.#isHearing = true;
    const end = elapsed() + TURN_MS;
    try {
      while (this.#tellNext() && (elapsed() < end || this.#isUrgent()));
    } finally {
      // What cannot be read is a mistake of ours, and costs its batch. Nobody goes deaf by it.
      this.#isHearing = false;
    }
    if (this.#isBehind) this.#hearLater();
    else this.#isTired = false;
  }

  /**
   * A caller has read how things are: what has happened until now is told before the caller's next `await` continues.
   * After a second of that without a turn of the event loop it is not, until everything has been told.
   */
  noticed(): void {
    if (Atomics.load(this.#signs, SIGNS.event) === 0 && this.#told === this.#heard.length) return;
    this.#wanted = Atomics.load(this.#pushed, 0);
    if (this.#isHearing || this.#isSoon || !this.#isUrgent()) return;
    this.#isSoon = true;
    soon(() => {
      this.#isSoon = false;
      this.hear();
    });
  }

  /** Whether something has yet to be told that a read has shown, and there is time for it. */
  #isUrgent(): boolean {
    const done = this.#told === this.#heard.length ? this.#taken : this.#takenBefore;
    if (!isAfter(this.#wanted, done) || this.#isTired) return false;
    if (this.#since === undefined) {
      this.#since = elapsed();
      setImmediate(() => {
        this.#since = undefined;
      });
    }
    this.#isTired = elapsed() - this.#since > READS_MS;
    if (this.#isTired) this.#hearLater();
    return !this.#isTired;
  }

  /** Tells the events of one batch, or a part of it. False when there is nothing more. */
  #tellNext(): boolean {
    if (this.#told === this.#heard.length) {
      this.#heard = [];
      this.#told = 0;
      if (Atomics.load(this.#signs, SIGNS.event) === 0) return (this.#isBehind = false);
      const fields = new Fields(this.#native.take(BATCH));
      this.#takenBefore = this.#taken;
      this.#taken = (this.#taken + fields.number()) >>> 0;
      if (!isAfter(this.#wanted, this.#takenBefore)) this.#wanted = this.#takenBefore;
      while (!fields.done) this.#heard.push(this.#readEvent(fields));
    }
    const turn = Math.min(this.#heard.length, this.#told + EVENTS_PER_LOOK);
    while (this.#told < turn) {
      const tell = this.#heard[this.#told++];
      if (tell !== undefined) attempt(this.#report, tell);
    }
    this.#isBehind = this.#heard.length > 0;
    return this.#isBehind;
  }

  #hearLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.hear();
    });
  }
}

/** Compares numbers that go round at 2^32. */
function isAfter(number: number, other: number): boolean {
  return ((number - other) | 0) > 0;
}
