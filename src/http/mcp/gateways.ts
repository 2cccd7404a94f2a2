/** Requests that are for no recorded session, where several gateways serve: which of them is to have one, and the way there. */
import type { Exchange } from '../exchange';
import type { ServerSpec } from '../../config/server';
import type { Incoming, Outgoing } from '../handler';

export interface Gateways {
  /** This gateway's name. */
  readonly self: string;
  /** The gateways that live, this one among them, in the order in which they are to serve what has this key. Asks nobody. */
  order(key: string): readonly string[];
  /**
   * Whether there is a gateway of that name, and it lives. For a name that nobody here knows the cluster is asked.
   * Rejects with `STORE_UNAVAILABLE` where it cannot say, with `OVERLOADED` where it is asked for too many at once.
   */
  isAlive(name: string): Promise<boolean>;
  /**
   * Sends a request to a gateway, whatever the name is: nobody is reached by it but a gateway of this install that lives. `done`: it was answered;
   * `not-taken`: it was not taken, nothing has happened and nothing was sent to the client.
   * Rejects with `BACKEND_ENDED` where the request may have been worked on and nobody knows its answer, and as {@link isAlive}.
   */
  send(req: Incoming, res: Outgoing, exchange: Exchange, to: Destination): Promise<'done' | 'not-taken'>;
}

/** Where a request goes, and how. */
export interface Destination {
  readonly name: string;
  readonly channel: 'stateless' | 'sse' | 'handover';
  /** Where it was read; `stream`: it is taken from the request. Absent where there is none. */
  readonly body?: Uint8Array | 'stream';
  /** Milliseconds from when it was taken to the first byte of its answer; absent where nothing has to be waited for. */
  readonly firstByteMs?: number;
  /** Aborts when the client goes away. */
  readonly gone: AbortSignal;
}

/** Milliseconds for the first byte beside what the start of a child may take, twice where it does not say its era, and a call without a word. */
const SLACK_MS = 60_000;

/** Milliseconds from when another gateway took a request for which it may have to start a child to the first byte of its answer. */
export function startsWithin({ startTimeout }: ServerSpec, jsonMs: number): number {
  return 2 * startTimeout * 1000 + jsonMs + SLACK_MS;
}
