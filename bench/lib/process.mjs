// Child processes of the benchmark: servers and load generators, each pinned to a core, each with a time limit. Every
// child is stopped by its own process id, also when the benchmark itself is stopped.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const START_LIMIT_MS = 15_000;
const STOP_LIMIT_MS = 3_000;
const ERROR_TEXT_LIMIT = 2_000;

const children = new Set();

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

/** Starts a program on some cores (a list as `taskset` takes it); standard error is kept for messages. */
function start(cores, [command, ...args]) {
  const child = spawn('taskset', ['-c', String(cores), command, ...args], { stdio: 'pipe' });
  const job = { child, errorText: '', ended: once(child, 'close') };
  job.ended.catch(() => {});
  children.add(child);
  child.once('close', () => children.delete(child));
  child.stdin.on('error', () => {}); // a child that has gone is noticed by its end
  child.stderr.setEncoding('utf8').on('data', (text) => {
    job.errorText = (job.errorText + text).slice(0, ERROR_TEXT_LIMIT);
  });
  return job;
}

/** Rejects after the limit; the timer does not outlive the promise. */
async function within(limitMs, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function stop(job) {
  if (!children.has(job.child)) return;
  job.child.kill('SIGTERM');
  const timer = setTimeout(() => job.child.kill('SIGKILL'), STOP_LIMIT_MS);
  await job.ended;
  clearTimeout(timer);
}

/** A program that says on standard output when it is ready, in its own words. */
export class Program {
  #job;

  static async start(cores, command, readiness) {
    const program = new Program();
    program.#job = start(cores, command);
    try {
      const lines = createInterface({ input: program.#job.child.stdout });
      const ready = new Promise((resolve) => {
        lines.on('line', (line) => readiness.test(line) && resolve());
      });
      const died = program.#job.ended.then(() => {
        throw new Error(program.#job.errorText.trim() || `${command[0]} ended`);
      });
      died.catch(() => {});
      await within(START_LIMIT_MS, `starting ${command[0]}`, Promise.race([ready, died]));
      return program;
    } catch (error) {
      await program.stop();
      throw error;
    }
  }

  /** `taskset` becomes the program. */
  get pid() {
    return this.#job.child.pid;
  }

  stop() {
    return stop(this.#job);
  }
}

/** A server that prints `{port, pid, rooms}` when it is ready, takes JSON lines and answers some with `{reply}`. */
export class Server {
  #job;
  #replies = {};
  #marks = 0;
  #lines;
  /** Rejects when the server has ended, with what it said. */
  #died;

  static async start(cores, command) {
    const server = new Server();
    server.#job = start(cores, command);
    try {
      const lines = createInterface({ input: server.#job.child.stdout });
      server.#lines = lines;
      const line = new Promise((resolve) => {
        lines.on('line', (text) => {
          const ready = text.startsWith('{') ? JSON.parse(text) : {};
          if ('port' in ready) resolve(ready);
        });
      });
      server.#died = server.#job.ended.then(() => {
        throw new Error(server.#job.errorText.trim() || 'the server ended');
      });
      server.#died.catch(() => {});
      Object.assign(server, await within(START_LIMIT_MS, 'starting the server', Promise.race([line, server.#died])));
      lines.on('line', (text) => {
        // What a server runs under may print lines of its own.
        if (text.startsWith('{')) Object.assign(server.#replies, JSON.parse(text).reply);
      });
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  send(request) {
    this.#job.child.stdin.write(`${JSON.stringify(request)}\n`);
  }

  /** Everything that the server has answered, once it has done all it was sent; a floor answers nothing. */
  async replies(limitMs) {
    const mark = (this.#marks += 1);
    const reached = (async () => {
      while (this.#replies.mark !== mark) await once(this.#lines, 'line');
    })();
    this.send({ mark });
    await within(limitMs, 'the server’s answer', Promise.race([reached, this.#died]));
    return this.#replies;
  }

  stop() {
    return stop(this.#job);
  }

  /** Ends the server as it is, without giving it time to let go of anything, and whatever it runs under after it. */
  async kill() {
    process.kill(this.pid, 'SIGKILL');
    await this.#job.ended;
  }
}

/** Starts a load generator whose report nobody needs; it works until it is stopped. */
export function startLoad(cores, command) {
  const job = start(cores, command);
  job.child.stdout.resume();
  return { stop: () => stop(job) };
}

/** Runs a load generator to its end and resolves with its report; what it asks for goes to `onAsk`. */
export async function runLoad(cores, command, limitMs, onAsk) {
  const job = start(cores, command);
  let report;
  createInterface({ input: job.child.stdout }).on('line', (line) => {
    const { ask, ...rest } = JSON.parse(line);
    if (ask) onAsk(ask);
    else report = rest;
  });
  try {
    const [code] = await within(limitMs, 'the load', job.ended);
    if (code !== 0 || !report) throw new Error(`the load failed: ${job.errorText.trim()}`);
    return report;
  } finally {
    await stop(job);
  }
}
