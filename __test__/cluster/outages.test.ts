// Redis is killed and started again: local clients notice nothing, and what is promised for afterwards is counted.
//
// OUTAGES=3,30,300 (seconds) makes the counted outage longer than the default.

import { afterTest, connect, next, nextWhere, received, record, type Client, type Running } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { connectAs, joined, known, newPrefix, placesOf, settled, startMember, statsOf, watch } from '../support/fleet';
import { startPeer } from '../support/instances';
import { RedisProxy, startRedis } from '../support/redis';
import {
  BACK,
  become,
  begin,
  contentsOf,
  disconnectsOf,
  expectStillConnected,
  LOCAL,
  localDelay,
  nothingMissing,
  numbered,
  pause,
} from '../support/scene';

const outages = (process.env.OUTAGES ?? '3').split(',').map(Number);

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
      await become(fleet, 'degraded');
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
      await become(fleet, 'ready');
      await eventually(() => {
        for (const client of clients) expect(received(client, 'message').length).toBeGreaterThanOrEqual(2 * sent);
      }, BACK);
      await settled(fleet, ...clients);
      for (const client of clients) {
        for (const name of ['first', 'third']) {
          expect(contentsOf(client).filter((content) => content.startsWith(name))).toEqual(numbered(name, 0, sent));
        }
      }
      // A beat may be on its way at any time.
      for (const member of fleet)
        await eventually(() => expect(statsOf(member)).toMatchObject({ queued: 0, dropped: 0, lost: 0, instances: 2 }));
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
      await become(fleet, 'degraded');
      await redis.launch();
      await become(fleet, 'ready');
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
    const [here, there] = fleet.map(({ service }) => service) as [Running['service'], Running['service']];
    const doomed = await here.createRoom('doomed');
    await known(fleet, doomed.id);

    await redis.kill();
    await become(fleet, 'degraded');
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

  test('a queue that is too short drops the oldest and counts them, and other instances ask for them', async () => {
    const redis = await startRedis();
    const { fleet, clients } = await begin({ ...redis.address, maxQueuedMessages: 100 });
    const [first, , third] = clients as [Client, Client, Client];
    await redis.kill();
    await become(fleet, 'degraded');
    const before = statsOf(fleet[0]!).queued;
    for (let index = 0; index < 150; index++) await fleet[0]!.service.broadcastToAll('news', index);
    await eventually(() => expect(received(first, 'news')).toHaveLength(150));
    expect(statsOf(fleet[0]!)).toMatchObject({ queued: 100, dropped: 50 + before });

    await redis.launch();
    await become(fleet, 'ready');
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
    await become([member], 'degraded');
    for (let index = 0; index < 150; index++) await member.service.broadcastToAll('news', index);
    await proxy.pass();
    await become([member], 'ready');
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
    // What is missing is asked for at each beat, given up after three, and comes through the queue. On a busy machine
    // thousands take longer than a short beat: they would push each other out of the queue.
    const { fleet, clients } = await begin({ ...redis.address, maxQueuedMessages: 10, heartbeatInterval: 2000 });
    const third = clients[2]!;
    await redis.kill();
    await become(fleet, 'degraded');
    const sent = 17_000;
    for (let index = 0; index < sent; index++) await fleet[0]!.service.broadcastToAll('news', index);
    await redis.launch();
    await become(fleet, 'ready');
    await eventually(() => expect(received(third, 'news').at(-1)).toBe(sent - 1), BACK);
    await settled(fleet, ...clients);
    const arrived = received(third, 'news');
    expect(arrived).toEqual(Array.from({ length: arrived.length }, (_, index) => sent - arrived.length + index));
    expect(arrived.length).toBeLessThan(sent);
    // The last thing that `begin` did may be among them.
    expect(statsOf(fleet[1]!).lost).toBeGreaterThanOrEqual(sent - arrived.length);
    expect(statsOf(fleet[1]!).lost).toBeLessThanOrEqual(sent - arrived.length + 2);
  });

  test('a queue is also bounded by bytes', async () => {
    const redis = await startRedis();
    const { fleet, clients } = await begin({ ...redis.address, maxQueuedBytes: 50_000 });
    const third = clients[2]!;
    await redis.kill();
    await become(fleet, 'degraded');
    for (let index = 0; index < 100; index++) {
      await fleet[0]!.service.broadcastToAll('news', { index, filler: 'x'.repeat(1000) });
    }
    const { queued, dropped } = statsOf(fleet[0]!);
    expect(queued).toBeGreaterThan(30);
    expect(queued).toBeLessThan(50);
    expect(dropped).toBeGreaterThanOrEqual(100 - queued);

    await redis.launch();
    await become(fleet, 'ready');
    await settled(fleet, ...clients);
    expect(received(third, 'news').map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  test('rooms that a Redis without persistence forgot are written again', async () => {
    const redis = await startRedis({ persistence: false });
    const { keyPrefix, fleet, clients, roomId } = await begin(redis.address);
    await redis.kill();
    await become(fleet, 'degraded');
    await redis.launch();
    await become(fleet, 'ready');
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
