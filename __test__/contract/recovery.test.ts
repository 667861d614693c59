// Clients that lose their connection and come back get what they missed, in order and once, and nobody else notices.

import type { SocketUser, WebSocketConfig } from '../../index';
import { eventually } from '../support/eventually';
import {
  connect,
  drained,
  members,
  next,
  never,
  open,
  received,
  record,
  start,
  transportSettings,
  type Client,
  type ClientOptions,
  type Running,
  type TransportName,
} from '../support/harness';
import { layLine, type Line } from '../support/line';

type Recovery = Exclude<WebSocketConfig['connectionStateRecovery'], boolean | undefined>;

interface Scene extends Running {
  line: Line;
  transports: TransportName[];
}

const quick: ClientOptions = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 };

async function stage(transports: TransportName[], recovery: Recovery = {}, config: WebSocketConfig = {}, setup?: Parameters<typeof start>[1]): Promise<Scene> {
  const running = await start({ connectionStateRecovery: recovery, ...config }, setup);
  return { ...running, line: await layLine(running.port), transports };
}

/** A client that has done with its upgrade: the end of a session that is just moving is noticed by its heartbeat only. */
async function enter({ line, transports }: Scene, options: ClientOptions = {}): Promise<Client> {
  const client = await connect(line, { transports, ...quick, ...options });
  const { engine } = client.io;
  if (transports.length > 1 && engine.transport.name !== 'websocket') await next(engine, 'upgrade');
  return client;
}

/** Cuts the line; resolves when the client is back. */
async function blink({ line }: Scene, client: Client, meanwhile?: () => unknown, unnoticed = false): Promise<void> {
  const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
  line.close({ unnoticed });
  await gone;
  await meanwhile?.();
  line.mend();
  await back;
}

const seen = (client: Client, event = 'n') => received(client, event);
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

