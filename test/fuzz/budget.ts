/**
 * How long to fuzz and with which seed. FUZZ_SECONDS (600) is shared by all targets, FUZZ_SEED (random) is where each begins; a failure prints the
 * seed that begins with what failed.
 */
import fc from 'fast-check';
import { randomInt } from 'node:crypto';
import { catchFaults, type Faults } from './faults';

const SECONDS = numberOf('FUZZ_SECONDS') ?? 600;
const SEED = numberOf('FUZZ_SEED') ?? randomInt(2 ** 31);
/** Runs of one seed. */
const ROUND = 10;
/** Odd, so that seeds do not repeat before all were had. */
const SEED_STEP = 0x1e3779b1;
/** Milliseconds for making a counterexample smaller. */
const SHRINK_MS = 60_000;

export interface Target<T> {
  /** Part of the time: those of all targets are 1 together. */
  readonly share: number;
  readonly input: fc.Arbitrary<T>;
  /** One run; throws what is wrong. */
  readonly run: (input: T) => Promise<void> | void;
  /** After each seed, when nothing runs: what must not have grown. */
  readonly settled?: () => Promise<void>;
}

/** Fuzzes until the target's time is over, and says what was done. Throws the smallest input found that fails. */
export async function fuzz<T>(name: string, target: Target<T>): Promise<void> {
  const end = performance.now() + target.share * SECONDS * 1000;
  const faults = catchFaults();
  let runs = 0;
  let rounds = 0;
  try {
    do {
      const seed = (SEED + rounds * SEED_STEP) % 2 ** 31;
      runs += await round(target, seed, faults);
      rounds += 1;
    } while (performance.now() < end);
  } finally {
    faults.stop();
    console.log(`      ${name}: ${runs} runs, ${rounds} seeds from FUZZ_SEED=${SEED}`);
  }
}

async function round<T>(target: Target<T>, seed: number, faults: Faults): Promise<number> {
  let failed: number | undefined;
  const property = fc.asyncProperty(target.input, async (input) => {
    if (failed !== undefined && performance.now() - failed > SHRINK_MS) return;
    try {
      await target.run(input);
      faults.check();
    } catch (thrown) {
      failed ??= performance.now();
      throw thrown;
    }
  });
  const details = await fc.check(property, { seed, numRuns: ROUND, unbiased: seed % 3 === 0 });
  if (details.failed) {
    const cause = details.errorInstance;
    const why = cause instanceof Error ? cause.message : String(cause);
    const input = fc.stringify(details.counterexample?.[0]);
    throw new Error(`${why}\nFUZZ_SEED=${seed} begins with it. Input, shrunk ${details.numShrinks} times:\n${input}`, {
      cause: rootOf(cause),
    });
  }
  try {
    await target.settled?.();
    faults.check();
  } catch (cause) {
    throw new Error(`after the runs of FUZZ_SEED=${seed}: ${(cause as Error).message}`, { cause });
  }
  return details.numRuns;
}

/** A whole number from the environment; undefined where it is not set. */
function numberOf(variable: string): number | undefined {
  const text = process.env[variable];
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(text)) throw new Error(`${variable} must be a whole number, not ${JSON.stringify(text)}.`);
  return Number(text);
}

/** Where it began: the messages on the way say the same again. */
function rootOf(thrown: unknown): unknown {
  return thrown instanceof Error && thrown.cause !== undefined ? rootOf(thrown.cause) : thrown;
}

/** Milliseconds that the longest target may take, with a margin for a slow machine. */
export const TIMEOUT_MS = SECONDS * 1000 + 240_000;
