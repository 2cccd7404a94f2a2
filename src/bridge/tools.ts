/** What the child's tools say of themselves (MCP 2025-11-25, 'Tools', `tools/list` and `ToolAnnotations`). */
import type { Clock } from '../clock';
import type { ToolFacts } from './contract';
import { isObject } from './json';
import type { Questions } from './questions';

/** Milliseconds for all pages: a caller waits for them. */
const LIST_MS = 5_000;
/** Bounds of what a child can make us keep. A tool beyond them is one that nothing is known of. */
const MAX_PAGES = 64;
const MAX_TOOLS = 4096;
const MAX_NAME = 1024;

/** `readOnlyHint` by the tool's name; undefined where the tool has none. */
type Hints = Map<string, boolean | undefined>;

/**
 * The child's list of tools, asked for when it is first needed and remembered until the child says that it has changed, whatever came of it: a child
 * that cannot tell is not asked before every call.
 */
export class Tools {
  readonly #questions: Pick<Questions, 'ask'>;
  readonly #clock: Clock;
  #known: Promise<ReadonlyMap<string, ToolFacts>> | undefined;

  constructor(questions: Pick<Questions, 'ask'>, clock: Clock) {
    this.#questions = questions;
    this.#clock = clock;
  }

  /** See {@link Channel.tool}. Callers that come together share one list. */
  async find(name: string): Promise<ToolFacts | undefined> {
    this.#known ??= this.#list();
    return (await this.#known).get(name);
  }

  /** The list has changed. */
  forget(): void {
    this.#known = undefined;
  }

  async #list(): Promise<ReadonlyMap<string, ToolFacts>> {
    const hints: Hints = new Map();
    const until = this.#clock.now() + LIST_MS;
    let params: { cursor?: string } = {};
    for (let page = 0; page < MAX_PAGES && hints.size < MAX_TOOLS; page += 1) {
      const left = until - this.#clock.now();
      const result = left > 0 ? await this.#questions.ask('tools/list', params, left) : undefined;
      if (!isObject(result) || !Array.isArray(result.tools)) break;
      for (const tool of result.tools.slice(0, MAX_TOOLS - hints.size)) note(hints, tool);
      if (typeof result.nextCursor !== 'string') break;
      params = { cursor: result.nextCursor };
    }
    return factsOf(hints);
  }
}

function note(hints: Hints, tool: unknown): void {
  if (!isObject(tool) || typeof tool.name !== 'string' || tool.name.length > MAX_NAME) return;
  const hint = isObject(tool.annotations) ? tool.annotations.readOnlyHint : undefined;
  hints.set(tool.name, typeof hint === 'boolean' ? hint : undefined);
}

/**
 * A tool without the hint writes (that is the hint's default), but only where the child marks the tools that read: of a child that knows
 * nothing of annotations, it would say that no tool reads.
 */
function factsOf(hints: Hints): ReadonlyMap<string, ToolFacts> {
  const marks = [...hints.values()].includes(true);
  const facts = new Map<string, ToolFacts>();
  for (const [name, hint] of hints) {
    const readOnly = hint ?? (marks ? false : undefined);
    if (readOnly !== undefined) facts.set(name, { readOnly });
  }
  return facts;
}
