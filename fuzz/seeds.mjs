// Writes the seeds into `fuzz/corpus/`: real packets of every kind, from which the targets begin. `node fuzz/seeds.mjs`
// after a change here; what the targets have found since stays.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'corpus');

function seed(target, ...inputs) {
  mkdirSync(join(folder, target), { recursive: true });
  for (const input of inputs) {
    const bytes = typeof input === 'string' ? Buffer.from(input) : Buffer.concat(input.map((part) => Buffer.from(part)));
    writeFileSync(join(folder, target, createHash('sha1').update(bytes).digest('hex')), bytes);
  }
}

/* WebSocket frames: limit and cuts, then frames with the mask zero. */

function frame(first, payload) {
  const bytes = Buffer.from(payload);
  const header = bytes.length < 126 ? [first, 0x80 | bytes.length] : [first, 0xfe, bytes.length >> 8, bytes.length & 0xff];
  return Buffer.concat([Buffer.from([...header, 0, 0, 0, 0]), bytes]);
}
const cuts = Buffer.from([0, 3, 7, 200]);
seed(
  'frames',
  [cuts, frame(0x81, '2probe'), frame(0x81, '5'), frame(0x81, '42["a",1]')],
  [cuts, frame(0x01, 'frag'), frame(0x89, 'ping'), frame(0x00, 'mé'), frame(0x80, 'nt')],
  [cuts, frame(0x82, [1, 2, 3]), frame(0x8a, ''), frame(0x88, [3, 0xe8, 0x78])],
  [Buffer.from([1, 0, 1, 99]), frame(0x81, `4${'x'.repeat(300)}`), frame(0x02, 'a'), frame(0x80, 'b')],
  [cuts, [0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4]],
  [cuts, frame(0x01, 'x'.repeat(290)), frame(0x89, 'y'.repeat(290)).subarray(0, 290)],
  [cuts, frame(0x01, 'x'.repeat(250)), frame(0x89, 'y'.repeat(200)).subarray(0, 150)],
);

/* Bodies of polls: content type and protocol, then packets. */

const packetsOfPolls = ['40', '42["a",{"b":1}]\x1e2\x1e3probe', '451-["b",{"_placeholder":true,"num":0}]\x1ebAQIDBA==', '1', '6'];
for (const body of packetsOfPolls) seed('payload', `\x01${body}`, `\x02${body}`);
for (const body of ['6:4hello1:2', '4:4é😀', '10:b4AQIDBA==', '0:1:3', '2:40']) seed('payload', `A${body}`, `B${body}`);
seed('payload', [[0x40, 0, 6, 255], '4hello', [1, 5, 255, 4, 1, 2, 3, 4]], [[0, 0, 1, 255], '2']);

/* Sessions: protocol, then messages with 0xff between them; 0xfe begins one of bytes. */

const session = (kind, ...messages) =>
  Buffer.concat([Buffer.from([kind]), ...messages.flatMap((one, at) => [Buffer.from(at ? [0xff] : []), Buffer.from(one)])]);
const bytes = [0xfe, 1, 2, 3];
const events = [
  '["room:join",{"roomId":"room"}]',
  '["room:leave",{"roomId":"room"}]',
  '["message",{"roomId":"room","content":"hi","type":"text","metadata":{"a":[1,{}]}}]',
  '["message",{"roomId":"room","content":"\\ud800\\u0000","type":"image"}]',
  '["typing",{"roomId":"room","isTyping":true}]',
  '["document:edit",{"roomId":"room","userId":"eve","username":"x","op":[1]},2,"three"]',
  '["document:edit",{"roomId":"room","roomId":"no"}]',
  '["anything",null,1e400,{"__proto__":1}]',
  '[7,"a number"]',
  '["disconnect"]',
];
for (const event of events) {
  seed('packets', [session(1, '40{"token":"a"}', `42${event}`, `421${event}`, '3')], [session(0, `42${event}`, '2')]);
}
const placeholder = '{"_placeholder":true,"num":0}';
seed(
  'packets',
  [session(1, '40', `451-["document:edit",{"roomId":"room","file":${placeholder}}]`, bytes, '41')],
  [session(1, '40', `451-17["message",{"roomId":"room","content":"x","metadata":${placeholder}}]`, 'bAQIDBA==')],
  [session(1, '40', `452-["a",${placeholder},{"_placeholder":true,"num":1}]`, bytes, bytes, '461-0[1]', bytes)],
  [session(1, '40/admin,{"a":1}', '40/,', '42/,3["a"]', '42/admin,["a"]')],
  [session(1, '42["early"]'), ''],
  [session(1, '40', '41', '40', '431[{"ok":true}]', '43999999999999999999[]', '1')],
);

/* JSON. */

