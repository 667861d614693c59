// Engine.IO protocols 3 and 4: handshakes, requests, payloads, packets, heartbeats, upgrades and ends. Each case is tried on a
// server of Socket.IO, too: what is expected is what that makes of it.

import { eventually } from '../support/eventually';
import { anonymous, type Options, type Outcome, opened, ours, outcome, packetsOf, payloadOf, reference, type Said, type Step, type Target, type TransportName } from '../support/dialogue';
import { frame, closing, FrameWire } from '../support/frames';
import { type Answer, handshake, raw, type RawRequest, upgradeHeaders } from '../support/http';

type Protocol = 3 | 4;

const OPTIONS: Options = { allowEIO3: true, maxHttpBufferSize: 10_000 };
const ACCEPTED = { 3: '40', 4: '40{"sid":"…"}' } as const;
const NO_SESSION = '{"code":1,"message":"Session ID unknown"}';
const BAD_REQUEST = '{"code":3,"message":"Bad request"}';

const both = [['socket.io', reference], ['the service', ours]] as const;

/** Tries the same on both servers. */
function onBoth<Row extends unknown[]>(name: string, rows: Row[], check: (start: (options?: Options) => Promise<Target>, ...row: Row) => Promise<void>): void {
  describe.each(both)('%s', (_name, begin) => {
    test.each(rows)(name, async (...row: unknown[]) => check((options) => begin({ ...OPTIONS, ...options }), ...(row as Row)));
  });
}

/** What each makes of it, where that is not the same, and why. */
interface Difference<Value> {
  why: string;
  theirs: Value;
  ours: Value;
}

function onEach<Value>(name: string, rows: Array<[string, Difference<Value>]>, check: (start: (options?: Options) => Promise<Target>, name: string, expected: Value) => Promise<void>): void {
  test.each(rows)(name, async (row, { theirs, ours: own }) => {
    await check((options) => reference({ ...OPTIONS, ...options }), row, theirs);
    await check((options) => ours({ ...OPTIONS, ...options }), row, own);
  });
}

const path = (query: string) => `/socket.io/?${query}`;
const sessionPath = (sid: string, eio: Protocol = 4) => path(`EIO=${eio}&transport=polling&sid=${sid}`);
const told = ({ status, body }: Answer) => `${status} ${anonymous(body)}`;

