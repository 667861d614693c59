// P5 and P6: what a connection costs, at rest and when it is made.

export const rows = [
  {
    id: 'P5',
    what: '10,000 idle connections in 200 rooms',
    peers: ['native', 'door', 'A', 'B', 'F'],
    rooms: 200,
    load: ({ quick }) => ['idle', '--clients', quick ? 2000 : 10000, '--settle-seconds', quick ? 2 : 5],
    figures: [
      {
        what: 'resident memory per connection, KiB',
        of: (report) => report.rss_bytes_per_connection / 1024,
        targets: [{ max: 0.4, times: 'A' }, { max: 0.45, times: 'B' }, { of: 'door', max: 0.25, times: 'A' }],
      },
    ],
  },
  {
    id: 'P6',
    what: '5,000 connections up to CONNECT',
    peers: ['native', 'door', 'A', 'B', 'F'],
    rooms: 0,
    load: ({ quick }) => ['connect', '--clients', quick ? 2000 : 5000],
    figures: [
      {
        what: 'server CPU per connection, µs',
        of: (report) => report.server_cpu_us_per_connection,
        targets: [
          { max: 0.4, times: 'A' },
          { of: 'door', max: 2.2, times: 'F' },
          { of: 'door', max: 0.2, times: 'A' },
          { of: 'door', max: 0.4, times: 'B' },
        ],
      },
      {
        what: 'connections per second',
        of: (report) => report.connections_per_s,
        capacity: (report) => report.connections_per_s,
      },
    ],
  },
];
