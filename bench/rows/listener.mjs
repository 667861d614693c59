// P8: JavaScript listens to every message.

const ROOMS = 20;

export const rows = [
  {
    id: 'P8',
    what: 'a message listener in JavaScript, 20 rooms of 50 clients',
    peers: ['native', 'A', 'B', 'F'],
    rooms: ROOMS,
    isThroughput: true,
    load: ({ quick }, peer) => [
      'listen', '--clients', 1000, '--in-flight', 2 * ROOMS, '--rate', 400, '--seconds', quick ? 3 : 8,
      ...(peer === 'F' ? ['--capacity-batch', 32] : []),
    ],
    figures: [
      {
        what: 'deliveries per second, two messages per room in flight',
        of: (report) => report.deliveries_per_s,
        capacity: (report) => report.capacity_per_s,
        targets: [{ min: 3, times: 'A' }],
      },
      {
        what: 'event-loop delay p99 meanwhile, ms',
        of: (report) => report.server?.loopDelay.saturated.p99,
        targets: [{ max: 0.5, times: 'A' }],
      },
      {
        what: 'event-loop delay p99 at 400 messages/s, ms',
        of: (report) => report.server?.loopDelay.steady.p99,
      },
      {
        what: 'messages that the listener did not hear',
        of: (report) => report.server?.heard.wrong,
        targets: [{ max: 0 }],
      },
    ],
  },
];
