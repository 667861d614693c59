// Redis goes away and comes back: local clients notice nothing, and what is promised for afterwards is counted.
//
// OUTAGES=3,30,300 (seconds) makes the counted outage longer than the default.

import { afterTest, connect, next, nextWhere, received, record, type Client } from '../harness';
import { eventually, within } from './eventually';
import {
  connectAs,
  enter,
  forget,
  joined,
  known,
  newPrefix,
  placesOf,
  populated,
  settled,
  startMember,
  statsOf,
  watch,
  type Member,
} from './fleet';
import { startPeer } from './instances';
import { freePort, RedisProxy, startRedis, type RedisServer } from './redis';

const outages = (process.env.OUTAGES ?? '3').split(',').map(Number);
// A local message takes a millisecond or two; a machine with other work to do takes longer.
const LOCAL = 250;
const BACK = 10_000;
const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

interface Scene {
  keyPrefix: string;
  fleet: Member[];
  clients: Client[];
  roomId: string;
}

/** Two members with two clients each, all in one room. */
async function begin(address: Record<string, unknown>, other: Record<string, unknown> = {}): Promise<Scene> {
  const keyPrefix = newPrefix();
  const fleet = [await startMember({ ...address, keyPrefix }), await startMember({ ...address, ...other, keyPrefix })];
  await joined(fleet);
  const room = await fleet[0]!.service.createRoom('chat');
  await known(fleet, room.id);
  const clients = [];
  for (const [index, member] of [fleet[0]!, fleet[0]!, fleet[1]!, fleet[1]!].entries()) {
    clients.push(await connectAs(member, `user ${index}`));
    await enter(clients.at(-1)!, room.id);
  }
  await populated(fleet, room.id, clients);
  await settled(fleet, ...clients);
  forget(...clients);
  return { keyPrefix, fleet, clients, roomId: room.id };
}

/** A message of a client to its neighbour on the same instance: milliseconds until it is there. */
async function localDelay(sender: Client, neighbour: Client, roomId: string, content: string): Promise<number> {
  const arrived = nextWhere(neighbour, 'message', (message) => message.content === content);
  const began = performance.now();
  sender.emit('message', { roomId, content });
  await within(3000, 'a local message', arrived);
  return performance.now() - began;
}

const contentsOf = (client: Client) => received(client, 'message').map(({ content }) => content as string);
const numbered = (name: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `${name} ${from + index}`);
const status = (members: Member[], wanted: string) =>
  eventually(() => {
    for (const member of members) expect(statsOf(member).status).toBe(wanted);
  }, BACK);

/** A heartbeat may wait at any moment, but nothing waits for long. */
const nothingMissing = (members: Member[]) =>
  eventually(() => {
    for (const member of members) {
      expect(statsOf(member)).toMatchObject({ queued: 0, dropped: 0, lost: 0, instances: members.length });
    }
  });

function expectStillConnected(clients: Client[], disconnects: any[][]): void {
  for (const client of clients) expect(client.connected).toBe(true);
  expect(disconnects).toEqual([]);
}

const disconnectsOf = (clients: Client[]) => {
  const calls: any[][] = [];
  for (const client of clients) client.on('disconnect', (...args) => calls.push(args));
  return calls;
};

