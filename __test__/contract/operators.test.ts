// Socket.IO's operators on the service: the same on a server of `socket.io`, and what is the service's own.

import { EventEmitter } from 'node:events';
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import {
  afterTest,
  connect,
  eventsDelivered,
  listen,
  next,
  nextWhere,
  received,
  record,
  start,
  type Client,
  type Service,
  type TransportName,
} from '../support/harness';
import type { BroadcastOperator } from '../../index';

type Operators = Pick<
  Service,
  | 'in'
  | 'to'
  | 'except'
  | 'timeout'
  | 'volatile'
  | 'local'
  | 'fetchSockets'
  | 'socketsJoin'
  | 'socketsLeave'
  | 'disconnectSockets'
>;

interface Target {
  url: string;
  operators: Operators;
  socket(id: string): { rooms: Set<string>; data: any; join(room: string | string[]): unknown };
}

async function startService(): Promise<Target> {
  const { url, service } = await start();
  return { url, operators: service, socket: (id) => service.getSocket(id)! };
}

async function startSocketIo(): Promise<Target> {
  const httpServer = createServer();
  const io = new Server(httpServer);
  afterTest(() => io.close());
  const url = `http://127.0.0.1:${await listen(httpServer)}`;
  return { url, operators: io as unknown as Operators, socket: (id) => io.sockets.sockets.get(id) as any };
}

const servers: Array<[string, () => Promise<Target>, TransportName]> = [
  ['this service over websocket', startService, 'websocket'],
  ['this service over polling', startService, 'polling'],
  ['socket.io', startSocketIo, 'websocket'],
];

const MARKER = 'operators:marker';
/** In ms, for those who answer at once, on a machine that does other things as well. */
const TIME_TO_ANSWER = 1000;

