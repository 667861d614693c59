// Contract sections 1 and 3: who receives a broadcast.

import {
  connect,
  drained,
  exactly,
  never,
  received,
  start,
  transportSettings,
  TrustingService,
  type Client,
  type Running,
} from '../support/harness';
import type { BroadcastOptions } from '../../index';

describe.each(transportSettings)('over %s', (_name, transports) => {
  let running: Running;
  let clients: Record<'alice' | 'alice2' | 'bob' | 'carol', Client>;
  let rooms: Record<'chat' | 'game', string>;
  const id = (name: keyof typeof clients) => clients[name].id!;

  beforeEach(async () => {
    running = await start({}, { Service: TrustingService });
    const as = (userId: string) => connect(running, { transports, auth: { userId } });
    clients = { alice: await as('alice'), alice2: await as('alice'), bob: await as('bob'), carol: await as('carol') };
    rooms = {
      chat: (await running.service.createRoom('chat', 'social')).id,
      game: (await running.service.createRoom('game', 'play')).id,
    };
    await running.service.joinRoom(id('alice'), rooms.chat);
    await running.service.joinRoom(id('bob'), rooms.chat);
    await running.service.joinRoom(id('bob'), rooms.game);
  });

  async function reached(): Promise<string[]> {
    await drained(running.service, ...Object.values(clients));
    for (const client of Object.values(clients)) expect(received(client, 'news').length).toBeLessThanOrEqual(1);
    return Object.entries(clients)
      .filter(([, client]) => received(client, 'news').length > 0)
      .map(([name]) => name);
  }

  type Choose = () => BroadcastOptions | undefined;
  const toAll: Array<[string, Choose, string[]]> = [
    ['nothing', () => undefined, ['alice', 'alice2', 'bob', 'carol']],
    ['{}', () => ({}), ['alice', 'alice2', 'bob', 'carol']],
    ['except', () => ({ except: [id('alice'), id('bob')] }), ['alice2', 'carol']],
    ['except nobody', () => ({ except: [] }), ['alice', 'alice2', 'bob', 'carol']],
    ['except an unknown socket', () => ({ except: ['unknown'] }), ['alice', 'alice2', 'bob', 'carol']],
    ['except half a character', () => ({ except: ['\ud800'] }), ['alice', 'alice2', 'bob', 'carol']],
    ['users', () => ({ users: ['alice', 'carol', 'nobody'] }), ['alice', 'alice2', 'carol']],
    ['no users', () => ({ users: [] }), []],
    ['room', () => ({ room: rooms.chat }), ['alice', 'bob']],
    ['an unknown room', () => ({ room: 'unknown' }), []],
    ['namespace', () => ({ namespace: 'play' }), ['bob']],
    ['an unknown namespace', () => ({ namespace: 'nowhere' }), []],
    ['room and users', () => ({ room: rooms.chat, users: ['alice'] }), ['alice']],
    ['room and namespace', () => ({ room: rooms.chat, namespace: 'play' }), ['bob']],
    ['users and except', () => ({ users: ['alice'], except: [id('alice')] }), ['alice2']],
    ['all of them', () => ({ room: rooms.chat, users: ['alice', 'bob'], namespace: 'play', except: [id('alice')] }), ['bob']],
    ['metadata', () => ({ metadata: { any: 'thing' } }), ['alice', 'alice2', 'bob', 'carol']],
  ];

  test.each(toAll)('broadcastToAll with %s', async (_option, options, expected) => {
    await running.service.broadcastToAll('news', { n: 1 }, options());
    expect(await reached()).toEqual(expected);
  });

  const toRoom: Array<[string, Choose, string[]]> = [
    ['nothing', () => undefined, ['alice', 'bob']],
    ['except', () => ({ except: [id('bob')] }), ['alice']],
    ['except everyone', () => ({ except: [id('alice'), id('bob')] }), []],
    ['users', () => ({ users: ['bob', 'carol'] }), ['bob']],
    ['another room', () => ({ room: rooms.game }), ['bob']],
    ['its namespace', () => ({ namespace: 'social' }), ['alice', 'bob']],
    ['another namespace', () => ({ namespace: 'play' }), ['bob']],
  ];

  test.each(toRoom)('broadcastToRoom with %s', async (_option, options, expected) => {
    await running.service.broadcastToRoom(rooms.chat, 'news', { n: 1 }, options());
    expect(await reached()).toEqual(expected);
  });

  test('broadcastToRoom to an unknown room rejects', async () => {
    await expect(running.service.broadcastToRoom('unknown', 'news', 1)).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: 'Room not found',
    });
    expect(await reached()).toEqual([]);
  });

  test('a socket id is no room', async () => {
    await expect(running.service.broadcastToRoom(id('alice'), 'news', 1)).rejects.toThrow('Room not found');
    expect(await reached()).toEqual([]);
  });

  test('broadcastToUsers reaches every socket of each user once', async () => {
    await running.service.broadcastToUsers(['alice', 'bob', 'alice', 'nobody'], 'news', 1);
    expect(await reached()).toEqual(['alice', 'alice2', 'bob']);
  });

  test('broadcastToUsers of nobody reaches nobody', async () => {
    await running.service.broadcastToUsers([], 'news', 1);
    await running.service.broadcastToUsers(['nobody'], 'news', 1);
    expect(await reached()).toEqual([]);
  });

  test('emitToSocket reaches that socket; an unknown one resolves', async () => {
    await running.service.emitToSocket('unknown', 'news', 1);
    await running.service.emitToSocket(id('carol'), 'news', 1);
    expect(await reached()).toEqual(['carol']);
  });

  test('all kinds of sending keep the order of the calls', async () => {
    for (let index = 0; index < 30; index += 5) {
      void running.service.emitToSocket(id('bob'), 'step', index);
      void running.service.broadcastToRoom(rooms.chat, 'step', index + 1);
      void running.service.broadcastToAll('step', index + 2);
      void running.service.broadcastToUsers(['bob'], 'step', index + 3);
      void running.service.broadcastToRoom(rooms.game, 'step', index + 4);
    }
    await drained(running.service, clients.bob);
    expect(received(clients.bob, 'step')).toEqual(Array.from({ length: 30 }, (_, index) => index));
  });

  test('after leaving a room nothing of it arrives', async () => {
    await running.service.leaveRoom(id('bob'), rooms.chat);
    await running.service.broadcastToRoom(rooms.chat, 'news', 1);
    await never(running.service, 'news', clients.bob);
    await exactly(1, running.service, 'news', clients.alice);
  });
});
