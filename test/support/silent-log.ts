/** A logger that keeps what it is told, so that a test can look for what must (not) be there. */
import type { LogFields, Logger } from '../../src/telemetry/log';

export interface KeptLog extends Logger {
  readonly lines: string[];
}

export function keptLog(lines: string[] = [], bound: LogFields = {}): KeptLog {
  const keep =
    (level: string) =>
    (event: string, fields: LogFields = {}) => {
      lines.push(JSON.stringify({ level, event, ...bound, ...fields }));
    };
  return {
    lines,
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
    child: (fields) => keptLog(lines, { ...bound, ...fields }),
  };
}
