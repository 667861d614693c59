// One client that sends faster than JavaScript hears does not keep JavaScript from everything else.

import { connect, drained, start } from '../support/harness';
import { Program } from '../support/program';

const EVENTS = 100_000;
const LISTENER_NS = 20_000n;
/** Turns of the event loop that a flood of two seconds leaves at the very least. */
const TURNS = 10;

test('timers run between the events of a flood, and every event is heard in order', async () => {
  const running = await start();
  let heard = 0;
  let outOfOrder = 0;
  const turns = { setImmediate: 0, setTimeout: 0 };
  let last!: () => void;
  const everything = new Promise<void>((done) => (last = done));
  const other = await connect(running, { transports: ['websocket'] });
  running.service.use((socket, next) => {
    socket.on('work', (index: number) => {
      if (index !== heard++) outOfOrder++;
      if (heard === EVENTS) last();
      const since = process.hrtime.bigint();
      while (process.hrtime.bigint() - since < LISTENER_NS);
    });
    next();
  });

  const flooding = () => heard < EVENTS;
  const turn = (kind: keyof typeof turns, again: () => void) => {
    if (heard > 0 && flooding()) turns[kind]++;
    if (flooding()) again();
  };
  (function immediate() {
    setImmediate(() => turn('setImmediate', immediate));
  })();
  (function timeout() {
    setTimeout(() => turn('setTimeout', timeout), 0);
  })();

  new Program('flood.js', running.url, EVENTS, 'work', 200);
  await everything;
  expect(outOfOrder).toBe(0);
  expect(turns.setImmediate).toBeGreaterThan(TURNS);
  expect(turns.setTimeout).toBeGreaterThan(TURNS);
  await drained(running.service, other);
});
