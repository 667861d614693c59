// Socket.IO's broadcast operators: what is meant for the sockets of some rooms, here and on the other servers.

import {
  assertEventName,
  assertMilliseconds,
  invalidArgument,
  roomNames,
  WebSocketServiceError,
} from '../errors.js';
import type {
  BroadcastOperator as Operator,
  Handshake,
  RemoteSocket as Remote,
  TimedEmitter,
} from '../../index.js';
import { attempt } from '../attempt.js';
import { type Callback, takeCallback } from '../callback.js';
import * as localSocket from '../objects/local-socket.js';
import { nextTick } from '../timers.js';
import type { Encoded } from './payload.js';
import type { Reach } from './reach.js';
import { internals, NativeSocket } from './socket.js';

/** Who is meant, and how they are to be reached. */
interface Target {
  rooms: string[];
  except: string[];
  volatile: boolean;
  /** On this instance only. */
  local: boolean;
  /** Milliseconds for acknowledgements. */
  timeout: number | undefined;
  /** One socket is meant: there is one answer, and no array of them. */
  isSingle: boolean;
}

/** What goes wrong when clients are asked carries what came until then. */
interface Asked {
  code?: string;
  responses?: unknown[] | null;
}

/** Everyone, on all servers. */
const EVERYONE: Target = { rooms: [], except: [], volatile: false, local: false, timeout: undefined, isSingle: false };

/** A selection of sockets, and how they are to be reached. Each step gives a new one. */
export class BroadcastOperator implements Operator {
  readonly #reach: Reach;
  readonly #target: Target;

  constructor(reach: Reach, target = EVERYONE) {
    this.#reach = reach;
    this.#target = target;
  }

  #with(change: Partial<Target>): BroadcastOperator {
    return new BroadcastOperator(this.#reach, { ...this.#target, ...change });
  }

  to(room: string | string[]): Operator {
    return this.#with({ rooms: [...new Set([...this.#target.rooms, ...roomNames(room)])] });
  }

  in(room: string | string[]): Operator {
    return this.to(room);
  }

  except(room: string | string[]): Operator {
    return this.#with({ except: [...new Set([...this.#target.except, ...roomNames(room)])] });
  }

  get volatile(): Operator {
    return this.#with({ volatile: true });
  }

  get local(): Operator {
    return this.#with({ local: true });
  }

  timeout(ms: number): Operator {
    assertMilliseconds('ms', ms);
    return this.#with({ timeout: ms });
  }

