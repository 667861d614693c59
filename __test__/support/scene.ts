// Two instances with clients in one room, while something happens to Redis.

import { nextWhere, received, type Client, type Running } from './harness';
import type { RedisConfig } from '../../index';
import { eventually, within } from './eventually';
import { connectAs, enter, forget, joined, known, newPrefix, populated, settled, startMember, statsOf } from './fleet';

/** A local message takes a millisecond or two; on a machine with other work to do it takes longer. */
export const LOCAL = 250;
/** Within this everything is as before, on any machine. */
export const BACK = 10_000;

export const pause = (milliseconds: number) => new Promise((done) => setTimeout(done, milliseconds));

export interface Scene {
  keyPrefix: string;
  fleet: Running[];
  clients: Client[];
  roomId: string;
}

/** Two members with two clients each, all in one room. */
export async function begin(address: RedisConfig, other: RedisConfig = {}): Promise<Scene> {
  const keyPrefix = newPrefix();
  const fleet = [await startMember({ ...address, keyPrefix }), await startMember({ ...address, ...other, keyPrefix })];
  await joined(fleet);
  const room = await fleet[0]!.service.createRoom('chat');
  await known(fleet, room.id);
  const clients = [];
  for (const [index, member] of [fleet[0]!, fleet[0]!, fleet[1]!, fleet[1]!].entries()) {
    clients.push(await connectAs(member, `user ${index}`));
    await enter(clients.at(-1)!, room.id);
  }
  await populated(fleet, room.id, clients);
  await settled(fleet, ...clients);
  forget(...clients);
  return { keyPrefix, fleet, clients, roomId: room.id };
}

/** A message of a client to its neighbour on the same instance: milliseconds until it is there. */
export async function localDelay(sender: Client, neighbour: Client, roomId: string, content: string): Promise<number> {
  const arrived = nextWhere(neighbour, 'message', (message) => message.content === content);
  const began = performance.now();
  sender.emit('message', { roomId, content });
  await within(3000, 'a local message', arrived);
  return performance.now() - began;
}

/** Contents of the messages that a client has received. */
export const contentsOf = (client: Client) => received(client, 'message').map(({ content }) => content as string);

/** What a sender of this name has numbered. */
export const numbered = (name: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `${name} ${from + index}`);

/** Waits until the members are in this state. */
export const become = (members: Running[], wanted: string) =>
  eventually(() => {
    for (const member of members) expect(statsOf(member).status).toBe(wanted);
  }, BACK);

/** A heartbeat may wait at any moment, but nothing waits for long. */
export const nothingMissing = (members: Running[]) =>
  eventually(() => {
    for (const member of members) {
      expect(statsOf(member)).toMatchObject({ queued: 0, dropped: 0, lost: 0, instances: members.length });
    }
  });

/** Nobody was disconnected, not even for a moment. */
export function expectStillConnected(clients: Client[], disconnects: any[][]): void {
  for (const client of clients) expect(client.connected).toBe(true);
  expect(disconnects).toEqual([]);
}

/** What these clients are told of their connections' end from now on. */
export const disconnectsOf = (clients: Client[]) => {
  const calls: any[][] = [];
  for (const client of clients) client.on('disconnect', (...args) => calls.push(args));
  return calls;
};
