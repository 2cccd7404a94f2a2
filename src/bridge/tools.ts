/** What the child's tools say of themselves (MCP 2025-11-25, 'Tools', `tools/list` and `ToolAnnotations`). */
import type { Clock } from '../clock';
import type { Answer, ToolFacts } from './contract';
import { isObject } from './json';
import { mirroredArguments } from './mirrored';

/** Milliseconds for all pages: a caller waits for them. */
const LIST_MS = 5_000;
/** Milliseconds after a list that failed or came too late until the child is asked again: callers wait for that, too. */
const RETRY_MS = 30_000;
/** Bounds of what a child can make us keep. A tool beyond them is one that nothing is known of. */
const MAX_PAGES = 64;
const MAX_TOOLS = 4096;
const MAX_NAME = 1024;

/** A tool as the child lists it; `readOnlyHint` undefined where it has none. */
type Tool = Pick<ToolFacts, 'mirrored'> & { readonly hint: boolean | undefined };

type Facts = ReadonlyMap<string, ToolFacts>;

/** What came of asking for the list. */
interface List {
  readonly facts: Facts;
  /** When to ask again, in milliseconds of the clock; undefined where the list is whole. */
  readonly again: number | undefined;
}

const NOTHING: Facts = new Map();

/** Asks the child for one page. */
type AskForPage = (params: Readonly<Record<string, unknown>>, ms: number) => Promise<Answer | undefined>;

/**
 * The child's list of tools, asked for when it is first needed and remembered until the child says that it has changed. A list that failed, or of
 * which a page did, is asked for again when a tool is looked for that it does not tell of, but not before every call: a child may never answer.
 */
export class Tools {
  readonly #ask: AskForPage;
  readonly #clock: Clock;
  #known: Promise<List> | undefined;

  constructor(ask: AskForPage, clock: Clock) {
    this.#ask = ask;
    this.#clock = clock;
  }

  /** See {@link Channel.tool}. Callers that come together share one list. */
  async find(name: string): Promise<ToolFacts | undefined> {
    const known = (this.#known ??= this.#list(NOTHING));
    const { facts, again } = await known;
    const found = facts.get(name);
    if (found !== undefined || again === undefined || this.#clock.now() < again) return found;
    if (this.#known === known) this.#known = this.#list(facts);
    return this.find(name);
  }

  /** The list has changed. */
  forget(): void {
    this.#known = undefined;
  }

  /** Asks for all pages. Where one fails, what is known `before` stays if it is more. */
  async #list(before: Facts): Promise<List> {
    const tools = new Map<string, Tool>();
    const until = this.#clock.now() + LIST_MS;
    let params: { cursor?: string } = {};
    for (let page = 0; page < MAX_PAGES && tools.size < MAX_TOOLS; page += 1) {
      const left = until - this.#clock.now();
      const result = left > 0 ? (await this.#ask(params, left))?.result : undefined;
      if (!isObject(result) || !Array.isArray(result.tools)) {
        const facts = factsOf(tools);
        return { facts: facts.size < before.size ? before : facts, again: this.#clock.now() + RETRY_MS };
      }
      for (const tool of result.tools.slice(0, MAX_TOOLS - tools.size)) note(tools, tool);
      if (typeof result.nextCursor !== 'string') break;
      params = { cursor: result.nextCursor };
    }
    return { facts: factsOf(tools), again: undefined };
  }
}

function note(tools: Map<string, Tool>, tool: unknown): void {
  if (!isObject(tool) || typeof tool.name !== 'string' || tool.name.length > MAX_NAME) return;
  const hint = isObject(tool.annotations) ? tool.annotations.readOnlyHint : undefined;
  tools.set(tool.name, {
    hint: typeof hint === 'boolean' ? hint : undefined,
    mirrored: mirroredArguments(tool.inputSchema),
  });
}

/**
 * A tool without the hint writes (that is the hint's default), but only where the child marks the tools that read: of a child that knows
 * nothing of annotations, it would say that no tool reads.
 */
function factsOf(tools: ReadonlyMap<string, Tool>): Facts {
  const marks = [...tools.values()].some(({ hint }) => hint === true);
  const facts = new Map<string, ToolFacts>();
  for (const [name, { hint, mirrored }] of tools)
    facts.set(name, { readOnly: hint ?? (marks ? false : undefined), mirrored });
  return facts;
}
