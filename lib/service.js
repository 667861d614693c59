// The documented class. Each method checks its arguments, calls the native side, hears what happened, and answers.

'use strict';

const http = require('node:http');
const https = require('node:https');
const { NativeService } = require('./native/addon.js');
const { refusalOf, runMiddleware } = require('./socketio/middleware.js');
const { Cluster } = require('./socketio/cluster.js');
const { nativeConfig, resolveConfig } = require('./options/config.js');
const {
  assertCount,
  assertEventName,
  assertMetadata,
  assertString,
  assertStrings,
  converted,
  invalidArgument,
  WebSocketServiceError,
} = require('./errors.js');
const { eventReader, SIGNS } = require('./native/events.js');
const { Fields } = require('./native/fields.js');
const { Gateway } = require('./http/gateway.js');
const { Hearing } = require('./native/hearing.js');
const { watchListeners } = require('./socketio/listeners.js');
const localSocket = require('./objects/local-socket.js');
const { Messages } = require('./objects/messages.js');
const { Operations } = require('./native/operations.js');
const { lend, Operators } = require('./socketio/operators.js');
const { Encoding, filterOf, MAX_DEPTH } = require('./socketio/payload.js');
const { Reads } = require('./native/reads.js');
const { Rooms } = require('./objects/rooms.js');
const { closeServer, hook } = require('./http/server-hook.js');
const { attempt, internals, NativeSocket } = require('./socketio/socket.js');
const { nextTick, setTimeout } = require('./timers.js');
const { profileText, Users } = require('./objects/users.js');
const { serverOf } = require('./options/wrong-arguments.js');

/** Events that cross from the native side, and their bits there (`EventKind`). */
const CROSSING = { connection: 1, disconnect: 2, message: 4, 'room:join': 8, 'room:leave': 16, typing: 32, cluster: 64 };
const MESSAGE_TYPES = ['text', 'image', 'file', 'system'];
/** How many connections of others `shutdown` names. */
const OTHERS_NAMED = 10;
/** How often a process whose HTTP server is closed looks whether its clients are gone. */
const LINGER_CHECK_MS = 250;
class WebSocketService extends Operators {
  #config;
  #native;
  #reads;
  /** What the native side shows without being asked. */
  #signs;
  #gateway;
  #users;
  #rooms;
  #messages;
  /** Socket id → `AuthenticatedSocket`, for those that JavaScript has asked for. */
  #sockets = new Map();
  /** How values are encoded. */
  #encoding;
  /** Acknowledgements that expired because too many were awaited. */
  #expiredAcks = 0;
  /** Sockets of which some did; each is told of once. */
  #overAsked = new WeakSet();
  #localSockets = new Map();
  #middleware = [];
  #initialized = false;
  #mock = false;
  #unhook = () => {};
  #httpServer;
  #hearing;
  #cluster;
  #operations = new Operations();
  #shutdown;
  /** The promise of `shutdown` is about to resolve. Until then every call works, or does nothing. */
  #isClosed = false;
  /** Sockets that left while `handleDisconnection` is overridden: it still has to be told. */
  #departing = new Map();
  /** Sockets that `handleDisconnection` is just disconnecting: it need not be told of them. */
  #disconnecting = new Set();

