// The documented class. Each method checks its arguments, calls the native side, hears what happened, and answers.

import type {
  AuthenticatedSocket,
  BroadcastOptions,
  ClusterStats,
  ConnectionStats,
  ListenAddress,
  ListenOptions,
  Message,
  MessageType,
  Room,
  RoomOptions,
  RoomStats,
  ShutdownOptions,
  SocketLike,
  SocketMiddleware,
  SocketUser,
  TlsOptions,
  WebSocketConfig,
} from '../index.js';
import type { Failure, NativeService, Scope } from '../binding.js';
import { Admission } from './admission.js';
import { Attachment } from './attachment.js';
import { attempt } from './attempt.js';
import { Authorization } from './authorization.js';
import { Departures } from './departures.js';
import {
  assertCount,
  assertEventName,
  assertMetadata,
  assertString,
  assertStrings,
  closed,
  converted,
  errorOf,
  invalidArgument,
  WebSocketServiceError,
} from './errors.js';
import { happenings } from './happenings.js';
import { Gateway } from './http/gateway.js';
import type { HttpServer } from './http/server-hook.js';
import { builtInEvents } from './native/addon.js';
import { type EventHandlers, eventReader } from './native/events.js';
import { Fields } from './native/fields.js';
import { Hearing } from './native/hearing.js';
import { Operations } from './native/operations.js';
import { Reads } from './native/reads.js';
import { SIGNS } from './native/signs.js';
import { startNative } from './native/start.js';
import * as localSocket from './objects/local-socket.js';
import { Messages } from './objects/messages.js';
import { Rooms } from './objects/rooms.js';
import { Sockets } from './objects/sockets.js';
import { profileText, Users } from './objects/users.js';
import { type ResolvedConfig, resolveConfig } from './options/config.js';
import { checkRoom } from './options/room.js';
import { checkShutdown } from './options/shutdown.js';
import { Cluster } from './socketio/cluster.js';
import { watchListeners } from './socketio/listeners.js';
import { lend, Operators } from './socketio/operators.js';
import { Encoding, filterOf, MAX_DEPTH } from './socketio/payload.js';
import { NativeSocket } from './socketio/socket.js';
import { nextTick } from './timers.js';

/** Acknowledgements that are awaited of one client where `limits.pendingAcks` does not say. */
const MOST_ACKS = 10_000;
const MESSAGE_TYPES: MessageType[] = ['text', 'image', 'file', 'system'];

export class WebSocketService extends Operators {
  readonly #config: ResolvedConfig;
  readonly #native: NativeService;
  readonly #reads: Reads;
  readonly #users: Users;
  readonly #sockets: Sockets;
  readonly #rooms: Rooms;
  readonly #messages: Messages;
  /** How values are encoded. */
  readonly #encoding: Encoding;
  readonly #admission: Admission;
  readonly #authorization: Authorization;
  readonly #departures = new Departures();
  readonly #gateway: Gateway;
  readonly #attachment: Attachment;
  readonly #hearing: Hearing;
  readonly #cluster: Cluster;
  readonly #operations = new Operations();
  #initialized = false;
  #mock = false;
  #shutdown: Promise<void> | undefined;
  /** The promise of `shutdown` is about to resolve. Until then every call works, or does nothing. */
  #isClosed = false;

