// Contract sections 3 and 4: how connections end, what each side is told, `disconnectUser` and `cleanup`.

import {
  connect,
  drained,
  eventsDelivered,
  exactly,
  members,
  next,
  open,
  received,
  record,
  singleTransports,
  start,
  transportSettings,
  TrustingService,
  type Client,
  type Running,
} from '../support/harness';
import { startReference } from '../support/http';

const { RawClient } = require('../support/raw-client.js');

/** Ends the transport without a word. */
function drop(client: Client): void {
  client.io.engine.close();
}

describe.each(transportSettings)('over %s', (_name, transports) => {
  let running: Running;
  beforeEach(async () => {
    running = await start({}, { Service: TrustingService });
  });
  const join = (userId?: string) => connect(running, { transports, auth: { userId } });

  test.each<[string, (client: Client) => unknown, string]>([
    ['the client disconnects', (client) => client.disconnect(), 'client namespace disconnect'],
    ['the transport is closed', drop, 'transport close'],
  ])('%s', async (_how, end, reason) => {
    const [client, other] = [await join(), await join()];
    await drained(running.service, client);
    const id = client.id;
    const room = await running.service.createRoom('r');
    for (const each of [client, other]) await running.service.joinRoom(each.id!, room.id);
    const disconnects = record(running.service, 'disconnect');
    const leaves = record(running.service, 'room:leave');
    const gone = next(running.service, 'disconnect');
    end(client);
    const [user, told] = await gone;
    expect([user.socketId, told]).toEqual([id, reason]);
    expect(leaves.map(([event]) => event.user.socketId)).toEqual([id]);
    await exactly(1, running.service, 'user:left', other);
    await eventsDelivered(running.service);
    expect(disconnects).toHaveLength(1);
    expect([...room.members]).toEqual([other.id]);
  });

  test('a socket tells its listeners the same reason', async () => {
    const client = await join();
    const socket = running.service.getSocket(client.id!)!;
    const told = Promise.all([next(socket as any, 'disconnecting'), next(socket as any, 'disconnect')]);
    client.disconnect();
    expect((await told).map(([reason]) => reason)).toEqual([
      'client namespace disconnect',
      'client namespace disconnect',
    ]);
    expect(socket.connected).toBe(false);
  });

  test('disconnectUser delivers what was sent before', async () => {
    const tabs = [await join('alice'), await join('alice')];
    const closed = Promise.all(tabs.map((client) => next(client, 'disconnect')));
    for (let index = 0; index < 100; index++) void running.service.broadcastToUsers(['alice'], 'step', index);
    await running.service.disconnectUser('alice');
    await closed;
    for (const client of tabs) {
      expect(received(client, 'step')).toEqual(Array.from({ length: 100 }, (_, index) => index));
    }
    expect(running.service.getUserSockets('alice')).toEqual([]);
  });

  test('disconnectUser closes the transport too', async () => {
    const client = await join('alice');
    await drained(running.service, client);
    const closed = new Promise((done) => client.io.engine.once('close', done));
    await running.service.disconnectUser('alice', 'banned');
    await closed;
  });

  test('disconnectUser of an unknown user does nothing', async () => {
    const client = await join('alice');
    await running.service.disconnectUser('nobody', 'banned');
    await drained(running.service, client);
    expect(client.connected).toBe(true);
  });

  test('a client may come back after it was disconnected', async () => {
    const client = await join('alice');
    const old = client.id;
    const closed = next(client, 'disconnect');
    await running.service.disconnectUser('alice');
    await closed;
    const back = new Promise<void>((done) => client.once('connect', done));
    client.connect();
    await back;
    expect(client.id).not.toBe(old);
    expect(running.service.getUserSockets('alice')).toEqual([client.id]);
  });

  test('cleanup closes connections without events, and only those', async () => {
    const [idle, active] = [await join(), await join()];
    await Promise.all([drained(running.service, idle), drained(running.service, active)]);
    const idleId = idle.id;
    expect(await running.service.cleanup()).toBe(0);
    expect(await running.service.cleanup(1)).toBe(0);
    // Only time tells the idle from the active.
    const since = Date.now();
    while (Date.now() - since < 60) await new Promise((turn) => setImmediate(turn));
    await active.emitWithAck('room:leave', { roomId: 'unknown' });
    const told = next(running.service, 'disconnect');
    const closed = next(idle, 'disconnect');
    const idleFor = Date.now() - running.service.getUser(idle.id!)!.lastActivity.getTime();
    const activeFor = Date.now() - running.service.getUser(active.id!)!.lastActivity.getTime();
    expect(idleFor).toBeGreaterThan(activeFor);
    expect(await running.service.cleanup((idleFor + activeFor) / 2 / 60_000)).toBe(1);
    const [user, reason] = await told;
    expect([user.socketId, reason]).toEqual([idleId, 'inactive']);
    await closed;
    await drained(running.service, active);
    expect(running.service.getConnectedUsers().map((each) => each.socketId)).toEqual([active.id]);
  });
});