  constructor(config) {
    super();
    this.#config = resolveConfig(config);
    // Weak, so that a service that nobody uses any more can be collected. No function in here may use `this`.
    const self = new WeakRef(this);
    this.#signs = Buffer.alloc(SIGNS.bytes);
    this.#native = startNative(this.#config, () => self.deref()?.#woken(), this.#signs);
    this.#reads = new Reads(this.#native);
    this.#encoding = new Encoding(this.#config.limits.maxDepth ?? MAX_DEPTH, this.#config.redis !== undefined);
    this.#users = new Users(this.#native, this.#reads, this.#signs);
    this.#rooms = new Rooms(this.#native, this.#reads, this.#encoding);
    this.#messages = new Messages(this.#native, this.#reads);
    this.#gateway = new Gateway(this.#native, this.#config, this.#operations);
    this.#cluster = new Cluster(this.#native, this.#operations, this.#encoding);
    const readEvent = eventReader(this.#handlers(), this.#users, this.#rooms, this.#messages);
    this.#hearing = new Hearing(this.#native, this.#signs, readEvent, report);
    this.#reads.heardBy(this.#hearing);
    this.#lend();
  }

  /** Gives the parent classes what they need. */
  #lend() {
    watchListeners(this, () => this.#refreshListening());
    lend(this, {
      native: this.#native,
      reads: this.#reads,
      encoding: this.#encoding,
      cluster: this.#cluster,
      localSockets: this.#localSockets,
      socket: (socketId) => this.#socket(socketId),
      assertOpen: () => this.#assertOpen(),
      log: (event, target) => this.#log(event, target),
      report,
    });
  }

  // --- start and end -------------------------------------------------------------------------------------------------

  initialize(httpServer) {
    if (this.#initialized) throw new WebSocketServiceError('ERR_ALREADY_INITIALIZED', 'The service is initialized already');
    this.#assertOpen();
    if (this.#shutdown) return;
    if (httpServer === undefined || httpServer === null) {
      this.#initialized = true;
      this.#mock = true;
      this.#config.logger.warn('WebSocketService runs in mock mode: no HTTP server was given, broadcasts are only logged');
      return;
    }
    if (!(httpServer instanceof http.Server || httpServer instanceof https.Server)) {
      const allowed = 'an http.Server or https.Server (HTTP/2 alone cannot carry WebSocket here)';
      throw invalidArgument('httpServer', httpServer, allowed, serverOf(httpServer));
    }
    this.#gateway.owner = this;
    this.#unhook = hook(httpServer, this.#gateway);
    httpServer.once('close', () => this.#stayWhileConnected());
    this.#initialized = true;
    this.#httpServer = httpServer;
    this.#refreshAdmission();
    this.#refreshListening();
  }

  shutdown() {
    this.#shutdown ??= this.#end();
    return this.#shutdown;
  }

  /** An HTTP server that the application closed waits for its clients, as far as the process goes. */
  #stayWhileConnected() {
    if (this.#shutdown || !this.#native.hasSockets()) return;
    setTimeout(() => this.#stayWhileConnected(), LINGER_CHECK_MS);
  }

  async #end() {
    this.#cluster.leave();
    await this.#operations.run((id) => this.#native.shutdown(id));
    this.#hear();
    this.#cluster.close();
    this.#gateway.close();
    if (this.#httpServer) this.#warnOfOthers(await closeServer(this.#httpServer, this.#gateway));
    this.#unhook();
    // Until everything that happened has been told.
    await this.#operations.run((id) => this.#native.mark(id));
    this.#operations.close();
    this.#native.release();
    this.#isClosed = true;
  }

  #warnOfOthers(left) {
    if (left.length === 0) return;
    const named = left.slice(0, OTHERS_NAMED).map(({ address, path, isUpgraded }) => `${address} ${path}${isUpgraded ? ' (upgraded)' : ''}`);
    const more = left.length > named.length ? ', …' : '';
    this.#config.logger.warn(
      `shutdown has left ${left.length} connections of the HTTP server that are not the service's to their owners: ${named.join(', ')}${more}`,
    );
  }

  /** Resolves when the cluster has been joined; at once without one. */
  async ready() {
    this.#assertOpen();
    await this.#cluster.ready();
  }

  use(middleware) {
    if (typeof middleware !== 'function') throw invalidArgument('middleware', middleware, 'a function');
    this.#middleware.push(middleware);
    this.#refreshAdmission();
    return this;
  }

  // --- connections ---------------------------------------------------------------------------------------------------

  async handleConnection(socket) {
    localSocket.assertSocket(socket);
    this.#assertOpen();
    if (this.#shutdown) return;
    const { id } = socket;
    const username = socket.user?.username ?? socket.handshake?.query?.username;
    const name = typeof username === 'string' ? username : undefined;
    const userId = converted(() => String(socket.userId ?? id));
    const profile = this.#profileText(socket);
    if (socket instanceof NativeSocket) {
      if (this.#native.isConnected(id)) return;
      Object.assign(this.#users.record(id) ?? {}, { userId, username: name, profile: socket.user });
      if (!this.#native.register(id, userId, name, profile)) throw new WebSocketServiceError('ERR_NOT_FOUND', 'User not found');
    } else {
      if (this.#localSockets.get(id) === socket) return;
      const handshake = localSocket.handshakeText(socket);
      if (!this.#native.registerLocal(id, userId, name, handshake, profile)) {
        throw invalidArgument('socket.id', id, 'the id of no connected socket');
      }
      this.#users.remember({ socketId: id, userId, username: name, handshake, connectedAt: Date.now(), profile: socket.user });
      this.#adoptLocal(socket);
    }
    socket.user = this.#users.get(id);
    this.#hear();
  }

  /** What other instances are told of a user. */
  #profileText(socket) {
    return this.#cluster.isJoined ? profileText(socket.user, socket.handshake?.query) : undefined;
  }

  #adoptLocal(socket) {
    this.#localSockets.set(socket.id, socket);
    this.#sockets.set(socket.id, socket);
    this.#native.hear(socket.id, undefined, false);
    const events = ['room:join', 'room:leave', 'message', 'typing', ...this.#config.relayEvents];
    localSocket.listen(socket, events, this.#native, this.#encoding, (answer) => this.#operations.expect(answer));
    socket.on?.('disconnect', (reason) => void this.handleDisconnection(socket.id, reason));
  }

  async handleDisconnection(socketId, reason = 'server namespace disconnect') {
    assertString('socketId', socketId);
    assertString('reason', reason);
    const departed = this.#departing.get(socketId);
    if (departed) {
      this.#departing.delete(socketId);
      this.#announce('disconnect', departed.user, reason);
      return;
    }
    this.#disconnecting.add(socketId);
    this.#native.disconnect(socketId, reason, true);
    this.#hear();
    this.#disconnecting.delete(socketId);
    await this.#delivered();
  }

  getUser(socketId) {
    assertString('socketId', socketId);
    const departing = this.#departing.size > 0 ? this.#departing.get(socketId) : undefined;
    return departing?.user ?? this.#users.get(socketId);
  }

  getConnectedUsers() {
    return this.#usersOf(this.#reads.users());
  }

  isUserOnline(userId) {
    assertString('userId', userId);
    return this.#users.isOnline(userId);
  }

  getUserSockets(userId) {
    assertString('userId', userId);
    return this.#reads.socketsOf(userId);
  }

  getSocket(socketId) {
    assertString('socketId', socketId);
    if (!this.#reads.isConnected(socketId)) return undefined;
    return this.#socket(socketId);
  }

  #socket(socketId) {
    let socket = this.#sockets.get(socketId);
    if (socket === undefined) {
      const record = this.#users.record(socketId);
      if (record === undefined) return undefined;
      socket = this.#nativeSocket(socketId, record.handshake);
      socket.user = this.#users.of(socketId);
      if (record.userId !== socketId) socket.userId = record.userId;
      this.#sockets.set(socketId, socket);
    }
    return socket;
  }

  #nativeSocket(socketId, handshake) {
    const socket = new NativeSocket(this.#native, this.#reads, socketId, handshake, {
      encoding: this.#encoding,
      expired: () => this.#ackExpired(socket),
    });
    return socket;
  }

  #ackExpired(socket) {
    this.#expiredAcks += 1;
    if (this.#overAsked.has(socket)) return;
    this.#overAsked.add(socket);
    this.#config.logger.warn(`Socket ${socket.id} leaves too many events unacknowledged: the oldest are awaited no longer`);
  }

  // --- rooms ---------------------------------------------------------------------------------------------------------

  async createRoom(name, namespace = 'default', createdBy, metadata) {
    assertString('name', name);
    assertString('namespace', namespace);
    if (createdBy !== undefined && createdBy !== null) assertString('createdBy', createdBy);
    assertMetadata(metadata);
    this.#assertOpen();
    const room = this.#rooms.create(name, namespace, createdBy ?? undefined, metadata ?? undefined);
    this.#announce('room:create', room);
    if (this.#cluster.isJoined) await this.#cluster.published();
    return room;
  }

  getRoom(roomId) {
    assertString('roomId', roomId);
    return this.#rooms.get(roomId);
  }

  listRooms(namespace) {
    if (namespace !== undefined) assertString('namespace', namespace);
    return this.#rooms.list(namespace);
  }

  async joinRoom(socketId, roomId) {
    assertString('socketId', socketId);
    assertString('roomId', roomId);
    this.#assertOpen();
    const failure = this.#native.joinRoom(socketId, roomId);
    if (failure && this.#cluster.isJoined) {
      await this.#cluster.ask((id) => this.#native.joinRoomAnywhere(id, socketId, roomId));
    } else if (failure) {
      throw new WebSocketServiceError('ERR_NOT_FOUND', failure);
    }
    await this.#localSockets.get(socketId)?.join?.(roomId);
    await this.#happened();
  }

  async leaveRoom(socketId, roomId) {
    assertString('socketId', socketId);
    assertString('roomId', roomId);
    if (this.#cluster.isJoined && !this.#native.isConnected(socketId)) {
      await this.#cluster.ask((id) => this.#native.leaveRoomAnywhere(id, socketId, roomId));
    } else {
      this.#native.leaveRoom(socketId, roomId);
    }
    await this.#localSockets.get(socketId)?.leave?.(roomId);
    await this.#happened();
  }

  async deleteRoom(roomId) {
    assertString('roomId', roomId);
    const room = this.#rooms.get(roomId);
    const members = room && this.#localSockets.size > 0 ? [...room.members] : [];
    this.#rooms.delete(roomId);
    this.#messages.forget(roomId);
    this.#hear();
    // At once, for everybody can see already that the room is gone.
    if (room) this.#announce('room:delete', room);
    for (const id of members) await this.#localSockets.get(id)?.leave?.(roomId);
  }

  getRoomMembers(roomId) {
    assertString('roomId', roomId);
    return this.#usersOf(this.#reads.roomMembers(roomId));
  }

  #usersOf(socketIds) {
    return socketIds.map((id) => this.#users.of(id)).filter((user) => user !== undefined);
  }

  // --- messages ------------------------------------------------------------------------------------------------------

  async sendMessage(roomId, userId, content, type = 'text', metadata) {
    assertString('roomId', roomId);
    assertString('userId', userId);
    assertString('content', content);
    if (!MESSAGE_TYPES.includes(type)) throw invalidArgument('type', type, `one of ${MESSAGE_TYPES.join(', ')}`);
    assertMetadata(metadata);
    this.#assertOpen();
    const { text, attachments } = metadata ? this.#encoding.args([metadata], 'metadata') : { attachments: [] };
    const stored = new Fields(
      this.#native.sendMessage(roomId, userId, JSON.stringify(content), type, text?.slice(1, -1), attachments),
    );
    if (stored.done) throw new WebSocketServiceError('ERR_NOT_FOUND', 'Room not found');
    const first = stored.next();
    const message = this.#messages.read(roomId, stored, first);
    // The caller's own object, as it would be without a wire in between.
    if (metadata) message.metadata = metadata;
    if (this.#config.deliverMessages) this.#log('message', roomId);
    await this.#happened('room', [roomId]);
    return message;
  }

  getRoomMessages(roomId, limit = 50, offset = 0) {
    assertString('roomId', roomId);
    assertCount('limit', limit);
    assertCount('offset', offset);
    return this.#messages.page(roomId, limit, offset);
  }

  // --- broadcasts ----------------------------------------------------------------------------------------------------

  async broadcastToRoom(roomId, event, data, options) {
    assertString('roomId', roomId);
    const { text, attachments } = this.#encode(event, data);
    const filter = filterOf(options);
    if (!this.#native.broadcastToRoom(roomId, text, attachments, filter)) {
      throw new WebSocketServiceError('ERR_NOT_FOUND', 'Room not found');
    }
    this.#log(event, roomId);
    await this.#delivered('room', [roomId], filter);
  }

  async broadcastToUsers(userIds, event, data) {
    assertStrings('userIds', userIds);
    const { text, attachments } = this.#encode(event, data);
    this.#native.broadcastToUsers(userIds, text, attachments);
    this.#log(event, userIds);
    await this.#delivered('users', userIds);
  }

  async broadcastToAll(event, data, options) {
    const { text, attachments } = this.#encode(event, data);
    const filter = filterOf(options);
    this.#native.broadcastToAll(text, attachments, filter);
    this.#log(event, 'all');
    await this.#delivered('everyone', [], filter);
  }

  async emitToSocket(socketId, event, data) {
    assertString('socketId', socketId);
    const { text, attachments } = this.#encode(event, data);
    const isHere = this.#native.emit(socketId, text, attachments, undefined, false);
    if (!isHere && this.#cluster.isJoined) this.#native.emitElsewhere(socketId, text, attachments);
    this.#log(event, socketId);
    await this.#delivered('socket', [socketId]);
  }

  #encode(event, data) {
    assertEventName(event);
    this.#assertOpen();
    return this.#encoding.args([event, data]);
  }

  #log(event, target) {
    if (this.#mock) this.#config.logger.debug('mock broadcast', { event, target });
  }

  // --- statistics and maintenance --------------------------------------------------------------------------------------

  getStats() {
    const cluster = this.#cluster.state();
    const expired = this.#expiredAcks;
    return { ...this.#figures(), ...(expired > 0 && { expiredAcks: expired }), ...(cluster && { cluster }) };
  }

  getClusterStats() {
    return this.#cluster.stats(this.#figures(), this.#reads.otherStats());
  }

  #figures() {
    const [totalConnections, activeConnections, totalRooms, messagesPerMinute, bytesPerMinute, avgLatency] =
      this.#reads.stats();
    return { totalConnections, activeConnections, totalRooms, messagesPerMinute, bytesPerMinute, avgLatency };
  }

  getRoomStats(roomId) {
    assertString('roomId', roomId);
    const [memberCount, messageCount, createdAt, lastActivity] = this.#reads.roomStats(roomId);
    if (memberCount === undefined) return null;
    return { roomId, memberCount, messageCount, createdAt: new Date(createdAt), lastActivity: new Date(lastActivity) };
  }

  async disconnectUser(userId, reason = 'server namespace disconnect') {
    assertString('userId', userId);
    assertString('reason', reason);
    this.#native.disconnectUser(userId, reason);
    if (this.#cluster.isJoined) {
      await this.#cluster.ask((id) => this.#native.disconnectUserElsewhere(id, userId, reason));
    }
    await this.#happened();
  }

  async cleanup(inactiveMinutes = 30) {
    if (!(Number.isFinite(inactiveMinutes) && inactiveMinutes >= 0)) {
      throw invalidArgument('inactiveMinutes', inactiveMinutes, 'a number of minutes, at least 0');
    }
    this.#native.setTime(Date.now());
    const closedSockets = this.#native.cleanup(inactiveMinutes * 60_000);
    await this.#happened();
    return closedSockets;
  }

  /** As Node.js, but an `error` that nobody listens to is logged instead of thrown. */
  emit(event, ...args) {
    if (event !== 'error' || this.listenerCount('error') > 0) return super.emit(event, ...args);
    this.#config.logger.error(...args);
    return false;
  }

  #refreshListening() {
    let kinds = this.#overrides('handleDisconnection') ? CROSSING.disconnect : 0;
    for (const [event, bit] of Object.entries(CROSSING)) if (this.listenerCount(event) > 0) kinds |= bit;
    this.#native.listen(kinds);
  }

  #refreshAdmission() {
    this.#native.setAdmits(this.#middleware.length > 0 || this.#overrides('handleConnection'));
  }

  #overrides(method) {
    return this[method] !== WebSocketService.prototype[method];
  }

  // --- what happened on the native side --------------------------------------------------------------------------------

  /** The native side has something to tell. */
  #woken() {
    this.#native.setTime(Date.now());
    this.#hearing.woken();
  }

  /** Hears what has happened; callers that caused something hear of it before they go on. */
  #hear() {
    this.#native.setTime(Date.now());
    this.#hearing.hear();
  }

  /** Hears what a call has caused, deliveries to socket objects in JavaScript included. */
  async #happened(...targets) {
    this.#hear();
    if (this.#hearing.isBehind) await this.#operations.run((id) => this.#native.mark(id));
    await this.#delivered(...targets);
  }

  /**
   * Waits for deliveries where they are seen at once, where many are on their way, and where clients are slow to read
   * to whom something was sent: those of `scope`, `names` and `filter`.
   */
  async #delivered(scope, names, filter) {
    const isCongested = this.#native.isCongested();
    if (this.#localSockets.size === 0 && !isCongested) return;
    const eases = isCongested && scope !== undefined;
    await this.#operations.run((id) => (eases ? this.#native.ease(id, scope, names, filter) : this.#native.flush(id)));
    this.#hear();
  }

  /** What each kind of event of the native side leads to. */
  #handlers() {
    return {
      connection: (socketId) => this.#connected(socketId),
      disconnect: (...event) => this.#disconnected(...event),
      abandoned: (socketId) => this.#forget(socketId),
      admission: (key, record) => void this.#admit(key, record),
      message: (message) => this.#announce('message', message),
      roomJoin: (user, room) => this.#announce('room:join', { user, room }),
      roomLeave: (user, room) => this.#announce('room:leave', { user, room }),
      typing: (user, room, isTyping) => this.#announce('typing', { user, room, isTyping }),
      client: (...event) => this.#clientEvent(...event),
      ack: (socketId, ...answer) => this.#acknowledged(socketId, ...answer),
      ackRefused: (socketId, ...refusal) => this.#ackRefused(socketId, ...refusal),
      deliver: (socketId, args) => localSocket.deliver(this.#localSockets.get(socketId), args),
      room: () => {},
      roomForgotten: (roomId) => this.#roomForgotten(roomId),
      cluster: (status) => this.#announce('cluster', status),
      serverSide: (text, ackNumber) => this.#serverSide(text, ackNumber),
      dataWanted: (number, ids) => this.#cluster.giveData(number, ids.map((id) => this.#sockets.get(id))),
      answered: (...answer) => this.#cluster.answered(...answer),
      failed: (...failure) => this.#cluster.failed(...failure),
      done: (id, args) => this.#operations.finish(id, args),
      reply: (...reply) => this.#gateway.reply(...reply),
      bridgeWrite: (id, bytes) => this.#gateway.write(id, bytes),
      bridgeEnd: (id, atOnce) => this.#gateway.end(id, atOnce),
      warning: (text) => this.#config.logger.warn(text),
      fault: (code, message) => this.emit('error', new WebSocketServiceError(code, message)),
    };
  }

  #connected(socketId) {
    this.#native.publish(socketId);
    this.#announce('connection', this.#users.of(socketId));
    this.#native.settle(socketId);
  }

  #disconnected(socketId, reason, rooms) {
    const user = this.#users.of(socketId);
    const socket = this.#sockets.get(socketId);
    if (socket instanceof NativeSocket) internals.disconnected(socket, reason, rooms, report);
    this.#forget(socketId);
    if (this.#overrides('handleDisconnection') && !this.#disconnecting.delete(socketId)) {
      this.#departing.set(socketId, { user });
      Promise.resolve(this.handleDisconnection(socketId, reason))
        .catch(report)
        .finally(() => this.#departing.delete(socketId));
    } else {
      this.#announce('disconnect', user, reason);
    }
  }

  #forget(socketId) {
    this.#sockets.delete(socketId);
    this.#localSockets.delete(socketId);
    this.#users.forget(socketId);
  }

  /** Another instance has deleted a room. */
  #roomForgotten(roomId) {
    this.#rooms.forget(roomId);
    this.#messages.forget(roomId);
    for (const socket of this.#localSockets.values()) if (socket.rooms?.has?.(roomId)) socket.leave?.(roomId);
  }

  #serverSide(text, ackNumber) {
    const [event, args] = this.#cluster.incoming(text, ackNumber, this.#config.logger) ?? [];
    if (event !== undefined) this.#announce(event, ...args);
  }

