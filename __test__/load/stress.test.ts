// Hundreds of clients that join, send, leave and drop at random, with calls from JavaScript in between, against a model.
// STRESS_SEED repeats a run.

import {
  connect,
  drained,
  eventsDelivered,
  received,
  record,
  start,
  type Client,
  type Running,
  type TransportName,
} from '../support/harness';
import type { Room } from '../../index';

const SEED = Number(process.env.STRESS_SEED ?? Date.now() % 2 ** 31);
const CLIENTS = 200;
const ROOMS = 8;
const STEPS = 4000;

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Actor {
  client: Client;
  id: string;
  name: string;
  /** Messages sent so far, over all rooms. */
  sent: number;
  gone: boolean;
}

const settings: TransportName[][] = [['websocket'], ['polling', 'websocket'], ['polling']];

test(`everyone sees what the model says (STRESS_SEED=${SEED})`, async () => {
  console.info(`STRESS_SEED=${SEED}`);
  const random = generator(SEED);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <T>(list: T[]): T => list[below(list.length)]!;

  const running: Running = await start({ cors: { origin: '*' } });
  const { service } = running;
  const connections = record(service, 'connection');
  const disconnects = record(service, 'disconnect');
  const announced = record(service, 'message');
  let everyoneGone!: () => void;
  let expectedGone = Infinity;
  service.on('disconnect', () => disconnects.length >= expectedGone && everyoneGone());

  const live: Array<Room & { deleted?: boolean }> = [];
  for (let index = 0; index < ROOMS; index++) live.push(await service.createRoom(`room ${index}`));
  const deleted: Room[] = [];

  let names = 0;
  async function arrive(): Promise<Actor> {
    const name = `client ${names++}`;
    const client = await connect(running, { transports: pick(settings), query: { username: name } });
    return { client, id: client.id!, name, sent: 0, gone: false };
  }
  const everyone: Actor[] = [];
  for (let index = 0; index < CLIENTS; index += 20) {
    everyone.push(...(await Promise.all(Array.from({ length: 20 }, arrive))));
  }
  const actors = [...everyone];
  let serverSent = 0;

  for (let step = 0; step < STEPS; step++) {
    const chance = random();
    const actor = pick(actors);
    const room = pick(live);
    if (chance < 0.25) actor.client.emit('room:join', { roomId: room.id });
    else if (chance < 0.35) actor.client.emit('room:leave', { roomId: room.id });
    else if (chance < 0.75) {
      actor.client.emit('message', { roomId: room.id, content: `${actor.name}|${actor.sent++}` });
    } else if (chance < 0.85) void service.sendMessage(room.id, 'server', `server|${serverSent++}`).catch(() => {});
    else if (chance < 0.88) void service.joinRoom(actor.id, room.id).catch(() => {});
    else if (chance < 0.9) void service.leaveRoom(actor.id, room.id);
    else if (chance < 0.93) void service.broadcastToRoom(room.id, 'news', step, { except: [actor.id] }).catch(() => {});
    else if (chance < 0.95) void [service.getStats(), service.getRoomMembers(room.id), service.getRoomMessages(room.id, 5)];
    else if (chance < 0.97) actor.client.emit('typing', { roomId: room.id, isTyping: random() < 0.5 });
    else if (chance < 0.99) {
      actor.gone = true;
      actors.splice(actors.indexOf(actor), 1);
      const way = below(3);
      if (way === 0) actor.client.disconnect();
      else if (way === 1) actor.client.io.engine.close();
      else void service.disconnectUser(actor.id, 'by the server');
      const next = await arrive();
      everyone.push(next);
      actors.push(next);
    } else if (chance < 0.993) {
      deleted.push(room);
      live.splice(live.indexOf(room), 1);
      void service.deleteRoom(room.id);
      live.push(await service.createRoom(`room of step ${step}`));
    }
    if (step % 50 === 0) await new Promise((turn) => setImmediate(turn));
  }

  // Whatever a client has sent is served before the answer to its last event, what it was sent before the marker.
  await Promise.all(actors.map((actor) => actor.client.emitWithAck('room:leave', { roomId: 'unknown' })));
  await eventsDelivered(service);
  await drained(service, ...actors.map((actor) => actor.client));

  const rooms = [...live, ...deleted];
  const order = new Map<string, string[]>(rooms.map((room) => [room.id, []]));
  for (const [message] of announced) order.get(message.roomId)?.push(message.id);

  for (const room of live) {
    const history = service.getRoomMessages(room.id, Infinity).reverse();
    expect(order.get(room.id)).toEqual(history.map((message) => message.id));
    for (const actor of everyone) {
      const own = history.filter((message) => message.userId === actor.id).map((message) => Number(message.content.split('|')[1]));
      expect(own).toEqual([...own].sort((a, b) => a - b));
      expect(new Set(own).size).toBe(own.length);
    }
    const fromServer = history.filter((message) => message.userId === 'server').map((message) => Number(message.content.split('|')[1]));
    expect(fromServer).toEqual([...fromServer].sort((a, b) => a - b));
  }

  // What a client received of a room is, in order, a part of the one order of that room, nothing of it twice.
  for (const actor of everyone) {
    const positions = new Map<string, number>();
    for (const message of received(actor.client, 'message')) {
      const position = order.get(message.roomId)!.indexOf(message.id);
      expect(position).toBeGreaterThan(positions.get(message.roomId) ?? -1);
      positions.set(message.roomId, position);
    }
  }

  // A member from now on misses nothing.
  const checks = live.map((room) => ({ room, members: [...room.members] }));
  const byId = new Map(everyone.map((actor) => [actor.id, actor]));
  for (const { room } of checks) await service.broadcastToRoom(room.id, 'roll call', room.id);
  await drained(service, ...actors.map((actor) => actor.client));
  for (const actor of actors) {
    const rooms = checks.filter(({ members }) => members.includes(actor.id)).map(({ room }) => room.id);
    expect(received(actor.client, 'roll call').sort()).toEqual(rooms.sort());
  }
  for (const { members } of checks) for (const id of members) expect(byId.get(id)!.gone).toBe(false);

  // Nothing is left of who has gone and of what was deleted.
  expectedGone = everyone.length;
  const gone = new Promise<void>((done) => (everyoneGone = done));
  for (const actor of actors) actor.client.disconnect();
  if (disconnects.length < expectedGone) await gone;
  await eventsDelivered(service);
  const ids = (calls: any[][]) => calls.map(([user]) => user.socketId).sort();
  expect(ids(connections)).toEqual(everyone.map((actor) => actor.id).sort());
  expect(ids(disconnects)).toEqual(everyone.map((actor) => actor.id).sort());
  expect(service.getConnectedUsers()).toEqual([]);
  expect(service.getStats()).toMatchObject({
    totalConnections: everyone.length,
    activeConnections: 0,
    totalRooms: live.length,
  });
  for (const room of live) expect(room.members.size).toBe(0);
  for (const room of deleted) {
    expect(service.getRoom(room.id)).toBeUndefined();
    expect(service.getRoomMessages(room.id)).toEqual([]);
    expect(service.getRoomMembers(room.id)).toEqual([]);
  }
  for (const { id } of everyone) {
    expect(service.getUser(id)).toBeUndefined();
    expect(service.getSocket(id)).toBeUndefined();
    expect(service.isUserOnline(id)).toBe(false);
    expect(service.getUserSockets(id)).toEqual([]);
  }
}, 120_000);
