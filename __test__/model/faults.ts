// What happens to the Redis of a run. One fault at a time; all instances suffer the same.

import type { RedisProxy, RedisServer } from '../support/redis';

/** With their weights. */
export const FAULTS = { cut: 3, refuse: 2, swallow: 2, unsubscribe: 3, kill: 2, freeze: 2 } as const;

export type Fault = keyof typeof FAULTS;

export class Redis {
  /** Undoes the fault that lasts. */
  #undo: (() => unknown) | undefined;

  constructor(
    readonly server: RedisServer,
    readonly proxy: RedisProxy,
  ) {}

  get faulty(): boolean {
    return this.#undo !== undefined;
  }

  async fault(kind: Fault): Promise<void> {
    const { server, proxy } = this;
    switch (kind) {
      case 'cut':
        return proxy.cut();
      case 'unsubscribe':
        return void (await server.dropSubscribers());
      case 'refuse':
        this.#undo = () => proxy.pass();
        return proxy.refuse();
      case 'swallow':
        // It swallows until it is closed.
        this.#undo = () => [proxy.cut(), proxy.pass()];
        return proxy.swallow();
      case 'kill':
        this.#undo = () => server.launch();
        return server.kill();
      case 'freeze':
        this.#undo = () => server.thaw();
        return server.freeze();
    }
  }

  async heal(): Promise<void> {
    await this.#undo?.();
    this.#undo = undefined;
  }
}
