// P10: clients that have no WebSocket.

export const rows = [
  {
    id: 'P10',
    what: '200 clients in one room, long-polling only, 20 messages/s',
    peers: ['native', 'door', 'A'],
    rooms: 1,
    load: ({ quick }) => [
      'steady', '--transport', 'polling', '--clients', 200, '--rate', 20, '--seconds', quick ? 4 : 15,
    ],
    figures: [
      {
        what: 'server CPU per delivered message, µs',
        of: (report) => (report.server_cpu_s * 1e6) / report.deliveries,
        targets: [{ max: 0.8, times: 'A' }, { of: 'door', max: 0.5, times: 'A' }],
      },
      { what: 'delay p99, ms', of: (report) => report.delay_ms.p99 },
    ],
  },
];
