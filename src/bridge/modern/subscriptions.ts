/** `subscriptions/listen`: who wants to hear of which changes, over as many children as come and go meanwhile (MCP 2026-07-28, 'Subscriptions'). */
import type { JsonRpcId, JsonRpcNotification, JsonRpcRequest, MessageSink } from '../contract';
import type { Conversation, ConversationLink, Filter } from './contract';
import { SUBSCRIPTION_ID } from './meta';
import { filterParams, readFilter } from './modern-watch';
import { completed, success } from './results';

interface Subscription {
  readonly id: JsonRpcId;
  readonly wanted: Filter;
  /** What the child agreed to. */
  granted: Filter;
  /** Whether the acknowledgement went out; nothing may come before it. */
  acknowledged: boolean;
  readonly sink: MessageSink;
  /** Ends the wait of whoever serves the request. */
  readonly done: () => void;
}

/** Which list a notification tells of. */
const LISTS: Readonly<Record<string, 'toolsListChanged' | 'promptsListChanged' | 'resourcesListChanged'>> = {
  'notifications/tools/list_changed': 'toolsListChanged',
  'notifications/prompts/list_changed': 'promptsListChanged',
  'notifications/resources/list_changed': 'resourcesListChanged',
};
const UPDATED = 'notifications/resources/updated';

/** Subscriptions of one kind of client; the oldest ends when there are more. */
export const MAX_SUBSCRIPTIONS = 16;
/** Resources that all of them may watch. */
const MAX_RESOURCES = 1024;

export class Subscriptions {
  readonly #open = new Set<Subscription>();
  /** The child as it is watched now; a change of what is watched comes after the one before. */
  #watching: Promise<unknown> = Promise.resolve();
  #conversation: Conversation | undefined;

  get size(): number {
    return this.#open.size;
  }

  /**
   * Serves one subscription: the acknowledgement first, then changes, until `signal` aborts or {@link end}. Resolves once it is acknowledged, with the
   * promise of its end.
   */
  async serve(
    conversation: Conversation,
    link: ConversationLink,
    request: JsonRpcRequest,
    sink: MessageSink,
    signal: AbortSignal,
  ): Promise<{ readonly ended: Promise<void> }> {
    const filter = readFilter(request.params?.notifications);
    const wanted = { ...filter, resources: new Set([...filter.resources].slice(0, MAX_RESOURCES)) };
    let over: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      over = resolve;
    });
    const subscription: Subscription = {
      id: request.id,
      wanted,
      granted: wanted,
      acknowledged: false,
      sink,
      done: () => over(),
    };
    this.#open.add(subscription);
    signal.addEventListener('abort', () => this.#remove(subscription), { once: true });
    const [oldest] = this.#open;
    if (this.#open.size > MAX_SUBSCRIPTIONS && oldest !== undefined) this.#finish(oldest);
    const granted = await this.attach(conversation, link);
    if (!signal.aborted && this.#open.has(subscription)) {
      subscription.granted = intersection(wanted, granted);
      const params = { notifications: filterParams(subscription.granted) };
      this.#send(subscription, 'notifications/subscriptions/acknowledged', params);
      subscription.acknowledged = true;
    }
    return { ended };
  }

  /** Makes a child tell of what is wanted. Resolves with what it agreed to. */
  attach(conversation: Conversation, link: ConversationLink): Promise<Filter> {
    this.#conversation = conversation;
    const watch = this.#watching.then(() =>
      conversation.watch(link, union([...this.#open].map(({ wanted }) => wanted)), (method, params) =>
        this.#changed(conversation, method, params),
      ),
    );
    this.#watching = watch.catch(() => undefined);
    return watch;
  }

  /**
   * Another child has taken the place of one that is gone: it is watched, and since nobody can tell what changed in between, all that is watched is
   * said to have.
   */
  async replaced(conversation: Conversation, link: ConversationLink): Promise<void> {
    if (this.#open.size === 0) return;
    await this.attach(conversation, link);
    for (const subscription of this.#open) {
      if (!subscription.acknowledged) continue;
      for (const [method, list] of Object.entries(LISTS))
        if (subscription.granted[list]) this.#send(subscription, method, {});
      for (const uri of subscription.granted.resources) this.#send(subscription, UPDATED, { uri });
    }
  }

  /** Ends all in an orderly way: each is told that it is over. */
  end(): void {
    for (const subscription of [...this.#open]) this.#finish(subscription);
  }

  #changed(conversation: Conversation, method: string, params: Readonly<Record<string, unknown>>): void {
    if (conversation !== this.#conversation) return;
    const list = LISTS[method];
    const uri = method === UPDATED && typeof params.uri === 'string' ? params.uri : undefined;
    for (const subscription of this.#open) {
      const { granted, acknowledged } = subscription;
      if (!acknowledged) continue;
      if ((list !== undefined && granted[list]) || (uri !== undefined && concerns(granted.resources, uri))) {
        this.#send(subscription, method, params);
      }
    }
  }

  #send(subscription: Subscription, method: string, params: Readonly<Record<string, unknown>>): void {
    const meta = { ...(params._meta as object | undefined), [SUBSCRIPTION_ID]: subscription.id };
    const message: JsonRpcNotification = { jsonrpc: '2.0', method, params: { ...params, _meta: meta } };
    subscription.sink.send(message, JSON.stringify(message))?.catch(() => this.#remove(subscription));
  }

  #finish(subscription: Subscription): void {
    const result = completed('subscriptions/listen', { _meta: { [SUBSCRIPTION_ID]: subscription.id } }, undefined);
    subscription.sink.send(...success(subscription.id, result))?.catch(() => undefined); // then it is gone already
    this.#remove(subscription);
  }

  #remove(subscription: Subscription): void {
    this.#open.delete(subscription);
    subscription.done();
  }
}

/** An update may be of a part of what was subscribed to (MCP 2025-11-25, 'Resource Subscriptions'). */
function concerns(resources: ReadonlySet<string>, uri: string): boolean {
  if (resources.has(uri)) return true;
  for (const each of resources) if (uri.startsWith(each.endsWith('/') ? each : `${each}/`)) return true;
  return false;
}

function union(filters: readonly Filter[]): Filter {
  return {
    toolsListChanged: filters.some(({ toolsListChanged }) => toolsListChanged),
    promptsListChanged: filters.some(({ promptsListChanged }) => promptsListChanged),
    resourcesListChanged: filters.some(({ resourcesListChanged }) => resourcesListChanged),
    resources: new Set(filters.flatMap(({ resources }) => [...resources]).slice(0, MAX_RESOURCES)),
  };
}

function intersection(wanted: Filter, granted: Filter): Filter {
  return {
    toolsListChanged: wanted.toolsListChanged && granted.toolsListChanged,
    promptsListChanged: wanted.promptsListChanged && granted.promptsListChanged,
    resourcesListChanged: wanted.resourcesListChanged && granted.resourcesListChanged,
    resources: new Set([...wanted.resources].filter((uri) => granted.resources.has(uri))),
  };
}
