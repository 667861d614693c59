// All rows. A row that can run has:
//   id, what         its name and the work it measures; `G1.100` is the point 100 of the series `G1`
//   peers            the programs that take part, keys of `peers.mjs`
//   rooms            rooms the server makes, a number or a function of the options; their ids go to the load generator
//   server           further arguments of the server program
//   load(options, peer)  arguments of the load generator; or instead
//   commands(options)  what the server does without clients
//   before, after    commands to the server on either side of the load
//   figures          what is read from each report (the server's answers are in `report.server`); `beside` are columns
//                    read from native's reports; a target is `min`, `max` (inclusive) or `below`, a plain number or,
//                    with `times`, a multiple of that column's figure, or with `over`, so much more than it;
//                    `capacity` reads from F's reports how much of it the generator takes
//   serverCores, loadCores  cores other than 0 and 1, the former by peer
//   inCluster        a Redis and a second instance, to which `--far-clients` of the load go
//   isThroughput     the figure is worth something only while the generator has time left
//   settings         of the servers, see `peers.mjs`
//   maxRounds        for rows that take very long
//   note             what a reader of the table has to know

import { rows as broadcast } from './broadcast.mjs';
import { rows as calls } from './calls.mjs';
import { rows as chat } from './chat.mjs';
import { rows as cluster } from './cluster.mjs';
import { rows as connections } from './connections.mjs';
import { rows as growth } from './growth.mjs';
import { rows as heartbeat } from './heartbeat.mjs';
import { rows as history } from './history.mjs';
import { rows as listener } from './listener.mjs';
import { rows as polling } from './polling.mjs';
import { rows as recovery } from './recovery.mjs';
import { rows as scale } from './scale.mjs';
import { rows as tls } from './tls.mjs';

const LETTERS = 'PSXHGR';
const order = ({ id }) => {
  const [number, point = 0] = id.slice(1).split('.').map(Number);
  return (LETTERS.indexOf(id[0]) * 1_000 + number) * 1_000_000 + point;
};

export const rows = [
  ...broadcast, ...calls, ...chat, ...cluster, ...connections, ...growth, ...heartbeat, ...history, ...listener, ...polling,
  ...recovery, ...scale, ...tls,
].sort((a, b) => order(a) - order(b));