describe.each(transportSettings)('%s', (_name, transports) => {
  test('a client that blinks misses nothing, and is the same to everybody', async () => {
    const scene = await stage(transports);
    const { service } = scene;
    const room = await service.createRoom('room');
    const client = await enter(scene, { auth: { name: 'ada' } });
    const [witness] = await members(scene, room, 1);
    const { id } = client;
    const user = service.getUser(id!);
    const socket = service.getSocket(id!)!;
    socket.data.mark = 7;
    await service.joinRoom(id!, room.id);
    socket.join('plain');
    const told = ['connection', 'disconnect', 'room:join', 'room:leave', 'away', 'recovered'].map((event) => record(service, event));
    const ended = record({ on: (event: string, listener: never) => void socket.on(event, listener) }, 'disconnect');
    const presence: unknown[] = [];
    await drained(service, client, witness!);
    witness!.received.length = 0;

    for (const index of numbers(0, 5)) await service.broadcastToRoom(room.id, 'n', index);
    await drained(service, client);
    await blink(scene, client, async () => {
      // Of a client that polls, the end of its poll says nothing.
      if (transports.includes('websocket')) await eventually(() => expect(service.getUser(id!)!.isAway).toBe(true));
      presence.push(service.isUserOnline(user!.id), room.members.has(id!), service.getStats().activeConnections, socket.connected);
      for (const index of numbers(5, 10)) await service.broadcastToRoom(room.id, 'n', index);
      await service.emitToSocket(id!, 'n', 10);
      await service.broadcastToUsers([user!.id], 'n', 11);
      await service.broadcastToAll('n', 12);
      service.to('plain').emit('n', 13);
      await service.broadcastToAll('n', 'not for it', { except: [id!] });
    });
    await service.broadcastToRoom(room.id, 'n', 14);
    await drained(service, client, witness!);

    expect([client.recovered, client.id]).toEqual([true, id]);
    expect(seen(client)).toEqual(numbers(0, 15));
    expect(presence).toEqual([true, true, ...(transports.includes('websocket') ? [1, false] : [2, true])]);
    expect([service.getUser(id!), service.getSocket(id!)]).toEqual([user, socket]);
    expect([user!.isAway, socket.connected, socket.recovered, socket.data.mark]).toEqual([false, true, true, 7]);
    expect([...socket.rooms].sort()).toEqual([id!, room.id, 'plain'].sort());
    expect(told).toEqual([[], [], [], [], [[user, expect.any(String)]], [[user]]]);
    expect(ended).toHaveLength(1);
    expect(witness!.received.filter(({ event }) => event.startsWith('user:'))).toEqual([]);
    // What it says counts again.
    await expect(client.emitWithAck('message', { roomId: room.id, content: 'hello' })).resolves.toMatchObject({ ok: true });
  });

  test('one that has received nothing yet gets the first event ever', async () => {
    const scene = await stage(transports);
    const client = await enter(scene);
    await blink(scene, client, () => scene.service.broadcastToAll('n', 0));
    await drained(scene.service, client);
    expect([client.recovered, seen(client)]).toEqual([true, [0]]);
  });

  test('a second and a third time bring nothing again', async () => {
    const scene = await stage(transports);
    const client = await enter(scene);
    const { id } = client;
    await blink(scene, client, () => scene.service.broadcastToAll('n', 0));
    await blink(scene, client);
    await blink(scene, client);
    await scene.service.emitToSocket(id!, 'n', 1);
    await drained(scene.service, client);
    expect([client.recovered, client.id, seen(client)]).toEqual([true, id, [0, 1]]);
  });

  test('one that is faster than the server ends its old connection', async () => {
    const scene = await stage(transports);
    const { service } = scene;
    const client = await enter(scene);
    const { id } = client;
    const told = ['disconnect', 'connection', 'recovered'].map((event) => record(service, event));
    await service.emitToSocket(id!, 'n', 0);
    await drained(service, client);
    await blink(
      scene,
      client,
      async () => {
        for (const index of numbers(1, 50)) await service.broadcastToAll('n', index);
      },
      true,
    );
    await service.broadcastToAll('n', 50);
    await drained(service, client);
    expect([client.recovered, client.id, seen(client)]).toEqual([true, id, numbers(0, 51)]);
    expect([service.getConnectedUsers().length, service.getStats().activeConnections]).toEqual([1, 1]);
    expect(told.map((calls) => calls.length)).toEqual([0, 0, 1]);
    // Asked for only now.
    expect(service.getSocket(id!)!.recovered).toBe(true);
  });

  test('what is volatile, or ends in a text, does not lead it astray', async () => {
    const scene = await stage(transports);
    const { service } = scene;
    const client = await enter(scene);
    const socket = service.getSocket(client.id!)!;
    socket.emit('n', 0, 'zzz');
    await drained(service, client);
    socket.volatile.emit('v', 'a text');
    await drained(service, client);
    await blink(scene, client, () => {
      socket.volatile.emit('v', 'lost');
      socket.emit('n', 1, '1');
    });
    await drained(service, client);
    socket.volatile.emit('v', 'a later text');
    await drained(service, client);
    await blink(scene, client);
    await drained(service, client);
    expect([client.recovered, seen(client), seen(client, 'v')]).toEqual([true, [0, 1], ['a text', 'a later text']]);
  });

  test('what was sent in a room while it was there, and nothing else', async () => {
    const scene = await stage(transports);
    const { service } = scene;
    const [left, joined, deleted] = await Promise.all(['left', 'joined', 'deleted'].map((name) => service.createRoom(name)));
    const client = await enter(scene);
    const { id } = client;
    await service.joinRoom(id!, left!.id);
    await service.joinRoom(id!, deleted!.id);
    await service.broadcastToRoom(joined!.id, 'n', 'too early');
    await drained(service, client);
    await blink(scene, client, async () => {
      await service.broadcastToRoom(left!.id, 'n', 0);
      await service.broadcastToRoom(joined!.id, 'n', 'too early');
      await service.joinRoom(id!, joined!.id);
      await service.broadcastToRoom(joined!.id, 'n', 1);
      await service.leaveRoom(id!, left!.id);
      await service.broadcastToRoom(left!.id, 'n', 'too late');
      await service.broadcastToRoom(deleted!.id, 'n', 2);
      await service.deleteRoom(deleted!.id);
    });
    await drained(service, client);
    expect([client.recovered, seen(client)]).toEqual([true, [0, 1, 2]]);
  });

  test('binary values come back whole', async () => {
    const scene = await stage(transports);
    const client = await enter(scene);
    await blink(scene, client, () => scene.service.broadcastToAll('n', { bytes: Buffer.from([1, 2, 3]) }));
    await drained(scene.service, client);
    expect(Buffer.from(seen(client)[0].bytes)).toEqual(Buffer.from([1, 2, 3]));
  });

  test('one that does not come back in time has gone', async () => {
    const scene = await stage(transports, { maxDisconnectionDuration: 200 });
    const { service } = scene;
    const room = await service.createRoom('room');
    const client = await enter(scene);
    const { id } = client;
    const [witness] = await members(scene, room, 1);
    await service.joinRoom(id!, room.id);
    const user = service.getUser(id!);
    const socketEnds: unknown[] = [];
    service.getSocket(id!)!.on('disconnect', (reason) => socketEnds.push(reason));
    const [end, away] = [next(service, 'disconnect'), next(service, 'away')];
    await blink(scene, client, async () => {
      expect(await away).toEqual([user, expect.stringMatching(/^transport (close|error)$|^ping timeout$/)]);
      expect((await end)[0]).toBe(user);
    });
    await drained(service, client, witness!);
    expect(client.recovered).toBe(false);
    expect(client.id).not.toBe(id);
    expect([service.getUser(id!), service.getSocket(id!), room.members.has(id!)]).toEqual([undefined, undefined, false]);
    expect(received(witness!, 'user:left')).toHaveLength(1);
    expect(socketEnds).toHaveLength(1);
  });
});

