// Clients that stop reading, or read slowly, beside others at full speed.

import { connect, drained, next, nextWhere, received, record, start, urlOf } from '../support/harness';
import { eventually } from '../support/eventually';
import { Victim } from '../support/victim';
import { FrameWire } from '../support/frames';

const { RawClient } = require('../support/raw-client.js');
const transports: ['websocket'] = ['websocket'];
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

test('ten that stop reading are closed; the process stays small, and who reads gets everything in order', async () => {
  const victim = await Victim.start({ limits: { maxQueuedBytes: 1 << 20, stallMs: 300 } });
  const reader = await connect(urlOf(victim.port), { transports });
  const stopped = await Promise.all(upTo(10).map(() => FrameWire.connected(victim.port)));
  for (const wire of stopped) wire.socket.pause();
  const before = await victim.memory();
  let sent = 0;
  await eventually(async () => {
    const last = (sent += 20) - 1;
    const arrived = nextWhere(reader, 'bulk', ({ number }) => number === last);
    await victim.bulk(20, 50_000);
    await arrived;
    expect((await victim.stats()).exceeded).toEqual({ maxQueuedBytes: 10 });
  }, 15_000);
  expect((await victim.memory()) - before).toBeLessThan(120 << 20);
  expect(reader.connected).toBe(true);
  expect(received(reader, 'bulk').map(({ number }) => number)).toEqual(upTo(sent));
}, 30_000);

test('5 % of 200 that stop reading are closed with a reason, and the others miss nothing', async () => {
  const { service, port } = await start({ limits: { maxQueuedBytes: 256 << 10, stallMs: 300 } });
  const room = await service.createRoom('room', 'default', undefined, {}, { membershipEvents: 'none' } as any);
  const gone = record(service, 'disconnect');
  const clients = await Promise.all(upTo(200).map(() => connect(urlOf(port), { transports })));
  for (const { id } of clients) await service.joinRoom(id!, room.id);
  const [slow, healthy] = [clients.slice(0, 10), clients.slice(10)];
  const ids = slow.map(({ id }) => id!);
  for (const { io } of slow) (io.engine.transport as any).ws._socket.pause();
  // What the kernels hold for them is full before the room begins, which would be two gigabytes for all.
  for (const id of ids) for (let turn = 0; turn < 80; turn++) void service.emitToSocket(id, 'fill', 'x'.repeat(100_000));
  let sent = 0;
  await eventually(async () => {
    for (let turn = 0; turn < 20; turn++) await service.broadcastToRoom(room.id, 'bulk', { number: sent++, filler: 'x'.repeat(2_000) });
    expect(gone).toHaveLength(10);
  }, 15_000);
  await drained(service, ...healthy);
  for (const client of healthy) expect(received(client, 'bulk').map(({ number }) => number)).toEqual(upTo(sent));
  expect(gone.map(([user, reason]) => [user.socketId, reason]).sort()).toEqual(ids.map((id) => [id, 'transport error']).sort());
  expect(service.getStats().exceeded).toEqual({ maxQueuedBytes: 10 });
}, 40_000);

test('one that reads slowly all the time, with more than maxQueuedBytes waiting for it, loses nothing', async () => {
  const SIZE = 64 << 10;
  // Four times maxQueuedBytes is the end of anybody.
  const [limit, behind, count] = [4 << 20, 14 << 20, 600];
  const { service, port, url } = await start({ limits: { maxQueuedBytes: limit } });
  const room = await service.createRoom('room');
  const gone = record(service, 'disconnect');
  const healthy = await Promise.all(upTo(3).map(() => connect(urlOf(port), { transports })));
  const slow = new RawClient(url);
  for (const id of [await slow.connect(), ...healthy.map((client) => client.id!)]) await service.joinRoom(id, room.id);
  const numbers: number[] = [];
  // How slow a reader is, is time: what it gets of its socket at once, then a pause.
  slow.ws.on('message', (data: Buffer) => {
    const number = /^42\["bulk",\{"number":(\d+)/.exec(String(data.subarray(0, 40)))?.[1];
    if (number !== undefined) numbers.push(Number(number));
    slow.stopReading();
    setTimeout(() => slow.readOn(), 1);
  });
  const filler = 'x'.repeat(SIZE);
  let furthest = 0;
  for (let sent = 0; sent < count; ) {
    const lag = (sent - numbers.length) * SIZE;
    furthest = Math.max(furthest, lag);
    if (lag < behind) void service.broadcastToRoom(room.id, 'bulk', { number: sent++, filler });
    else await new Promise((turn) => setImmediate(turn));
  }
  await eventually(() => expect(numbers).toHaveLength(count), 20_000);
  expect(furthest).toBeGreaterThan(3 * limit);
  expect(numbers).toEqual(upTo(count));
  await drained(service, ...healthy);
  for (const client of healthy) expect(received(client, 'bulk').map(({ number }) => number)).toEqual(upTo(count));
  expect([gone, service.getStats().exceeded ?? {}]).toEqual([[], {}]);
  slow.terminate();
}, 40_000);

test('50,000 events to one socket at once arrive whole and in order', async () => {
  const { service, port } = await start();
  const client = await connect(urlOf(port), { transports });
  const ended = Promise.race([nextWhere(client, 'burst', (number) => number === 49_999).then(() => 'all'), next(client, 'disconnect').then(() => 'closed')]);
  const gone = record(service, 'disconnect');
  for (let number = 0; number < 50_000; number++) void service.emitToSocket(client.id!, 'burst', number);
  const how = await ended;
  const numbers = received(client, 'burst');
  expect(numbers).toEqual(upTo(numbers.length));
  if (how === 'all') expect([numbers.length, gone.length]).toEqual([50_000, 0]);
  else await eventually(() => expect(gone).toHaveLength(1));
}, 30_000);

test('volatile events are dropped for who does not read, and for nobody else', async () => {
  const { service, port, url } = await start();
  const slow = new RawClient(url);
  const id = await slow.connect();
  const reader = await connect(urlOf(port), { transports });
  slow.stopReading();
  const filler = 'x'.repeat(50_000);
  for (let number = 0; number < 200; number++) {
    const arrived = nextWhere(reader, 'v', (data) => data.number === number);
    service.getSocket(id)!.volatile.emit('v', { number, filler });
    service.getSocket(reader.id!)!.volatile.emit('v', { number, filler });
    await arrived;
  }
  const marker = slow.next('42["marker"');
  void service.emitToSocket(id, 'marker', 1);
  slow.readOn();
  await marker;
  const count = slow.packets.filter((packet: string) => packet.startsWith('42["v"')).length;
  expect(count).toBeLessThan(200);
  slow.terminate();
}, 30_000);
