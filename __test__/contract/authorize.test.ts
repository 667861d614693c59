// Who may do what: the application decides, in the order in which a client sends.

import type { Authorizer, AuthorizeConfig, SocketUser, Room } from '../../index';
import { connect, drained, exactly, never, next, open, received, record, refused, singleTransports, start, TrustingService, type Client, type Running } from '../support/harness';

type Verb = Exclude<keyof AuthorizeConfig, 'connect'>;

/** What a client sends for each verb. */
const EVENTS: Array<[verb: Verb, event: string, data: object]> = [
  ['join', 'room:join', {}],
  ['message', 'message', { content: 'hello' }],
  ['typing', 'typing', { isTyping: true }],
  ['relay', 'document:edit', { at: 3 }],
  ['history', 'room:history', { limit: 1 }],
];

/** What the other members are told of each; of what is only read, nothing. */
const TOLD: Record<Verb, string | undefined> = {
  join: 'user:joined',
  message: 'message',
  typing: 'typing',
  relay: 'document:edit',
  history: undefined,
};

const later = <T>(value: T) => new Promise<T>((done) => setImmediate(() => done(value)));

describe.each(singleTransports)('over %s', (transport) => {
  const enter = (running: Running, auth: object = {}) => connect(running, { transports: [transport], auth });

  /** A room with somebody in it who listens. */
  async function scene(authorize: AuthorizeConfig) {
    const running = await start({ authorize }, { Service: TrustingService });
    const { service } = running;
    const room = await service.createRoom('room');
    const [client, other] = [await enter(running, { userId: 'ada', user: { roles: ['editor'] } }), await enter(running)];
    await service.joinRoom(other.id!, room.id);
    return { running, service, room, client, other };
  }

  test.each(EVENTS)('%s is asked with who, where and what', async (verb, event, data) => {
    const asked: Array<[SocketUser, Room | undefined, any]> = [];
    const { service, room, client, other } = await scene({ [verb]: (...question: Parameters<Authorizer>) => asked.push(question) > 0 });
    if (verb !== 'join') await service.joinRoom(client.id!, room.id);
    const answer = await client.emitWithAck(event, { roomId: room.id, ...data });
    expect(answer).toMatchObject({ ok: true });
    expect(asked).toEqual([[service.getUser(client.id!), room, { roomId: room.id, ...data }]]);
    expect(asked[0]![0].roles).toEqual(['editor']);
    await drained(service, other);
    const told = TOLD[verb];
    if (told !== undefined) expect(received(other, told).length).toBeGreaterThan(0);
  });

  describe.each<[form: string, say: (answer: boolean | string) => boolean | string | Promise<boolean | string>]>([
    ['synchronous', (answer) => answer],
    ['asynchronous', later],
  ])('a %s refusal', (_form, say) => {
    test.each(EVENTS)('of %s reaches the client alone', async (verb, event, data) => {
      let answer: boolean | string = 'not on Sundays';
      const { service, room, client, other } = await scene({ [verb]: () => say(answer) });
      if (verb !== 'join') await service.joinRoom(client.id!, room.id);
      await drained(service, other);
      other.received.length = 0;
      const told = record(service, 'message');
      const error = next(client, 'error');
      expect(await client.emitWithAck(event, { roomId: room.id, ...data })).toEqual({
        ok: false,
        error: { code: 'ERR_FORBIDDEN', message: 'not on Sundays' },
      });
      expect(await error).toEqual([{ message: 'not on Sundays', code: 'ERR_FORBIDDEN', event, roomId: room.id }]);
      answer = false;
      const { error: second } = await client.emitWithAck(event, { roomId: room.id, ...data });
      expect(second).toEqual({ code: 'ERR_FORBIDDEN', message: 'Not allowed' });
      await never(service, TOLD[verb] ?? 'message', other);
      expect([told, service.getRoomMessages(room.id), room.members.has(client.id!)]).toEqual([[], [], verb !== 'join']);
    });
  });

  test('a client that leaves and comes back has its identity asked about anew', async () => {
    const { running, service, room, client } = await scene({ message: (user) => user.id === 'ada' });
    const stranger = await enter(running, { userId: 'eve' });
    for (const each of [client, stranger]) await service.joinRoom(each.id!, room.id);
    const sent = (each: Client) => each.emitWithAck('message', { roomId: room.id, content: 'x' });
    expect((await sent(client)).ok).toBe(true);
    expect((await sent(stranger)).error.code).toBe('ERR_FORBIDDEN');
  });

  test('what the client sends meanwhile waits, in order', async () => {
    const answers: Array<(answer: boolean) => void> = [];
    const { service, room, client, other } = await scene({ message: () => new Promise((done) => answers.push(done)) });
    await service.joinRoom(client.id!, room.id);
    const socket = service.getSocket(client.id!)!;
    const own = record(socket, 'own');
    const order: string[] = [];
    const sent = ['a', 'b', 'c'].map((content) => client.emitWithAck('message', { roomId: room.id, content }).then(() => void order.push(content)));
    client.emit('document:edit', { roomId: room.id, changes: 1 });
    client.emit('own', 1);
    const left = client.emitWithAck('room:leave', { roomId: room.id }).then(() => void order.push('leave'));
    while (answers.length === 0) await later(0);
    await never(service, 'document:edit', other);
    expect([own, answers.length, room.members.has(client.id!)]).toEqual([[], 1, true]);
    for (let decided = 0; decided < 3; decided++) {
      while (answers.length === decided) await later(0);
      answers[decided]!(decided !== 1);
    }
    await Promise.all([...sent, left]);
    expect(order).toEqual(['a', 'b', 'c', 'leave']);
    await exactly(1, service, 'document:edit', other);
    expect(received(other, 'message').map(({ content }) => content)).toEqual(['a', 'c']);
    expect(own).toEqual([[1]]);
    expect(room.members.has(client.id!)).toBe(false);
  });

  test('one client that is being decided about does not hold up another', async () => {
    const { service, room, client, other } = await scene({ message: (user) => (user.id === 'ada' ? new Promise(() => {}) : true) });
    await service.joinRoom(client.id!, room.id);
    client.emit('message', { roomId: room.id, content: 'waits' });
    expect((await other.emitWithAck('message', { roomId: room.id, content: 'goes' })).ok).toBe(true);
    expect(service.getRoomMessages(room.id).map(({ content }) => content)).toEqual(['goes']);
  });

  test('a decision about a client that has gone is none', async () => {
    let decide: ((answer: boolean) => void) | undefined;
    const { service, room, client, other } = await scene({ message: () => new Promise((done) => (decide = done)) });
    await service.joinRoom(client.id!, room.id);
    client.emit('message', { roomId: room.id, content: 'late' });
    while (decide === undefined) await later(0);
    const gone = next(service, 'disconnect');
    client.disconnect();
    await gone;
    decide(true);
    await later(0);
    await never(service, 'message', other);
    expect(service.getRoomMessages(room.id)).toEqual([]);
  });

  test('a function that fails refuses, and is logged without what the client sent', async () => {
    const logged: unknown[][] = [];
    const logger = { debug() {}, info() {}, warn() {}, error: (...args: unknown[]) => void logged.push(args) };
    const failure = new Error('database away');
    let fail: () => boolean | Promise<boolean> = () => {
      throw failure;
    };
    const running = await start({ logger, authorize: { join: () => fail() } });
    const [room, client] = [await running.service.createRoom('room'), await enter(running)];
    const join = () => client.emitWithAck('room:join', { roomId: room.id });
    expect((await join()).error).toEqual({ code: 'ERR_FORBIDDEN', message: 'Not allowed' });
    fail = () => Promise.reject(failure);
    expect((await join()).error).toEqual({ code: 'ERR_FORBIDDEN', message: 'Not allowed' });
    expect(logged).toEqual(Array(2).fill(['authorize.join failed: the client is refused', failure]));
    fail = () => undefined as never;
    expect((await join()).error.code).toBe('ERR_FORBIDDEN');
  });

  test('one that never answers refuses after connectTimeout', async () => {
    const running = await start({ connectTimeout: 300, authorize: { join: () => new Promise(() => {}) } });
    const [room, client] = [await running.service.createRoom('room'), await enter(running)];
    expect((await client.emitWithAck('room:join', { roomId: room.id })).error.code).toBe('ERR_FORBIDDEN');
    expect(room.members.size).toBe(0);
  });

  test('what cannot be done anyway is not asked about', async () => {
    const asked: unknown[] = [];
    const ask: Authorizer = (...question) => asked.push(question) > 0;
    const { room, client } = await scene({ join: ask, message: ask, typing: ask, relay: ask });
    const codes = [];
    for (const [event, data] of [
      ['room:join', { roomId: 'none' }],
      ['room:join', {}],
      ['message', { roomId: room.id, content: 'x' }],
      ['typing', { roomId: room.id, isTyping: true }],
      ['document:edit', { roomId: room.id }],
      ['message', 'nothing'],
    ] as const) {
      codes.push((await client.emitWithAck(event, data)).error.code);
    }
    expect(codes).toEqual(['ERR_NOT_FOUND', 'ERR_INVALID_ARGUMENT', 'ERR_NOT_A_MEMBER', 'ERR_NOT_A_MEMBER', 'ERR_NOT_A_MEMBER', 'ERR_INVALID_ARGUMENT']);
    expect(asked).toEqual([]);
  });

  test('connect is asked after the middleware, and its refusal is the connect_error', async () => {
    const asked: SocketUser[] = [];
    const running = await start(
      {
        authorize: {
          connect: (user, room, { auth }) => {
            expect(room).toBeUndefined();
            asked.push(user);
            return auth.ticket === 'good' || 'no ticket';
          },
        },
      },
      {
        setup: (service) =>
          void service.use((socket, set) => {
            socket.userId = 'ada';
            socket.user = { username: 'Ada' };
            set();
          }),
      },
    );
    const comes = record(running.service, 'connection');
    const error = await refused(open(running, { transports: [transport], auth: { ticket: 'bad' } }));
    expect([error.message, error.data]).toEqual(['no ticket', { code: 'ERR_FORBIDDEN' }]);
    expect(comes).toEqual([]);
    await enter(running, { ticket: 'good' });
    expect(asked.map(({ id, username }) => [id, username])).toEqual([['ada', 'Ada'], ['ada', 'Ada']]);
    expect(comes).toHaveLength(1);
  });

  test('a private room is entered by the server alone, or as authorize.join says', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('room', 'default', undefined, undefined, { private: true });
    const client = await enter(running);
    const error = next(client, 'error');
    expect((await client.emitWithAck('room:join', { roomId: room.id })).error).toEqual({ code: 'ERR_FORBIDDEN', message: 'The room is private' });
    expect((await error)[0]).toMatchObject({ code: 'ERR_FORBIDDEN', event: 'room:join' });
    expect(room.members.size).toBe(0);
    await service.joinRoom(client.id!, room.id);
    expect((await client.emitWithAck('message', { roomId: room.id, content: 'in' })).ok).toBe(true);

    const asking = await start({ authorize: { join: (user) => user.username === 'Ada' } });
    const inner = await asking.service.createRoom('room', 'default', undefined, undefined, { private: true });
    const [ada, eve] = [await connect(asking, { query: { username: 'Ada' } }), await connect(asking, { query: { username: 'Eve' } })];
    expect((await ada.emitWithAck('room:join', { roomId: inner.id })).ok).toBe(true);
    expect((await eve.emitWithAck('room:join', { roomId: inner.id })).ok).toBe(false);
  });

  test('clients do not send system messages unless they may', async () => {
    for (const allowSystemMessages of [false, true]) {
      const running = await start({ allowSystemMessages });
      const [room, client] = [await running.service.createRoom('room'), await enter(running)];
      await running.service.joinRoom(client.id!, room.id);
      const answer = await client.emitWithAck('message', { roomId: room.id, content: 'x', type: 'system' });
      expect(answer.ok || answer.error.code).toBe(allowSystemMessages || 'ERR_FORBIDDEN');
      await running.service.sendMessage(room.id, 'server', 'from the server', 'system');
      expect(running.service.getRoomMessages(room.id)).toHaveLength(allowSystemMessages ? 2 : 1);
    }
  });

  test('a flood while a decision is awaited pauses the flooder, and nothing is lost', async () => {
    let decide: ((answer: boolean) => void) | undefined;
    const { service, room, client, other } = await scene({ join: () => new Promise((done) => (decide = done)) });
    const heard = record(service.getSocket(client.id!)!, 'own');
    client.emit('room:join', { roomId: room.id });
    const count = 2_000;
    for (let number = 0; number < count; number++) client.emit('own', number, 'x'.repeat(500));
    while (decide === undefined) await later(0);
    expect((await other.emitWithAck('message', { roomId: room.id, content: 'goes' })).ok).toBe(true);
    expect(heard).toEqual([]);
    const last = new Promise<void>((done) => service.getSocket(client.id!)!.on('last', () => done()));
    client.emit('last');
    decide(true);
    await last;
    expect(heard.map(([number]) => number)).toEqual(Array.from({ length: count }, (_, number) => number));
  });
});

test('events of a socket that was given by hand are asked about, too', async () => {
  const { EventEmitter } = await import('node:events');
  const { service } = await start({ authorize: { join: () => later('not you') } });
  const room = await service.createRoom('room');
  const socket = Object.assign(new EventEmitter(), { id: 'by hand', handshake: { query: {}, auth: {}, headers: {} } });
  await service.handleConnection(socket as any);
  const error = next(socket, 'error');
  socket.emit('room:join', { roomId: room.id });
  expect((await error)[0]).toMatchObject({ message: 'not you', code: 'ERR_FORBIDDEN' });
  expect(room.members.size).toBe(0);
});