describe('handshake', () => {
  const open = (upgrades: string, rest = '') => `0{"sid":"…","upgrades":[${upgrades}],"pingInterval":25000,"pingTimeout":60000,"maxPayload":10000}${rest}`;

  onBoth<[string, string, Options, string[]]>('polling: %s', [
    ['Engine.IO 4', 'EIO=4', {}, [open('"websocket"')]],
    ['Engine.IO 4 without upgrades', 'EIO=4', { allowUpgrades: false }, [open('')]],
    ['Engine.IO 4 over polling alone', 'EIO=4', { transports: ['polling'] }, [open('')]],
    ['Engine.IO 4 with an empty sid', 'EIO=4&sid=', {}, [open('"websocket"')]],
    ['Engine.IO 4 with base64', 'EIO=4&b64=1', {}, [open('"websocket"')]],
  ], async (start, _name, query, options, packets) => {
    const { port } = await start(options);
    const answer = await raw(port, path(`transport=polling&${query}`));
    expect([answer.status, packetsOf(answer.body)]).toEqual([200, packets]);
    expect(answer.headers['content-type']).toBe('text/plain; charset=UTF-8');
    expect(answer.headers['cache-control']).toBe('no-store');
  });

  onBoth<[string, string, Options]>('polling: Engine.IO 3 %s', [
    ['by its number', 'EIO=3', {}],
    ['without a number', 'x=1', {}],
    ['by another number', 'EIO=5', {}],
    ['by what is no number', 'EIO=four', {}],
    ['with base64', 'EIO=3&b64=1', {}],
  ], async (start, _name, query, options) => {
    const { port } = await start(options);
    const answer = await raw(port, path(`transport=polling&${query}`));
    const sid = JSON.parse(answer.body.slice(answer.body.indexOf('{'), answer.body.indexOf('}') + 1)).sid;
    // The namespace is joined without a CONNECT, at once or by the next answer.
    const packets = packetsOf(answer.body, 3);
    while (packets.length < 2) packets.push(...packetsOf((await raw(port, sessionPath(sid, 3))).body, 3));
    expect([answer.status, packets]).toEqual([200, [open('"websocket"'), '40']]);
  });

  onBoth<[Protocol, string[]]>('WebSocket: Engine.IO %i', [[4, [open('')]], [3, [open(''), '40']]], async (start, eio, packets) => {
    const wire = await FrameWire.open((await start()).port, '', eio);
    await eventually(() => expect(wire.texts().map(anonymous)).toEqual(packets));
    wire.socket.destroy();
  });

  onBoth<[string, string, RawRequest, Options, string]>('refused: %s', [
    ['no transport', 'EIO=4', {}, {}, '400 {"code":0,"message":"Transport unknown"}'],
    ['an unknown transport', 'EIO=4&transport=pigeon', {}, {}, '400 {"code":0,"message":"Transport unknown"}'],
    ['the name of a property', 'EIO=4&transport=constructor', {}, {}, '400 {"code":0,"message":"Transport unknown"}'],
    ['a transport that is off', 'EIO=4&transport=polling', {}, { transports: ['websocket'] }, '400 {"code":0,"message":"Transport unknown"}'],
    ['WebSocket without an upgrade', 'EIO=4&transport=websocket', {}, {}, `400 ${BAD_REQUEST}`],
    ['an unknown session', 'EIO=4&transport=polling&sid=unknown', {}, {}, `400 ${NO_SESSION}`],
    ['the name of a property for a session', 'EIO=4&transport=polling&sid=__proto__', {}, {}, `400 ${NO_SESSION}`],
    ['a POST', 'EIO=4&transport=polling', { method: 'POST', body: '40' }, {}, '400 {"code":2,"message":"Bad handshake method"}'],
    ['a PUT', 'EIO=4&transport=polling', { method: 'PUT' }, {}, '400 {"code":2,"message":"Bad handshake method"}'],
    ['Engine.IO 3', 'EIO=3&transport=polling', {}, { allowEIO3: false }, '400 {"code":5,"message":"Unsupported protocol version"}'],
    ['no version', 'transport=polling', {}, { allowEIO3: false }, '400 {"code":5,"message":"Unsupported protocol version"}'],
    ['an upgrade to polling', 'EIO=4&transport=pigeon', { headers: upgradeHeaders }, {}, '400 Transport unknown'],
    ['an upgrade of an unknown session', 'EIO=4&transport=websocket&sid=unknown', { headers: upgradeHeaders }, {}, '400 Session ID unknown'],
  ], async (start, _name, query, request, options, expected) => {
    const { port } = await start(options);
    expect(told(await raw(port, path(query), request))).toBe(expected);
  });
});

describe('where we do otherwise', () => {
  onEach<string>('an upgrade of Engine.IO 3 that is %s', [
    ['off', { why: 'Socket.IO accepts the WebSocket, and writes the refusal into it', theirs: '101 ', ours: '400 Unsupported protocol version' }],
  ], async (start, _name, expected) => {
    const { port } = await start({ allowEIO3: false });
    expect(told(await raw(port, path('EIO=3&transport=websocket'), { headers: upgradeHeaders }))).toBe(expected);
  });

  const once = { why: 'what came in order is handled in order: Socket.IO hears an event only after the whole payload', theirs: [], ours: [[1]] };
  onEach<unknown[][]>('an event in front of %j', [['', once], ['7', once], ['\x1e42["e",2]', once], ['2', once]], async (start, behind, heard) => {
    const target = await start();
    const sid = await handshake(target.port);
    await raw(target.port, sessionPath(sid), { method: 'POST', body: '40' });
    expect(packetsOf((await raw(target.port, sessionPath(sid))).body)).toEqual([ACCEPTED[4]]);
    await raw(target.port, sessionPath(sid), { method: 'POST', body: `42["e",1]\x1e${behind}` });
    await eventually(() => expect([target.reasons.length, target.heard]).toEqual([1, heard]));
  });
});

