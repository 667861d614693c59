// Socket.IO protocol 5, packet by packet, over either transport. Each case is tried on a server of Socket.IO, too: what is
// expected is what that makes of it. Where we do otherwise, `differences` says what, and why.

import { type Outcome, ours, outcome, reference, type Step, type TransportName } from '../support/dialogue';

const ACCEPTED = '40{"sid":"…"}';
const REFUSED = '44{"message":"Please sign in","data":{"code":7}}';
const NO_NAMESPACE = '44/x,{"message":"Invalid namespace"}';
const QUESTION = '420["question",1]';
const ONE = '{"_placeholder":true,"num":0}';

/** Waits for that many packets. */
const got = (count: number): Step => (now) => now.got.length >= count;
const left: Step = (now) => now.reason !== undefined;
const heardSomething: Step = (now) => now.heard.length > 0;

/** Nothing has become of it. */
const nothing: Outcome = { got: [], heard: [] };
const closed: Outcome = { got: [], heard: [], end: 'closed' };
const answers = (...packets: string[]): Outcome => ({ got: packets, heard: [] });
/** The same, of a client that is in the default namespace. */
const stays: Outcome = answers(ACCEPTED);
const replies = (...packets: string[]): Outcome => answers(ACCEPTED, ...packets);
const hears = (...heard: unknown[][]): Outcome => ({ got: [ACCEPTED], heard });
const leaves: Outcome = { ...stays, reason: 'client namespace disconnect' };
/** It is no packet. */
const malformed: Outcome = { ...stays, end: 'closed', reason: 'parse error' };
/** It is one, and may not be sent then. */
const misplaced: Outcome = { ...stays, end: 'closed', reason: 'forced server close' };

/** What Socket.IO says instead: one thing for both, or the other while something waits for the client. */
const REASONS: Record<string, unknown> = {
  'parse error': expect.stringMatching(/^forced (server )?close$/),
  'forced server close': expect.stringMatching(/^forced (server )?close$/),
};

type Case = [group: string, name: string, steps: Step[], expected: Outcome];

/** A case for each packet, of a client that has not sent CONNECT. */
const alone = (group: string, packets: string[], expected: Outcome): Case[] => packets.map((packet) => [group, packet, [packet], expected]);
/** The same, of one that was let in. */
const inside = (group: string, packets: Array<string | [string, ...Step[]]>, expected: Outcome): Case[] =>
  packets.map((packet) => {
    const steps = typeof packet === 'string' ? [packet] : packet;
    return [group, steps.filter((step) => typeof step === 'string').join(' '), ['40', got(1), ...steps], expected];
  });

const bytes = Buffer.from([1, 2, 3]);

