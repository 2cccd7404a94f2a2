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

/** What one stretch of work took: each call, and all of them together. */
export interface Samples {
  /** Milliseconds. */
  readonly each: readonly number[];
  /** Milliseconds of wall time. */
  readonly elapsed: number;
}

/** The figures of several stretches taken together. */
export function figures(stretches: readonly Samples[]): Figures {
  const sorted = stretches.flatMap((stretch) => stretch.each).sort((a, b) => a - b);
  const elapsed = stretches.reduce((sum, stretch) => sum + stretch.elapsed, 0);
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
  return { rate: (sorted.length / elapsed) * 1000, p50: at(0.5), p95: at(0.95), p99: at(0.99), count: sorted.length };
}

/** Runs `workers` at once, each in a loop, for `ms`, and times each call. */
export async function load(workers: readonly (() => Promise<unknown>)[], ms: number): Promise<Samples> {
  const each: number[] = [];
  const begin = performance.now();
  const end = begin + ms;
  await Promise.all(
    workers.map(async (work) => {
      for (let from = begin; from < end;) {
        await work();
        const now = performance.now();
        each.push(now - from);
        from = now;
      }
    }),
  );
  return { each, elapsed: performance.now() - begin };
}

/** Times one piece of work. */
export async function timed(work: () => Promise<void>): Promise<Samples> {
  const from = performance.now();
  await work();
  const elapsed = performance.now() - from;
  return { each: [elapsed], elapsed };
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
