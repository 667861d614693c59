// WebSocket by hand: frames as bytes, over a connection of its own, to our service or to a reference.

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectSecurely } from 'node:tls';
import { eventually } from './eventually';
import { afterTest, isSecure } from './harness';

const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
export type Kind = keyof typeof OPCODES;

/** How a frame is to be written. */
export interface FrameOptions {
  fin?: boolean;
  /** Reserved bits, as they stand in the first byte. */
  reserved?: number;
  masked?: boolean;
  /** The length that it announces instead of its own. */
  announced?: number;
  /** How many bytes announce it: 0, 2 or 8; the least that will do otherwise. */
  extended?: 0 | 2 | 8;
}

/** A frame of a client. */
export function frame(kind: Kind | number, payload: string | Buffer = '', options: FrameOptions = {}): Buffer {
  const { fin = true, reserved = 0, masked = true, announced, extended } = options;
  const body = Buffer.from(payload as string);
  const length = announced ?? body.length;
  const size = extended ?? (length < 126 ? 0 : length < 65_536 ? 2 : 8);
  const header = Buffer.alloc(2 + size);
  header[0] = (fin ? 0x80 : 0) | reserved | (typeof kind === 'number' ? kind : OPCODES[kind]);
  header[1] = (masked ? 0x80 : 0) | (size === 0 ? length : size === 2 ? 126 : 127);
  if (size === 2) header.writeUInt16BE(length, 2);
  if (size === 8) header.writeBigUInt64BE(BigInt(length), 2);
  if (!masked) return Buffer.concat([header, body]);
  const mask = Buffer.from([0x12, 0x34, 0x56, 0x78]);
  return Buffer.concat([header, mask, body.map((byte, index) => byte ^ mask[index % 4]!)]);
}

/** A close frame's payload. */
export const closing = (status: number, reason: string | Buffer = ''): Buffer =>
  Buffer.concat([Buffer.from([status >> 8, status & 255]), Buffer.from(reason as string)]);

/** What a server has sent: its frames, and how it ended. */
export interface Heard {
  kind: number;
  payload: Buffer;
}

/** A connection that has been upgraded, and the frames that have come. */
export class Wire {
  readonly frames: Heard[] = [];
  hasEnded = false;
  #rest = Buffer.alloc(0);
  #isUpgraded = false;

  private constructor(readonly socket: Socket) {
    socket.on('data', (bytes) => this.#take(bytes));
    socket.on('error', () => {});
    socket.on('close', () => (this.hasEnded = true));
    afterTest(() => socket.destroy());
  }

  /** Opens a WebSocket; the first frame is Engine.IO's open packet. */
  static async open(port: number, query = ''): Promise<Wire> {
    const options = { host: '127.0.0.1', port };
    const socket = isSecure(port) ? connectSecurely({ ...options, servername: 'localhost' }) : connectTcp(options);
    const wire = new Wire(socket);
    await new Promise((done) => socket.once(isSecure(port) ? 'secureConnect' : 'connect', done));
    socket.write(
      `GET /socket.io/?EIO=4&transport=websocket${query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n` +
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    await eventually(() => expect(wire.frames.length).toBeGreaterThan(0));
    return wire;
  }

  /** The same, and in the default namespace. */
  static async connected(port: number): Promise<Wire> {
    const wire = await Wire.open(port);
    wire.send(frame('text', '40'));
    await eventually(() => expect(wire.texts().some((text) => text.startsWith('40'))).toBe(true));
    wire.frames.length = 0;
    return wire;
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  texts(): string[] {
    return this.frames.filter(({ kind }) => kind === OPCODES.text).map(({ payload }) => payload.toString());
  }

  /** Status of the close frame, if one came: 1005 where it says none, as browsers have it; 1006 without one. */
  get status(): number {
    const close = this.frames.find(({ kind }) => kind === OPCODES.close);
    if (close === undefined) return 1006;
    return close.payload.length < 2 ? 1005 : close.payload.readUInt16BE(0);
  }

  /** Resolves when the server has closed; answers its close frame, as a client does. */
  async closed(): Promise<{ status: number; reason: string }> {
    await eventually(() => expect(this.hasEnded || this.status !== 1006).toBe(true));
    const close = this.frames.find(({ kind }) => kind === OPCODES.close);
    if (close !== undefined && !this.hasEnded) this.send(frame('close', close.payload));
    await eventually(() => expect(this.hasEnded).toBe(true));
    return { status: this.status, reason: close?.payload.subarray(2).toString() ?? '' };
  }

  #take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    if (!this.#isUpgraded) {
      const end = this.#rest.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#rest = this.#rest.subarray(end + 4);
      this.#isUpgraded = true;
    }
    for (;;) {
      const [first, second] = this.#rest;
      if (first === undefined || second === undefined) return;
      const size = second === 126 ? 2 : second === 127 ? 8 : 0;
      if (this.#rest.length < 2 + size) return;
      const length = size === 2 ? this.#rest.readUInt16BE(2) : size === 8 ? Number(this.#rest.readBigUInt64BE(2)) : second;
      if (this.#rest.length < 2 + size + length) return;
      this.frames.push({ kind: first & 15, payload: this.#rest.subarray(2 + size, 2 + size + length) });
      this.#rest = this.#rest.subarray(2 + size + length);
    }
  }
}