describe('who is not let back', () => {
  const websocket: TransportName[] = ['websocket'];

  /** What a client says when it comes back. */
  const says = (client: Client) => client as unknown as { _pid?: string; _lastOffset?: string };

  test.each<[name: string, change: (claim: { _pid?: string; _lastOffset?: string }) => void]>([
    ['a forged secret', (claim) => (claim._pid = 'A'.repeat(20))],
    ['an empty secret', (claim) => (claim._pid = '')],
    ['an offset from the future', (claim) => (claim._lastOffset = 'zzzzzz')],
    ['an offset that is none', (claim) => (claim._lastOffset = '../../etc')],
    ['an offset that is no text', (claim) => ((claim as any)._lastOffset = { $gt: '' })],
    ['a secret that is no text', (claim) => ((claim as any)._pid = ['x'])],
  ])('%s makes a new client, which gets nothing of before', async (_name, change) => {
    const scene = await stage(websocket);
    const client = await enter(scene);
    const { id } = client;
    await scene.service.emitToSocket(id!, 'n', 0);
    await drained(scene.service, client);
    await blink(scene, client, async () => {
      await scene.service.broadcastToAll('n', 1);
      change(says(client));
    });
    await drained(scene.service, client);
    expect([client.recovered, client.id === id, seen(client)]).toEqual([false, false, [0]]);
  });

  test('the secret of a socket that the client itself has left', async () => {
    const scene = await stage(websocket);
    const client = await enter(scene);
    const secret = says(client)._pid;
    const gone = next(scene.service, 'disconnect');
    client.disconnect();
    expect((await gone)[1]).toBe('client namespace disconnect');
    const other = open(scene.line, { transports: websocket });
    says(other)._pid = secret;
    await next(other, 'connect');
    expect([other.recovered, other.id === client.id]).toEqual([false, false]);
  });

  test('whoever shows a secret first has it: the other connection ends, and the socket lives on', async () => {
    const scene = await stage(websocket);
    const client = await enter(scene, { reconnection: false });
    const ended = next(client, 'disconnect');
    const second = open(scene.line, { transports: websocket });
    says(second)._pid = says(client)._pid;
    await next(second, 'connect');
    expect((await ended)[0]).toBe('transport close');
    expect([second.recovered, scene.service.getConnectedUsers().length]).toEqual([true, 1]);
    await scene.service.broadcastToAll('n', 0);
    await drained(scene.service, second);
    expect(seen(second)).toEqual([0]);
  });

  test('one that has missed more than is kept gets nothing of it', async () => {
    const scene = await stage(websocket, { maxBufferedBytes: 4096 });
    const { service } = scene;
    const client = await enter(scene);
    const { id } = client;
    const quiet = await enter(scene);
    await service.emitToSocket(id!, 'n', 0);
    const ends = record(service, 'disconnect');
    await drained(service, client);
    await blink(scene, client, async () => {
      for (const index of numbers(1, 100)) await service.emitToSocket(id!, 'n', index);
    });
    await drained(service, client);
    expect([client.recovered, seen(client)]).toEqual([false, [0]]);
    await eventually(() => expect(ends.map(([user]) => (user as SocketUser).socketId)).toEqual([id]));
    // Nothing of that was for this one.
    await eventually(() => expect([quiet.connected, quiet.recovered]).toEqual([true, true]));
  });

  test('those who are away are bounded, the first ones end', async () => {
    const scene = await stage(websocket, { maxBufferedBytes: 3 * 2048 });
    const clients: Client[] = [];
    for (const _ of numbers(0, 5)) clients.push(await enter(scene, { reconnection: false }));
    const ids = clients.map((client) => client.id);
    const ends = record(scene.service, 'disconnect');
    for (const client of clients) {
      const away = next(scene.service, 'away');
      client.io.engine.close();
      await away;
    }
    expect(ends.map(([user]) => (user as SocketUser).socketId)).toEqual(ids.slice(0, 2));
    expect(scene.service.getConnectedUsers()).toHaveLength(3);
  });

  test('disconnected by the server while away, it is a new client', async () => {
    const scene = await stage(websocket);
    const client = await enter(scene);
    const { id } = client;
    const end = next(scene.service, 'disconnect');
    await blink(scene, client, () => scene.service.disconnectUser(id!, 'banned'));
    expect((await end)[1]).toBe('banned');
    expect([client.recovered, client.id === id]).toEqual([false, false]);
  });
});

