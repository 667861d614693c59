// H1 to H3: what kept messages cost, and what it costs to keep fewer.

const lengths = ({ quick }) => (quick ? [100, 1_000] : [100, 1_000, 10_000]);
const step = (report, index) => report.server.fillHistory.steps.at(index);
const times = (which) => [
  {
    what: `page of 50 ${which === 'newestUs' ? 'newest messages' : 'messages in the middle'}, µs, full history`,
    of: (report) => step(report, -1)[which],
  },
  {
    what: '  in multiples of its time at 100 messages per room',
    of: (report) => step(report, -1)[which] / step(report, 0)[which],
    targets: [{ max: 1.5 }],
  },
];

export const rows = [
  {
    id: 'H1',
    what: '1,000 rooms of 10,000 messages of 64 bytes, sent by the server',
    peers: ['native', 'A'],
    rooms: ({ quick }) => (quick ? 100 : 1_000),
    settings: { heapMiB: 16_384 },
    maxRounds: 1,
    note: 'one round, V8 heaps of 16 GiB; a message that the server sends is kept natively and, with native, as an object',
    commands: (options) => [{ fillHistory: { lengths: lengths(options) } }],
    figures: [
      { what: 'resident memory per message, bytes', of: (report) => step(report, -1).bytesPerMessage },
      { what: 'sendMessage per second', of: (report) => step(report, -1).sendsPerSecond },
      ...times('newestUs'),
      ...times('middleUs'),
    ],
  },
  {
    id: 'H2',
    what: '100 clients alone in their rooms; history unlimited, 1,000 per room, or 0.5 s',
    peers: ['native', 'A', 'by count', 'by age'],
    rooms: 100,
    isThroughput: true,
    settings: { heapMiB: 16_384 },
    before: [{ weighHistory: null }],
    after: [{ weighHistory: null }],
    load: ({ quick }) => ['saturate', '--clients', 100, '--in-flight', 100, '--seconds', quick ? 4 : 10],
    figures: [
      {
        what: 'messages per second of clients',
        of: (report) => report.deliveries_per_s,
        targets: [{ max: 1.05, times: 'by count' }, { max: 1.05, times: 'by age' }],
      },
      { what: 'messages kept at the end', of: (report) => report.server.weighHistory.messages },
      {
        what: 'resident memory per kept message, bytes',
        of: ({ server: { weighHistory } }) => weighHistory.bytes / weighHistory.messages,
      },
    ],
  },
  {
    id: 'H3',
    what: 'sendMessage to 10 rooms; history unlimited, 1,000 per room, or 0.5 s',
    peers: ['native', 'by count', 'by age'],
    rooms: 10,
    commands: ({ quick }) => [{ sendHistory: { seconds: quick ? 2 : 5, warmUpPerRoom: 2_000 } }],
    figures: [
      {
        what: 'messages per second of the server',
        of: (report) => report.server.sendHistory.sendsPerSecond,
        targets: [{ max: 1.05, times: 'by count' }, { max: 1.05, times: 'by age' }],
      },
      { what: 'messages kept at the end', of: (report) => report.server.sendHistory.kept },
    ],
  },
];
