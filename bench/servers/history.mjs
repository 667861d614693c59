// Commands about message history: fills rooms, times pages, weighs messages, sends as fast as it goes.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const USER = 'history-user';
const TEXT_BYTES = 64;
const PAGE = 50;
const PAGES = 2_000;
const SENDS_PER_TURN = 256;

let emptyBytes;

export const commands = {
  /** Before the load: what the server weighs without it. After it: what the messages that clients have sent add. */
  weighHistory(service) {
    service.getStats(); // lets go of what it counts with
    if (emptyBytes === undefined) {
      emptyBytes = residentBytes();
      return undefined;
    }
    const messages = service.listRooms().reduce((sum, { id }) => sum + service.getRoomStats(id).messageCount, 0);
    return { messages, bytes: residentBytes() - emptyBytes };
  },

  /** Fills all rooms step by step to each of the lengths; at each, times pages and weighs what is kept. */
  async fillHistory(service, { lengths }) {
    const rooms = service.listRooms().map(({ id }) => id);
    const before = residentBytes();
    const steps = [];
    for (const length of lengths) {
      const start = performance.now();
      const sent = await fill(service, rooms, steps.at(-1)?.length ?? 0, length);
      const seconds = (performance.now() - start) / 1e3;
      for (const room of rooms) {
        const { messageCount } = service.getRoomStats(room);
        if (messageCount !== length) throw new Error(`a room keeps ${messageCount} of ${length} messages`);
      }
      service.getStats();
      steps.push({
        length,
        sendsPerSecond: sent / seconds,
        bytesPerMessage: (residentBytes() - before) / (rooms.length * length),
        newestUs: timePages(service, rooms, 0),
        middleUs: timePages(service, rooms, length / 2),
      });
    }
    return { rooms: rooms.length, steps };
  },

  /** Sends to one room after the other for `seconds`, after as long again as the retention takes to begin. */
  async sendHistory(service, { seconds, warmUpPerRoom }) {
    const rooms = service.listRooms().map(({ id }) => id);
    await fill(service, rooms, 0, warmUpPerRoom);
    const start = performance.now();
    let sent = 0;
    while (performance.now() - start < seconds * 1e3) {
      for (let index = 0; index < SENDS_PER_TURN; index += 1) {
        await service.sendMessage(rooms[sent % rooms.length], USER, text(sent));
        sent += 1;
      }
      await nextTurn();
    }
    const sendsPerSecond = sent / ((performance.now() - start) / 1e3);
    return { sendsPerSecond, kept: rooms.reduce((sum, room) => sum + service.getRoomStats(room).messageCount, 0) };
  },
};

/** Sends in turn until each room has had `to` messages; resolves with how many were sent. */
async function fill(service, rooms, from, to) {
  for (let number = from; number < to; number += 1) {
    for (const room of rooms) await service.sendMessage(room, USER, text(number));
    await nextTurn();
  }
  return rooms.length * (to - from);
}

/** A string of its own, as one that came from the network is. */
function text(number) {
  return Buffer.from(String(number).padStart(TEXT_BYTES, 'x')).toString('latin1');
}

/** Median time of a page in microseconds, each from a random room. */
function timePages(service, rooms, offset) {
  const times = [];
  for (let index = 0; index < PAGES; index += 1) {
    const room = rooms[Math.floor(Math.random() * rooms.length)];
    const start = performance.now();
    const page = service.getRoomMessages(room, PAGE, offset);
    times.push((performance.now() - start) * 1e3);
    if (page.length !== PAGE) throw new Error(`a page of ${page.length} messages`);
  }
  return times.sort((a, b) => a - b)[PAGES >> 1];
}

/** Garbage is not history. */
function residentBytes() {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage.rss();
}