describe('Redis is killed and started again', () => {
  test.each(outages)(
    'after %i s nothing is lost, and everything comes in order',
    async (seconds) => {
      const redis = await startRedis();
      const { fleet, clients, roomId } = await begin(redis.address);
      const [first, second, third, fourth] = clients as [Client, Client, Client, Client];
      const errors = fleet.map(({ service }) => record(service, 'error'));
      const statuses = fleet.map(({ service }) => record(service, 'cluster'));
      const happened = watch(fleet);
      const disconnects = disconnectsOf(clients);

      await redis.kill();
      await status(fleet, 'degraded');
      const delays: number[] = [];
      const until = Date.now() + seconds * 1000;
      let sent = 0;
      // At most 400 messages: the queue holds more than that.
      for (; Date.now() < until; sent++) {
        delays.push(await localDelay(first, second, roomId, `first ${sent}`));
        await localDelay(third, fourth, roomId, `third ${sent}`);
        await pause(Math.max(10, (seconds * 1000) / 400));
      }
      // All of it came while Redis was away.
      expect(contentsOf(second)).toEqual(numbered('first', 0, sent));
      expect(Math.max(...delays)).toBeLessThan(LOCAL);
      expect(statsOf(fleet[0]!).queued).toBeGreaterThanOrEqual(sent);

      await redis.launch();
      await status(fleet, 'ready');
      await eventually(() => {
        for (const client of clients) expect(received(client, 'message').length).toBeGreaterThanOrEqual(2 * sent);
      }, BACK);
      await settled(fleet, ...clients);
      for (const client of clients) {
        for (const name of ['first', 'third']) {
          expect(contentsOf(client).filter((content) => content.startsWith(name))).toEqual(numbered(name, 0, sent));
        }
      }
      for (const member of fleet)
        expect(statsOf(member)).toMatchObject({ queued: 0, dropped: 0, lost: 0, instances: 2 });
      for (const calls of errors) expect(calls.map(([error]) => error.code)).toEqual(['ERR_REDIS_UNREACHABLE']);
      for (const calls of statuses) expect(calls.map(([each]) => each)).toEqual(['degraded', 'ready']);
      // Nobody was taken for gone, on either side, however long the silence.
      for (const event of ['disconnect', 'room:leave', 'connection', 'room:join'])
        expect(placesOf(happened, event)).toEqual([]);
      for (const client of clients)
        for (const event of ['user:left', 'user:joined']) expect(received(client, event)).toEqual([]);
      expectStillConnected(clients, disconnects);
    },
    (Math.max(...outages) + 60) * 1000,
  );

  test('in the middle of the traffic: what was on its way is neither lost nor sent twice', async () => {
    const redis = await startRedis();
    const { fleet, clients, roomId } = await begin(redis.address);
    const [first, , third] = clients as [Client, Client, Client];
    let sending = true;
    afterTest(() => (sending = false));
    let sent = 0;
    const load = (async () => {
      for (; sending; sent++) {
        first.emit('message', { roomId, content: `first ${sent}` });
        third.emit('message', { roomId, content: `third ${sent}` });
        await pause(2);
      }
    })();
    for (let turn = 0; turn < 2; turn++) {
      await eventually(() => expect(received(third, 'message').length).toBeGreaterThan(0));
      await redis.kill();
      await status(fleet, 'degraded');
      await redis.launch();
      await status(fleet, 'ready');
      const before = contentsOf(third).filter((content) => content.startsWith('first')).length;
      await eventually(() =>
        expect(contentsOf(third).filter((content) => content.startsWith('first')).length).toBeGreaterThan(before),
      );
    }
    sending = false;
    await load;
    await eventually(() => {
      for (const client of clients) expect(received(client, 'message').length).toBeGreaterThanOrEqual(2 * sent);
    }, BACK);
    await settled(fleet, ...clients);
    for (const client of clients) {
      for (const name of ['first', 'third']) {
        expect(contentsOf(client).filter((content) => content.startsWith(name))).toEqual(numbered(name, 0, sent));
      }
    }
    await nothingMissing(fleet);
  });

  test('what changed on either side meanwhile is right on the other within two heartbeats', async () => {
    const beat = 500;
    const redis = await startRedis();
    const { keyPrefix, fleet, clients, roomId } = await begin({ ...redis.address, heartbeatInterval: beat });
    const [first, second, third, fourth] = clients as [Client, Client, Client, Client];
    const [here, there] = fleet.map(({ service }) => service) as [Member['service'], Member['service']];
    const doomed = await here.createRoom('doomed');
    await known(fleet, doomed.id);

    await redis.kill();
    await status(fleet, 'degraded');
    const gone = next(here, 'disconnect');
    second.disconnect();
    await gone;
    await first.emitWithAck('room:leave', { roomId });
    const newcomer = await connectAs(fleet[1]!, 'newcomer');
    const made = await there.createRoom('made', 'meanwhile', 'newcomer', { n: 1 });
    await newcomer.emitWithAck('room:join', { roomId });
    await newcomer.emitWithAck('room:join', { roomId: made.id });
    await here.deleteRoom(doomed.id);
    expect(there.getRoom(doomed.id)).toBeDefined();
    expect(here.getUserSockets('newcomer')).toEqual([]);

    const ready = fleet.map(({ service }) => nextWhere(service, 'cluster', (each) => each === 'ready'));
    await redis.launch();
    for (const each of ready) await within(BACK, 'ready', each);
    await eventually(() => {
      for (const { service } of fleet) {
        expect([...service.getRoom(roomId)!.members].sort()).toEqual([third.id!, fourth.id!, newcomer.id!].sort());
        expect([...(service.getRoom(made.id)?.members ?? [])]).toEqual([newcomer.id]);
        expect(service.getRoom(doomed.id)).toBeUndefined();
        expect(
          service
            .getConnectedUsers()
            .map(({ id }) => id)
            .sort(),
        ).toEqual(['newcomer', 'user 0', 'user 2', 'user 3']);
        expect(service.isUserOnline('user 1')).toBe(false);
        expect(service.getRoom(made.id)).toMatchObject({ name: 'made', namespace: 'meanwhile', metadata: { n: 1 } });
      }
    }, 2 * beat);
    // And it stays so: nothing older overwrites it.
    const late = await startMember({ ...redis.address, keyPrefix });
    await within(BACK, 'ready', late.service.ready());
    expect(
      late.service
        .listRooms()
        .map(({ id }) => id)
        .sort(),
    ).toEqual([roomId, made.id].sort());
    for (const client of [first, third, fourth, newcomer]) expect(client.connected).toBe(true);
  });

  test('a queue that is too short drops the oldest messages, counts them, and other instances ask for them', async () => {
    const redis = await startRedis();
    const { fleet, clients } = await begin({ ...redis.address, maxQueuedMessages: 100 });
    const [first, , third] = clients as [Client, Client, Client];
    await redis.kill();
    await status(fleet, 'degraded');
    const before = statsOf(fleet[0]!).queued;
    for (let index = 0; index < 150; index++) await fleet[0]!.service.broadcastToAll('news', index);
    await eventually(() => expect(received(first, 'news')).toHaveLength(150));
    expect(statsOf(fleet[0]!)).toMatchObject({ queued: 100, dropped: 50 + before });

    await redis.launch();
    await status(fleet, 'ready');
    await settled(fleet, ...clients);
    expect(received(third, 'news')).toEqual(Array.from({ length: 150 }, (_, index) => index));
    // What the instance says itself when Redis is back takes a place in the queue, too.
    expect(statsOf(fleet[0]!).dropped).toBeLessThan(60 + before);
    expect(statsOf(fleet[1]!).lost).toBe(0);
  });

  test('a Node.js server hears the rest of a queue that is too short, in order', async () => {
    const redis = await startRedis();
    const keyPrefix = newPrefix();
    // The Node.js server keeps its connections, so that it listens before the queue is flushed.
    const proxy = await RedisProxy.start(redis);
    const member = await startMember({ ...proxy.address, keyPrefix, maxQueuedMessages: 100 });
    await joined([member]);
    const peer = await startPeer({ redis: redis.address, key: keyPrefix });
    const paul = await connect(peer, { transports: ['websocket'] });
    await proxy.refuse();
    await status([member], 'degraded');
    for (let index = 0; index < 150; index++) await member.service.broadcastToAll('news', index);
    await proxy.pass();
    await status([member], 'ready');
    await member.service.broadcastToAll('news', 'last');
    await eventually(() => expect(received(paul, 'news').at(-1)).toBe('last'));
    const arrived = received(paul, 'news').slice(0, -1);
    expect(arrived).toEqual(Array.from({ length: arrived.length }, (_, index) => 150 - arrived.length + index));
    // All but the few places in the queue that the instance took for what it says itself when Redis is back.
    expect(arrived.length).toBeGreaterThan(90);
    expect(arrived.length).toBeLessThanOrEqual(100);
  });

  test('more than any instance keeps for the others is missing there, and counted', async () => {
    const redis = await startRedis();
    const { fleet, clients } = await begin({ ...redis.address, maxQueuedMessages: 10 });
    const third = clients[2]!;
    await redis.kill();
    await status(fleet, 'degraded');
    const sent = 17_000;
    for (let index = 0; index < sent; index++) await fleet[0]!.service.broadcastToAll('news', index);
    await redis.launch();
    await status(fleet, 'ready');
    await eventually(() => expect(received(third, 'news').at(-1)).toBe(sent - 1), BACK);
    await settled(fleet, ...clients);
    const arrived = received(third, 'news');
    expect(arrived).toEqual(Array.from({ length: arrived.length }, (_, index) => sent - arrived.length + index));
    expect(arrived.length).toBeLessThan(sent);
    expect(statsOf(fleet[1]!).lost).toBe(sent - arrived.length);
  });

  test('a queue is also bounded by bytes', async () => {
    const redis = await startRedis();
    const { fleet, clients } = await begin({ ...redis.address, maxQueuedBytes: 50_000 });
    const third = clients[2]!;
    await redis.kill();
    await status(fleet, 'degraded');
    for (let index = 0; index < 100; index++) {
      await fleet[0]!.service.broadcastToAll('news', { index, filler: 'x'.repeat(1000) });
    }
    const { queued, dropped } = statsOf(fleet[0]!);
    expect(queued).toBeGreaterThan(30);
    expect(queued).toBeLessThan(50);
    expect(dropped).toBeGreaterThanOrEqual(100 - queued);

    await redis.launch();
    await status(fleet, 'ready');
    await settled(fleet, ...clients);
    expect(received(third, 'news').map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  test('rooms that a Redis without persistence forgot are written again', async () => {
    const redis = await startRedis({ persistence: false });
    const { keyPrefix, fleet, clients, roomId } = await begin(redis.address);
    await redis.kill();
    await status(fleet, 'degraded');
    await redis.launch();
    await status(fleet, 'ready');
    await settled(fleet, ...clients);
    await eventually(async () => {
      expect(await redis.command('HEXISTS', `${keyPrefix}-native:rooms`, roomId)).toBe(1);
    });
    const late = await startMember({ ...redis.address, keyPrefix });
    await within(BACK, 'ready', late.service.ready());
    for (const { service } of [...fleet, late]) {
      expect(service.getRoom(roomId)).toMatchObject({ id: roomId, name: 'chat' });
      expect(service.getRoom(roomId)!.members.size).toBe(4);
    }
  });
});

describe('Redis stands still', () => {
  const ways: Array<[string, (redis: RedisServer) => unknown, (redis: RedisServer) => unknown]> = [
    ['SIGSTOP', (redis) => redis.freeze(), (redis) => redis.thaw()],
    ['CLIENT PAUSE', (redis) => redis.pause(1500), () => pause(1500)],
  ];
  test.each(ways)(
    'by %s: local delivery goes on, and everything comes afterwards, once and in order',
    async (_name, stop, go) => {
      const redis = await startRedis();
      // Longer than the standstill: nothing is given up, so nothing may be missing.
      const { fleet, clients, roomId } = await begin({
        ...redis.address,
        responseTimeout: 5000,
        heartbeatInterval: 1000,
      });
      const [first, second, third, fourth] = clients as [Client, Client, Client, Client];
      const disconnects = disconnectsOf(clients);
      await stop(redis);
      const delays: number[] = [];
      for (let index = 0; index < 50; index++) {
        delays.push(await localDelay(first, second, roomId, `first ${index}`));
        await localDelay(third, fourth, roomId, `third ${index}`);
      }
      expect(Math.max(...delays)).toBeLessThan(LOCAL);
      expect(contentsOf(third).filter((content) => content.startsWith('first'))).toEqual([]);
      await go(redis);
      await eventually(() => {
        for (const client of clients) expect(received(client, 'message').length).toBeGreaterThanOrEqual(100);
      }, BACK);
      await settled(fleet, ...clients);
      for (const client of clients) {
        for (const name of ['first', 'third']) {
          expect(contentsOf(client).filter((content) => content.startsWith(name))).toEqual(numbered(name, 0, 50));
        }
      }
      expectStillConnected(clients, disconnects);
    },
  );

  test('longer than a response may take: degraded, then as after a restart', async () => {
    const redis = await startRedis();
    const { fleet, clients, roomId } = await begin({ ...redis.address, responseTimeout: 500 });
    const [first, second, third] = clients as [Client, Client, Client];
    const disconnects = disconnectsOf(clients);
    const happened = watch(fleet, ['disconnect', 'room:leave']);
    redis.freeze();
    const delays: number[] = [];
    let sent = 0;
    const send = async () => delays.push(await localDelay(first, second, roomId, `first ${sent++}`));
    await eventually(async () => {
      await send();
      for (const member of fleet) expect(statsOf(member).status).toBe('degraded');
    });
    for (let more = 0; more < 50; more++) await send();
    expect(Math.max(...delays)).toBeLessThan(LOCAL);
    redis.thaw();
    await status(fleet, 'ready');
    await settled(fleet, ...clients);
    // Some of them were on their way when the connection was given up: neither lost nor sent twice.
    for (const client of clients) expect(contentsOf(client)).toEqual(numbered('first', 0, sent));
    await nothingMissing(fleet);
    expect(happened).toEqual([]);
    expectStillConnected(clients, disconnects);
  });
});

describe('subscriptions die', () => {
  test('by forced closes under load: they are made again, and what came meanwhile is asked for', async () => {
    const redis = await startRedis();
    const { fleet, clients } = await begin(redis.address);
    const [first, , third] = clients as [Client, Client, Client];
    const disconnects = disconnectsOf(clients);
    let sent = 0;
    const send = async (count: number) => {
      for (let index = 0; index < count; index++) {
        await fleet[0]!.service.broadcastToAll('news', sent++);
        await pause(5);
      }
    };
    for (let close = 0; close < 5; close++) {
      await send(60);
      expect(await redis.dropSubscribers()).toBeGreaterThanOrEqual(2);
      await send(60);
    }
    await status(fleet, 'ready');
    await settled(fleet, ...clients);
    const local = received(first, 'news');
    const remote = received(third, 'news');
    expect(local).toEqual(Array.from({ length: sent }, (_, index) => index));
    // A Node.js server misses 144 of 583 when this is done to it.
    expect(remote).toEqual(local);
    await nothingMissing(fleet);
    expectStillConnected(clients, disconnects);
  });

  test('silently: found by the probe and replaced, and memberships are right again', async () => {
    const redis = await startRedis();
    const proxy = await RedisProxy.start(redis);
    const { fleet, clients, roomId } = await begin(redis.address, proxy.address);
    const [first, , third, fourth] = clients as [Client, Client, Client, Client];
    const disconnects = disconnectsOf(clients);
    const happened = watch(fleet, ['disconnect', 'room:leave']);
    expect(proxy.swallowSubscriptions()).toBeGreaterThanOrEqual(1);

    // The other side's news do not come, what is published here still leaves.
    const newcomer = await connectAs(fleet[0]!, 'newcomer');
    await newcomer.emitWithAck('room:join', { roomId });
    await third.emitWithAck('message', { roomId, content: 'out' });
    await eventually(() => expect(contentsOf(first)).toEqual(['out']));
    await populated(fleet, roomId, [...clients, newcomer]);
    await first.emitWithAck('message', { roomId, content: 'in again' });
    await eventually(() => expect(contentsOf(fourth)).toEqual(['out', 'in again']));
    expect(happened).toEqual([]);
    expectStillConnected([first, third, fourth, newcomer], disconnects);
  });
});

test('every connection of an instance goes dead silently, and new ones work', async () => {
  const redis = await startRedis();
  const proxy = await RedisProxy.start(redis);
  const { fleet, clients, roomId } = await begin({ ...redis.address, responseTimeout: 500 }, proxy.address);
  const [first, , third, fourth] = clients as [Client, Client, Client, Client];
  const disconnects = disconnectsOf(clients);
  proxy.swallow();
  await status([fleet[1]!], 'degraded');
  const delay = await localDelay(third, fourth, roomId, 'local');
  expect(delay).toBeLessThan(LOCAL);
  await proxy.pass();
  await status(fleet, 'ready');
  await populated(fleet, roomId, clients);
  await first.emitWithAck('message', { roomId, content: 'back' });
  await settled(fleet, ...clients);
  expect(contentsOf(fourth).at(-1)).toBe('back');
  expectStillConnected(clients, disconnects);
});

test('connections that are cut again and again do not matter for long', async () => {
  const redis = await startRedis();
  const proxy = await RedisProxy.start(redis);
  const { fleet, clients, roomId } = await begin(redis.address, proxy.address);
  const disconnects = disconnectsOf(clients);
  for (let turn = 0; turn < 10; turn++) {
    await eventually(() => expect(proxy.connections).toBeGreaterThan(0));
    proxy.cut();
  }
  await status(fleet, 'ready');
  await populated(fleet, roomId, clients);
  await clients[0]!.emitWithAck('message', { roomId, content: 'still' });
  await settled(fleet, ...clients);
  for (const client of clients) expect(contentsOf(client)).toEqual(['still']);
  expectStillConnected(clients, disconnects);
});

test('starting while Redis is down: local service at once, the cluster when Redis comes', async () => {
  const redis = await startRedis();
  const keyPrefix = newPrefix();
  await redis.kill();
  const fleet = [
    await startMember({ ...redis.address, keyPrefix }),
    await startMember({ ...redis.address, keyPrefix }),
  ];
  const errors = fleet.map(({ service }) => record(service, 'error'));
  let ready = false;
  const allReady = Promise.all(fleet.map(({ service }) => service.ready())).then(() => (ready = true));

  const [first, second] = [await connectAs(fleet[0]!, 'first'), await connectAs(fleet[0]!, 'second')];
  const third = await connectAs(fleet[1]!, 'third');
  const room = await fleet[0]!.service.createRoom('chat');
  await enter(first, room.id);
  await enter(second, room.id);
  expect(await localDelay(first, second, room.id, 'early')).toBeLessThan(LOCAL);
  await eventually(() => {
    for (const calls of errors) expect(calls.map(([error]) => error.code)).toEqual(['ERR_REDIS_UNREACHABLE']);
  });
  for (const member of fleet) expect(statsOf(member)).toMatchObject({ status: 'degraded', instances: 1 });
  expect(ready).toBe(false);

  await redis.launch();
  await within(BACK, 'ready()', allReady);
  await joined(fleet);
  await populated(fleet, room.id, [first, second]);
  await enter(third, room.id);
  await first.emitWithAck('message', { roomId: room.id, content: 'together' });
  await settled(fleet, first, second, third);
  expect(contentsOf(third).at(-1)).toBe('together');
  expect(await redis.command('HEXISTS', `${keyPrefix}-native:rooms`, room.id)).toBe(1);
  for (const client of [first, second, third]) expect(client.connected).toBe(true);
});

test('a service that never reaches Redis shuts down in time', async () => {
  const [member] = [await startMember({ host: '127.0.0.1', port: await freePort() })];
  await connectAs(member, 'someone');
  const began = Date.now();
  await within(10_000, 'shutdown()', member.service.shutdown());
  expect(Date.now() - began).toBeLessThan(5000);
});
