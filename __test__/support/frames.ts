// WebSocket by hand: frames as bytes, over a connection of its own, to our service or to a reference.

import { eventually } from './eventually';
import { upgradeHead, Wire } from './wire';

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

/** A frame of a server. */
export interface Heard {
  kind: number;
  payload: Buffer;
}

/** A connection that is to be a WebSocket, and the frames that have come. */
export class FrameWire extends Wire {
  readonly frames: Heard[] = [];
  /** Up to where what was received has been read. */
  #at = 0;

  constructor(port: number) {
    super(port);
    this.socket.on('data', () => this.#read());
  }

  /** A WebSocket that was accepted. */
  static async upgraded(port: number, query = '', eio: 3 | 4 = 4): Promise<FrameWire> {
    const wire = new FrameWire(port);
    await wire.write(upgradeHead(query, '', 'GET', eio));
    expect(await wire.has('\r\n\r\n') && wire.text.split('\r\n')[0]).toBe('HTTP/1.1 101 Switching Protocols');
    return wire;
  }

  /** Opens a WebSocket; the first frame is Engine.IO's open packet. */
  static async open(port: number, query = '', eio: 3 | 4 = 4): Promise<FrameWire> {
    const wire = await FrameWire.upgraded(port, query, eio);
    await eventually(() => expect(wire.frames.length).toBeGreaterThan(0));
    return wire;
  }

  /** The same, and in the default namespace. */
  static async connected(port: number): Promise<FrameWire> {
    const wire = await FrameWire.open(port);
    wire.send(frame('text', '40'));
    await eventually(() => expect(wire.texts().some((text) => text.startsWith('40'))).toBe(true));
    wire.frames.length = 0;
    return wire;
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  get hasEnded(): boolean {
    return this.socket.closed;
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
  async ended(): Promise<{ status: number; reason: string }> {
    await eventually(() => expect(this.hasEnded || this.status !== 1006).toBe(true));
    const close = this.frames.find(({ kind }) => kind === OPCODES.close);
    if (close !== undefined && !this.hasEnded) this.send(frame('close', close.payload));
    await eventually(() => expect(this.hasEnded).toBe(true));
    return { status: this.status, reason: close?.payload.subarray(2).toString() ?? '' };
  }

  #read(): void {
    if (this.#at === 0) {
      const end = this.received.indexOf('\r\n\r\n');
      if (end < 0 || !this.text.startsWith('HTTP/1.1 101 ')) return;
      this.#at = end + 4;
    }
    for (;;) {
      const rest = this.received.subarray(this.#at);
      const [first, second] = rest;
      if (first === undefined || second === undefined) return;
      const size = second === 126 ? 2 : second === 127 ? 8 : 0;
      if (rest.length < 2 + size) return;
      const length = size === 2 ? rest.readUInt16BE(2) : size === 8 ? Number(rest.readBigUInt64BE(2)) : second;
      if (rest.length < 2 + size + length) return;
      this.frames.push({ kind: first & 15, payload: rest.subarray(2 + size, 2 + size + length) });
      this.#at += 2 + size + length;
    }
  }
}
