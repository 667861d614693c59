// Rows of the plan that have no measurement in this directory, and what each lacks.

export const rows = [
  {
    id: 'P9',
    what: 'two instances on one Redis, 1,000 messages/s',
    unavailable: 'the package serves one instance in this version: it refuses the `redis` option',
  },
];