const cases: Case[] = [
  ...alone('CONNECT', ['40', '40/', '40/,', '40{}', '40/,{}', '40{} ', '405', '405{"a":1}', '40 ', '40 {}'], stays),
  ['CONNECT', 'without auth', ['40', got(1), '421["auth"]'], replies('431[{}]')],
  ['CONNECT', 'with auth', ['40{"a":1,"b":["\u00f6",{}]}', got(1), '421["auth"]'], replies('431[{"a":1,"b":["\u00f6",{}]}]')],
  ['CONNECT', 'with a namespace and auth', ['40/,{"a":1}', got(1), '421["auth"]'], replies('431[{"a":1}]')],
  ['CONNECT', 'with an id and auth', ['405{"a":1}', got(1), '421["auth"]'], replies('431[{"a":1}]')],
  ...alone('CONNECT', ['40[1]', '40[]', '40null', '40true', '40"x"', '40{', '40{}x', '40{}{}', '40x', '40-1', '401[1]', '40/,[1]', '40/,x'], closed),
  ['CONNECT', 'that is refused', ['40{"refused":true}'], answers(REFUSED)],
  ['CONNECT', 'after one that was refused', ['40{"refused":true}', got(1), '40'], answers(REFUSED, ACCEPTED)],
  ['CONNECT', 'refused twice', ['40{"refused":true}', got(1), '40{"refused":true}'], answers(REFUSED, REFUSED)],
  ...inside('CONNECT', ['40', '40/', '40/,', '40{}', '40{"a":1}'], misplaced),
  ...alone('CONNECT to another namespace', ['40/x', '40/x,', '40/x,{}', '40/x,{"a":1}', '40/x,5', '40/x,5{"a":1}'], answers(NO_NAMESPACE)),
  ...alone('CONNECT to another namespace', ['40/x,[1]', '40/x,null', '40/x,{', '40/x,"a"', '40/x,5[]'], closed),
  ['CONNECT to another namespace', 'with a query', ['40/x?a=1,'], answers('44/x?a=1,{"message":"Invalid namespace"}')],
  ['CONNECT to another namespace', 'with a quote', ['40/"x\u00f6,'], answers('44/"x\u00f6,{"message":"Invalid namespace"}')],
  ['CONNECT to another namespace', 'twice', ['40/x,', got(1), '40/x,'], answers(NO_NAMESPACE, NO_NAMESPACE)],
  ['CONNECT to another namespace', 'before the default one', ['40/x,', got(1), '40'], answers(NO_NAMESPACE, ACCEPTED)],
  ['CONNECT to another namespace', 'after the default one', ['40', got(1), '40/x,'], replies(NO_NAMESPACE)],
  ['CONNECT to another namespace', 'and something that ends the session behind it', ['40/x,', '42["e"]'], { ...answers(NO_NAMESPACE), end: 'closed' }],
  ['CONNECT to another namespace', 'and something malformed behind it', ['40/x,', '47'], { ...answers(NO_NAMESPACE), end: 'closed' }],

  ...alone('before CONNECT', ['42["e"]', '425["echo"]', '43', '430[]', '41', '44', '44"x"', '42', '42/x,["e"]', '47', '4'], closed),
  ['before CONNECT', 'an event with an attachment', [`451-["e",${ONE}]`, bytes], closed],
  ['before CONNECT', 'an event whose attachment is missing', [`451-["e",${ONE}]`], nothing],
  ['before CONNECT', 'bytes', [bytes], closed],

  ...inside('EVENT', ['42["e"]', '42/,["e"]', '42 ["e"]', '42["e"] ', '42[ "e" ]', '42["\\u0065"]', '425["e"]'], hears([])),
  ...inside('EVENT', ['42["e",1,"x",null,true,{"a":[1,{}]},[]]'], hears([1, 'x', null, true, { a: [1, {}] }, []])),
  ...inside('EVENT', ['42["e","\\ud800"]'], hears(['\ud800'])),
  ...inside('EVENT', ['42["e","\u2028"]'], hears(['\u2028'])),
  ...inside('EVENT', ['42["e",1e400]'], hears([Infinity])),
  ...inside('EVENT', ['42["e",-0]'], hears([-0])),
  ...inside('EVENT', ['42["e",{"a":1,"a":2}]'], hears([{ a: 2 }])),
  ...inside('EVENT', ['425["echo",1]', '42/,5["echo",1]', '4205["echo",1]', '425 ["echo",1]', '42 5["echo",1]'], replies('435[1]')),
  ...inside('EVENT', ['425["echo"]'], replies('435[]')),
  ...inside('EVENT', ['420["echo","\u00f6"]'], replies('430["\u00f6"]')),
  ...inside('EVENT', ['429007199254740991["echo"]'], replies('439007199254740991[]')),
  ...inside('EVENT', ['429007199254740993["echo"]'], replies('439007199254740992[]')),
  ...inside('EVENT', ['4299999999999999999999999["echo"]'], replies('431e+23[]')),
  ...inside('EVENT', ['42', '425', '42/', '42/,', '42/,5', '42["nobody"]', '425["nobody"]', '42["error"]', '42[""]', '42[1]', '42[1,2]', '42["__proto__"]', '42["toString"]', '42["hasOwnProperty",1]'], stays),
  ...inside('EVENT', ['42[]', '42{}', '42"e"', '42null', '42true', '42[null]', '42[true]', '42[[]]', '42[{}]', '42[["e"]]'], malformed),
  ...inside('EVENT', ['42["e"', '42["e"]x', '42["e"]["e"]', '42["e",]', '42[,"e"]', '42["e",NaN]', "42['e']", '42["e",01]', '42["e",+1]', '42["e","\t"]', '42["e","\\x"]', '42x'], malformed),
  ...inside('EVENT', ['42-5["echo"]', '421.5["echo"]', '421e2["echo"]', '425,["echo"]', '425{}', '425x'], malformed),
  ...inside('EVENT', ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'dis\\u0063onnect'].map((name) => `42["${name}"]`), malformed),
  ...inside('EVENT', ['42/x,["e"]', '42/x,5["echo"]', '42/x', '42/x,'], misplaced),
  ...inside('EVENT', [['42["e",1]', '42["e",2]', '42["e",3]']], hears([1], [2], [3])),
  ...inside('EVENT', [['421["echo",1]', '422["echo",2]', '421["echo",3]']], replies('431[1]', '432[2]', '431[3]')),
  ['EVENT', 'and something malformed behind it', ['40', got(1), '42["e",1]', heardSomething, '42["e",2', '42["e",3]'], { ...malformed, heard: [[1]] }],

  ...inside('ACK', ['43', '430', '430[]', '430[1]', '43[1]', '437[1]', '43/,0[1]', '43/,', '4399999999999999999999999[]'], stays),
  ...inside('ACK', ['430{}', '430x', '430null', '430"x"', '43{', '430[', '43-1[]'], malformed),
  ...inside('ACK', ['43/x,0[]', '43/x'], misplaced),
  ...inside('ACK', [['42["ask"]', got(2), '430["yes",{"a":1}]']], { ...replies(QUESTION), heard: [['answer', 'yes', { a: 1 }]] }),
  ...inside('ACK', [['42["ask"]', got(2), '43/,0[2]']], { ...replies(QUESTION), heard: [['answer', 2]] }),
  ...inside('ACK', [['42["ask"]', got(2), '4300[3]']], { ...replies(QUESTION), heard: [['answer', 3]] }),
  ...inside('ACK', [['42["ask"]', got(2), '430[]'], ['42["ask"]', got(2), '430']], { ...replies(QUESTION), heard: [['answer']] }),
  ...inside('ACK', [['42["ask"]', got(2), '430[1]', '430[2]']], { ...replies(QUESTION), heard: [['answer', 1]] }),
  ...inside('ACK', [['42["ask"]', got(2), '431[1]']], replies(QUESTION)),
  ...inside('ACK', [['42["ask"]', got(2), '42["ask"]', got(3), '431[1]', '430[0]']], { ...replies(QUESTION, '421["question",1]'), heard: [['answer', 1], ['answer', 0]] }),
  ...inside('ACK', [['42["ask"]', got(2), '430{}']], { ...malformed, got: [ACCEPTED, QUESTION] }),

  ...inside('BINARY_EVENT', [[`451-["e",${ONE}]`, bytes], [`451-/,["e",${ONE}]`, bytes], [`4501-["e",${ONE}]`, bytes], ['451-["e",{"num":0,"x":1,"_placeholder":true}]', bytes]], hears([bytes])),
  ...inside('BINARY_EVENT', [[`45 1-["e",${ONE}]`, bytes], [`45+1-["e",${ONE}]`, bytes], [`451e0-["e",${ONE}]`, bytes], [`450x1-["e",${ONE}]`, bytes]], hears([bytes])),
  ...inside('BINARY_EVENT', [[`451-["e",${ONE}]`, Buffer.alloc(0)]], hears([Buffer.alloc(0)])),
  ...inside('BINARY_EVENT', [[`451-["e",${ONE},{"a":[${ONE}]}]`, bytes]], hears([bytes, { a: [bytes] }])),
  ...inside('BINARY_EVENT', [[`452-["e",{"_placeholder":true,"num":1},[${ONE}]]`, bytes, Buffer.from([4])]], hears([Buffer.from([4]), [bytes]])),
  ...inside('BINARY_EVENT', [[`452-["e",${ONE}]`, bytes, Buffer.from([4])]], hears([bytes])),
  ...inside('BINARY_EVENT', [['451-["e",1]', bytes]], hears([1])),
  ...inside('BINARY_EVENT', [['451-["e",{"_placeholder":false,"num":9}]', bytes]], hears([{ _placeholder: false, num: 9 }])),
  ...inside('BINARY_EVENT', [['451-["e",{"_placeholder":1,"num":9}]', bytes]], hears([{ _placeholder: 1, num: 9 }])),
  ...inside('BINARY_EVENT', [['451-["e",{"_placeholder":true,"num":0.5}]', bytes]], hears([undefined])),
  ...inside('BINARY_EVENT', [[`451-5["echo",${ONE}]`, bytes], [`451-/,5["echo",${ONE}]`, bytes]], replies(`461-5[${ONE}]`, '<010203>')),
  ...inside('BINARY_EVENT', [[`451-["e",${ONE}]`, '6', bytes]], hears([bytes])),
  ...inside('BINARY_EVENT', [[`451-["e",${ONE}]`, bytes, heardSomething, `451-["e",${ONE}]`, bytes]], hears([bytes], [bytes])),
  ...inside('BINARY_EVENT', [['451-', bytes], ['451-5', bytes]], stays),
  ...inside('BINARY_EVENT', [`451-["e",${ONE}]`, `4510-["e",${ONE}]`, [`452-["e",${ONE}]`, bytes]], stays),
  ...inside('BINARY_EVENT', ['450-["e"]', '45["e"]', '45-["e"]', '451["e"]', '45x-["e"]', '451.5-["e"]', '45-1-["e"]', '4511-["e"]', '45999999999999-["e"]', '45', '451', '45,1-["e"]'], malformed),
  ...inside('BINARY_EVENT', ['451-{}', '451-[]', '451-["disconnect"]', '451-["e"', '451-[null]'], malformed),
  ...inside('BINARY_EVENT', [['451-{} ', bytes], ['451-[] ', bytes], ['451-["disconnect"] ', bytes], ['451-["e" ', bytes], [`451-[${ONE}]`, bytes]], malformed),
  ...inside('BINARY_EVENT', ['1', '-1', '"0"', 'null', '{}'].map((num): [string, ...Step[]] => [`451-["e",{"_placeholder":true,"num":${num}}]`, bytes]), malformed),
  ...inside('BINARY_EVENT', [['451-["e",{"_placeholder":true}]', bytes]], malformed),
  ...inside('BINARY_EVENT', [[`451-/x,["e",${ONE}]`, bytes]], misplaced),
  ...inside('BINARY_EVENT', ['42["e"]', '430[]', '40', '40/x,', '41', '44"x"', `451-["e",${ONE}]`, '47'].map((between): [string, ...Step[]] => [`451-["e",${ONE}]`, between]), malformed),
  ['BINARY_EVENT', 'bytes that belong to nothing', ['40', got(1), bytes], malformed],
  ['BINARY_EVENT', 'one attachment too many', ['40', got(1), `451-["e",${ONE}]`, bytes, heardSomething, bytes], { ...malformed, heard: [[bytes]] }],

  ...inside('BINARY_ACK', [['42["ask"]', got(2), `461-0[${ONE}]`, bytes]], { ...replies(QUESTION), heard: [['answer', bytes]] }),
  ...inside('BINARY_ACK', [[`461-7[${ONE}]`, bytes], ['461-[1]', bytes], [`461-[${ONE}]`, bytes]], stays),
  ...inside('BINARY_ACK', ['46', '460-0[]', '46-0[]', '461', '4611-0[]', '461-{}'], malformed),
  ...inside('BINARY_ACK', [['461-0[{"_placeholder":true,"num":3}]', bytes]], malformed),

  ...inside('CONNECT_ERROR', ['44', '44{"message":"x"}', '44"x"', '44/x,"x"'], misplaced),

  ...inside('DISCONNECT', ['41', '41/', '41/,', '411', '41/,1', '41 '], leaves),
  ...inside('DISCONNECT', ['41[]', '41{}', '41"x"', '41null', '41x', '411[]', '41/,{}'], malformed),
  ...inside('DISCONNECT', ['41/x', '41/x,'], misplaced),
  ['DISCONNECT', 'and back', ['40', got(1), '41', left, '40', got(2), '421["auth"]'], { ...leaves, got: [ACCEPTED, ACCEPTED, '431[{}]'] }],
  ...['42["e"]', '430[]', '41', '44"x"', '42/x,["e"]'].map((after): Case => ['DISCONNECT', `and ${after} behind it`, ['40', got(1), '41', left, after], { ...leaves, end: 'closed' }]),
  ['DISCONNECT', 'of the server', ['40', got(1), '42["kick"]'], { ...replies('41'), end: 'closed', reason: 'server namespace disconnect' }],

  ...inside('unknown types', ['4', '4 ', '47', '48', '49', '4a', '4[', '4"', '4-1', '4\u00f6'], malformed),
];

