// Payloads at random, of whatever Socket.IO sends.

import fc from 'fast-check';

/** Attachments that one packet may have. */
const MOST_ATTACHMENTS = 10;

const attachmentsOf = (value: unknown): number => {
  if (Buffer.isBuffer(value)) return 1;
  if (typeof value !== 'object' || value === null) return 0;
  return Object.values(value).reduce((sum: number, each) => sum + attachmentsOf(each), 0);
};

const { tree } = fc.letrec<{ tree: unknown; leaf: unknown }>((tie) => ({
  leaf: fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.integer(),
    fc.double(),
    fc.constantFrom<unknown>(true, false, null, undefined, '\ud800', 'a\udfff"'),
    fc.date(),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  ),
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('tree'), { maxLength: 8 }),
    fc.dictionary(fc.string({ unit: 'binary' }), tie('tree'), { maxKeys: 8 }),
  ),
}));

export const payload = tree.filter((value) => attachmentsOf(value) <= MOST_ATTACHMENTS);
