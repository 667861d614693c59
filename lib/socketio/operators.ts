// The operators of the service itself, as Socket.IO has them on `io`.

import type { BroadcastOperator as Operator, RemoteSocket } from '../../index.js';
import { takeCallback } from '../callback.js';
import { Listeners } from './listeners.js';
import { BroadcastOperator, callBack } from './operator.js';
import type { Reach } from './reach.js';

/** Lends a service's operators what they work with. */
export let lend: (service: Operators, reach: Reach) => void;

export class Operators extends Listeners {
  /** There from the end of the service's constructor on. */
  #reach!: Reach;

  static {
    lend = (service, reach) => {
      service.#reach = reach;
    };
  }

  get #everyone(): BroadcastOperator {
    return new BroadcastOperator(this.#reach);
  }

  in(room: string | string[]): Operator {
    return this.#everyone.to(room);
  }

  to(room: string | string[]): Operator {
    return this.#everyone.to(room);
  }

  except(room: string | string[]): Operator {
    return this.#everyone.except(room);
  }

  get volatile(): Operator {
    return this.#everyone.volatile;
  }

  get local(): Operator {
    return this.#everyone.local;
  }

  timeout(ms: number): Operator {
    return this.#everyone.timeout(ms);
  }

  async fetchSockets(): Promise<RemoteSocket[]> {
    return this.#everyone.fetchSockets();
  }

  socketsJoin(room: string | string[]): void {
    this.#everyone.socketsJoin(room);
  }

  socketsLeave(room: string | string[]): void {
    this.#everyone.socketsLeave(room);
  }

  disconnectSockets(close = false): void {
    this.#everyone.disconnectSockets(close);
  }

  /** Names of the rooms of all servers. */
  async allRooms(): Promise<Set<string>> {
    const { native, reads, cluster, assertOpen } = this.#reach;
    assertOpen();
    const remote = cluster.isJoined ? await cluster.ask<string>((id) => native.askRooms(id)) : [];
    return new Set([...reads.roomNames(), ...remote]);
  }

  serverSideEmit(event: string, ...args: unknown[]): boolean {
    const { cluster, assertOpen } = this.#reach;
    assertOpen();
    const answered = takeCallback(args);
    if (answered !== undefined) {
      callBack(cluster.emitWithAck(event, args), answered, []);
    } else {
      cluster.emit(event, args);
    }
    return true;
  }

  async serverSideEmitWithAck(event: string, ...args: unknown[]): Promise<unknown[]> {
    const { cluster, assertOpen } = this.#reach;
    assertOpen();
    return cluster.emitWithAck(event, args);
  }
}
