// P4: JavaScript blocked for longer than the heartbeat allows.

const CONFIG = { pingInterval: 1_000, pingTimeout: 2_000 };

/** From the end of the block to the CONNECT answer of that many of the newcomers; never, if fewer were served. */
const servedAfterMs = ({ newcomers, served_unix_ms: served, server }, part) => {
  const at = served[Math.ceil(newcomers * part) - 1];
  return at === undefined ? Infinity : at - server.block.endedUnixMs;
};

export const rows = [
  {
    id: 'P4',
    what: '1,000 clients, JavaScript blocked for 5 s, heartbeat 1 s + 2 s; 50 new clients during the block',
    peers: ['native', 'A'],
    rooms: 0,
    server: ['--config', JSON.stringify(CONFIG)],
    load: ({ quick }) => ['survive', '--clients', quick ? 200 : 1000, '--newcomers', 50, '--block-ms', 5000],
    figures: [
      { what: 'connections lost', of: (report) => report.closed, targets: [{ max: 0 }] },
      {
        what: 'new clients: block’s end to CONNECT answer, median, ms',
        of: (report) => servedAfterMs(report, 0.5),
      },
      {
        what: 'the same, slowest of them, ms',
        of: (report) => servedAfterMs(report, 1),
        targets: [{ below: 100 }, { max: 1, times: 'A' }],
      },
    ],
  },
];
