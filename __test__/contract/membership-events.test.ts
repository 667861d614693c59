// What the members of a room are told of those who come and go: of each, together, or nothing.

import { EventEmitter } from 'node:events';
import { eventually } from '../support/eventually';
import { connect, drained, received, record, singleTransports, start, WebSocketService, silentLogger, track, type Client, type Running } from '../support/harness';
import { at, joined, known, newPrefix, startMember } from '../support/fleet';
import { sharedRedis } from '../support/redis';
import type { MembershipEvents } from '../../index';

/** So many are told one by one. */
const FEW = 50;

/** Sockets without a client, so that a room may be large. */
async function crowd({ service }: Running, roomId: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => `crowd ${index}`);
  for (const id of ids) {
    const socket = Object.assign(new EventEmitter(), { id, handshake: { auth: {}, query: {}, headers: {} } });
    await service.handleConnection(socket as any);
    await service.joinRoom(id, roomId);
  }
  return ids;
}

async function inside(running: Running, roomId: string, transport: 'polling' | 'websocket' = 'websocket'): Promise<Client> {
  const client = await connect(running, { transports: [transport] });
  await running.service.joinRoom(client.id!, roomId);
  await drained(running.service, client);
  client.received.length = 0;
  return client;
}

const redis = sharedRedis();

const total = (changes: any[], name: 'joined' | 'left') => changes.reduce((sum, change) => sum + change[name], 0);

describe.each(singleTransports)('over %s', (transport) => {
  test("'each', the default, tells of each", async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const client = await inside(running, room.id, transport);
    await crowd(running, room.id, FEW + 20);
    await drained(running.service, client);
    expect(received(client, 'user:joined')).toHaveLength(FEW + 20);
    expect(received(client, 'users:changed')).toEqual([]);
  });

  test("'gathered' tells of each while there are few, then how many", async () => {
    const running = await start({ membershipEvents: 'gathered' });
    const { service } = running;
    const room = await service.createRoom('r');
    const client = await inside(running, room.id, transport);
    const joins = record(service, 'room:join');
    const ids = await crowd(running, room.id, FEW + 100);
    await eventually(() => expect(total(received(client, 'users:changed'), 'joined')).toBe(101));
    expect(received(client, 'user:joined')).toHaveLength(FEW - 1);
    expect(joins).toHaveLength(FEW + 100);
    expect(received(client, 'users:changed').at(-1)).toEqual({
      roomId: room.id,
      joined: expect.any(Number),
      left: 0,
      count: FEW + 101,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    });
    for (const id of ids) await service.leaveRoom(id, room.id);
    await eventually(() => expect(total(received(client, 'users:changed'), 'left')).toBe(100));
    expect(received(client, 'user:left')).toHaveLength(FEW);
  });
});

test("'gathered' is once a second, and not when there is nothing", async () => {
  const running = await start({ membershipEvents: 'gathered' });
  const room = await running.service.createRoom('r');
  const client = await inside(running, room.id);
  const [, ...ids] = await crowd(running, room.id, FEW + 20);
  const end = performance.now() + 2_500;
  let moves = 0;
  while (performance.now() < end) {
    await running.service.leaveRoom(ids[moves % ids.length]!, room.id);
    await running.service.joinRoom(ids[moves++ % ids.length]!, room.id);
  }
  const seen = received(client, 'users:changed').length;
  expect(seen).toBeGreaterThanOrEqual(1);
  expect(seen).toBeLessThanOrEqual(4);
  await eventually(() => expect(total(received(client, 'users:changed'), 'left')).toBe(moves));
  const toldOf = (roomId: string) => received(client, 'users:changed').filter((change) => change.roomId === roomId);
  const settled = toldOf(room.id).length;
  // Another room has its turn at the same time: when that has come, so has one of the first.
  const other = await running.service.createRoom('other');
  for (const id of [client.id!, ...ids]) await running.service.joinRoom(id, other.id);
  await running.service.leaveRoom(ids[0]!, other.id);
  await eventually(() => expect(total(toldOf(other.id), 'left')).toBe(1));
  await drained(running.service, client);
  expect(toldOf(room.id)).toHaveLength(settled);
});

test("'none' tells of nobody, and the service still knows", async () => {
  const running = await start({ membershipEvents: 'none' });
  const [joins, leaves] = [record(running.service, 'room:join'), record(running.service, 'room:leave')];
  const room = await running.service.createRoom('r');
  const client = await inside(running, room.id);
  const ids = await crowd(running, room.id, 5);
  for (const id of ids) await running.service.leaveRoom(id, room.id);
  await drained(running.service, client);
  expect(client.received.filter(({ event }) => event.startsWith('user'))).toEqual([]);
  expect([joins.length, leaves.length]).toEqual([6, 5]);
});

test.each<[service: MembershipEvents, room: MembershipEvents, told: number]>([
  ['each', 'none', 0],
  ['none', 'each', 3],
  ['none', 'gathered', 3],
])('a room of a service with %p may say %p', async (membershipEvents, own, told) => {
  const running = await start({ membershipEvents });
  const room = await running.service.createRoom('r', 'default', undefined, { color: 'red' }, { membershipEvents: own });
  expect(room.metadata).toEqual({ color: 'red' });
  const client = await inside(running, room.id);
  await crowd(running, room.id, 3);
  await drained(running.service, client);
  expect(received(client, 'user:joined')).toHaveLength(told);
});

test('each instance of a cluster tells its own clients, and knows what a room says', async () => {
  const member = at(redis().address, newPrefix());
  const fleet = [await startMember(member), await startMember(member)];
  await joined(fleet);
  const [one, other] = fleet as [Running, Running];
  const rooms = await Promise.all(
    (['gathered', 'none', undefined] as const).map((membershipEvents) => one.service.createRoom('r', 'default', undefined, undefined, { membershipEvents })),
  );
  for (const { id } of rooms) await known(fleet, id);
  const client = await connect(other, { transports: ['websocket'] });
  for (const { id } of rooms) await other.service.joinRoom(client.id!, id);
  await drained(other.service, client);
  client.received.length = 0;
  await crowd(one, rooms[0]!.id, FEW + 30);
  for (const { id } of rooms.slice(1)) for (let index = 0; index < 3; index++) await one.service.joinRoom(`crowd ${index}`, id);
  await eventually(() => expect(total(received(client, 'users:changed'), 'joined')).toBe(31));
  await eventually(() => expect(received(client, 'user:joined').filter(({ roomId }) => roomId === rooms[2]!.id)).toHaveLength(3));
  const told = (room: { id: string }) => received(client, 'user:joined').filter(({ roomId }) => roomId === room.id).length;
  expect([told(rooms[0]!), told(rooms[1]!)]).toEqual([FEW - 1, 0]);
  expect(received(client, 'users:changed').at(-1)).toMatchObject({ roomId: rooms[0]!.id, count: FEW + 31 });
});

test.each([
  [{ membershipEvents: 'all' }, /^options.membershipEvents must be 'each', 'gathered' or 'none', got "all"$/],
  [{ membershipEvent: 'none' }, /did you mean options.membershipEvents\?$/],
  ['none', /^options must be an object such as/],
])('%p is refused by its name', async (options: any, message) => {
  const service = track(new WebSocketService({ logger: silentLogger }));
  await expect(service.createRoom('r', 'default', undefined, undefined, options)).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(message),
  });
  expect(service.listRooms()).toEqual([]);
});