describe.each(singleTransports)('over %s', (transport) => {
  test('the client is told what Socket.IO tells it', async () => {
    const { io, url } = await startReference();
    const running = await start({}, { Service: TrustingService });
    const options = { transports: [transport], auth: { userId: 'alice' } };

    const there = await connect(url, options);
    const here = await connect(running, options);
    const [expected, actual] = [next(there, 'disconnect'), next(here, 'disconnect')];
    io.sockets.sockets.get(there.id!)!.disconnect(true);
    await running.service.disconnectUser('alice');
    expect((await actual)[0]).toEqual((await expected)[0]);
  });
});

test('a websocket that is cut off is a closed transport', async () => {
  const running = await start();
  const client = await connect(running, { transports: ['websocket'] });
  const gone = next(running.service, 'disconnect');
  (client.io.engine.transport as any).ws.terminate();
  expect((await gone)[1]).toBe('transport close');
});

test.each(['nonsense', '4nonsense', '42not json', '45', '451-["x",{"_placeholder":true,"num":5}]'])(
  '%s in the place of a packet ends that connection as Socket.IO ends it',
  async (rubbish) => {
    const { io, url } = await startReference();
    const there = await connect(url, { transports: ['websocket'] });
    const expected = next(io.sockets.sockets.get(there.id!)!, 'disconnect');
    const running = await start();
    const here = await connect(running, { transports: ['websocket'] });
    const [other] = await members(running, await running.service.createRoom('r'), 1);
    const actual = next(running.service, 'disconnect');
    for (const client of [there, here]) {
      (client.io.engine.transport as any).ws.send(rubbish);
      if (rubbish.startsWith('451-')) (client.io.engine.transport as any).ws.send(Buffer.from([1]));
    }
    // 'forced close' is how Socket.IO itself closes for a packet that it cannot parse.
    const reason = (await expected)[0] as string;
    expect((await actual)[1]).toBe(reason === 'forced close' ? 'parse error' : reason);
    await drained(running.service, other!);
  },
);

const ways = ['disconnectUser', 'disconnect(true)', 'disconnect()'] as const;

describe.each(transportSettings)('in the connection listener, over %s', (_name, transports) => {
  test.each(ways)('%s comes after the connection and what was sent', async (way) => {
    const { io, url } = await startReference();
    io.on('connection', (socket) => {
      socket.emit('bye', 1);
      socket.disconnect(way !== 'disconnect()');
    });
    const running = await start();
    running.service.on('connection', (user) => {
      const socket = running.service.getSocket(user.socketId)!;
      void running.service.emitToSocket(user.socketId, 'bye', 1);
      if (way === 'disconnectUser') void running.service.disconnectUser(user.id, 'banned');
      else socket.disconnect(way === 'disconnect(true)');
    });
    const disconnects = record(running.service, 'disconnect');
    const expected = await lifeOf(url);
    expect(await lifeOf(running.url)).toEqual(expected);
    expect(expected).toEqual(['connect', 'bye', 'disconnect: io server disconnect']);
    expect(disconnects.map(([, reason]) => reason)).toEqual([way === 'disconnectUser' ? 'banned' : 'server namespace disconnect']);
    expect(running.service.getConnectedUsers()).toEqual([]);
  });

  async function lifeOf(url: string): Promise<string[]> {
    const client = open(url, { transports });
    const life: string[] = [];
    client.on('connect', () => life.push('connect'));
    client.onAny((event) => life.push(event));
    const gone = next(client, 'disconnect');
    life.push(`disconnect: ${(await gone)[0]}`);
    return life;
  }
});

test('disconnectUser delivers a large backlog to a client that reads slowly', async () => {
  const PACKETS = 80;
  const running = await start();
  const client = new RawClient(running.url);
  const id = await client.connect();
  client.stopReading();
  for (let index = 0; index < PACKETS; index++) await running.service.emitToSocket(id, 'bulk', 'x'.repeat(100_000));
  await running.service.emitToSocket(id, 'last', 1);
  const other = await connect(running);
  await running.service.disconnectUser(id, 'bye');
  expect(received(other, 'bulk')).toEqual([]);

  // Reading at the pace of a slow line, a little at a time; never a pause that a server may take for the end.
  const closed = client.next('closed');
  const read = setInterval(() => {
    let left = 64 << 10;
    const take = (chunk: Buffer) => {
      left -= chunk.length;
      if (left > 0) return;
      client.stopReading();
      client.ws._socket.off('data', take);
    };
    client.ws._socket.on('data', take);
    client.readOn();
  }, 60);
  await closed;
  clearInterval(read);
  const packets = client.packets.filter((packet: string) => packet.startsWith('4'));
  expect(packets.filter((packet: string) => packet.startsWith('42["bulk"')).length).toBe(PACKETS);
  expect(packets.slice(-2).map((packet: string) => packet.slice(0, 20))).toEqual(['42["last",1]', '41']);
});
