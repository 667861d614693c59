// The timers of Node.js itself, for what the service does on its own account. Tests put others in the place of the
// global ones to move the clock; promises and events go on meanwhile. Time that a caller names (`timeout(ms)`) runs on
// the global timers, so that tests can move it.

import { performance } from 'node:perf_hooks';
import process from 'node:process';
import timers from 'node:timers';

/** A function that tests may have put in the place of another, as @sinonjs/fake-timers does, also under jest and vitest. */
interface Replaceable<F> {
  clock?: { [name: string]: F | undefined };
}

/** What was replaced before this module was loaded. */
function real<O, K extends keyof O & string>(owner: O, name: K): O[K] {
  // The mark of a replacement is on the function itself.
  const present = owner[name] as O[K] & Replaceable<O[K]>;
  return present.clock?.[`_${name}`] ?? present;
}

export const clearInterval = real(timers, 'clearInterval');
export const clearTimeout = real(timers, 'clearTimeout');
/** Milliseconds since the process began. */
export const elapsed: () => number = performance.now.bind(performance);
export const nextTick = real(process, 'nextTick');
export const setImmediate = real(timers, 'setImmediate');
export const setInterval = real(timers, 'setInterval');
export const setTimeout = real(timers, 'setTimeout');
/** As `queueMicrotask`; promises are never replaced. The task must not throw. */
export const soon = (task: () => void): void => void Promise.resolve().then(task);
