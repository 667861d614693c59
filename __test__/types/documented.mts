// The examples of the documentation, as they are. Compiled, never run.

import { createServer } from 'http';
import { WebSocketService } from 'native-websocket-service';

const httpServer = createServer();

const wsService = new WebSocketService({
  path: '/socket.io',
  cors: {
    origin: '*',
    credentials: true,
  },
  redis: {
    host: process.env.REDIS_HOST || 'localhost',
    port: parseInt(process.env.REDIS_PORT || '6379'),
    password: process.env.REDIS_PASSWORD,
  },
  pingTimeout: 60000,
  pingInterval: 25000,
  maxHttpBufferSize: 1e6, // 1MB
});

wsService.initialize(httpServer);
httpServer.listen(3000);

declare const socketId: string, roomId: string, userId: string, senderSocketId: string, messageData: unknown;

await wsService.handleDisconnection(socketId, 'client_disconnect');
const user = wsService.getUser(socketId);
if (user) {
  console.log(user.username, user.email);
}
const users = wsService.getConnectedUsers();
console.log(`${users.length} users online`);
if (wsService.isUserOnline(userId)) {
  console.log('User is online');
}
const sockets = wsService.getUserSockets(userId);
console.log(`User has ${sockets.length} active connections`);
const created = await wsService.createRoom('general-chat', 'default', userId, {
  topic: 'General Discussion',
  public: true,
});
const room = wsService.getRoom(roomId);
if (room) {
  console.log(room.name, room.members.size, created.id);
}
const chatRooms = wsService.listRooms('chat');
const members = wsService.getRoomMembers(roomId);
members.forEach((user) => console.log(user.username, chatRooms.length));
const message = await wsService.sendMessage(roomId, userId, 'Hello everyone!', 'text', { edited: false });
const recentMessages = wsService.getRoomMessages(roomId, 50); // Last 50 messages
const older = wsService.getRoomMessages(roomId, 50, 50); // 50 messages, skip last 50
console.log(message.id, recentMessages.length, older.length);
await wsService.broadcastToRoom('room-123', 'user:joined', {
  username: 'Alice',
  timestamp: new Date(),
});
await wsService.broadcastToRoom('room-123', 'message', messageData, {
  except: [senderSocketId],
});
await wsService.broadcastToUsers([userId], 'notification', { type: 'friend_request', from: 'Alice' });
await wsService.broadcastToAll('system:announcement', {
  message: 'Server maintenance in 5 minutes',
});
await wsService.emitToSocket(socketId, 'private:message', {
  from: 'Admin',
  content: 'Welcome!',
});
const stats = wsService.getStats();
console.log(`
  Total connections: ${stats.totalConnections}
  Active connections: ${stats.activeConnections}
  Total rooms: ${stats.totalRooms}
`);
const roomStats = wsService.getRoomStats(roomId);
if (roomStats) {
  console.log(`
    Members: ${roomStats.memberCount}
    Messages: ${roomStats.messageCount}
    Created: ${roomStats.createdAt}
    Last activity: ${roomStats.lastActivity}
  `);
}
await wsService.disconnectUser(userId, 'violation_of_terms');
const cleaned = await wsService.cleanup(30); // Remove connections inactive for 30+ minutes
console.log(`Cleaned ${cleaned} inactive connections`);
await wsService.shutdown();

wsService.on('connection', (user) => {
  console.log(`User connected: ${user.username}`);
});
wsService.on('disconnect', (user, reason) => {
  console.log(`User disconnected: ${user.username} (${reason})`);
});
wsService.on('message', (message) => {
  console.log(`Message in ${message.roomId}: ${message.content}`);
});
wsService.on('room:join', ({ user, room }) => {
  console.log(`${user.username} joined ${room.name}`);
});
wsService.on('room:leave', ({ user, room }) => {
  console.log(`${user.username} left ${room.name}`);
});
