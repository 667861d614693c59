// What a service lends its operators.

import type { AuthenticatedSocket, SocketLike } from '../../index.js';
import type { NativeService } from '../../binding.js';
import type { Report } from '../attempt.js';
import type { Reads } from '../native/reads.js';
import type { Cluster } from './cluster.js';
import type { Encoding } from './payload.js';

export interface Reach {
  native: NativeService;
  reads: Reads;
  encoding: Encoding;
  cluster: Cluster;
  /** The object of a socket that is connected here. */
  socket(socketId: string): AuthenticatedSocket | undefined;
  /** Sockets that were given by hand. */
  localSockets: ReadonlyMap<string, SocketLike>;
  assertOpen(): void;
  log(event: string, target: unknown): void;
  report: Report;
}
