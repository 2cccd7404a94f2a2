/** A session's pod as a byte link: the sealed link for the bytes, the watch for what happens to the pod. */
import type { Clock, Timer } from '../../clock';
import type { Logger } from '../../telemetry/log';
import type { BackendExit, BackendLink, StartPhase, Takeover } from '../contract';
import { ending, isFinal, needsStatus } from './ending';
import type { SealedExit, SealedLink } from './sealed/contract';
import type { PodWatch, Seen } from './watch';

/** Milliseconds for the kubelet to tell how a container ended, once its stream is over. */
const STATUS_MS = 3_000;
/** Milliseconds for what was written to reach the launcher before its child is let go of: whoever wrote it was told that it is on its way. */
const RELEASE_MS = 2_000;
/** Milliseconds from a foreign deletion to giving up on a stream that does not end by itself: the pod's grace and some. */
const DELETED_MS = 10_000;

export interface PodLinkOptions {
  readonly sealed: SealedLink;
  readonly watch: PodWatch;
  readonly clock: Clock;
  readonly log: Logger;
  readonly pod: string;
  readonly phases: Readonly<Partial<Record<StartPhase, number>>>;
  /** Seconds. */
  readonly stopGrace: number;
  /** Whether another process can take the child over without this one's hearing of it. */
  readonly shared: boolean;
  /** Removes the pod; resolves when it is gone. */
  readonly remove: () => Promise<void>;
}

export class PodLink implements BackendLink {
  readonly phases: Readonly<Partial<Record<StartPhase, number>>>;
  readonly exited: Promise<BackendExit>;
  /** The pod is gone, too, or is not to be removed from here. */
  readonly removed: Promise<void>;
  readonly #options: PodLinkOptions;
  readonly #unlisten: () => void;
  #seen: Seen | undefined;
  #closing = false;
  #released = false;
  #impatience: Timer | undefined;

  constructor(options: PodLinkOptions) {
    this.#options = options;
    this.phases = options.phases;
    const { sealed, watch, pod } = options;
    this.#unlisten = watch.listen(pod, (seen) => this.#look(seen));
    this.exited = sealed.exited.then((exit) => this.#end(exit));
    this.removed = sealed.exited.then((exit) => {
      const isLeft = this.#mayBeAnothers(exit);
      return this.exited.then(() => (isLeft ? undefined : options.remove()));
    });
    this.#look(watch.get(pod) ?? 'gone');
  }

  get takeover(): Takeover | undefined {
    return this.#options.sealed.takeover;
  }

  write(bytes: Buffer): Promise<void> {
    return this.#options.sealed.write(bytes);
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.#options.sealed.onData(consumer);
  }

  onStderr(consumer: (bytes: Buffer) => void): void {
    this.#options.sealed.onStderr(consumer);
  }

  pause(): void {
    this.#options.sealed.pause();
  }

  resume(): void {
    this.#options.sealed.resume();
  }

  retain(held: boolean): void {
    this.#options.sealed.retain(held);
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#options.sealed.shutdown(this.#options.stopGrace * 1000);
    await this.removed;
  }

  release(): void {
    if (this.#closing) return; // it ends already
    this.#closing = true;
    this.#released = true;
    this.#options.sealed.release(RELEASE_MS);
  }

  /**
   * Whether another holder has the child, is to have it, or may have it by now: one that is cut off hears nothing, not even that it is fenced. Only the session's record
   * says whose the pod is then, and whoever writes that it is nobody's has it removed.
   */
  #mayBeAnothers(exit: SealedExit): boolean {
    if (exit.kind === 'fenced' || this.#released) return true;
    const isUnheard = exit.kind === 'lost' || exit.kind === 'detached';
    return this.#options.shared && isUnheard && !isFinal(this.#seen);
  }

  #look(seen: Seen): void {
    this.#seen = seen;
    if (seen === 'gone') {
      // Nothing more can come, not even through another stream.
      this.#options.sealed.detach();
    } else if ((seen.deleting || seen.disrupted !== undefined) && this.#impatience === undefined) {
      this.#impatience = this.#options.clock.after(DELETED_MS, () => this.#options.sealed.detach());
    }
  }

  async #end(exit: SealedExit): Promise<BackendExit> {
    if (!this.#closing && needsStatus(exit, this.#seen)) await this.#status();
    this.#impatience?.cancel();
    this.#unlisten();
    const end = ending(exit, this.#seen, this.#closing);
    this.#options.log.debug('pod.ended', {
      pod: this.#options.pod,
      ...end,
      link: exit.kind,
      ...('detail' in exit ? { detail: exit.detail } : {}),
    });
    return end;
  }

  /** Waits for the kubelet's word on the container, but not for long. */
  async #status(): Promise<void> {
    const { watch, clock, pod } = this.#options;
    const patience = new AbortController();
    const timer = clock.after(STATUS_MS, () => patience.abort());
    await watch.until(pod, (seen) => (isFinal(seen) ? true : undefined), patience.signal).catch(() => undefined);
    timer.cancel();
  }
}
