// P1 to P3 and P11: a chat in one room, at a steady rate, as fast as it goes, while JavaScript is blocked, and with more
// than one core.

const saturateWith = (inFlight) => ({ quick }, peer) => [
  'saturate', '--clients', 1000, '--in-flight', inFlight, '--seconds', quick ? 4 : 10,
  ...(peer === 'F' ? ['--capacity-batch', 32] : []),
];
const saturate = saturateWith(2);

/** P2 with more on its way, of which more leaves in one write. */
const busier = (inFlight) => ({
  id: `P2.${inFlight}`,
  what: `the same with ${inFlight} messages in flight`,
  peers: ['native', 'B'],
  rooms: 1,
  isThroughput: true,
  load: saturateWith(inFlight),
  figures: [
    { what: 'deliveries per second', of: (report) => report.deliveries_per_s, targets: [{ min: 1.2, times: 'B' }] },
  ],
});

export const rows = [
  {
    id: 'P1',
    what: '1,000 clients in one room, 20 messages/s',
    peers: ['native', 'A', 'B', 'F'],
    rooms: 1,
    load: ({ quick }) => ['steady', '--clients', 1000, '--rate', 20, '--seconds', quick ? 4 : 15],
    figures: [
      {
        what: 'server CPU per delivered message, µs',
        of: (report) => (report.server_cpu_s * 1e6) / report.deliveries,
        targets: [{ max: 1.1, times: 'F' }, { max: 0.55, times: 'A' }, { below: 1, times: 'B' }],
      },
      { what: 'delay p99, ms', of: (report) => report.delay_ms.p99 },
    ],
  },
  {
    id: 'P2',
    what: '1,000 clients in one room, two messages in flight',
    peers: ['native', 'A', 'B', 'F'],
    rooms: 1,
    isThroughput: true,
    load: saturate,
    figures: [
      {
        what: 'deliveries per second',
        of: (report) => report.deliveries_per_s,
        capacity: (report) => report.capacity_per_s,
        targets: [{ min: 4.5, times: 'A' }, { min: 1.2, times: 'B' }],
      },
    ],
  },
  busier(8),
  busier(32),
  {
    id: 'P3',
    what: '200 clients, 20 messages/s, JavaScript blocked for 2 s',
    peers: ['native', 'A', 'B'],
    rooms: 1,
    load: ({ quick }) => [
      'block', '--clients', 200, '--rate', 20, '--seconds', quick ? 2 : 5, '--block-ms', 2000,
    ],
    figures: [
      {
        what: 'delay p99 of messages sent during the block, ms',
        of: (report) => report.during_ms.p99,
        targets: [{ below: 20 }],
      },
      {
        what: 'that p99, in multiples of the p99 before the block',
        of: (report) => report.during_ms.p99 / report.before_ms.p99,
        targets: [{ max: 2 }],
      },
    ],
  },
  {
    id: 'P11',
    what: 'P2 with both cores for server and generator',
    note: 'of the two cores the generator takes the share shown; the server cannot have what is left out of it',
    peers: ['native', 'one core'],
    rooms: 1,
    serverCores: { native: '0,1', 'one core': 0 },
    loadCores: '0,1',
    isThroughput: true,
    load: saturate,
    figures: [
      {
        what: 'deliveries per second',
        of: (report) => report.deliveries_per_s,
        targets: [{ min: 1.6, times: 'one core' }],
      },
      { what: 'server CPU per delivery, µs', of: (report) => (report.server_cpu_s * 1e6) / report.arrived },
      { what: 'cores that the server used', of: (report) => report.server_cpu_s / report.elapsed_s },
      { what: 'cores that the generator used', of: (report) => report.generator_cpu_s / report.elapsed_s },
      {
        what: 'deliveries per second and used server core',
        of: (report) => report.arrived / report.server_cpu_s,
      },
    ],
  },
];
