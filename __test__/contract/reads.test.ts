// Contract section 4: what a synchronous read shows has been told by the time the caller's next `await` continues.
//
// A read that spins while a client's packet is handled sees the change as soon as it is there, and JavaScript cannot have
// been told of it before.

import { WebSocket } from 'ws';
import { afterTest, connect, next, record, start, testWhileBusy, transportSettings, type Client, type Running, type Service } from '../support/harness';

const PATIENCE = 5_000;

/** Reads again and again, without letting anything else run. */
function spin<R>(read: () => R, isReached: (value: R) => unknown): R {
  const end = performance.now() + PATIENCE;
  for (;;) {
    const value = read();
    if (isReached(value)) return value;
    if (performance.now() > end) throw new Error(`not reached: ${String(value)}`);
  }
}

/** A client that has all but sent its CONNECT, which it does in one write. */
async function almostConnected({ url }: Running): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
  afterTest(() => socket.terminate());
  await next(socket, 'message');
  return socket;
}

interface Stage extends Running {
  client: Client;
  id: string;
  room: Awaited<ReturnType<Service['createRoom']>>;
}

async function stage(): Promise<Stage> {
  const running = await start();
  const client = await connect(running, { transports: ['websocket'] });
  const room = await running.service.createRoom('r');
  return { ...running, client, id: client.id!, room };
}

async function member(): Promise<Stage> {
  const set = await stage();
  await set.service.joinRoom(set.id, set.room.id);
  return set;
}

testWhileBusy.each<[read: string, isThere: (service: Service) => unknown]>([
  ['getConnectedUsers', (service) => service.getConnectedUsers().length === 1],
  ['getStats', (service) => service.getStats().activeConnections === 1],
  ['getClusterStats', (service) => service.getClusterStats().activeConnections === 1],
])('a connection that %s shows has been told', async (_read, isThere) => {
  const running = await start();
  const told = record(running.service, 'connection');
  const socket = await almostConnected(running);
  socket.send('40');
  spin(() => isThere(running.service), Boolean);
  await null;
  expect(told).toHaveLength(1);
});

testWhileBusy.each<[read: string, isGone: (stage: Stage) => () => unknown]>([
  ['getUser', ({ service, id }) => () => service.getUser(id) === undefined],
  ['getConnectedUsers', ({ service }) => () => service.getConnectedUsers().length === 0],
  ['isUserOnline', ({ service, id }) => () => !service.isUserOnline(id)],
  ['getUserSockets', ({ service, id }) => () => service.getUserSockets(id).length === 0],
  ['getSocket', ({ service, id }) => () => service.getSocket(id) === undefined],
  ['getStats', ({ service }) => () => service.getStats().activeConnections === 0],
  ['getRoomMembers', ({ service, room }) => () => service.getRoomMembers(room.id).length === 0],
  ['getRoomStats', ({ service, room }) => () => service.getRoomStats(room.id)!.memberCount === 0],
  ['room.members', ({ room }) => () => room.members.size === 0],
  [
    'socket.connected',
    ({ service, id }) => {
      const socket = service.getSocket(id)!;
      return () => !socket.connected;
    },
  ],
  [
    'socket.rooms',
    ({ service, id }) => {
      const socket = service.getSocket(id)!;
      return () => socket.rooms.size === 0;
    },
  ],
])('an end that %s shows has been told, with the rooms before', async (_read, isGone) => {
  const set = await member();
  const told: string[] = [];
  set.service.on('room:leave', () => told.push('room:leave'));
  set.service.on('disconnect', () => told.push('disconnect'));
  const read = isGone(set);
  expect(read()).toBe(false);
  await null;
  set.client.disconnect();
  spin(read, Boolean);
  await null;
  expect(told).toEqual(['room:leave', 'disconnect']);
});

testWhileBusy('joining and leaving that room.members shows have been told', async () => {
  const { service, client, id, room } = await stage();
  const [joins, leaves] = [record(service, 'room:join'), record(service, 'room:leave')];
  expect(room.members.size).toBe(0);
  client.emit('room:join', { roomId: room.id });
  spin(() => room.members.has(id), Boolean);
  await null;
  expect(joins).toEqual([[{ user: service.getUser(id), room }]]);
  // The client's last packet has left, so that the next one does at once.
  await new Promise((turn) => setImmediate(turn));
  client.emit('room:leave', { roomId: room.id });
  spin(() => [...room.members], ({ length }) => length === 0);
  await null;
  expect(leaves).toEqual([[{ user: service.getUser(id), room }]]);
});

testWhileBusy.each<[read: string, isThere: (stage: Stage) => unknown]>([
  ['getRoomMessages', ({ service, room }) => service.getRoomMessages(room.id).length === 1],
  ['getRoomStats', ({ service, room }) => service.getRoomStats(room.id)!.messageCount === 1],
  ['getStats', ({ service }) => service.getStats().messagesPerMinute === 1],
])('a message that %s shows has been told', async (_read, isThere) => {
  const set = await member();
  const told = record(set.service, 'message');
  set.client.emit('message', { roomId: set.room.id, content: 'hello' });
  spin(() => isThere(set), Boolean);
  await null;
  expect(told.map(([message]) => message.content)).toEqual(['hello']);
});

testWhileBusy('what made user.lastActivity new has been told', async () => {
  const { service, client, id } = await stage();
  const user = service.getUser(id)!;
  const heard: unknown[] = [];
  service.getSocket(id)!.on('own', (value) => heard.push(value));
  const before = user.lastActivity.getTime();
  while (Date.now() <= before + 1);
  client.emit('own', 1);
  spin(() => user.lastActivity.getTime(), (time) => time > before);
  await null;
  expect(heard).toEqual([1]);
});

