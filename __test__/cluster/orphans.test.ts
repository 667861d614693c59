// An instance that is killed: its clients come to others, which know what they have missed.

import type { RedisConfig, WebSocketConfig } from '../../index';
import { BEAT, connectAs, enter, newPrefix, startMember } from '../support/fleet';
import { eventually } from '../support/eventually';
import { connect, drained, next, received, record, type Client, type Running } from '../support/harness';
import { startInstance, type ServerProcess } from '../support/instances';
import { layLine, type Line } from '../support/line';
import { sharedRedis, startRedis } from '../support/redis';

const redis = sharedRedis();

interface Scene {
  address: RedisConfig;
  doomed: ServerProcess;
  rest: [Running, Running];
  roomId: string;
  guests: Array<{ client: Client; line: Line; id: string }>;
  watcher: Client;
}

/** An instance of its own process with clients, two others, and somebody on one of these, all in a room. */
async function scene(
  count: number,
  recovery: WebSocketConfig['connectionStateRecovery'] = true,
  { port = redis().port, beat = BEAT } = {},
): Promise<Scene> {
  const address = { port, keyPrefix: newPrefix(), heartbeatInterval: beat };
  const config = { connectionStateRecovery: recovery };
  const [doomed, ...rest] = await Promise.all([
    startInstance({ redis: address, config }),
    startMember(address, config),
    startMember(address, config),
  ]);
  const [first] = rest;
  await doomed.call('ready');
  for (const { service } of rest) await service.ready();
  await eventually(() => {
    for (const { service } of rest) expect(service.getStats().cluster!.instances).toBe(3);
  });
  const { id: roomId } = await first.service.createRoom('room');
  const watcher = await connectAs(first, 'watcher');
  const guests = await Promise.all(Array.from({ length: count }, (_, index) => invite(doomed, `guest-${index}`)));
  for (const client of [watcher, ...guests.map((guest) => guest.client)]) await enter(client, roomId);
  await eventually(() => {
    for (const { service } of rest) expect(service.getRoom(roomId)!.members.size).toBe(count + 1);
  });
  await drained(first.service, watcher);
  return { address, doomed, rest: rest as [Running, Running], roomId, guests, watcher };
}

async function invite(doomed: ServerProcess, userId: string) {
  const line = await layLine(Number(new URL(doomed.url).port));
  const options = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 };
  const client = await connect({ url: line.url }, { transports: ['websocket'], auth: { userId }, ...options });
  return { client, line, id: client.id! };
}

/** What nobody is to be told. */
function told({ rest, watcher }: Scene): unknown[][] {
  const events = ['disconnect', 'room:leave', 'room:join'] as const;
  const ofServices = rest.flatMap(({ service }) => events.map((event) => record(service, event)));
  return [...ofServices, ...['user:left', 'user:joined', 'user:status'].map((event) => record(watcher, event))];
}

const silence = async (times: number) => {
  // For so long nothing is heard of the instance: the subject.
  await new Promise((done) => setTimeout(done, times * BEAT));
};

