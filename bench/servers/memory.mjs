// Commands about memory: what the process holds, and objects that JavaScript is made to hold.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');
const held = [];

export const commands = {
  /** How many clients are connected, and in rooms, all rooms together. Touches no user. */
  population(service) {
    const members = service.listRooms().reduce((sum, { id }) => sum + service.getRoomStats(id).memberCount, 0);
    return { connections: service.getStats().activeConnections, members };
  },

  /** Bytes in use without garbage. */
  weigh() {
    gc();
    gc(); // what the first one has finalized
    return process.memoryUsage();
  },

  /** A listener that keeps the user of each connection. */
  holdUsers(service) {
    service.on('connection', (user) => held.push(user));
  },

  /** Makes rooms that nobody is in. */
  async makeRooms(service, number) {
    for (let index = 0; index < number; index += 1) await service.createRoom(`empty-${index}`);
  },

  /** Asks for all users. */
  touchUsers(service) {
    return { users: service.getConnectedUsers().length };
  },

  /** Reads all sets of members. */
  touchRooms(service) {
    return { members: service.listRooms().reduce((sum, room) => sum + room.members.size, 0) };
  },

  /** Asks for all messages. */
  touchMessages(service) {
    const count = ({ id }) => service.getRoomMessages(id, service.getRoomStats(id).messageCount).length;
    return { messages: service.listRooms().reduce((sum, room) => sum + count(room), 0) };
  },
};
