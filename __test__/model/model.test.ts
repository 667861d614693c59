// Random clients, and what happens to them and to Redis, against a model of the contract.
//
// MODEL_SECONDS is how long each kind of run is repeated (5 by default). A failure prints what was done, and MODEL_SEED to
// take the same steps again; MODEL_SHRINK=1 then looks for fewer steps that fail as well.

import fc from 'fast-check';
import { within } from '../support/eventually';
import { endAll } from '../support/harness';
import { RedisProxy, startRedis } from '../support/redis';
import { ACTS, Driver, type Act, type Setup, type Step } from './driver';
import { FAULTS, Redis } from './faults';

const SEED = Number(process.env.MODEL_SEED ?? Date.now() % 2 ** 31);
const SECONDS = Number(process.env.MODEL_SECONDS ?? (process.env.MODEL_SEED ? 0 : 5));
const SHRINK = process.env.MODEL_SHRINK !== undefined;
/** Of one service, or cluster. */
const STEPS = 300;
/** Of a run, in milliseconds. */
const LONGEST = 240_000;

function steps(weights: Partial<Record<Act, number>>): fc.Arbitrary<Step[]> {
  const acts = Object.entries(weights) as Array<[Act, number]>;
  const step: fc.Arbitrary<Step> = fc.record(
    {
      act: fc.oneof(...acts.map(([act, weight]) => ({ weight, arbitrary: fc.constant(act) }))),
      who: fc.nat(1000),
      where: fc.nat(1000),
      room: fc.nat(1000),
      pace: fc.constantFrom('outcome', 'while', 'turn', 'none', 'none'),
    },
  );
  return fc.noBias(fc.array(step, { maxLength: STEPS, size: 'max' }));
}

const setup = (instances: number): fc.Arbitrary<Setup> =>
  fc.record({
    instances: fc.constant(instances),
    trusting: fc.boolean(),
    listening: fc.boolean(),
    persist: instances > 1 ? fc.boolean() : fc.constant(false),
  });

/** Of the last run. */
let trace: string[] = [];

async function live(chosen: Setup, script: Step[], redis?: () => Promise<Redis>): Promise<void> {
  const driver = await Driver.start(chosen, await redis?.());
  trace = driver.trace;
  trace.push(JSON.stringify(chosen));
  const all = async () => {
    for (const step of script) await driver.take(step);
    await driver.finish();
  };
  try {
    await within(LONGEST, 'the end of a run', all());
  } finally {
    trace.push(...driver.unfinished.map((step) => `unfinished: ${JSON.stringify(step)}`));
  }
}

async function report({ failed, errorInstance, seed }: fc.RunDetails<[Setup, Step[]]>): Promise<void> {
  if (!failed) return;
  const again = `MODEL_SEED=${seed} npx jest __test__/model -t '${expect.getState().currentTestName}'`;
  throw new Error(`${trace.join('\n')}\n\n${again}`, { cause: errorInstance });
}

async function end(): Promise<void> {
  try {
    await within(30_000, 'the end of the services', endAll());
  } catch (cause) {
    throw new Error(trace.join('\n'), { cause });
  }
}

async function failingRedis(): Promise<Redis> {
  const server = await startRedis();
  return new Redis(server, await RedisProxy.start(server));
}

test.each([
  ['one instance', setup(1), steps(ACTS), undefined],
  ['two instances on a Redis that fails', setup(2), steps({ ...ACTS, ...FAULTS }), failingRedis],
])(
  '%s: everything is as the model says',
  async (_name, chosen, scripts, redis) => {
    const property = fc.asyncProperty(chosen, scripts, (one, script) => live(one, script, redis)).afterEach(end);
    const until = Date.now() + SECONDS * 1000;
    let runs = 0;
    do {
      await fc.assert(property, { seed: SEED + runs, numRuns: 1, endOnFailure: !SHRINK, asyncReporter: report });
      runs++;
    } while (Date.now() < until);
    console.info(`${runs} runs from MODEL_SEED=${SEED} on`);
  },
  // Of which the last run may take a while, and the search for fewer steps.
  SECONDS * 1000 + (SHRINK ? 3_600_000 : LONGEST + 60_000),
);