describe.each(servers)('%s', (_name, startTarget, transport) => {
  const names = ['alice', 'bob', 'carol', 'dave'] as const;
  let target: Target;
  let io: Operators;
  let clients: Record<(typeof names)[number], Client>;
  const id = (name: keyof typeof clients) => clients[name].id!;

  beforeEach(async () => {
    target = await startTarget();
    io = target.operators;
    const connected = await Promise.all(names.map(() => connect(target, { transports: [transport] })));
    clients = Object.fromEntries(names.map((name, index) => [name, connected[index]!])) as typeof clients;
    target.socket(id('alice')).join(['red', 'blue']);
    target.socket(id('bob')).join('red');
    target.socket(id('carol')).join('blue');
  });

  /** Who has received an event so far, everything that was sent before included. */
  async function reached(event: string): Promise<string[]> {
    await drainedAll();
    return names.flatMap((name) => received(clients[name], event).map(() => name));
  }

  async function drainedAll(): Promise<void> {
    const arrived = names.filter((name) => clients[name].connected).map((name) => next(clients[name], MARKER));
    io.except([]).emit(MARKER);
    await Promise.all(arrived);
  }

  function answering(...answers: Array<[keyof typeof clients, (...args: any[]) => unknown]>): void {
    for (const [name, answer] of answers) {
      clients[name].on('question', (...args) => args.pop()(answer(...args)));
    }
  }

  const cases: Array<[string, () => BroadcastOperator, string[]]> = [
    ['in a room', () => io.in('red'), ['alice', 'bob']],
    ['to a room', () => io.to('blue'), ['alice', 'carol']],
    ['to several rooms', () => io.to(['red', 'blue']), ['alice', 'bob', 'carol']],
    ['to rooms one after the other', () => io.to('red').in('blue').to('none'), ['alice', 'bob', 'carol']],
    ['to a socket', () => io.to(id('dave')), ['dave']],
    ['to a socket and its room', () => io.to([id('bob'), 'red']), ['alice', 'bob']],
    ['to an unknown room', () => io.to('none'), []],
    ['to no room', () => io.to([]), ['alice', 'bob', 'carol', 'dave']],
    ['except a room', () => io.except('red'), ['carol', 'dave']],
    ['except sockets', () => io.except([id('alice'), id('dave')]), ['bob', 'carol']],
    ['to a room except another', () => io.to('red').except('blue'), ['bob']],
    ['to rooms except a room and a socket', () => io.in(['red', 'blue']).except('blue').except(id('bob')), []],
    ['volatile', () => io.volatile.to('red'), ['alice', 'bob']],
    ['volatile, to several rooms', () => io.to(['red', 'blue']).volatile, ['alice', 'bob', 'carol']],
    ['local', () => io.local.to('blue'), ['alice', 'carol']],
    ['with a time-out', () => io.timeout(1000), ['alice', 'bob', 'carol', 'dave']],
  ];

  test.each(cases)('%s', async (name, operator, expected) => {
    // A polling client may be between two polls.
    if (transport === 'websocket' || !name.startsWith('volatile')) {
      expect(operator().emit('news', 1)).toBe(true);
      expect(await reached('news')).toEqual(expected);
    }
    expect((await operator().fetchSockets()).map((socket) => socket.id).sort()).toEqual(
      expected.map((each) => id(each as keyof typeof clients)).sort(),
    );
  });

  test('a step leaves the operator before it as it was', async () => {
    const red = io.to('red');
    red.to('blue').except(id('bob'));
    red.emit('news');
    expect(await reached('news')).toEqual(['alice', 'bob']);
  });

  test('every argument arrives as it would from a socket', async () => {
    io.to('red').emit('all', 1, 'two', { three: [3] }, Buffer.from('four'), new Date(5), null);
    await drainedAll();
    const { args } = clients.bob.received.find(({ event }) => event === 'all')!;
    expect(args).toEqual([1, 'two', { three: [3] }, Buffer.from('four'), new Date(5).toISOString(), null]);
  });

  test('the answers of all clients are collected', async () => {
    answering(['alice', (n) => n + 1], ['bob', (n) => ({ n, bytes: Buffer.from([n]) })]);
    const answers = await io.to('red').timeout(5000).emitWithAck('question', 7);
    expect(answers).toHaveLength(2);
    expect(answers).toEqual(expect.arrayContaining([8, { n: 7, bytes: Buffer.from([7]) }]));
    const called = await new Promise<unknown[]>((done) => {
      const result = io.in('red').except(id('bob')).timeout(5000).emit('question', 8, (...args: unknown[]) => done(args));
      expect(result).toBe(true);
    });
    expect(called).toEqual([null, [9]]);
  });

  test('nobody answers at once', async () => {
    expect(await io.to('none').timeout(5000).emitWithAck('question')).toEqual([]);
    const called = await new Promise<unknown[]>((done) => {
      io.to('none').timeout(5000).emit('question', (...args: unknown[]) => done(args));
    });
    expect(called).toEqual([null, []]);
  });

  test('a client that does not answer in time is an error with the other answers', async () => {
    answering(['alice', () => 'here']);
    const called = await new Promise<unknown[]>((done) => {
      io.to('red').timeout(TIME_TO_ANSWER).emit('question', (...args: unknown[]) => done(args));
    });
    expect(called).toEqual([new Error('operation has timed out'), ['here']]);
    const error = await io.to('red').timeout(TIME_TO_ANSWER).emitWithAck('question').catch((failure) => failure);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ message: 'operation has timed out', responses: ['here'] });
  });

  test('an answer that comes too late or twice changes nothing', async () => {
    let late: (answer: string) => void;
    clients.alice.on('question', (answer) => (late = answer));
    clients.bob.on('question', (answer) => {
      answer('once');
      answer('twice');
    });
    const calls: unknown[][] = [];
    await new Promise<void>((done) => {
      io.to('red').timeout(TIME_TO_ANSWER).emit('question', (...args: unknown[]) => {
        calls.push(args);
        done();
      });
    });
    late!('late');
    clients.alice.emit('unheard');
    await drainedAll();
    expect(calls).toEqual([[new Error('operation has timed out'), ['once']]]);
  });

  test('a client that leaves without an answer is waited for', async () => {
    answering(['alice', () => 'here']);
    clients.bob.on('question', () => clients.bob.disconnect());
    await expect(io.to('red').timeout(TIME_TO_ANSWER).emitWithAck('question')).rejects.toMatchObject({ responses: ['here'] });
  });

  test('found sockets show their state and take orders', async () => {
    target.socket(id('bob')).data.color = 'green';
    const [found, ...others] = await io.in(id('bob')).fetchSockets();
    expect(others).toEqual([]);
    expect(found!.id).toBe(id('bob'));
    expect(found!.rooms).toEqual(new Set([id('bob'), 'red']));
    expect(found!.data).toEqual({ color: 'green' });
    expect(found!.handshake).toMatchObject({ query: { transport }, xdomain: false, secure: target.url.startsWith('https') });
    await found!.join('green');
    await found!.leave('red');
    expect(target.socket(id('bob')).rooms).toEqual(new Set([id('bob'), 'green']));
    found!.emit('news', 1);
    expect(await reached('news')).toEqual(['bob']);
    answering(['bob', () => 'yes']);
    expect(await found!.timeout(5000).emitWithAck('question')).toBe('yes');
    const gone = next(clients.bob, 'disconnect');
    found!.disconnect(true);
    expect((await gone)[0]).toMatch(/server disconnect/);
  });

  test('sockets join and leave', async () => {
    io.in('red').except(id('bob')).socketsJoin(['one', 'two']);
    io.socketsJoin('all');
    expect(target.socket(id('alice')).rooms).toEqual(new Set([id('alice'), 'red', 'blue', 'one', 'two', 'all']));
    expect(target.socket(id('bob')).rooms).toEqual(new Set([id('bob'), 'red', 'all']));
    io.in('one').socketsLeave(['red', 'two', 'none']);
    io.socketsLeave('all');
    expect(target.socket(id('alice')).rooms).toEqual(new Set([id('alice'), 'blue', 'one']));
    expect(target.socket(id('dave')).rooms).toEqual(new Set([id('dave')]));
  });

  test('sockets are disconnected', async () => {
    const gone = [next(clients.alice, 'disconnect'), next(clients.bob, 'disconnect')];
    io.in('red').disconnectSockets();
    expect(await Promise.all(gone)).toEqual([['io server disconnect'], ['io server disconnect']]);
    expect((await io.fetchSockets()).map((socket) => socket.id).sort()).toEqual([id('carol'), id('dave')].sort());
    const closed = next(clients.carol.io.engine as any, 'close');
    io.disconnectSockets(true);
    await closed;
    expect(await io.fetchSockets()).toEqual([]);
  });

  test.each(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'])(
    'the name %s is reserved',
    async (event) => {
      expect(() => io.to('red').emit(event)).toThrow();
      await expect(io.to('red').timeout(100).emitWithAck(event)).rejects.toThrow();
    },
  );
});

