// The operators of the service itself, as Socket.IO has them on `io`.

'use strict';

const { Listeners } = require('./listeners.js');
const { BroadcastOperator, callBack } = require('./operator.js');

/** Lends a service's operators what they work with, see `BroadcastOperator`. */
let lend;

class Operators extends Listeners {
  #reach;

  static {
    lend = (service, reach) => {
      service.#reach = reach;
    };
  }

  get #everyone() {
    return new BroadcastOperator(this.#reach);
  }

  in(room) {
    return this.#everyone.to(room);
  }

  to(room) {
    return this.#everyone.to(room);
  }

  except(room) {
    return this.#everyone.except(room);
  }

  get volatile() {
    return this.#everyone.volatile;
  }

  get local() {
    return this.#everyone.local;
  }

  timeout(ms) {
    return this.#everyone.timeout(ms);
  }

  async fetchSockets() {
    return this.#everyone.fetchSockets();
  }

  socketsJoin(room) {
    this.#everyone.socketsJoin(room);
  }

  socketsLeave(room) {
    this.#everyone.socketsLeave(room);
  }

  disconnectSockets(close = false) {
    this.#everyone.disconnectSockets(close);
  }

  /** Names of the rooms of all servers. */
  async allRooms() {
    const { native, reads, cluster, assertOpen } = this.#reach;
    assertOpen();
    const elsewhere = cluster.isJoined ? await cluster.ask((id) => native.askRooms(id)) : [];
    return new Set([...reads.roomNames(), ...elsewhere]);
  }

  serverSideEmit(event, ...args) {
    const { cluster, assertOpen } = this.#reach;
    assertOpen();
    if (typeof args.at(-1) === 'function') {
      const answered = args.pop();
      callBack(cluster.emitWithAck(event, args), answered, []);
    } else {
      cluster.emit(event, args);
    }
    return true;
  }

  async serverSideEmitWithAck(event, ...args) {
    const { cluster, assertOpen } = this.#reach;
    assertOpen();
    return cluster.emitWithAck(event, args);
  }
}

module.exports = { lend, Operators };
