// The timers of Node.js itself, for what the service does on its own account. Tests put others in the place of the
// global ones to move the clock; promises and events go on meanwhile. Time that a caller names (`timeout(ms)`) runs on
// the global timers, so that tests can move it.

'use strict';

const { performance } = require('node:perf_hooks');
const process = require('node:process');
const timers = require('node:timers');

/** What was replaced before this module was loaded: @sinonjs/fake-timers, also under jest and vitest, keeps it. */
const real = (owner, name) => owner[name].clock?.[`_${name}`] ?? owner[name];

module.exports = {
  clearInterval: real(timers, 'clearInterval'),
  clearTimeout: real(timers, 'clearTimeout'),
  /** Milliseconds since the process began. */
  elapsed: performance.now.bind(performance),
  nextTick: real(process, 'nextTick'),
  setImmediate: real(timers, 'setImmediate'),
  setInterval: real(timers, 'setInterval'),
  setTimeout: real(timers, 'setTimeout'),
  /** As `queueMicrotask`; promises are never replaced. The task must not throw. */
  soon: (task) => void Promise.resolve().then(task),
};