describe('on rooms of the registry', () => {
  test('socketsJoin is joinRoom, socketsLeave is leaveRoom', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('chat');
    const [one, two] = [await connect(running), await connect(running)];
    await service.joinRoom(two.id!, room.id);
    const [joins, leaves] = [record(service, 'room:join'), record(service, 'room:leave')];
    const told = next(two, 'user:joined');
    service.in(one.id!).socketsJoin(room.id);
    expect(await told).toMatchObject([{ socketId: one.id, roomId: room.id }]);
    expect(room.members).toEqual(new Set([two.id, one.id]));
    service.in(room.id).socketsLeave(room.id);
    await eventsDelivered(service);
    expect(joins.map(([{ user }]) => user.socketId)).toEqual([one.id]);
    expect(leaves.map(([{ user }]) => user.socketId)).toEqual([two.id, one.id]);
    expect(room.members.size).toBe(0);
  });

  test('disconnectSockets is announced', async () => {
    const running = await start();
    const client = await connect(running);
    // A client that is gone has no id any more.
    const id = client.id!;
    const gone = nextWhere(running.service, 'disconnect', (user) => user.socketId === id);
    running.service.in(id).disconnectSockets(true);
    await gone;
    expect(running.service.getUser(id)).toBeUndefined();
  });
});

describe('with sockets that are registered by hand', () => {
  class ByHand extends EventEmitter {
    rooms = new Set<string>();
    data = { kept: 1 };
    connected = true;
    handshake = { auth: {}, headers: {}, query: {}, address: '', time: '', issued: 0, secure: false, xdomain: false, url: '/' };
    constructor(readonly id: string) {
      super();
    }
    join(room: string) {
      this.rooms.add(room);
    }
    leave(room: string) {
      this.rooms.delete(room);
    }
  }

  test('they are reached, asked, found and moved like clients', async () => {
    const running = await start();
    const { service } = running;
    const [byHand, client] = [new ByHand('by-hand'), await connect(running)];
    await service.handleConnection(byHand as any);
    service.socketsJoin('lobby');
    expect(byHand.rooms).toEqual(new Set(['lobby']));

    const news = [next(byHand, 'news'), next(client, 'news')];
    service.to('lobby').emit('news', { n: 1 });
    expect(await Promise.all(news)).toEqual([[{ n: 1 }], [{ n: 1 }]]);

    byHand.on('question', (n, answer) => answer(n + 1));
    client.on('question', (n, answer) => answer(n + 2));
    expect((await service.in('lobby').timeout(5000).emitWithAck('question', 1)).sort()).toEqual([2, 3]);

    const found = await service.fetchSockets();
    expect(found).toHaveLength(2);
    expect(new Set(found)).toEqual(new Set([byHand, service.getSocket(client.id!)]));
    service.in('lobby').socketsLeave('lobby');
    expect(byHand.rooms.size).toBe(0);
    expect(await service.in('lobby').fetchSockets()).toEqual([]);
  });
});

