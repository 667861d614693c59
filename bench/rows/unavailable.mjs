// Rows of the plan that have no measurement in this directory, and what each lacks.

export const rows = [
  {
    id: 'P4',
    what: 'JavaScript blocked for longer than both heartbeat times',
    unavailable: 'no workload keeps 1,000 clients through such a block and connects new ones behind it',
  },
  {
    id: 'P8',
    what: 'a message listener in JavaScript, 20 rooms of 50 clients',
    unavailable: 'the server program measures no event-loop delay',
  },
  {
    id: 'P9',
    what: 'two instances on one Redis, 1,000 messages/s',
    unavailable: 'the server program has no Redis option and the load generator connects to one server only',
  },
  {
    id: 'P10',
    what: 'long-polling only, 200 clients, 20 messages/s',
    unavailable: 'the load generator speaks WebSocket only',
  },
];
