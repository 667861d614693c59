// Programs of `support/programs` in processes of their own.

import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { afterTest } from './harness';

/** What a program runs under. */
export interface Surroundings {
  /** How many descriptors it may have. */
  descriptors?: number;
  env?: NodeJS.ProcessEnv;
}

/** A running program, and what it has said. Ends with the test at the latest. */
export class Program {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly lines: string[] = [];
  /** What it has written to stderr, which is shown as well. */
  errors = '';
  #waiting: Array<{ prefix: string; done: (line: string) => void }> = [];

  constructor(script: string | [script: string, under: Surroundings], ...args: Array<string | number>) {
    const [name, { descriptors, env }] = typeof script === 'string' ? [script, {} as Surroundings] : script;
    const command = [process.execPath, join(__dirname, 'programs', name), ...args.map(String)];
    const limited = ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...command];
    const [file, ...rest] = descriptors === undefined ? command : limited;
    this.child = spawn(file!, rest, { stdio: 'pipe', env: { ...process.env, ...env } });
    this.child.stderr.on('data', (data: Buffer) => {
      this.errors += data;
      process.stderr.write(data);
    });
    afterTest(() => this.child.kill('SIGKILL'));
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      this.lines.push(line);
      this.#waiting = this.#waiting.filter(({ prefix, done }) => !line.startsWith(prefix) || (done(line), false));
    });
  }

  /** The first line that begins so, or `lost` when that comes first. */
  async said(prefix: string): Promise<string> {
    const known = this.lines.find((line) => line.startsWith(prefix) || line.startsWith('lost'));
    if (known !== undefined) return known;
    const line = (wanted: string) => new Promise<string>((done) => this.#waiting.push({ prefix: wanted, done }));
    return Promise.race([line(prefix), line('lost')]);
  }

  tell(line: string): void {
    this.child.stdin.write(`${line}\n`);
  }
}

export interface Outcome {
  lines: string[];
  /** Exit code or signal. */
  end: number | string | null;
  errors: string;
}

/** Runs a program to its end, which is that of the test at the latest. */
export function run(script: string, ...args: string[]): Promise<Outcome> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [join(__dirname, 'programs', script), ...args]);
    afterTest(() => child.kill('SIGKILL'));
    let output = '';
    let errors = '';
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (errors += data));
    child.on('close', (code, signal) => {
      const lines = output.split('\n').filter((line) => line !== '');
      done({ lines, end: signal ?? code, errors });
    });
  });
}
