// Peers A and B: the documented service on `socket.io`, single instance, written the way such a module is written:
// an EventEmitter, Maps, and `io.to(room).emit`. It owns the semantics that the native service is compared with. With
// the option `adapter` it has other instances beside it; a room exists where it was created.

import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { Server } from 'socket.io';

const MESSAGE_TYPES = new Set(['text', 'image', 'file', 'system']);
const STATS_WINDOW_MS = 60_000;

export class WebSocketService extends EventEmitter {
  #io;
  #users = new Map(); // socket id → user
  #socketsByUser = new Map(); // user id → Set of socket ids
  #rooms = new Map();
  #messages = new Map(); // room id → messages, oldest first
  #recent = []; // times of the messages of the last minute
  #totalConnections = 0;

  constructor(config = {}) {
    super();
    this.config = {
      path: '/socket.io',
      cors: { origin: '*', credentials: true },
      pingTimeout: 60_000,
      pingInterval: 25_000,
      maxHttpBufferSize: 1e6,
      quietJoins: false, // for the benchmark alone: nobody hears of joins and leaves
      ...config,
    };
  }

  initialize(httpServer) {
    this.serve(new Server(httpServer, this.config));
  }

  /** Serves on a Socket.IO server, whatever it is attached to. */
  serve(io) {
    this.#io = io;
    io.on('connection', (socket) => this.handleConnection(socket));
  }

  use(middleware) {
    this.#io.use(middleware);
  }

  async handleConnection(socket) {
    const { username, email } = socket.handshake.query;
    const now = new Date();
    const user = {
      id: socket.userId ?? socket.id,
      socketId: socket.id,
      username: socket.user?.username ?? username,
      email: socket.user?.email ?? email,
      roles: socket.user?.roles,
      metadata: socket.user?.metadata,
      connectedAt: now,
      lastActivity: now,
    };
    this.#users.set(socket.id, user);
    const sockets = this.#socketsByUser.get(user.id) ?? new Set();
    this.#socketsByUser.set(user.id, sockets.add(socket.id));
    this.#totalConnections += 1;
    this.#listen(socket, user);
    // Its end has taken it out of the rooms of the service, and told so; Socket.IO has put it back into its own.
    const rooms = socket.recovered ? [...socket.rooms].filter((roomId) => this.#rooms.has(roomId)) : [];
    for (const roomId of rooms) await this.joinRoom(socket.id, roomId);
    this.emit('connection', user);
  }

  #listen(socket, user) {
    const handle = (event, failure, action) => {
      socket.on(event, async (data, ack) => {
        user.lastActivity = new Date();
        try {
          await action(data);
          if (typeof ack === 'function') ack({ ok: true });
        } catch (error) {
          socket.emit('error', { message: failure, event, roomId: data?.roomId });
          if (typeof ack === 'function') ack({ ok: false, error: { message: error.message } });
        }
      });
    };
    handle('room:join', 'Failed to join room', ({ roomId }) => this.joinRoom(socket.id, roomId));
    handle('room:leave', 'Failed to leave room', ({ roomId }) => this.leaveRoom(socket.id, roomId));
    handle('message', 'Failed to send message', ({ roomId, content, type, metadata }) => {
      this.#requireMember(socket.id, roomId);
      return this.#deliver(roomId, user.id, user.username, content, type, metadata);
    });
    handle('typing', 'Failed to send typing', ({ roomId, isTyping }) => {
      this.#requireMember(socket.id, roomId);
      const { id: userId, username } = user;
      socket.to(roomId).emit('typing', { userId, username, roomId, isTyping, timestamp: new Date() });
    });
    handle('document:edit', 'Failed to edit', (data) => {
      this.#requireMember(socket.id, data.roomId);
      socket.to(data.roomId).emit('document:edit', { ...data, userId: user.id, username: user.username });
    });
    socket.on('disconnect', (reason) => this.handleDisconnection(socket.id, reason));
  }

  #requireMember(socketId, roomId) {
    if (!this.#rooms.get(roomId)?.members.has(socketId)) throw new Error('Not a member of the room');
  }

  async handleDisconnection(socketId, reason) {
    const user = this.#users.get(socketId);
    if (!user) return;
    for (const room of this.#rooms.values()) {
      if (room.members.has(socketId)) await this.leaveRoom(socketId, room.id);
    }
    this.#users.delete(socketId);
    const sockets = this.#socketsByUser.get(user.id);
    sockets?.delete(socketId);
    if (sockets?.size === 0) this.#socketsByUser.delete(user.id);
    this.emit('disconnect', user, reason);
  }

  getUser(socketId) {
    return this.#users.get(socketId);
  }

