// The operators of Socket.IO on a service, over sockets of every instance.

import { next, received, record, type Client, type Running, type Service } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { at, BEAT, connectAs, enter, known, newPrefix, placesOf, populated, settled, startFleet, watch } from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
/** In ms, for those who answer at once, on a machine that does other things as well. */
const TIME_TO_ANSWER = 1000;
let fleet: Running[];
let services: Service[];
let clients: Client[];
let roomId: string;
const origins = [0, 1, 2];

beforeEach(async () => {
  fleet = await startFleet(3, at(redis().address, newPrefix()));
  services = fleet.map(({ service }) => service);
  clients = await Promise.all(fleet.map((member, index) => connectAs(member, `user ${index}`)));
  roomId = (await services[1]!.createRoom('chat')).id;
  await known(fleet, roomId);
  for (const client of clients.slice(0, 2)) await enter(client, roomId);
  await populated(fleet, roomId, clients.slice(0, 2));
  await services[2]!.getSocket(clients[2]!.id!)!.join('plain');
});

const id = (index: number) => clients[index]!.id!;
const reached = (event: string) => clients.flatMap((client, index) => received(client, event).map(() => index));

test.each(origins)('emit from instance %i reaches rooms, ids and exceptions everywhere, once', async (origin) => {
  const service = services[origin]!;
  service.in(roomId).emit('room', 1);
  service.to([roomId, 'plain']).emit('rooms', 1);
  service.in(roomId).in('plain').to(id(0)).emit('chained', 1);
  service.to(id(2)).emit('id', 1);
  service.in(roomId).except(id(0)).emit('except id', 1);
  service.except(roomId).emit('except room', 1);
  service
    .except([id(0), id(1)])
    .except('unknown')
    .emit('except ids', 1);
  service
    .to([roomId, 'plain'])
    .except([id(1), 'plain'])
    .emit('except both', 1);
  service.to('unknown').emit('unknown', 1);
  service.in(roomId).emit('arguments', 1, 'two', { three: [3] }, Buffer.from('four'), new Date(5));
  await settled(fleet, ...clients);
  // Alone: what is volatile may be dropped while something else is on its way.
  service.in(roomId).volatile.emit('volatile', 1);
  await eventually(() => expect(reached('volatile')).toEqual([0, 1]));

  const expected = {
    room: [0, 1],
    rooms: [0, 1, 2],
    chained: [0, 1, 2],
    id: [2],
    'except id': [1],
    'except room': [2],
    'except ids': [2],
    'except both': [0],
    unknown: [],
    volatile: [0, 1],
    arguments: [0, 1],
  };
  const actual = Object.fromEntries(Object.keys(expected).map((event) => [event, reached(event)]));
  expect(actual).toEqual(expected);
  const args = clients[1]!.received.find(({ event }) => event === 'arguments')!.args;
  expect(args).toEqual([1, 'two', { three: [3] }, Buffer.from('four'), new Date(5).toISOString()]);
});

test.each(origins)('emitWithAck from instance %i collects the answers of all', async (origin) => {
  clients.forEach((client, index) =>
    client.on('question', (n: number, answer: (value: unknown) => void) =>
      answer({ n, index, bytes: Buffer.from([index]) }),
    ),
  );
  const service = services[origin]!;
  const began = Date.now();
  const answers = await service.to([roomId, 'plain']).timeout(4000).emitWithAck('question', 7);
  expect(answers.sort((a, b) => a.index - b.index)).toEqual(
    [0, 1, 2].map((index) => ({ n: 7, index, bytes: Buffer.from([index]) })),
  );
  const called = await new Promise<[Error | null, any[]]>((done) => {
    service
      .in(roomId)
      .timeout(4000)
      .emit('question', 8, (error: Error | null, responses: any[]) => done([error, responses]));
  });
  expect(called[0]).toBeNull();
  expect(called[1].map(({ index }) => index).sort()).toEqual([0, 1]);
  expect(await service.to('unknown').timeout(4000).emitWithAck('question', 9)).toEqual([]);
  expect(Date.now() - began).toBeLessThan(3000);
});

test.each(origins)(
  'a client that does not answer instance %i is a time-out with the answers of the others',
  async (origin) => {
    clients[0]!.on('question', (answer: (value: unknown) => void) => answer('first'));
    const [error, responses] = await new Promise<[Error | null, any[]]>((done) => {
      services[origin]!.in(roomId)
        .timeout(TIME_TO_ANSWER)
        .emit('question', (failure: Error | null, answers: any[]) => done([failure, answers]));
    });
    expect(error).toBeInstanceOf(Error);
    expect(responses).toEqual(['first']);
    await expect(services[origin]!.in(roomId).timeout(TIME_TO_ANSWER).emitWithAck('question')).rejects.toThrow(/time/i);
  },
);

test.each(origins)('fetchSockets from instance %i finds the sockets of all', async (origin) => {
  services.forEach((service, index) => (service.getSocket(id(index))!.data.color = ['red', 'green', 'blue'][index]));
  const service = services[origin]!;
  // What a listener set just now is told to the others with the next heartbeat at the latest.
  await eventually(async () => {
    const all = await service.fetchSockets();
    expect(all.map(({ data }) => data.color).sort()).toEqual(['blue', 'green', 'red']);
  }, 10 * BEAT);
  const found = await service.in(roomId).fetchSockets();
  expect(found.map((socket) => socket.id).sort()).toEqual([id(0), id(1)].sort());
  for (const [index, color] of ['red', 'green'].entries()) {
    const socket = found.find((each) => each.id === id(index))!;
    expect(socket.rooms).toEqual(new Set([id(index), roomId]));
    expect(socket.data).toEqual({ color });
    expect(socket.handshake).toMatchObject({
      auth: { userId: `user ${index}` },
      query: { transport: 'websocket' },
      xdomain: false,
    });
    expect(socket.handshake.issued).toBe(services[index]!.getSocket(id(index))!.handshake.issued);
  }
  expect((await service.except(roomId).fetchSockets()).map((socket) => socket.id)).toEqual([id(2)]);
  expect((await service.in(id(1)).fetchSockets()).map((socket) => socket.id)).toEqual([id(1)]);
  expect(await service.in('unknown').fetchSockets()).toEqual([]);
});