describe('middleware', () => {
  const websocket: TransportName[] = ['websocket'];
  const asked = (recovery: Recovery) => {
    const calls: string[] = [];
    let person = 'ada';
    const scene = stage(websocket, recovery, {}, {
      setup: (service) =>
        void service.use((socket, go) => {
          calls.push(socket.id);
          if (person === '') return go(new Error('no'));
          socket.userId = person;
          go();
        }),
    });
    return { calls, scene, become: (other: string) => void (person = other) };
  };

  test('is not asked again', async () => {
    const { calls, scene } = asked({});
    const running = await scene;
    const client = await enter(running);
    await blink(running, client);
    expect([client.recovered, calls.length]).toEqual([true, 1]);
  });

  test('is asked again if so wanted, and the same person comes back', async () => {
    const { calls, scene } = asked({ skipMiddlewares: false });
    const running = await scene;
    const client = await enter(running);
    const { id } = client;
    await blink(running, client, () => running.service.broadcastToAll('n', 0));
    await drained(running.service, client);
    expect([client.recovered, client.id, calls.length, seen(client)]).toEqual([true, id, 2, [0]]);
    expect(running.service.getConnectedUsers()).toHaveLength(1);
  });

  test('somebody else is a new client, and whom it refuses is refused', async () => {
    const { scene, become } = asked({ skipMiddlewares: false });
    const running = await scene;
    const client = await enter(running);
    const { id } = client;
    await blink(running, client, async () => {
      become('bob');
      await running.service.broadcastToUsers(['ada'], 'n', 0);
    });
    await never(running.service, 'n', client);
    expect([client.recovered, client.id === id, running.service.getUser(client.id!)!.id]).toEqual([false, false, 'bob']);
    become('');
    const error = next(client, 'connect_error');
    running.line.cut();
    expect((await error)[0].message).toBe('no');
  });
});

describe('without the option', () => {
  test('nothing is added to events, and nobody comes back', async () => {
    const running = await start();
    const client = await connect(running, { transports: ['websocket'] });
    const event = next(client, 'n');
    await running.service.emitToSocket(client.id!, 'n', 0);
    expect(await event).toEqual([0]);
    expect([client.recovered, 'isAway' in running.service.getUser(client.id!)!]).toEqual([undefined, false]);
  });
});

test.each(transportSettings)('%s: cut again and again, every client has seen everything once', async (_name, transports) => {
  // A client of Socket.IO that is cut off while it upgrades waits until it misses a ping.
  const scene = await stage(transports, {}, { pingInterval: 1_000, pingTimeout: 1_500 });
  const { service } = scene;
  const rooms = await Promise.all(numbers(0, 3).map((index) => service.createRoom(`room ${index}`)));
  const clients = await Promise.all(numbers(0, 12).map(() => enter(scene)));
  for (const [index, client] of clients.entries()) {
    for (const room of rooms.slice(0, 1 + (index % 3))) await service.joinRoom(client.id!, room.id);
  }
  const total = 600;
  const ids = clients.map((client) => client.id!);
  for (const index of numbers(0, total)) {
    await service.broadcastToRoom(rooms[index % 3]!.id, 'n', index);
    await service.emitToSocket(ids[index % 12]!, 'own', index);
    if (index % 50 === 49) {
      scene.line.cut({ unnoticed: index % 100 === 99 });
      // What follows is sent while some are back and others are not.
      await eventually(() => expect(clients.some((client) => client.connected)).toBe(true));
    }
  }
  // What comes last has come to all, over however many connections.
  for (const id of ids) await service.emitToSocket(id, 'last', 1);
  await eventually(() => expect(clients.map((client) => seen(client, 'last').length)).toEqual(ids.map(() => 1)), 20_000);
  // Of clients that poll, some had no request open at any cut.
  expect(clients.map((client) => client.id)).toEqual(ids);
  expect(clients.some((client) => client.recovered)).toBe(true);
  for (const [index, client] of clients.entries()) {
    expect(seen(client)).toEqual(numbers(0, total).filter((n) => n % 3 <= index % 3));
    expect(seen(client, 'own')).toEqual(numbers(0, total).filter((n) => n % 12 === index));
  }
}, 40_000);