describe('arguments', () => {
  const invalid = { name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' };

  test('an acknowledgement cannot be asked for without a time-out', async () => {
    const { service } = await start();
    expect(() => service.in('red').emit('question', () => {})).toThrow(expect.objectContaining(invalid));
    await expect(service.in('red').emitWithAck('question')).rejects.toMatchObject(invalid);
  });

  test.each([undefined, null, {}, [undefined], true])('%p is no room', async (room: any) => {
    const { service } = await start();
    for (const call of [
      () => service.in(room),
      () => service.to(room),
      () => service.except(room),
      () => service.socketsJoin(room),
      () => service.socketsLeave(room),
    ]) {
      expect(call).toThrow(expect.objectContaining(invalid));
    }
  });

  test.each([undefined, -1, NaN, Infinity, 2 ** 31, '1'])('%p is no time-out', async (ms: any) => {
    const { service } = await start();
    expect(() => service.timeout(ms)).toThrow(expect.objectContaining(invalid));
  });

  test('after the shutdown nothing is done any more', async () => {
    const { service } = await start();
    const operator = service.in('red');
    await service.shutdown();
    const closed = { name: 'WebSocketServiceError', code: 'ERR_CLOSED' };
    for (const call of [
      () => operator.emit('news'),
      () => operator.timeout(100).emit('news', () => {}),
      () => operator.socketsJoin('blue'),
      () => operator.socketsLeave('blue'),
      () => operator.disconnectSockets(),
      () => service.serverSideEmit('news'),
    ]) {
      expect(call).toThrow(expect.objectContaining(closed));
    }
    for (const call of [
      operator.timeout(100).emitWithAck('news'),
      operator.fetchSockets(),
      service.fetchSockets(),
      service.allRooms(),
      service.serverSideEmitWithAck('news'),
      service.ready(),
    ]) {
      await expect(call).rejects.toMatchObject(closed);
    }
  });
});

describe('without other servers', () => {
  test('the cluster is this instance, and ready', async () => {
    const running = await start();
    const { service } = running;
    await service.ready();
    await connect(running);
    await service.createRoom('chat');
    const stats = service.getStats();
    expect(stats).not.toHaveProperty('cluster');
    const { avgLatency, ...figures } = service.getClusterStats();
    expect(figures).toMatchObject({ totalConnections: 1, activeConnections: 1, totalRooms: 1, instances: 1 });
    expect(avgLatency).toBeGreaterThanOrEqual(0);
    expect(Object.keys(figures).sort()).toEqual([...Object.keys(stats).filter((name) => name !== 'avgLatency'), 'instances'].sort());
  });

  test('allRooms names the rooms with members', async () => {
    const running = await start();
    const { service } = running;
    const [full, empty] = [await service.createRoom('full'), await service.createRoom('empty')];
    const client = await connect(running);
    await service.joinRoom(client.id!, full.id);
    service.socketsJoin('plain');
    const rooms = await service.allRooms();
    expect(rooms).toEqual(new Set([client.id, full.id, 'plain']));
    expect(rooms.has(empty.id)).toBe(false);
  });

  test('serverSideEmit reaches nobody, this service neither', async () => {
    const { service } = await start();
    const heard = record(service, 'news');
    expect(service.serverSideEmit('news', 1)).toBe(true);
    expect(await service.serverSideEmitWithAck('news', 1)).toEqual([]);
    const called = await new Promise<unknown[]>((done) => {
      expect(service.serverSideEmit('news', 1, (...args: unknown[]) => done(args))).toBe(true);
    });
    expect(called).toEqual([null, []]);
    await eventsDelivered(service);
    expect(heard).toEqual([]);
  });

  test.each(['', 'connection', 'disconnect', 'message', 'room:join', 'room:any', 'typing', 'error', 'cluster', 'newListener'])(
    'serverSideEmit refuses the name %p',
    async (event) => {
      const { service } = await start();
      const invalid = { name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' };
      expect(() => service.serverSideEmit(event)).toThrow(expect.objectContaining(invalid));
      await expect(service.serverSideEmitWithAck(event)).rejects.toMatchObject(invalid);
    },
  );

  test('serverSideEmit refuses what JSON cannot hold', async () => {
    const { service } = await start();
    expect(() => service.serverSideEmit('news', 1n)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }));
  });
});