test.each(origins)('socketsJoin and socketsLeave from instance %i', async (origin) => {
  const service = services[origin]!;
  const roomsOf = (index: number) => [...services[index]!.getSocket(id(index))!.rooms].sort();
  service.in(roomId).socketsJoin(['one', 'two']);
  service.in(id(2)).socketsJoin('one');
  await eventually(() => {
    expect(roomsOf(0)).toEqual([id(0), roomId, 'one', 'two'].sort());
    expect(roomsOf(1)).toEqual([id(1), roomId, 'one', 'two'].sort());
    expect(roomsOf(2)).toEqual([id(2), 'plain', 'one'].sort());
  });
  service.except(id(0)).socketsLeave('one');
  service.in('two').socketsLeave(['two', 'unknown']);
  await eventually(() => {
    expect(roomsOf(0)).toEqual([id(0), roomId, 'one'].sort());
    expect(roomsOf(1)).toEqual([id(1), roomId].sort());
    expect(roomsOf(2)).toEqual([id(2), 'plain'].sort());
  });
  service.socketsJoin('everyone');
  await eventually(() => origins.forEach((index) => expect(roomsOf(index)).toContain('everyone')));
  service.socketsLeave('everyone');
  await eventually(() => origins.forEach((index) => expect(roomsOf(index)).not.toContain('everyone')));
});

test.each(origins)('socketsJoin of a room of the registry from instance %i is a membership', async (origin) => {
  const happened = watch(fleet);
  services[origin]!.in('plain').socketsJoin(roomId);
  await populated(fleet, roomId, clients);
  await settled(fleet, ...clients);
  expect(placesOf(happened, 'room:join')).toEqual([2]);
  services[origin]!.in('plain').socketsLeave(roomId);
  await populated(fleet, roomId, clients.slice(0, 2));
});

test.each(origins)('disconnectSockets from instance %i', async (origin) => {
  const gone = clients.slice(0, 2).map((client) => next(client, 'disconnect'));
  services[origin]!.in(roomId).disconnectSockets(true);
  for (const each of gone) await within(3000, 'the disconnect', each);
  await eventually(() => {
    for (const service of services)
      expect(service.getConnectedUsers().map(({ socketId }) => socketId)).toEqual([id(2)]);
  });
  expect(clients[2]!.connected).toBe(true);
  const last = next(clients[2]!, 'disconnect');
  services[origin]!.disconnectSockets();
  expect(await within(3000, 'the disconnect', last)).toEqual(expect.arrayContaining(['io server disconnect']));
});

test.each(origins)('serverSideEmit from instance %i reaches the other servers, not itself', async (origin) => {
  const heard = services.map((service) => record(service as any, 'hello'));
  services[origin]!.serverSideEmit('hello', 'world', { n: [1, null] }, 2);
  await eventually(() => {
    heard.forEach((calls, index) => expect(calls).toEqual(index === origin ? [] : [['world', { n: [1, null] }, 2]]));
  });
});

test.each(origins)(
  'serverSideEmit with an acknowledgement from instance %i collects the answers of the others',
  async (origin) => {
    services.forEach((service, index) =>
      service.on('sum', (a: number, b: number, answer: (value: unknown) => void) => answer({ index, sum: a + b })),
    );
    const others = origins.filter((index) => index !== origin);
    const expected = others.map((index) => ({ index, sum: 5 }));
    const answers = await services[origin]!.serverSideEmitWithAck('sum', 2, 3);
    expect(answers.sort((a, b) => a.index - b.index)).toEqual(expected);
    const [error, responses] = await new Promise<[Error | null, any[]]>((done) => {
      services[origin]!.serverSideEmit('sum', 2, 3, (failure: Error | null, all: any[]) => done([failure, all]));
    });
    expect(error).toBeNull();
    expect(responses.sort((a, b) => a.index - b.index)).toEqual(expected);
  },
);

test('serverSideEmit refuses the names that Socket.IO reserves', () => {
  for (const event of ['connect', 'connection', 'new_namespace']) {
    expect(() => services[0]!.serverSideEmit(event, { forged: true })).toThrow();
  }
});

test.each(origins)('allRooms from instance %i names the rooms that have members anywhere', async (origin) => {
  const rooms = await services[origin]!.allRooms();
  expect(rooms).toBeInstanceOf(Set);
  expect([...rooms].sort()).toEqual([id(0), id(1), id(2), roomId, 'plain'].sort());
});

test.each(origins)('last words of a socket of instance %i reach its room everywhere', async (origin) => {
  const service = services[origin]!;
  const socket = service.getSocket(id(origin))!;
  for (const event of ['disconnecting', 'disconnect'] as const) {
    socket.on(event, () => void socket.to([roomId, 'plain']).emit('last words', event));
  }
  const gone = next(service, 'disconnect');
  await service.disconnectUser(`user ${origin}`);
  await gone;
  const others = origins.filter((index) => index !== origin);
  await eventually(() => expect(reached('last words')).toEqual(others.flatMap((index) => [index, index])));
});