/** What we do otherwise, and why. */
const differences: Array<{ why: string; of: Record<string, Outcome> }> = [
  {
    why: 'a number is digits: Socket.IO takes whatever JavaScript makes a number of',
    of: {
      '40 ': closed,
      '40 {}': closed,
      '42 5["echo",1]': malformed,
      '41 ': malformed,
      [`45 1-["e",${ONE}]`]: malformed,
      [`45+1-["e",${ONE}]`]: malformed,
      [`451e0-["e",${ONE}]`]: malformed,
      [`450x1-["e",${ONE}]`]: malformed,
      '451-["e",{"_placeholder":true,"num":0.5}]': malformed,
    },
  },
  {
    why: 'an id of more than 64 bits is none: Socket.IO rounds it',
    of: {
      '4299999999999999999999999["echo"]': malformed,
      '4399999999999999999999999[]': malformed,
    },
  },
  {
    why: 'a packet with attachments is looked into when the last of them has come',
    of: Object.fromEntries(['451-{}', '451-[]', '451-["disconnect"]', '451-["e"', '451-[null]', '461-{}'].map((packet) => [packet, stays])),
  },
  {
    why: 'what a client says after its socket has left may have been on its way when the server said goodbye: it is ignored',
    of: { 'and 42["e"] behind it': leaves, 'and 430[] behind it': leaves, 'and 41 behind it': leaves, 'and 42/x,["e"] behind it': leaves },
  },
];

const different = new Map(differences.flatMap(({ of }) => Object.entries(of)));

describe.each<TransportName>(['websocket', 'polling'])('over %s', (transport) => {
  test.each(cases)('%s: %s', async (_group, name, steps, expected) => {
    const theirs = { ...expected, ...(expected.reason && expected.reason in REASONS && { reason: REASONS[expected.reason] }) } as Outcome;
    expect(await outcome(await reference(), transport, steps, theirs)).toEqual(theirs);
    const own = different.get(name) ?? expected;
    expect(await outcome(await ours(), transport, steps, own)).toEqual(own);
  });
});

test('a difference is one of a case, which is the only one of its name', () => {
  const names = cases.map(([, name]) => name);
  for (const name of different.keys()) expect(names.filter((each) => each === name)).toHaveLength(1);
});
