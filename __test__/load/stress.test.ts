// Hundreds of clients that join, send, leave and drop at random, with calls from JavaScript in between, against a model.
// STRESS_SEED repeats a run. When one fails, fast-check looks for fewer steps that fail.

import fc from 'fast-check';
import {
  connect,
  drained,
  endAll,
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
/** Of any number of steps up to that. */
const RUNS = 2;

type Act =
  | 'join'
  | 'leave'
  | 'say'
  | 'say from JavaScript'
  | 'join from JavaScript'
  | 'leave from JavaScript'
  | 'broadcast'
  | 'read'
  | 'type'
  | 'go'
  | 'drop'
  | 'kick'
  | 'replace the room';

const weights: Array<[act: Act, weight: number]> = [
  ['join', 250],
  ['leave', 100],
  ['say', 400],
  ['say from JavaScript', 100],
  ['join from JavaScript', 30],
  ['leave from JavaScript', 20],
  ['broadcast', 30],
  ['read', 20],
  ['type', 20],
  ['go', 7],
  ['drop', 7],
  ['kick', 6],
  ['replace the room', 3],
];

const steps = fc.array(
  fc.record({
    act: fc.oneof(...weights.map(([act, weight]) => ({ weight, arbitrary: fc.constant(act) }))),
    actor: fc.nat(CLIENTS - 1),
    room: fc.nat(ROOMS - 1),
  }),
  { minLength: 1, maxLength: STEPS, size: 'max' },
);
type Step = { act: Act; actor: number; room: number };

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
  const property = fc.asyncProperty(fc.noBias(steps), live).afterEach(endAll);
  // What it takes to look for fewer steps is bounded.
  const bounds = { interruptAfterTimeLimit: 90_000, markInterruptAsFailure: true };
  await fc.assert(property, { seed: SEED, numRuns: RUNS, ...bounds });
}, 120_000);

/** Everybody lives through the steps, and leaves. */
async function live(script: Step[]): Promise<void> {
  const running: Running = await start({ cors: { origin: '*' } });
  const { service } = running;
  const connections = record(service, 'connection');
  const disconnects = record(service, 'disconnect');
  const announced = record(service, 'message');
  let everyoneGone!: () => void;
  let expectedGone = Infinity;
  service.on('disconnect', () => disconnects.length >= expectedGone && everyoneGone());

  const open: Room[] = [];
  for (let index = 0; index < ROOMS; index++) open.push(await service.createRoom(`room ${index}`));
  const deleted: Room[] = [];

  let names = 0;
  async function arrive(): Promise<Actor> {
    const name = `client ${names++}`;
    const client = await connect(running, { transports: settings[names % settings.length]!, query: { username: name } });
    return { client, id: client.id!, name, sent: 0, gone: false };
  }
  const everyone: Actor[] = [];
  for (let index = 0; index < CLIENTS; index += 20) {
    everyone.push(...(await Promise.all(Array.from({ length: 20 }, arrive))));
  }
  const actors = [...everyone];
  let serverSent = 0;

  async function go(actor: Actor, leave: () => unknown): Promise<void> {
    actor.gone = true;
    leave();
    const next = await arrive();
    everyone.push(next);
    actors[actors.indexOf(actor)] = next;
  }

  async function replace(room: Room): Promise<void> {
    deleted.push(room);
    void service.deleteRoom(room.id);
    open[open.indexOf(room)] = await service.createRoom('another room');
  }

  const acts: Record<Act, (actor: Actor, room: Room) => unknown> = {
    join: ({ client }, room) => client.emit('room:join', { roomId: room.id }),
    leave: ({ client }, room) => client.emit('room:leave', { roomId: room.id }),
    say: (actor, room) => actor.client.emit('message', { roomId: room.id, content: `${actor.name}|${actor.sent++}` }),
    'say from JavaScript': (_actor, room) => void service.sendMessage(room.id, 'server', `server|${serverSent++}`),
    'join from JavaScript': ({ id }, room) => void service.joinRoom(id, room.id).catch(() => {}),
    'leave from JavaScript': ({ id }, room) => void service.leaveRoom(id, room.id),
    broadcast: ({ id }, room) => void service.broadcastToRoom(room.id, 'news', 1, { except: [id] }),
    read: (_actor, room) => [service.getStats(), service.getRoomMembers(room.id), service.getRoomMessages(room.id, 5)],
    type: ({ client, sent }, room) => client.emit('typing', { roomId: room.id, isTyping: sent % 2 === 0 }),
    go: (actor) => go(actor, () => actor.client.disconnect()),
    drop: (actor) => go(actor, () => actor.client.io.engine.close()),
    kick: (actor) => go(actor, () => void service.disconnectUser(actor.id, 'by the server')),
    'replace the room': (_actor, room) => replace(room),
  };
  for (const [index, { act, actor, room }] of script.entries()) {
    await acts[act](actors[actor]!, open[room]!);
    if (index % 50 === 0) await new Promise((turn) => setImmediate(turn));
  }

  // Whatever a client has sent is served before the answer to its last event, what it was sent before the marker.
  await Promise.all(actors.map((actor) => actor.client.emitWithAck('room:leave', { roomId: 'unknown' })));
  await eventsDelivered(service);
  await drained(service, ...actors.map((actor) => actor.client));

  const rooms = [...open, ...deleted];
  const order = new Map<string, string[]>(rooms.map((room) => [room.id, []]));
  for (const [message] of announced) order.get(message.roomId)?.push(message.id);
  const fromServer = announced.filter(([message]) => message.userId === 'server');
  expect(fromServer).toHaveLength(serverSent);

  for (const room of open) {
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
  const checks = open.map((room) => ({ room, members: [...room.members] }));
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
    totalRooms: open.length,
  });
  for (const room of open) expect(room.members.size).toBe(0);
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
}
