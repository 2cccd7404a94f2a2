/** The one level at which a child of the old era logs, for all requests together (MCP 2025-11-25, 'Logging'). */
import { isObject } from '../json';
import type { ConversationLink } from './contract';
import { LOG_LEVELS } from './meta';

/** Milliseconds for the child to take a level. */
const LEVEL_MS = 5_000;

export class LogLevel {
  readonly #offered: boolean;
  /** The least severe level that anybody wanted; each message is looked at again. */
  #lowest = Infinity;

  /** @param capabilities the child's. */
  constructor(capabilities: Readonly<Record<string, unknown>>) {
    this.#offered = isObject(capabilities.logging);
  }

  /** Makes the child log at `severity` and above, or at whatever it logs already where that is more. */
  async lower(link: ConversationLink, severity: number | undefined): Promise<void> {
    if (severity === undefined || !this.#offered || this.#lowest <= severity) return;
    this.#lowest = severity;
    await link.ask('logging/setLevel', { level: LOG_LEVELS[severity] }, LEVEL_MS);
  }
}
