// P7: broadcasts that JavaScript starts.

export const rows = [
  {
    id: 'P7',
    what: 'broadcastToAll from JavaScript, 1,000 clients, 1 KB object',
    peers: ['native', 'A', 'B', 'F'],
    rooms: 0,
    isThroughput: true,
    load: ({ quick }) => {
      const seconds = quick ? 3 : 8;
      const broadcastAll = { event: 'bench', bytes: 1000, seconds: seconds + 3 };
      return [
        'receive', '--clients', 1000, '--event', 'bench', '--seconds', seconds,
        '--ask', JSON.stringify({ broadcastAll }),
      ];
    },
    figures: [
      {
        what: 'deliveries per second',
        of: (report) => report.deliveries_per_s,
        capacity: (report) => report.deliveries_per_s,
        targets: [{ min: 4, times: 'A' }],
      },
    ],
  },
];
