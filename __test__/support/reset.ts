// The end of a connection by a reset, as of a peer that was killed.

import type { Socket } from 'node:net';

/**
 * Resets a connection; one that has not come about yet, or whose FIN is on its way, is closed. Node.js cannot reset
 * those: it keeps the handle of the latter for ever and does not exit.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
