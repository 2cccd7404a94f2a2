/** The MCPSessions of an install as one watch shows them: what other gateways and administrators do is seen a moment later. */
import type { Clock } from '../../clock';
import type { KubeClient } from '../../kube/client';
import { LABELS } from '../../kube/labels';
import { type Projection, Reflector, type Seen } from '../../kube/reflector';
import type { MCPSession } from '../../resources/session';
import type { EndReason, OpenedSession, SeenSession, SessionView } from '../../sessions/ports';
import type { Logger } from '../../telemetry/log';
import { storeUnavailable } from '../unavailable';
import { RECORDED } from './session-object';

export interface SessionViewOptions {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** The collection of the MCPSessions. */
  readonly path: string;
  /** A label's value. */
  readonly install: string;
  /** This run of this gateway, as records name it. */
  readonly holder: string;
  /** See {@link SessionView.end}; resolves with the object as it stands then, where there is one. */
  readonly end: (name: string, reason: EndReason, at: number) => Promise<MCPSession | undefined>;
  /** Lists all objects that a selector finds, as they are. */
  readonly list: (selector: string) => Promise<readonly MCPSession[]>;
}

/** Milliseconds for which sessions that were opened are remembered. */
const OPENED_MS = 60_000;

type Facts = Projection & SeenSession;

export class KubernetesSessionView implements SessionView {
  readonly #options: SessionViewOptions;
  readonly #reflector: Reflector<Facts>;
  readonly #selector: string;
  /** In the order in which they were seen, whatever became of them. */
  readonly #opened = new Map<string, OpenedSession>();

  constructor(options: SessionViewOptions) {
    this.#options = options;
    const { kube, clock, log, path, install } = options;
    // What has ended is kept for months.
    this.#selector = `${LABELS.install}=${install},${LABELS.live}=true`;
    this.#reflector = new Reflector({
      ...{ kube, clock, log, path },
      selector: this.#selector,
      what: 'sessions',
      project: facts,
      refusal: ({ summary }) => storeUnavailable(summary),
    });
    this.#reflector.follow((name, seen) => this.#note(name, seen));
  }

  synced(signal: AbortSignal): Promise<void> {
    return this.#reflector.synced(signal);
  }

  /** Resolves when nothing runs any more. */
  stop(): Promise<void> {
    return this.#reflector.stop();
  }

  onChange(listener: (name: string) => void): void {
    const { holder } = this.#options;
    const isOurs = (seen: Seen<Facts>): boolean => seen !== 'gone' && seen.state !== 'ended' && seen.holder === holder;
    this.#reflector.follow((name, seen) => {
      if (!isOurs(seen)) listener(name);
    });
  }

  ofUser({ issuer, id }: Parameters<SessionView['ofUser']>[0]): readonly SeenSession[] {
    return [...this.#reflector.all()]
      .filter(({ userIssuer, userId, state }) => userIssuer === issuer && userId === id && state !== 'ended')
      .sort((a, b) => a.createdAt - b.createdAt);
  }

  seen(): Iterable<SeenSession> {
    return this.#reflector.all();
  }

  opened(): Iterable<OpenedSession> {
    this.#forget();
    return this.#opened.values();
  }

  onSeen(listener: () => void): void {
    this.#reflector.follow(() => listener());
  }

  async read(): Promise<Iterable<SeenSession>> {
    return (await this.#options.list(this.#selector)).flatMap((object) => facts(object) ?? []);
  }

  async end(name: string, reason: EndReason, at: number): Promise<void> {
    this.#reflector.seed(await this.#options.end(name, reason, at)); // whoever looks next sees it
  }

  /** One that was refused its place has not been opened. */
  #note(name: string, seen: Seen<Facts>): void {
    if (seen === 'gone' || (seen.state === 'starting' && seen.admitted !== true)) return;
    if (this.#opened.has(name) || seen.createdAt <= this.#options.clock.wall() - OPENED_MS) return;
    this.#opened.set(name, seen);
    this.#forget();
  }

  #forget(): void {
    const from = this.#options.clock.wall() - OPENED_MS;
    for (const [name, { createdAt }] of this.#opened) {
      if (createdAt > from) return;
      this.#opened.delete(name);
    }
  }
}

/** Objects come as the API server has them, whose schema holds; one of another version may lack what this one has. */
function facts(value: unknown): Facts | undefined {
  const { metadata, spec, status } = (value ?? {}) as Partial<MCPSession>;
  const { name, uid, resourceVersion = '' } = metadata ?? {};
  if (name === undefined || uid === undefined || spec === undefined || status === undefined) return undefined;
  const { grant = '', epoch, holder, admitted, createdAt } = status;
  const state = RECORDED[status.state];
  return {
    ...{ name, uid, resourceVersion, state, grant },
    server: spec.server,
    userIssuer: spec.user.issuer,
    userId: spec.user.id,
    generation: epoch,
    ...(holder === undefined ? {} : { holder }),
    ...(admitted === true ? { admitted } : {}),
    createdAt: Date.parse(createdAt),
    order: orderOf(resourceVersion),
  };
}

/** Resource versions are decimal numbers that rise with every write (KEP-5504). */
function orderOf(resourceVersion: string): bigint {
  return /^\d+$/.test(resourceVersion) ? BigInt(resourceVersion) : 0n;
}
