// A chat on WebSocketService: rooms, history, typing and presence. `npm start` runs it; so does
// `node examples/chat/server.mjs` once the addon is built. `npm run cluster` runs three that are one.
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WebSocketService } from 'native-websocket-service';

const maxNameLength = 32;
const maxRooms = 100;
const historyLength = 100;
/** Milliseconds that the start waits for the cluster. Without Redis the chat begins alone. */
const patience = 3000;
const defaultRooms = [
  { name: 'general', topic: 'Anything and everything' },
  { name: 'random', topic: 'Everything else' },
];

/**
 * Serves the demo until `close()` is called.
 *
 * @param {number} port - 0 for any free port
 * @param {object} [options] - further options of the service, such as `redis`
 * @param {string} [instance] - what the page calls this server when there are several
 * @returns {Promise<{ port: number, close: () => Promise<void> }>} rejects when it cannot listen
 */
export async function startChat(port, options = {}, instance) {
  const httpServer = createServer(servePages(options.transports ?? ['polling', 'websocket']));
  const service = new WebSocketService({
    history: { maxMessagesPerRoom: 1000, ...(options.redis && { persist: true }) },
    maxHttpBufferSize: 16_384,
    ...options,
  });
  service.initialize(httpServer);
  service.on('error', ({ code, message }) => console.warn(`${code}: ${message}`));
  /** The sockets of this server, whichever others there are. */
  const here = new Set();
  const figures = () => ({ ...service.getStats(), instance });
  service.use((socket, next) => {
    const name = cleanName(socket.handshake.query.username);
    if (name === undefined) {
      next(new Error(`Choose a name of 1 to ${maxNameLength} characters.`));
      return;
    }
    // Here, before the client is told that it is connected, so that none of its requests can come too early.
    answerRequests(service, socket, figures);
    here.add(socket);
    socket.on('disconnect', () => here.delete(socket));
    next();
  });
  const stopPublishing = publishLobby(service);
  const showing = setInterval(() => {
    const stats = figures();
    for (const socket of here) socket.emit('stats', stats);
  }, 2000);

  const opened = openDefaultRooms(service, options);
  await Promise.race([opened, delay(patience, undefined, { ref: false })]);
  await new Promise((resolve, reject) => {
    httpServer.once('error', reject);
    httpServer.listen(port, resolve);
  });
  return {
    port: httpServer.address().port,
    close() {
      stopPublishing();
      clearInterval(showing);
      return service.shutdown();
    },
  };
}

/** Makes the rooms that every chat has, unless the cluster has them already. */
async function openDefaultRooms(service, { redis }) {
  if (redis) {
    await service.ready();
  }
  const names = service.listRooms('chat').map((room) => room.name);
  for (const { name, topic } of defaultRooms.filter((room) => !names.includes(room.name))) {
    await service.createRoom(name, 'chat', undefined, { topic });
  }
}

/** The requests that only this application knows; rooms, messages and typing are built in. */
function answerRequests(service, socket, figures) {
  socket.on('lobby', (answer) => answer?.({ ...lobby(service), stats: figures() }));

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

/**
 * Tells everyone who is here and which rooms there are, once for changes that come together. In a cluster each change
 * is an event on one server, which tells the clients of all.
 */
function publishLobby(service) {
  let pending;
  const changed = () => {
    pending ??= setTimeout(() => {
      pending = undefined;
      service.broadcastToAll('lobby', lobby(service));
    }, 100);
  };
  for (const event of [
    'connection',
    'disconnect',
    'room:create',
    'room:delete',
    'room:join',
    'room:leave',
    'cluster',
  ]) {
    service.on(event, changed);
  }
  return () => {
    clearTimeout(pending);
    pending = true;
  };
}

function lobby(service) {
  return {
    rooms: service.listRooms('chat').map(summary),
    people: service.getConnectedUsers().map(person),
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

/** Answers requests for the page, which uses these transports. */
function servePages(transports) {
  const index = page('index.html', 'text/html');
  const body = index.body.toString().replace('<body>', `<body data-transports="${transports.join(' ')}">`);
  const pages = new Map([
    ['/', { ...index, body: Buffer.from(body) }],
    ['/style.css', page('style.css', 'text/css')],
    ['/app.js', page('app.js', 'text/javascript')],
  ]);
  return (request, response) => servePage(pages.get(request.url.split('?', 1)[0]), request, response);
}

function servePage(found, request, response) {
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
  // CHAT_OPTIONS is JSON, as cluster.mjs gives it to the servers that it starts.
  const options = JSON.parse(process.env.CHAT_OPTIONS ?? '{}');
  const chat = await startChat(Number(process.env.PORT ?? 3000), options, process.env.CHAT_INSTANCE);
  console.log(`http://localhost:${chat.port}`);
  for (const signal of ['SIGINT', 'SIGTERM', 'disconnect']) {
    process.once(signal, async () => {
      await chat.close();
      // Waiting for its end keeps a process alive that was forked.
      process.removeAllListeners('disconnect');
    });
  }
}
