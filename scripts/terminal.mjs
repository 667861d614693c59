// What the npm commands say.

/** Says in a few words why it cannot go on, and ends the process. */
export function fail(reason) {
  console.error(`\n${reason}`);
  process.exit(1);
}

export function say(text) {
  console.log(`> ${text}`);
}
