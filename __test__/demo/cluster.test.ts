// `npm run cluster` as a person uses it: three servers behind one port, of which one is killed, and then Redis.

import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect, next, received, type Client } from '../support/harness';
import { eventually, within } from '../support/eventually';

let demo: ChildProcess;
let output: string[];
let url: string;

beforeEach(async () => {
  output = [];
  demo = spawn(process.execPath, [join(__dirname, '../../examples/chat/cluster.mjs')], {
    env: { ...process.env, PORT: '0', REDIS_URL: '' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  createInterface({ input: demo.stdout! }).on('line', (line) => output.push(line));
  url = (await printed(/(http:\/\/localhost:\d+)/))[1]!;
});

afterEach(async () => {
  const ended = new Promise((done) => demo.once('exit', done));
  if (demo.exitCode === null && demo.signalCode === null) {
    demo.stdin!.write('quit\n');
    await within(10_000, 'quit', ended).catch(() => demo.kill('SIGKILL'));
  }
  // Nothing to do, unless the demo could not end what it had started.
  for (const pid of pidsOf(output)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
});

const pidsOf = (lines: string[]) => lines.flatMap((line) => /\(pid (\d+)/.exec(line)?.[1] ?? []).map(Number);

/** A line that is printed, from the first or from a later one on. */
const printed = (pattern: RegExp, from = 0) =>
  eventually(() => {
    const line = output.slice(from).find((each) => pattern.test(each));
    if (!line) throw new Error(`${pattern} is not printed:\n${output.join('\n')}`);
    return pattern.exec(line)!;
  }, 15_000);

async function command(line: string, answer: RegExp): Promise<RegExpExecArray> {
  const from = output.length;
  demo.stdin!.write(`${line}\n`);
  return printed(answer, from);
}

/** A window: it enters, joins the room and joins it again when its connection was lost, as the page does. */
async function open(username: string): Promise<Client> {
  const client = await connect(url, {
    transports: ['websocket'],
    query: { username },
    reconnection: true,
    reconnectionDelay: 50,
  });
  await enter(client);
  client.io.on('reconnect', () => void client.once('connect', () => void enter(client)));
  return client;
}

async function enter(client: Client): Promise<void> {
  const { rooms } = await client.emitWithAck('lobby');
  const general = rooms.find(({ name }: { name: string }) => name === 'general');
  expect(await client.emitWithAck('room:join', { roomId: general.id })).toMatchObject({ ok: true });
  (client as any).roomId = general.id;
}

const say = (client: Client, content: string) =>
  client.emitWithAck('message', { roomId: (client as any).roomId, content });
const hears = (client: Client, content: string) =>
  eventually(
    () => expect(received(client, 'message').filter((message) => message.content === content)).toHaveLength(1),
    10_000,
  );
const serverOf = async (client: Client): Promise<number> =>
  Number(/\d+/.exec((await client.emitWithAck('lobby')).stats.instance)![0]);

test('people chat through one port; a server dies, Redis dies, and the chat goes on', async () => {
  const page = await (await fetch(url)).text();
  expect(page).toContain('data-transports="websocket"');
  const [alice, bob, carol] = [await open('Alice'), await open('Bob'), await open('Carol')];
  const places = await Promise.all([alice, bob, carol].map(serverOf));
  expect([...places].sort()).toEqual([1, 2, 3]);
  await eventually(async () => {
    const { rooms, people, stats } = await alice.emitWithAck('lobby');
    expect(rooms.map(({ name }: any) => name).sort()).toEqual(['general', 'random']);
    // By way of Redis, after those who are on the same server.
    expect(people.map(({ username }: any) => username).sort()).toEqual(['Alice', 'Bob', 'Carol']);
    expect(stats.cluster).toMatchObject({ status: 'ready', instances: 3 });
  });
  await say(alice, 'hello');
  for (const client of [alice, bob, carol]) await hears(client, 'hello');

  const gone = next(bob, 'disconnect');
  await command(`kill ${places[1]}`, new RegExp(`Server ${places[1]} has ended \\(SIGKILL\\)`));
  await within(3000, 'the disconnect', gone);
  await say(alice, 'is Bob there?');
  await hears(carol, 'is Bob there?');
  await eventually(() => expect(bob.connected).toBe(true));
  expect(await serverOf(bob)).not.toBe(places[1]);
  await eventually(async () => {
    const members = await bob.emitWithAck('rooms:open', { roomId: (bob as any).roomId });
    expect(members.messages.map(({ content }: any) => content)).toEqual(['hello', 'is Bob there?']);
  }, 10_000);
  await say(bob, 'here again');
  for (const client of [alice, carol]) await hears(client, 'here again');
  await command(`start ${places[1]}`, new RegExp(`Server ${places[1]} runs`));
  const dora = await open('Dora');
  expect(await serverOf(dora)).toBe(places[1]);

  await command('redis stop', /Redis has ended/);
  await eventually(
    async () => expect((await alice.emitWithAck('lobby')).stats.cluster.status).toBe('degraded'),
    10_000,
  );
  await say(alice, 'without Redis');
  await hears(alice, 'without Redis');
  expect(received(dora, 'message')).toEqual([]);
  await command('redis start', /Redis runs/);
  for (const client of [alice, bob, carol, dora]) await hears(client, 'without Redis');
  for (const client of [alice, carol, dora]) expect(client.connected).toBe(true);
  await command('status', /Redis: pid \d+/);
  await command('nonsense', /^Commands:/);
  await command('start 9', /servers 1 to 3/);
}, 60_000);

test('it ends with everything that it started', async () => {
  const pids = pidsOf(output);
  expect(pids).toHaveLength(4);
  for (const pid of pids) expect(process.kill(pid, 0)).toBe(true);
  const ended = new Promise<number | null>((done) => demo.once('exit', done));
  demo.kill('SIGTERM');
  expect(await within(15_000, 'the end', ended)).toBe(0);
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
}, 30_000);
