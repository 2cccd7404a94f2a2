/**
 * Sessions for clients that know of none (MCP 2026-07-28): their requests find a child by who asks, with what rights, and what the client
 * says of itself. Everything else, caps, idle time, binding and ends, is the registry's: this only remembers which session serves whom.
 */
import type { AuthContext } from '../auth/context';
import { digestOf } from '../bridge/modern/canonical';
import type { JsonRpcRequest } from '../bridge/contract';
import type { Conversation } from '../bridge/modern/contract';
import type { ClientFacts } from '../bridge/modern/meta';
import { openConversation, type ChildEra } from '../bridge/modern/open';
import type { StateSeal } from '../bridge/modern/state';
import { Subscriptions } from '../bridge/modern/subscriptions';
import type { Clock, Timer } from '../clock';
import type { ServerSpec } from '../config/server';
import { AppError } from '../errors';
import { userKey } from './caps';
import type { EndReason, SessionHandle, Sessions, StatelessPlace, StatelessSessions, StatelessUse } from './ports';
import * as refusals from './refusals';
import { within } from './within';

export interface StatelessOptions {
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly seal: StateSeal;
  /** The versions that are served, the newest first. */
  readonly versions: readonly string[];
  /** Whether requests of this key come to this process, where several serve; where it is absent, all do. See {@link StatelessSessions.place}. */
  readonly owns?: (key: string) => boolean;
}

/** A session that serves one kind of request. */
interface Serving {
  readonly id: string;
  readonly conversation: Conversation;
  /** Why the session is over. */
  readonly ended: Promise<EndReason | 'superseded'>;
}

/** Who asks, and where. */
interface Asker {
  readonly auth: AuthContext;
  readonly server: ServerSpec;
  readonly client: ClientFacts;
  readonly confirm: () => Promise<unknown>;
}

/** What is kept for one kind of request, as long as it has a session, subscriptions, or a request under way. */
interface Entry {
  readonly key: string;
  readonly subscriptions: Subscriptions;
  /** The last one. */
  asker: Asker;
  serving: Promise<Serving> | undefined;
  /** The same once it is there. */
  live: Serving | undefined;
  /** Requests under way. */
  users: number;
  /** Monotonic milliseconds. */
  usedAt: number;
  /** Runs while somebody listens without a session. */
  check: Timer | undefined;
}

/** A session that has ended between two requests is replaced this often before the request is refused. */
const TRIES = 3;
/** Milliseconds for a child to say which era it speaks, at most. */
const PROBE_MS = 10_000;
/** Calls that may wait for their clients: half of what a child takes, and few enough to leave room for questions of others. */
const MAX_PARKED = 32;
/** Milliseconds between two looks at a login that somebody listens with who has no session: with one, its end tells. */
const CHECK_MS = 60_000;

export class StatelessTable implements StatelessSessions {
  readonly #options: StatelessOptions;
  readonly #entries = new Map<string, Entry>();
  /** What children of a server answered when they were asked for their era, so that each is asked once and not at every start. */
  readonly #eras = new Map<string, 'legacy' | 'modern'>();

  constructor(options: StatelessOptions) {
    this.#options = options;
  }

  /** Kinds of requests of which something is kept. */
  get size(): number {
    return this.#entries.size;
  }

  place(
    auth: AuthContext | undefined,
    server: ServerSpec,
    client: ClientFacts,
    request: JsonRpcRequest,
  ): StatelessPlace {
    if (auth === undefined) throw refusals.noAuthContext();
    const key = keyOf(auth, server, client);
    const state = request.params?.requestState;
    const at = typeof state === 'string' ? this.#options.seal.open(key, request, state)?.at : undefined;
    return at === undefined ? { key } : { key, at };
  }

  async use(
    auth: AuthContext | undefined,
    server: ServerSpec,
    client: ClientFacts,
    confirm: () => Promise<unknown>,
  ): Promise<StatelessUse> {
    if (auth === undefined) throw refusals.noAuthContext();
    const entry = this.#entry({ auth, server, client, confirm });
    entry.users += 1;
    try {
      const { handle, conversation, serving } = await this.#find(entry, entry.asker);
      const release = (isGone = false): void => {
        if (isGone && entry.serving === serving) entry.serving = undefined;
        handle.release();
        this.#leave(entry);
      };
      return { handle, conversation, subscriptions: entry.subscriptions, release };
    } catch (thrown) {
      this.#leave(entry);
      throw thrown;
    }
  }