test('an upgrade without a probe is refused: a poll that is open would not end', async () => {
  const { port } = await ours(OPTIONS);
  const sid = await handshake(port);
  const wire = await FrameWire.upgraded(port, `&sid=${sid}`);
  wire.send(frame('text', '5'));
  expect((await wire.ended()).status).toBe(1005);
  expect(told(await raw(port, sessionPath(sid), { method: 'POST', body: '40' }))).toBe('200 ok');
});

describe('requests of a session', () => {
  onBoth<[string, Protocol, string, RawRequest, string]>('%s', [
    ['an EIO=4 session asked for as EIO=3', 4, 'EIO=3&transport=polling', {}, `400 ${BAD_REQUEST}`],
    ['an EIO=4 session asked for without EIO', 4, 'transport=polling', {}, `400 ${BAD_REQUEST}`],
    ['an EIO=3 session asked for as EIO=4', 3, 'EIO=4&transport=polling', {}, `400 ${BAD_REQUEST}`],
    ['an EIO=4 session posted to as EIO=3', 4, 'EIO=3&transport=polling', { method: 'POST', body: '2:40' }, `400 ${BAD_REQUEST}`],
    ['an EIO=3 session posted to as EIO=4', 3, 'EIO=4&transport=polling', { method: 'POST', body: '40' }, `400 ${BAD_REQUEST}`],
    ['an EIO=4 session upgraded as EIO=3', 4, 'EIO=3&transport=websocket', { headers: upgradeHeaders }, '400 Bad request'],
    ['an EIO=3 session upgraded as EIO=4', 3, 'EIO=4&transport=websocket', { headers: upgradeHeaders }, '400 Bad request'],
    ['WebSocket without an upgrade', 4, 'EIO=4&transport=websocket', {}, `400 ${BAD_REQUEST}`],
    ['another transport', 4, 'EIO=4&transport=pigeon', {}, '400 {"code":0,"message":"Transport unknown"}'],
    ['PUT', 4, 'EIO=4&transport=polling', { method: 'PUT' }, '500 '],
    ['DELETE', 4, 'EIO=4&transport=polling', { method: 'DELETE' }, '500 '],
  ], async (start, _name, eio, query, request, expected) => {
    const { port } = await start();
    const sid = await handshake(port, '/socket.io/', eio);
    expect(told(await raw(port, path(`${query}&sid=${sid}`), request))).toBe(expected);
    // Whatever it was, the session is still there.
    expect(told(await raw(port, sessionPath(sid, eio), { method: 'POST', body: payloadOf(['6'], eio) }))).toBe('200 ok');
  });

  onBoth<[string, Protocol, RawRequest, string, string]>('a POST: %s', [
    ['text', 4, { body: '40' }, '200 ok', `200 ${ACCEPTED[4]}`],
    ['without a type', 4, { body: '40', headers: {} }, '200 ok', `200 ${ACCEPTED[4]}`],
    ['bytes', 4, { body: '40', headers: { 'Content-Type': 'application/octet-stream' } }, '400 ', `400 ${NO_SESSION}`],
    ['with a type that has a parameter', 4, { body: '40', headers: { 'Content-Type': 'application/octet-stream; x=1' } }, '200 ok', `200 ${ACCEPTED[4]}`],
    ['more than is allowed', 4, { body: `4${'x'.repeat(10_000)}` }, '413 ', ''],
  ], async (start, _name, eio, request, answer, next) => {
    const { port } = await start();
    const sid = await handshake(port, '/socket.io/', eio);
    expect(told(await raw(port, sessionPath(sid, eio), { method: 'POST', headers: { 'Content-Type': 'text/plain;charset=UTF-8' }, ...request }))).toBe(answer);
    if (next !== '') expect(told(await raw(port, sessionPath(sid, eio)))).toBe(next);
  });

  onBoth<[string]>('%s polls at a time', [['two']], async (start) => {
    const { port } = await start();
    const sid = await handshake(port);
    const polls = [raw(port, sessionPath(sid)), raw(port, sessionPath(sid))];
    const [first, second] = (await Promise.all(polls)).map(({ status, body }) => `${status} ${body}`).sort();
    // Which of them came first, nobody can say. The one that waited is closed, and the other refused.
    expect(first).toBe('200 1');
    expect(second).toMatch(/^400 /);
    expect(told(await raw(port, sessionPath(sid)))).toBe(`400 ${NO_SESSION}`);
  });
});

