// Socket objects that are given to `handleConnection` by hand: checked, and listened to like a client.

import type { EventEmitter } from 'node:events';
import type { SocketLike } from '../../index.js';
import type { NativeService } from '../../binding.js';
import { converted, invalidArgument } from '../errors.js';
import type { Encoding } from '../socketio/payload.js';
import { takeCallback } from '../callback.js';

/** Refuses what has not the shape of an `AuthenticatedSocket`. */
export function assertSocket(socket: unknown): asserts socket is SocketLike {
  if (typeof socket !== 'object' || socket === null) throw invalidArgument('socket', socket, 'an AuthenticatedSocket');
  const { id, handshake, on } = socket as Partial<Record<keyof SocketLike, unknown>>;
  if (typeof id !== 'string' || id === '') throw invalidArgument('socket.id', id, 'a non-empty string');
  if (handshake !== undefined && (typeof handshake !== 'object' || handshake === null)) {
    throw invalidArgument('socket.handshake', handshake, 'an object');
  }
  if (on !== undefined && typeof on !== 'function') throw invalidArgument('socket.on', on, 'a method');
}

/** The handshake of such a socket in the native side's form. */
export function handshakeText({ handshake = {} }: SocketLike): string {
  const { auth = {}, headers = {}, address = '', secure = false, issued = Date.now(), query = {} } = handshake;
  return converted(() => {
    const url = `/?${new URLSearchParams(query)}`;
    return JSON.stringify({ auth, headers, address, secure, issued, url });
  });
}

/** Sockets that are just handed a packet: an `EventEmitter` that stands for one hears itself then. */
const delivering = new WeakSet<SocketLike>();

/** Hands a packet to such a socket, by its own `emit`. */
export function deliver(socket: SocketLike | undefined, [name, ...args]: unknown[]): void {
  if (typeof socket?.emit !== 'function') return;
  const event = name as string; // as a packet has it; Socket.IO passes a number on as well
  // An `EventEmitter` would throw an `error` that nobody listens to.
  if (event === 'error' && (socket as Partial<EventEmitter>).listenerCount?.('error') === 0) return;
  delivering.add(socket);
  try {
    socket.emit(event, ...args);
  } finally {
    delivering.delete(socket);
  }
}

/** Passes the client events that the socket emits on to the native side. */
export function listen(
  socket: SocketLike,
  events: string[],
  native: NativeService,
  encoding: Encoding,
  awaitAck: (answered: (...args: unknown[]) => void) => number,
): void {
  for (const event of events) {
    socket.on?.(event, (...args: unknown[]) => {
      if (delivering.has(socket)) return;
      const answered = takeCallback(args);
      const { text, attachments } = encoding.args([event, ...args]);
      const id = answered && awaitAck(answered);
      native.localEvent(socket.id, text, attachments, id);
    });
  }
}
