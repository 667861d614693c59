// A deploy: each instance hands its clients over and another takes its place, while everybody talks.

import { connectAs, enter, joined, known, newPrefix, populated, startMember } from '../support/fleet';
import { eventually } from '../support/eventually';
import { drained, next, received, record, type Client, type Running } from '../support/harness';
import { layLine, type Line } from '../support/line';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
const CLIENTS = 12;

interface Guest {
  client: Client;
  line: Line;
  id: string;
  /** What `recovered` said each time that it came back. */
  returns: boolean[];
}

function startFleetFor(keyPrefix: string, count: number): Promise<Running[]> {
  const config = { connectionStateRecovery: true };
  return Promise.all(Array.from({ length: count }, () => startMember({ port: redis().port, keyPrefix }, config)));
}

async function invite(member: Running, name: string): Promise<Guest> {
  const line = await layLine(member.port);
  const options = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 };
  const client = await connectAs({ ...member, url: line.url }, name, options);
  const guest: Guest = { client, line, id: client.id!, returns: [] };
  client.on('connect', () => guest.returns.push(client.recovered && client.id === guest.id));
  return guest;
}

/** Sends numbers to a room until it is stopped. Resolves to how many. */
function talk({ service }: Running, roomId: string, event: string): () => Promise<number> {
  let [isOver, count] = [false, 0];
  const talking = (async () => {
    for (; !isOver; count += 1) {
      await service.broadcastToRoom(roomId, event, count);
      // What pacing is: about two hundred a second.
      await new Promise((done) => setTimeout(done, 5));
    }
    return count;
  })();
  return () => {
    isOver = true;
    return talking;
  };
}

test('a rolling restart of three instances loses and doubles nothing, and nobody hears of it', async () => {
  const prefix = newPrefix();
  let fleet = await startFleetFor(prefix, 3);
  await joined(fleet);
  const room = await fleet[0]!.service.createRoom('room');
  await known(fleet, room.id);
  const guests = await Promise.all(Array.from({ length: CLIENTS }, (_, index) => invite(fleet[index % 3]!, `guest-${index}`)));
  for (const { client } of guests) await enter(client, room.id);
  await populated(fleet, room.id, guests.map(({ client }) => client));
  for (const { service } of fleet) for (const { id } of guests) service.getSocket(id)?.join('plain');
  // Their coming has been told.
  for (const [index, { client }] of guests.entries()) await drained(fleet[index % 3]!.service, client);
  const heard = guests.flatMap(({ client }) => ['user:left', 'user:joined', 'user:status'].map((event) => record(client, event)));
  const told: unknown[][] = [];
  const listen = ({ service }: Running) => told.push(record(service, 'disconnect'), record(service, 'room:leave'), record(service, 'room:join'));
  fleet.forEach(listen);
  const sent = new Map<string, number>();
  let publisher = 0;
  const names = () => `said-${(publisher += 1)}`;
  const speaking = fleet.map((member) => {
    const name = names();
    return { member, name, stop: talk(member, room.id, name) };
  });
  for (let turn = 0; turn < 3; turn += 1) {
    const [oldest, ...others] = fleet as [Running, ...Running[]];
    const [speaker] = speaking.splice(0, 1);
    // The balancer sends nobody there any more.
    for (const [index, { line }] of guests.entries()) line.lead(others[index % others.length]!.port);
    const ending = oldest.service.shutdown({ drainMs: 300, recover: true });
    sent.set(speaker!.name, await speaker!.stop());
    await ending;
    const [member] = (await startFleetFor(prefix, 1)) as [Running];
    fleet = [...others, member];
    listen(member);
    await joined(fleet);
    await eventually(() => expect(member.service.getRoom(room.id)?.members.size).toBe(CLIENTS));
    const name = names();
    speaking.push({ member, name, stop: talk(member, room.id, name) });
  }
  for (const { name, stop } of speaking) sent.set(name, await stop());
  for (const { service } of fleet) service.to('plain').emit('plain', service.getSocket(guests[0]!.id) !== undefined);
  await eventually(() => {
    for (const { client } of guests) expect(received(client, 'plain')).toHaveLength(3);
  });
  for (const { service } of fleet) for (const { client } of guests) if (service.getSocket(client.id!)?.connected) await drained(service, client);
  for (const { client } of guests) {
    for (const [name, count] of sent) expect(received(client, name)).toEqual(Array.from({ length: count }, (_, number) => number));
  }
  // Each client's instance was one of those that ended, some after they had come to a second one.
  expect(guests.every(({ returns }) => returns.length > 0 && returns.every(Boolean))).toBe(true);
  expect([heard.flat(), told.flat()]).toEqual([[], []]);
  await populated(fleet, room.id, guests.map(({ client }) => client));
}, 60_000);

test('a client that does not come back in time has gone, and the instance does not wait for ever', async () => {
  const fleet = await startFleetFor(newPrefix(), 2);
  await joined(fleet);
  const [here, there] = fleet as [Running, Running];
  const client = await connectAs(here, 'ada');
  const { id } = client;
  await eventually(() => expect(there.service.getUserSockets('ada')).toEqual([id]));
  const [away, end] = [next(here.service, 'away'), next(here.service, 'disconnect')];
  const ending = here.service.shutdown({ recover: true });
  const [, reason] = await away;
  const [user, why] = await end;
  expect([reason, user.socketId, why]).toEqual(['server_shutdown', id, 'server_shutdown']);
  await ending;
  await eventually(() => expect(there.service.isUserOnline('ada')).toBe(false));
}, 30_000);

test('alone it does not wait for other instances', async () => {
  const [member] = (await startFleetFor(newPrefix(), 1)) as [Running];
  await joined([member]);
  const client = await connectAs(member, 'ada');
  const [gone, end] = [next(client, 'disconnect'), next(member.service, 'disconnect')];
  await member.service.shutdown({ recover: true });
  expect([await gone, (await end)[1]]).toEqual([['transport close', expect.anything()], 'server_shutdown']);
});
