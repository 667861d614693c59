// An `EventEmitter` that tells when its listeners change: what nobody listens to never crosses from the native side.

import { EventEmitter } from 'node:events';

/** As Node.js has it: what a listener gets depends on the event, and `unknown[]` would take no listener that says what. */
export type Listener = (...args: any[]) => void;

/** Says what is called when the listeners of an emitter have changed. */
export let watchListeners: (emitter: Listeners, changed: () => void) => void;

export class Listeners extends EventEmitter {
  /** Undefined until the constructor of a subclass has got that far. */
  #changed: (() => void) | undefined;

  static {
    watchListeners = (emitter, changed) => {
      emitter.#changed = changed;
    };
  }

  override on(event: string | symbol, listener: Listener): this {
    return this.#after(super.on(event, listener));
  }

  override addListener(event: string | symbol, listener: Listener): this {
    return this.#after(super.on(event, listener));
  }

  override once(event: string | symbol, listener: Listener): this {
    return this.#after(super.once(event, listener));
  }

  override prependListener(event: string | symbol, listener: Listener): this {
    return this.#after(super.prependListener(event, listener));
  }

  override prependOnceListener(event: string | symbol, listener: Listener): this {
    return this.#after(super.prependOnceListener(event, listener));
  }

  override off(event: string | symbol, listener: Listener): this {
    return this.#after(super.removeListener(event, listener));
  }

  override removeListener(event: string | symbol, listener: Listener): this {
    return this.#after(super.removeListener(event, listener));
  }

  override removeAllListeners(...events: [event?: string | symbol]): this {
    return this.#after(super.removeAllListeners(...events));
  }

  #after(self: this): this {
    this.#changed?.();
    return self;
  }
}
