/** A registry over fakes: children that a test makes come up, fail and end, a store in memory that can break, and a clock. */
import { createHash } from 'node:crypto';
import type { AuthContext } from '../../src/auth/context';
import { openChannel } from '../../src/bridge/channel';
import type { Channel } from '../../src/bridge/contract';
import type { ServerSpec } from '../../src/config/server';
import { AppError } from '../../src/errors';
import { alone } from '../../src/sessions/holders';
import { SessionIds } from '../../src/sessions/ids';
import type {
  ChildPlace,
  EndReason,
  SessionChange,
  SessionHandle,
  SessionObserver,
  SessionRecord,
  SessionStore,
  SessionUpkeep,
  SleepReason,
  SpawnRequest,
} from '../../src/sessions/ports';
import { Registry, type RegistryOptions } from '../../src/sessions/registry';
import { openSqliteSessionStore } from '../../src/stores/sqlite/sessions';
import { aRequest, RecordingObserver } from './channel';
import { serverSpec, type SpecChanges } from './server-spec';
import { FakeClock, FakeLink, FakeSink, settle } from './fake-link';

export function aServer(over: SpecChanges = {}): ServerSpec {
  return serverSpec({ name: 'forgejo', startTimeout: 120, callTimeout: 600, maxLineBytes: 1_048_576, ...over });
}

/** A user's authenticated request. */
export function anAuth(user = '7', over: Partial<AuthContext> = {}): AuthContext {
  return {
    mode: 'oauth',
    user: { issuer: 'https://forge.example', id: user, login: `user${user}` },
    grant: `grant-${user}`,
    client: 'client-1',
    scopes: new Set(['forgejo:read']),
    ...over,
  };
}

/** One child that was asked for. */
export interface FakeStart {
  readonly request: SpawnRequest;
  readonly signal: AbortSignal;
  readonly link: FakeLink;
  readonly channel: Channel;
  /** Lets it come up. */
  readonly come: () => void;
  readonly fail: (thrown: Error) => void;
}

/** Keeps what the registry tells. */
export class SessionLog implements SessionObserver {
  readonly openedNames: string[] = [];
  readonly refusals: string[] = [];
  readonly ends: EndReason[] = [];
  readonly sleeps: SleepReason[] = [];
  readonly wokenNames: string[] = [];
  readonly handovers: string[] = [];
  last: Readonly<Record<string, number>> = {};

  opened(session: SessionRecord): void {
    this.openedNames.push(session.name);
  }

  refused(code: string): void {
    this.refusals.push(code);
  }

  ended(_session: SessionRecord, reason: EndReason): void {
    this.ends.push(reason);
  }

  hibernated(_session: SessionRecord, why: SleepReason): void {
    this.sleeps.push(why);
  }

  woken(session: SessionRecord): void {
    this.wokenNames.push(session.name);
  }

  handedOver(_session: SessionRecord, how: string): void {
    this.handovers.push(how);
  }

  counts(states: Readonly<Record<string, number>>): void {
    this.last = states;
  }
}

/** A store's upkeep, which it must have. */
export function upkeepOf({ upkeep }: SessionStore): SessionUpkeep {
  if (upkeep === undefined) throw new Error('the store has no upkeep');
  return upkeep;
}

/** A store whose failures a test turns on and off. */
export class BreakableStore implements SessionStore {
  readonly inner = openSqliteSessionStore(':memory:');
  broken = false;
  /** Set: calls wait for it. */
  gate: Promise<void> | undefined;
  calls = 0;

  readonly insert = (record: SessionRecord) => this.#through(() => this.inner.insert(record));
  readonly end = (name: string, reason: EndReason, at: number) => this.#through(() => this.inner.end(name, reason, at));
  readonly update = (name: string, change: SessionChange) => this.#through(() => this.inner.update(name, change));
  readonly claim = (name: string, generation: number) => this.#through(() => this.inner.claim(name, generation));
  readonly get = (name: string) => this.#through(() => this.inner.get(name));
  readonly upkeep: SessionUpkeep = {
    recover: (at, expiresAt) => this.#through(() => upkeepOf(this.inner).recover(at, expiresAt)),
    expire: (at) => this.#through(() => upkeepOf(this.inner).expire(at)),
    purge: (before) => this.#through(() => upkeepOf(this.inner).purge(before)),
  };
  readonly check = () => this.#through(() => this.inner.check());
  readonly close = () => this.inner.close();

