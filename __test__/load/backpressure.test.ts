// Who waits when somebody is too fast or too slow: whoever it is, and nobody else.

import { once } from 'node:events';
import { afterTest, record, start } from '../support/harness';
import { handshake, raw } from '../support/http';
import { Program } from '../support/program';

const { RawClient } = require('../support/raw-client.js');

function busyFor(milliseconds: number): void {
  const since = process.hrtime.bigint();
  while (process.hrtime.bigint() - since < BigInt(milliseconds) * 1_000_000n);
}

test('a client that sends more than its listener can hear is the only one that waits', async () => {
  const HEARD = 2_000;
  const { service, url } = await start({ pingInterval: 200, pingTimeout: 400 });
  const room = await service.createRoom('r');
  const others = new Program('bystanders.js', url, 20, room.id);
  expect(await others.said('ready')).toBe('ready');
  let heard = 0;
  let enough!: () => void;
  const flooded = new Promise<void>((done) => (enough = done));
  service.use((socket, next) => {
    socket.on('work', () => {
      busyFor(1);
      if (++heard === HEARD) enough();
    });
    next();
  });
  const flooder = new Program('flood.js', url, 1_000_000, 'work', 200);
  await flooded;
  others.tell('go');
  expect(await others.said('served')).toBe('served go');
  expect(flooder.child.exitCode).toBeNull();
});

test('awaited broadcasts go as fast as the clients read, and close none of them', async () => {
  const COUNT = 200;
  const CLIENTS = 8;
  const { service, url } = await start({ limits: { maxQueuedBytes: 1 << 20 } });
  const room = await service.createRoom('r');
  const clients = new Program('bystanders.js', url, CLIENTS, room.id);
  expect(await clients.said('ready')).toBe('ready');
  const filler = 'x'.repeat(64 * 1024);
  for (let index = 0; index < COUNT; index++) await service.broadcastToAll('bulk', { index, filler });
  const all = `received ${COUNT * CLIENTS}`;
  expect(await clients.said(all)).toBe(all);
});

test('awaited sends to a client that reads slowly wait for it', async () => {
  const COUNT = 200;
  const LIMIT = 1 << 20;
  const { service, url } = await start({ limits: { maxQueuedBytes: LIMIT } });
  const client = new RawClient(url);
  afterTest(() => client.terminate());
  const id = await client.connect();
  const gone = record(service, 'disconnect');
  // 64 KiB, then a pause: how slow a reader is, is time.
  client.ws.on('message', () => {
    client.stopReading();
    setTimeout(() => client.readOn(), 2);
  });
  const last = client.next(`42["bulk",{"index":${COUNT - 1}`);
  const filler = 'x'.repeat(64 * 1024);
  for (let index = 0; index < COUNT; index++) await service.emitToSocket(id, 'bulk', { index, filler });
  await last;
  expect(gone).toEqual([]);
});

test('a polling client outlives a block of JavaScript that is longer than its heartbeat', async () => {
  const PING_TIMEOUT = 300;
  const { service, url } = await start({ pingInterval: 200, pingTimeout: PING_TIMEOUT });
  const gone = record(service, 'disconnect');
  const client = new Program('polling-client.js', url);
  const [, id] = (await client.said('connected')).split(' ');
  for (let block = 0; block < 3; block++) {
    // Heartbeats run out by time alone.
    busyFor(4 * PING_TIMEOUT);
    await service.emitToSocket(id!, 'after', block);
    expect(await client.said(`event ["after",${block}]`)).toBe(`event ["after",${block}]`);
  }
  expect(gone).toEqual([]);
});

test('a polling client that is gone is missed, however often JavaScript is busy', async () => {
  const PING_TIMEOUT = 600;
  const { service, port } = await start({ pingInterval: 300, pingTimeout: PING_TIMEOUT });
  const path = `/socket.io/?EIO=4&transport=polling&sid=${await handshake(port)}`;
  await raw(port, path, { method: 'POST', body: '40' });
  await raw(port, path);
  const gone = once(service, 'disconnect');
  // Each time for long enough that heartbeats are answered in the clients' place.
  const busy = setInterval(() => busyFor(200), 500);
  afterTest(() => clearInterval(busy));
  const [, reason] = await gone;
  expect(reason).toBe('ping timeout');
});

test.each([4, 3])('what a polling client is answered and does not fetch is bounded, EIO %i', async (EIO) => {
  const { service, port } = await start({ allowEIO3: true, limits: { maxQueuedBytes: 1 << 16 } });
  const connected = once(service, 'connection');
  const opened = await raw(port, `/socket.io/?EIO=${EIO}&transport=polling`);
  const path = `/socket.io/?EIO=${EIO}&transport=polling&sid=${/"sid":"([^"]+)"/.exec(opened.body)![1]}`;
  const post = (count: number) => {
    const body = EIO === 3 ? '5:40/x,'.repeat(count) : Array(count).fill('40/x,').join('\u001e');
    return raw(port, path, { method: 'POST', body });
  };
  if (EIO === 4) await raw(port, path, { method: 'POST', body: '40' });
  await connected;
  // More than that many, but it fetches them.
  for (let turn = 0; turn < 20; turn++) {
    await post(50);
    expect((await raw(port, path)).status).toBe(200);
  }
  expect(service.getConnectedUsers()).toHaveLength(1);
  const gone = once(service, 'disconnect');
  await post(1_000);
  const [, reason] = await gone;
  expect(reason).toBe('transport error');
});
