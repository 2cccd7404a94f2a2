/** A byte link to a child behind the launcher, whole over any number of broken attach streams (docs/launcher-protocol.md). */
import type { Timer } from '../../../clock';
import { AppError } from '../../../errors';
import { claimLine } from './claim';
import { Codec, Direction } from './codec';
import {
  DEFAULT_LIMITS,
  type SealedEvents,
  type SealedExit,
  type SealedLimits,
  type SealedLink,
  type SealedLinkOptions,
  type SealedStats,
  type Takeover,
} from './contract';
import { Conversation } from './conversation';
import { Reattacher } from './reattacher';
import { SIGKILL, SIGTERM } from './signals';

export { DEFAULT_LIMITS } from './contract';
export type {
  ChildCommand,
  SealedEvents,
  SealedExit,
  SealedLimits,
  SealedLink,
  SealedLinkOptions,
  SealedStats,
  Takeover,
} from './contract';

/** A link that also counts, for metrics. */
export type CountedLink = SealedLink & { readonly stats: SealedStats };

/**
 * Opens a link and resolves when the launcher has answered: its child runs.
 *
 * Errors: `BACKEND_CRASHED` (the program cannot be started, or ended the container at once), `BACKEND_REFUSED` (the launcher refuses the
 * claim: another protocol version, or a claim out of bounds), `BACKEND_START_DEADLINE` (no answer within `reattachDeadlineMs`),
 * `BACKEND_ENDED` (the container is gone), `LINK_CLOSED` (a higher epoch holds the session), what `connect` rejects with for good, and the
 * signal's reason. Nothing stays open after an error; the pod is the caller's to delete.
 */
export async function openSealedLink(options: SealedLinkOptions): Promise<CountedLink> {
  options.signal.throwIfAborted();
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const link = new Link(options, limits);
  await link.open(options.signal);
  return link;
}

class Link implements CountedLink {
  readonly exited: Promise<SealedExit>;
  private readonly options: SealedLinkOptions;
  private readonly counts = { broken: 0, reattached: 0, badLines: 0, resent: 0 };
  private readonly talk: Conversation;
  private readonly streams: Reattacher;
  private settle: (exit: SealedExit) => void = () => undefined;
  private ending: SealedExit | undefined;
  private closing: Promise<SealedExit> | undefined;
  /** Set while it waits for the launcher to have what was written, before it detaches. */
  private releasing: Timer | undefined;

  constructor(options: SealedLinkOptions, limits: SealedLimits) {
    this.options = options;
    this.exited = new Promise((resolve) => (this.settle = resolve));
    const claim =
      options.claim === undefined ? undefined : claimLine(options.key, options.epoch, options.claim, limits);
    const events = counting(options.events ?? {}, this.counts);
    this.talk = new Conversation({
      codec: new Codec(options.key, Direction.toLauncher),
      epoch: options.epoch,
      claim,
      clock: options.clock,
      limits,
      events,
      send: () => this.streams.flush(),
      onWelcome: (started) => this.streams.welcomed(started),
      onRefused: (error) => this.streams.refuse(error),
      onStalled: () => this.streams.cut('no progress within the deadline'),
      onEnd: (exit) => this.end(exit),
      onDrained: () => this.finish(),
      onReceived: () => this.leave(),
    });
    this.streams = new Reattacher({
      connect: options.connect,
      clock: options.clock,
      limits,
      events,
      talk: this.talk,
      starting: options.claim !== undefined,
      onEnd: (exit) => this.end(exit),
      onDown: () => this.leave(),
    });
  }

  get takeover(): Takeover | undefined {
    return this.options.claim === undefined ? this.talk.found : undefined;
  }

  get stats(): SealedStats {
    return { ...this.counts };
  }

  async open(signal: AbortSignal): Promise<void> {
    const abort = () => this.detach();
    signal.addEventListener('abort', abort, { once: true });
    try {
      await this.streams.start();
    } catch (error) {
      this.detach();
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    signal.throwIfAborted();
  }

  write(bytes: Buffer): Promise<void> {
    if (this.ending !== undefined || this.closing !== undefined) return Promise.reject(closed());
    return this.talk.write(bytes);
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.talk.incoming.stdout.consume(consumer);
    this.talk.deliver();
  }

  onStderr(consumer: (bytes: Buffer) => void): void {
    this.talk.incoming.stderr.consume(consumer);
    this.talk.deliver();
  }

  pause(): void {
    if (this.closing === undefined) this.talk.pause();
  }

  resume(): void {
    if (this.releasing === undefined) this.talk.resume();
  }

  retain(held: boolean): void {
    this.talk.retain(held);
  }

  shutdown(graceMs: number): Promise<SealedExit> {
    this.closing ??= this.stopInOrder(graceMs);
    return this.closing;
  }

  release(ms: number): void {
    if (this.ending !== undefined || this.closing !== undefined) return;
    this.closing = this.exited;
    this.talk.pause();
    this.releasing = this.options.clock.after(ms, () => this.detach());
    this.leave();
  }

  detach(): void {
    this.talk.discard();
    this.end({ kind: 'detached' });
    this.finish(); // the end may have come before, and have waited for a paused consumer
  }

  private async stopInOrder(graceMs: number): Promise<SealedExit> {
    const steps = [
      () => this.talk.signal(SIGTERM),
      () => this.talk.signal(SIGKILL),
      () => this.end({ kind: 'lost', detail: 'the child did not end within its grace' }),
    ];
    this.talk.resume();
    this.talk.endInput();
    for (const step of steps) {
      const exit = await this.exitedWithin(graceMs);
      if (exit !== undefined) return exit;
      step();
    }
    return this.exited;
  }

  private exitedWithin(ms: number): Promise<SealedExit | undefined> {
    return new Promise((resolve) => {
      const timer = this.options.clock.after(ms, () => resolve(undefined));
      void this.exited.then((exit) => {
        timer.cancel();
        resolve(exit);
      });
    });
  }

  /** Takes the link's end; what has arrived is still handed over first. */
  private end(exit: SealedExit): void {
    if (this.ending !== undefined) return;
    this.ending = exit;
    const isLeft = this.releasing !== undefined;
    this.releasing?.cancel();
    if (isLeft) this.talk.discard(); // nobody takes it here any more
    this.talk.end(closed());
    // Of a child that ends while it is let go of, the next holder hears, too.
    this.streams.end(!isLeft && (exit.kind === 'exited' || exit.kind === 'signaled'));
    this.finish();
  }

  /** Detaches where the launcher has all that was written, or cannot be told. */
  private leave(): void {
    if (this.releasing !== undefined && (this.talk.delivered || !this.streams.isUp)) this.detach();
  }

  private finish(): void {
    if (this.ending !== undefined && !this.talk.incoming.holding) this.settle(this.ending);
  }
}

/** An {@link AppError} for whatever is written too late. */
function closed(): AppError {
  return new AppError('LINK_CLOSED', 'The child of this session has ended. Start a new session.');
}

/** Counts, then tells. */
function counting(
  events: SealedEvents,
  counts: { -readonly [K in keyof SealedStats]: number },
): Required<SealedEvents> {
  return {
    onBroken: (detail) => {
      counts.broken += 1;
      events.onBroken?.(detail);
    },
    onReattached: (ms) => {
      counts.reattached += 1;
      events.onReattached?.(ms);
    },
    onBadLine: (bytes) => {
      counts.badLines += 1;
      events.onBadLine?.(bytes);
    },
    onResent: () => {
      counts.resent += 1;
      events.onResent?.();
    },
  };
}
