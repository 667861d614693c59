// A CONNECT packet that is none, as Socket.IO treats it: the client is disconnected, nobody else notices.

import { afterTest, connect, drained, eventsDelivered, record, start, type Running } from '../support/harness';
import { handshake, raw, startReference } from '../support/http';

const { RawClient } = require('../support/raw-client.js');

const malformed = ['40{', '40[1,2', '40[1,2]', '40{"a":1}}', '40"x"', '40null', '40{},"secure":true'];

async function overWebSocket(url: string, packet: string): Promise<string[]> {
  const client = new RawClient(url);
  afterTest(() => client.terminate());
  await client.next('0{');
  const closed = client.next('closed');
  client.ws.send(packet);
  await closed;
  return client.packets.slice(1);
}

/** What the client is answered until its session is unknown. */
async function overPolling(port: number, packet: string): Promise<string[]> {
  const sid = await handshake(port);
  const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
  await raw(port, path, { method: 'POST', body: packet });
  const packets: string[] = [];
  for (;;) {
    const answer = await raw(port, path);
    if (answer.status === 400) return packets;
    packets.push(answer.body);
  }
}

let running: Running;
let connections: any[][];
let disconnects: any[][];

beforeEach(async () => {
  running = await start();
  connections = record(running.service, 'connection');
  disconnects = record(running.service, 'disconnect');
});

describe.each(malformed)('%s as CONNECT', (packet) => {
  test('over websocket ends that client and disturbs no other', async () => {
    const before = await connect(running);
    const { url } = await startReference();
    expect(await overWebSocket(running.url, packet)).toEqual(await overWebSocket(url, packet));
    await othersAreServed(before);
  });

  test('over polling ends that client and disturbs no other', async () => {
    const before = await connect(running, { transports: ['polling'] });
    const { port } = await startReference();
    const packets = await overPolling(running.port, packet);
    expect(packets.filter((each) => each.startsWith('4'))).toEqual([]);
    expect((await overPolling(port, packet)).filter((each) => each.startsWith('4'))).toEqual([]);
    await othersAreServed(before);
  });

  async function othersAreServed(before: Awaited<ReturnType<typeof connect>>): Promise<void> {
    const after = [await connect(running, { transports: ['websocket'] }), await connect(running, { transports: ['polling'] })];
    await drained(running.service, before, ...after);
    await eventsDelivered(running.service);
    const ids = [before, ...after].map((client) => client.id);
    expect(connections.map(([user]) => user.socketId)).toEqual(ids);
    expect(running.service.getConnectedUsers().map((user) => user.socketId).sort()).toEqual(ids.sort());
    expect(disconnects).toEqual([]);
  }
});
