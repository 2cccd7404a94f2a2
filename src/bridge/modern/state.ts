/**
 * `requestState`: what a client hands back with the answers that it was asked for (MCP 2026-07-28, 'Multi Round-Trip Requests', server
 * requirements 4 and 5). It is sealed, so no client reads or changes it, and it names whom, what and until when it is for.
 */
import type { Clock } from '../../clock';
import type { JsonRpcRequest } from '../contract';
import { isObject, without } from '../json';
import { digestOf } from './canonical';

const KIND = 'request-state';
/** A state is never this long; more is refused before it is decoded. */
const MAX_LENGTH = 1_048_576;

/** Where something sealed belongs; it opens nowhere else. */
interface Place {
  readonly kind: string;
  readonly name: string;
}

/** Encrypts and authenticates what only this install reads back. */
export interface Sealer {
  close(place: Place, plain: Buffer): Buffer;
  /** Throws where it was changed, belongs elsewhere, or its key is not here. */
  open(sealed: { readonly key: Place; readonly value: Buffer }): Buffer;
}

/** What a state says beside whom and what it is for. */
export interface StateContent {
  /** The call at the child that waits, and which round of questions this is. */
  readonly call?: string;
  readonly round?: number;
  /** The child's own state. */
  readonly child?: string;
  /** The process whose child asked. */
  readonly at?: string;
}

export class StateSeal {
  readonly #sealer: Sealer;
  readonly #clock: Pick<Clock, 'wall'>;
  readonly #at: string | undefined;

  /** @param at names this process, where several seal with the same keys. */
  constructor(sealer: Sealer, clock: Pick<Clock, 'wall'>, at?: string) {
    this.#sealer = sealer;
    this.#clock = clock;
    this.#at = at;
  }

  /** Seals a state for `audience`, to come back with the same request within `seconds`. */
  seal(audience: string, request: JsonRpcRequest, seconds: number, content: Omit<StateContent, 'at'>): string {
    const until = this.#clock.wall() + seconds * 1000;
    const text = JSON.stringify({ ...content, at: this.#at, until, request: requestDigest(request) });
    return this.#sealer.close({ kind: KIND, name: audience }, Buffer.from(text)).toString('base64url');
  }

  /** Opens a state; undefined where it is not ours, was changed, is somebody else's, of another request, or too old. */
  open(audience: string, request: JsonRpcRequest, state: string): StateContent | undefined {
    const { until, request: digest, call, round, child, at } = this.#contentOf(audience, state) ?? {};
    if (typeof until !== 'number' || until < this.#clock.wall() || digest !== requestDigest(request)) return undefined;
    return {
      ...(typeof call === 'string' ? { call } : {}),
      ...(typeof round === 'number' ? { round } : {}),
      ...(typeof child === 'string' ? { child } : {}),
      ...(typeof at === 'string' ? { at } : {}),
    };
  }

  #contentOf(audience: string, state: string): Record<string, unknown> | undefined {
    if (state.length > MAX_LENGTH) return undefined;
    const value = Buffer.from(state, 'base64url');
    if (value.toString('base64url') !== state) return undefined; // other spellings decode to the same bytes; only ours is taken
    try {
      const content: unknown = JSON.parse(this.#sealer.open({ key: { kind: KIND, name: audience }, value }).toString());
      return isObject(content) ? content : undefined;
    } catch {
      return undefined;
    }
  }
}

/** A retry is the same request with answers: method and params, without what only the retry has and what every request says of itself. */
function requestDigest({ method, params = {} }: JsonRpcRequest): string {
  return digestOf([method, without(params, '_meta', 'inputResponses', 'requestState')]);
}
