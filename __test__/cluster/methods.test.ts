// Three instances on one Redis are like one big instance: every method of the service, called on any of them.

import { next, received, start, type Client, type Running, type Service } from '../support/harness';
import type { BroadcastOptions, Message } from '../../index';
import { eventually, within } from '../support/eventually';
import {
  at,
  BEAT,
  connectAs,
  enter,
  forget,
  known,
  newPrefix,
  placesOf,
  populated,
  settled,
  startFleet,
  statsOf,
  watch,
} from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
let prefix: string;
let fleet: Running[];
let services: Service[];
const origins = [0, 1, 2];

beforeEach(async () => {
  prefix = newPrefix();
  fleet = await startFleet(3, at(redis().address, prefix));
  services = fleet.map(({ service }) => service);
});

/** Holds on every instance, within a second: one heartbeat's worth of it would be enough. */
const everywhere = (check: (service: Service) => void) => eventually(() => services.forEach(check), 1000);

const ids = (values: Iterable<{ socketId: string }>) => [...values].map(({ socketId }) => socketId).sort();

describe('rooms', () => {
  test.each(origins)('created on instance %i are rooms of all', async (origin) => {
    const happened = watch(fleet);
    const room = await services[origin]!.createRoom('chat', 'social', 'alice', { topic: 'cats', limits: { size: 3 } });
    const other = await services[(origin + 1) % 3]!.createRoom('chat');
    await everywhere((service) => {
      expect(service.getRoom(room.id)).toEqual(room);
      expect(service.getRoom(other.id)).toEqual(other);
    });
    for (const service of services) {
      expect(service.getRoom(room.id)).toBe(service.getRoom(room.id));
      expect(service.getRoom(room.id)!.createdAt).toBeInstanceOf(Date);
      expect(service.getRoom(room.id)!.members).toBeInstanceOf(Set);
      expect(
        service
          .listRooms()
          .map(({ id }) => id)
          .sort(),
      ).toEqual([room.id, other.id].sort());
      expect(service.listRooms('social')).toEqual([room]);
      expect(service.listRooms('nowhere')).toEqual([]);
      expect(service.getRoomStats(room.id)).toMatchObject({
        roomId: room.id,
        memberCount: 0,
        messageCount: 0,
        createdAt: room.createdAt,
      });
      expect(service.getStats().totalRooms).toBe(2);
    }
    await settled(fleet);
    expect(placesOf(happened, 'room:create').sort()).toEqual([origin, (origin + 1) % 3].sort());
  });

  test.each(origins)('deleted on instance %i are gone from all', async (origin) => {
    const [bob, carol] = [await connectAs(fleet[1]!, 'bob'), await connectAs(fleet[2]!, 'carol')];
    const [room, kept] = [await services[0]!.createRoom('chat'), await services[0]!.createRoom('kept')];
    for (const client of [bob, carol]) {
      await enter(client, room.id);
      await enter(client, kept.id);
    }
    await populated(fleet, room.id, [bob, carol]);
    await populated(fleet, kept.id, [bob, carol]);
    await services[0]!.sendMessage(room.id, 'alice', 'hello');
    await everywhere((service) => expect(service.getRoomMessages(room.id)).toHaveLength(1));
    const happened = watch(fleet);

    await services[origin]!.deleteRoom(room.id);
    await everywhere((service) => {
      expect(service.getRoom(room.id)).toBeUndefined();
      expect(service.listRooms().map(({ id }) => id)).toEqual([kept.id]);
      expect(service.getRoomMembers(room.id)).toEqual([]);
      expect(service.getRoomMessages(room.id)).toEqual([]);
      expect(service.getRoomStats(room.id)).toBeNull();
    });
    expect(services[1]!.getSocket(bob.id!)!.rooms).toEqual(new Set([bob.id, kept.id]));
    for (const service of services) {
      await expect(service.broadcastToRoom(room.id, 'news', 1)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
      await expect(service.sendMessage(room.id, 'alice', 'hello')).rejects.toMatchObject({ message: 'Room not found' });
    }
    for (const client of [bob, carol]) {
      expect(await client.emitWithAck('room:join', { roomId: room.id })).toMatchObject({
        ok: false,
        error: { code: 'ERR_NOT_FOUND' },
      });
    }
    await settled(fleet, bob, carol);
    expect(placesOf(happened, 'room:delete')).toEqual([origin]);
    await populated(fleet, kept.id, [bob, carol]);
    // A mark stays for a while, for instances that are away.
    const [deleted, other] = await redis().command('HMGET', `${prefix}-native:rooms`, room.id, kept.id);
    expect(deleted).toMatch(/^~\d+$/);
    expect(JSON.parse(other)).toMatchObject({ id: kept.id, name: 'kept' });
  });

  test.each(origins)('are joined and left by calls on instance %i', async (origin) => {
    const room = await services[0]!.createRoom('chat');
    await known(fleet, room.id);
    const watcher = await connectAs(fleet[1]!, 'watcher');
    const carol = await connectAs(fleet[2]!, 'carol', { query: { username: 'Carol' } });
    const held = services.map((service) => service.getRoom(room.id)!.members);
    await enter(watcher, room.id);
    await populated(fleet, room.id, [watcher]);
    await everywhere((service) => expect(service.getUser(carol.id!)).toBeDefined());
    forget(watcher, carol);
    const happened = watch(fleet);

    await services[origin]!.joinRoom(carol.id!, room.id);
    await services[origin]!.joinRoom(carol.id!, room.id);
    await populated(fleet, room.id, [watcher, carol]);
    for (const service of services) {
      expect(ids(service.getRoomMembers(room.id))).toEqual([watcher.id!, carol.id!].sort());
      expect(service.getRoomStats(room.id)!.memberCount).toBe(2);
    }
    held.forEach((members) => expect(members.has(carol.id!)).toBe(true));
    expect(services[2]!.getSocket(carol.id!)!.rooms.has(room.id)).toBe(true);
    await services[origin]!.broadcastToRoom(room.id, 'news', 1);
    await settled(fleet, watcher, carol);
    expect(received(carol, 'news')).toEqual([1]);

    await services[origin]!.leaveRoom(carol.id!, room.id);
    await services[origin]!.leaveRoom(carol.id!, room.id);
    await populated(fleet, room.id, [watcher]);
    held.forEach((members) => expect([...members]).toEqual([watcher.id]));
    await services[origin]!.broadcastToRoom(room.id, 'news', 2);
    await settled(fleet, watcher, carol);

    expect(received(carol, 'news')).toEqual([1]);
    const about = {
      userId: 'carol',
      username: 'Carol',
      socketId: carol.id,
      roomId: room.id,
      timestamp: expect.any(String),
    };
    expect(received(watcher, 'user:joined')).toEqual([about]);
    expect(received(watcher, 'user:left')).toEqual([about]);
    for (const event of ['user:joined', 'user:left']) expect(received(carol, event)).toEqual([]);
    // The instance of the socket is where it happens, whoever asked for it.
    for (const event of ['room:join', 'room:leave']) {
      expect(placesOf(happened, event)).toEqual([2]);
      const [{ user, room: where }] = happened.find((entry) => entry.event === event)!.args;
      expect([user.socketId, where.id]).toEqual([carol.id, room.id]);
    }
  });

  test.each(origins)('that or whose user nobody knows cannot be joined on instance %i', async (origin) => {
    const room = await services[0]!.createRoom('chat');
    await known(fleet, room.id);
    const carol = await connectAs(fleet[2]!, 'carol');
    await everywhere((service) => expect(service.getUser(carol.id!)).toBeDefined());
    const failure = { code: 'ERR_NOT_FOUND', message: 'User or room not found' };

    await expect(services[origin]!.joinRoom(carol.id!, 'unknown')).rejects.toMatchObject(failure);
    await expect(services[origin]!.joinRoom('unknown', room.id)).rejects.toMatchObject(failure);
    await services[origin]!.leaveRoom('unknown', room.id);
    await services[origin]!.leaveRoom(carol.id!, 'unknown');
    await services[origin]!.leaveRoom(carol.id!, room.id);
    await settled(fleet, carol);
    for (const service of services) expect(service.getRoom(room.id)!.members.size).toBe(0);
  });
});

describe('users', () => {
  test('are known to every instance, with all that is known of them', async () => {
    const user = { username: 'Alice', email: 'alice@example.com', roles: ['admin'], metadata: { team: { id: 7 } } };
    const happened = watch(fleet);
    const first = await connectAs(fleet[0]!, 'alice', { auth: { userId: 'alice', user } });
    const second = await connectAs(fleet[2]!, 'alice', { auth: { userId: 'alice' } });
    const bob = await connectAs(fleet[1]!, 'bob', { query: { username: 'Bob' } });
    await everywhere((service) => {
      expect(ids(service.getConnectedUsers())).toEqual([first.id!, second.id!, bob.id!].sort());
      expect(service.getUser(first.id!)).toMatchObject({ ...user, id: 'alice', socketId: first.id });
      expect(service.getUser(first.id!)!.connectedAt).toEqual(services[0]!.getUser(first.id!)!.connectedAt);
      expect(service.getUser(first.id!)!.lastActivity).toBeInstanceOf(Date);
      expect(service.getUser(bob.id!)).toMatchObject({ id: 'bob', username: 'Bob', socketId: bob.id });
      expect(service.getUserSockets('alice').sort()).toEqual([first.id!, second.id!].sort());
      expect(service.getUserSockets('bob')).toEqual([bob.id]);
      expect(service.isUserOnline('bob')).toBe(true);
      expect(service.isUserOnline('nobody')).toBe(false);
    });
    for (const service of services) expect(service.getUser(bob.id!)).toBe(service.getUser(bob.id!));

    const firstId = first.id!;
    first.disconnect();
    await everywhere((service) => {
      expect(service.getUser(firstId)).toBeUndefined();
      expect(service.getUserSockets('alice')).toEqual([second.id]);
      expect(service.isUserOnline('alice')).toBe(true);
    });
    second.disconnect();
    await everywhere((service) => {
      expect(service.isUserOnline('alice')).toBe(false);
      expect(service.getUserSockets('alice')).toEqual([]);
      expect(ids(service.getConnectedUsers())).toEqual([bob.id]);
    });
    await settled(fleet, bob);
    expect(placesOf(happened, 'connection')).toEqual([0, 2, 1]);
    expect(placesOf(happened, 'disconnect')).toEqual([0, 2]);
  });

  test.each(origins)('are disconnected by instance %i wherever they are', async (origin) => {
    const alices = await Promise.all(fleet.map((member) => connectAs(member, 'alice')));
    const bob = await connectAs(fleet[1]!, 'bob');
    await everywhere((service) => expect(service.getUserSockets('alice')).toHaveLength(3));
    const happened = watch(fleet);
    const gone = Promise.all(alices.map((client) => next(client, 'disconnect')));

    await services[origin]!.emitToSocket(alices[0]!.id!, 'last words', 1);
    await services[origin]!.disconnectUser('alice', 'banned');
    await within(3000, 'the disconnects', gone);
    await everywhere((service) => expect(service.isUserOnline('alice')).toBe(false));
    await settled(fleet, bob);
    expect(received(alices[0]!, 'last words')).toEqual([1]);
    expect(placesOf(happened, 'disconnect').sort()).toEqual([0, 1, 2]);
    for (const { args } of happened) expect([args[0].id, args[1]]).toEqual(['alice', 'banned']);
    expect(bob.connected).toBe(true);
  });

  test('of an instance that is shut down leave at once, and only there with events', async () => {
    // Long heartbeats: it is not their absence that tells.
    fleet = await startFleet(3, { ...at(redis().address, newPrefix()), heartbeatInterval: 10_000 });
    services = fleet.map(({ service }) => service);
    const room = await services[0]!.createRoom('chat');
    const clients = await Promise.all(fleet.map((member, index) => connectAs(member, `user ${index}`)));
    for (const client of clients) await enter(client, room.id);
    await populated(fleet, room.id, clients);
    const happened = watch(fleet);
    const [stay, stayToo, leave] = clients as [Client, Client, Client];
    const leftId = leave.id;

    await services[2]!.shutdown();
    const rest = fleet.slice(0, 2);
    await populated(rest, room.id, [stay, stayToo]);
    for (const member of rest) expect(statsOf(member).instances).toBe(2);
    await settled(rest, stay, stayToo);
    expect(services[0]!.isUserOnline('user 2')).toBe(false);
    for (const client of [stay, stayToo]) {
      expect(received(client, 'user:left')).toMatchObject([{ userId: 'user 2', socketId: leftId, roomId: room.id }]);
    }
    expect(placesOf(happened, 'room:leave')).toEqual([2]);
    expect(placesOf(happened, 'disconnect')).toEqual([2]);
    expect(happened.find(({ event }) => event === 'disconnect')!.args[1]).toBe('server_shutdown');
  });
});

describe('messages', () => {
  test.each(origins)('sent by instance %i reach every member once and every history', async (origin) => {
    const room = await services[0]!.createRoom('chat');
    const elsewhere = await services[0]!.createRoom('elsewhere');
    const clients = await Promise.all(fleet.map((member) => connectAs(member, 'someone')));
    const outsider = await connectAs(fleet[1]!, 'outsider');
    for (const client of clients) await enter(client, room.id);
    await enter(outsider, elsewhere.id);
    await populated(fleet, room.id, clients);
    const happened = watch(fleet);

    const sent: Message[] = [];
    for (const [index, type] of (['text', 'system', 'image', 'file'] as const).entries()) {
      sent.push(await services[origin]!.sendMessage(room.id, 'alice', `content ${index}`, type, { index }));
    }
    await settled(fleet, ...clients, outsider);
    const wire = JSON.parse(JSON.stringify(sent));
    for (const client of clients) expect(received(client, 'message')).toEqual(wire);
    expect(received(outsider, 'message')).toEqual([]);
    expect(placesOf(happened, 'message')).toEqual([origin, origin, origin, origin]);
    await everywhere((service) => {
      expect(service.getRoomMessages(room.id)).toEqual([...sent].reverse());
      expect(service.getRoomMessages(room.id, 2, 1)).toEqual([sent[2], sent[1]]);
      expect(service.getRoomMessages(elsewhere.id)).toEqual([]);
      expect(service.getRoomStats(room.id)).toMatchObject({ messageCount: 4, lastActivity: sent[3]!.timestamp });
    });
    for (const service of services) {
      expect(service.getRoomMessages(room.id)[0]).toBe(service.getRoomMessages(room.id)[0]);
      expect(service.getRoomMessages(room.id)[0]!.timestamp).toBeInstanceOf(Date);
    }
  });
});

describe('broadcasts', () => {
  const clients: Record<string, Client> = {};
  const rooms: Record<string, string> = {};

  beforeEach(async () => {
    const places = { alice0: 0, alice1: 1, bob1: 1, carol2: 2, dave0: 0, erin2: 2 };
    for (const [name, place] of Object.entries(places)) {
      clients[name] = await connectAs(fleet[place]!, name.slice(0, -1));
    }
    rooms.chat = (await services[0]!.createRoom('chat', 'social')).id;
    rooms.game = (await services[1]!.createRoom('game', 'play')).id;
    rooms.empty = (await services[2]!.createRoom('empty', 'play')).id;
    const inside = { chat: ['alice0', 'bob1', 'carol2'], game: ['bob1', 'dave0', 'erin2'], empty: [] };
    for (const [room, names] of Object.entries(inside)) {
      for (const name of names) await enter(clients[name]!, rooms[room]!);
      await populated(
        fleet,
        rooms[room]!,
        names.map((name) => clients[name]!),
      );
    }
    await everywhere((service) => expect(service.getConnectedUsers()).toHaveLength(6));
  });

  const id = (name: string) => clients[name]!.id!;
  const all = ['alice0', 'alice1', 'bob1', 'carol2', 'dave0', 'erin2'];

  /** Who received an event, once for each time. */
  async function reached(event: string): Promise<string[]> {
    return all.flatMap((name) => received(clients[name]!, event).map(() => name));
  }

  type Row = [name: string, options: () => BroadcastOptions | undefined, names: string[]];
  const toAll: Row[] = [
    ['nothing', () => undefined, all],
    ['except', () => ({ except: [id('alice0'), id('bob1'), id('erin2')] }), ['alice1', 'carol2', 'dave0']],
    ['except an unknown socket', () => ({ except: ['unknown'] }), all],
    ['users', () => ({ users: ['alice', 'erin', 'nobody'] }), ['alice0', 'alice1', 'erin2']],
    ['no users', () => ({ users: [] }), []],
    ['room', () => ({ room: rooms.chat }), ['alice0', 'bob1', 'carol2']],
    ['an empty room', () => ({ room: rooms.empty }), []],
    ['an unknown room', () => ({ room: 'unknown' }), []],
    ['namespace', () => ({ namespace: 'play' }), ['bob1', 'dave0', 'erin2']],
    ['an unknown namespace', () => ({ namespace: 'nowhere' }), []],
    ['room and users', () => ({ room: rooms.chat, users: ['alice', 'erin'] }), ['alice0']],
    ['room and namespace', () => ({ room: rooms.chat, namespace: 'play' }), ['bob1']],
    ['users and except', () => ({ users: ['alice'], except: [id('alice0')] }), ['alice1']],
    ['all', () => ({ room: rooms.game, users: ['bob', 'dave'], namespace: 'play', except: [id('dave0')] }), ['bob1']],
  ];
  const toRoom: Row[] = [
    ['nothing', () => undefined, ['alice0', 'bob1', 'carol2']],
    ['except', () => ({ except: [id('bob1'), id('carol2')] }), ['alice0']],
    ['users', () => ({ users: ['carol', 'erin'] }), ['carol2']],
    ['room', () => ({ room: rooms.game }), ['bob1']],
    ['namespace', () => ({ namespace: 'play' }), ['bob1']],
    ['its own namespace', () => ({ namespace: 'social' }), ['alice0', 'bob1', 'carol2']],
    ['users and except', () => ({ users: ['carol', 'bob'], except: [id('carol2')] }), ['bob1']],
  ];

  test.each(origins)('from instance %i reach exactly those whom the options leave, once', async (origin) => {
    const service = services[origin]!;
    const expected: Record<string, string[]> = {};
    for (const [name, options, names] of toAll) {
      await service.broadcastToAll(`all: ${name}`, { n: 1 }, options());
      expected[`all: ${name}`] = names;
    }
    for (const [name, options, names] of toRoom) {
      await service.broadcastToRoom(rooms.chat!, `chat: ${name}`, { n: 1 }, options());
      expected[`chat: ${name}`] = names;
    }
    const users: Array<[string, string[], string[]]> = [
      ['one', ['alice'], ['alice0', 'alice1']],
      ['twice', ['bob', 'bob', 'carol'], ['bob1', 'carol2']],
      ['unknown', ['nobody'], []],
      ['nobody', [], []],
    ];
    for (const [name, list, names] of users) {
      await service.broadcastToUsers(list, `users: ${name}`, { n: 1 });
      expected[`users: ${name}`] = names;
    }
    for (const name of all) {
      await service.emitToSocket(id(name), `socket: ${name}`, { n: 1 });
      expected[`socket: ${name}`] = [name];
    }
    await service.emitToSocket('unknown', 'socket: unknown', { n: 1 });
    expected['socket: unknown'] = [];

    await settled(fleet, ...Object.values(clients));
    const actual: Record<string, string[]> = {};
    for (const event of Object.keys(expected)) actual[event] = await reached(event);
    expect(actual).toEqual(expected);
  });

  test.each(origins)('from instance %i carry whatever Socket.IO carries', async (origin) => {
    const date = new Date('2024-02-29T12:00:00.123Z');
    const bytes = Buffer.from([0, 1, 2, 253, 254, 255]);
    const data = {
      text: 'Grüße 👋 \u0000',
      numbers: [0, -1, 1.5, 2 ** 31, -(2 ** 31), 2 ** 53 - 1, -(2 ** 53 - 1), 1e300],
      nothing: [null, undefined, NaN],
      absent: undefined,
      date,
      bytes,
      deep: [{ view: new Uint8Array([1, 2, 3]), buffer: new Uint8Array([4, 5]).buffer }],
      converted: { toJSON: () => ({ made: true }) },
    };
    await services[origin]!.broadcastToAll('payload', data);
    await settled(fleet, ...Object.values(clients));
    for (const client of Object.values(clients)) {
      const [payload] = received(client, 'payload');
      expect(payload).toEqual({
        text: data.text,
        numbers: data.numbers,
        nothing: [null, null, null],
        date: date.toISOString(),
        bytes,
        deep: [{ view: Buffer.from([1, 2, 3]), buffer: Buffer.from([4, 5]) }],
        converted: { made: true },
      });
      expect(received(client, 'payload')).toHaveLength(1);
    }
  });
});

describe('figures', () => {
  test('getStats() counts this instance and getClusterStats() all of them', async () => {
    const room = await services[0]!.createRoom('chat');
    const clients = [await connectAs(fleet[0]!, 'a'), await connectAs(fleet[0]!, 'b'), await connectAs(fleet[2]!, 'c')];
    for (const client of clients) await enter(client, room.id);
    await populated(fleet, room.id, clients);
    await clients[0]!.emitWithAck('message', { roomId: room.id, content: 'one' });
    await services[2]!.sendMessage(room.id, 'c', 'two');

    expect(services.map((service) => service.getStats().activeConnections)).toEqual([2, 0, 1]);
    for (const service of services) {
      await eventually(async () => {
        const stats = await service.getClusterStats();
        expect(stats).toMatchObject({
          instances: 3,
          activeConnections: 3,
          totalConnections: 3,
          totalRooms: 1,
          messagesPerMinute: 2,
        });
        expect(stats.bytesPerMinute).toBeGreaterThan(0);
      }, 10 * BEAT);
    }
  });

  test('of the cluster say who is there and what went through', async () => {
    const uids = new Set(fleet.map((member) => statsOf(member).uid));
    expect(uids.size).toBe(3);
    for (const uid of uids) expect(uid).toMatch(/^[A-Za-z0-9_-]{6}$/);
    const before = fleet.map((member) => statsOf(member));
    const client = await connectAs(fleet[1]!, 'a');
    await services[0]!.broadcastToAll('news', 1);
    await settled(fleet, client);
    // A heartbeat may wait at any moment.
    const calm = { status: 'ready', instances: 3, queued: 0, dropped: 0, lost: 0, ignored: 0 };
    await eventually(() => fleet.forEach((member) => expect(statsOf(member)).toMatchObject(calm)));
    expect(statsOf(fleet[0]!).published).toBeGreaterThan(before[0]!.published);
    expect(statsOf(fleet[1]!).received).toBeGreaterThan(before[1]!.received);
  });

  test('a room message is one message for Redis', async () => {
    await Promise.all(services.map((service) => service.shutdown()));
    fleet = await startFleet(3, { ...at(redis().address, newPrefix()), heartbeatInterval: 60_000 });
    services = fleet.map(({ service }) => service);
    const room = await services[0]!.createRoom('chat');
    const clients = [await connectAs(fleet[0]!, 'a'), await connectAs(fleet[1]!, 'b'), await connectAs(fleet[2]!, 'c')];
    for (const client of clients) await enter(client, room.id);
    await populated(fleet, room.id, clients);
    await settled(fleet, ...clients);
    const count = 100;

    const before = await redis().calls('publish');
    for (let index = 0; index < count; index++) {
      await clients[0]!.emitWithAck('message', { roomId: room.id, content: `${index}` });
    }
    await eventually(() => {
      for (const client of clients) expect(received(client, 'message')).toHaveLength(count);
    });
    const published = (await redis().calls('publish')) - before;
    expect(published).toBeGreaterThanOrEqual(count);
    // What is beyond is of the instances themselves, and does not grow with the messages.
    expect(published).toBeLessThan(count + 15);
  });
});

test('without redis there is no cluster, and ready() resolves at once', async () => {
  const { service } = (await start()) as Running;
  await service.ready();
  expect(service.getStats().cluster).toBeUndefined();
  expect(await service.getClusterStats()).toMatchObject({ instances: 1, activeConnections: 0 });
});