  #clientEvent(socketId, text, ackId, attachments) {
    const socket = this.#sockets.get(socketId);
    if (socket instanceof NativeSocket && !internals.dispatch(socket, text, attachments, ackId, report)) {
      this.#native.close(socketId, 'parse error');
    }
  }

  #acknowledged(socketId, ...answer) {
    const socket = this.#sockets.get(socketId);
    if (socket instanceof NativeSocket) internals.acknowledged(socket, ...answer, report);
  }

  #ackRefused(socketId, ...refusal) {
    const socket = this.#sockets.get(socketId);
    if (socket instanceof NativeSocket) internals.ackRefused(socket, ...refusal);
  }

  /** Asks middleware and an overridden `handleConnection` about a connection. */
  async #admit(key, record) {
    const { socketId } = record;
    const socket = this.#nativeSocket(socketId, record.handshake);
    this.#users.remember(record);
    this.#sockets.set(socketId, socket);
    let profile;
    try {
      await runMiddleware(this.#middleware, socket);
      if (this.#overrides('handleConnection')) await this.handleConnection(socket);
      if (!this.#native.isConnected(socketId)) {
        const username = socket.user?.username ?? socket.handshake.query.username;
        record.userId = String(socket.userId ?? socketId);
        record.username = typeof username === 'string' ? username : undefined;
        record.profile = socket.user;
        profile = this.#profileText(socket);
        socket.user = this.#users.of(socketId);
      }
      this.#native.accept(key, socketId, record.userId, record.username, profile);
    } catch (error) {
      const { message, data } = refusalOf(error);
      this.#native.refuse(key, socketId, message, data);
    }
  }

  /** Tells each listener; one that throws stops nobody else. */
  #announce(event, ...args) {
    for (const listener of this.rawListeners(event)) attempt(report, () => listener.apply(this, args));
  }

  /** Begins every call that does something. Tests move JavaScript's clock, and what they call is to follow it. */
  #assertOpen() {
    this.#native.setTime(Date.now());
    if (this.#isClosed) throw new WebSocketServiceError('ERR_CLOSED', 'The service has been shut down');
  }
}

/** Starts the native side. What fails then is the machine: the options are checked. */
function startNative(config, wake, signs) {
  const text = nativeConfig(config);
  try {
    return new NativeService(text, wake, signs);
  } catch (error) {
    throw new WebSocketServiceError('ERR_NATIVE', `The native side could not be started: ${error.message}`);
  }
}

/** Reports an exception of a listener as Node.js reports one that nobody caught. */
function report(error) {
  nextTick(() => {
    throw error;
  });
}

module.exports = { WebSocketService };
