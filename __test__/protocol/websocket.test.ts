// RFC 6455 over raw connections: framing, control frames, reserved bits and opcodes, fragmentation, UTF-8, closing. Each case is
// tried on a server of Socket.IO, too, whose `ws` must do the same.

import { next, record, start } from '../support/harness';
import { startReference } from '../support/http';
import { closing, frame, FrameWire } from '../support/frames';
import { eventually } from '../support/eventually';

const PING = 9;
const PONG = 10;

/** What a server has made of some frames. */
interface Outcome {
  /** Arguments of the events that the application heard. */
  heard: unknown[];
  pongs: string[];
  /** How the connection ended; undefined when it did not. */
  end: { status: number; reason: string } | undefined;
  /** Why, as the application is told. */
  reason: string | undefined;
}

interface Target {
  port: number;
  /** Listens to the event `e` of each client. */
  heard: unknown[];
  reasons: string[];
}

async function ours(): Promise<Target> {
  const heard: unknown[] = [];
  const running = await start({ maxHttpBufferSize: 100_000 }, {
    setup: (service) => void service.use((socket, go) => (socket.on('e', (...args: unknown[]) => void heard.push(args)), go())),
  });
  const reasons: string[] = [];
  running.service.on('disconnect', (_user, reason) => void reasons.push(reason));
  return { port: running.port, heard, reasons };
}

async function reference(): Promise<Target> {
  const { io, port } = await startReference({ maxHttpBufferSize: 100_000 });
  const [heard, reasons]: [unknown[], string[]] = [[], []];
  io.on('connection', (socket) => {
    socket.on('e', (...args: unknown[]) => void heard.push(args));
    socket.on('disconnect', (reason) => void reasons.push(reason));
  });
  return { port, heard, reasons };
}

/** Sends frames to a server, and then something to which it answers, unless it has closed. */
async function outcome({ port, heard, reasons }: Target, frames: Buffer[], cut?: number): Promise<Outcome> {
  const wire = await FrameWire.connected(port);
  const bytes = Buffer.concat(frames);
  if (cut === undefined) wire.send(bytes);
  else for (let at = 0; at < bytes.length; at += cut) wire.send(bytes.subarray(at, at + cut));
  wire.send(frame('ping', 'the end'));
  const ended = () => wire.status !== 1006 || wire.hasEnded;
  const isAnswered = () => wire.frames.some(({ kind, payload }) => kind === PONG && payload.toString() === 'the end');
  await eventually(() => expect(ended() || isAnswered()).toBe(true));
  const end = ended() ? await wire.ended() : undefined;
  if (end) await eventually(() => expect(reasons).toHaveLength(1));
  const pongs = wire.frames.filter(({ kind }) => kind === PONG).map(({ payload }) => payload.toString());
  wire.socket.destroy();
  return { heard, pongs: pongs.filter((payload) => payload !== 'the end'), end, reason: end && reasons[0] };
}

const text = (size: number) => `42["e","${'x'.repeat(size - 8)}"]`;
/** The text of an event in two pieces, cut within a character. */
const [first, second] = [Buffer.from('42["e","zw\u00f6lf"]').subarray(0, 11), Buffer.from('42["e","zw\u00f6lf"]').subarray(11)];

