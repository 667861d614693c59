// A chat on WebSocketService: rooms, history, typing and presence. `npm start` runs it; so does
// `node examples/chat/server.mjs` once the addon is built.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WebSocketService } from 'native-websocket-service';

const maxNameLength = 32;
const maxRooms = 100;
const historyLength = 100;

const pages = new Map([
  ['/', page('index.html', 'text/html')],
  ['/style.css', page('style.css', 'text/css')],
  ['/app.js', page('app.js', 'text/javascript')],
]);

/**
 * Serves the demo until `close()` is called.
 *
 * @param {number} port - 0 for any free port
 * @returns {Promise<{ port: number, close: () => Promise<void> }>} rejects when it cannot listen
 */
export async function startChat(port) {
  const httpServer = createServer(servePage);
  const service = new WebSocketService({
    history: { maxMessagesPerRoom: 1000 },
    maxHttpBufferSize: 16_384,
  });
  service.initialize(httpServer);
  service.use((socket, next) => {
    const name = cleanName(socket.handshake.query.username);
    if (name === undefined) {
      next(new Error(`Choose a name of 1 to ${maxNameLength} characters.`));
      return;
    }
    // Here, before the client is told that it is connected, so that none of its requests can come too early.
    answerRequests(service, socket);
    next();
  });
  const stopPublishing = publishLobby(service);

  await service.createRoom('general', 'chat', undefined, { topic: 'Anything and everything' });
  await service.createRoom('random', 'chat', undefined, { topic: 'Everything else' });

  await new Promise((resolve, reject) => {
    httpServer.once('error', reject);
    httpServer.listen(port, resolve);
  });
  return {
    port: httpServer.address().port,
    close() {
      stopPublishing();
      return service.shutdown();
    },
  };
}

/** The requests that only this application knows; rooms, messages and typing are built in. */
function answerRequests(service, socket) {
  socket.on('lobby', (answer) => answer?.(lobby(service)));

  socket.on('rooms:create', async (request, answer) => {
    const name = cleanName(request?.name);
    const rooms = service.listRooms('chat');
    if (name === undefined) {
      answer?.({ error: `A room needs a name of 1 to ${maxNameLength} characters.` });
    } else if (rooms.some((room) => room.name === name)) {
      answer?.({ error: `There is a room called “${name}” already.` });
    } else if (rooms.length >= maxRooms) {
      answer?.({ error: `There are ${maxRooms} rooms, which is as many as this demo has.` });
    } else {
      const room = await service.createRoom(name, 'chat', service.getUser(socket.id)?.id);
      answer?.({ room: summary(room) });
    }
  });

  // What someone who has just joined wants to see; members only.
  socket.on('rooms:open', (request, answer) => {
    const room = service.getRoom(String(request?.roomId));
    if (!room?.members.has(socket.id)) {
      answer?.({ error: 'Join the room first.' });
      return;
    }
    const messages = service.getRoomMessages(room.id, historyLength).reverse();
    answer?.({ messages, members: service.getRoomMembers(room.id).map(person) });
  });
}

/** Tells everyone who is here and which rooms there are, once for changes that come together, and the figures. */
function publishLobby(service) {
  let pending;
  const changed = () => {
    pending ??= setTimeout(() => {
      pending = undefined;
      service.broadcastToAll('lobby', lobby(service));
    }, 100);
  };
  for (const event of ['connection', 'disconnect', 'room:create', 'room:delete', 'room:join', 'room:leave']) {
    service.on(event, changed);
  }
  const figures = setInterval(() => service.broadcastToAll('stats', service.getStats()), 2000);
  return () => {
    clearTimeout(pending);
    clearInterval(figures);
    pending = true;
  };
}

function lobby(service) {
  return {
    rooms: service.listRooms('chat').map(summary),
    people: service.getConnectedUsers().map(person),
    stats: service.getStats(),
  };
}

function summary(room) {
  return { id: room.id, name: room.name, topic: room.metadata?.topic, members: room.members.size };
}

function person(user) {
  return { socketId: user.socketId, username: user.username };
}

function cleanName(value) {
  const name = typeof value === 'string' ? value.trim() : '';
  return name.length >= 1 && name.length <= maxNameLength ? name : undefined;
}

function page(name, type) {
  const file = fileURLToPath(new URL(`public/${name}`, import.meta.url));
  return { type: `${type}; charset=utf-8`, body: readFileSync(file) };
}

function servePage(request, response) {
  const found = pages.get(request.url.split('?', 1)[0]);
  if (found === undefined || !['GET', 'HEAD'].includes(request.method)) {
    response.writeHead(found ? 405 : 404, { 'content-type': 'text/plain' }).end('There is nothing here.\n');
    return;
  }
  response.writeHead(200, {
    'content-type': found.type,
    'content-length': found.body.length,
    'content-security-policy': "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
  });
  response.end(request.method === 'HEAD' ? undefined : found.body);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const chat = await startChat(Number(process.env.PORT ?? 3000));
  console.log(`http://localhost:${chat.port}`);
}
