// Three instances on one Redis are like one big instance: what clients send, and in which order it arrives.

import { exactly, next, received, type Client, type Running, type Service } from '../support/harness';
import { eventually, within } from '../support/eventually';
import {
  at,
  connectAs,
  enter,
  forget,
  known,
  newPrefix,
  placesOf,
  populated,
  settled,
  startFleet,
  watch,
  type Happened,
} from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
let fleet: Running[];
let services: Service[];
let roomId: string;
let alice: Client;
let bob: Client;
let carol: Client;
let clients: Client[];
let happened: Happened[];

async function begin(config: object = {}): Promise<void> {
  fleet = await startFleet(3, at(redis().address, newPrefix()), config);
  services = fleet.map(({ service }) => service);
  const room = await services[0]!.createRoom('chat');
  roomId = room.id;
  await known(fleet, roomId);
  clients = [];
  for (const [index, name] of ['alice', 'bob', 'carol'].entries()) {
    clients.push(await connectAs(fleet[index]!, name, { query: { username: name } }));
  }
  [alice, bob, carol] = clients as [Client, Client, Client];
}

/** All three are members, and what that caused has arrived. */
async function everyoneInside(): Promise<void> {
  for (const client of clients) await enter(client, roomId);
  await populated(fleet, roomId, clients);
  await settled(fleet, ...clients);
  forget(...clients);
  happened = watch(fleet);
}

