/**
 * The sealed link as the pod driver sees it: a byte link to a child behind the launcher, whole over any number of broken attach streams.
 * `link.ts` makes one; `docs/launcher-protocol.md` is what goes over the wire.
 */
import type { Clock } from '../../../clock';
import type { Takeover } from '../../contract';
import type { Connect } from '../transport';

export type { Takeover } from '../../contract';

/** What the launcher is to run. Secret as a whole: it travels in the claim and is never logged. */
export interface ChildCommand {
  /** The program and its arguments; a program without a slash is looked up in the claim's own `PATH`. */
  readonly argv: readonly string[];
  /** The child's whole environment: the launcher adds nothing to it. */
  readonly env: Readonly<Record<string, string>>;
  /** Working directory; the container's own where absent. */
  readonly cwd?: string;
  /** Files that the launcher makes before it starts the child, by absolute path: text, readable by all. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Bounds of one link. All have defaults ({@link DEFAULT_LIMITS}). */
export interface SealedLimits {
  /** Bytes that the gateway may have under way to the child and the launcher must keep room for. */
  readonly stdinWindowBytes: number;
  /** Bytes of the child's output that the launcher keeps until they were consumed here; when full it stops reading the child. */
  readonly outputWindowBytes: number;
  /** Milliseconds from a broken stream to giving the link up as `lost`, all attempts together. Counted anew with each attempt that failed in an {@link OutageError}. */
  readonly reattachDeadlineMs: number;
  /** The same, however long an outage lasts. */
  readonly outageDeadlineMs: number;
  /** Milliseconds for a launcher to answer on a fresh stream before that stream is cut and another one opened. */
  readonly welcomeDeadlineMs: number;
  /** Milliseconds without any progress, while something is under way, after which a stream counts as broken. */
  readonly stallDeadlineMs: number;
  /** Milliseconds that the launcher gives its child between SIGTERM and SIGKILL when the pod itself is deleted. */
  readonly podGraceMs: number;
  /** Milliseconds of silence that a launcher whose child is gone waits for its last frames to be taken; longer than the two deadlines together. */
  readonly lingerMs: number;
}

export const DEFAULT_LIMITS: SealedLimits = {
  stdinWindowBytes: 512 * 1024,
  outputWindowBytes: 512 * 1024,
  reattachDeadlineMs: 30_000,
  outageDeadlineMs: 30_000,
  welcomeDeadlineMs: 5_000,
  stallDeadlineMs: 10_000,
  podGraceMs: 3_000,
  lingerMs: 60_000,
};

/** What happens to a link, for metrics and the log. No secret in any of it; a callback that throws is a defect of the caller. */
export interface SealedEvents {
  /** The attach stream was cut; the link is looking for another one. */
  onBroken?(detail: string): void;
  /** Another stream carries the link again, `ms` after the cut. */
  onReattached?(ms: number): void;
  /** A line that is no frame of this link: torn, foreign or noise. */
  onBadLine?(bytes: number): void;
  /** Frames had to be sent again on a stream that stayed open. */
  onResent?(): void;
}

export interface SealedLinkOptions {
  readonly connect: Connect;
  /** 256 bits made for this one pod; whoever holds them holds the session's bytes. */
  readonly key: Buffer;
  /** The fencing epoch, 1 to 2^32 - 1. One epoch belongs to one link object in one process, ever. */
  readonly epoch: number;
  /** Starts a child in a launcher that has none yet. Absent: takes over a launcher that another epoch has claimed. */
  readonly claim?: ChildCommand | undefined;
  readonly clock: Clock;
  readonly limits?: Partial<SealedLimits>;
  readonly events?: SealedEvents;
  /** Gives the opening up. Has no effect once the promise of `openSealedLink` has settled. */
  readonly signal: AbortSignal;
}

/** How a link ended. Exactly one of these, once, after the last byte was handed over. */
export type SealedExit =
  /** The child ended by itself. In band, so the pod's status may not show it yet. */
  | { readonly kind: 'exited'; readonly code: number }
  /** A signal ended the child; `SIGKILL` may be the kernel's doing: ask the pod's status for `OOMKilled`. */
  | { readonly kind: 'signaled'; readonly signal: string }
  /** The container is over and no exit came in band: killed as a whole, or its node is gone. Ask the pod's status. */
  | { readonly kind: 'container-ended'; readonly detail: string }
  /** No stream could be had within the deadline. */
  | { readonly kind: 'lost'; readonly detail: string }
  /** Another holder has this session: `epoch` is higher than ours. End nothing, delete nothing. */
  | { readonly kind: 'fenced'; readonly epoch: number }
  /** {@link SealedLink.detach} was called. */
  | { readonly kind: 'detached' };

export interface SealedLink {
  /** Present on a link that was opened without a claim. */
  readonly takeover?: Takeover | undefined;

  /**
   * Sends bytes to the child's stdin, whole and in order of the calls. The buffer is not copied: do not change it afterwards.
   * Resolves when no more than a window of bytes is still under way. Rejects with `LINK_CLOSED` once the link has ended or is shut down.
   */
  write(bytes: Buffer): Promise<void>;

  /** Sets the one consumer of the child's stdout; bytes that came before are handed over at once. */
  onData(consumer: (bytes: Buffer) => void): void;

  /** Sets the one consumer of the child's stderr; bytes that came before are handed over at once. */
  onStderr(consumer: (bytes: Buffer) => void): void;

  /**
   * Hands over no more until {@link resume}. The attach stream is still read, so nothing else is held up: at most `outputWindowBytes` are
   * kept here, then the launcher stops reading the child.
   */
  pause(): void;

  resume(): void;

  /** While `held`, what is handed over is not released to the launcher, up to a quarter of the window: a holder that takes over gets it again. */
  retain(held: boolean): void;

  /** Resolves exactly once, after the last byte of output was handed over; never rejects. */
  readonly exited: Promise<SealedExit>;

  /**
   * Ends the child in order: EOF on its stdin, SIGTERM after `graceMs`, SIGKILL after `graceMs` more, all in band, then gives up after
   * `graceMs` again (`lost`). A paused link resumes. Resolves with `exited`'s value; may be called often; never rejects.
   */
  shutdown(graceMs: number): Promise<SealedExit>;

  /**
   * Takes and hands over nothing more, and detaches once the launcher has all that was written: after `ms` at the latest, and at once where no stream is up or the last
   * one breaks. What the child says meanwhile is for the next holder.
   */
  release(ms: number): void;

  /** Lets go of the stream at once and leaves the child alone, for the next holder or for the pod's deletion. */
  detach(): void;
}

/** How often things happened on a link since it was opened. */
export interface SealedStats {
  readonly broken: number;
  readonly reattached: number;
  readonly badLines: number;
  readonly resent: number;
}
