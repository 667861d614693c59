// A worker thread that serves, and is terminated while clients send: the process goes on, and another serves at its port.

import { connect, next, open } from '../support/harness';
import { eventually } from '../support/eventually';
import { Program } from '../support/program';

const ROUNDS = 4;
const CLIENTS = 20;

/** Of the process: threads, and descriptors. */
type Counted = [threads: number, descriptors: number];

test.each(['node', 'native'])('by the door %s', async (door) => {
  const program = new Program('workers.js', door);
  let asked = 0;
  const ask = async (what: string) => {
    const answer = program.said(`${what} ${++asked} `);
    program.tell(`${what} ${asked}`);
    return (await answer).split(' ').slice(2);
  };
  const count = async () => (await ask('count')).map(Number) as Counted;
  let port = '0';
  let first: Counted | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    const [given, roomId] = await ask('begin');
    // The first may choose; the others have its port at once.
    if (round === 0) port = given!;
    expect(given).toBe(port);
    const url = `http://127.0.0.1:${port}`;
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, (_, index) => connect(url, { transports: [index % 2 ? 'polling' : 'websocket'] })),
    );
    const gone = clients.map((client) => next(client, 'disconnect'));
    let answered = 0;
    for (const client of clients) {
      const talk = () => {
        answered++;
        client.emit('message', { roomId, content: 'x'.repeat(1_000) });
        client.emit('work', talk);
      };
      talk();
    }
    // And some that are just coming.
    for (let index = 0; index < CLIENTS; index++) open(url, { transports: ['websocket'] });
    await eventually(() => expect(answered).toBeGreaterThan(10 * CLIENTS));
    await ask('terminate');
    await Promise.all(gone);
    first ??= await eventually(async () => {
      const [before, now] = [await count(), await count()];
      expect(now).toEqual(before);
      return now;
    });
    await eventually(async () => {
      const [threads, descriptors] = await count();
      expect(threads).toBeLessThanOrEqual(first![0]);
      expect(descriptors).toBeLessThanOrEqual(first![1]);
    });
  }
}, 60_000);
