// Bytes as they are written by hand, by the door that is at the port.

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterTest, isSecure } from './harness';
import { reset } from './reset';

/** A connection of which nothing is done that is not asked for. */
export class Wire {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  readonly closed: Promise<void>;
  #heard: Array<() => void> = [];
  /** What carries TLS, where there is TLS. */
  readonly #bare: Socket;

  constructor(port: number) {
    this.#bare = connectTcp(port, '127.0.0.1');
    this.#bare.on('error', () => {});
    this.socket = isSecure(port) ? connectTls({ socket: this.#bare, servername: 'localhost', rejectUnauthorized: false }) : this.#bare;
    this.socket.on('error', () => {});
    this.socket.on('data', (data: Buffer) => {
      this.received = Buffer.concat([this.received, data]);
      for (const heard of this.#heard.splice(0)) heard();
    });
    this.closed = new Promise((done) => this.socket.once('close', () => done()));
    void this.closed.then(() => this.#heard.splice(0).forEach((heard) => heard()));
    afterTest(() => this.socket.destroy());
  }

  /** Resolves when the kernel has the bytes, or the connection is gone. */
  async write(bytes: string | Buffer): Promise<void> {
    if (this.socket.destroyed || this.socket.write(bytes)) return;
    await Promise.race([new Promise((done) => this.socket.once('drain', done)), this.closed]);
  }

  /** Ends the connection by a reset. */
  reset(): void {
    // TLS ends what is below it without that being told.
    if (!this.socket.writableEnded) reset(this.#bare);
    this.socket.destroy();
  }

  /** Waits until this has been received, anywhere. False when the connection is closed before. */
  async has(text: string): Promise<boolean> {
    while (!this.received.includes(text)) {
      if (this.socket.closed) return false;
      await new Promise<void>((done) => this.#heard.push(done));
    }
    return true;
  }

  get text(): string {
    return this.received.toString('latin1');
  }
}

/** What comes back for the bytes until the connection is closed. */
export async function exchange(port: number, bytes: string | Buffer): Promise<string> {
  const wire = new Wire(port);
  await wire.write(bytes);
  await wire.closed;
  return wire.text;
}

/** The head of a request for a WebSocket. */
export const upgradeHead = (query = '', extra = '', method = 'GET', eio: 3 | 4 = 4) =>
  `${method} /socket.io/?EIO=${eio}&transport=websocket${query} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${extra}\r\n`;
