// Commands about a cluster: users without connections, and when this instance knows what others hold.

import { EventEmitter } from 'node:events';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** Users between two turns of the event loop. */
const BATCH = 100;
const LOOK_PERIOD_MS = 5;

/** A connection by hand, as small as one can be. */
class Socket extends EventEmitter {
  constructor(number) {
    super();
    this.id = `socket-${String(number).padStart(14, '0')}`;
    this.userId = `user-${number}`;
    this.user = { username: `User ${number}` };
  }
}

export const commands = {
  /** Connects that many users by hand, in turn over the rooms. */
  async fill(service, { users, rooms }) {
    for (let number = 0; number < users; number += 1) {
      const socket = new Socket(number);
      await service.handleConnection(socket);
      await service.joinRoom(socket.id, rooms[number % rooms.length]);
      if (number % BATCH === 0) await nextTurn();
    }
    return { users: service.getStats().activeConnections };
  },

  /** Waits until rooms that another instance has created are known here; a peer without a directory is told of them. */
  async meetRooms(service, roomIds) {
    for (const roomId of roomIds) {
      service.adoptRoom?.(roomId);
      while (!service.getRoom(roomId)) await sleep(LOOK_PERIOD_MS);
    }
  },

  /** Waits until all rooms together have so many members; answers how long after the process began. */
  async meetMembers(service, members) {
    const count = () => service.listRooms().reduce((sum, { id }) => sum + service.getRoomStats(id).memberCount, 0);
    while (count() < members) await sleep(LOOK_PERIOD_MS);
    return performance.now();
  },

  /** What the cluster says of itself. */
  clusterState(service) {
    return service.getStats().cluster;
  },
};
