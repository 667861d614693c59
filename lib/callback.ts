// The last argument of an event, if it is a function: who waits for an acknowledgement.

/** Called with the arguments of an acknowledgement, behind an error where there is a timeout. */
export type Callback = (...args: unknown[]) => void;

/** Takes the callback off the arguments of an event, if there is one. */
export function takeCallback(args: unknown[]): Callback | undefined {
  if (typeof args.at(-1) !== 'function') return undefined;
  return args.pop() as Callback;
}
