// P14: the same over TLS.

const peers = ['door, TLS', 'door', 'A, https'];
const over = (peer) => (peer === 'door' ? [] : ['--tls']);

export const rows = [
  {
    id: 'P14.1',
    what: '1,000 clients in one room, 20 messages/s, over TLS',
    peers,
    rooms: 1,
    load: ({ quick }, peer) => ['steady', ...over(peer), '--clients', 1000, '--rate', 20, '--seconds', quick ? 4 : 15],
    figures: [
      {
        what: 'server CPU per delivered message, µs',
        of: (report) => (report.server_cpu_s * 1e6) / report.deliveries,
        targets: [{ of: 'door, TLS', max: 0.5, times: 'A, https' }, { of: 'door, TLS', max: 1.4, times: 'door' }],
      },
      { what: 'delay p99, ms', of: (report) => report.delay_ms.p99 },
    ],
  },
  {
    id: 'P14.2',
    what: '5,000 connections over TLS up to CONNECT',
    peers,
    rooms: 0,
    load: ({ quick }, peer) => ['connect', ...over(peer), '--clients', quick ? 1000 : 5000],
    figures: [
      {
        what: 'server CPU per connection, µs',
        of: (report) => report.server_cpu_us_per_connection,
        targets: [{ of: 'door, TLS', max: 0.4, times: 'A, https' }],
      },
    ],
  },
  {
    id: 'P14.3',
    what: '5,000 idle connections over TLS in 200 rooms',
    peers,
    rooms: 200,
    load: ({ quick }, peer) => ['idle', ...over(peer), '--clients', quick ? 1000 : 5000, '--settle-seconds', quick ? 2 : 5],
    figures: [
      {
        what: 'resident memory per connection, KiB',
        of: (report) => report.rss_bytes_per_connection / 1024,
        targets: [{ of: 'door, TLS', max: 26 }],
      },
    ],
  },
  {
    id: 'P14.4',
    what: '200 clients over TLS, 20 messages/s, JavaScript blocked for 2 s',
    peers: ['door, TLS', 'A, https'],
    rooms: 1,
    load: ({ quick }) => ['block', '--tls', '--clients', 200, '--rate', 20, '--seconds', quick ? 2 : 5, '--block-ms', 2000],
    figures: [
      {
        what: 'delay p99 of messages sent during the block, ms',
        of: (report) => report.during_ms.p99,
        targets: [{ of: 'door, TLS', below: 20 }],
      },
    ],
  },
];
