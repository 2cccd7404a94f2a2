/** Requests that are for no recorded session, where several gateways serve: which of them is to have one, and the way there. */
import type { Exchange } from '../exchange';
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
  readonly channel: 'stateless' | 'sse';
  /** Where it was read; else it is taken from the request. */
  readonly body: Uint8Array | 'stream';
  /** Milliseconds from when it was taken to the first byte of its answer; absent where nothing has to be waited for. */
  readonly firstByteMs?: number;
  /** Aborts when the client goes away. */
  readonly gone: AbortSignal;
}
