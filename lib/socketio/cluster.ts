// The other servers of the cluster: questions to them, answers to theirs, and their figures. Without a cluster there
// are none, and nobody is asked.

import type { ClusterState, ClusterStats, Logger, WebSocketServiceErrorCode } from '../../index.js';
import type { Figures, NativeService } from '../../binding.js';
import type { Callback } from '../callback.js';
import { closed, invalidArgument, WebSocketServiceError } from '../errors.js';
import type { Operations } from '../native/operations.js';
import type { Encoding } from './payload.js';

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
  'connection_error',
  'token:expiring',
  'away',
  'recovered',
  'newListener',
  'removeListener',
]);

const isOwn = (event: string): boolean => OWN_EVENTS.has(event) || event.startsWith('room:');

export class Cluster {
  readonly #native: NativeService;
  readonly #operations: Operations;
  readonly #encoding: Encoding;
  /** Numbers of the questions that wait for an answer. */
  readonly #asked = new Set<number>();
  /** Those of them that ask whether the cluster has been joined. */
  readonly #joining = new Set<number>();
  /** Whether there are other servers. Not any more once the service has left them. */
  isJoined: boolean;
  #isLeaving = false;

  constructor(native: NativeService, operations: Operations, encoding: Encoding) {
    this.#native = native;
    this.#encoding = encoding;
    this.#operations = operations;
    this.isJoined = native.isClustered();
  }

  /**
   * Asks under a number; resolves with what the native side answers. Rejects with an error whose `responses` are what
   * came until then, if it was a question to many.
   */
  ask<T>(start: (id: number) => void): Promise<T[]> {
    return new Promise((resolve, reject) => {
      const id = this.#operations.expect((error: Error | undefined, values: T[]) => {
        this.#asked.delete(id);
        this.#joining.delete(id);
        if (error) reject(values === undefined ? error : Object.assign(error, { responses: values }));
        else resolve(values);
      });
      this.#asked.add(id);
      start(id);
    });
  }

  /** The native side has answered a question; with an error, not everybody did. */
  answered(id: number, error: WebSocketServiceError | undefined, values: unknown[]): void {
    this.#operations.finish(id, [this.#isLeaving ? undefined : error, values]);
  }

  /** The native side could not do what it was asked. When the service leaves, it need not, but for joining. */
  failed(id: number, code: WebSocketServiceErrorCode, message: string): void {
    this.#refuse(id, new WebSocketServiceError(code, message));
  }

  #refuse(id: number, error: WebSocketServiceError): void {
    const isExcused = this.#isLeaving && !this.#joining.has(id);
    this.#operations.finish(id, isExcused ? [undefined, []] : [error]);
  }

  /** The service is about to leave the others: from now on it is nobody's fault that they do not answer. */
  leave(): void {
    this.#isLeaving = true;
  }

  /** The service has left the others: it is alone, and who waits for their answers has got what there is. */
  close(): void {
    this.isJoined = false;
    for (const id of [...this.#joining]) this.#refuse(id, closed());
    for (const id of [...this.#asked]) this.answered(id, undefined, []);
  }

  async ready(): Promise<void> {
    if (!this.isJoined || this.#isLeaving) return;
    await this.ask((id) => {
      this.#joining.add(id);
      this.#native.ready(id);
    });
  }

  /** Resolves when what the service told the others has left. */
  async published(): Promise<void> {
    if (this.isJoined) await this.ask((id) => this.#native.published(id));
  }

  /** `getStats().cluster`; undefined without a cluster. */
  state(): ClusterState | undefined {
    return this.#native.clusterState() ?? undefined;
  }

  /** `getClusterStats()`, from the figures of this instance and of the others. */
  stats(own: Figures, others: Figures[]): ClusterStats {
    const all = [own, ...others];
    const sum = (name: keyof Figures) => all.reduce((total, figures) => total + figures[name], 0);
    const activeConnections = sum('activeConnections');
    const latencies = all.reduce((total, figures) => total + figures.avgLatency * figures.activeConnections, 0);
    return {
      totalConnections: sum('totalConnections'),
      activeConnections,
      totalRooms: own.totalRooms,
      messagesPerMinute: sum('messagesPerMinute'),
      bytesPerMinute: sum('bytesPerMinute'),
      avgLatency: activeConnections === 0 ? 0 : latencies / activeConnections,
      instances: all.length,
    };
  }

  /** Sends an event to the applications of the other servers. */
  emit(event: string, args: unknown[]): void {
    const text = this.#packet(event, args);
    if (this.isJoined) this.#native.emitToServers(text, undefined);
  }

  /** As `emit`; resolves with the first argument of each server's acknowledgement. */
  emitWithAck(event: string, args: unknown[]): Promise<unknown[]> {
    const text = this.#packet(event, args);
    return this.isJoined ? this.ask((id) => this.#native.emitToServers(text, id)) : Promise.resolve([]);
  }

  /** An event of another server's application: its name and arguments, for the listeners that it may reach. */
  incoming(text: string, ackNumber: number, logger: Logger): [event: string, args: unknown[]] | undefined {
    const [event, ...args] = JSON.parse(text) as unknown[];
    if (typeof event !== 'string' || isOwn(event)) {
      logger.warn(`Ignored a serverSideEmit of another server: ${JSON.stringify(event)} is the service's own event`);
      return undefined;
    }
    if (ackNumber >= 0) args.push(this.#acknowledge(ackNumber));
    return [event, args];
  }

  #packet(event: unknown, args: unknown[]): string {
    if (typeof event !== 'string' || event === '') throw invalidArgument('event', event, 'a non-empty string');
    if (isOwn(event)) throw invalidArgument('event', event, "none of the names of the service's own events");
    try {
      return this.#encoding.json([event, ...args], 'args');
    } catch (error) {
      const isOurs = (error as { code?: unknown } | null | undefined)?.code !== undefined;
      throw isOurs ? error : invalidArgument('args', args, 'values that JSON can hold');
    }
  }

  #acknowledge(number: number): Callback {
    let answered = false;
    return (...args) => {
      if (answered) return;
      const text = this.#encoding.json(args, 'args');
      answered = true;
      this.#native.acknowledgeServer(number, text);
    };
  }

  /** Another server asks for `socket.data` of some sockets; what JSON cannot hold is left empty. */
  giveData(number: number, data: unknown[]): void {
    this.#native.giveData(number, `[${data.map(dataText).join(',')}]`);
  }
}

function dataText(data: unknown): string {
  try {
    return JSON.stringify(data) ?? '{}';
  } catch {
    return '{}';
  }
}
