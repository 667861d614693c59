// What stands between a client and a service, and cuts the connection after so many bytes.

import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterTest } from './harness';
import { reset } from './reset';

export type Direction = 'up' | 'down';
/** By a FIN, as a proxy that ends, or by a reset, as one that is killed. */
export type Way = 'end' | 'reset';

/** Where a conversation is cut: after so many bytes in a direction, of all connections since. */
export interface Cut {
  after: number;
  direction: Direction;
  way: Way;
}

export class CuttingProxy {
  /** Bytes that have gone either way since the last `begin`. */
  passed: Record<Direction, number> = { up: 0, down: 0 };
  #cut: Cut | undefined;
  #isCut = false;
  readonly #open = new Set<Socket>();

  private constructor(readonly port: number) {}

  static async to(target: number): Promise<CuttingProxy> {
    const server = createServer((client) => proxy.#carry(client, connectTcp(target, '127.0.0.1')));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const proxy = new CuttingProxy((server.address() as AddressInfo).port);
    afterTest(() => {
      for (const socket of proxy.#open) socket.destroy();
      return new Promise((done) => server.close(done));
    });
    return proxy;
  }

  /** The next conversation, to be cut there, or whole. */
  begin(cut?: Cut): void {
    this.passed = { up: 0, down: 0 };
    this.#cut = cut;
    this.#isCut = false;
    this.#look();
  }

  #carry(client: Socket, server: Socket): void {
    for (const socket of [client, server]) {
      this.#open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.once('close', () => this.#open.delete(socket));
    }
    this.#pipe(client, server, 'up');
    this.#pipe(server, client, 'down');
    // Whoever comes after the cut finds nobody.
    if (this.#isCut) this.#end();
  }

  #pipe(from: Socket, to: Socket, direction: Direction): void {
    from.on('data', (data: Buffer) => {
      if (this.#isCut) return;
      const left = this.#cut?.direction === direction ? this.#cut.after - this.passed[direction] : Infinity;
      const part = data.subarray(0, left);
      this.passed[direction] += part.length;
      to.write(part, () => this.#look());
    });
    from.on('end', () => to.end());
    from.on('close', () => to.destroy());
  }

  /** Cuts once enough has passed. */
  #look(): void {
    if (this.#isCut || !this.#cut || this.passed[this.#cut.direction] < this.#cut.after) return;
    this.#isCut = true;
    this.#end();
  }

  #end(): void {
    for (const socket of this.#open) {
      if (this.#cut!.way === 'end') socket.destroySoon();
      else reset(socket);
    }
  }
}
