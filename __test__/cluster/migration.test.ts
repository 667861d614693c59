// Servers are replaced one after the other while clients chat: nothing that a client could have received is missing.

import { open, type Client } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { newPrefix } from '../support/fleet';
import { startInstance, startPeer, type ServerProcess } from '../support/instances';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
const PACE = 15;
const CHATTERS = 9;
/** What is sent so shortly before somebody's server ends may still be on its way to there. */
const FLIGHT = 500;

interface Stay {
  /** When the room was joined, and when the connection ended, if it did. */
  from: number;
  to: number;
  received: string[];
}

/** A person who chats without a pause and, when a server ends, goes to another. */
class Chatter {
  readonly stays: Stay[] = [];
  /** What was acknowledged: content → when it was sent, and when the answer came. */
  readonly sent = new Map<string, { at: number; acknowledged: number }>();
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #count = 0;
  #done = false;

  constructor(
    readonly name: string,
    readonly roomId: string,
    readonly servers: ServerProcess[],
    private turn: number,
  ) {}

  get inside(): boolean {
    return this.stays.at(-1)?.to === Infinity;
  }

  async enter(): Promise<void> {
    const server = this.servers[this.turn++ % this.servers.length]!;
    const client = open(server, { transports: ['websocket'], auth: { userId: this.name } });
    this.#client = client;
    const again = () => {
      clearInterval(this.#timer);
      client.removeAllListeners();
      if (!this.#done) setTimeout(() => void this.enter(), 20);
    };
    client.once('connect_error', again);
    client.once('connect', () => {
      client.emit('room:join', { roomId: this.roomId }, ({ ok }: { ok: boolean }) => {
        if (!ok) return void client.disconnect();
        const stay: Stay = { from: performance.now(), to: Infinity, received: [] };
        this.stays.push(stay);
        client.on('message', ({ content }) => stay.received.push(content));
        client.once('disconnect', () => (stay.to = performance.now()));
        this.#timer = setInterval(() => this.#say(client), PACE);
      });
    });
    client.once('disconnect', again);
  }

  /** Says no more, and stays. */
  hush(): void {
    clearInterval(this.#timer);
  }

  leave(): void {
    this.#done = true;
    this.hush();
    this.#client?.disconnect();
  }

  #say(client: Client): void {
    const content = `${this.name}|${this.#count++}`;
    const at = performance.now();
    client.emit('message', { roomId: this.roomId, content }, ({ ok }: { ok: boolean }) => {
      if (ok) this.sent.set(content, { at, acknowledged: performance.now() });
    });
  }
}

/** What somebody was there for all the time and did not receive, what came twice, and what came in the wrong order. */
function faultsOf(chatters: Chatter[]): string[] {
  const faults: string[] = [];
  for (const reader of chatters) {
    for (const stay of reader.stays) {
      const arrived = new Set(stay.received);
      if (arrived.size < stay.received.length) faults.push(`${reader.name} received something twice`);
      for (const writer of chatters) {
        const numbers = stay.received
          .filter((content) => content.startsWith(`${writer.name}|`))
          .map((content) => Number(content.split('|')[1]));
        if (numbers.some((number, index) => index > 0 && number < numbers[index - 1]!))
          faults.push(`${reader.name} received ${writer.name} out of order`);
        for (const [content, { at, acknowledged }] of writer.sent) {
          if (stay.from < at && acknowledged + FLIGHT < stay.to && !arrived.has(content))
            faults.push(`${reader.name} missed ${content}`);
        }
      }
    }
  }
  return faults;
}

/** Replaces the servers one by one while everyone chats. */
async function replace(
  old: ServerProcess[],
  roomId: string,
  startNew: (turn: number) => Promise<ServerProcess>,
): Promise<Chatter[]> {
  // The list that a load balancer would have.
  const servers = [...old];
  const chatters = Array.from(
    { length: CHATTERS },
    (_, index) => new Chatter(`chatter ${index}`, roomId, servers, index),
  );
  for (const chatter of chatters) await chatter.enter();
  const everyoneInside = () =>
    eventually(() => expect(chatters.filter(({ inside }) => inside)).toHaveLength(CHATTERS), 10_000);
  const chatFor = async (count: number) => {
    const before = chatters.map(({ sent }) => sent.size);
    await eventually(
      () => chatters.forEach(({ sent }, index) => expect(sent.size).toBeGreaterThan(before[index]! + count)),
      10_000,
    );
  };
  await everyoneInside();
  for (const [turn, leaving] of old.entries()) {
    await chatFor(20);
    servers.push(await startNew(turn));
    servers.shift();
    await within(10_000, 'the end of a server', leaving.stop());
    await everyoneInside();
  }
  await chatFor(20);
  for (const chatter of chatters) chatter.hush();
  await eventually(() => expect(faultsOf(chatters)).toEqual([]), 2 * FLIGHT);
  for (const chatter of chatters) chatter.leave();
  for (const { stays } of chatters) expect(stays.length).toBeGreaterThan(1);
  expect(chatters.reduce((sum, { sent }) => sum + sent.size, 0)).toBeGreaterThan(CHATTERS * 60);
  return chatters;
}

describe.each(['redis', 'ioredis'] as const)('three Node.js servers on %s', (client) => {
  let key: string;
  const node = () => startPeer({ redis: redis().address, key, client });
  const ours = async () => {
    const server = await startInstance({ redis: { ...redis().address, keyPrefix: key, heartbeatInterval: 300 } });
    await server.call('ready');
    return server;
  };
  beforeEach(() => {
    key = newPrefix();
  });

  test('replaced by others of their kind: the control', async () => {
    const old = await Promise.all([node(), node(), node()]);
    await replace(old, 'a room', node);
  }, 60_000);

  test('replaced by instances of this package', async () => {
    const old = await Promise.all([node(), node(), node()]);
    // The first instance comes before the change, to make the rooms; the others of its kind find them in Redis.
    const first = await ours();
    const room = await first.call('createRoom', 'chat');
    const started = [first];
    const chatters = await replace(old, room.id, async (turn) => {
      if (turn > 0) started.push(await ours());
      return started.at(-1)!;
    });
    const histories = await Promise.all(started.map((server) => server.call('getRoomMessages', room.id, 100_000)));
    const contents = histories.map((history: any[]) => new Set(history.map(({ content }) => content)));
    // What was said on instances of this package since the last one came is in the history of each.
    const last = chatters.flatMap(({ sent }) => [...sent.keys()].slice(-10));
    for (const history of contents) expect(last.filter((content) => !history.has(content))).toEqual([]);
  }, 60_000);

  test('come back, when a team changes its mind', async () => {
    const first = await ours();
    const room = await first.call('createRoom', 'chat');
    const old = [first, await ours(), await ours()];
    await replace(old, room.id, node);
  }, 60_000);
});