testWhileBusy.each<[read: string, ids: (service: Service) => Promise<Iterable<string>>]>([
  ['fetchSockets', async (service) => (await service.fetchSockets()).map((socket) => socket.id)],
  ['allRooms', (service) => service.allRooms()],
])('what %s resolves with has been told', async (_read, ids) => {
  const { service, client, id } = await stage();
  const told = record(service, 'disconnect');
  client.disconnect();
  spin(() => service.getRoomMembers('none') && (service as any).getConnectedUsers().length, (length) => length === 0);
  expect([...(await ids(service))]).not.toContain(id);
  expect(told).toHaveLength(1);
});

testWhileBusy('what a listener reads has been told when it goes on, too', async () => {
  const { service, client, room } = await member();
  const told: string[] = [];
  const done = new Promise<string[]>((resolve) => {
    service.on('message', async ({ content }) => {
      told.push(content);
      if (content !== 'first') return;
      client.emit('message', { roomId: room.id, content: 'second' });
      spin(() => service.getRoomMessages(room.id), ({ length }) => length === 2);
      await null;
      resolve([...told]);
    });
  });
  client.emit('message', { roomId: room.id, content: 'first' });
  expect(await done).toEqual(['first', 'second']);
});

testWhileBusy('no read sees a part of an end: not with thousands of rooms', async () => {
  const { service, client, id } = await stage();
  const [first, ...rooms] = await Promise.all(Array.from({ length: 3_000 }, (_, index) => service.createRoom(`${index}`)));
  for (const room of [first!, ...rooms]) await service.joinRoom(id, room.id);
  const members = [first!, ...rooms].map((room) => room.members);
  members.forEach((set) => expect(set.size).toBe(1));
  const [leaves, ends] = [record(service, 'room:leave'), record(service, 'disconnect')];
  client.disconnect();
  // The room that it left first.
  spin(() => members[0]!.size, (size) => size === 0);
  const seen = [members.at(-1)!.size, service.getUser(id), service.getConnectedUsers().length];
  await null;
  expect(seen).toEqual([0, undefined, 0]);
  expect([leaves.length, ends.length]).toEqual([3_000, 1]);
});

test('reads of listeners do not keep the event loop from turning, however much there is to tell', async () => {
  const { Hearing } = require('../../dist/native/hearing.js');
  const { SIGNS } = require('../../dist/native/signs.js');
  const signs = Buffer.alloc(SIGNS.bytes);
  const pushed = new Uint32Array(signs.buffer, SIGNS.pushed, 1);
  signs[SIGNS.event] = 1;
  pushed[0] = 1;
  // For each event that is taken, two more come.
  const native = { take: () => ((pushed[0] = pushed[0]! + 2), [1, 'event']) };
  let told = 0;
  const tell = () => {
    told += 1;
    hearing.noticed();
    // As an asynchronous listener does when it goes on.
    void Promise.resolve().then(() => hearing.noticed());
  };
  const hearing = new Hearing(native, signs, (fields: any) => (fields.text(), tell), () => {});
  for (let turns = 0; turns < 3; turns++) {
    const before = told;
    hearing.noticed();
    await new Promise((turn) => setImmediate(turn));
    expect(told).toBeGreaterThan(before);
  }
  signs[SIGNS.event] = 0;
});

describe.each(transportSettings)('over %s, in a coming and going', (_name, transports) => {
  test('nobody is seen who was not told of, and nobody missed whose end was not', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('r');
    const [came, went, joined, left] = Array.from({ length: 4 }, () => new Set<string>()) as [Set<string>, Set<string>, Set<string>, Set<string>];
    service.on('connection', (user) => came.add(user.socketId));
    service.on('disconnect', (user) => went.add(user.socketId));
    service.on('room:join', ({ user }) => joined.add(user.socketId));
    service.on('room:leave', ({ user }) => left.add(user.socketId));
    let looks = 0;
    let over = false;
    const look = async () => {
      while (!over) {
        const [knownBefore, joinedBefore] = [[...came], [...joined]];
        const users = new Set(service.getConnectedUsers().map((user) => user.socketId));
        const members = new Set(room.members);
        await null;
        expect([...users].filter((id) => !came.has(id))).toEqual([]);
        expect(knownBefore.filter((id) => !users.has(id) && !went.has(id))).toEqual([]);
        expect([...members].filter((id) => !joined.has(id))).toEqual([]);
        expect(joinedBefore.filter((id) => !members.has(id) && !left.has(id))).toEqual([]);
        looks += 1;
        await new Promise((turn) => setImmediate(turn));
      }
    };
    const looking = look();
    // Each socket joins once and leaves once, so that what was told of it can be taken for what is.
    const visit = async (leaves: boolean) => {
      const client = await connect(running, { transports });
      await client.emitWithAck('room:join', { roomId: room.id });
      if (leaves) await client.emitWithAck('room:leave', { roomId: room.id });
      const gone = next(client, 'disconnect');
      client.disconnect();
      await gone;
    };
    const guest = async (_: unknown, index: number) => {
      for (let round = 0; round < 15; round++) await visit((index + round) % 2 === 0);
    };
    await Promise.all(Array.from({ length: 6 }, guest));
    over = true;
    await looking;
    expect(looks).toBeGreaterThan(50);
    expect([came.size, joined.size]).toEqual([90, 90]);
  });
});
