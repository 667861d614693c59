// What callers read of the native side. It shows at once what has happened there, which JavaScript may not have been told
// of yet; so each read has that told before its caller's next `await` continues.

'use strict';

/** Methods of the native side that show how things are. */
const READS = [
  'hasRoom',
  'isConnected',
  'keptMessages',
  'lastActivity',
  'memberChanges',
  'onlineSocket',
  'otherStats',
  'roomIds',
  'roomMembers',
  'roomNames',
  'roomStats',
  'selected',
  'socketRooms',
  'socketsOf',
  'stats',
  'user',
  'users',
  'watch',
];

/** Those that look at the clock. */
const DATED = new Set(['keptMessages', 'roomStats', 'stats']);

class Reads {
  #native;
  #hearing;

  static {
    for (const name of READS) {
      const isDated = DATED.has(name);
      this.prototype[name] = function (...args) {
        if (isDated) this.#native.setTime(Date.now());
        const shown = this.#native[name](...args);
        this.#hearing.noticed();
        return shown;
      };
    }
  }

  constructor(native) {
    this.#native = native;
  }

  /** Says who tells what has happened. */
  heardBy(hearing) {
    this.#hearing = hearing;
  }
}

module.exports = { Reads };
