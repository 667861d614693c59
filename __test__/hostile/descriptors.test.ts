// A process that may open no more descriptors: who is there is served, and others come in when there are some again.

import { connect, door, next, nextWhere, received, urlOf, type Client } from '../support/harness';
import { eventually } from '../support/eventually';
import { Victim } from '../support/victim';
import { FrameWire } from '../support/frames';
import { upgradeHead, Wire } from '../support/wire';

const transports: ['websocket'] = ['websocket'];
const DESCRIPTORS = 100;
const CALM_MS = 1_000;

let victim: Victim;
let bystander: Client;
let sent = 0;

beforeEach(async () => {
  sent = 0;
  victim = await Victim.start({}, { descriptors: DESCRIPTORS });
  bystander = await connect(urlOf(victim.port), { transports });
  // What is loaded later takes descriptors, too.
  await victim.hasDescriptors();
});

/** Broadcasts to those who are there. */
async function served(): Promise<void> {
  const last = (sent += 10) - 1;
  const arrived = nextWhere(bystander, 'bulk', ({ number }) => number === last);
  await victim.bulk(10, 100);
  await arrived;
}

async function exhaust(say: string): Promise<Wire[]> {
  const wires: Wire[] = [];
  for (let count = 0; count < 2 * DESCRIPTORS; count++) {
    const wire = new Wire(victim.port);
    wires.push(wire);
    if (say !== '') await wire.write(say);
  }
  return wires;
}

test.each([
  ['say nothing', ''],
  ['ask for a WebSocket', upgradeHead()],
])('who is there is served while %s, nothing spins, and others come in afterwards', async (_what, say) => {
  const wires = await exhaust(say);
  // Node.js closes whom it has no descriptor for; a door of the service lets them wait.
  if (door === 'native' || door === 'tls') await eventually(async () => expect(await victim.hasDescriptors()).toBe(false));
  else await eventually(() => expect(wires.some((wire) => wire.socket.closed)).toBe(true));
  for (let turn = 0; turn < 10; turn++) await served();
  const before = await victim.cpu();
  await new Promise((done) => setTimeout(done, CALM_MS));
  // An accept loop that does not wait takes all of it.
  expect((await victim.cpu()) - before).toBeLessThan(CALM_MS * 500);
  await served();
  // Some were let in, and whoever was answered otherwise may come again.
  const answers = wires.filter(({ received }) => received.length > 0).map(({ text }) => text.slice(0, 13));
  expect(answers.filter((start) => start !== 'HTTP/1.1 101 ' && start !== 'HTTP/1.1 503 ')).toEqual([]);
  // Once each time that it begins.
  expect((await victim.warnings()).length).toBeLessThan(5);
  for (const wire of wires) wire.socket.destroy();
  await Promise.all(wires.map(({ closed }) => closed));
  await eventually(async () => expect(await victim.stats()).toMatchObject({ activeConnections: 1 }));
  const late = await connect(urlOf(victim.port), { transports });
  const gone = next(late, 'disconnect');
  late.disconnect();
  await gone;
  await FrameWire.connected(victim.port);
  expect(bystander.connected).toBe(true);
  expect(received(bystander, 'bulk').map(({ number }) => number)).toEqual(Array.from({ length: sent }, (_, index) => index));
}, 30_000);
