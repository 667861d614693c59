// Clients that go from one instance to another at random moments, while all instances send: nothing is lost, doubled or out of
// order, and nobody notices. HOPPING_SEED repeats a run, as far as the moments do.

import { Redis } from 'ioredis';
import { at, connectAs, enter, known, newPrefix, populated, settled, startFleet } from '../support/fleet';
import { eventually, within } from '../support/eventually';
import { afterTest, next, record, type Client, type Running } from '../support/harness';
import { layLine, type Line } from '../support/line';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
const SEED = Number(process.env.HOPPING_SEED ?? Date.now() % 2 ** 31);
const INSTANCES = 3;
const CLIENTS = 21;
const ROOMS = 4;
/** Milliseconds that clients go about for. */
const DURATION = Number(process.env.HOPPING_MS ?? 2_500);
/** Most milliseconds between two hops of a client, and of a client's absence. */
const STAY = 250;
const ABSENCE = 60;

/** Numbers from 0 on, below a bound; the same for the same seed. */
function randomly(seed: number): (bound: number) => number {
  let state = seed | 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

interface Guest {
  client: Client;
  line: Line;
  id: string;
  userId: string;
  /** Where its socket is, or goes. */
  member: Running;
  rooms: string[];
  isPlain: boolean;
  hops: number;
  /** What it is to have, in order, by the instance that sent it and the way it went. */
  expected: Map<string, number[]>;
}

/** Messages of the cluster by which an instance asks for what it should know. */
async function questions(prefix: string): Promise<string[]> {
  const heard: string[] = [];
  const client = new Redis(redis().port, redis().host);
  afterTest(() => client.disconnect());
  client.on('pmessageBuffer', (_pattern, _channel, payload: Buffer) => {
    for (const name of ['AskSnapshot', 'Resend', 'Moved']) if (payload.includes(name)) heard.push(name);
  });
  await client.psubscribe(`${prefix}*`);
  return heard;
}

async function arrive(fleet: Running[], number: number, roomIds: string[], random: (bound: number) => number): Promise<Guest> {
  const member = fleet[number % INSTANCES]!;
  const line = await layLine(member.port);
  // Two clients for each person but one.
  const userId = `user-${number >> 1}`;
  const client = await connectAs({ ...member, url: line.url }, userId, { reconnection: true, reconnectionDelay: 5, reconnectionDelayMax: 10 });
  const id = client.id!;
  const rooms = roomIds.filter((_, index) => index === number % ROOMS || random(2) === 0);
  for (const roomId of rooms) await enter(client, roomId);
  const isPlain = random(2) === 0;
  const socket = member.service.getSocket(id)!;
  if (isPlain) await socket.join('plain');
  socket.data = { number };
  return { client, line, id, userId, member, rooms, isPlain, hops: 0, expected: new Map() };
}

/** Takes a client elsewhere, or back to where it is, and looks whether it is still the same. */
async function hop(guest: Guest, fleet: Running[], random: (bound: number) => number): Promise<void> {
  const { client, line } = guest;
  const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
  line.close({ unnoticed: random(2) === 0 });
  await gone;
  await pause(random(ABSENCE));
  const to = fleet[random(INSTANCES)]!;
  if (to !== guest.member) guest.hops += 1;
  guest.member = to;
  line.lead(to.port);
  line.mend();
  await within(5_000, `the return of ${guest.userId}`, back);
  expect([guest.userId, client.recovered, client.id]).toEqual([guest.userId, true, guest.id]);
}

/** Sends numbered messages until `isOver`, each to those whom it is for. */
async function send(from: number, fleet: Running[], guests: Guest[], roomIds: string[], random: (bound: number) => number, isOver: () => boolean) {
  const { service } = fleet[from]!;
  let number = 0;
  const expectAt = (kind: string, meant: (guest: Guest) => boolean) => {
    number += 1;
    const way = `${from} ${kind}`;
    for (const guest of guests.filter(meant)) {
      if (!guest.expected.has(way)) guest.expected.set(way, []);
      guest.expected.get(way)!.push(number);
    }
    return { way, number };
  };
  while (!isOver()) {
    const roomId = roomIds[random(ROOMS)]!;
    const one = guests[random(CLIENTS)]!;
    switch (random(7)) {
      case 0:
        await service.broadcastToRoom(roomId, 'n', expectAt(`room ${roomId}`, ({ rooms }) => rooms.includes(roomId)));
        break;
      case 1:
        await service.broadcastToUsers([one.userId], 'n', expectAt('user', ({ userId }) => userId === one.userId));
        break;
      case 2:
        await service.emitToSocket(one.id, 'n', expectAt(`socket`, (guest) => guest === one));
        break;
      case 3:
        service.except('nobody').emit('n', expectAt('everyone', () => true));
        break;
      case 4:
        service.to('plain').emit('n', expectAt('plain', ({ isPlain }) => isPlain));
        break;
      case 5:
        service.to(['plain', roomId]).emit('n', expectAt('several', ({ isPlain, rooms }) => isPlain || rooms.includes(roomId)));
        break;
      default: {
        const { way, number } = expectAt(`chat ${roomId}`, ({ rooms }) => rooms.includes(roomId));
        await service.sendMessage(roomId, 'bob', JSON.stringify({ way, number }));
      }
    }
    // Some at once, as fast as they can be sent.
    if (random(4) === 0) await pause(random(15));
  }
}

/** What a client has, in order, by who sent it and the way it went. */
function got(client: Client): Map<string, number[]> {
  const all = new Map<string, number[]>();
  for (const { event, args } of client.received) {
    if (event !== 'n' && event !== 'message') continue;
    const { way, number } = event === 'n' ? args[0] : JSON.parse(args[0].content);
    if (!all.has(way)) all.set(way, []);
    all.get(way)!.push(number);
  }
  return all;
}

/** What is wrong with what came, in few words. */
function faults(wanted: Map<string, number[]>, had: Map<string, number[]>): string[] {
  const ways = [...new Set([...wanted.keys(), ...had.keys()])];
  return ways.flatMap((way) => {
    const [meant, came] = [wanted.get(way) ?? [], had.get(way) ?? []];
    if (meant.length === came.length && meant.every((number, index) => number === came[index])) return [];
    const [wantedHere, seen] = [new Set(meant), new Set<number>()];
    const doubled = came.filter((number) => seen.has(number) || !seen.add(number));
    const lost = meant.filter((number) => !seen.has(number));
    const foreign = came.filter((number) => !wantedHere.has(number));
    const isDisorder = lost.length + doubled.length + foreign.length === 0;
    return [isDisorder ? `${way}: out of order: ${came}` : `${way}: lost ${lost}; doubled ${doubled}; foreign ${foreign}`];
  });
}

async function run(): Promise<void> {
  const random = randomly(SEED);
  const prefix = newPrefix();
  const fleet = await startFleet(INSTANCES, at(redis().address, prefix), { connectionStateRecovery: true });
  const roomIds: string[] = [];
  for (let index = 0; index < ROOMS; index += 1) roomIds.push((await fleet[index % INSTANCES]!.service.createRoom(`room-${index}`)).id);
  for (const roomId of roomIds) await known(fleet, roomId);
  const guests: Guest[] = [];
  for (let number = 0; number < CLIENTS; number += 1) guests.push(await arrive(fleet, number, roomIds, random));
  const clients = guests.map(({ client }) => client);
  const membersOf = (roomId: string) => guests.filter(({ rooms }) => rooms.includes(roomId)).map(({ client }) => client);
  for (const roomId of roomIds) await populated(fleet, roomId, membersOf(roomId));
  await settled(fleet, ...clients);
  const events = ['disconnect', 'room:leave', 'room:join'].map((event) => fleet.map(({ service }) => record(service, event)));
  const heard = clients.map((client) => ['user:left', 'user:joined', 'user:status'].map((event) => record(client, event)));
  const connections = fleet.map(({ service }) => record(service, 'connection'));
  const asked = await questions(prefix);

  let isOver = false;
  const until = Date.now() + DURATION;
  // Each of its own, so that the order in which they come to run changes no one's choices.
  const goAbout = async (guest: Guest, number: number) => {
    const chance = randomly(SEED + 1 + number);
    while (!isOver && Date.now() < until) {
      await pause(chance(STAY));
      await hop(guest, fleet, chance);
    }
  };
  const sending = fleet.map((_, from) => send(from, fleet, guests, roomIds, randomly(SEED - 1 - from), () => isOver));
  try {
    await Promise.all(guests.map(goAbout));
  } finally {
    isOver = true;
    await Promise.all(sending);
  }
  await settled(fleet, ...clients);

  const wrong = guests.flatMap(({ client, userId, expected }) => faults(expected, got(client)).map((fault) => `${userId} ${fault}`));
  expect(wrong).toEqual([]);
  const hops = guests.reduce((sum, guest) => sum + guest.hops, 0);
  expect(hops).toBeGreaterThan(CLIENTS);
  expect([events.flat(2), heard.flat(2)]).toEqual([[], []]);
  expect(connections.flat().length).toBe(hops);
  expect(asked).toEqual([]);
  for (const roomId of roomIds) await populated(fleet, roomId, membersOf(roomId));
  for (const { service } of fleet) {
    for (const { userId } of guests) {
      const sockets = guests.filter((guest) => guest.userId === userId).map(({ id }) => id);
      expect(service.getUserSockets(userId).sort()).toEqual(sockets.sort());
    }
  }
  await eventually(() => {
    fleet.forEach((member) => {
      const here = guests.filter((guest) => guest.member === member).length;
      expect(member.service.getStats().activeConnections).toBe(here);
    });
  });
  for (const { id, member, rooms, isPlain, client } of guests) {
    const socket = member.service.getSocket(id)!;
    expect([...socket.rooms].sort()).toEqual([id, ...rooms, ...(isPlain ? ['plain'] : [])].sort());
    expect([client.id, socket.data]).toEqual([id, { number: clients.indexOf(client) }]);
  }

  for (const client of clients) client.disconnect();
  for (const roomId of roomIds) await populated(fleet, roomId, []);
  await eventually(async () => {
    for (const { service } of fleet) {
      const { activeConnections } = service.getStats();
      const left = guests.filter(({ id, userId }) => service.getSocket(id) || service.getUser(id) || service.isUserOnline(userId));
      expect([activeConnections, left, await service.in('plain').fetchSockets()]).toEqual([0, [], []]);
    }
  });
  expect(asked).toEqual([]);
}

test('clients that go about have all that is meant for them, once and in order, and nobody notices', async () => {
  try {
    await run();
  } catch (cause) {
    throw new Error(`HOPPING_SEED=${SEED}\n\n${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}, 30_000);

test('whoever is sent to without a pause, as a person and as a socket, has all of it on whichever instance it is', async () => {
  const fleet = await startFleet(INSTANCES, redis().address, { connectionStateRecovery: true });
  const line = await layLine(fleet[0]!.port);
  const client = await connectAs({ ...fleet[0]!, url: line.url }, 'ada', { reconnection: true, reconnectionDelay: 5, reconnectionDelayMax: 10 });
  const id = client.id!;
  await eventually(() => {
    for (const { service } of fleet) expect(service.getUserSockets('ada')).toEqual([id]);
  });
  let isOver = false;
  const expected = new Map<string, number[]>();
  const sending = fleet.map(async ({ service }, from) => {
    for (let number = 0; !isOver; number += 1) {
      const way = `${from} ${number % 2 === 0 ? 'user' : 'socket'}`;
      if (!expected.has(way)) expected.set(way, []);
      expected.get(way)!.push(number);
      if (number % 2 === 0) await service.broadcastToUsers(['ada'], 'n', { way, number });
      else await service.emitToSocket(id, 'n', { way, number });
      if (number % 20 === 0) await new Promise((turn) => setImmediate(turn));
    }
  });
  const until = Date.now() + DURATION;
  try {
    for (let hop = 1; Date.now() < until; hop += 1) {
      const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
      line.close();
      await gone;
      line.lead(fleet[hop % INSTANCES]!.port);
      line.mend();
      await within(5_000, 'its return', back);
      expect([client.recovered, client.id]).toEqual([true, id]);
    }
  } finally {
    isOver = true;
    await Promise.all(sending);
  }
  await settled(fleet, client);
  expect(faults(expected, got(client))).toEqual([]);
}, 30_000);
