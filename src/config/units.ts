/** Times and sizes as people write them. */

const SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * Reads `30s`, `5m`, `1h30m`, `250ms`, `7d`, or a number of seconds.
 * @returns seconds; undefined when it is none.
 */
export function parseDuration(value: string | number): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) && value >= 0 ? value : undefined;
  const text = value.trim();
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let seconds = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    seconds += Number(number) * (SECONDS[unit ?? ''] ?? 0);
  }
  return seconds;
}

const BYTES: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
};

/**
 * Reads a Kubernetes quantity of bytes: `512Ki`, `4Mi`, `1G`, or a number of bytes.
 * @returns bytes; undefined when it is none.
 */
export function parseBytes(value: string | number): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const match = /^(\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi)?$/.exec(value.trim());
  if (match === null) return undefined;
  return Math.round(Number(match[1]) * (BYTES[match[2] ?? ''] ?? 1));
}

/** The other way, for messages: the largest unit that divides it. */
export function formatDuration(seconds: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = SECONDS[unit] ?? 1;
    if (seconds >= size && seconds % size === 0) return `${String(seconds / size)}${unit}`;
  }
  return `${String(Math.round(seconds * 1000))}ms`;
}
