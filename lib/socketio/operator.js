// Socket.IO's broadcast operators: what is meant for the sockets of some rooms, here and on the other servers.

'use strict';

const {
  assertEventName,
  assertMilliseconds,
  invalidArgument,
  roomNames,
  WebSocketServiceError,
} = require('../errors.js');
const localSocket = require('../objects/local-socket.js');
const { attempt, internals } = require('./socket.js');
const { nextTick } = require('../timers.js');

/** Everyone, on all servers. */
const EVERYONE = { rooms: [], except: [], volatile: false, local: false, timeout: undefined, isSingle: false };

/**
 * A selection of sockets, and how they are to be reached. Each step gives a new one. `reach` is what the service lends:
 * `native`, `reads`, `encoding`, `cluster`, `socket(id)`, `localSockets`, `assertOpen()`, `log(event, target)` and
 * `report(error)`.
 */
class BroadcastOperator {
  #reach;
  #target;

  constructor(reach, target = EVERYONE) {
    this.#reach = reach;
    this.#target = target;
  }

  #with(change) {
    return new BroadcastOperator(this.#reach, { ...this.#target, ...change });
  }

  to(room) {
    return this.#with({ rooms: [...new Set([...this.#target.rooms, ...roomNames(room)])] });
  }

  in(room) {
    return this.to(room);
  }

  except(room) {
    return this.#with({ except: [...new Set([...this.#target.except, ...roomNames(room)])] });
  }

  get volatile() {
    return this.#with({ volatile: true });
  }

  get local() {
    return this.#with({ local: true });
  }

  timeout(ms) {
    assertMilliseconds('ms', ms);
    return this.#with({ timeout: ms });
  }

  emit(event, ...args) {
    if (typeof args.at(-1) === 'function') {
      const answered = args.pop();
      callBack(this.#ask(event, args), answered, this.#target.isSingle ? null : []);
      return true;
    }
    const { rooms, except, volatile, local } = this.#target;
    const { text, attachments } = this.#encode(event, args);
    this.#reach.native.emitTo(rooms, except, text, attachments, volatile, local);
    return true;
  }

  async emitWithAck(event, ...args) {
    return this.#ask(event, args);
  }

  async fetchSockets() {
    const { rooms, except, local } = this.#target;
    const { native, reads, cluster, socket } = this.#reach;
    this.#reach.assertOpen();
    const here = reads.selected(rooms, except).map(socket).filter(Boolean);
    if (local || !cluster.isJoined) return here;
    const elsewhere = await cluster.ask((id) => native.askSockets(id, rooms, except));
    return here.concat(elsewhere.map((details) => new RemoteSocket(this.#reach, details)));
  }

  socketsJoin(room) {
    this.#move(roomNames(room), true);
  }

  socketsLeave(room) {
    this.#move(roomNames(room), false);
  }

  disconnectSockets(close = false) {
    const { rooms, except, local } = this.#target;
    this.#reach.assertOpen();
    this.#reach.native.disconnectSockets(rooms, except, Boolean(close), local);
  }

  #move(names, join) {
    const { rooms, except, local } = this.#target;
    const { native, localSockets, report } = this.#reach;
    this.#reach.assertOpen();
    const own = localSockets.size === 0 ? [] : native.selected(rooms, except);
    native.moveSockets(rooms, except, names, join, local);
    for (const socket of own.map((id) => localSockets.get(id)).filter(Boolean)) {
      for (const name of names) attempt(report, () => (join ? socket.join?.(name) : socket.leave?.(name)));
    }
  }

  #encode(event, args) {
    assertEventName(event);
    this.#reach.assertOpen();
    const packet = this.#reach.encoding.args([event, ...args]);
    this.#reach.log(event, this.#target.rooms.length > 0 ? this.#target.rooms : 'all');
    return packet;
  }

  /** Sends an event and collects the first argument of each client's acknowledgement. Throws what is wrong at once. */
  #ask(event, args) {
    const { rooms, except, local, timeout } = this.#target;
    const { native, cluster } = this.#reach;
    if (timeout === undefined) throw invalidArgument('timeout', timeout, 'set by timeout(ms) before clients are asked');
    const packet = this.#encode(event, args);
    const parts = [this.#askHere(packet, event, args)];
    if (!local && cluster.isJoined) {
      const { text, attachments } = packet;
      parts.push(cluster.ask((id) => native.askClients(id, rooms, except, text, attachments, timeout)));
    }
    return this.#collect(parts);
  }

  async #collect(parts) {
    const outcomes = await Promise.allSettled(parts);
    const responses = outcomes.flatMap(({ value, reason }) => value ?? reason.responses ?? []);
    const failed = outcomes.find(({ status }) => status === 'rejected');
    const { isSingle } = this.#target;
    if (failed === undefined) return isSingle ? responses[0] : responses;
    const error = failed.reason.code === 'ERR_TIMEOUT' ? timedOut() : failed.reason;
    throw Object.assign(error, { responses: isSingle ? null : responses });
  }

  /** Asks the clients of this instance. */
  #askHere(packet, event, args) {
    const { rooms, except, timeout, volatile } = this.#target;
    const { native, socket, localSockets, report } = this.#reach;
    const sockets = native.selected(rooms, except).map(socket).filter(Boolean);
    if (sockets.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const responses = [];
      const answered = (response) => {
        if (responses.push(response) < sockets.length) return;
        clearTimeout(timer);
        resolve(responses);
      };
      const cancels = [];
      const timer = setTimeout(() => {
        for (const cancel of cancels) cancel();
        reject(Object.assign(timedOut(), { responses: [...responses] }));
      }, timeout);
      for (const each of sockets) {
        if (localSockets.has(each.id)) attempt(report, () => localSocket.deliver(each, [event, ...args, once(answered)]));
        else cancels.push(internals.ask(each, packet, answered, volatile));
      }
    });
  }
}

/** A socket of another server: what is known of it, and how to reach it. */
class RemoteSocket {
  #operator;

  constructor(reach, { id, handshake, rooms, data }) {
    this.id = id;
    this.handshake = handshake;
    this.rooms = new Set(rooms);
    this.data = data;
    this.#operator = new BroadcastOperator(reach, { ...EVERYONE, rooms: [id], isSingle: true });
  }

  emit(event, ...args) {
    return this.#operator.emit(event, ...args);
  }

  timeout(ms) {
    return this.#operator.timeout(ms);
  }

  join(room) {
    this.#operator.socketsJoin(room);
  }

  leave(room) {
    this.#operator.socketsLeave(room);
  }

  disconnect(close = false) {
    this.#operator.disconnectSockets(close);
    return this;
  }
}

function timedOut() {
  return new WebSocketServiceError('ERR_TIMEOUT', 'operation has timed out');
}

/** Hands the outcome of a question to a callback; what it throws is nobody's rejection. */
function callBack(asked, answered, nothing) {
  asked.then(
    (responses) => nextTick(answered, null, responses),
    (error) => nextTick(answered, error, error.responses ?? nothing),
  );
}

function once(fn) {
  let isCalled = false;
  return (...args) => {
    if (isCalled) return;
    isCalled = true;
    fn(...args);
  };
}

module.exports = { BroadcastOperator, RemoteSocket, callBack };
