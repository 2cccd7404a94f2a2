/** Changes that a child of the old era tells of by itself, or of a resource once it was subscribed to. */
import { isObject } from '../json';
import type { ChangeConsumer, ConversationLink, Filter } from './contract';

/** Milliseconds for the child to take a subscription. */
const SUBSCRIBE_MS = 5_000;

export class LegacyWatch {
  readonly #capabilities: Readonly<Record<string, unknown>>;
  readonly #subscribed = new Set<string>();
  #changed: ChangeConsumer | undefined;

  /** @param capabilities the child's. */
  constructor(capabilities: Readonly<Record<string, unknown>>) {
    this.#capabilities = capabilities;
  }

  /** See {@link Conversation.watch}. A list's changes are told by the child whether or not somebody wants them; they are filtered by whoever asks. */
  async set(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    this.#changed = changed;
    const resources = this.#offers('resources', 'subscribe') ? filter.resources : new Set<string>();
    const gone = [...this.#subscribed].filter((uri) => !resources.has(uri));
    const fresh = [...resources].filter((uri) => !this.#subscribed.has(uri));
    for (const uri of gone) {
      this.#subscribed.delete(uri);
      void link.ask('resources/unsubscribe', { uri }, SUBSCRIBE_MS);
    }
    for (const uri of fresh) this.#subscribed.add(uri);
    await Promise.all(
      fresh.map(async (uri) => {
        const answer = await link.ask('resources/subscribe', { uri }, SUBSCRIBE_MS);
        if (answer?.error !== undefined) this.#subscribed.delete(uri);
      }),
    );
    return {
      toolsListChanged: filter.toolsListChanged && this.#offers('tools', 'listChanged'),
      promptsListChanged: filter.promptsListChanged && this.#offers('prompts', 'listChanged'),
      resourcesListChanged: filter.resourcesListChanged && this.#offers('resources', 'listChanged'),
      resources: new Set([...filter.resources].filter((uri) => this.#subscribed.has(uri))),
    };
  }

  heard(method: string, params: Readonly<Record<string, unknown>>): void {
    this.#changed?.(method, params);
  }

  #offers(feature: string, what: string): boolean {
    const offered = this.#capabilities[feature];
    return isObject(offered) && offered[what] === true;
  }
}
