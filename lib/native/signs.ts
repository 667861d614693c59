// What the native side shows without being asked, in a few bytes that it shares.

/**
 * Memory that the native side writes, `bytes` long. At `event` and `departure`, a byte each: not 0 while something, or
 * the end of a connection, waits to be taken. At `pushed`, 32 bits: how much there has been to take so far.
 */
export const SIGNS = { event: 0, departure: 1, pushed: 4, bytes: 8 } as const;
