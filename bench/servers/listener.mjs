// Commands that put a listener on every message and watch what becomes of the event loop meanwhile.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** Period of the timer that measures the delay; it is part of what Node.js records. */
const RESOLUTION_MS = 1;
const HEAR_LIMIT_MS = 20_000;
const LOOK_PERIOD_MS = 5;

const delays = {};
let watched; // the measurement that is going on: its name and its histogram
let heard = 0;
let characters = 0;

export const commands = {
  /** Listens to every message and reads what a listener would: id, content, user. */
  listen(service) {
    service.on('message', ({ id, content, userId, username }) => {
      heard += 1;
      characters += id.length + content.length + userId.length + username.length;
    });
  },

  /** Measures the event loop's delay under that name until the next call; `null` only ends. Answers all so far, in ms. */
  loopDelay(service, name) {
    if (watched) {
      const { histogram } = watched;
      histogram.disable();
      const delay = (ns) => Math.max(0, ns / 1e6 - RESOLUTION_MS);
      delays[watched.name] = {
        p50: delay(histogram.percentile(50)),
        p99: delay(histogram.percentile(99)),
        max: delay(histogram.max),
      };
    }
    watched = name === null ? undefined : { name, histogram: monitorEventLoopDelay({ resolution: RESOLUTION_MS }) };
    watched?.histogram.enable();
    return delays;
  },

  /** Waits until the listener has heard that many messages; answers how many it has not, or too many. */
  async heard(service, sent) {
    const start = performance.now();
    while (heard < sent && performance.now() - start < HEAR_LIMIT_MS) await sleep(LOOK_PERIOD_MS);
    return { heard, wrong: Math.abs(sent - heard), characters, waitedMs: performance.now() - start };
  },
};
