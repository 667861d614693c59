// Clients prove who they are with a JSON Web Token: `io(url, { auth: { token } })`. Run it with
// `node examples/jwt.mjs`; it connects one client with a token and one without. Outside of a clone of the repository it
// needs `npm install native-websocket-service socket.io-client jsonwebtoken`.
import { createServer } from 'node:http';
import { once } from 'node:events';
import jwt from 'jsonwebtoken';
import { io } from 'socket.io-client';
import { WebSocketService } from 'native-websocket-service';

const secret = process.env.JWT_SECRET ?? 'only for this example';
const httpServer = createServer();
const wsService = new WebSocketService();

wsService.use((socket, next) => {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, secret, { algorithms: ['HS256'] });
    socket.userId = claims.sub;
    socket.user = { username: claims.name, roles: claims.roles };
    next();
  } catch {
    next(Object.assign(new Error('Please sign in'), { data: { code: 'ERR_UNAUTHORIZED' } }));
  }
});

wsService.on('connection', (user) => console.log('let in:', user.id, user.username, user.roles));

wsService.initialize(httpServer);
await once(httpServer.listen(0), 'listening');
const url = `http://localhost:${httpServer.address().port}`;

const token = jwt.sign({ sub: 'user-1', name: 'Alice', roles: ['admin'] }, secret, { expiresIn: '1h' });
const alice = io(url, { auth: { token } });
await once(alice, 'connect');

const stranger = io(url);
const [refusal] = await once(stranger, 'connect_error');
console.log('refused:', refusal.message, refusal.data);

alice.close();
stranger.close();
await wsService.shutdown();
