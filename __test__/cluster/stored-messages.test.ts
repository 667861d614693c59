// deliverMessages: false in a cluster: sendMessage reaches every history, and no client of any server.

import { connect, received, type Client } from '../support/harness';
import { eventually, within } from '../support/eventually';
import {
  at,
  connectAs,
  enter,
  known,
  newPrefix,
  placesOf,
  populated,
  settled,
  startFleet,
  startMember,
  watch,
} from '../support/fleet';
import { startPeer } from '../support/instances';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();

test('what the application sends is stored everywhere and sent to nobody; what a client sends is delivered', async () => {
  const address = at(redis().address, newPrefix());
  const peer = await startPeer({ redis: redis().address, key: address.keyPrefix!, client: 'redis' });
  const config = { deliverMessages: false, history: { persist: true } };
  const fleet = await startFleet(2, address, config);
  const [here, there] = fleet.map(({ service }) => service);
  const room = await here!.createRoom('chat');
  await known(fleet, room.id);
  const alice = await connectAs(fleet[0]!, 'alice');
  const bob = await connectAs(fleet[1]!, 'bob');
  const paul = await connect(peer, { transports: ['websocket'], auth: { userId: 'paul' } });
  for (const client of [alice, bob, paul]) await enter(client, room.id);
  await populated(fleet, room.id, [alice, bob]);
  const everyone: Client[] = [alice, bob, paul];
  /** What everyone has received, when what was sent to the room before has arrived. */
  const contents = async () => {
    const marker = `marker ${Math.random()}`;
    for (const service of [here!, there!]) await service.broadcastToRoom(room.id, marker, 1);
    await eventually(() => {
      for (const client of everyone) expect(received(client, marker)).toHaveLength(2);
    });
    return everyone.map((client) => received(client, 'message').map(({ content }) => content));
  };
  await settled(fleet, alice, bob);
  const happened = watch(fleet);

  const first = await here!.sendMessage(room.id, 'server', 'first', 'image', { bytes: Buffer.from([1, 2]) });
  const second = await there!.sendMessage(room.id, 'server', 'second');
  expect(await contents()).toEqual([[], [], []]);
  await settled(fleet, alice, bob);
  const stored = (messages: any[]) => messages.map(({ id, content }) => [id, content]).sort();
  const both = stored([first, second]);
  for (const service of [here!, there!]) expect(stored(service.getRoomMessages(room.id))).toEqual(both);
  const found = there!.getRoomMessages(room.id).find(({ id }) => id === first.id);
  expect(found).toEqual(first);
  expect(placesOf(happened, 'message')).toEqual([0, 1]);

  expect(await alice.emitWithAck('message', { roomId: room.id, content: 'of a client' })).toMatchObject({ ok: true });
  const all = ['of a client'];
  await eventually(async () => expect(await contents()).toEqual([all, all, all]));

  const late = await startMember(address, config);
  await within(10_000, 'ready()', late.service.ready());
  await Promise.all([here!.shutdown(), there!.shutdown()]);
  const before = stored(late.service.getRoomMessages(room.id));
  expect(before).toHaveLength(3);
  await late.service.shutdown();
  const again = await startMember(address, config);
  await within(10_000, 'ready()', again.service.ready());
  expect(stored(again.service.getRoomMessages(room.id))).toEqual(before);
});
