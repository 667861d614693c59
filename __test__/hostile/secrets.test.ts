// Tokens, passwords and payloads are in no line of the log, at any level, nor in errors, statistics, or on stderr.

import { open, type Client } from '../support/harness';
import { handshake, raw, upgradeHeaders } from '../support/http';
import { eventually } from '../support/eventually';
import { newPrefix } from '../support/fleet';
import { Program } from '../support/program';
import { startRedis } from '../support/redis';
import { frame, FrameWire } from '../support/frames';
import { exchange } from '../support/wire';

const TOKENS = ['in-query', 'in-auth', 'in-authorization', 'in-cookie', 'in-payload', 'in-path'].map((where) => `secret-${where}`);
const [query, auth, authorization, cookie, payload, path] = TOKENS as [string, string, string, string, string, string];
const headers = { Authorization: `Bearer ${authorization}`, Cookie: `session=${cookie}` };
const WRONG = 'secret-wrong';
const RIGHT = 'secret-right';

/** All that a program has said. */
async function everything(program: Program): Promise<string> {
  const ended = new Promise((done) => program.child.once('close', done));
  program.child.stdin.end();
  await ended;
  expect(program.child.exitCode).toBe(0);
  return program.lines.join('\n') + program.errors;
}

const begin = (door: string, options: object) => new Program(['secretive.js', { env: { RUST_LOG: 'trace', RUST_BACKTRACE: '1' } }], door, JSON.stringify(options));

/** A client with all its tokens, until it is let in or refused. */
async function come(port: string, what: string, transport: 'polling' | 'websocket'): Promise<Client> {
  const client = open(`http://127.0.0.1:${port}`, { transports: [transport], query: { token: query, what }, auth: { token: auth }, extraHeaders: headers });
  await new Promise<void>((done) => {
    client.once('connect', () => done());
    client.once('connect_error', () => done());
  });
  return client;
}

test.each(['node', 'native'])('of clients that are let in, refused, wrong or too many, by the door %s', async (door) => {
  const limits = { maxConnections: 12, pendingAcks: 1, eventsPerSecond: 20, eventsBurst: 20, maxDepth: 5 };
  const program = begin(door, { limits, maxHttpBufferSize: 10_000, cors: { origin: ['http://ours.test'] } });
  const [, portText, roomId] = (await program.said('port ')).split(' ');
  const port = Number(portText);
  for (const transport of ['polling', 'websocket'] as const) {
    for (const what of ['refuse', 'throw']) await come(portText!, what, transport);
    const client = await come(portText!, '', transport);
    expect(client.connected).toBe(true);
    const deep = JSON.parse('['.repeat(20) + `"${payload}"` + ']'.repeat(20));
    for (const event of ['message', 'room:join', 'typing', 'document:edit', payload]) {
      for (const data of [{ roomId, content: payload }, { roomId: payload }, payload, deep]) client.emit(event, data);
    }
    // Beyond the rate, and then too large.
    for (let count = 0; count < 30; count++) client.emit('message', { roomId, content: payload });
    client.emit('message', { roomId, content: payload.repeat(2_000) });
    await new Promise<void>((done) => (client.connected ? client.once('disconnect', () => done()) : done()));
  }
  for (const bytes of [`42["a",${payload}`, `4${payload}`, `4999${payload}`, payload, `451-["${payload}",{"_placeholder":true,"num":7}]`]) {
    const wire = await FrameWire.connected(port);
    await wire.write(frame('text', bytes));
    await Promise.race([wire.closed, wire.write(frame('text', '1'))]);
    wire.socket.destroy();
    const sid = await handshake(port);
    await raw(port, `/socket.io/?EIO=4&transport=polling&sid=${sid}&token=${query}`, { method: 'POST', body: bytes, headers });
  }
  const target = (end: string) => `/socket.io/?EIO=4&token=${query}${end}`;
  for (const end of [`&transport=${query}`, `&transport=polling&sid=${query}`, `&transport=polling&transport=${query}`, '&transport=websocket', '']) {
    await raw(port, target(end), { headers });
    await raw(port, target(end), { headers: { ...headers, ...upgradeHeaders, Origin: `http://${authorization}.test` } });
  }
  await exchange(port, `GET /${path}?token=${query} HTTP/9.9\r\nAuthorization: ${authorization}\r\n\r\n`);
  await exchange(port, `GET ${target('&transport=polling')} HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\0\r\nConnection: close\r\n\r\n`);
  // Too many.
  for (let count = 0; count < 20; count++) await raw(port, target('&transport=polling'), { headers });
  program.tell('told');
  // It did say something: of functions that failed, and of who went beyond a limit.
  const told = await program.said('told');
  for (const word of ['authorize.message failed', 'authorize.join failed', 'connection_error', 'unacknowledged', 'parse error']) expect(told).toContain(word);
  const all = await everything(program);
  expect(TOKENS.filter((token) => all.includes(token))).toEqual([]);
}, 30_000);

test.each([
  ['right', RIGHT, 'ready'],
  ['wrong', WRONG, 'WRONGPASS'],
])('of Redis, when the password is %s', async (_what, password, shown) => {
  const redis = await startRedis({ lines: [`user someone on >${RIGHT} ~* &* +@all`] });
  const program = begin('node', { redis: { url: `redis://someone:${password}@127.0.0.1:${redis.port}`, keyPrefix: newPrefix(), heartbeatInterval: 200 } });
  await program.said('port ');
  await eventually(async () => {
    program.lines.splice(0);
    program.tell('told');
    expect(await program.said('told')).toContain(shown);
  });
  // And while it is away.
  await redis.end();
  await eventually(async () => {
    program.lines.splice(0);
    program.tell('told');
    expect(await program.said('told')).toContain('degraded');
  }, 10_000);
  const all = await everything(program);
  expect([RIGHT, WRONG].filter((secret) => all.includes(secret))).toEqual([]);
}, 30_000);