test.each([
  ['before the others have noticed', 0],
  ['when the others have given it up', 8],
])('its clients come to others as themselves, %s', async (_, beats) => {
  const set = await scene(2);
  const { doomed, rest, roomId, guests } = set;
  const [ada, bob] = guests as [(typeof guests)[0], (typeof guests)[0]];
  await doomed.chain(['getSocket', ada.id], ['join', 'plain']);
  await doomed.command('keep', ada.id, { seat: 7 });
  const [one, two] = rest;
  await one.service.broadcastToRoom(roomId, 'n', 0);
  await eventually(() => {
    for (const { client } of guests) expect(received(client, 'n')).toEqual([0]);
  });
  // The next beats tell what is in `data`.
  await silence(3);
  const events = told(set);
  for (const { line } of guests) line.close();
  const gone = guests.map(({ client }) => (client.connected ? next(client, 'disconnect') : undefined));
  await doomed.kill('SIGKILL');
  await Promise.all(gone);
  await one.service.broadcastToRoom(roomId, 'n', 1);
  await two.service.broadcastToUsers(['guest-0', 'guest-1'], 'n', 2);
  for (const { id } of guests) await two.service.emitToSocket(id, 'n', 3);
  two.service.to('plain').emit('plain', 1);
  two.service.to(['plain', roomId]).emit('n', 4);
  await two.service.broadcastToRoom(roomId, 'but', 1, { except: [bob.id] });
  two.service.except(bob.id).emit('but', 2);
  await two.service.sendMessage(roomId, 'watcher', 'hello');
  await silence(beats);
  for (const { id } of guests) expect([one.service.getUser(id)?.socketId, two.service.getRoom(roomId)!.members.has(id)]).toEqual([id, true]);
  const connections = record(one.service, 'connection');
  const back = guests.map(({ client }) => next(client, 'connect'));
  for (const { line } of guests) {
    line.lead(one.port);
    line.mend();
  }
  await Promise.all(back);
  await one.service.broadcastToRoom(roomId, 'n', 5);
  await drained(one.service, ada.client, bob.client);
  for (const { client, id } of guests) {
    expect([client.recovered, client.id]).toEqual([true, id]);
    expect(received(client, 'message')).toHaveLength(1);
    expect([...received(client, 'n')].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    for (const { service } of rest) await eventually(() => expect(service.getUserSockets(service.getUser(id)!.id)).toEqual([id]));
  }
  expect([received(ada.client, 'plain'), received(bob.client, 'plain')]).toEqual([[1], []]);
  expect(received(bob.client, 'but')).toEqual([]);
  expect(received(ada.client, 'but')).toContain(2);
  const socket = one.service.getSocket(ada.id)!;
  expect([socket.data, socket.recovered, socket.userId]).toEqual([{ seat: 7 }, true, 'guest-0']);
  expect([...socket.rooms].sort()).toEqual([ada.id, 'plain', roomId].sort());
  expect(connections).toHaveLength(2);
  expect(events.flat()).toEqual([]);
  // They are what they were: further returns, and their end.
  const again = next(ada.client, 'connect');
  ada.line.cut();
  await again;
  expect([ada.client.recovered, ada.client.id]).toEqual([true, ada.id]);
  const end = next(one.service, 'disconnect');
  ada.client.disconnect();
  expect((await end)[0].socketId).toBe(ada.id);
  await eventually(() => expect(two.service.getRoom(roomId)!.members.has(ada.id)).toBe(false));
}, 40_000);

test('whoever was sent nothing yet gets the first event ever', async () => {
  const set = await scene(0, true);
  const guest = await invite(set.doomed, 'ada');
  await eventually(() => expect(set.rest[0].service.getUserSockets('ada')).toEqual([guest.id]));
  expect((guest.client as unknown as { _lastOffset?: string })._lastOffset).toBeUndefined();
  guest.line.close();
  await set.doomed.kill('SIGKILL');
  await set.rest[1].service.emitToSocket(guest.id, 'first', 1);
  const back = next(guest.client, 'connect');
  guest.line.lead(set.rest[0].port);
  guest.line.mend();
  await back;
  await drained(set.rest[0].service, guest.client);
  expect([guest.client.recovered, received(guest.client, 'first')]).toEqual([true, [1]]);
});

test('one goes on from instance to instance while the killed one is not given up yet', async () => {
  const set = await scene(1, true, { beat: 5_000 });
  const { doomed, rest, roomId, guests } = set;
  const { client, line, id } = guests[0]!;
  line.close();
  await doomed.kill('SIGKILL');
  const hops = [rest[0], rest[1], rest[0], rest[1], rest[0]];
  for (const [hop, to] of hops.entries()) {
    if (hop > 0) {
      const gone = next(client, 'disconnect');
      line.close();
      await gone;
    }
    await rest[hop % 2]!.service.broadcastToRoom(roomId, 'n', hop);
    const back = next(client, 'connect');
    line.lead(to.port);
    line.mend();
    await back;
    expect([client.recovered, client.id]).toEqual([true, id]);
  }
  expect(rest[0].service.getStats().cluster!.instances).toBe(3);
  await drained(rest[0].service, client);
  expect(received(client, 'n')).toEqual([0, 1, 2, 3, 4]);
  for (const { service } of rest) await eventually(() => expect(service.getUserSockets('guest-0')).toEqual([id]));
}, 40_000);

test('an instance that was started after the kill has what the others remember', async () => {
  const set = await scene(2);
  const { doomed, rest, roomId, guests, address } = set;
  await doomed.chain(['getSocket', guests[0]!.id], ['join', 'plain']);
  await rest[0].service.broadcastToRoom(roomId, 'n', 0);
  await eventually(() => {
    for (const { client } of guests) expect(received(client, 'n')).toEqual([0]);
  });
  const events = told(set);
  for (const { line } of guests) line.close();
  await doomed.kill('SIGKILL');
  await rest[0].service.broadcastToRoom(roomId, 'n', 1);
  await rest[1].service.emitToSocket(guests[0]!.id, 'n', 2);
  const young = await startMember(address, { connectionStateRecovery: true });
  await young.service.ready();
  await rest[1].service.broadcastToRoom(roomId, 'n', 3);
  await eventually(() => expect(received(set.watcher, 'n')).toEqual([0, 1, 3]));
  const back = guests.map(({ client }) => next(client, 'connect'));
  for (const { line } of guests) {
    line.lead(young.port);
    line.mend();
  }
  await Promise.all(back);
  await young.service.broadcastToRoom(roomId, 'n', 4);
  for (const { client, id } of guests) {
    await drained(young.service, client);
    expect([client.recovered, client.id]).toEqual([true, id]);
  }
  expect(guests.map(({ client }) => received(client, 'n'))).toEqual([[0, 1, 2, 3, 4], [0, 1, 3, 4]]);
  expect([...young.service.getSocket(guests[0]!.id)!.rooms].sort()).toEqual([guests[0]!.id, 'plain', roomId].sort());
  for (const { service } of [...rest, young]) await eventually(() => expect(service.getRoom(roomId)!.members.size).toBe(3));
  expect(events.flat()).toEqual([]);
}, 40_000);

test('one that does not come to any has gone after the time that it may be away, and is told of once', async () => {
  const set = await scene(1, { maxDisconnectionDuration: 1_500 });
  const { doomed, rest, guests, roomId, watcher } = set;
  const { id, line, client } = guests[0]!;
  line.close();
  const leaves = rest.map(({ service }) => record(service, 'room:leave'));
  const all = rest.map(({ service }) => record(service, 'disconnect'));
  const left = next(watcher, 'user:left');
  await doomed.kill('SIGKILL');
  await silence(6);
  expect(rest.map(({ service }) => service.isUserOnline('guest-0'))).toEqual([true, true]);
  expect((await left)[0]).toMatchObject({ userId: 'guest-0', roomId });
  await eventually(() => expect(all.flat().map(([user, reason]: any) => [user.socketId, reason])).toEqual([[id, 'instance lost']]));
  for (const { service } of rest) await eventually(() => expect(service.isUserOnline('guest-0')).toBe(false));
  expect(leaves.flat()).toHaveLength(1);
  const back = next(client, 'connect');
  line.lead(rest[0].port);
  line.mend();
  await back;
  expect([client.recovered, client.id === id]).toEqual([false, false]);
}, 30_000);

test('what survivors say while an instance is killed comes once and in order; of what that one said, what Redis has taken', async () => {
  const set = await scene(10);
  const { doomed, rest, roomId, guests } = set;
  const events = told(set);
  let isOver = false;
  const talk = async (say: (number: number) => Promise<unknown>): Promise<number> => {
    let number = 0;
    for (; !isOver; number += 1) {
      await say(number);
      // What pacing is.
      await new Promise((done) => setTimeout(done, 4));
    }
    return number;
  };
  const talking = rest.map(({ service }, index) => talk((number) => service.broadcastToRoom(roomId, `said-${index}`, number)));
  const doomedTalks = talk((number) => doomed.call('broadcastToRoom', roomId, 'last words', number)).catch(() => undefined);
  await eventually(() => {
    for (const { client } of guests) expect(received(client, 'said-1').length).toBeGreaterThan(100);
  });
  const back = guests.map(({ client }) => next(client, 'connect'));
  for (const [index, { line }] of guests.entries()) line.lead(rest[index % 2]!.port);
  await doomed.kill('SIGKILL');
  await Promise.all(back);
  const longer = received(guests[0]!.client, 'said-1').length + 100;
  await eventually(() => {
    for (const { client } of guests) expect(received(client, 'said-1').length).toBeGreaterThan(longer);
  });
  isOver = true;
  const counts = await Promise.all(talking);
  await doomedTalks;
  for (const [index, { client }] of guests.entries()) await drained(rest[index % 2]!.service, client);
  await eventually(() => {
    for (const { client } of guests) {
      for (const [index, count] of counts.entries()) {
        expect(received(client, `said-${index}`)).toEqual(Array.from({ length: count }, (_, number) => number));
      }
    }
  });
  for (const { client, id } of guests) {
    expect([client.recovered, client.id]).toEqual([true, id]);
    const words = received(client, 'last words');
    expect(words).toEqual(Array.from({ length: words.length }, (_, number) => number));
  }
  expect(events.flat()).toEqual([]);
}, 60_000);

test('Redis may start anew in between', async () => {
  const own = await startRedis();
  const set = await scene(1, true, own);
  const { doomed, rest, roomId, guests } = set;
  const { client, line, id } = guests[0]!;
  await rest[0].service.broadcastToRoom(roomId, 'n', 0);
  await eventually(() => expect(received(client, 'n')).toEqual([0]));
  line.close();
  await doomed.kill('SIGKILL');
  await rest[1].service.broadcastToRoom(roomId, 'n', 1);
  await eventually(() => expect(received(set.watcher, 'n')).toEqual([0, 1]));
  await own.kill();
  await rest[0].service.broadcastToRoom(roomId, 'n', 2);
  await own.launch();
  for (const { service } of rest) await eventually(() => expect(service.getStats().cluster!.status).toBe('ready'), 20_000);
  await rest[1].service.broadcastToRoom(roomId, 'n', 3);
  await eventually(() => expect(received(set.watcher, 'n')).toEqual([0, 1, 2, 3]));
  const back = next(client, 'connect');
  line.lead(rest[0].port);
  line.mend();
  await back;
  await drained(rest[0].service, client);
  expect([client.recovered, client.id, received(client, 'n')]).toEqual([true, id, [0, 1, 2, 3]]);
}, 60_000);

test('one that only stood still ends them silently when it goes on, and agrees with the others', async () => {
  const set = await scene(2);
  const { doomed, rest, roomId, guests, watcher } = set;
  const [one, two] = rest;
  const { client, line, id } = guests[0]!;
  const stays = guests[1]!;
  await one.service.broadcastToRoom(roomId, 'n', 0);
  await eventually(() => {
    for (const guest of guests) expect(received(guest.client, 'n')).toEqual([0]);
  });
  const events = told(set);
  process.kill(doomed.pid, 'SIGSTOP');
  await eventually(() => {
    for (const { service } of rest) expect(service.getStats().cluster!.instances).toBe(2);
  }, 20_000);
  const back = next(client, 'connect');
  line.close();
  await two.service.broadcastToRoom(roomId, 'n', 1);
  line.lead(one.port);
  line.mend();
  await back;
  process.kill(doomed.pid, 'SIGCONT');
  await eventually(() => {
    for (const { service } of rest) expect(service.getStats().cluster!.instances).toBe(3);
  }, 20_000);
  await eventually(async () => expect(await doomed.call('getUserSockets', 'guest-0')).toEqual([id]), 20_000);
  await eventually(async () => expect((await doomed.call('getRoom', roomId)).members).toHaveLength(3), 20_000);
  await doomed.call('broadcastToRoom', roomId, 'n', 2);
  await eventually(() => {
    for (const guest of guests) expect([...received(guest.client, 'n')].sort()).toEqual([0, 1, 2]);
    expect(received(watcher, 'n')).toEqual([0, 1, 2]);
  });
  for (const { service } of rest) {
    expect([...service.getRoom(roomId)!.members].sort()).toEqual([watcher.id, id, stays.id].sort());
    expect(service.getUserSockets('guest-0')).toEqual([id]);
  }
  expect([client.recovered, client.id, stays.client.id]).toEqual([true, id, stays.id]);
  expect(events.flat()).toEqual([]);
  const end = next(one.service, 'disconnect');
  client.disconnect();
  expect((await end)[0].socketId).toBe(id);
  await eventually(async () => expect((await doomed.call('getRoom', roomId)).members).toHaveLength(2));
}, 60_000);
