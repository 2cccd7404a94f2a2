/** `subscriptions/listen`: who wants to hear of which changes, over as many children as come and go meanwhile (MCP 2026-07-28, 'Subscriptions'). */
import { AppError } from '../../errors';
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
  /** Changes of which its client is told when it has read what it was told before, each once; undefined while it is not behind. */
  behind: Map<string, Change> | undefined;
  /** Ends the wait of whoever serves the request. */
  readonly done: () => void;
}

interface Change {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
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
/** Changes that wait for a client that does not read; what is beyond them is not told. */
const MAX_BEHIND = 1024;
/** Characters of the name of a resource that is told of. */
const MAX_URI = 8_192;

export class Subscriptions {
  readonly #open = new Set<Subscription>();
  /** The child as it is watched now; a change of what is watched comes after the one before. */
  #watching: Promise<unknown> = Promise.resolve();
  #watched: { readonly conversation: Conversation; readonly link: ConversationLink } | undefined;
  readonly #emptied: () => void;

  /** @param emptied told when the last one has ended. */
  constructor(emptied: () => void) {
    this.#emptied = emptied;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Serves one subscription: the acknowledgement first, then changes, until `signal` aborts or {@link end}. Resolves once it is acknowledged, with the
   * promise of its end.
   * @throws AppError `LINK_CLOSED` where the child ended before it was acknowledged.
   */
  async serve(
    conversation: Conversation,
    link: ConversationLink,
    request: JsonRpcRequest,
    sink: MessageSink,
    signal: AbortSignal,
  ): Promise<{ readonly ended: Promise<void> }> {
    if (signal.aborted) return { ended: Promise.resolve() };
    if (conversation.closed) throw childGone();
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
      behind: undefined,
      done: () => over(),
    };
    this.#open.add(subscription);
    signal.addEventListener('abort', () => this.#remove(subscription), { once: true });
    const [oldest] = this.#open;
    if (this.#open.size > MAX_SUBSCRIPTIONS && oldest !== undefined) this.#finish(oldest);
    const granted = await this.attach(conversation, link);
    if (!this.#open.has(subscription)) return { ended };
    if (conversation.closed) {
      this.#remove(subscription);
      throw childGone();
    }
    subscription.granted = intersection(wanted, granted);
    const params = { notifications: filterParams(subscription.granted) };
    subscription.acknowledged = true;
    this.#send(subscription, { method: 'notifications/subscriptions/acknowledged', params });
    return { ended };
  }

  /** Makes a child tell of what is wanted. Resolves with what it agreed to. */
  attach(conversation: Conversation, link: ConversationLink): Promise<Filter> {
    this.#watched = { conversation, link };
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
        if (subscription.granted[list]) this.#send(subscription, { method, params: {} });
      for (const uri of subscription.granted.resources) this.#send(subscription, { method: UPDATED, params: { uri } });
    }
  }

  /**
   * A child is gone and its conversation closed. Where it was the one that is watched, and `final`, all that were acknowledged end; otherwise they
   * wait for the next one.
   */
  lost(conversation: Conversation, final: boolean): void {
    if (this.#watched !== undefined && this.#watched.conversation !== conversation) return;
    this.#watched = undefined;
    if (final) for (const subscription of [...this.#open]) if (subscription.acknowledged) this.#finish(subscription);
  }

  /** Ends all in an orderly way: each is told that it is over. */
  end(): void {
    for (const subscription of [...this.#open]) this.#finish(subscription);
  }

  #changed(conversation: Conversation, method: string, params: Readonly<Record<string, unknown>>): void {
    if (conversation !== this.#watched?.conversation) return;
    const list = Object.hasOwn(LISTS, method) ? LISTS[method] : undefined;
    const uri = method === UPDATED && typeof params.uri === 'string' ? params.uri : undefined;
    for (const subscription of this.#open) {
      const { granted, acknowledged } = subscription;
      if (!acknowledged) continue;
      if ((list !== undefined && granted[list]) || (uri !== undefined && concerns(granted.resources, uri))) {
        this.#send(subscription, { method, params });
      }
    }
  }

  /** Tells a client of a change. One that is behind is told when it has caught up, of each change once: it asks for what is then. */
  #send(subscription: Subscription, { method, params }: Change): void {
    const { behind, id, sink } = subscription;
    if (behind !== undefined) {
      const { uri } = params;
      if (behind.size < MAX_BEHIND)
        behind.set(`${method}\n${String(uri)}`, { method, params: uri === undefined ? {} : { uri } });
      return;
    }
    const meta = { ...(params._meta as object | undefined), [SUBSCRIPTION_ID]: id };
    const message: JsonRpcNotification = { jsonrpc: '2.0', method, params: { ...params, _meta: meta } };
    const taken = sink.send(message, JSON.stringify(message));
    if (taken === undefined) return;
    subscription.behind = new Map();
    taken.then(
      () => this.#caughtUp(subscription),
      () => this.#remove(subscription),
    );
  }

  #caughtUp(subscription: Subscription): void {
    const changes = [...(subscription.behind?.values() ?? [])];
    subscription.behind = undefined;
    if (!this.#open.has(subscription)) return;
    for (const change of changes) this.#send(subscription, change);
  }

  #finish(subscription: Subscription): void {
    const result = completed('subscriptions/listen', { _meta: { [SUBSCRIPTION_ID]: subscription.id } }, undefined);
    subscription.sink.send(...success(subscription.id, result))?.catch(() => undefined); // then it is gone already
    this.#remove(subscription);
  }

  /** The child need not tell any more what only this one wanted. */
  #remove(subscription: Subscription): void {
    if (!this.#open.delete(subscription)) return;
    subscription.done();
    if (this.#watched !== undefined) this.attach(this.#watched.conversation, this.#watched.link).catch(() => undefined); // its end is told elsewhere
    if (this.#open.size === 0) this.#emptied();
  }
}

function childGone(): AppError {
  return new AppError('LINK_CLOSED', 'The server has ended. Send the request again.');
}

/** An update may be of a part of what was subscribed to (MCP 2025-11-25, 'Resource Subscriptions'). */
function concerns(resources: ReadonlySet<string>, uri: string): boolean {
  if (resources.has(uri)) return true;
  if (uri.length > MAX_URI) return false;
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
