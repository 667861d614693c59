// All rows, in the order of their numbers. A row that can run has:
//   id, what      its name and the work it measures
//   peers         the programs that take part
//   rooms         rooms the server makes; their ids go to the load generator
//   load(options) arguments of the load generator
//   figures       what is read from each report; a target is `min`, `max` (inclusive) or `below`, a plain number or,
//                 with `times`, a multiple of that peer's figure
// A row that cannot run has id, what and `unavailable`, the reason.

import { rows as broadcast } from './broadcast.mjs';
import { rows as chat } from './chat.mjs';
import { rows as connections } from './connections.mjs';
import { rows as unavailable } from './unavailable.mjs';

const number = ({ id }) => Number(id.slice(1));

export const rows = [...broadcast, ...chat, ...connections, ...unavailable].sort((a, b) => number(a) - number(b));
