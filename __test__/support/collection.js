'use strict';

// Garbage collection, as tests see it.

const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** Collects garbage until it is gone or will not go: how many of the references are still alive. */
async function aliveAfterCollection(references, enough) {
  let alive;
  for (let turn = 0; turn < 50; turn++) {
    await new Promise((done) => setImmediate(done));
    collect();
    alive = references.filter((reference) => reference.deref() !== undefined).length;
    if (alive <= enough) break;
  }
  return alive;
}

module.exports = { aliveAfterCollection };