describe('payloads', () => {
  const bytes = Buffer.from([1, 2, 3]);
  const one = '{"_placeholder":true,"num":0}';
  /** Bodies of one POST behind the CONNECT of a client, and what becomes of them. */
  const hears = (eio: Protocol, ...heard: unknown[][]): Outcome => ({ got: [ACCEPTED[eio]], heard });
  const ends = (eio: Protocol, reason: string, ...heard: unknown[][]): Outcome => ({ ...hears(eio, ...heard), end: 'closed', reason });
  const attached = (text: string) => `451-["e",${one}]\x1e${text}`;
  const broken = 'parse error';

  onBoth<[Protocol, string, string | Buffer, Outcome]>('Engine.IO %i: %s', [
    [4, 'two packets', '42["e",1]\x1e42["e",2]', hears(4, [1], [2])],
    [4, 'an empty body', '', ends(4, broken)],
    [4, 'a separator alone', '\x1e', ends(4, broken)],
    [4, 'a separator in front', '\x1e42["e",1]', ends(4, broken)],
    [4, 'the framing of Engine.IO 3', '9:42["e",1]', ends(4, broken)],
    [4, 'text of all planes', '42["e","\u00f6\u20ac\u{1f600}"]', hears(4, ['\u00f6\u20ac\u{1f600}'])],
    [4, 'bytes that are no text', Buffer.concat([Buffer.from('42["e","a'), Buffer.from([0xff, 0xc3]), Buffer.from('b"]')]), hears(4, ['a\ufffd\ufffdb'])],
    [4, 'noops', '6\x1e6\x1e42["e",1]\x1e6', hears(4, [1])],
    [4, 'an open packet', '0\x1e42["e",1]', hears(4, [1])],
    [4, 'an open packet with data', '0{"sid":"x"}\x1e42["e",1]', hears(4, [1])],
    [4, 'an upgrade packet', '5\x1e42["e",1]', hears(4, [1])],
    [4, 'a ping', '2\x1e42["e",1]', ends(4, 'transport error')],
    [4, 'a probe', '2probe', ends(4, 'transport error')],
    [4, 'a pong that nobody asked for', '3\x1e42["e",1]', hears(4, [1])],
    [4, 'a pong with data', '3probe\x1e42["e",1]', hears(4, [1])],
    [4, 'a close packet', '1', ends(4, 'transport close')],
    [4, 'a close packet with data', '1x', ends(4, 'transport close')],
    ...['7', '8', '9', 'x', ' ', 'B', '-', '\u00f6', '"'].map((packet): [Protocol, string, string, Outcome] => [4, `the type ${packet}`, packet, ends(4, broken)]),
    [4, 'base64', attached('bAQID'), hears(4, [bytes])],
    [4, 'base64 with padding', attached('bAQI='), hears(4, [Buffer.from([1, 2])])],
    [4, 'base64 without its padding', attached('bAQ'), hears(4, [Buffer.from([1])])],
    [4, 'base64 of nothing', attached('b'), hears(4, [Buffer.alloc(0)])],
    [4, 'base64 of the other alphabet', attached('b-_-_'), hears(4, [Buffer.from([0xfb, 0xff, 0xbf])])],
    [4, 'base64 with line feeds', attached('bAQ\r\nID'), hears(4, [bytes])],
    [4, 'base64 with something else in it', attached('bA!Q*I\u00f6D'), hears(4, [bytes])],
    [4, 'base64 with something behind its padding', attached('bAQ==AQ=='), hears(4, [Buffer.from([1])])],
    [4, 'base64 of one digit', attached('bA'), hears(4, [Buffer.alloc(0)])],
    [4, 'what base64 would be in Engine.IO 3', attached('b4AQID'), hears(4, [Buffer.from('4AQID', 'base64')])],

    [3, 'two packets', '9:42["e",1]9:42["e",2]', hears(3, [1], [2])],
    [3, 'an empty body', '', ends(3, broken)],
    [3, 'a length alone', '1', ends(3, broken)],
    [3, 'a packet of nothing', '0:9:42["e",1]', hears(3, [1])],
    [3, 'a length that is too great', '10:42["e",1]', ends(3, broken)],
    [3, 'a length that is too small', '8:42["e",1]', ends(3, 'forced close')],
    [3, 'no length', ':42["e",1]', ends(3, broken)],
    [3, 'a length that is no number', 'x:42["e",1]', ends(3, broken)],
    [3, 'the framing of Engine.IO 4', '42["e",1]\x1e42["e",2]', ends(3, broken)],
    [3, 'a length in code units', '11:42["e","\u{1f600}"]'.replace('11', '12').replace('12', `${'42["e","\u{1f600}"]'.length}`), hears(3, ['\u{1f600}'])],
    [3, 'an unknown type', '1:7', ends(3, broken)],
    [3, 'a ping', '1:29:42["e",1]', { ...hears(3, [1]), got: ['40', '3'] }],
    [3, 'a ping with data', '6:2probe', { ...hears(3), got: ['40', '3'] }],
    [3, 'a pong', '1:39:42["e",1]', ends(3, 'transport error')],
    [3, 'an open packet', '1:09:42["e",1]', hears(3, [1])],
    [3, 'noops', '1:69:42["e",1]1:5', hears(3, [1])],
    [3, 'a close packet', '1:1', ends(3, 'transport close')],
    [3, 'base64', `${`451-["e",${one}]`.length}:451-["e",${one}]6:b4AQID`, hears(3, [bytes])],
    [3, 'base64 without its padding', `${`451-["e",${one}]`.length}:451-["e",${one}]4:b4AQ`, hears(3, [Buffer.from([1])])],
  ], async (start, eio, name, body, expected) => {
    const target = await start();
    const client = await opened(target.port, 'polling', eio);
    if (eio === 4) await client.say('40');
    await eventually(async () => (await client.look(), expect(client.got).toEqual([ACCEPTED[eio]])));
    const sent = raw(target.port, sessionPath(client.sid!, eio), { method: 'POST', body, headers: { 'Content-Type': 'text/plain;charset=UTF-8' } });
    expect(told(await sent)).toBe('200 ok');
    // Told apart by Socket.IO as nothing else is; see the suite of its protocol.
    const reason = expected.reason === 'forced close' ? expect.stringMatching(/^(forced close|parse error)$/) : expected.reason;
    const now = () => ({ got: client.got, heard: target.heard, ...(client.end && { end: client.end }), ...(target.reasons.length > 0 && { reason: target.reasons.join() }) });
    await eventually(async () => (await client.look(), expect([name, now()]).toEqual([name, { ...expected, ...(reason && { reason }) }])));
  });
});

