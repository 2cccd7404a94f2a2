/** Time as it is handed to the core: tests drive it, so nothing in the core calls a timer of its own. */

/** A running timer. */
export interface Timer {
  /** Stops it; harmless when it has fired. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. */
  now(): number;
  /** Wall-clock milliseconds since the epoch, for records and people. */
  wall(): number;
  /** Calls `run` once after `ms`, and never before `now` has come so far. Never keeps the process alive. */
  after(ms: number, run: () => void): Timer;
  /** Calls `run` every `ms`. Never keeps the process alive. */
  every(ms: number, run: () => void): Timer;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    // Node counts whole milliseconds from the one that has begun, so a timer may come up to two too early: who looks then whether it is time finds that it is not, and nothing tells it again.
    const timer = setTimeout(run, ms > 0 ? Math.ceil(ms) + 1 : 0).unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every(ms, run) {
    const timer = setInterval(run, ms).unref();
    return { cancel: () => clearInterval(timer) };
  },
};
