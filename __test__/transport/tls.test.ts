// Over TLS the same bounds and the same completeness hold as over HTTP.

import { once } from 'node:events';
import { createServer, type Server as HttpsServer } from 'node:https';
import type { Server as HttpServer } from 'node:http';
import { certificate } from '../support/certificate';
import { afterTest, connect, listen, nextWhere, received, record, silentLogger, start, track, WebSocketService } from '../support/harness';

const { RawClient } = require('../support/raw-client.js');

let tls: { key: Buffer; cert: Buffer };
beforeAll(() => {
  tls = certificate();
});

/** A door of the service itself. */
async function startDoor(config = {}) {
  const service = track(new WebSocketService({ logger: silentLogger, ...config }));
  const { port } = await service.listen({ port: 0, host: '127.0.0.1', tls });
  return { service, port, url: `https://127.0.0.1:${port}` };
}

async function startTls(config = {}) {
  const service = track(new WebSocketService({ logger: silentLogger, ...config }));
  const server: HttpsServer = createServer(tls);
  service.initialize(server);
  const port = await listen(server as unknown as HttpServer);
  return { service, server, port, url: `https://127.0.0.1:${port}` };
}

const transports: ['websocket'] = ['websocket'];

/** Broadcasts, at the pace of `reader`, until somebody is disconnected or `limit` packets are sent: their number. */
async function broadcastUntilDisconnect(service: any, reader: any, limit: number): Promise<number> {
  const disconnects = record(service, 'disconnect');
  const filler = 'x'.repeat(100_000);
  let sent = 0;
  while (sent < limit && disconnects.length === 0) {
    const number = sent++;
    const arrived = nextWhere(reader, 'bulk', (data) => data.number === number);
    await service.broadcastToAll('bulk', { number, filler });
    await arrived;
  }
  expect(disconnects).toHaveLength(1);
  return sent;
}

const LIMIT = 1 << 20;
const STALL_MS = 200;
/** 60 MB: far more than the limit and what a kernel buffers together. */
const PACKETS = 600;

describe.each<[string, (config?: {}) => Promise<any>]>([
  ['http', start],
  ['https', startTls],
  ['TLS of the service itself', startDoor],
])('over %s', (_protocol, startIt) => {
  test('a client that reads nothing is closed beyond maxQueuedBytes with a warning; another receives everything', async () => {
    const warnings: any[][] = [];
    const logger = { ...silentLogger, warn: (...args: any[]) => void warnings.push(args) };
    const { service, url } = await startIt({ limits: { maxQueuedBytes: LIMIT, stallMs: STALL_MS }, logger });
    const stopped = new RawClient(url);
    afterTest(() => stopped.terminate());
    const id = await stopped.connect();
    stopped.stopReading();
    const reader = await connect(url, { transports, rejectUnauthorized: false });
    const sent = await broadcastUntilDisconnect(service, reader, PACKETS);
    expect(service.getUser(id)).toBeUndefined();
    expect(received(reader, 'bulk').map(({ number }) => number)).toEqual(Array.from({ length: sent }, (_, index) => index));
    expect(warnings.length).toBeGreaterThan(0);
  });

  test('an upload of 20 MB in many messages arrives completely', async () => {
    const MESSAGES = 20_000;
    const { service, url } = await startIt({ requireMembership: false });
    const room = await service.createRoom('r');
    const uploader = await connect(url, { transports, rejectUnauthorized: false });
    const content = 'x'.repeat(1000);
    for (let index = 0; index < MESSAGES; index++) {
      uploader.emit('message', { roomId: room.id, content, metadata: { index } });
    }
    const lost = new Promise((done) => uploader.once('disconnect', done));
    const answer = uploader.emitWithAck('message', { roomId: room.id, content: 'last' });
    expect(await Promise.race([answer, lost])).toEqual(expect.objectContaining({ ok: true }));
    expect(service.getRoomStats(room.id).messageCount).toBe(MESSAGES + 1);
    const newestFirst = service.getRoomMessages(room.id, MESSAGES, 1);
    expect(newestFirst).toHaveLength(MESSAGES);
    expect(newestFirst.every(({ metadata }: any, back: number) => metadata.index === MESSAGES - 1 - back)).toBe(true);
  });

  test('a second upgrade of the same session is closed, and the first goes on', async () => {
    const { url, service } = await startIt();
    const client = await connect(url, { transports: ['polling'], rejectUnauthorized: false });
    const query = `&sid=${client.io.engine.id}`;
    const first = new RawClient(url, { query });
    afterTest(() => first.terminate());
    await new Promise((done) => first.ws.once('open', done));
    const probed = first.next('3probe');
    first.ws.send('2probe');
    await probed;
    const second = new RawClient(url, { query });
    afterTest(() => second.terminate());
    await second.next('closed');
    expect(second.packets).toEqual(['closed']);
    expect(first.packets).toEqual(['3probe']);
    expect(service.getUser(client.id!)).toBeDefined();
  });
});

test('of a TLS client that may cause no more, little is read', async () => {
  const { service, server, url } = await startTls();
  service.use(() => {});
  const streamed = once(server, 'secureConnection');
  const client = new RawClient(url);
  afterTest(() => client.terminate());
  const opened = client.next('0{');
  const [stream] = await streamed;
  await opened;
  const paused = once(stream, 'pause');
  client.ws.send('40');
  const early = `42["early","${'x'.repeat(16_000)}"]`;
  for (let sent = 0; sent < 8 << 20; sent += early.length) client.ws.send(early);
  await paused;
  expect(stream.bytesRead).toBeLessThan(2 << 20);
});