const json = [
  ...events,
  ' { "a" : [ 1 , -2.5e+3 , 0.1E-7, true , false , null ] , "b\\u0041\\n\\/" : "\\ud83d\\ude00 é" } ',
  '[[[[{"a":{"b":[]}}]]]]',
  `["e",${placeholder},{"num":2.0,"\\u005fplaceholder":true},{"_placeholder":true,"num":-1}]`,
  `["e",{"a":{"_placeholder":true},"\\u0061":1}]`,
  '"\\ud800"', '1e999', '[01]', '[1,]', '{"a":}', '"\t"', '',
];
seed('json', ...json);

/* Heads: URL, then headers. */

const head = (url, ...lines) => [url, ...lines].join('\n');
const offer = ['upgrade: websocket', 'sec-websocket-version: 13', 'sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA=='];
seed(
  'head',
  head('/socket.io/?EIO=4&transport=websocket', 'host: a.b', ...offer, 'sec-websocket-protocol: one, two'),
  head('/socket.io/?EIO=4&transport=polling&sid=abc&username=a%20b+c&%75sername=x', 'cookie: a=1', 'cookie: b=2'),
  head('/s?email=%ff%zz&email', 'origin: https://a.b', 'host: a.b', 'access-control-request-headers: x'),
  head('/', 'x-forwarded-for: 10.0.0.2, ::1, 192.0.2.1', 'x-address: 10.0.0.1', 'set-cookie: a', 'x-latin: \xe9"'),
  JSON.stringify({
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'AQIDBAUGBwgJCgsMDQ4PEA==',
    'sec-websocket-protocol': 'a\té, b',
  }),
);

/* MessagePack. */

const str = (text) => Buffer.concat([Buffer.from([0xd9, Buffer.byteLength(text)]), Buffer.from(text)]);
const list = (...items) => Buffer.concat([Buffer.from([0x90 | items.length]), ...items]);
const map = (entries) =>
  Buffer.concat([Buffer.from([0x80 | entries.length]), ...entries.flatMap(([key, value]) => [str(key), value])]);
const raw = (...values) => Buffer.from(values);
const bin = (...values) => Buffer.from([0xc4, values.length, ...values]);
const values = [
  raw(0xc0), raw(0xc3), raw(0x7f), raw(0xe0), raw(0xcd, 1, 0), raw(0xcf, 0xff, 0, 0, 0, 0, 0, 0, 1), raw(0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0),
  raw(0xca, 0x7f, 0x80, 0, 0), raw(0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0), raw(0xd4, 0, 0), raw(0xd7, 0xff, 0, 0, 0, 0, 1, 2, 3, 4),
  raw(0xc7, 12, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9), raw(0xd6, 0xff, 1, 2, 3, 4), raw(0xc7, 2, 0, 5, 6), raw(0xa3, 0xed, 0xa0, 0x80),
  raw(0xdd, 0xff, 0xff, 0xff, 0xff), raw(0xdc, 0, 2, 1, 2), raw(0xde, 0, 1, 0xa1, 0x61, 1),
];
seed('msgpack', [list(...values.slice(0, 15))], [map([['a', bin(1, 2)], ['b', map([['c', list()]])]])], ...values.map((one) => [one]));
seed('msgpack', ...json);

/* Messages of @socket.io/redis-adapter. */

const opts = map([['rooms', list(str('room'), raw(7))], ['except', list(str('a'))], ['flags', map([['volatile', raw(0xc3)], ['timeout', raw(5)]])]]);
const packet = (data, nsp = '/') => map([['type', raw(2)], ['data', data], ['nsp', str(nsp)]]);
const args = list(str('event'), map([['a', raw(1)]]), bin(1, 2, 3));
seed(
  'adapter',
  [list(str('abc123'), packet(args), opts)],
  [list(str('abc123'), packet(list(str('disconnect'))), opts)],
  [list(str('abc123'), packet(args, '/admin'), opts)],
  [list(str('abc123'), packet(args), map([['rooms', list()], ['flags', map([['native', bin(1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9)]])]]))],
  [map([['uid', str('abc123')], ['requestId', str('r')], ['type', raw(7)], ['packet', packet(args)], ['opts', opts]])],
  [map([['type', raw(9)], ['requestId', str('r')], ['packet', list(bin(1))]])],
);
const some = { rooms: ['a', 1.5, -2], except: ['b'] };
for (const [type, more] of [
  [0, { rooms: ['a'] }], [1, {}], [2, { opts: some, rooms: ['c'] }], [2, { sid: 's', room: 3 }], [3, { opts: some, rooms: [] }],
  [4, { opts: some, close: true }], [5, { opts: { ...some, flags: { timeout: 1e3 } } }], [6, { data: ['e', 1] }], [99, {}],
]) {
  seed('adapter', JSON.stringify({ uid: 'abc123', requestId: 'r', type, ...more }));
}
for (const answer of [
  { requestId: 'r', rooms: ['a', 1] }, { requestId: 'r', sockets: [{ id: 'a', handshake: { url: '/' }, rooms: ['a'], data: { b: [1] } }] },
  { type: 6, requestId: 'r', data: null }, { type: 8, requestId: 'r', clientCount: 3 },
]) {
  seed('adapter', JSON.stringify(answer));
}