describe('packets over WebSocket', () => {
  const plain = (eio: Protocol): Outcome => ({ got: [ACCEPTED[eio]], heard: [[1]] });
  const over = (eio: Protocol, reason: string): Outcome => ({ got: [ACCEPTED[eio]], heard: [], end: 'closed', reason });
  const event = '42["e",1]';

  onBoth<[Protocol, string, Said[], Outcome]>('Engine.IO %i: %s', [
    ...['0', '0{}', '1', '1x', '5', '5x', '6', '6x', '3', '3probe'].map((packet): [Protocol, string, Said[], Outcome] => [4, packet, [packet, event], plain(4)]),
    ...['2', '2probe', '2x'].map((packet): [Protocol, string, Said[], Outcome] => [4, packet, [packet, event], over(4, 'transport error')]),
    ...['', '7', '8', '9', 'x', ' ', 'B', '\u00f6', '\x1e'].map((packet): [Protocol, string, Said[], Outcome] => [4, JSON.stringify(packet), [packet], over(4, 'parse error')]),
    [4, 'base64 in a text', ['451-["e",{"_placeholder":true,"num":0}]', 'bAQ'], { ...plain(4), heard: [[Buffer.from([1])]] }],
    ...['0', '1', '5', '6'].map((packet): [Protocol, string, Said[], Outcome] => [3, packet, [packet, event], plain(3)]),
    ...['2', '2probe'].map((packet): [Protocol, string, Said[], Outcome] => [3, packet, [packet, event], { ...plain(3), got: ['40', '3'] }]),
    [3, '3', ['3', event], over(3, 'transport error')],
    ...['', '7', 'x'].map((packet): [Protocol, string, Said[], Outcome] => [3, JSON.stringify(packet), [packet], over(3, 'parse error')]),
    [3, 'bytes', ['451-["e",{"_placeholder":true,"num":0}]', Buffer.from([1])], { ...plain(3), heard: [[Buffer.from([1])]] }],
    [3, 'base64 in a text', ['451-["e",{"_placeholder":true,"num":0}]', 'b4AQ'], { ...plain(3), heard: [[Buffer.from([1])]] }],
  ], async (start, eio, _name, said, expected) => {
    const accepted: Step = (now) => now.got.length > 0;
    const steps: Step[] = [...(eio === 4 ? ['40'] : []), accepted, ...said];
    expect(await outcome(await start(), 'websocket', steps, expected, eio)).toEqual(expected);
  });

  onBoth<[string, Buffer, number, string]>('Engine.IO 3: bytes of the type %s', [
    ['ping', Buffer.from([2]), 1006, '3'],
    ['pong', Buffer.from([3]), 1005, ''],
    ['noop', Buffer.from([6]), 1006, ''],
  ], async (start, _name, bytes, status, answer) => {
    const wire = await FrameWire.open((await start()).port, '', 3);
    await eventually(() => expect(wire.texts()).toHaveLength(2));
    wire.send(frame('binary', bytes), frame('ping', 'end'));
    await eventually(() => expect(wire.status !== 1006 || wire.frames.some(({ kind }) => kind === 10)).toBe(true));
    expect([wire.status, wire.texts()[2] ?? '']).toEqual([status, answer]);
    wire.socket.destroy();
  });
});