describe('a client', () => {
  beforeEach(() => begin());

  test('joins and leaves a room of another instance', async () => {
    await enter(alice, roomId);
    await populated(fleet, roomId, [alice]);
    happened = watch(fleet);
    expect(await carol.emitWithAck('room:join', { roomId })).toMatchObject({ ok: true });
    await populated(fleet, roomId, [alice, carol]);
    expect(await carol.emitWithAck('room:leave', { roomId })).toMatchObject({ ok: true });
    await populated(fleet, roomId, [alice]);
    await settled(fleet, ...clients);

    const about = { userId: 'carol', username: 'carol', socketId: carol.id, roomId, timestamp: expect.any(String) };
    expect(received(alice, 'user:joined')).toEqual([about]);
    expect(received(alice, 'user:left')).toEqual([about]);
    for (const client of [bob, carol]) {
      for (const event of ['user:joined', 'user:left']) expect(received(client, event)).toEqual([]);
    }
    expect(placesOf(happened, 'room:join')).toEqual([2]);
    expect(placesOf(happened, 'room:leave')).toEqual([2]);
  });

  test('is refused an unknown room on every instance', async () => {
    for (const client of clients) {
      expect(await client.emitWithAck('room:join', { roomId: 'unknown' })).toMatchObject({
        ok: false,
        error: { code: 'ERR_NOT_FOUND' },
      });
      expect(await client.emitWithAck('message', { roomId: 'unknown', content: 'x' })).toMatchObject({ ok: false });
      expect(await client.emitWithAck('message', { roomId, content: 'x' })).toMatchObject({
        ok: false,
        error: { code: 'ERR_NOT_A_MEMBER' },
      });
    }
  });

  test('sends a message to the members on every instance, itself included, once', async () => {
    await everyoneInside();
    const sent: Array<{ message: any }> = [];
    for (const [index, client] of clients.entries()) {
      sent.push(
        await client.emitWithAck('message', { roomId, content: `of ${index}`, type: 'text', metadata: { index } }),
      );
      await settled(fleet, ...clients);
    }
    const contents = ['of 0', 'of 1', 'of 2'];
    for (const client of clients) {
      expect(received(client, 'message').map(({ content }) => content)).toEqual(contents);
      expect(received(client, 'message')[1]).toMatchObject({
        roomId,
        userId: 'bob',
        username: 'bob',
        type: 'text',
        metadata: { index: 1 },
        timestamp: expect.any(String),
      });
    }
    expect(received(alice, 'message')).toEqual(received(carol, 'message'));
    expect(placesOf(happened, 'message')).toEqual([0, 1, 2]);
    await eventually(() => {
      for (const service of services) {
        expect(service.getRoomMessages(roomId).map(({ content }) => content)).toEqual([...contents].reverse());
        expect(service.getRoomMessages(roomId).map(({ id }) => id)).toEqual(
          received(alice, 'message')
            .map(({ id }) => id)
            .reverse(),
        );
      }
    });
  });

  test('shows the others that it is typing, and that it stops by leaving or going', async () => {
    await everyoneInside();
    const states = (client: Client) =>
      received(client, 'typing').map(({ userId, username, isTyping }) => [userId, username, isTyping]);
    await bob.emitWithAck('typing', { roomId, isTyping: true });
    await carol.emitWithAck('typing', { roomId, isTyping: true });
    await settled(fleet, ...clients);
    expect(states(bob)).toEqual([['carol', 'carol', true]]);
    expect(states(carol)).toEqual([['bob', 'bob', true]]);
    expect(states(alice)).toEqual(
      expect.arrayContaining([
        ['bob', 'bob', true],
        ['carol', 'carol', true],
      ]),
    );
    expect(placesOf(happened, 'typing')).toEqual([1, 2]);

    forget(...clients);
    await carol.emitWithAck('room:leave', { roomId });
    const gone = next(services[1]!, 'disconnect');
    bob.disconnect();
    await gone;
    await populated(fleet, roomId, [alice]);
    await settled(fleet, alice, carol);
    expect(states(alice).sort()).toEqual([
      ['bob', 'bob', false],
      ['carol', 'carol', false],
    ]);
    for (const name of ['bob', 'carol']) {
      const order = alice.received.filter(({ args }) => args[0]?.userId === name).map(({ event }) => event);
      expect(order).toEqual(['typing', 'user:left']);
    }
  });

  test('edits a document before the eyes of the others, under its own name', async () => {
    await everyoneInside();
    await alice.emitWithAck('document:edit', {
      roomId,
      userId: 'mallory',
      change: { at: 3, bytes: Buffer.from([1, 2]) },
    });
    await settled(fleet, ...clients);
    for (const client of [bob, carol]) {
      expect(received(client, 'document:edit')).toEqual([
        { roomId, userId: 'alice', username: 'alice', change: { at: 3, bytes: Buffer.from([1, 2]) } },
      ]);
    }
    expect(received(alice, 'document:edit')).toEqual([]);
  });

  test('that drops is taken out of its rooms on every instance', async () => {
    await everyoneInside();
    const bobId = bob.id!;
    bob.io.engine.close();
    await populated(fleet, roomId, [alice, carol]);
    await settled(fleet, alice, carol);
    for (const client of [alice, carol])
      expect(received(client, 'user:left')).toMatchObject([{ userId: 'bob', socketId: bobId, roomId }]);
    expect(placesOf(happened, 'room:leave')).toEqual([1]);
    expect(placesOf(happened, 'disconnect')).toEqual([1]);
  });

  test('reaches the members of a plain Socket.IO room through a socket in JavaScript', async () => {
    const sockets = clients.map((client, index) => services[index]!.getSocket(client.id!)!);
    for (const socket of sockets) await socket.join('plain');
    sockets[0]!.to('plain').emit('greeting', { n: 1 }, Buffer.from('x'));
    await settled(fleet, ...clients);
    expect(received(alice, 'greeting')).toEqual([]);
    for (const client of [bob, carol]) {
      expect(client.received.filter(({ event }) => event === 'greeting').map(({ args }) => args)).toEqual([
        [{ n: 1 }, Buffer.from('x')],
      ]);
    }
    await sockets[1]!.leave('plain');
    sockets[2]!.to('plain').emit('greeting', 2);
    await settled(fleet, ...clients);
    expect(received(alice, 'greeting')).toEqual([2]);
    expect(received(bob, 'greeting')).toHaveLength(1);
  });
});

