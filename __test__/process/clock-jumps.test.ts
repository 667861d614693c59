// The clock of the machine is set an hour ahead, or back, while the service runs: tokens follow it, and nothing else does.

import { connect, door, next, nextWhere, record, type Client, type TransportName } from '../support/harness';
import { eventually } from '../support/eventually';
import { newPrefix, startMember, statsOf } from '../support/fleet';
import { MovedClock } from '../support/moved-clock';
import { Program } from '../support/program';
import { sharedRedis } from '../support/redis';

const HOUR = 3_600;
const HOUR_MS = HOUR * 1_000;
const BEAT = 200;
const options = { pingInterval: 200, pingTimeout: 500, limits: { eventsPerSecond: 20, eventsBurst: 20 } };
const jumps: Array<[how: string, seconds: number]> = [
  ['ahead', HOUR],
  ['back', -HOUR],
];

class Clocked {
  readonly clock = new MovedClock();
  readonly program: Program;
  url = '';
  roomId = '';
  #asked = 0;

  private constructor(config: object) {
    const by = door === 'native' || door === 'tls' ? 'native' : 'node';
    this.program = new Program(['clocked.js', { env: this.clock.env }], by, JSON.stringify(config));
  }

  static async start(config: object): Promise<Clocked> {
    const clocked = new Clocked(config);
    const [, port, roomId] = (await clocked.program.said('port ')).split(' ');
    clocked.url = `http://127.0.0.1:${port}`;
    clocked.roomId = roomId!;
    return clocked;
  }

  async ask(what: string): Promise<any> {
    const line = `${++this.#asked} ${what}`;
    const answer = this.program.said(`${line} `);
    this.program.tell(line);
    return JSON.parse((await answer).slice(line.length + 1));
  }

  gone = () => this.program.lines.filter((line) => line.startsWith('disconnect'));
}

const enter = async (server: Clocked, userId: string, lifeMs?: number, transport: TransportName = 'websocket') => {
  const client = await connect(server.url, { transports: [transport], auth: { userId, lifeMs } });
  expect(await client.emitWithAck('room:join', { roomId: server.roomId })).toMatchObject({ ok: true });
  return client;
};

/** More heartbeats than a client that is not heard may miss. */
async function heartbeats(clients: Client[]): Promise<void> {
  for (let beat = 0; beat < 5; beat++) await Promise.all(clients.map(({ io }) => next(io, 'ping')));
}

/** Sends until it is refused for being too many. */
async function exceed(client: Client, roomId: string): Promise<void> {
  const refused = next(client, 'error');
  for (let count = 0; count < 100; count++) client.emit('typing', { roomId, isTyping: count % 2 === 0 });
  await refused;
}

test.each(jumps)('%s by an hour: nobody is lost, and rates, typing and messages go on', async (_how, seconds) => {
  const server = await Clocked.start(options);
  const short = await enter(server, 'short', HOUR_MS / 2);
  const [ann, bob] = [await enter(server, 'ann', 2 * HOUR_MS), await enter(server, 'bob', undefined, 'polling')];
  const flooder = await enter(server, 'flooder');
  await exceed(flooder, server.roomId);
  const shortGone = record(short, 'disconnect');
  const others = [record(ann, 'disconnect'), record(bob, 'disconnect'), record(flooder, 'disconnect')];

  server.clock.move(seconds);
  const now = await server.ask('now');
  expect(Math.round((now - Date.now()) / HOUR_MS)).toBe(seconds / HOUR);

  await heartbeats([ann, bob]);
  // A bucket that is filled by the time of day would stay empty for an hour.
  await eventually(async () => {
    expect(await flooder.timeout(1_000).emitWithAck('message', { roomId: server.roomId, content: 'again' })).toMatchObject({ ok: true });
  });
  const heard = nextWhere(bob, 'message', ({ content }) => content === 'after');
  expect(await ann.emitWithAck('message', { roomId: server.roomId, content: 'after' })).toMatchObject({ ok: true });
  expect(Math.round((Date.parse((await heard).timestamp) - Date.now()) / HOUR_MS)).toBe(seconds / HOUR);
  const typing = nextWhere(bob, 'typing', ({ userId }) => userId === 'ann');
  ann.emit('typing', { roomId: server.roomId, isTyping: true });
  expect((await typing).isTyping).toBe(true);
  expect((await server.ask('stats')).messagesPerMinute).toBeGreaterThanOrEqual(1);

  // The token of half an hour is over by the clock, when that says so, and no other.
  if (seconds > 0) {
    await eventually(() => expect(server.gone()).toEqual(['disconnect short token expired']));
    await eventually(() => expect(shortGone).toEqual([['io server disconnect', undefined]]));
  }
  // And home again, which is a jump, too.
  server.clock.move(0);
  await heartbeats([ann, bob]);
  expect(server.gone()).toEqual(seconds > 0 ? ['disconnect short token expired'] : []);
  expect(others).toEqual([[], [], []]);
  expect((await server.ask('stats')).activeConnections).toBe(seconds > 0 ? 3 : 4);
}, 30_000);

const redis = sharedRedis();

test.each(jumps)('of one of two instances, %s by an hour: neither takes the other for dead', async (_how, seconds) => {
  const place = { ...redis().address, keyPrefix: newPrefix(), heartbeatInterval: BEAT };
  const moved = await Clocked.start({ ...options, redis: place });
  const still = await startMember(place, { pingInterval: 200, pingTimeout: 500 });
  await still.service.ready();
  await eventually(async () => {
    expect(statsOf(still)).toMatchObject({ status: 'ready', instances: 2 });
    expect((await moved.ask('stats')).cluster).toMatchObject({ status: 'ready', instances: 2 });
  });
  const ann = await enter(moved, 'ann');
  const bob = await connect(still, { transports: ['websocket'], auth: { userId: 'bob' } });
  await eventually(async () => expect(await bob.emitWithAck('room:join', { roomId: moved.roomId })).toMatchObject({ ok: true }));
  const [changes, ends] = [record(still.service, 'cluster'), record(still.service, 'disconnect')];
  const across = async (content: string) => {
    for (const [from, to] of [
      [ann, bob],
      [bob, ann],
    ] as const) {
      const heard = nextWhere(to, 'message', (message) => message.content === content && message.userId === (from === ann ? 'ann' : 'bob'));
      from.emit('message', { roomId: moved.roomId, content });
      await heard;
    }
  };
  await across('before');
  for (const [turn, to] of [seconds, 0].entries()) {
    moved.clock.move(to);
    // More heartbeats than an instance may miss.
    await heartbeats([ann, bob]);
    await across(`after ${turn}`);
    expect(statsOf(still)).toMatchObject({ status: 'ready', instances: 2 });
    expect((await moved.ask('stats')).cluster).toMatchObject({ status: 'ready', instances: 2 });
    await eventually(async () => expect(await moved.ask(`members ${moved.roomId}`)).toBe(2));
  }
  expect([changes, ends, moved.gone()]).toEqual([[], [], []]);
  expect(still.service.isUserOnline('ann')).toBe(true);
}, 30_000);