/* Messages of instances, without their mark: [uid, seq, message]. */

const told = (name, ...fields) => [list(str('abc123'), raw(7), map([[name, fields.length === 1 ? fields[0] : list(...fields)]]))];
const facts = list(str('sid'), str('user'), str('Name'), str('{"a":1}'), raw(9));
const parts = (text, ...attachments) => list(str(text), list(...attachments));
const some9 = raw(9);
seed(
  'records',
  told('Connected', facts), told('Disconnected', str('sid')), told('RoomDeleted', str('room')), told('RoomCleared', str('room')),
  told('RoomCreated', list(str('id'), str('name'), str('label'), some9, str('user'), str('{"a":1}'), raw(0xc0), raw(0xc2))),
  told('Select', list(parts('["a",1]'), str('room'), list(str('x')), list(str('u')), raw(0xc0), str('label'))),
  told('Select', list(parts(`["a",${placeholder}]`, bin(1, 2)), raw(0xc0), list(), raw(0xc0), raw(0xc0), raw(0xc0))),
  told('Stored', str('room'), parts('["disconnect"]'), some9),
  told('Stored', str('room'), parts('["a"]', ...Array(11).fill(bin(1))), some9),
  told('Stored', str('room'), parts('["message",{"content":"x"}]'), some9), told('Resend', raw(1), raw(4)),
  told('Resent', list(list(some9, bin(99), bin(0, 255)))), told('Lost', some9), told('Do', raw(1), str('sid'), map([['Join', str('room')]])),
  told('Beat', list(some9, some9, raw(0xc3), some9, list(some9, some9, some9, some9, some9, raw(0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0)))),
  told('Snapshot', list(some9, raw(0), raw(0xc3), list(list(facts, list(str('room')))))),
  told('History', list(raw(0xc3), list(list(str('room'), list(list(parts('["message",{}]'), some9)))))), told('Done', raw(1), raw(0xc0)),
);
for (const name of ['Nothing', 'Hello', 'Bye', 'AskSnapshot', 'AskHistory']) seed('records', [list(str('abc123'), raw(0xc0), str(name))]);

/* Options, as the JavaScript side hands them over. */

seed(
  'options',
  '{}',
  JSON.stringify({
    path: '/socket.io', pingInterval: 25000, pingTimeout: 1, maxHttpBufferSize: 1e6, polling: true, websocket: false, allowUpgrades: true,
    upgradeTimeout: 1, connectTimeout: 18446744073709551615n.toString().length, allowEIO3: true, history: { maxMessagesPerRoom: 3, maxAgeMs: 4, persist: true },
    requireMembership: false, deliverMessages: true, relayEvents: ['a'], authorize: { join: true, relay: false }, allowSystemMessages: true, presence: {},
    membershipEvents: 'each', workerThreads: 2,
    limits: { maxConnections: 1, connectionsPerAddress: 2, handshakesPerSecond: 3, handshakesPerSecondPerAddress: 4, trustProxy: { hops: 1 }, eventsPerSecond: 5, eventsBurst: 6, roomsPerSocket: 7, stallMs: 8, messageTimeoutMs: 9, maxDepth: 10 },
    redis: { keyPrefix: 'k', servers: [{ host: 'h', port: 1 }], mode: { sentinel: 'm' }, username: 'u', password: 'SECRET-password', db: 1, tls: { ca: 'c', insecure: true }, heartbeatInterval: 2 },
  }),
  JSON.stringify({ limits: { trustProxy: { networks: ['10.0.0.0/8', '::1'] } } }),
  JSON.stringify({ hops: 3 }),
  JSON.stringify({ networks: ['10.0.0.0/33', 'fe80::/10'] }),
  JSON.stringify({ rooms: ['a'], except: ['b', 'c'], users: ['u'], room: 'r', namespace: 'n', volatile: true }),
  JSON.stringify({ origin: ['https://a.b'], credentials: true, methods: 'GET', maxAge: '3', optionsSuccessStatus: 204 }),
  JSON.stringify({ origin: '*' }),
  JSON.stringify({ address: '[::1]:80', unix: null, backlog: 511, reusePort: false, handsOver: true, servesClient: true, cookie: ['io=', '; Path=/'], cors: { origin: true }, tls: null }),
  JSON.stringify({ identities: [{ cert: 'c', key: 'k' }], clientCa: null, refusesStrangers: false, alpn: ['http/1.1'], minVersion: 'TLSv1.2' }),
);
