/** Structured logs: one JSON object a line on stderr, through pino, with secrets taken out wherever they stand. */

export type LogFields = Readonly<Record<string, unknown>>;

/** `event` is a stable, dotted name (`session.opened`); everything variable is a field. */
export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  child(fields: LogFields): Logger;
}
