/** Figures of one run: medians, tails and rates, printed as one table. */

export interface Figures {
  /** Calls (or opens) a second. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly count: number;
}

/** @param samples milliseconds; @param elapsed milliseconds of wall time for all of them. */
export function figures(samples: readonly number[], elapsed: number): Figures {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
  return { rate: (samples.length / elapsed) * 1000, p50: at(0.5), p95: at(0.95), p99: at(0.99), count: samples.length };
}

/** Runs `work` from `workers` loops at once for `ms`, after a tenth of that as warm-up, and times each call. */
export async function load(workers: readonly (() => Promise<unknown>)[], ms: number): Promise<Figures> {
  const samples: number[] = [];
  const warm = performance.now() + ms / 10;
  const end = warm + ms;
  let first = Number.NaN;
  await Promise.all(
    workers.map(async (work) => {
      for (;;) {
        const from = performance.now();
        if (from >= end) return;
        await work();
        if (from >= warm) {
          if (Number.isNaN(first)) first = from;
          samples.push(performance.now() - from);
        }
      }
    }),
  );
  return figures(samples, performance.now() - first);
}

/** Times each of `jobs`, at most `atOnce` running. */
export async function each<T>(
  jobs: readonly (() => Promise<T>)[],
  atOnce: number,
): Promise<{ figures: Figures; results: T[] }> {
  const samples: number[] = [];
  const results: T[] = [];
  const queue = [...jobs];
  const began = performance.now();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let job = queue.shift(); job; job = queue.shift()) {
        const from = performance.now();
        results.push(await job());
        samples.push(performance.now() - from);
      }
    }),
  );
  return { figures: figures(samples, performance.now() - began), results };
}

const cell = (n: number): string => (Number.isNaN(n) ? '-' : n >= 100 ? n.toFixed(0) : n.toFixed(2));

/** Prints one section as a markdown table. */
export function table(title: string, rows: readonly (readonly [string, Figures])[]): void {
  console.log(
    `\n### ${title}\n\n| | p50 ms | p95 ms | p99 ms | per second | n |\n| --- | --- | --- | --- | --- | --- |`,
  );
  for (const [name, f] of rows) {
    console.log(`| ${name} | ${cell(f.p50)} | ${cell(f.p95)} | ${cell(f.p99)} | ${cell(f.rate)} | ${f.count} |`);
  }
}

/** Prints one ratio beside the goal that it has to meet. */
export function goal(name: string, value: number, op: '<=' | '>=', limit: number, unit = 'x'): boolean {
  const met = op === '<=' ? value <= limit : value >= limit;
  console.log(`- ${met ? 'met' : 'MISSED'}: ${name}: ${value.toFixed(2)} ${unit} (goal ${op} ${limit} ${unit})`);
  return met;
}
