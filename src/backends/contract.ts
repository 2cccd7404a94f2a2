/**
 * The contract between a session and whatever runs its child: a byte link. Drivers: `pod/` and `process/`.
 * One suite, `test/contract/backend.ts`, runs against every driver and the fake.
 */
import type { ServerSpec } from '../config/server';

/** Why and how a child is gone. A link resolves exactly one of these. */
export interface BackendExit {
  /**
   * `exited`: the child ended by itself; `oom`: killed for memory; `killed`: a signal from outside; `deleted`: the pod was deleted or evicted
   * by somebody else; `lost`: the link could not be restored within its deadline; `closed`: we closed it.
   */
  readonly reason: 'exited' | 'oom' | 'killed' | 'deleted' | 'lost' | 'closed';
  /** The child's exit code, where one is known. */
  readonly code?: number;
  /** The signal's name, for example `SIGKILL`, where one is known. */
  readonly signal?: string;
}

/** What a driver needs to start one child. */
export interface BackendSpec {
  /** The session's name: 40 hex digits, a digest of the id; safe to log and to name objects by. */
  readonly session: string;
  /** The user, as an opaque label value: never the login name. */
  readonly user: string;
  readonly server: ServerSpec;
  /** Orders everybody who ever speaks to a child of this session: whoever comes later has a higher one. 1 where nobody comes later. */
  readonly epoch?: number;
  /** The object that the child is removed with, in a cluster. */
  readonly owner?: { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly uid: string };
  /**
   * Environment for the child beside the server's own: the credential proxy's URL and the session's capability. Secret: it goes over the
   * launcher's claim or the process's environment, never into a pod spec, an argv or a log.
   *
   * Called once the child's network address is known (undefined where the driver has none), because the capability names it.
   */
  readonly secrets: (address: BackendAddress) => Promise<Readonly<Record<string, string>>>;
}

/** Where the child's own traffic comes from. */
export interface BackendAddress {
  /** The pod's IP, or a loopback address; undefined where the driver cannot tell. */
  readonly ip?: string;
  /** The pod's UID, or `process:<session>`; names this child and no later one. */
  readonly instance: string;
  /** The pod, where it is one. */
  readonly namespace?: string;
  readonly name?: string;
}

/** What a driver needs to take a child over that another process started and does not hold any more. */
export interface AdoptSpec {
  readonly session: string;
  readonly server: ServerSpec;
  readonly child: BackendAddress;
  /** Higher than that of everybody before, and never used for this child before, not even by an attempt that failed: links are sealed under it. */
  readonly epoch: number;
}

/** Where a child's two streams stood when it was taken over. */
export interface Takeover {
  /** The last byte that the former holder sent to stdin was not a newline. */
  readonly stdinMidLine: boolean;
  /** The first byte of stdout that comes is not the first of its line. */
  readonly stdoutMidLine: boolean;
}

/** Start-up phases, for metrics and for `docs/benchmarks.md`; seconds each. `take`: a pod that waited was taken, which stands for the three after it. */
export type StartPhase = 'take' | 'create' | 'schedule' | 'run' | 'attach' | 'claim';

/**
 * A running child as a byte link.
 *
 * Ordering: bytes arrive in the order in which the child wrote them, nothing before `onData` is set is lost, and `exited` resolves after the
 * last byte was handed over. After `exited` or `close` every `write` rejects with `LINK_CLOSED`.
 */
export interface BackendLink {
  /** Seconds spent in each start phase. */
  readonly phases: Readonly<Partial<Record<StartPhase, number>>>;

  /** Present where the child was taken over. */
  readonly takeover?: Takeover | undefined;

  /**
   * Sends bytes to the child's stdin, whole and in order of the calls.
   * Resolves when the link can take more (back-pressure): a caller that awaits it bounds its memory.
   * Rejects with `LINK_CLOSED` once the child is gone.
   */
  write(bytes: Buffer): Promise<void>;

  /** Sets the one consumer of the child's stdout. Bytes that came before are handed over at once. */
  onData(consumer: (bytes: Buffer) => void): void;

  /** Sets the one consumer of the child's stderr: free text, cut anywhere. */
  onStderr(consumer: (bytes: Buffer) => void): void;

  /** Stops reading the child's stdout; at most a bounded rest is still delivered. The child feels it through its own pipe. */
  pause(): void;

  /** Reads on. */
  resume(): void;

  /**
   * While `held`, what was handed over does not count as taken: whoever adopts the child gets it again, as far as there is room to keep it. Absent where nobody could.
   */
  retain?(held: boolean): void;

  /** Resolves exactly once, when the child is gone and all its output was handed over. Never rejects. */
  readonly exited: Promise<BackendExit>;

  /**
   * Ends the child in an orderly way: EOF on its stdin, then SIGTERM, then SIGKILL, each after a grace of the server's `stopGrace`;
   * with nothing left behind (pod, process group, socket). Resolves when it is gone. May be called often and never rejects. A child of which nothing was heard any more,
   * and that another process may have adopted, is left as it is: {@link Backend.discard} removes it, once it is certain that nobody has it.
   */
  close(): Promise<void>;

  /**
   * Lets go of the child and leaves it as it is, for whoever adopts it; the link ends with `closed`. It takes nothing more, and has up to 2 seconds to bring on its way
   * what was written; what the child says from now on is for the next one. Absent where nobody could.
   */
  release?(): void;
}

/** A driver. */
export interface Backend {
  /** `pod` or `process`; a metric label. */
  readonly kind: 'pod' | 'process' | 'fake';

  /**
   * Starts a child and resolves when it can be spoken to.
   *
   * Errors (each leaves nothing behind): `BACKEND_UNSCHEDULABLE`, `BACKEND_IMAGE`, `BACKEND_CRASHED`, `BACKEND_START_DEADLINE`,
   * `BACKEND_REFUSED` (admission, quota), `BACKEND_UNAVAILABLE` (the Kubernetes API cannot be reached).
   * Aborting `signal` gives the start up and removes what was made; the promise then rejects with the signal's reason.
   */
  open(spec: BackendSpec, signal: AbortSignal): Promise<BackendLink>;

  /** Finds out ahead of the first session what it would have to wait for. Never rejects: a session meets the same fault. */
  prepare?(servers: readonly ServerSpec[]): Promise<void>;

  /**
   * Takes over a child that another process started, while that one may still believe that it holds it: from the moment this resolves it is heard no more. What the
   * child wrote and nobody has taken comes again.
   *
   * Errors, after each of which the child is as it was, and the epoch used up: `BACKEND_ENDED` (it is gone), `BACKEND_REFUSED` (its key is not known here),
   * `BACKEND_START_DEADLINE`, `BACKEND_UNAVAILABLE`, or the signal's reason. The caller has the deadline.
   */
  adopt?(spec: AdoptSpec, signal: AbortSignal): Promise<BackendLink>;

  /** Removes a child that another process started, or that was left as it is. Resolves when it is gone, or could not be removed in time; never rejects. */
  discard?(child: BackendAddress): Promise<void>;

  /** Finds and removes what an earlier run left behind. Resolves with how many children were removed. */
  removeOrphans(): Promise<number>;

  /** Proves that the driver can work at all (readiness). Rejects with `BACKEND_UNAVAILABLE`. */
  check(signal: AbortSignal): Promise<void>;

  /** Ends every child that is still open and releases everything. */
  stop(): Promise<void>;
}
