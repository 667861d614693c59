// Clients that make the service hold large things: the heaviest go, memory has a bound, and comes back.

import { connect, nextWhere, received, urlOf } from '../support/harness';
import { eventually } from '../support/eventually';
import { Victim } from '../support/victim';
import { frame, FrameWire } from '../support/frames';
import { type Wire } from '../support/wire';

const LARGE = 900_000;
const TOTAL = 16 << 20;
/** More than anything here comes to. */
const NO_BOUND = 2 ** 32;
/** What connections, copies on the way, the heap of JavaScript and holes between large buffers take besides. */
const BESIDES = 64 << 20;
/** Nothing but `maxTotalBytes` bounds anybody. */
const begin = (maxTotalBytes: number) =>
  Victim.start({
    history: { maxMessagesPerRoom: 1 },
    membershipEvents: 'none',
    limits: { maxTotalBytes, maxQueuedBytes: 1 << 30, stallMs: 120_000, messageTimeoutMs: 120_000 },
  });
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

async function clients(victim: Victim, count: number): Promise<Wire[]> {
  return Promise.all(upTo(count).map(() => FrameWire.connected(victim.port)));
}

/** When all have gone, so has what was kept for them. */
async function memoryComesBack(victim: Victim, wires: Wire[], before: number, within = BESIDES): Promise<void> {
  for (const wire of wires) wire.socket.destroy();
  await Promise.all(wires.map(({ closed }) => closed));
  await eventually(async () => expect((await victim.memory()) - before).toBeLessThan(within), 10_000);
}

test('messages that are never finished', async () => {
  const [WAVES, CLIENTS] = [14, 25];
  const unfinished = frame('text', `4${'x'.repeat(LARGE)}`, { fin: false });
  const attack = async (victim: Victim, arrived: (wave: number, wires: Wire[], before: number) => Promise<void>) => {
    const before = await victim.memory();
    const all: Wire[] = [];
    for (let wave = 1; wave <= WAVES; wave++) {
      const wires = await clients(victim, CLIENTS);
      all.push(...wires);
      await Promise.all(wires.map((wire) => wire.write(unfinished)));
      await eventually(() => arrived(wave, all, before), 10_000);
    }
    const most = (await victim.peak()) - before;
    await memoryComesBack(victim, all, before);
    return most;
  };
  const free = await begin(NO_BOUND);
  const control = await attack(free, async (wave, _all, before) => {
    expect((await free.memory()) - before).toBeGreaterThan(wave * CLIENTS * LARGE);
  });
  const bounded = await begin(TOTAL);
  const bystander = await connect(urlOf(bounded.port), { transports: ['websocket'] });
  const most = await attack(bounded, async (_wave, all) => {
    expect(all.filter(({ socket }) => !socket.closed).length * LARGE).toBeLessThan(TOTAL);
  });
  expect(control).toBeGreaterThan(WAVES * CLIENTS * LARGE);
  // It does not grow with the waves: what stays is what the allocator keeps of one or two of them.
  expect(most).toBeLessThan(control / 2);
  expect((await bounded.stats()).exceeded.maxTotalBytes).toBeGreaterThan(WAVES);
  expect(await bystander.emitWithAck('room:leave', { roomId: bounded.roomId })).toMatchObject({ ok: true });
}, 40_000);

test('the largest messages to a room in which several do not read: what they share counts once', async () => {
  const [COUNT, STOPPED] = [150, 8];
  const attack = async (victim: Victim) => {
    const reader = await connect(urlOf(victim.port), { transports: ['websocket'] });
    const stopped = await clients(victim, STOPPED);
    await eventually(async () => expect(await victim.members()).toBe(STOPPED + 1));
    const before = await victim.memory();
    for (const wire of stopped) wire.socket.pause();
    for (let sent = 5; sent <= COUNT; sent += 5) {
      const arrived = nextWhere(reader, 'bulk', ({ number }) => number === sent - 1);
      await victim.bulk(5, LARGE);
      await arrived;
    }
    // Who reads has all of it, in order.
    expect(received(reader, 'bulk').map(({ number }) => number)).toEqual(upTo(COUNT));
    expect(reader.connected).toBe(true);
    return { stopped, before, grown: async () => (await victim.memory()) - before };
  };
  const free = await begin(NO_BOUND);
  const control = await attack(free);
  expect(await control.grown()).toBeGreaterThan(COUNT * LARGE * 0.8);
  // Texts that JavaScript has not collected yet are left.
  await memoryComesBack(free, control.stopped, control.before, COUNT * LARGE * 0.7);

  const bounded = await begin(TOTAL);
  const measured = await attack(bounded);
  await eventually(async () => expect(await measured.grown()).toBeLessThan(TOTAL + BESIDES));
  expect((await bounded.stats()).exceeded.maxTotalBytes).toBeGreaterThan(0);
  await memoryComesBack(bounded, measured.stopped, measured.before, TOTAL + BESIDES);
}, 40_000);
