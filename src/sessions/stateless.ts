/**
 * Sessions for clients that know of none (MCP 2026-07-28): their requests find a child by who asks, with what rights, and what the client
 * says of itself. Everything else, caps, idle time, binding and ends, is the registry's: this only remembers which session serves whom.
 */
import type { AuthContext } from '../auth/context';
import type { MessageSink } from '../bridge/contract';
import { digestOf } from '../bridge/modern/canonical';
import type { Conversation } from '../bridge/modern/contract';
import type { ClientFacts } from '../bridge/modern/meta';
import { openConversation, type ChildEra } from '../bridge/modern/open';
import type { StateSeal } from '../bridge/modern/state';
import { Subscriptions } from '../bridge/modern/subscriptions';
import type { Clock } from '../clock';
import type { ServerSpec } from '../config/server';
import { AppError } from '../errors';
import type { SessionHandle, Sessions, StatelessSessions, StatelessUse } from './ports';
import { within } from './within';
import * as refusals from './refusals';

export interface StatelessOptions {
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly seal: StateSeal;
  /** The versions that are served, the newest first. */
  readonly versions: readonly string[];
}

/** A session that serves one kind of request. */
interface Serving {
  readonly id: string;
  readonly conversation: Conversation;
}

/** What is kept for one kind of request. */
interface Entry {
  serving: Promise<Serving> | undefined;
  readonly subscriptions: Subscriptions;
}

/** A session that has ended between two requests is replaced this often before the request is refused. */
const TRIES = 3;

export class StatelessTable implements StatelessSessions {
  readonly #options: StatelessOptions;
  readonly #entries = new Map<string, Entry>();
  /** What children of a server answered when they were asked for their era, so that each is asked once and not at every start. */
  readonly #eras = new Map<string, 'legacy' | 'modern'>();

  constructor(options: StatelessOptions) {
    this.#options = options;
  }

  /** Kinds of requests that have a session or subscriptions. */
  get size(): number {
    return this.#entries.size;
  }

  async use(
    auth: AuthContext | undefined,
    server: ServerSpec,
    client: ClientFacts,
    confirm: () => Promise<unknown>,
  ): Promise<StatelessUse> {
    if (auth === undefined) throw refusals.noAuthContext();
    const key = keyOf(auth, server, client);
    for (let tries = 1; ; tries += 1) {
      const entry = this.#entry(key);
      entry.serving ??= confirm().then(() => this.#open(key, entry, auth, server, client));
      const { serving } = entry;
      try {
        const { id, conversation } = await serving;
        const handle = await this.#options.sessions.use(auth, server, id);
        return { handle, conversation, subscriptions: entry.subscriptions };
      } catch (thrown) {
        if (entry.serving === serving) entry.serving = undefined;
        this.#tidy(key, entry);
        if (!isEnded(thrown) || tries === TRIES) throw thrown;
      }
    }
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry: Entry = { serving: undefined, subscriptions: new Subscriptions() };
    this.#entries.set(key, entry);
    return entry;
  }

  #tidy(key: string, entry: Entry): void {
    if (entry.serving === undefined && entry.subscriptions.size === 0) this.#entries.delete(key);
  }

  /** Opens a session and begins the conversation with its child. All who ask meanwhile wait for the same one, so nobody's leaving gives it up. */
  async #open(key: string, entry: Entry, auth: AuthContext, server: ServerSpec, client: ClientFacts): Promise<Serving> {
    const era = server.protocolEra === 'auto' ? (this.#eras.get(eraKey(server)) ?? 'auto') : server.protocolEra;
    try {
      return await this.#begin(key, entry, auth, server, client, era);
    } catch (thrown) {
      // A child may end when it hears anything before `initialize`: the next one is spared the question.
      if (era !== 'auto' || !(thrown instanceof AppError) || !AT_PROBE.has(thrown.code)) throw thrown;
      const serving = await this.#begin(key, entry, auth, server, client, 'legacy');
      this.#eras.set(eraKey(server), 'legacy');
      return serving;
    }
  }

  async #begin(
    key: string,
    entry: Entry,
    auth: AuthContext,
    server: ServerSpec,
    client: ClientFacts,
    era: ChildEra,
  ): Promise<Serving> {
    const { sessions, clock, seal, versions } = this.#options;
    const handle = await sessions.open(auth, server, new AbortController().signal);
    try {
      const conversation = await within(
        clock,
        server.startTimeout * 1000,
        openConversation(handle, {
          clock,
          seal,
          audience: key,
          client,
          era,
          versions,
          callTimeout: server.callTimeout,
          learned: (spoken) => this.#eras.set(eraKey(server), spoken),
        }),
        () => refusals.startDeadline(server.startTimeout),
      );
      const serving = { id: handle.id, conversation };
      await this.#follow(key, entry, auth, server, handle, serving);
      return serving;
    } finally {
      handle.release();
    }
  }

  /** Listens to what the child says to nobody in particular, and notices the session's end. */
  async #follow(
    key: string,
    entry: Entry,
    auth: AuthContext,
    server: ServerSpec,
    handle: SessionHandle,
    { conversation }: Serving,
  ): Promise<void> {
    const sink: MessageSink = conversation.rest;
    const { ended } = await this.#options.sessions.listen(auth, server, handle.id, sink);
    void ended.then((reason) => {
      conversation.close();
      entry.serving = undefined;
      // An idle child goes and what its clients wait for stays; every other end is one that they should know of.
      if (reason !== 'idle') entry.subscriptions.end();
      this.#tidy(key, entry);
    });
    await entry.subscriptions.replaced(conversation, handle);
  }
}

/** How a start fails when the child did not survive the question for its era. */
const AT_PROBE: ReadonlySet<string> = new Set(['SESSION_ENDED', 'BACKEND_CRASHED', 'BACKEND_ENDED', 'LINK_CLOSED']);

function isEnded(thrown: unknown): boolean {
  return thrown instanceof AppError && thrown.code === 'SESSION_ENDED';
}

/**
 * Which requests share a child: those of one user, grant and rights, from clients that say the same of themselves, because what a client can do is
 * fixed for a child that knows `initialize` only.
 */
function keyOf(auth: AuthContext, server: ServerSpec, client: ClientFacts): string {
  const { mode, user, grant, scopes, choice } = auth;
  return digestOf([
    server.name,
    mode,
    user.issuer,
    user.id,
    grant,
    auth.client,
    [...scopes].sort(),
    choice ?? null,
    client.capabilities,
    client.info ?? null,
  ]);
}

function eraKey(server: ServerSpec): string {
  return digestOf([server.name, server.command, server.pod.image]);
}
