// G1 and G2: what a delivery costs as rooms grow, and a connection as there are more of them. Each point is a row; the
// series are drawn by `plot.mjs`.

const DELIVERIES_PER_SECOND = 20_000;
/** The same at every number of connections: members hear of each other's joins. */
const ROOM_MEMBERS = 50;

/** From so many members on, the joins of A and B are not announced: 10,000 would be heard of 50 million times. */
const QUIET_FROM = 10_000;

const rooms = [10, 100, 1_000, 10_000].map((members) => ({
  id: `G1.${members}`,
  what: `one room of ${members.toLocaleString('en')}, ${DELIVERIES_PER_SECOND.toLocaleString('en')} deliveries/s`,
  ...(members >= QUIET_FROM && {
    settings: { quietJoins: true },
    note: 'A and B announce no joins here, which are not measured and would take them many minutes',
  }),
  peers: ['native', 'A', 'B', 'F'],
  rooms: 1,
  load: ({ quick }) => [
    'steady', '--clients', members, '--rate', DELIVERIES_PER_SECOND / members, '--seconds', quick ? 3 : 10,
  ],
  figures: [
    {
      what: 'server CPU per delivered message, µs',
      of: (report) => (report.server_cpu_s * 1e6) / report.deliveries,
    },
    { what: 'delay p99, ms', of: (report) => report.delay_ms.p99 },
  ],
}));

const connections = [1_000, 5_000, 15_000].map((clients) => ({
  id: `G2.${clients}`,
  what: `${clients.toLocaleString('en')} connections in rooms of ${ROOM_MEMBERS}`,
  peers: ['native', 'A', 'B', 'F'],
  rooms: clients / ROOM_MEMBERS,
  load: ({ quick }) => ['idle', '--clients', clients, '--settle-seconds', quick ? 1 : 5],
  figures: [
    { what: 'resident memory per connection, KiB', of: (report) => report.rss_bytes_per_connection / 1024 },
    { what: 'server CPU per connection, join included, µs', of: (report) => (report.server_cpu_s * 1e6) / report.connected },
  ],
}));

export const rows = [...rooms, ...connections];

/** The plots: `series` names the rows, `figure` the figure of each by its index. */
export const plots = [
  { name: 'delivery-cpu', series: 'G1', figure: 0, x: 'members of the room', title: 'Server CPU per delivery', y: 'µs per delivered message' },
  { name: 'connection-memory', series: 'G2', figure: 0, x: 'connections', title: 'Memory per connection', y: 'KiB resident per connection' },
  { name: 'connection-cpu', series: 'G2', figure: 1, x: 'connections', title: 'Server CPU per connection', y: 'µs per connection' },
];
