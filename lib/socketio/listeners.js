// An `EventEmitter` that tells when its listeners change: what nobody listens to never crosses from the native side.

'use strict';

const { EventEmitter } = require('node:events');

/** Says what is called when the listeners of an emitter have changed. */
let watchListeners;

class Listeners extends EventEmitter {
  /** Undefined until the constructor of a subclass has got that far. */
  #changed;

  static {
    watchListeners = (emitter, changed) => {
      emitter.#changed = changed;
    };
  }

  on(event, listener) {
    return this.#after(super.on(event, listener));
  }

  addListener(event, listener) {
    return this.#after(super.on(event, listener));
  }

  once(event, listener) {
    return this.#after(super.once(event, listener));
  }

  prependListener(event, listener) {
    return this.#after(super.prependListener(event, listener));
  }

  prependOnceListener(event, listener) {
    return this.#after(super.prependOnceListener(event, listener));
  }

  off(event, listener) {
    return this.#after(super.removeListener(event, listener));
  }

  removeListener(event, listener) {
    return this.#after(super.removeListener(event, listener));
  }

  removeAllListeners(...events) {
    return this.#after(super.removeAllListeners(...events));
  }

  #after(self) {
    this.#changed?.();
    return self;
  }
}

module.exports = { Listeners, watchListeners };
