/** The {@link Logger} on pino. */
import pino from 'pino';
import { scrub } from './scrub';
import type { LogFields, Logger } from './log';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  readonly level: LogLevel;
  readonly destination: 'stderr' | 'stdout';
}

/** A logger, and what writes out the lines that wait. */
export interface LogSink {
  readonly log: Logger;
  /** Writes out what is buffered, before the process ends. Never throws. */
  flush(): void;
}

/** Anything that takes lines; tests collect them. */
export interface LineStream {
  write(line: string): void;
  flushSync?(): void;
}

/** Makes the program's logger: one JSON object a line, times in ISO 8601, every field scrubbed. Lines are written without blocking. */
export function createLog(options: LogOptions, stream?: LineStream): LogSink {
  const to = stream ?? pino.destination({ dest: options.destination === 'stdout' ? 1 : 2, sync: false });
  const base = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    to,
  );
  return {
    log: new PinoLogger(base),
    flush: () => {
      try {
        to.flushSync?.();
      } catch {
        // The reader of our log is gone; there is nobody to tell.
      }
    },
  };
}

class PinoLogger implements Logger {
  readonly #pino: pino.Logger;

  constructor(logger: pino.Logger) {
    this.#pino = logger;
  }

  debug(event: string, fields?: LogFields): void {
    if (this.#pino.isLevelEnabled('debug')) this.#pino.debug(scrub(fields), event);
  }

  info(event: string, fields?: LogFields): void {
    if (this.#pino.isLevelEnabled('info')) this.#pino.info(scrub(fields), event);
  }

  warn(event: string, fields?: LogFields): void {
    if (this.#pino.isLevelEnabled('warn')) this.#pino.warn(scrub(fields), event);
  }

  error(event: string, fields?: LogFields): void {
    if (this.#pino.isLevelEnabled('error')) this.#pino.error(scrub(fields), event);
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(scrub(fields)));
  }
}
