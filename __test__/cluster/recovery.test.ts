// Clients of a cluster that lose their connection: they come back to their instance; to another one as new clients.

import { connectAs, enter, known, populated, startFleet } from '../support/fleet';
import { eventually } from '../support/eventually';
import { drained, next, open, received, record, type Client } from '../support/harness';
import { layLine } from '../support/line';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
const says = (client: Client) => client as unknown as { _pid?: string };

test('one that comes back to its instance has what all instances sent meanwhile', async () => {
  const fleet = await startFleet(2, { port: redis().port }, { connectionStateRecovery: true });
  const [here, there] = fleet as [(typeof fleet)[0], (typeof fleet)[0]];
  const room = await here.service.createRoom('room');
  await known(fleet, room.id);
  const line = await layLine(here.port);
  const client = await connectAs({ ...here, url: line.url }, 'ada', { reconnection: true, reconnectionDelay: 10 });
  const { id } = client;
  await enter(client, room.id);
  await populated(fleet, room.id, [client]);
  const [events, left] = [record(there.service, 'disconnect'), record(there.service, 'room:leave')];
  const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
  line.close();
  await gone;
  await there.service.broadcastToRoom(room.id, 'n', 0);
  await there.service.emitToSocket(id!, 'n', 1);
  await there.service.broadcastToUsers(['ada'], 'n', 2);
  await there.service.sendMessage(room.id, 'bob', 'hello');
  expect([there.service.isUserOnline('ada'), there.service.getRoom(room.id)!.members.has(id!)]).toEqual([true, true]);
  await eventually(() => expect(here.service.getRoomMessages(room.id)).toHaveLength(1));
  line.mend();
  await back;
  await drained(here.service, client);
  expect([client.recovered, received(client, 'n'), received(client, 'message').length]).toEqual([true, [0, 1, 2], 1]);
  expect([events, left]).toEqual([[], []]);
});

test('one that comes to another instance is new there, and has gone from where it was', async () => {
  const fleet = await startFleet(2, { port: redis().port }, { connectionStateRecovery: true });
  const [here, there] = fleet as [(typeof fleet)[0], (typeof fleet)[0]];
  const room = await here.service.createRoom('room');
  await known(fleet, room.id);
  const client = await connectAs(here, 'ada');
  const { id } = client;
  await enter(client, room.id);
  await populated(fleet, room.id, [client]);
  const away = next(here.service, 'away');
  client.io.engine.close();
  await away;
  const end = next(here.service, 'disconnect');
  const moved = open(there, { transports: ['websocket'], auth: { userId: 'ada' } });
  says(moved)._pid = says(client)._pid;
  await next(moved, 'connect');
  expect([(await end)[0].socketId, moved.recovered, moved.id === id]).toEqual([id, false, false]);
  await populated(fleet, room.id, []);
  expect(there.service.getUserSockets('ada')).toEqual([moved.id]);
});