  async #through<T>(work: () => Promise<T>): Promise<T> {
    this.calls += 1;
    await this.gate;
    if (this.broken) throw new AppError('STORE_UNAVAILABLE', 'broken by the test');
    return work();
  }
}

export class SessionBench {
  readonly clock = new FakeClock();
  readonly store: BreakableStore;
  readonly log = new SessionLog();
  readonly ids = new SessionIds([Buffer.alloc(32, 1)]);
  readonly starts: FakeStart[] = [];
  readonly channelLog = new RecordingObserver();
  readonly registry: Registry;
  /** Children of other processes that were removed. */
  readonly discarded: ChildPlace[] = [];
  /** Not set: children come up only when the test says so. */
  autoStart = true;
  /** Children answer `initialize` by themselves. */
  autoInitialize = true;
  /** Told of each child before it is spoken to. */
  prepare: (link: FakeLink) => void = () => undefined;

  /** @param store that of a process before. */
  constructor(over: Partial<RegistryOptions> = {}, store = new BreakableStore()) {
    this.store = store;
    this.registry = new Registry({
      spawn: (request, signal) => this.#spawn(request, signal),
      store: this.store,
      clock: this.clock,
      ids: this.ids,
      observer: this.log,
      binding: 'adopt',
      holders: alone('self'),
      discard: async (child) => void this.discarded.push(child),
      drains: () => false,
      drainTimeout: 20,
      sweepInterval: 30,
      maxStreams: 4,
      keepRecords: 7_776_000,
      maxPerUser: 0,
      maxTotal: 0,
      maxHibernatedPerUser: 0,
      maxHibernated: 0,
      opensPerMinutePerUser: 0,
      opensPerMinute: 0,
      ...over,
    });
  }

  /** Children that have not ended. */
  get running(): number {
    return this.starts.filter(({ link }) => link.running).length;
  }

  get lastStart(): FakeStart {
    const last = this.starts.at(-1);
    if (last === undefined) throw new Error('nothing was started');
    return last;
  }

  /** Opens a session as a client does: initialize is answered, the opener lets go. */
  async session(auth = anAuth(), server = aServer()): Promise<{ id: string; name: string; link: FakeLink }> {
    const handle = await this.registry.open(auth, server, new AbortController().signal);
    const { link } = this.startOf(handle);
    await this.initialize(handle);
    return { id: handle.id, name: handle.name, link };
  }

  async initialize(handle: SessionHandle, sink = new FakeSink()): Promise<void> {
    try {
      await handle.call(aRequest(0, 'initialize', { protocolVersion: '2025-11-25' }), sink);
    } finally {
      handle.release();
    }
  }

  startOf(handle: { readonly name: string }): FakeStart {
    const start = this.starts.findLast(({ request }) => request.session === handle.name);
    if (start === undefined) throw new Error('no such child');
    return start;
  }

  /** What the store has of a session, once everything was written. */
  async recordOf(id: string): Promise<SessionRecord | undefined> {
    await settle();
    return this.store.inner.get(createHash('sha256').update(id).digest('hex').slice(0, 40));
  }

  #spawn(request: SpawnRequest, signal: AbortSignal): Promise<Channel> {
    const link = new FakeLink();
    link.onMessage = (message) => {
      if (message.method === 'initialize' && this.autoInitialize) {
        link.reply(message, {
          protocolVersion: '2025-11-25',
          capabilities: {},
          serverInfo: { name: 'x', version: '1' },
        });
      }
    };
    this.prepare(link);
    const channel = openChannel(link, {
      clock: this.clock,
      observer: this.channelLog,
      callTimeout: request.server.callTimeout,
      initializeTimeout: request.server.startTimeout,
      maxLineBytes: request.server.maxLineBytes,
      maxCallsInFlight: request.server.maxCallsInFlight,
      generation: request.generation,
    });
    return new Promise((resolve, reject) => {
      const fail = (thrown: Error): void => {
        link.exit({ reason: 'closed' });
        reject(thrown);
      };
      this.starts.push({ request, signal, link, channel, come: () => resolve(channel), fail });
      if (this.autoStart) resolve(channel);
    });
  }
}

/** The AppError that a promise is rejected with. */
export async function refusal(work: Promise<unknown>): Promise<AppError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(thrown instanceof AppError)) throw new Error(`not refused with an AppError but: ${String(thrown)}`);
  return thrown;
}
