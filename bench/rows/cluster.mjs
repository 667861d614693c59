// P9: a chat across two instances on one Redis.

const RECEIVERS = 10;

export const rows = [
  {
    id: 'P9',
    what: `two instances on one Redis, a sender on one, ${RECEIVERS} receivers on the other, 1,000 messages/s`,
    note: 'both instances and Redis are on the server’s core; F is two floors that publish through the same Redis',
    peers: ['native', 'A', 'F'],
    rooms: 1,
    inCluster: true,
    load: ({ quick }) => [
      'steady', '--clients', 1, '--far-clients', RECEIVERS, '--rate', 1000, '--seconds', quick ? 4 : 10,
    ],
    figures: [
      {
        what: 'delay p99, ms',
        of: (report) => report.delay_ms.p99,
        targets: [{ max: 1, over: 'F' }, { max: 0.5, times: 'A' }],
      },
      { what: 'delay p50, ms', of: (report) => report.delay_ms.p50 },
      { what: 'CPU of the sender’s instance per message, µs', of: (report) => perMessage(report, report.server_cpu_s) },
      { what: 'CPU of the receivers’ instance per message, µs', of: (report) => perMessage(report, report.more_cpu_s[0]) },
      { what: 'CPU of Redis per message, µs', of: (report) => perMessage(report, report.more_cpu_s[1]) },
    ],
  },
];

function perMessage({ expected }, seconds) {
  return (seconds * 1e6 * (1 + RECEIVERS)) / expected;
}
