// `maxHttpBufferSize`: one message, either transport, attachments included.

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, drained, members, next, start, singleTransports, type Client, type Running } from '../support/harness';
import { handshake, raw, requestTo, startReference } from '../support/http';

const LIMIT = 10_000;

describe.each(singleTransports)('over %s', (transport) => {
  let running: Running;
  let client: Client;
  let other: Client;
  beforeEach(async () => {
    running = await start({ maxHttpBufferSize: LIMIT });
    client = await connect(running, { transports: [transport] });
    [other] = (await members(running, await running.service.createRoom('r'), 1)) as [Client];
  });

  test('a message within the limit arrives', async () => {
    const heard = next(running.service.getSocket(client.id!)! as any, 'big');
    client.emit('big', 'x'.repeat(LIMIT - 100));
    expect((await heard)[0]).toHaveLength(LIMIT - 100);
  });

  test('binary within the limit arrives', async () => {
    const heard = next(running.service.getSocket(client.id!)! as any, 'big');
    const size = transport === 'polling' ? (LIMIT * 3) / 4 - 200 : LIMIT - 200;
    client.emit('big', Buffer.alloc(size, 7));
    expect(Buffer.compare((await heard)[0], Buffer.alloc(size, 7))).toBe(0);
  });

  test.each<[string, () => unknown]>([
    ['text', () => 'x'.repeat(2 * LIMIT)],
    ['binary', () => Buffer.alloc(2 * LIMIT)],
  ])('%s over the limit closes that connection only', async (_kind, make) => {
    const id = client.id;
    let heard = false;
    running.service.getSocket(id!)!.on('big', () => (heard = true));
    const gone = next(running.service, 'disconnect');
    const closed = next(client, 'disconnect');
    client.emit('big', make());
    expect((await gone)[0].socketId).toBe(id);
    await closed;
    expect(heard).toBe(false);
    await drained(running.service, other);
    expect(running.service.getConnectedUsers().map((user) => user.socketId)).toEqual([other.id]);
  });

  test('what the server sends may be larger', async () => {
    const arrived = next(client, 'big');
    await running.service.emitToSocket(client.id!, 'big', 'y'.repeat(10 * LIMIT));
    expect((await arrived)[0]).toHaveLength(10 * LIMIT);
  });
});

test('the limit is announced', async () => {
  const running = await start({ maxHttpBufferSize: LIMIT });
  const { body } = await raw(running.port, '/socket.io/?EIO=4&transport=polling');
  expect(JSON.parse(body.slice(1)).maxPayload).toBe(LIMIT);
});

test('a polling body over the limit is answered 413', async () => {
  const running = await start({ maxHttpBufferSize: LIMIT });
  const path = `/socket.io/?EIO=4&transport=polling&sid=${await handshake(running.port)}`;
  expect((await raw(running.port, path, { method: 'POST', body: 'x'.repeat(2 * LIMIT) })).status).toBe(413);
});

test('each attachment is a message of its own, and may be as large as one', async () => {
  const running = await start({ maxHttpBufferSize: LIMIT });
  const client = await connect(running, { transports: ['websocket'] });
  const heard = new Promise<Buffer[]>((done) => running.service.getSocket(client.id!)!.on('big', (...args) => done(args)));
  client.emit('big', ...Array.from({ length: 10 }, (_, index) => Buffer.alloc(LIMIT, index)));
  expect((await heard).map((buffer) => [buffer.length, buffer[0]])).toEqual(
    Array.from({ length: 10 }, (_, index) => [LIMIT, index]),
  );
});

test('an attachment that is too large ends the connection', async () => {
  const running = await start({ maxHttpBufferSize: LIMIT });
  const client = await connect(running, { transports: ['websocket'] });
  let heard = false;
  running.service.getSocket(client.id!)!.on('big', () => (heard = true));
  const gone = next(running.service, 'disconnect');
  client.emit('big', Buffer.alloc(LIMIT), Buffer.alloc(LIMIT + 1));
  await gone;
  expect(heard).toBe(false);
});

test('a polling request may hold attachments up to its own size', async () => {
  const running = await start({ maxHttpBufferSize: LIMIT });
  const client = await connect(running, { transports: ['polling'] });
  const heard = new Promise<Buffer[]>((done) => running.service.getSocket(client.id!)!.on('big', (...args) => done(args)));
  client.emit('big', Buffer.alloc(LIMIT / 2), Buffer.alloc(LIMIT / 8));
  expect((await heard).map((buffer) => buffer.length)).toEqual([LIMIT / 2, LIMIT / 8]);
});

test('a body that belongs to no session is not waited for, as with socket.io', async () => {
  const servers = [await start({ maxHttpBufferSize: LIMIT }), await startReference({ maxHttpBufferSize: LIMIT })];
  const answers = [];
  for (const { port } of servers) {
    for (const size of [LIMIT, LIMIT + 1]) {
      const path = '/socket.io/?EIO=4&transport=polling&sid=unknown';
      const sent = requestTo(port, { path, method: 'POST', headers: { 'Content-Length': size } });
      sent.on('error', () => {});
      sent.flushHeaders();
      const [response] = (await once(sent, 'response')) as [IncomingMessage];
      answers.push(response.statusCode);
      sent.destroy();
    }
  }
  expect(answers).toEqual([400, 400, 400, 400]);
});