  /** The gateway stops: tells those who listen, also those without a session. Sessions end by themselves. */
  stop(): void {
    for (const entry of [...this.#entries.values()]) {
      entry.subscriptions.end();
      this.#tidy(entry);
    }
  }

  #entry(asker: Asker): Entry {
    const { auth, server, client } = asker;
    const key = keyOf(auth, server, client);
    const usedAt = this.#options.clock.now();
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.asker = asker;
      known.usedAt = usedAt;
      return known;
    }
    const entry: Entry = {
      key,
      subscriptions: new Subscriptions(() => this.#tidy(entry)),
      asker,
      serving: undefined,
      live: undefined,
      users: 0,
      usedAt,
      check: undefined,
    };
    this.#entries.set(key, entry);
    return entry;
  }

  #leave(entry: Entry): void {
    entry.users -= 1;
    entry.usedAt = this.#options.clock.now();
    this.#tidy(entry);
  }

  #tidy(entry: Entry): void {
    const { users, serving, subscriptions } = entry;
    if (subscriptions.size === 0 || serving !== undefined) {
      entry.check?.cancel();
      entry.check = undefined;
    }
    const isEmpty = users === 0 && serving === undefined && subscriptions.size === 0;
    if (isEmpty && this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
  }

  /** The session of an entry, in hand. All who ask while one is opened wait for the same one, so nobody's leaving gives it up. */
  async #find(
    entry: Entry,
    asker: Asker,
  ): Promise<{ handle: SessionHandle; conversation: Conversation; serving: Promise<Serving> }> {
    const { auth, server } = asker;
    for (let tries = 1; ; tries += 1) {
      const serving = entry.serving ?? this.#start(entry, asker);
      const { id, conversation } = await serving;
      try {
        return { handle: await this.#options.sessions.use(auth, server, id), conversation, serving };
      } catch (thrown) {
        if (!isEnded(thrown)) throw thrown;
        if (entry.serving === serving) entry.serving = undefined;
        if (tries === TRIES) throw keepsEnding(thrown);
      }
    }
  }

  #start(entry: Entry, asker: Asker): Promise<Serving> {
    const serving = asker.confirm().then(() => this.#open(entry, asker));
    entry.serving = serving;
    serving.then(
      (live) => {
        entry.live = live;
        void live.ended.then((reason) => this.#ended(entry, serving, live, reason));
      },
      () => {
        if (entry.serving === serving) entry.serving = undefined;
      },
    );
    return serving;
  }

  /**
   * An idle child goes and what its clients wait for stays; every other end is one that they should know of. So is that of a child which none will follow
   * here: they come back where the next one is.
   */
  #ended(entry: Entry, serving: Promise<Serving>, live: Serving, reason: EndReason | 'superseded'): void {
    live.conversation.close();
    if (entry.serving === serving) entry.serving = undefined;
    if (entry.live === live) entry.live = undefined;
    entry.subscriptions.lost(live.conversation, reason !== 'idle' || !this.#owns(entry));
    this.#tidy(entry);
    this.#check(entry);
  }

  #owns({ key }: Entry): boolean {
    return this.#options.owns?.(key) ?? true;
  }

  /** No session ends with a login that somebody only listens with, so the login is looked at, and whether there will be a child here to listen to. */
  #check(entry: Entry): void {
    if (entry.check !== undefined || entry.serving !== undefined || entry.subscriptions.size === 0) return;
    entry.check = this.#options.clock.after(CHECK_MS, () => {
      const isOver = (thrown: unknown): void => {
        if (thrown instanceof AppError && thrown.code === 'AUTH_INVALID') entry.subscriptions.end();
      };
      if (!this.#owns(entry)) entry.subscriptions.end();
      void entry.asker
        .confirm()
        .catch(isOver)
        .then(() => {
          entry.check = undefined;
          this.#check(entry);
        });
    });
  }

  /** Opens a session and begins the conversation with its child. */
  async #open(entry: Entry, asker: Asker): Promise<Serving> {
    const { protocolEra } = asker.server;
    const era = protocolEra === 'auto' ? (this.#eras.get(eraKey(asker.server)) ?? 'auto') : protocolEra;
    try {
      return await this.#begin(entry, asker, era);
    } catch (thrown) {
      // A child may end when it hears anything before `initialize`: the next one is spared the question.
      if (!(thrown instanceof UnansweredProbe)) throw thrown;
      const serving = await this.#begin(entry, asker, 'legacy');
      this.#eras.set(eraKey(asker.server), 'legacy');
      return serving;
    }
  }

  async #begin(entry: Entry, { auth, server, client }: Asker, era: ChildEra): Promise<Serving> {
    const { sessions, clock, seal, versions } = this.#options;
    const handle = await this.#openSession(auth, server);
    let answered = era !== 'auto';
    try {
      const conversation = await within(
        clock,
        server.startTimeout * 1000,
        openConversation(handle, {
          clock,
          seal,
          audience: entry.key,
          client,
          era,
          versions,
          callTimeout: server.callTimeout,
          maxParked: Math.min(MAX_PARKED, Math.ceil(server.maxCallsInFlight / 2)),
          probeMs: Math.min(PROBE_MS, server.startTimeout * 500),
          learned: (spoken) => {
            answered = true;
            this.#eras.set(eraKey(server), spoken);
          },
        }),
        () => refusals.startDeadline(server.startTimeout),
      );
      const { ended } = await sessions.listen(auth, server, handle.id, conversation.rest);
      entry.subscriptions.replaced(conversation, handle).catch(() => undefined); // its end is told by `ended`
      return { id: handle.id, conversation, ended };
    } catch (thrown) {
      handle.release();
      // Whatever it is that stands there, nobody else knows of it. Where it has ended already this does nothing.
      void sessions.end(auth, server, handle.id, 'initialize-failed').catch(() => undefined);
      const failed = isEnded(thrown) ? keepsEnding(thrown) : thrown;
      if (answered || !(failed instanceof AppError) || failed.code !== 'BACKEND_CRASHED') throw failed;
      await handle.ended; // its place is to be free before the next one takes one
      throw new UnansweredProbe('the child ended', { cause: failed });
    } finally {
      handle.release();
    }
  }

  /** At a cap the session of the same user that has been idle for longest makes room. */
  async #openSession(auth: AuthContext, server: ServerSpec): Promise<SessionHandle> {
    const { sessions } = this.#options;
    const never = new AbortController().signal;
    try {
      return await sessions.open(auth, server, never, { outlives: 'nothing' });
    } catch (thrown) {
      const idle = thrown instanceof AppError ? this.#idlest(thrown, auth, server) : undefined;
      if (idle?.live === undefined) throw thrown;
      const { asker, live } = idle;
      idle.serving = undefined; // who asks for it now gets another one
      await sessions.end(asker.auth, asker.server, live.id, 'idle').catch(() => undefined); // then it has ended already
      return sessions.open(auth, server, never, { outlives: 'nothing' });
    }
  }

  #idlest({ code }: AppError, auth: AuthContext, server: ServerSpec): Entry | undefined {
    if (!CAPS.has(code)) return undefined;
    let idlest: Entry | undefined;
    for (const entry of this.#entries.values()) {
      const { asker, users, serving, live, usedAt } = entry;
      if (users > 0 || serving === undefined || live === undefined || live.conversation.busy) continue;
      if (userKey(asker.auth.user) !== userKey(auth.user)) continue;
      if (code === 'SESSION_CAP_SERVER' && asker.server.name !== server.name) continue;
      if (idlest === undefined || usedAt < idlest.usedAt) idlest = entry;
    }
    return idlest;
  }
}

/** A child that was asked for its era has ended without an answer. */
class UnansweredProbe extends Error {}

const CAPS: ReadonlySet<string> = new Set(['SESSION_CAP_USER', 'SESSION_CAP_SERVER', 'SESSION_CAP_INSTALL']);

function isEnded(thrown: unknown): boolean {
  return thrown instanceof AppError && thrown.code === 'SESSION_ENDED';
}

/** A client of this era knows of no sessions, so it is not told that one has ended. */
function keepsEnding(cause: unknown): AppError {
  return new AppError(
    'BACKEND_CRASHED',
    'The server of this endpoint ended by itself at its start. Try again; if it stays, tell your administrator.',
    { cause },
  );
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
