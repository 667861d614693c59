// Who is just leaving while `handleDisconnection` is overridden: the override decides when `disconnect` is told.

import type { SocketUser } from '../index.js';

export class Departures {
  /** Socket id → user, for sockets that left and of whom `handleDisconnection` still has to be told. */
  readonly #left = new Map<string, SocketUser>();
  /** Sockets that `handleDisconnection` is just disconnecting: it need not be told of them. */
  readonly #disconnecting = new Set<string>();

  /** The user of a socket that has left and is yet to be told of. */
  user(socketId: string): SocketUser | undefined {
    return this.#left.size > 0 ? this.#left.get(socketId) : undefined;
  }

  /** Takes such a user: who has it, tells of it. */
  take(socketId: string): SocketUser | undefined {
    const user = this.#left.get(socketId);
    this.#left.delete(socketId);
    return user;
  }

  /** Disconnects a socket on behalf of `handleDisconnection`. */
  disconnecting(socketId: string, disconnect: () => void): void {
    this.#disconnecting.add(socketId);
    disconnect();
    this.#disconnecting.delete(socketId);
  }

  /**
   * A socket has left: runs the override, for which the user can still be found. False when it is the override that
   * disconnects the socket, or there is none.
   */
  handle(socketId: string, user: SocketUser, override: (() => Promise<void>) | undefined, report: (error: unknown) => void): boolean {
    if (override === undefined || this.#disconnecting.delete(socketId)) return false;
    this.#left.set(socketId, user);
    // It may throw before it returns a promise.
    new Promise<void>((resolve) => resolve(override()))
      .catch(report)
      .finally(() => this.#left.delete(socketId));
    return true;
  }
}
