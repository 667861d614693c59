// P12 and X1: what calls of the service cost the JavaScript that makes them, while clients are connected.

/** Connects clients that wait, long enough, while the server times its calls; `receive` says when all are there. */
const whileConnected = (clients, seconds, command) => [
  'receive', '--clients', clients, '--event', 'counted', '--seconds', seconds, '--ask', JSON.stringify(command),
];

const figure = (command, name, more) => ({
  what: `${name}, ns per call`,
  of: (report) => report.server[command].ns[name],
  ...more,
});
const withinTwoMaps = (name) => figure('lookups', name, {
  beside: { Map: (report) => report.server.lookups.ns[`Map.${name}`] },
  targets: [{ max: 2, times: 'Map' }],
});

const CROSSING_CALLS = [
  'getUser', 'isUserOnline', 'getRoom', 'emitToSocket', 'joinRoom + leaveRoom', 'createRoom + deleteRoom',
];

export const rows = [
  {
    id: 'P12',
    what: 'look-ups at 10,000 users and 1,000 rooms',
    peers: ['native', 'A'],
    rooms: 1_000,
    load: ({ quick }) => {
      const secondsPerCall = quick ? 0.3 : 1;
      return whileConnected(quick ? 2_000 : 10_000, quick ? 10 : 20, { lookups: { secondsPerCall } });
    },
    figures: [
      withinTwoMaps('getUser'),
      withinTwoMaps('isUserOnline'),
      figure('lookups', 'listRooms'),
      figure('lookups', 'getRoomMessages(…, 50)'),
    ],
  },
  {
    id: 'X1',
    what: 'calls from JavaScript, one after the other, 100 clients',
    peers: ['native', 'A', 'B'],
    rooms: 10,
    load: ({ quick }) => {
      const secondsPerCall = quick ? 0.3 : 1;
      return whileConnected(100, quick ? 8 : 16, { crossing: { secondsPerCall } });
    },
    figures: CROSSING_CALLS.map((name) => ({
      what: `${name}, calls per second`,
      of: (report) => 1e9 / report.server.crossing.ns[name],
    })),
  },
];
