// JavaScript of the server stands still; what needs no JavaScript goes on. Shown by the order of events.

import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { afterTest, connect, received, type Client } from '../support/harness';

const BLOCK_MS = 3000;

describe('while JavaScript is blocked', () => {
  let server: ChildProcess;
  let events: string[];
  let url: string;
  let rooms: string[];
  let waiting: Array<{ name: string; done: () => void }> = [];

  const happened = (name: string) =>
    new Promise<void>((done) => {
      if (events.includes(name)) done();
      else waiting.push({ name, done });
    });

  function happens(name: string): void {
    events.push(name);
    waiting = waiting.filter((each) => each.name !== name || (each.done(), false));
  }

  beforeEach(async () => {
    events = [];
    waiting = [];
    server = fork(join(__dirname, '../support/programs/stall-server.js'));
    afterTest(async () => {
      const exited = new Promise((done) => server.once('exit', done));
      server.send({ command: 'stop' });
      await exited;
    });
    const [started] = (await new Promise<any[]>((done) => server.once('message', (...args) => done(args)))) as [any];
    url = `http://127.0.0.1:${started.port}`;
    rooms = started.rooms;
    server.on('message', (message: any) => happens(Object.keys(message)[0]!));
  });

  async function inRoom(): Promise<[Client, Client]> {
    const clients: [Client, Client] = [
      await connect(url, { transports: ['websocket'] }),
      await connect(url, { transports: ['websocket'] }),
    ];
    for (const client of clients) await client.emitWithAck('room:join', { roomId: rooms[0] });
    return clients;
  }

  async function block(): Promise<void> {
    server.send({ command: 'block', milliseconds: BLOCK_MS });
    await happened('blocked');
  }

  test('room messages go on', async () => {
    const [sender, reader] = await inRoom();
    await block();
    for (let index = 0; index < 100; index++) {
      const arrived = new Promise((done) => reader.once('message', done));
      await sender.emitWithAck('message', { roomId: rooms[0], content: `${index}` });
      await arrived;
    }
    happens('100 messages');
    await happened('unblocked');
    expect(events).toEqual(['blocked', '100 messages', 'unblocked']);
    const expected = Array.from({ length: 100 }, (_, index) => `${index}`);
    for (const client of [sender, reader]) {
      expect(received(client, 'message').map((message) => message.content)).toEqual(expected);
    }
  });

  test('typing, joins, leaves and relayed events go on', async () => {
    const [client, peer] = await inRoom();
    await block();
    const seen = (event: string) => new Promise((done) => peer.once(event, done));
    let arrived = seen('typing');
    client.emit('typing', { roomId: rooms[0], isTyping: true });
    await arrived;
    arrived = seen('document:edit');
    client.emit('document:edit', { roomId: rooms[0], changes: [1] });
    await arrived;
    arrived = seen('user:left');
    await client.emitWithAck('room:leave', { roomId: rooms[0] });
    await arrived;
    arrived = seen('user:joined');
    await client.emitWithAck('room:join', { roomId: rooms[0] });
    await arrived;
    arrived = seen('user:left');
    client.disconnect();
    await arrived;
    happens('everything');
    await happened('unblocked');
    expect(events).toEqual(['blocked', 'everything', 'unblocked']);
  });

  test('heartbeats go on', async () => {
    const [client] = await inRoom();
    await block();
    for (let beat = 0; beat < 3; beat++) await new Promise<void>((done) => client.io.once('ping', done));
    happens('3 heartbeats');
    await happened('unblocked');
    expect(events).toEqual(['blocked', '3 heartbeats', 'unblocked']);
    expect(client.connected).toBe(true);
  });

  test('a client that has upgraded from polling is served like one that began with websocket', async () => {
    const clients = [await connect(url), await connect(url)];
    for (const client of clients) {
      if (client.io.engine.transport.name !== 'websocket') {
        await new Promise<void>((done) => client.io.engine.once('upgrade', () => done()));
      }
      await client.emitWithAck('room:join', { roomId: rooms[1] });
    }
    await block();
    const arrived = new Promise((done) => clients[1]!.once('message', done));
    clients[0]!.emit('message', { roomId: rooms[1], content: 'hi' });
    await arrived;
    happens('message');
    await happened('unblocked');
    expect(events).toEqual(['blocked', 'message', 'unblocked']);
  });
});
