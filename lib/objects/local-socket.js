// Socket objects that are given to `handleConnection` by hand: checked, and listened to like a client.

'use strict';

const { converted, invalidArgument } = require('../errors.js');

/** Refuses what has not the shape of an `AuthenticatedSocket`. */
function assertSocket(socket) {
  if (typeof socket !== 'object' || socket === null) throw invalidArgument('socket', socket, 'an AuthenticatedSocket');
  if (typeof socket.id !== 'string' || socket.id === '') {
    throw invalidArgument('socket.id', socket.id, 'a non-empty string');
  }
  const { handshake, on } = socket;
  if (handshake !== undefined && (typeof handshake !== 'object' || handshake === null)) {
    throw invalidArgument('socket.handshake', handshake, 'an object');
  }
  if (on !== undefined && typeof on !== 'function') throw invalidArgument('socket.on', on, 'a method');
}

/** The handshake of such a socket in the native side's form. */
function handshakeText({ handshake = {} }) {
  const { auth = {}, headers = {}, address = '', secure = false, issued = Date.now(), query = {} } = handshake;
  return converted(() => {
    const url = `/?${new URLSearchParams(query)}`;
    return JSON.stringify({ auth, headers, address, secure, issued, url });
  });
}

/** Sockets that are just handed a packet: an `EventEmitter` that stands for one hears itself then. */
const delivering = new WeakSet();

/** Hands a packet to such a socket, by its own `emit`. */
function deliver(socket, [event, ...args]) {
  if (typeof socket?.emit !== 'function') return;
  // An `EventEmitter` would throw an `error` that nobody listens to.
  if (event === 'error' && socket.listenerCount?.('error') === 0) return;
  delivering.add(socket);
  try {
    socket.emit(event, ...args);
  } finally {
    delivering.delete(socket);
  }
}

/** Passes the client events that the socket emits on to the native side. */
function listen(socket, events, native, encoding, awaitAck) {
  if (socket.on === undefined) return;
  for (const event of events) {
    socket.on(event, (...args) => {
      if (delivering.has(socket)) return;
      const answered = typeof args.at(-1) === 'function' ? args.pop() : undefined;
      const { text, attachments } = encoding.args([event, ...args]);
      const id = answered && awaitAck(answered);
      native.localEvent(socket.id, text, attachments, id);
    });
  }
}

module.exports = { assertSocket, deliver, handshakeText, listen };