test('presence is of the cluster: first socket anywhere, last socket anywhere', async () => {
  await begin({ presence: { broadcast: true } });
  await settled(fleet, ...clients);
  forget(...clients);
  const statuses = () => received(alice, 'user:status').map(({ userId, status }) => [userId, status]);

  const first = await connectAs(fleet[1]!, 'dave');
  await eventually(() => services.forEach((service) => expect(service.isUserOnline('dave')).toBe(true)));
  const second = await connectAs(fleet[2]!, 'dave');
  await eventually(() => services.forEach((service) => expect(service.getUserSockets('dave')).toHaveLength(2)));
  await settled(fleet, ...clients);
  expect(statuses()).toEqual([['dave', 'online']]);

  first.disconnect();
  await eventually(() => services.forEach((service) => expect(service.getUserSockets('dave')).toEqual([second.id])));
  await settled(fleet, ...clients);
  expect(statuses()).toEqual([['dave', 'online']]);
  second.disconnect();
  await eventually(() => services.forEach((service) => expect(service.isUserOnline('dave')).toBe(false)));
  await settled(fleet, ...clients);
  expect(statuses()).toEqual([
    ['dave', 'online'],
    ['dave', 'offline'],
  ]);
  for (const client of [bob, carol]) expect(received(client, 'user:status')).toEqual(received(alice, 'user:status'));
});

test('under load nothing is lost or doubled, and the messages of each sender keep their order', async () => {
  await begin();
  const more = await Promise.all(fleet.map((member, index) => connectAs(member, `reader ${index}`)));
  clients.push(...more);
  await everyoneInside();
  const count = 300;

  // Each client without waiting, a service over the API, and broadcasts among the messages: all at the same time.
  const senders = ['alice', 'bob', 'carol', 'service'];
  for (let index = 0; index < count; index++) {
    for (const client of [alice, bob, carol]) client.emit('message', { roomId, content: `${index}` });
    void services[2]!.sendMessage(roomId, 'service', `${index}`);
    void services[0]!.broadcastToRoom(roomId, 'tick', index);
    if (index % 20 === 0) await new Promise((turn) => setImmediate(turn));
  }
  const wanted = Array.from({ length: count }, (_, index) => index);
  await eventually(() => {
    for (const client of clients)
      expect(received(client, 'message').length).toBeGreaterThanOrEqual(count * senders.length);
  }, 15_000);
  await settled(fleet, ...clients);

  for (const client of clients) {
    for (const sender of senders) {
      const contents = received(client, 'message').filter(({ userId }) => userId === sender);
      expect([sender, contents.map(({ content }) => Number(content))]).toEqual([sender, wanted]);
    }
    expect(received(client, 'tick')).toEqual(wanted);
    const ids = received(client, 'message').map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  }
  expect(placesOf(happened, 'message')).toHaveLength(count * senders.length);
  for (const service of services) {
    expect(new Set(service.getRoomMessages(roomId, Infinity).map(({ id }) => id)).size).toBe(count * senders.length);
  }
}, 60_000);

test('many rooms made, joined and left at once on every instance end up the same everywhere', async () => {
  await begin();
  const made = await Promise.all(
    services.flatMap((service, index) =>
      Array.from({ length: 10 }, (_, number) => service.createRoom(`${index}-${number}`, 'many')),
    ),
  );
  await eventually(() => services.forEach((service) => expect(service.listRooms('many')).toHaveLength(made.length)));
  await within(
    10_000,
    'joining and leaving',
    Promise.all(
      clients.flatMap((client, turn) =>
        made.map(async (room, index) => {
          await client.emitWithAck('room:join', { roomId: room.id });
          if (index % 3 === turn) await client.emitWithAck('room:leave', { roomId: room.id });
        }),
      ),
    ),
  );
  await eventually(() => {
    for (const service of services) {
      made.forEach((room, index) => {
        const inside = clients.filter((_, turn) => index % 3 !== turn).map((client) => client.id);
        expect([...service.getRoom(room.id)!.members].sort()).toEqual(inside.sort());
      });
    }
  });
  for (const service of services) await service.broadcastToAll('done', 1, { namespace: 'many' });
  await settled(fleet, ...clients);
  await exactly(3, services[0]!, 'done', ...clients);
});