  emit(event: string, ...args: unknown[]): boolean {
    const answered = takeCallback(args);
    if (answered !== undefined) {
      callBack(this.#ask(event, args), answered, this.#target.isSingle ? null : []);
      return true;
    }
    const { rooms, except, volatile, local } = this.#target;
    const { text, attachments } = this.#encode(event, args);
    this.#reach.native.emitTo(rooms, except, text, attachments, volatile, local);
    return true;
  }

  // As in Socket.IO's types: what clients answer is their own.
  async emitWithAck(event: string, ...args: unknown[]): Promise<unknown[]> {
    return this.#ask(event, args) as Promise<unknown[]>;
  }

  async fetchSockets(): Promise<Remote[]> {
    const { rooms, except, local } = this.#target;
    const { native, reads, cluster, socket } = this.#reach;
    this.#reach.assertOpen();
    const here = reads.selected(rooms, except).map(socket).filter((each) => each !== undefined);
    if (local || !cluster.isJoined) return here;
    const remote = await cluster.ask<Details>((id) => native.askSockets(id, rooms, except));
    return [...here, ...remote.map((details) => new RemoteSocket(this.#reach, details))];
  }

  socketsJoin(room: string | string[]): void {
    this.#move(roomNames(room), true);
  }

  socketsLeave(room: string | string[]): void {
    this.#move(roomNames(room), false);
  }

  disconnectSockets(close = false): void {
    const { rooms, except, local } = this.#target;
    this.#reach.assertOpen();
    this.#reach.native.disconnectSockets(rooms, except, Boolean(close), local);
  }

  #move(names: string[], join: boolean): void {
    const { rooms, except, local } = this.#target;
    const { native, localSockets, report } = this.#reach;
    this.#reach.assertOpen();
    const own = localSockets.size === 0 ? [] : native.selected(rooms, except);
    native.moveSockets(rooms, except, names, join, local);
    for (const socket of own.map((id) => localSockets.get(id)).filter((each) => each !== undefined)) {
      for (const name of names) attempt(report, () => void (join ? socket.join?.(name) : socket.leave?.(name)));
    }
  }

  #encode(event: string, args: unknown[]): Encoded {
    assertEventName(event);
    this.#reach.assertOpen();
    const packet = this.#reach.encoding.args([event, ...args]);
    this.#reach.log(event, this.#target.rooms.length > 0 ? this.#target.rooms : 'all');
    return packet;
  }

  /** Sends an event and collects the first argument of each client's acknowledgement. Throws what is wrong at once. */
  #ask(event: string, args: unknown[]): Promise<unknown> {
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

  async #collect(parts: Promise<unknown[]>[]): Promise<unknown> {
    const outcomes = await Promise.allSettled(parts);
    const responses = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : responsesOf(outcome.reason) ?? []));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    const { isSingle } = this.#target;
    if (failed === undefined) return isSingle ? responses[0] : responses;
    const error = (failed.reason as Asked).code === 'ERR_TIMEOUT' ? timedOut() : failed.reason;
    throw Object.assign(error, { responses: isSingle ? null : responses });
  }

  /** Asks the clients of this instance. */
  #askHere(packet: Encoded, event: string, args: unknown[]): Promise<unknown[]> {
    const { rooms, except, timeout, volatile } = this.#target;
    const { native, socket, localSockets, report } = this.#reach;
    const sockets = native.selected(rooms, except).map(socket).filter((each) => each !== undefined);
    if (sockets.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const responses: unknown[] = [];
      const answered = (response: unknown) => {
        if (responses.push(response) < sockets.length) return;
        clearTimeout(timer);
        resolve(responses);
      };
      const cancels: (() => void)[] = [];
      const timer = setTimeout(() => {
        for (const cancel of cancels) cancel();
        reject(Object.assign(timedOut(), { responses: [...responses] }));
      }, timeout);
      for (const each of sockets) {
        const local = localSockets.get(each.id);
        if (local) attempt(report, () => localSocket.deliver(local, [event, ...args, once(answered)]));
        else if (each instanceof NativeSocket) cancels.push(internals.ask(each, packet, answered, volatile));
      }
    });
  }
}

/** What another server tells of a socket. */
interface Details {
  id: string;
  handshake: Handshake;
  rooms: string[];
  data: unknown;
}

/** A socket of another server: what is known of it, and how to reach it. */
export class RemoteSocket implements Remote {
  readonly #operator: BroadcastOperator;
  readonly id: string;
  readonly handshake: Handshake;
  readonly rooms: Set<string>;
  // what the other application keeps is its own
  data: unknown;

  constructor(reach: Reach, { id, handshake, rooms, data }: Details) {
    this.id = id;
    this.handshake = handshake;
    this.rooms = new Set(rooms);
    this.data = data;
    this.#operator = new BroadcastOperator(reach, { ...EVERYONE, rooms: [id], isSingle: true });
  }

  emit(event: string, ...args: unknown[]): boolean {
    return this.#operator.emit(event, ...args);
  }

  timeout(ms: number): TimedEmitter {
    return this.#operator.timeout(ms);
  }

  join(room: string | string[]): void {
    this.#operator.socketsJoin(room);
  }

  leave(room: string | string[]): void {
    this.#operator.socketsLeave(room);
  }

  disconnect(close = false): this {
    this.#operator.disconnectSockets(close);
    return this;
  }
}

function timedOut(): WebSocketServiceError {
  return new WebSocketServiceError('ERR_TIMEOUT', 'operation has timed out');
}

/** Hands the outcome of a question to a callback; what it throws is nobody's rejection. */
export function callBack(asked: Promise<unknown>, answered: Callback, nothing: unknown[] | null): void {
  asked.then(
    (responses) => nextTick(answered, null, responses),
    (error: unknown) => nextTick(answered, error, responsesOf(error) ?? nothing),
  );
}

/** What came until something went wrong. */
function responsesOf(error: unknown): unknown[] | null | undefined {
  return (error as Asked | null | undefined)?.responses;
}

function once(fn: (answer: unknown) => void): (answer: unknown) => void {
  let isCalled = false;
  return (answer) => {
    if (isCalled) return;
    isCalled = true;
    fn(answer);
  };
}
