/** Sends requests on to the replicas that hold their sessions; see {@link Peers}. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock';
import { AppError } from '../errors';
import { Attempt, type AttemptLimits, type Ended } from './attempt';
import type { Certificates } from './certificates';
import type { Forward, Outcome, PeerObserver, Peers } from './contract';
import { forwardedOf } from './forwarded';
import { splitAddress } from './names';
import { PeerAgent } from './pool';

export interface PeersOptions {
  readonly self: string;
  /** Stays the caller's. */
  readonly certificates: Pick<Certificates, 'onChange'>;
  readonly clock: Clock;
  readonly observer?: Pick<PeerObserver, 'forwarded'>;
  readonly limits?: Partial<PeerLimits>;
}

export interface PeerLimits extends AttemptLimits {
  /** Requests that are with one replica at once, open streams among them; each has a connection of its own. */
  readonly maxPerPeer: number;
}

const LIMITS: PeerLimits = {
  connectMs: 2_000,
  acceptMs: 5_000,
  firstByteMs: 60_000,
  stallMs: 60_000,
  maxPerPeer: 4_096,
};

/** Makes the sender. It connects to nobody before it is asked to, and to nobody without a certificate: then every outcome is `not-there`. */
export function createPeers(options: PeersOptions): Peers {
  return new Sender(options);
}

class Sender implements Peers {
  readonly self: string;
  readonly #options: PeersOptions;
  readonly #limits: PeerLimits;
  readonly #open = new Map<string, Set<Attempt>>();
  readonly #unfollow: () => void;
  #agent: PeerAgent | undefined;
  #isClosed = false;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.self = options.self;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#unfollow = options.certificates.onChange((material) => {
      this.#agent?.retire();
      this.#agent = new PeerAgent(material);
    });
  }

  async forward(
    request: IncomingMessage,
    response: ServerResponse,
    forward: Forward,
    signal: AbortSignal,
  ): Promise<Outcome> {
    if (forwardedOf(request) !== undefined) {
      throw new AppError('MISDIRECTED', 'The session has moved. Try again.', {
        detail: `from ${forwardedOf(request)?.from ?? ''}, meant for ${forward.target.name}`,
      });
    }
    signal.throwIfAborted();
    const began = this.#options.clock.now();
    const ended = await this.#send(request, response, forward, signal);
    const outcome = ended === 'cut' || ended === 'gone' ? 'forwarded' : ended;
    const told = ended === 'cut' ? 'cut' : outcome;
    this.#options.observer?.forwarded(forward.channel, told, (this.#options.clock.now() - began) / 1000);
    if (outcome !== 'forwarded') signal.throwIfAborted();
    return outcome;
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    forward: Forward,
    signal: AbortSignal,
  ): Promise<Exclude<Ended, 'stale'>> {
    for (let again = true; ; again = false) {
      if (response.destroyed || response.closed) return 'gone';
      const agent = this.#agent;
      const place = splitAddress(forward.target.address);
      if (agent === undefined || place === undefined || this.#isClosed) return 'not-there';
      const ended = await this.#attempt(request, response, forward, agent, place, signal);
      if (ended !== 'stale') return ended;
      // What else is idle may be as stale, after the replica's restart for example: the next attempt is on a connection of its own.
      agent.closeIdle(place.host, place.port);
      if (!again) return 'not-there';
    }
  }

  async #attempt(
    request: IncomingMessage,
    response: ServerResponse,
    forward: Forward,
    agent: PeerAgent,
    place: { readonly host: string; readonly port: number },
    signal: AbortSignal,
  ): Promise<Ended> {
    const { name } = forward.target;
    const open = this.#open.get(name) ?? new Set();
    if (open.size >= this.#limits.maxPerPeer) {
      throw new AppError('OVERLOADED', 'The gateway is busy with other requests. Try again in a few seconds.', {
        retryAfter: 2,
        detail: `${String(open.size)} requests are with ${name}`,
      });
    }
    const { clock } = this.#options;
    const attempt = new Attempt(request, response, forward, {
      self: this.self,
      agent,
      ...place,
      limits: this.#limits,
      clock,
    });
    this.#open.set(name, open.add(attempt));
    const onAbort = (): void => attempt.cut();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await attempt.ended;
    } finally {
      signal.removeEventListener('abort', onAbort);
      open.delete(attempt);
      if (open.size === 0 && this.#open.get(name) === open) this.#open.delete(name);
    }
  }

  cut(name: string): void {
    for (const attempt of [...(this.#open.get(name) ?? [])]) attempt.cut();
  }

  close(): void {
    this.#isClosed = true;
    this.#unfollow();
    for (const name of [...this.#open.keys()]) this.cut(name);
    this.#agent?.destroy();
  }
}
