/** Attach streams to pods, as the sealed link wants them. */
import type { Clock } from '../../clock';
import { AppError, toAppError } from '../../errors';
import type { KubeClient } from '../../kube/client';
import type { Logger } from '../../telemetry/log';
import { openAttach } from './attach';
import { isFinal } from './ending';
import { CONTAINER } from './names';
import type { SealedLinkOptions } from './sealed/link';
import type { TakeOutcome } from './taker';
import type { AttachTransport, TransportClosed } from './transport';
import type { PodWatch } from './watch';

/** Milliseconds for one attach handshake. */
const ATTACH_MS = 10_000;
/** Milliseconds for the pod's status to confirm that a stream which ended with success ended with its container. */
const CONFIRM_MS = 2_000;
/** Milliseconds without a stream after which a session is lost, counted anew while the API server is away... */
const REATTACH_MS = 60_000;
/** ...and with those times: longer than an outage that is worth waiting for, as long as a call waits. */
const OUTAGE_MS = 480_000;
/** Milliseconds that a launcher waits for its child's last words to be fetched: the longest that a protocol version 1 launcher takes. */
const LINGER_MS = 600_000;

/** What the driver tells of its streams; for metrics. */
export interface PodBackendObserver {
  /** An attach stream broke under a live session. */
  attachBroken(): void;
  /** Another stream carries the session again. */
  attachRestored(seconds: number): void;
  /** A start of a server that has a pool looked there for a pod. */
  taken?(server: string, outcome: TakeOutcome): void;
}

export interface PodStreamsOptions {
  readonly kube: KubeClient;
  readonly watch: PodWatch;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namespace: string;
  readonly observer?: PodBackendObserver;
}

export class PodStreams {
  readonly #options: PodStreamsOptions;

  constructor(options: PodStreamsOptions) {
    this.#options = options;
  }

  /** What a link to a pod is opened with. @param attached told of every stream that is up. */
  link(
    pod: string,
    signal: AbortSignal,
    attached: () => void = () => undefined,
  ): Pick<SealedLinkOptions, 'connect' | 'clock' | 'limits' | 'events' | 'signal'> {
    const { observer, log, clock } = this.#options;
    return {
      connect: async (until) => {
        const stream = await this.#connect(pod, until);
        attached();
        return stream;
      },
      ...{
        signal,
        clock,
        limits: { reattachDeadlineMs: REATTACH_MS, outageDeadlineMs: OUTAGE_MS, lingerMs: LINGER_MS },
      },
      events: {
        onBroken: (detail) => {
          log.warn('attach.broken', { pod, detail });
          observer?.attachBroken();
        },
        onReattached: (ms) => {
          log.info('attach.restored', { pod, ms: Math.round(ms) });
          observer?.attachRestored(ms / 1000);
        },
      },
    };
  }

  /** One attach stream to a pod. It counts as ended only where the pod's status agrees: a runtime that restarts ends it with success as well. */
  async #connect(pod: string, signal: AbortSignal): Promise<AttachTransport> {
    const { kube, namespace, watch, clock } = this.#options;
    const seen = await watch.find(pod, signal);
    if (seen === undefined || isFinal(seen)) throw over(pod);
    const stream = await openAttach({
      kube,
      clock,
      namespace,
      pod,
      container: CONTAINER,
      timeout: ATTACH_MS,
      signal,
    }).catch((thrown: unknown) => {
      const error = toAppError(thrown);
      if (signal.aborted || error.code !== 'BACKEND_ENDED') throw thrown;
      // A kubelet that has just started does not know its own pods yet. Only the pod's status ends a session; the next try looks at it.
      throw new AppError('BACKEND_UNAVAILABLE', error.message, {
        ...(error.detail === undefined ? {} : { detail: error.detail }),
      });
    });
    return {
      write: (bytes) => stream.write(bytes),
      onData: (consumer) => stream.onData(consumer),
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      close: () => stream.close(),
      closed: stream.closed.then((how) => this.#confirm(pod, how)),
    };
  }

  async #confirm(pod: string, how: TransportClosed): Promise<TransportClosed> {
    if (how.kind !== 'ended') return how;
    const { watch, clock } = this.#options;
    const patience = new AbortController();
    const timer = clock.after(CONFIRM_MS, () => patience.abort());
    try {
      if ((await watch.find(pod, patience.signal)) === undefined) return how;
      await watch.until(pod, (seen) => (isFinal(seen) ? true : undefined), patience.signal);
      return how;
    } catch {
      return { kind: 'broken', detail: `${how.detail}, but the container runs on` };
    } finally {
      timer.cancel();
    }
  }
}

/** The pod's container has finished, or the pod is gone. */
export function over(pod: string): AppError {
  return new AppError('BACKEND_ENDED', 'The session’s child has ended. Start a new session.', {
    detail: `pod ${pod} is over`,
  });
}
