// S1 to S3: connections that come and go, as many as one instance can hold, and these at once.

const MEMBERS = 20;
const DELIVERIES_PER_SECOND = 1_000;
const scaleRooms = ({ quick }) => (quick ? 100 : 900);

export const rows = [
  {
    id: 'S1',
    what: '10,000 connections in 200 rooms come and go ten times',
    peers: ['native', 'A'],
    rooms: 200,
    load: ({ quick }) => [
      'storm', '--clients', quick ? 2000 : 10000, '--rounds', quick ? 4 : 10, '--settle-seconds', quick ? 1 : 3,
    ],
    figures: [
      {
        what: 'resident memory after the last time, in multiples of that after the second',
        of: ({ rss_bytes: rss }) => rss.at(-1) / rss[1],
        targets: [{ max: 1.1 }],
      },
      { what: 'resident memory after the last time, MiB', of: ({ rss_bytes: rss }) => rss.at(-1) / 2 ** 20 },
      { what: 'the same before the first, MiB', of: ({ rss_before_bytes: rss }) => rss / 2 ** 20 },
    ],
  },
  {
    id: 'S2',
    what: '18,000 clients in 900 rooms, 1,000 deliveries/s',
    peers: ['native', 'A'],
    rooms: scaleRooms,
    load: (options) => [
      'steady', '--clients', scaleRooms(options) * MEMBERS, '--rate', DELIVERIES_PER_SECOND / MEMBERS,
      '--seconds', options.quick ? 4 : 20,
    ],
    figures: [
      {
        what: 'deliveries lost, doubled or out of order',
        of: ({ losses, duplicates, disorders }) => losses + duplicates + disorders,
        targets: [{ max: 0 }],
      },
      { what: 'delay p99, ms', of: (report) => report.delay_ms.p99 },
      { what: 'resident memory per connection, KiB', of: (report) => report.rss_bytes_per_connection / 1024 },
      {
        what: 'server CPU, share of its core',
        of: (report) => report.server_cpu_s / report.elapsed_s,
      },
    ],
  },
  {
    id: 'S3',
    what: '18,000 clients come to 899 rooms at once, while 20 others chat, and go again',
    peers: ['native', 'door', 'A', 'B'],
    rooms: scaleRooms,
    load: (options) => [
      'rush', '--clients', scaleRooms(options) * MEMBERS, '--concurrency', 2000, '--rate', 20,
      '--settle-seconds', options.quick ? 3 : 10,
    ],
    figures: [
      { what: 'time until all are in their rooms, s', of: (report) => report.all_in_s },
      {
        what: 'server CPU per client, µs',
        of: (report) => (report.server_cpu_s * 1e6) / report.connected,
        targets: [{ max: 0.5, times: 'A' }],
      },
      { what: 'delay p99 of the chat meanwhile, ms', of: (report) => report.delay_ms.p99 },
      { what: 'most resident memory, MiB', of: (report) => report.rss_peak_bytes / 2 ** 20 },
      {
        what: 'resident memory 10 s after they have gone, in multiples of that before',
        of: (report) => report.rss_after_bytes / report.rss_before_bytes,
        targets: [{ max: 1.3 }],
      },
    ],
  },
];
