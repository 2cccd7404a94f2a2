/** Starting a session's child, the first one or another: record first, then spawn, and leave nothing behind when it fails. */
import type { Channel } from '../bridge/contract';
import type { Clock } from '../clock';
import type { ChildPlace, SpawnFunc } from './ports';
import * as refusals from './refusals';
import type { Session } from './session';

export interface StartOptions<T> {
  readonly session: Session;
  readonly spawn: SpawnFunc;
  readonly clock: Clock;
  /** Records that the child is about to be started. */
  readonly record: () => Promise<void>;
  /** Records where it runs. */
  readonly placed: (place: ChildPlace) => Promise<void>;
  /** Takes the child over in the very turn in which its start was last seen to be wanted, so that no end is lost in between. Must not throw. */
  readonly up: (channel: Channel) => T;
  /**
   * Called once when the start has failed and no child of it is left: only then is its place free, or the caps would be passed by children that
   * are still on their way out. The caller does not wait for it.
   */
  readonly failed: () => void;
}

/** Milliseconds beyond a server's `startTimeout`: the driver's own deadline comes first, because it says more. */
const START_SLACK_MS = 5_000;

/**
 * Records the session and starts its child; resolves with what `up` returns. Rejects as the store or the spawn function does, with the reason of
 * `signal` when the opener gave up, and with that of `session.start` when somebody else ended it.
 */
export async function start<T>(options: StartOptions<T>, signal: AbortSignal): Promise<T> {
  const { session, spawn, clock, record, up, failed } = options;
  const { startTimeout } = session.server;
  const abort = session.start;
  const onGone = (): void => abort.abort(signal.reason);
  signal.addEventListener('abort', onGone, { once: true });
  const timer = clock.after(startTimeout * 1000 + START_SLACK_MS, () =>
    abort.abort(refusals.startDeadline(startTimeout)),
  );
  let spawning: Promise<Channel> | undefined;
  try {
    await record();
    abort.signal.throwIfAborted();
    const { name, auth, server, generation } = session;
    const { uid } = session.record;
    const placed = (place: ChildPlace): Promise<void> => {
      session.child = place;
      return options.placed(place);
    };
    spawning = spawn(
      { session: name, auth, server, generation, placed, ...(uid === undefined ? {} : { uid }) },
      abort.signal,
    );
    const channel = await unlessAborted(spawning, abort.signal);
    abort.signal.throwIfAborted(); // given up in the moment between
    return up(channel);
  } catch (thrown) {
    if (abort.signal.aborted && spawning !== undefined) void discard(spawning).then(failed);
    else failed();
    throw thrown;
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', onGone);
  }
}

/** Waits for a start that nobody wants any more and ends the child that it may still bring. Never rejects. */
async function discard(spawning: Promise<Channel>): Promise<void> {
  try {
    const channel = await spawning;
    await channel.close();
  } catch {
    // It failed, which is what is wanted.
  }
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