  getConnectedUsers() {
    return [...this.#users.values()];
  }

  isUserOnline(userId) {
    return this.#socketsByUser.has(userId);
  }

  getUserSockets(userId) {
    return [...(this.#socketsByUser.get(userId) ?? [])];
  }

  async createRoom(name, namespace = 'default', createdBy, metadata) {
    return this.#keepRoom(randomUUID(), name, namespace, createdBy, metadata);
  }

  /** Makes a room of another instance exist here, so that clients can join it; the service itself has no way to. */
  adoptRoom(roomId) {
    this.#keepRoom(roomId, roomId, 'default');
  }

  #keepRoom(id, name, namespace, createdBy, metadata) {
    const room = {
      id,
      name,
      namespace,
      members: new Set(),
      metadata,
      createdAt: new Date(),
      createdBy,
    };
    this.#rooms.set(room.id, room);
    this.#messages.set(room.id, []);
    this.emit('room:create', room);
    return room;
  }

  getRoom(roomId) {
    return this.#rooms.get(roomId);
  }

  listRooms(namespace) {
    const rooms = [...this.#rooms.values()];
    return namespace === undefined ? rooms : rooms.filter((room) => room.namespace === namespace);
  }

  getRoomMembers(roomId) {
    const members = this.#rooms.get(roomId)?.members ?? [];
    return [...members].map((socketId) => this.#users.get(socketId)).filter(Boolean);
  }

  async joinRoom(socketId, roomId) {
    const user = this.#users.get(socketId);
    const room = this.#rooms.get(roomId);
    if (!user || !room) throw new Error('User or room not found');
    if (room.members.has(socketId)) return;
    room.members.add(socketId);
    this.#io.sockets.sockets.get(socketId)?.join(roomId);
    this.#announce('user:joined', user, roomId);
    this.emit('room:join', { user, room });
  }

  async leaveRoom(socketId, roomId) {
    const user = this.#users.get(socketId);
    const room = this.#rooms.get(roomId);
    if (!user || !room?.members.delete(socketId)) return;
    this.#io.sockets.sockets.get(socketId)?.leave(roomId);
    this.#announce('user:left', user, roomId);
    this.emit('room:leave', { user, room });
  }

  #announce(event, { id: userId, username, socketId }, roomId) {
    if (this.config.quietJoins) return;
    const data = { userId, username, socketId, roomId, timestamp: new Date() };
    this.#io.to(roomId).except(socketId).emit(event, data);
  }

  async deleteRoom(roomId) {
    const room = this.#rooms.get(roomId);
    if (!room) return;
    this.#rooms.delete(roomId);
    this.#messages.delete(roomId);
    this.#io.in(roomId).socketsLeave(roomId);
    this.emit('room:delete', room);
  }

  async sendMessage(roomId, userId, content, type = 'text', metadata) {
    const [socketId] = this.#socketsByUser.get(userId) ?? [];
    return this.#deliver(roomId, userId, this.#users.get(socketId)?.username, content, type, metadata);
  }

  async #deliver(roomId, userId, username, content, type = 'text', metadata) {
    const messages = this.#messages.get(roomId);
    if (!messages) throw new Error('Room not found');
    if (typeof content !== 'string' || !MESSAGE_TYPES.has(type)) throw new TypeError('Invalid message');
    const timestamp = new Date();
    const message = { id: randomUUID(), roomId, userId, username, content, type, metadata, timestamp };
    messages.push(message);
    this.#recent.push(timestamp.getTime());
    this.#io.to(roomId).emit('message', message);
    this.emit('message', message);
    return message;
  }

  getRoomMessages(roomId, limit = 50, offset = 0) {
    const messages = this.#messages.get(roomId) ?? [];
    const end = messages.length - offset;
    return messages.slice(Math.max(0, end - limit), Math.max(0, end)).reverse();
  }

  async broadcastToRoom(roomId, event, data, { except = [] } = {}) {
    if (!this.#rooms.has(roomId)) throw new Error('Room not found');
    this.#io.to(roomId).except(except).emit(event, data);
  }

  async broadcastToUsers(userIds, event, data) {
    const sockets = userIds.flatMap((userId) => this.getUserSockets(userId));
    if (sockets.length > 0) this.#io.to(sockets).emit(event, data);
  }

  async broadcastToAll(event, data, { except = [] } = {}) {
    this.#io.except(except).emit(event, data);
  }

  async emitToSocket(socketId, event, data) {
    this.#io.to(socketId).emit(event, data);
  }

  getStats() {
    const since = Date.now() - STATS_WINDOW_MS;
    this.#recent = this.#recent.filter((time) => time >= since);
    return {
      totalConnections: this.#totalConnections,
      activeConnections: this.#users.size,
      totalRooms: this.#rooms.size,
      messagesPerMinute: this.#recent.length,
    };
  }

  getRoomStats(roomId) {
    const room = this.#rooms.get(roomId);
    if (!room) return null;
    const messages = this.#messages.get(roomId);
    return {
      roomId,
      memberCount: room.members.size,
      messageCount: messages.length,
      createdAt: room.createdAt,
      lastActivity: messages.at(-1)?.timestamp ?? room.createdAt,
    };
  }

  async disconnectUser(userId, reason) {
    for (const socketId of this.getUserSockets(userId)) {
      await this.handleDisconnection(socketId, reason);
      this.#io.sockets.sockets.get(socketId)?.disconnect(true);
    }
  }

  async cleanup(inactiveMinutes = 30) {
    const since = Date.now() - inactiveMinutes * 60_000;
    const inactive = this.getConnectedUsers().filter((user) => user.lastActivity.getTime() < since);
    for (const { socketId } of inactive) {
      await this.handleDisconnection(socketId, 'inactive');
      this.#io.sockets.sockets.get(socketId)?.disconnect(true);
    }
    return inactive.length;
  }

  async shutdown() {
    for (const { socketId } of this.getConnectedUsers()) {
      await this.handleDisconnection(socketId, 'server_shutdown');
    }
    await this.#io.close();
  }
}
