/**
 * `requestState`: what a client hands back with the answers that it was asked for (MCP 2026-07-28, 'Multi Round-Trip Requests', server
 * requirements 4 and 5). It is sealed, so no client reads or changes it, and it names whom, what and until when it is for.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import type { Clock } from '../../clock';
import type { JsonRpcRequest } from '../contract';
import { isObject, without } from '../json';
import { digestOf } from './canonical';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const VERSION = 's1.';
const DOMAIN = 'forgejo-mcp-operator request-state';
/** A state is never this long; more is refused before it is decoded. */
const MAX_LENGTH = 1_048_576;

/** What a state says beside whom and what it is for. */
export interface StateContent {
  /** The call at the child that waits, and which round of questions this is. */
  readonly call?: string;
  readonly round?: number;
  /** The child's own state. */
  readonly child?: string;
}

export class StateSeal {
  readonly #keys: readonly Buffer[];
  readonly #clock: Pick<Clock, 'wall'>;

  /** @param secrets the first one seals, all of them open. */
  constructor(secrets: readonly Buffer[], clock: Pick<Clock, 'wall'>) {
    if (secrets.length === 0) throw new RangeError('request states need a key');
    this.#keys = secrets.map((secret) => Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), DOMAIN, 32)));
    this.#clock = clock;
  }

  /** Seals a state for `audience`, to come back with the same request within `seconds`. */
  seal(audience: string, request: JsonRpcRequest, seconds: number, content: StateContent): string {
    const until = this.#clock.wall() + seconds * 1000;
    const text = JSON.stringify({ ...content, until, request: requestDigest(request) });
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#keys[0], nonce).setAAD(Buffer.from(audience));
    const sealed = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return VERSION + sealed.toString('base64url');
  }

  /** Opens a state; undefined where it is not ours, was changed, is somebody else's, of another request, or too old. */
  open(audience: string, request: JsonRpcRequest, state: string): StateContent | undefined {
    if (!state.startsWith(VERSION) || state.length > MAX_LENGTH) return undefined;
    const sealed = Buffer.from(state.slice(VERSION.length), 'base64url');
    // base64url has spellings that decode to the same bytes; only ours is taken.
    if (sealed.length < NONCE_BYTES + TAG_BYTES || sealed.toString('base64url') !== state.slice(VERSION.length)) {
      return undefined;
    }
    for (const key of this.#keys) {
      const content = unseal(key, sealed, audience);
      if (content === undefined) continue;
      const { until, request: digest, call, round, child } = content;
      if (typeof until !== 'number' || until < this.#clock.wall() || digest !== requestDigest(request))
        return undefined;
      return {
        ...(typeof call === 'string' ? { call } : {}),
        ...(typeof round === 'number' ? { round } : {}),
        ...(typeof child === 'string' ? { child } : {}),
      };
    }
    return undefined;
  }
}

function unseal(key: Buffer, sealed: Buffer, audience: string): Record<string, unknown> | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
      .setAAD(Buffer.from(audience))
      .setAuthTag(sealed.subarray(-TAG_BYTES));
    const text = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
    const content: unknown = JSON.parse(text.toString('utf8'));
    return isObject(content) ? content : undefined;
  } catch {
    return undefined;
  }
}

/** A retry is the same request with answers: method and params, without what only the retry has and what every request says of itself. */
function requestDigest({ method, params = {} }: JsonRpcRequest): string {
  return digestOf([method, without(params, '_meta', 'inputResponses', 'requestState')]);
}
