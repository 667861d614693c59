// The other servers of the cluster: questions to them, answers to theirs, and their figures. Without a cluster there
// are none, and nobody is asked.

'use strict';

const { invalidArgument, WebSocketServiceError } = require('../errors.js');

/** Names under which the service or Socket.IO tells its own events; another server cannot speak under them. */
const OWN_EVENTS = new Set([
  'connect',
  'connection',
  'new_namespace',
  'disconnect',
  'message',
  'typing',
  'error',
  'cluster',
  'newListener',
  'removeListener',
]);

const isOwn = (event) => OWN_EVENTS.has(event) || event.startsWith('room:');

class Cluster {
  #native;
  #operations;
  #encoding;
  /** Numbers of the questions that wait for an answer. */
  #asked = new Set();
  /** Whether there are other servers. Not any more once the service has left them. */
  isJoined;
  #isShared;
  #isLeaving = false;

  constructor(native, operations, encoding) {
    this.#native = native;
    this.#encoding = encoding;
    this.#operations = operations;
    this.isJoined = native.isClustered();
    this.#isShared = this.isJoined;
  }

  /**
   * Asks under a number; resolves with what the native side answers. Rejects with an error whose `responses` are what
   * came until then, if it was a question to many.
   */
  ask(start) {
    return new Promise((resolve, reject) => {
      const id = this.#operations.expect((error, values) => {
        this.#asked.delete(id);
        if (error) reject(values === undefined ? error : Object.assign(error, { responses: values }));
        else resolve(values);
      });
      this.#asked.add(id);
      start(id);
    });
  }

  /** The native side has answered a question; with an error, not everybody did. */
  answered(id, error, values) {
    const isMissed = error !== null && !this.#isLeaving;
    this.#operations.finish(id, [isMissed ? new WebSocketServiceError('ERR_TIMEOUT', error) : undefined, values]);
  }

  /** The native side could not do what it was asked. When the service leaves, it need not. */
  failed(id, code, message) {
    this.#operations.finish(id, this.#isLeaving ? [undefined, []] : [new WebSocketServiceError(code, message)]);
  }

  /** The service is about to leave the others: from now on it is nobody's fault that they do not answer. */
  leave() {
    this.#isLeaving = true;
  }

  /** The service has left the others: it is alone, and who waits for their answers has got what there is. */
  close() {
    this.isJoined = false;
    for (const id of [...this.#asked]) this.answered(id, null, []);
  }

  async ready() {
    if (!this.isJoined) return;
    const wasLeaving = this.#isLeaving;
    await this.ask((id) => this.#native.ready(id));
    if (!wasLeaving && this.state().status === 'ended') {
      throw new WebSocketServiceError('ERR_CLOSED', 'The service has been shut down');
    }
  }

  /** Resolves when what the service told the others has left. */
  async published() {
    if (this.isJoined) await this.ask((id) => this.#native.published(id));
  }

  /** `getStats().cluster`; undefined without a cluster. */
  state() {
    if (!this.#isShared) return undefined;
    const [status, uid, instances, queued, dropped, lost, ignored, published, received] = this.#native.clusterState();
    return { status, uid, instances, queued, dropped, lost, ignored, published, received };
  }

  /** `getClusterStats()`, from the figures of this instance and of the others. */
  stats({ totalRooms, ...own }, others) {
    const all = others.map(([totalConnections, activeConnections, , ...rates]) => {
      const [messagesPerMinute, bytesPerMinute, avgLatency] = rates;
      return { totalConnections, activeConnections, messagesPerMinute, bytesPerMinute, avgLatency };
    });
    all.unshift(own);
    const sum = (name) => all.reduce((total, figures) => total + figures[name], 0);
    const activeConnections = sum('activeConnections');
    const latencies = all.reduce((total, figures) => total + figures.avgLatency * figures.activeConnections, 0);
    return {
      totalConnections: sum('totalConnections'),
      activeConnections,
      totalRooms,
      messagesPerMinute: sum('messagesPerMinute'),
      bytesPerMinute: sum('bytesPerMinute'),
      avgLatency: activeConnections === 0 ? 0 : latencies / activeConnections,
      instances: all.length,
    };
  }

  /** Sends an event to the applications of the other servers. */
  emit(event, args) {
    const text = this.#packet(event, args);
    if (this.isJoined) this.#native.emitToServers(text, undefined);
  }

  /** As `emit`; resolves with the first argument of each server's acknowledgement. */
  emitWithAck(event, args) {
    const text = this.#packet(event, args);
    return this.isJoined ? this.ask((id) => this.#native.emitToServers(text, id)) : Promise.resolve([]);
  }

  /** An event of another server's application: its name and arguments, for the listeners that it may reach. */
  incoming(text, ackNumber, logger) {
    const [event, ...args] = JSON.parse(text);
    if (typeof event !== 'string' || isOwn(event)) {
      logger.warn(`Ignored a serverSideEmit of another server: ${JSON.stringify(event)} is the service's own event`);
      return undefined;
    }
    if (ackNumber >= 0) args.push(this.#acknowledge(ackNumber));
    return [event, args];
  }

  #packet(event, args) {
    if (typeof event !== 'string' || event === '') throw invalidArgument('event', event, 'a non-empty string');
    if (isOwn(event)) throw invalidArgument('event', event, "none of the names of the service's own events");
    try {
      return this.#encoding.json([event, ...args], 'args');
    } catch (error) {
      throw error.code === undefined ? invalidArgument('args', args, 'values that JSON can hold') : error;
    }
  }

  #acknowledge(number) {
    let answered = false;
    return (...args) => {
      if (answered) return;
      const text = this.#encoding.json(args, 'args');
      answered = true;
      this.#native.acknowledgeServer(number, text);
    };
  }

  /** Another server asks for `socket.data` of these sockets; what JSON cannot hold is left empty. */
  giveData(number, sockets) {
    this.#native.giveData(number, `[${sockets.map((socket) => dataText(socket?.data)).join(',')}]`);
  }
}

function dataText(data) {
  try {
    return JSON.stringify(data) ?? '{}';
  } catch {
    return '{}';
  }
}

module.exports = { Cluster };
