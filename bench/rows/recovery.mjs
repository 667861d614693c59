// R1: connections that end and clients that come back, with connection state recovery and without. R2: the same with
// several instances, which are killed.

/** Longer than either keeps what a client may have missed, 2 minutes: memory does not grow by it any more. */
const PERIODS = 7;

/** Nobody catches up where nobody is recovered. */
const catchUp = (which) => ({ catch_up: times }) => (times.count > 0 ? times[which].p99 : undefined);

/** What came of what was sent. */
const DELIVERY = [
  {
    what: 'share delivered exactly once, %',
    of: (report) => (100 * report.exactly_once) / report.expected,
    targets: [{ of: 'recovering', min: 100 }],
  },
  { what: 'deliveries lost', of: (report) => report.losses },
  { what: 'doubled', of: (report) => report.duplicates },
  { what: 'out of order', of: (report) => report.disorders },
  { what: 'returns taken for the client of before, %', of: (report) => (100 * report.recovered) / report.returns },
  {
    what: 'catch-up p99: CONNECT answer to newest missed message, ms',
    of: catchUp('from_answer_ms'),
  },
  { what: 'the same from the CONNECT packet, ms', of: catchUp('from_connect_ms') },
];

export const rows = [
  {
    id: 'R1',
    what: '2,000 clients in 100 rooms, each away for 2 s at a random time in every 20 s; 100 messages/s',
    note: 'without recovery what is sent to those away is lost, and each end and return is told to the room, as A does with it',
    peers: ['recovering', 'native', 'A, recovering'],
    rooms: ({ quick }) => (quick ? 10 : 100),
    load: ({ quick }) => [
      'blink', '--rate', 100, '--clients', quick ? 200 : 2000, '--periods', quick ? 2 : PERIODS,
      '--period-ms', quick ? 3000 : 20000, '--away-ms', quick ? 1000 : 2000,
    ],
    figures: [
      ...DELIVERY,
      {
        what: 'server CPU per delivered message, µs',
        of: (report) => (report.server_cpu_s * 1e6) / report.measured_deliveries,
        targets: [{ of: 'recovering', max: 1.15, times: 'native' }],
      },
      {
        what: 'resident memory, MiB',
        of: (report) => report.server_rss_bytes / 2 ** 20,
        targets: [{ of: 'recovering', max: 1.15, times: 'native' }],
      },
    ],
  },
  {
    id: 'R2',
    what: 'as R1 over three instances on one Redis: each client comes back to the next one, and two of them are killed in turn, one in every 20 s',
    note:
      'what is counted is said on the instance that is not killed; A shares a Redis by its streams adapter, which is made for recovery',
    peers: ['recovering', 'native', 'A, recovering'],
    rooms: ({ quick }) => (quick ? 10 : 100),
    instances: 3,
    load: ({ quick }) => [
      'blink', '--rate', 100, '--clients', quick ? 200 : 2000, '--periods', quick ? 3 : PERIODS,
      '--period-ms', quick ? 6000 : 20000, '--away-ms', quick ? 1000 : 2000,
    ],
    figures: [...DELIVERY, { what: 'connections that ended with an instance', of: (report) => report.orphaned }],
  },
];