  constructor(config?: WebSocketConfig) {
    super();
    this.#config = resolveConfig(config);
    // Weak, so that a service that nobody uses any more can be collected.
    const self = new WeakRef(this);
    const signs = Buffer.alloc(SIGNS.bytes);
    this.#native = startNative(this.#config, () => WebSocketService.#woken(self.deref()), signs);
    this.#reads = new Reads(this.#native);
    this.#encoding = new Encoding(this.#config.limits.maxDepth ?? MAX_DEPTH, this.#config.redis !== undefined);
    this.#users = new Users(this.#native, this.#reads, signs, this.#config.connectionStateRecovery !== false);
    this.#sockets = new Sockets({
      native: this.#native,
      reads: this.#reads,
      encoding: this.#encoding,
      mostAcks: this.#config.limits.pendingAcks ?? MOST_ACKS,
      inherits: this.#inherits,
      users: this.#users,
      operations: this.#operations,
      logger: this.#config.logger,
      report,
    });
    this.#rooms = new Rooms(this.#native, this.#reads, this.#encoding);
    this.#messages = new Messages(this.#native, this.#reads);
    const { authorize, connectTimeout: patience, logger } = this.#config;
    this.#authorization = new Authorization(authorize, { logger, patience });
    this.#admission = new Admission({
      authorization: this.#authorization,
      native: this.#native,
      users: this.#users,
      sockets: this.#sockets,
      handler: () => (this.#overrides('handleConnection') ? (socket) => this.handleConnection(socket) : undefined),
      profileOf: (socket) => this.#profileText(socket),
    });
    this.#gateway = new Gateway(this.#native, this.#config, this.#operations);
    this.#attachment = new Attachment(this.#native, this.#gateway, this.#config);
    this.#cluster = new Cluster(this.#native, this.#operations, this.#encoding);
    const objects = { users: this.#users, rooms: this.#rooms, messages: this.#messages };
    const readEvent = eventReader(this.#happenings(), objects);
    this.#hearing = new Hearing(this.#native, signs, readEvent, report);
    this.#reads.heardBy(this.#hearing);
    this.#lend();
  }

  /** What happens on the native side leads to changes of these, and is told by these. */
  #happenings(): EventHandlers {
    return happenings({
      native: this.#native,
      users: this.#users,
      sockets: this.#sockets,
      rooms: this.#rooms,
      messages: this.#messages,
      admission: this.#admission,
      authorization: this.#authorization,
      departures: this.#departures,
      gateway: this.#gateway,
      attachment: this.#attachment,
      cluster: this.#cluster,
      operations: this.#operations,
      logger: this.#config.logger,
      report,
      announce: (event, ...args) => this.#announce(event, ...args),
      fail: (error) => void this.emit('error', error),
      hear: () => this.#hear(),
      override: () => (this.#overrides('handleDisconnection') ? (...departure) => this.handleDisconnection(...departure) : undefined),
    });
  }

  /** Gives the parent classes what they need. */
  #lend(): void {
    watchListeners(this, () => this.#refreshListening());
    lend(this, {
      native: this.#native,
      reads: this.#reads,
      encoding: this.#encoding,
      cluster: this.#cluster,
      localSockets: this.#sockets.local,
      socket: (socketId) => this.#sockets.get(socketId),
      assertOpen: () => this.#assertOpen(),
      log: (event, target) => this.#log(event, target),
      report,
    });
  }

  // --- start and end -------------------------------------------------------------------------------------------------

  initialize(httpServer?: HttpServer): void {
    if (this.#initialized) throw new WebSocketServiceError('ERR_ALREADY_INITIALIZED', 'The service is initialized already');
    this.#assertOpen();
    if (this.#shutdown) return;
    if (httpServer === undefined || httpServer === null) {
      this.#initialized = true;
      this.#mock = true;
      this.#config.logger.warn('WebSocketService runs in mock mode: no HTTP server was given, broadcasts are only logged');
      return;
    }
    this.#attachment.attach(httpServer, this);
    this.#initialized = true;
    this.#admission.refresh();
    this.#refreshListening();
  }

  async listen<O extends ListenOptions>(options: O): Promise<ListenAddress<O>> {
    this.#assertOpen();
    if (this.#shutdown) throw closed();
    this.#admission.refresh();
    this.#refreshListening();
    const address = await this.#attachment.listen(options, this);
    this.#mock = false;
    return address as ListenAddress<O>; // a path where one was given
  }

  setSecureContext(options: TlsOptions): void {
    this.#assertOpen();
    if (this.#shutdown) throw closed();
    this.#attachment.setSecureContext(options);
  }

  shutdown(options: ShutdownOptions = {}): Promise<void> {
    try {
      checkShutdown(options, this.#inherits);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    this.#shutdown ??= this.#end(options);
    return this.#shutdown;
  }

  async #end({ drainMs = 0, recover = false }: ShutdownOptions): Promise<void> {
    this.#attachment.release();
    this.#cluster.leave();
    await this.#operations.run((id) => this.#native.shutdown(id, drainMs, recover));
    this.#hear();
    this.#cluster.close();
    await this.#attachment.detach();
    // Until everything that happened has been told.
    await this.#operations.run((id) => this.#native.mark(id));
    this.#operations.close();
    this.#native.release();
    this.#isClosed = true;
  }

  /** Whether sockets come from other instances, and go to them, with their clients. */
  get #inherits(): boolean {
    return this.#config.connectionStateRecovery !== false && this.#config.redis !== undefined;
  }

  /** Resolves when the cluster has been joined; at once without one. */
  async ready(): Promise<void> {
    this.#assertOpen();
    await this.#cluster.ready();
  }

  use(middleware: SocketMiddleware): this {
    if (typeof middleware !== 'function') throw invalidArgument('middleware', middleware, 'a function');
    this.#admission.use(middleware);
    return this;
  }

  // --- connections ---------------------------------------------------------------------------------------------------

  async handleConnection(socket: SocketLike): Promise<void> {
    localSocket.assertSocket(socket);
    this.#assertOpen();
    if (this.#shutdown) return;
    const { id } = socket;
    const username: unknown = socket.user?.username ?? socket.handshake?.query?.username;
    const name = typeof username === 'string' ? username : undefined;
    const userId = converted(() => String(socket.userId ?? id));
    const profile = this.#profileText(socket);
    if (socket instanceof NativeSocket) {
      if (this.#native.isConnected(id)) return;
      Object.assign(this.#users.record(id) ?? {}, { userId, username: name, profile: socket.user });
      accept(this.#native.register(id, userId, name, profile));
    } else {
      if (this.#sockets.local.get(id) === socket) return;
      const handshake = localSocket.handshakeText(socket);
      accept(this.#native.registerLocal(id, userId, name, handshake, profile));
      this.#users.remember({ socketId: id, userId, username: name, handshake, connectedAt: Date.now(), profile: socket.user });
      this.#sockets.adopt(socket, [...builtInEvents(), ...this.#config.relayEvents]);
      socket.on?.('disconnect', (reason) => void this.handleDisconnection(id, reason));
      if (socket.expiresAt !== undefined) this.#native.expireAt(id, socket.expiresAt);
    }
    socket.user = this.#users.get(id);
    this.#hear();
  }

  /** What other instances are told of a user. */
  #profileText(socket: SocketLike): string | undefined {
    return this.#cluster.isJoined ? profileText(socket.user, socket.handshake?.query) : undefined;
  }

  async handleDisconnection(socketId: string, reason = 'server namespace disconnect'): Promise<void> {
    assertString('socketId', socketId);
    assertString('reason', reason);
    const user = this.#departures.take(socketId);
    if (user) {
      this.#announce('disconnect', user, reason);
      return;
    }
    this.#departures.disconnecting(socketId, () => {
      this.#native.disconnect(socketId, reason, true);
      this.#hear();
    });
    await this.#delivered();
  }

  getUser(socketId: string): SocketUser | undefined {
    assertString('socketId', socketId);
    return this.#departures.user(socketId) ?? this.#users.get(socketId);
  }

  getConnectedUsers(): SocketUser[] {
    return this.#usersOf(this.#reads.users());
  }

  isUserOnline(userId: string): boolean {
    assertString('userId', userId);
    return this.#users.isOnline(userId);
  }

  getUserSockets(userId: string): string[] {
    assertString('userId', userId);
    return this.#reads.socketsOf(userId);
  }

  getSocket(socketId: string): AuthenticatedSocket | undefined {
    assertString('socketId', socketId);
    if (!this.#reads.isConnected(socketId)) return undefined;
    return this.#sockets.get(socketId);
  }

  // --- rooms ---------------------------------------------------------------------------------------------------------

  async createRoom(name: string, namespace = 'default', createdBy?: string, metadata?: object, options: RoomOptions = {}): Promise<Room> {
    assertString('name', name);
    assertString('namespace', namespace);
    if (createdBy !== undefined && createdBy !== null) assertString('createdBy', createdBy);
    assertMetadata(metadata);
    checkRoom(options);
    this.#assertOpen();
    const room = this.#rooms.create(name, namespace, createdBy ?? undefined, metadata ?? undefined, options);
    this.#announce('room:create', room);
    if (this.#cluster.isJoined) await this.#cluster.published();
    return room;
  }

  getRoom(roomId: string): Room | undefined {
    assertString('roomId', roomId);
    return this.#rooms.get(roomId);
  }

  listRooms(namespace?: string): Room[] {
    if (namespace !== undefined) assertString('namespace', namespace);
    return this.#rooms.list(namespace);
  }

  async joinRoom(socketId: string, roomId: string): Promise<void> {
    assertString('socketId', socketId);
    assertString('roomId', roomId);
    this.#assertOpen();
    const failure = this.#native.joinRoom(socketId, roomId);
    if (failure && this.#cluster.isJoined) {
      await this.#cluster.ask((id) => this.#native.joinRoomAnywhere(id, socketId, roomId));
    } else {
      accept(failure);
    }
    await this.#sockets.local.get(socketId)?.join?.(roomId);
    await this.#happened();
  }

  async leaveRoom(socketId: string, roomId: string): Promise<void> {
    assertString('socketId', socketId);
    assertString('roomId', roomId);
    if (this.#cluster.isJoined && !this.#native.isConnected(socketId)) {
      await this.#cluster.ask((id) => this.#native.leaveRoomAnywhere(id, socketId, roomId));
    } else {
      this.#native.leaveRoom(socketId, roomId);
    }
    await this.#sockets.local.get(socketId)?.leave?.(roomId);
    await this.#happened();
  }

  async deleteRoom(roomId: string): Promise<void> {
    assertString('roomId', roomId);
    const room = this.#rooms.get(roomId);
    const members = room && this.#sockets.local.size > 0 ? [...room.members] : [];
    this.#rooms.delete(roomId);
    this.#messages.forget(roomId);
    if (room) void this.#operations.run((id) => this.#native.mark(id)).then(() => this.#rooms.release(roomId));
    this.#hear();
    // At once, for everybody can see already that the room is gone.
    if (room) this.#announce('room:delete', room);
    for (const id of members) await this.#sockets.local.get(id)?.leave?.(roomId);
  }

  getRoomMembers(roomId: string): SocketUser[] {
    assertString('roomId', roomId);
    return this.#usersOf(this.#reads.roomMembers(roomId));
  }

  #usersOf(socketIds: string[]): SocketUser[] {
    return socketIds.map((id) => this.#users.of(id)).filter((user) => user !== undefined);
  }

  // --- messages ------------------------------------------------------------------------------------------------------

  async sendMessage(
    roomId: string,
    userId: string,
    content: string,
    type: MessageType = 'text',
    metadata?: object,
  ): Promise<Message> {
    assertString('roomId', roomId);
    assertString('userId', userId);
    assertString('content', content);
    if (!MESSAGE_TYPES.includes(type)) throw invalidArgument('type', type, `one of ${MESSAGE_TYPES.join(', ')}`);
    assertMetadata(metadata);
    this.#assertOpen();
    const encoded = metadata ? this.#encoding.args([metadata], 'metadata') : undefined;
    const [text, attachments] = [encoded?.text.slice(1, -1), encoded?.attachments ?? []];
    const sent = this.#native.sendMessage(roomId, userId, JSON.stringify(content), type, text, attachments);
    if (!Array.isArray(sent)) throw errorOf(sent);
    const stored = new Fields(sent);
    const first = stored.number();
    const message = this.#messages.read(roomId, stored, first);
    // The caller's own object, as it would be without a wire in between.
    if (metadata) message.metadata = metadata;
    if (this.#config.deliverMessages) this.#log('message', roomId);
    await this.#happened('room', [roomId]);
    return message;
  }

  getRoomMessages(roomId: string, limit = 50, offset = 0): Message[] {
    assertString('roomId', roomId);
    assertCount('limit', limit);
    assertCount('offset', offset);
    return this.#messages.page(roomId, limit, offset);
  }

  // --- broadcasts ----------------------------------------------------------------------------------------------------

  async broadcastToRoom(roomId: string, event: string, data: unknown, options?: BroadcastOptions): Promise<void> {
    assertString('roomId', roomId);
    const { text, attachments } = this.#encode(event, data);
    const filter = filterOf(options);
    accept(this.#native.broadcastToRoom(roomId, text, attachments, filter));
    this.#log(event, roomId);
    await this.#delivered('room', [roomId], filter);
  }

  async broadcastToUsers(userIds: string[], event: string, data: unknown): Promise<void> {
    assertStrings('userIds', userIds);
    const { text, attachments } = this.#encode(event, data);
    this.#native.broadcastToUsers(userIds, text, attachments);
    this.#log(event, userIds);
    await this.#delivered('users', userIds);
  }

  async broadcastToAll(event: string, data: unknown, options?: BroadcastOptions): Promise<void> {
    const { text, attachments } = this.#encode(event, data);
    const filter = filterOf(options);
    this.#native.broadcastToAll(text, attachments, filter);
    this.#log(event, 'all');
    await this.#delivered('everyone', [], filter);
  }

  async emitToSocket(socketId: string, event: string, data: unknown): Promise<void> {
    assertString('socketId', socketId);
    const { text, attachments } = this.#encode(event, data);
    const isHere = this.#native.emit(socketId, text, attachments, undefined, false);
    if (!isHere && this.#cluster.isJoined) this.#native.emitElsewhere(socketId, text, attachments);
    this.#log(event, socketId);
    await this.#delivered('socket', [socketId]);
  }

  #encode(event: string, data: unknown): { text: string; attachments: Buffer[] } {
    assertEventName(event);
    this.#assertOpen();
    return this.#encoding.args([event, data]);
  }

  #log(event: unknown, target: unknown): void {
    if (this.#mock) this.#config.logger.debug('mock broadcast', { event, target });
  }

  // --- statistics and maintenance --------------------------------------------------------------------------------------

  getStats(): ConnectionStats {
    const cluster = this.#cluster.state();
    const { expiredAcks } = this.#sockets;
    const exceeded = this.#native.exceeded();
    const isAny = Object.keys(exceeded).length > 0;
    return { ...this.#reads.stats(), ...(expiredAcks > 0 && { expiredAcks }), ...(isAny && { exceeded }), ...(cluster && { cluster }) };
  }

  getClusterStats(): ClusterStats {
    return this.#cluster.stats(this.#reads.stats(), this.#reads.otherStats());
  }

  getRoomStats(roomId: string): RoomStats | null {
    assertString('roomId', roomId);
    const figures = this.#reads.roomStats(roomId);
    if (figures === null) return null;
    const { createdAt, lastActivity, ...counts } = figures;
    return { roomId, ...counts, createdAt: new Date(createdAt), lastActivity: new Date(lastActivity) };
  }

  async disconnectUser(userId: string, reason = 'server namespace disconnect'): Promise<void> {
    assertString('userId', userId);
    assertString('reason', reason);
    this.#native.disconnectUser(userId, reason);
    if (this.#cluster.isJoined) {
      await this.#cluster.ask((id) => this.#native.disconnectUserElsewhere(id, userId, reason));
    }
    await this.#happened();
  }

  async cleanup(inactiveMinutes = 30): Promise<number> {
    if (!(Number.isFinite(inactiveMinutes) && inactiveMinutes >= 0)) {
      throw invalidArgument('inactiveMinutes', inactiveMinutes, 'a number of minutes, at least 0');
    }
    this.#native.setTime(Date.now());
    const closedSockets = this.#native.cleanup(inactiveMinutes * 60_000);
    await this.#happened();
    return closedSockets;
  }

  /** As Node.js, but an `error` that nobody listens to is logged instead of thrown. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event !== 'error' || this.listenerCount('error') > 0) return super.emit(event, ...args);
    this.#config.logger.error(...args);
    return false;
  }

  #refreshListening(): void {
    const heard = this.eventNames().filter((name) => typeof name === 'string');
    if (this.#overrides('handleDisconnection')) heard.push('disconnect');
    this.#native.listen(heard);
  }

  #overrides(method: 'handleConnection' | 'handleDisconnection'): boolean {
    return this[method] !== WebSocketService.prototype[method];
  }

  // --- what happened on the native side --------------------------------------------------------------------------------

  /** The native side has something to tell; the service may be gone. */
  static #woken(service: WebSocketService | undefined): void {
    if (service === undefined) return;
    service.#native.setTime(Date.now());
    service.#hearing.woken();
  }

  /** Hears what has happened; callers that caused something hear of it before they go on. */
  #hear(): void {
    this.#native.setTime(Date.now());
    this.#hearing.hear();
  }

  /** Hears what a call has caused, deliveries to socket objects in JavaScript included. */
  async #happened(...targets: Targets): Promise<void> {
    this.#hear();
    if (this.#hearing.isBehind) await this.#operations.run((id) => this.#native.mark(id));
    await this.#delivered(...targets);
  }

  /**
   * Waits for deliveries where they are seen at once, where many are on their way, and where clients are slow to read
   * to whom something was sent: those of `scope`, `names` and `filter`.
   */
  async #delivered(...[scope, names = [], filter]: Targets): Promise<void> {
    const isCongested = this.#native.isCongested();
    if (this.#sockets.local.size === 0 && !isCongested) return;
    await this.#operations.run((id) =>
      isCongested && scope !== undefined ? this.#native.ease(id, scope as Scope, names, filter) : this.#native.flush(id),
    );
    this.#hear();
  }

  /** Tells each listener; one that throws stops nobody else. */
  #announce(event: string, ...args: unknown[]): void {
    for (const listener of this.rawListeners(event)) attempt(report, () => void listener.apply(this, args));
  }

  /** Begins every call that does something. Tests move JavaScript's clock, and what they call is to follow it. */
  #assertOpen(): void {
    this.#native.setTime(Date.now());
    if (this.#isClosed) throw closed();
  }
}

/** Whom a call sent something to: the scope, the names of those meant there, and the options of the broadcast. */
type Targets = [scope?: `${Scope}`, names?: string[], filter?: string | undefined];

/** Throws what the native side could not do. */
function accept(failure: Failure | null): void {
  if (failure !== null) throw errorOf(failure);
}

/** Reports an exception of a listener as Node.js reports one that nobody caught. */
function report(error: unknown): void {
  nextTick(() => {
    throw error;
  });
}
