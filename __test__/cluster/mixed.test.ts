// Two instances of this package, a Node.js server with @socket.io/redis-adapter and jobs with @socket.io/redis-emitter:
// one cluster, in which either side asks and the other answers.

import { Emitter } from '@socket.io/redis-emitter';
import { Redis } from 'ioredis';
import { afterTest, connect, next, received, record, type Client, type Running, type Service } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { at, connectAs, enter, known, newPrefix, populated, settled, startFleet, startMember, statsOf } from '../support/fleet';
import { startPeer, type ServerProcess } from '../support/instances';
import { sharedRedis } from '../support/redis';

// An unanswered request of a Node.js server fails after 5 s.
const IN_TIME = 2500;
const bytes = Buffer.from([0, 1, 254, 255]);
const date = new Date('2024-02-29T12:00:00.123Z');

const kinds = [
  { name: 'redis', client: 'redis', adapter: {} },
  { name: 'ioredis', client: 'ioredis', adapter: {} },
  {
    name: 'redis, answering on specific channels',
    client: 'redis',
    adapter: { publishOnSpecificResponseChannel: true },
  },
] as const;

const redis = sharedRedis();

describe.each(kinds)('with a Node.js server on $name', ({ client: kind, adapter }) => {
  let prefix: string;
  let peer: ServerProcess;
  let fleet: Running[];
  let services: Service[];
  let roomId: string;
  let alice: Client;
  let bob: Client;
  let paul: Client;
  let clients: Record<string, Client>;

  beforeAll(async () => {
    prefix = newPrefix();
    peer = await startPeer({ redis: redis().address, key: prefix, client: kind, adapter, keep: true });
  });
  afterAll(() => peer.stop());

  // Alice and Bob are on instances of this package, Paul is on the Node.js server; Alice and Paul are in the room.
  beforeEach(async () => {
    fleet = await startFleet(2, at(redis().address, prefix));
    services = fleet.map(({ service }) => service);
    roomId = (await services[0]!.createRoom('chat')).id;
    await known(fleet, roomId);
    alice = await connectAs(fleet[0]!, 'alice');
    bob = await connectAs(fleet[1]!, 'bob');
    paul = await connect(peer, { transports: ['websocket'], auth: { userId: 'paul' }, query: { username: 'Paul' } });
    clients = { alice, bob, paul };
    await enter(alice, roomId);
    await enter(paul, roomId);
    await populated(fleet, roomId, [alice]);
    expect(await peer.command('serverCount')).toBe(3);
  });

  let markers = 0;

  /** Whatever any server had sent has arrived: each sends everyone one thing more. */
  async function arrived(): Promise<void> {
    await settled(fleet, alice, bob);
    const number = ++markers;
    services.forEach((service) =>
      service.in(Object.values(clients).map((client) => client.id!)).emit(`mark ${number}`),
    );
    await peer.call('emit', `mark ${number}`);
    await eventually(() => {
      for (const client of Object.values(clients)) expect(received(client, `mark ${number}`)).toHaveLength(3);
    });
  }

  /** Who received an event, once for each time. */
  const reached = (event: string) =>
    Object.entries(clients).flatMap(([name, client]) => received(client, event).map(() => name));

  /** The same steps, from the Node.js server and from both instances. */
  const sides: Array<[name: string, call: (...steps: Array<[string, ...unknown[]]>) => Promise<any>]> = [
    ['node', (...steps) => peer.chain(...steps)],
    ['first', (...steps) => follow(services[0]!, steps)],
    ['second', (...steps) => follow(services[1]!, steps)],
  ];

  async function follow(target: any, steps: Array<[string, ...unknown[]]>): Promise<any> {
    let value = target;
    for (const [name, ...args] of steps)
      value = await (typeof value[name] === 'function' ? value[name](...args) : value[name]);
    return value;
  }

  test('broadcasts reach rooms, ids and exceptions on the other side, once', async () => {
    const expected: Record<string, string[]> = {};
    for (const [side, call] of sides) {
      const cast = async (name: string, names: string[], ...steps: Array<[string, ...unknown[]]>) => {
        await call(...steps, ['emit', `${side}: ${name}`, 1]);
        expected[`${side}: ${name}`] = names;
      };
      await cast('room', ['alice', 'paul'], ['in', roomId]);
      await cast('two rooms', ['alice', 'bob', 'paul'], ['to', roomId], ['to', bob.id]);
      await cast('id of ours', ['bob'], ['to', bob.id]);
      await cast('id of theirs', ['paul'], ['to', paul.id]);
      await cast('except id of ours', ['paul'], ['in', roomId], ['except', alice.id]);
      await cast('except id of theirs', ['alice'], ['in', roomId], ['except', paul.id]);
      await cast('except room', ['bob'], ['except', roomId]);
      await cast('except both', ['paul'], ['except', [bob.id, alice.id]]);
      await cast('unknown', [], ['to', 'unknown']);
      // Alone: what is volatile may be dropped while something else is on its way.
      await arrived();
      await cast('volatile', ['alice', 'paul'], ['in', roomId], ['volatile']);
      await eventually(() => expect(reached(`${side}: volatile`)).toEqual(['alice', 'paul']));
    }
    await peer.call('emit', 'node: everyone', 1);
    expected['node: everyone'] = ['alice', 'bob', 'paul'];
    await services[1]!.broadcastToAll('ours: everyone', 1);
    expected['ours: everyone'] = ['alice', 'bob', 'paul'];
    await services[1]!.broadcastToAll('ours: except', 1, { except: [paul.id!, bob.id!] });
    expected['ours: except'] = ['alice'];
    await services[1]!.broadcastToRoom(roomId, 'ours: room', 1);
    expected['ours: room'] = ['alice', 'paul'];
    await services[1]!.broadcastToRoom(roomId, 'ours: room except', 1, { except: [alice.id!] });
    expected['ours: room except'] = ['paul'];
    // An empty list of rooms would be everyone for the other side.
    await services[0]!.broadcastToAll('ours: nobody', 1, { users: [] });
    expected['ours: nobody'] = [];

    await arrived();
    expect(Object.fromEntries(Object.keys(expected).map((event) => [event, reached(event)]))).toEqual(expected);
  });

  test('payloads arrive as Socket.IO sends them, binary and dates included', async () => {
    const data = {
      text: 'Grüße 👋',
      numbers: [0, -1, 127, 128, -33, 65_536, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -(2 ** 53 - 1), 0.1, -1e-9],
      list: [null, undefined, true],
      date,
      bytes,
      deep: { view: new Uint8Array([1, 2]), more: [{ bytes }] },
      long: 'x'.repeat(70_000),
    };
    const args = [data, date, bytes, 'last'];
    for (const [side, call] of sides) await call(['in', [roomId, bob.id]], ['emit', side, ...args]);
    await arrived();
    const wire = [
      {
        ...data,
        list: [null, null, true],
        date: date.toISOString(),
        deep: { view: Buffer.from([1, 2]), more: [{ bytes }] },
      },
      date.toISOString(),
      bytes,
      'last',
    ];
    for (const client of Object.values(clients)) {
      for (const [side] of sides) {
        expect([side, client.received.filter(({ event }) => event === side).map((entry) => entry.args)]).toEqual([
          side,
          [wire],
        ]);
      }
    }
  });

  test('clients chat, type and come and go across the sides', async () => {
    await enter(bob, roomId);
    await populated(fleet, roomId, [alice, bob]);
    await paul.emitWithAck('message', { roomId, content: 'from Paul' });
    await bob.emitWithAck('message', { roomId, content: 'from Bob' });
    await bob.emitWithAck('typing', { roomId, isTyping: true });
    await paul.emitWithAck('typing', { roomId, isTyping: true });
    await eventually(() => expect([paul, bob].map((client) => received(client, 'typing').length)).toEqual([1, 1]));
    paul.emit('shout', 'hey');
    await paul.emitWithAck('room:leave', { roomId });
    await bob.emitWithAck('room:leave', { roomId });
    await arrived();

    for (const client of [alice, bob]) {
      expect(
        received(client, 'message')
          .map(({ content }) => content)
          .sort(),
      ).toEqual(['from Bob', 'from Paul']);
      expect(received(client, 'shouted')).toEqual(['hey']);
    }
    expect(
      received(paul, 'message')
        .map(({ content }) => content)
        .sort(),
    ).toEqual(['from Bob', 'from Paul']);
    expect(received(paul, 'message').find(({ content }) => content === 'from Bob')).toMatchObject({
      userId: 'bob',
      roomId,
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(received(paul, 'shouted')).toEqual([]);
    expect(received(paul, 'typing')).toMatchObject([{ userId: 'bob', isTyping: true }]);
    expect(received(bob, 'typing')).toMatchObject([{ userId: 'paul', isTyping: true }]);
    expect(
      received(alice, 'user:left')
        .map(({ userId }) => userId)
        .sort(),
    ).toEqual(['bob', 'paul']);
    expect(services[0]!.getRoomMessages(roomId).map(({ content }) => content)).toContain('from Bob');
  });

  test.each([0, 1, 2])('fetchSockets: side %i finds the sockets of all', async (index) => {
    const [, call] = sides[index]!;
    await peer.command('setData', paul.id, { color: 'red', n: [1] });
    services[0]!.getSocket(alice.id!)!.data.color = 'blue';
    await eventually(async () => {
      const [found] = (await call(['in', alice.id], ['fetchSockets'])) as any[];
      expect(found.data).toEqual({ color: 'blue' });
    });
    const all: any[] = await within(IN_TIME, 'fetchSockets', call(['fetchSockets']));
    expect(all.map(({ id }) => id).sort()).toEqual([alice.id!, bob.id!, paul.id!].sort());
    const inside: any[] = await within(IN_TIME, 'fetchSockets', call(['in', roomId], ['fetchSockets']));
    expect(inside.map(({ id }) => id).sort()).toEqual([alice.id!, paul.id!].sort());
    const [a, p] = [alice, paul].map(({ id }) => inside.find((socket) => socket.id === id));
    expect([...a.rooms].sort()).toEqual([alice.id!, roomId].sort());
    expect([...p.rooms].sort()).toEqual([paul.id!, roomId].sort());
    expect(p.data).toEqual({ color: 'red', n: [1] });
    expect(a.handshake).toMatchObject({
      auth: { userId: 'alice' },
      query: { EIO: '4', transport: 'websocket' },
      secure: false,
    });
    expect(p.handshake).toMatchObject({ auth: { userId: 'paul' }, query: { username: 'Paul' }, xdomain: false });
    for (const { handshake } of [a, p]) {
      expect(handshake).toMatchObject({
        headers: { host: expect.any(String) },
        time: expect.any(String),
        issued: expect.any(Number),
      });
    }
    expect(await within(IN_TIME, 'fetchSockets', call(['in', 'unknown'], ['fetchSockets']))).toEqual([]);
    const others: any[] = await within(IN_TIME, 'fetchSockets', call(['except', roomId], ['fetchSockets']));
    expect(others.map(({ id }) => id)).toEqual([bob.id]);
  });

  test.each([0, 1, 2])('socketsJoin and socketsLeave: side %i moves the sockets of all', async (index) => {
    const [, call] = sides[index]!;
    const roomsOfAll = async () =>
      Promise.all([
        services[0]!.getSocket(alice.id!)!.rooms,
        services[1]!.getSocket(bob.id!)!.rooms,
        peer.command('localRooms', paul.id),
      ]).then((sets) => sets.map((rooms) => [...rooms].filter((room) => ['x', 'y'].includes(room)).sort()));
    await call(['in', roomId], ['socketsJoin', ['x', 'y']]);
    await call(['in', bob.id], ['socketsJoin', 'y']);
    await eventually(async () => expect(await roomsOfAll()).toEqual([['x', 'y'], ['y'], ['x', 'y']]));
    await call(['in', 'y'], ['except', alice.id], ['socketsLeave', 'y']);
    await eventually(async () => expect(await roomsOfAll()).toEqual([['x', 'y'], [], ['x']]));
    await call(['in', 'y'], ['emit', 'still', 1]);
    await arrived();
    expect(reached('still')).toEqual(['alice']);
    await call(['socketsJoin', 'x']);
    await eventually(async () => expect(await roomsOfAll()).toEqual([['x', 'y'], ['x'], ['x']]));
    await call(['socketsLeave', ['x', 'y']]);
    await eventually(async () => expect(await roomsOfAll()).toEqual([[], [], []]));
  });

  test('socketsJoin by the other side of a room of the registry is a membership', async () => {
    await peer.chain(['in', bob.id], ['socketsJoin', roomId]);
    await populated(fleet, roomId, [alice, bob]);
    await peer.chain(['in', bob.id], ['socketsLeave', roomId]);
    await populated(fleet, roomId, [alice]);
  });

  test.each([0, 1, 2])('disconnectSockets: side %i disconnects the sockets of all', async (index) => {
    const [, call] = sides[index]!;
    const gone = Promise.all([next(alice, 'disconnect'), next(paul, 'disconnect')]);
    await call(['in', roomId], ['disconnectSockets', index === 1]);
    for (const [reason] of await within(IN_TIME, 'the disconnects', gone)) expect(reason).toBe('io server disconnect');
    expect(bob.connected).toBe(true);
    await eventually(() => {
      for (const service of services) expect(service.getConnectedUsers().map(({ id }) => id)).toEqual(['bob']);
    });
    const last = next(bob, 'disconnect');
    await call(['disconnectSockets', true]);
    await within(IN_TIME, 'the disconnect', last);
  });

  test('serverSideEmit reaches the other servers, from either side', async () => {
    const heard = services.map((service) => record(service as any, `hello ${roomId}`));
    await peer.listen(`hello ${roomId}`);
    for (const [side, call] of sides) await call(['serverSideEmit', `hello ${roomId}`, side, { n: [1, null, 'ü'] }]);
    const from = (...names: string[]) => names.map((name) => [name, { n: [1, null, 'ü'] }]);
    await eventually(() => {
      expect(heard[0]).toEqual(expect.arrayContaining(from('node', 'second')));
      expect(heard[1]).toEqual(expect.arrayContaining(from('node', 'first')));
      const there = peer.recorded(`hello ${roomId}`).map(({ args }) => args);
      expect(there).toEqual(expect.arrayContaining(from('first', 'second')));
      expect(there).toHaveLength(2);
    });
    await arrived();
    expect(heard.map((calls) => calls.length)).toEqual([2, 2]);
  });

  test('serverSideEmit with an acknowledgement is answered by the other servers, from either side', async () => {
    const event = `sum ${roomId}`;
    services.forEach((service, index) =>
      service.on(event, (n: number, answer: (value: unknown) => void) => answer({ index, n })),
    );
    await peer.listen(event, { index: 'node' });
    const ask = async (index: number) => {
      const answers: any[] = await within(
        IN_TIME,
        'serverSideEmit',
        sides[index]![1](['serverSideEmitWithAck', event, 5]),
      );
      return answers.map((answer) => String(answer.index)).sort();
    };
    expect(await ask(0)).toEqual(['0', '1']);
    expect(await ask(1)).toEqual(['1', 'node']);
    expect(await ask(2)).toEqual(['0', 'node']);
  });

  test('serverSideEmit with an acknowledgement nobody gives names the answers that came', async () => {
    const event = `silent ${roomId}`;
    const { service } = await startMember({ ...at(redis().address, prefix), requestsTimeout: 300 });
    await service.ready();
    services[0]!.on(event, (answer: (value: unknown) => void) => answer('only me'));
    const [error, responses] = await new Promise<[Error | null, any[]]>((done) => {
      service.serverSideEmit(event, (failure: Error | null, answers: any[]) => done([failure, answers]));
    });
    expect(error).toBeInstanceOf(Error);
    expect(responses).toEqual(['only me']);
  });

  test.each([0, 1, 2])('emitWithAck: side %i collects the answers of all clients', async (index) => {
    const [, call] = sides[index]!;
    for (const [name, client] of Object.entries(clients)) {
      client.on('question', (n: number, answer: (value: unknown) => void) => answer({ name, n, bytes }));
    }
    const ask = async (...steps: Array<[string, ...unknown[]]>) => {
      const answers: any[] = await within(
        IN_TIME,
        'emitWithAck',
        call(...steps, ['timeout', 4000], ['emitWithAck', 'question', 3]),
      );
      for (const answer of answers) expect(answer).toMatchObject({ n: 3, bytes: expect.anything() });
      for (const answer of answers) expect(Buffer.from(answer.bytes)).toEqual(bytes);
      return answers.map(({ name }) => name).sort();
    };
    expect(await ask(['in', roomId])).toEqual(['alice', 'paul']);
    expect(await ask(['in', roomId], ['except', paul.id])).toEqual(['alice']);
    expect(await ask(['except', roomId])).toEqual(['bob']);
    expect(await ask(['to', [roomId, bob.id]])).toEqual(['alice', 'bob', 'paul']);
    expect(await ask(['to', 'unknown'])).toEqual([]);
  });

  test('allRooms is answered by either side', async () => {
    await peer.chain(['in', paul.id], ['socketsJoin', 'only there']);
    await services[1]!.getSocket(bob.id!)!.join('only here');
    await eventually(async () => expect(await peer.command('localRooms', paul.id)).toContain('only there'));
    const expected = [alice.id!, bob.id!, paul.id!, roomId, 'only there', 'only here'].sort();
    const theirs: string[] = await within(IN_TIME, 'allRooms', peer.chain(['of', '/'], ['adapter'], ['allRooms']));
    expect([...theirs].sort()).toEqual(expected);
    for (const service of services) {
      expect([...(await within(IN_TIME, 'allRooms', service.allRooms()))].sort()).toEqual(expected);
    }
  });

  test('the emitter reaches the clients and servers of both sides', async () => {
    const job = new Redis(redis().port, redis().host);
    afterTest(() => job.disconnect());
    const emitter = new Emitter(job, { key: prefix });
    const heard = services.map((service) => record(service as any, `job ${roomId}`));
    await peer.listen(`job ${roomId}`);
    emitter.emit('everyone', { bytes, date });
    emitter.to(roomId).emit('room', 1);
    emitter.to([roomId, bob.id!]).except(paul.id!).emit('rooms', 1);
    emitter.except(roomId).emit('except', 1);
    emitter.serverSideEmit(`job ${roomId}`, 1, 'two');
    emitter.in(roomId).socketsJoin(['made', 'kept']);
    await eventually(async () => {
      expect([...services[0]!.getSocket(alice.id!)!.rooms]).toEqual(expect.arrayContaining(['made', 'kept']));
      expect(await peer.command('localRooms', paul.id)).toEqual(expect.arrayContaining(['made', 'kept']));
    });
    emitter.in('made').socketsLeave('made');
    await eventually(async () => {
      expect([...services[0]!.getSocket(alice.id!)!.rooms].sort()).toEqual([alice.id!, roomId, 'kept'].sort());
      expect(await peer.command('localRooms', paul.id)).not.toContain('made');
    });
    await arrived();
    for (const client of Object.values(clients))
      expect(received(client, 'everyone')).toEqual([{ bytes, date: date.toISOString() }]);
    expect(reached('room')).toEqual(['alice', 'paul']);
    expect(reached('rooms')).toEqual(['alice', 'bob']);
    expect(reached('except')).toEqual(['bob']);
    for (const calls of heard) expect(calls).toEqual([[1, 'two']]);
    expect(peer.recorded(`job ${roomId}`).map(({ args }) => args)).toEqual([[1, 'two']]);
    const gone = Promise.all([next(alice, 'disconnect'), next(paul, 'disconnect')]);
    emitter.in('kept').disconnectSockets(true);
    await within(IN_TIME, 'the disconnects', gone);
    expect(bob.connected).toBe(true);
    for (const member of fleet) expect(statsOf(member).ignored).toBe(0);
  });
});