describe('heartbeats', () => {
  const beats = { pingInterval: 100, pingTimeout: 400 };

  onBoth<[TransportName]>('Engine.IO 4 over %s: pings go on while they are answered', [['websocket'], ['polling']], async (start, transport) => {
    const target = await start(beats);
    const client = await opened(target.port, transport);
    await client.say('40');
    for (let count = 1; count <= 3; count++) {
      await eventually(async () => (await client.look(), expect(client.got.filter((packet) => packet === '2')).toHaveLength(count)));
      await client.say('3');
    }
    expect([client.end, target.reasons]).toEqual([undefined, []]);
    client.leave();
  });

  onBoth<[Protocol, TransportName]>('Engine.IO %i over %s: silence is the end', [[4, 'websocket'], [4, 'polling'], [3, 'websocket'], [3, 'polling']], async (start, eio, transport) => {
    const target = await start(beats);
    const client = await opened(target.port, transport, eio);
    if (eio === 4) await client.say('40');
    await eventually(async () => (await client.look(), expect([client.end, target.reasons]).toEqual(['closed', ['ping timeout']])));
    // Engine.IO 3 has clients ping.
    expect(client.got.filter((packet) => packet === '2')).toHaveLength(eio === 4 ? 1 : 0);
    client.leave();
  });

  onBoth<[TransportName]>('Engine.IO 3 over %s: each ping is answered', [['websocket'], ['polling']], async (start, transport) => {
    const target = await start();
    const client = await opened(target.port, transport, 3);
    await eventually(async () => (await client.look(), expect(client.got).toEqual(['40'])));
    for (let count = 1; count <= 3; count++) {
      await client.say('2');
      await eventually(async () => (await client.look(), expect(client.got).toEqual(['40', ...Array.from({ length: count }, () => '3')])));
    }
    client.leave();
  });
});

