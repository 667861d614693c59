// Running what the application has given: an exception of it is reported, and stops nothing.

/** Is told what the application's own code has thrown. */
export type Report = (error: unknown) => void;

/** Runs a listener. */
export function attempt(report: Report, run: () => void): void {
  try {
    run();
  } catch (error) {
    report(error);
  }
}
