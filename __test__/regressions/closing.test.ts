// Disconnecting from within the `connection` listener, and with much still to read.

import { connect, next, open, received, record, start, transportSettings } from '../support/harness';
import { startReference } from '../support/http';

const { RawClient } = require('../support/raw-client.js');

const ways = ['disconnectUser', 'disconnect(true)', 'disconnect()'] as const;

describe.each(transportSettings)('over %s', (_name, transports) => {
  test.each(ways)('%s in the connection listener comes after the connection and what was sent', async (way) => {
    const { io, url } = await startReference();
    io.on('connection', (socket) => {
      socket.emit('bye', 1);
      socket.disconnect(way !== 'disconnect()');
    });
    const running = await start();
    running.service.on('connection', (user) => {
      const socket = running.service.getSocket(user.socketId)!;
      void running.service.emitToSocket(user.socketId, 'bye', 1);
      if (way === 'disconnectUser') void running.service.disconnectUser(user.id, 'banned');
      else socket.disconnect(way === 'disconnect(true)');
    });
    const disconnects = record(running.service, 'disconnect');
    const expected = await lifeOf(url);
    expect(await lifeOf(running.url)).toEqual(expected);
    expect(expected).toEqual(['connect', 'bye', 'disconnect: io server disconnect']);
    expect(disconnects.map(([, reason]) => reason)).toEqual([way === 'disconnectUser' ? 'banned' : 'server namespace disconnect']);
    expect(running.service.getConnectedUsers()).toEqual([]);
  });

  async function lifeOf(url: string): Promise<string[]> {
    const client = open(url, { transports });
    const life: string[] = [];
    client.on('connect', () => life.push('connect'));
    client.onAny((event) => life.push(event));
    const gone = next(client, 'disconnect');
    life.push(`disconnect: ${(await gone)[0]}`);
    return life;
  }
});

test('disconnectUser delivers a large backlog to a client that reads slowly', async () => {
  const PACKETS = 80;
  const running = await start();
  const client = new RawClient(running.url);
  const id = await client.connect();
  client.stopReading();
  for (let index = 0; index < PACKETS; index++) await running.service.emitToSocket(id, 'bulk', 'x'.repeat(100_000));
  await running.service.emitToSocket(id, 'last', 1);
  const other = await connect(running);
  await running.service.disconnectUser(id, 'bye');
  expect(received(other, 'bulk')).toEqual([]);

  // Reading at the pace of a slow line, a little at a time; never a pause that a server may take for the end.
  const closed = client.next('closed');
  const read = setInterval(() => {
    client.readOn();
    client.ws._socket.once('data', () => client.stopReading());
  }, 60);
  await closed;
  clearInterval(read);
  const packets = client.packets.filter((packet: string) => packet.startsWith('4'));
  expect(packets.filter((packet: string) => packet.startsWith('42["bulk"')).length).toBe(PACKETS);
  expect(packets.slice(-2).map((packet: string) => packet.slice(0, 20))).toEqual(['42["last",1]', '41']);
});