describe('upgrades', () => {
  const PROBE = frame('text', '2probe');
  const UPGRADE = frame('text', '5');

  /** What a client that polls is sent over a WebSocket for what it sends there, and how that ends. */
  onBoth<[string, Buffer[], { got: string[]; status: number }]>('%s', [
    ['a probe', [PROBE], { got: ['3probe'], status: 1006 }],
    ['two probes', [PROBE, PROBE], { got: ['3probe', '3probe'], status: 1006 }],
    ['a ping that is no probe', [frame('text', '2')], { got: [], status: 1005 }],
    ['a ping with other data', [frame('text', '2probes')], { got: [], status: 1005 }],
    ['a message', [frame('text', '40')], { got: [], status: 1005 }],
    ['a message behind the probe', [PROBE, frame('text', '40')], { got: ['3probe'], status: 1005 }],
    ['a noop', [frame('text', '6')], { got: [], status: 1005 }],
    ['a close packet', [frame('text', '1')], { got: [], status: 1005 }],
    ['no packet', [frame('text', 'x')], { got: [], status: 1005 }],
    ['nothing', [frame('text', '')], { got: [], status: 1005 }],
    ['bytes', [frame('binary', Buffer.from('2probe'))], { got: [], status: 1005 }],
    ['a frame that is none', [frame(3, 'x')], { got: [], status: 1002 }],
    ['a text that is none', [frame('text', Buffer.from([0xff]))], { got: [], status: 1007 }],
    ['a close frame', [frame('close', closing(1000))], { got: [], status: 1000 }],
    ['a close frame behind the probe', [PROBE, frame('close', closing(4000, 'why'))], { got: ['3probe'], status: 4000 }],
    ['a close frame with a status that nobody may send', [frame('close', closing(1005))], { got: [], status: 1002 }],
  ], async (start, _name, frames, expected) => {
    const { port } = await start();
    const sid = await handshake(port);
    const wire = await FrameWire.upgraded(port, `&sid=${sid}`);
    wire.send(...frames, frame('ping', 'end'));
    await eventually(() => expect(wire.hasEnded || wire.status !== 1006 || wire.frames.some(({ kind }) => kind === 10)).toBe(true));
    expect({ got: wire.texts(), status: wire.status }).toEqual(expected);
    if (wire.status !== 1006) await wire.ended();
    wire.socket.destroy();
    // The client goes on polling.
    expect(told(await raw(port, sessionPath(sid), { method: 'POST', body: '40' }))).toBe('200 ok');
    await eventually(async () => expect(packetsOf((await raw(port, sessionPath(sid))).body)).toContain(ACCEPTED[4]));
  });

  onBoth<[string, Buffer[], string[]]>('that is complete: %s', [
    ['with a probe', [PROBE, UPGRADE], ['3probe']],
    ['with data', [PROBE, frame('text', '5x')], ['3probe']],
    ['all at once with a CONNECT', [PROBE, UPGRADE, frame('text', '40')], ['3probe', ACCEPTED[4]]],
  ], async (start, _name, frames, expected) => {
    const { port } = await start();
    const sid = await handshake(port);
    const wire = await FrameWire.upgraded(port, `&sid=${sid}`);
    wire.send(...frames);
    await eventually(() => expect(wire.texts().map(anonymous)).toEqual(expected));
    await eventually(async () => expect(told(await raw(port, sessionPath(sid), { method: 'POST', body: '6' }))).toBe(`400 ${BAD_REQUEST}`));
    if (!expected.includes(ACCEPTED[4])) wire.send(frame('text', '40'));
    wire.send(frame('text', '421["echo",1]'));
    await eventually(() => expect(wire.texts().at(-1)).toBe('431[1]'));
    wire.socket.destroy();
  });

  onBoth<[string]>('what waits for a poll comes over WebSocket %s', [['first']], async (start) => {
    const { port } = await start();
    const sid = await handshake(port);
    const post = (body: string) => raw(port, sessionPath(sid), { method: 'POST', body });
    await post('40');
    expect(packetsOf((await raw(port, sessionPath(sid))).body)).toEqual([ACCEPTED[4]]);
    await post('421["echo",1]');
    await post('422["echo",2]');
    const wire = await FrameWire.upgraded(port, `&sid=${sid}`);
    wire.send(PROBE, UPGRADE, frame('text', '423["echo",3]'));
    await eventually(() => expect(wire.texts()).toHaveLength(4));
    expect(wire.texts()).toEqual(['3probe', '431[1]', '432[2]', '433[3]']);
    wire.socket.destroy();
  });

  onBoth<[string]>('an open poll ends with a %s', [['noop']], async (start) => {
    const { port } = await start();
    const sid = await handshake(port);
    const poll = raw(port, sessionPath(sid));
    const wire = await FrameWire.upgraded(port, `&sid=${sid}`);
    wire.send(PROBE);
    expect(told(await poll)).toBe('200 6');
    wire.send(UPGRADE, frame('text', '40'));
    await eventually(() => expect(wire.texts().map(anonymous)).toEqual(['3probe', ACCEPTED[4]]));
    wire.socket.destroy();
  });

  onBoth<[string, Buffer[]]>('a second one %s is closed', [['during the first', [PROBE]], ['after it', [PROBE, UPGRADE]]], async (start, _name, frames) => {
    const { port } = await start();
    const sid = await handshake(port);
    const first = await FrameWire.upgraded(port, `&sid=${sid}`);
    first.send(...frames, frame('ping', 'end'));
    await eventually(() => expect(first.frames.some(({ kind }) => kind === 10)).toBe(true));
    const second = await FrameWire.upgraded(port, `&sid=${sid}`);
    expect((await second.ended()).status).toBe(1005);
    expect(first.hasEnded).toBe(false);
    first.socket.destroy();
  });

  onBoth<[string]>('one that is %s in time is closed', [['not complete']], async (start) => {
    const { port } = await start({ upgradeTimeout: 100 });
    const sid = await handshake(port);
    const wire = await FrameWire.upgraded(port, `&sid=${sid}`);
    wire.send(PROBE);
    expect((await wire.ended()).status).toBe(1005);
    expect(told(await raw(port, sessionPath(sid), { method: 'POST', body: '40' }))).toBe('200 ok');
  });
});

describe('a session without a namespace', () => {
  onBoth<[TransportName]>('over %s is closed after connectTimeout', [['websocket'], ['polling']], async (start, transport) => {
    const client = await opened((await start({ connectTimeout: 200 })).port, transport);
    await eventually(async () => (await client.look(), expect([client.got, client.end]).toEqual([[], 'closed'])));
    client.leave();
  });
});
