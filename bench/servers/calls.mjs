// Commands that time calls of the service: look-ups against a plain Map, and calls that cross to the native side.

import { setImmediate as nextTurn } from 'node:timers/promises';

const CALLS_PER_LOOK = 1_000;
const AWAITED_CALLS_PER_TURN = 64;
const HISTORY_LENGTH = 60;
const PAGE = 50;

export const commands = {
  /** Single look-ups and lists, while all users are connected; what is looked up is real and in random order. */
  async lookups(service, { secondsPerCall }) {
    const users = service.getConnectedUsers();
    const rooms = service.listRooms();
    for (const room of rooms) {
      for (let index = 0; index < HISTORY_LENGTH; index += 1) await service.sendMessage(room.id, users[0].id, `text ${index}`);
      await nextTurn();
    }
    const bySocket = new Map(users.map((user) => [user.socketId, user]));
    const byUser = new Map(users.map((user) => [user.id, new Set([user.socketId])]));
    const socketIds = shuffled(users.map(({ socketId }) => socketId));
    const userIds = shuffled(users.map(({ id }) => id));
    const roomIds = shuffled(rooms.map(({ id }) => id));
    const result = await timeAll(secondsPerCall, {
      getUser: [socketIds, (id) => service.getUser(id).socketId.length],
      'Map.getUser': [socketIds, (id) => bySocket.get(id).socketId.length],
      isUserOnline: [userIds, (id) => Number(service.isUserOnline(id))],
      'Map.isUserOnline': [userIds, (id) => Number(byUser.has(id))],
      listRooms: [roomIds, () => service.listRooms().length],
      'getRoomMessages(…, 50)': [roomIds, (id) => service.getRoomMessages(id, PAGE).length],
    });
    if (service.getConnectedUsers().length !== users.length) throw new Error('clients left while calls were timed');
    return { users: users.length, rooms: rooms.length, ...result };
  },

  /** Calls one after the other; those that return a promise are awaited. */
  async crossing(service, { secondsPerCall }) {
    const users = service.getConnectedUsers();
    const socketIds = shuffled(users.map(({ socketId }) => socketId));
    const userIds = shuffled(users.map(({ id }) => id));
    const roomIds = shuffled(service.listRooms().map(({ id }) => id));
    const { id: room } = await service.createRoom('joined and left');
    const { ns, sum } = await timeAll(secondsPerCall, {
      getUser: [socketIds, (id) => service.getUser(id).socketId.length],
      isUserOnline: [userIds, (id) => Number(service.isUserOnline(id))],
      getRoom: [roomIds, (id) => service.getRoom(id).id.length],
    });
    Object.assign(ns, await timeAllAwaited(secondsPerCall, {
      emitToSocket: [socketIds, (id) => service.emitToSocket(id, 'bench', { text: 'x' })],
      'joinRoom + leaveRoom': [socketIds, async (id) => {
        await service.joinRoom(id, room);
        await service.leaveRoom(id, room);
      }],
      'createRoom + deleteRoom': [socketIds, async (id) => service.deleteRoom((await service.createRoom(id)).id)],
    }));
    return { users: users.length, ns, sum };
  },
};

/**
 * Nanoseconds per call. All calls go through one loop that has seen them all before, so that none of them, and the Map
 * least of all, is compiled into it; the sum keeps the results from being left out.
 */
async function timeAll(seconds, calls) {
  let sum = 0;
  const ns = {};
  for (const limit of [seconds / 10, seconds]) {
    for (const [name, [keys, call]] of Object.entries(calls)) {
      const timed = timeCalls(limit, keys, call);
      sum += timed.sum;
      ns[name] = timed.ns;
      await nextTurn();
    }
  }
  return { ns, sum };
}

function timeCalls(seconds, keys, call) {
  const start = performance.now();
  let at = 0;
  let calls = 0;
  let sum = 0;
  let elapsed = 0;
  while (elapsed < seconds * 1e3) {
    for (let index = 0; index < CALLS_PER_LOOK; index += 1) {
      sum += call(keys[at]);
      at = at + 1 === keys.length ? 0 : at + 1;
    }
    calls += CALLS_PER_LOOK;
    elapsed = performance.now() - start;
  }
  return { ns: (elapsed * 1e6) / calls, sum };
}

/** The same for calls that return promises; sockets get a turn of the event loop now and then, on the clock. */
async function timeAllAwaited(seconds, calls) {
  const ns = {};
  for (const limit of [seconds / 10, seconds]) {
    for (const [name, [keys, call]] of Object.entries(calls)) ns[name] = await timeAwaited(limit, keys, call);
  }
  return ns;
}

async function timeAwaited(seconds, keys, call) {
  const start = performance.now();
  let calls = 0;
  let elapsed = 0;
  while (elapsed < seconds * 1e3) {
    for (let index = 0; index < AWAITED_CALLS_PER_TURN; index += 1) await call(keys[(calls + index) % keys.length]);
    calls += AWAITED_CALLS_PER_TURN;
    await nextTurn();
    elapsed = performance.now() - start;
  }
  return (elapsed * 1e6) / calls;
}

/** Copies in random order: whoever looks one up later did not get the very string that the registry holds. */
function shuffled(ids) {
  const copies = ids.map((id) => Buffer.from(id).toString());
  for (let last = copies.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [copies[last], copies[other]] = [copies[other], copies[last]];
  }
  return copies;
}