const cases: Array<[group: string, name: string, frames: Buffer[]]> = [
  ...[126, 127, 128, 1_000, 65_535, 65_536, 65_537, 99_999].map((size): [string, string, Buffer[]] => ['framing', `a text of ${size} bytes`, [frame('text', text(size))]]),
  ['framing', 'a length in more bytes than it needs', [frame('text', '42["e",1]', { extended: 2 })]],
  ['framing', 'a length in eight bytes', [frame('text', '42["e",1]', { extended: 8 })]],
  ['framing', 'a frame without a mask', [frame('text', '42["e",1]', { masked: false })]],
  ['framing', 'more than is allowed', [frame('text', text(100_001))]],
  ['framing', 'a length beyond every integer', [frame('text', '', { announced: 2 ** 53, extended: 8 })]],
  ['framing', 'several messages at once', [frame('text', '42["e",1]'), frame('text', '42["e",2]'), frame('text', '42["e",3]')]],
  ['pings', 'without a payload', [frame('ping')]],
  ['pings', 'with 125 bytes', [frame('ping', 'p'.repeat(125))]],
  ['pings', 'with 126 bytes', [frame('ping', 'p'.repeat(126))]],
  ['pings', 'with bytes that are no text', [frame('ping', Buffer.from([0, 255, 254]))]],
  ...(['ping', 'pong', 'close'] as const).flatMap((kind) =>
    ([2, 8] as const).map((extended): [string, string, Buffer[]] => ['pings', `a ${kind} with a length in ${extended} bytes`, [frame(kind, closing(1000), { extended })]]),
  ),
  ['pings', 'a pong that nobody asked for', [frame('pong', 'unasked'), frame('text', '42["e",1]')]],
  ['pings', 'a pong with 126 bytes', [frame('pong', 'p'.repeat(126))]],
  ['pings', 'a ping in two fragments', [frame('ping', 'a', { fin: false }), frame('continuation', 'b')]],
  ...[0x40, 0x20, 0x10, 0x70].flatMap((reserved): Array<[string, string, Buffer[]]> => [
    ['reserved bits', `${reserved.toString(16)} of a text`, [frame('text', '42["e",1]', { reserved })]],
    ['reserved bits', `${reserved.toString(16)} of a ping`, [frame('ping', 'a', { reserved })]],
    ['reserved bits', `${reserved.toString(16)} of a continuation`, [frame('text', '42["e"', { fin: false }), frame('continuation', ',1]', { reserved })]],
  ]),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, string, Buffer[]] => ['opcodes', `${opcode}`, [frame('text', '42["e",1]'), frame(opcode, 'x')]]),
  ['fragments', 'two of a text', [frame('text', '42["e"', { fin: false }), frame('continuation', ',1]')]],
  ['fragments', 'many', [frame('text', '4', { fin: false }), ...[...'2["e",'].map((each) => frame('continuation', each, { fin: false })), frame('continuation', '1]')]],
  ['fragments', 'empty ones in between', [frame('text', '', { fin: false }), frame('continuation', '', { fin: false }), frame('continuation', '42["e",1]', { fin: false }), frame('continuation')]],
  ['fragments', 'with a ping in between', [frame('text', '42["e"', { fin: false }), frame('ping', 'between'), frame('continuation', ',1]')]],
  ['fragments', 'a continuation of nothing', [frame('continuation', '42["e",1]')]],
  ['fragments', 'a continuation that is not the last, of nothing', [frame('continuation', '42["e",1]', { fin: false })]],
  ['fragments', 'a text within another', [frame('text', '42["e"', { fin: false }), frame('text', '42["e",1]')]],
  ['fragments', 'a binary within a text', [frame('text', '42["e"', { fin: false }), frame('binary', 'x')]],
  ['fragments', 'more than is allowed, together', [frame('text', text(60_000), { fin: false }), frame('continuation', 'x'.repeat(60_000))]],
  ['UTF-8', 'cut within a character', [frame('text', first, { fin: false }), frame('continuation', second)]],
  ['UTF-8', 'all planes', [frame('text', '42["e","\u0000 \u00f6 \u20ac \ud83d\ude00 \uffff \udbff\udfff"]'.replace('\u0000', '\\u0000'))]],
  ...(
    [
      ['a continuation byte alone', [0x80]],
      ['a start without its rest', [0xc3]],
      ['an overlong slash', [0xc0, 0xaf]],
      ['an overlong of three', [0xe0, 0x80, 0xaf]],
      ['a surrogate', [0xed, 0xa0, 0x80]],
      ['beyond the last plane', [0xf4, 0x90, 0x80, 0x80]],
      ['five bytes', [0xf8, 0x88, 0x80, 0x80, 0x80]],
      ['0xff', [0xff]],
    ] as const
  ).flatMap(([name, bytes]): Array<[string, string, Buffer[]]> => [
    ['UTF-8', name, [frame('text', Buffer.concat([Buffer.from('42["e","'), Buffer.from(bytes), Buffer.from('"]')]))]],
    ['UTF-8', `${name}, in the second fragment`, [frame('text', '42["e","', { fin: false }), frame('continuation', Buffer.from([...bytes, 0x22, 0x5d]))]],
  ]),
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map(
    (status): [string, string, Buffer[]] => ['closing', `with ${status}`, [frame('close', closing(status, 'because'))]],
  ),
  ...[0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map(
    (status): [string, string, Buffer[]] => ['closing', `with ${status}, which nobody may send`, [frame('close', closing(status))]],
  ),
  ['closing', 'without a status', [frame('close')]],
  ['closing', 'with half a status', [frame('close', Buffer.from([3]))]],
  ['closing', 'with a reason of 123 bytes', [frame('close', closing(1000, 'r'.repeat(123)))]],
  ['closing', 'with one of 124', [frame('close', closing(1000, 'r'.repeat(124)))]],
  ['closing', 'with a reason that is no text', [frame('close', closing(1000, Buffer.from([0xff])))]],
  ['closing', 'and going on', [frame('text', '42["e",1]'), frame('close', closing(1000)), frame('text', '42["e",2]')]],
  ['closing', 'twice', [frame('close', closing(1000)), frame('close', closing(1001))]],
  ['closing', 'within a message', [frame('text', '42["e"', { fin: false }), frame('close', closing(1000)), frame('continuation', ',1]')]],
];

test.each(cases)('%s: %s', async (_group, _name, frames) => {
  const [actual, expected] = [await outcome(await ours(), frames), await outcome(await reference(), frames)];
  expect(actual).toEqual(expected);
});

test.each([1, 2, 3, 7])('frames that come in pieces of %i bytes', async (cut) => {
  const frames = [frame('text', '42["e"', { fin: false }), frame('ping', 'between'), frame('continuation', ',1]'), frame('text', text(200)), frame('text', '42["e",2]')];
  const whole = await outcome(await reference(), frames);
  expect(await outcome(await ours(), frames, cut)).toEqual(whole);
});

test('of very many pings that come together the last is answered', async () => {
  const { port } = await ours();
  const wire = await FrameWire.connected(port);
  wire.send(...Array.from({ length: 100 }, (_, number) => frame('ping', `${number}`)));
  await eventually(() => expect(wire.frames.filter(({ kind }) => kind === PONG).at(-1)?.payload.toString()).toBe('99'));
  expect(wire.frames.filter(({ kind }) => kind === PING)).toEqual([]);
});

test('a client that breaks the protocol is gone at once, whatever it does about the close frame', async () => {
  const running = await start();
  const ends = record(running.service, 'disconnect');
  const wire = await FrameWire.connected(running.port);
  const gone = next(running.service, 'disconnect');
  wire.send(frame(3, 'x'));
  await gone;
  expect(running.service.getStats().activeConnections).toBe(0);
  wire.send(frame('text', '42["late"]'));
  await eventually(() => expect(wire.hasEnded).toBe(true));
  expect(ends.map(([, reason]) => reason)).toEqual(['transport error']);
});
