/** Changes that a child of the stateless era tells of: one subscription at a time, with all that anybody wants to hear. */
import type { Clock } from '../../clock';
import type { JsonRpcRequest, MessageSink } from '../contract';
import { isObject, parseExact, without } from '../json';
import type { ChangeConsumer, ConversationLink, Filter } from './contract';
import { SUBSCRIPTION_ID } from './meta';
import { isAnswer } from './results';

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';

const NOTHING: Filter = {
  toolsListChanged: false,
  promptsListChanged: false,
  resourcesListChanged: false,
  resources: new Set(),
};

/** A filter as `subscriptions/listen` has it. */
export function filterParams(filter: Filter): Record<string, unknown> {
  return {
    ...(filter.toolsListChanged ? { toolsListChanged: true } : {}),
    ...(filter.promptsListChanged ? { promptsListChanged: true } : {}),
    ...(filter.resourcesListChanged ? { resourcesListChanged: true } : {}),
    ...(filter.resources.size > 0 ? { resourceSubscriptions: [...filter.resources] } : {}),
  };
}

/** Reads a filter; what is not there, or no filter, is not wanted. */
export function readFilter(value: unknown): Filter {
  if (!isObject(value)) return NOTHING;
  const uris: readonly unknown[] = Array.isArray(value.resourceSubscriptions) ? value.resourceSubscriptions : [];
  return {
    toolsListChanged: value.toolsListChanged === true,
    promptsListChanged: value.promptsListChanged === true,
    resourcesListChanged: value.resourcesListChanged === true,
    resources: new Set(uris.filter((uri): uri is string => typeof uri === 'string')),
  };
}

/** Milliseconds for the child to have seen that a subscription is over. */
const SEEN_MS = 2_000;

/** Milliseconds for the child to acknowledge a subscription. */
const ACKNOWLEDGE_MS = 5_000;

interface Current {
  readonly stop: AbortController;
  readonly wanted: Filter;
  readonly granted: Promise<Filter>;
}

export class ModernWatch {
  readonly #clock: Clock;
  readonly #meta: Readonly<Record<string, unknown>>;
  #current: Current | undefined;
  /** A subscription was ended, and the child has not shown that it knows. */
  #ending = false;
  #sequence = 0;

  /** @param meta of requests of the gateway's own. */
  constructor(clock: Clock, meta: Readonly<Record<string, unknown>>) {
    this.#clock = clock;
    this.#meta = meta;
  }

  /**
   * See {@link Conversation.watch}; called one after the other. A subscription that tells of more than is wanted stays: whoever asks filters.
   * Otherwise it is ended before the next one is begun, because the Go SDK keeps one for each connection and forgets the newer one
   * when the older one ends.
   */
  async set(link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    const notifications = filterParams(filter);
    if (Object.keys(notifications).length === 0) {
      this.close();
      return NOTHING;
    }
    if (this.#current !== undefined && covers(this.#current.wanted, filter)) return this.#current.granted;
    this.close();
    if (this.#ending) await link.ask('server/discover', {}, SEEN_MS);
    this.#ending = false;
    const stop = new AbortController();
    const current = { stop, wanted: filter, granted: this.#listen(link, notifications, stop, changed) };
    this.#current = current;
    return current.granted;
  }

  close(): void {
    if (this.#current === undefined) return;
    this.#ending = true;
    this.#current.stop.abort();
    this.#current = undefined;
  }

  #listen(
    link: ConversationLink,
    notifications: Record<string, unknown>,
    stop: AbortController,
    changed: ChangeConsumer,
  ): Promise<Filter> {
    this.#sequence += 1;
    const request: JsonRpcRequest = {
      jsonrpc: '2.0',
      id: this.#sequence,
      method: 'subscriptions/listen',
      params: { _meta: this.#meta, notifications },
    };
    return new Promise((resolve) => {
      const timer = this.#clock.after(ACKNOWLEDGE_MS, () => {
        this.#ending = true;
        stop.abort();
      });
      const granted = (filter: Filter): void => {
        timer.cancel();
        resolve(filter);
      };
      const sink: MessageSink = {
        send: (message, json) => {
          if (isAnswer(message) || stop.signal.aborted) return undefined; // refused, or over: the call's end follows
          const params = (parseExact(json) as { params?: unknown }).params;
          const exact = isObject(params) ? params : {};
          if (message.method === ACKNOWLEDGED) granted(readFilter(exact.notifications));
          else changed(message.method, withoutSubscription(exact));
          return undefined;
        },
      };
      const over = (): void => {
        if (this.#current?.stop === stop) this.#current = undefined;
        granted(NOTHING);
      };
      link.call(request, sink, { signal: stop.signal, endless: true }).then(over, over); // its child's end is told elsewhere
    });
  }
}

function covers(more: Filter, less: Filter): boolean {
  return (
    (more.toolsListChanged || !less.toolsListChanged) &&
    (more.promptsListChanged || !less.promptsListChanged) &&
    (more.resourcesListChanged || !less.resourcesListChanged) &&
    [...less.resources].every((uri) => more.resources.has(uri))
  );
}

function withoutSubscription(params: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (!isObject(params._meta)) return params;
  const meta = without(params._meta, SUBSCRIPTION_ID);
  return Object.keys(meta).length === 0 ? without(params, '_meta') : { ...params, _meta: meta };
}
