/** The storage of authorization codes: each is redeemed once, whoever asks at the same time (RFC 6749, 4.1.2; RFC 9700, 4.5). */
import { errors, type AdapterPayload } from 'oidc-provider';
import type { Clock } from '../../clock';
import type { Collection, Item } from '../../stores/sealed';
import type { Grants } from './grants';
import { GRANT_TAG, USER_TAG } from './records';

export interface CodesOptions {
  readonly codes: Collection<AdapterPayload>;
  readonly grants: Grants;
  readonly clock: Clock;
  /** A code was redeemed twice. */
  readonly replayed: (grant: string) => void;
}

export class Codes {
  readonly #options: CodesOptions;
  /** Codes by the requests that redeemed them. */
  readonly #redeemed = new WeakMap<object, Item<AdapterPayload>>();

  constructor(options: CodesOptions) {
    this.#options = options;
  }

  /** Nothing for a code whose grant is gone. */
  async find(code: string): Promise<AdapterPayload | undefined> {
    const payload = (await this.#options.codes.get(code))?.value;
    if (payload?.grantId === undefined) return undefined;
    if ((await this.#options.grants.find(payload.grantId)) === undefined) return undefined;
    if (payload.consumed !== undefined) this.#options.replayed(payload.grantId);
    return { ...payload, jti: code };
  }

  /** @param expiresIn seconds. */
  async save(code: string, { jti: _code, ...payload }: AdapterPayload, expiresIn: number): Promise<void> {
    await this.#options.codes.create(code, payload, {
      expiresAt: this.#options.clock.wall() + expiresIn * 1000,
      tags: tags(payload),
    });
  }

  /**
   * Redeems a code: compare-and-set, so one of those who come at the same time wins. Whoever loses takes the grant down with it.
   * @param request see {@link release}.
   * @throws InvalidGrant for the losers.
   */
  async consume(code: string, request: object = {}): Promise<void> {
    const { codes, clock } = this.#options;
    const item = await codes.get(code);
    if (item === undefined) throw new errors.InvalidGrant('authorization code not found');
    if (item.value.consumed === undefined) {
      // First, because after the next step this request must not fail: the code would be used up, and a second try a replay.
      await this.#options.grants.redeem(item.value.grantId ?? '');
      const payload = { ...item.value, consumed: Math.floor(clock.wall() / 1000) };
      const options = { tags: tags(payload), ...(item.expiresAt === undefined ? {} : { expiresAt: item.expiresAt }) };
      const redeemed = await codes.replace(item, payload, options);
      if (redeemed !== undefined) return void this.#redeemed.set(request, redeemed);
    }
    const grant = item.value.grantId ?? '';
    this.#options.replayed(grant);
    await this.#options.grants.revoke(grant);
    throw new errors.InvalidGrant('authorization code already consumed');
  }

  /**
   * Gives a code back that a request redeemed before a fault of ours kept it from its tokens: the client tries again, and would be taken
   * for a thief. Of a code that somebody else tried meanwhile the grant is gone, so giving it back does no harm.
   */
  async release(request: object): Promise<void> {
    const item = this.#redeemed.get(request);
    if (item === undefined) return;
    const payload = { ...item.value };
    delete payload.consumed;
    const options = { tags: tags(payload), ...(item.expiresAt === undefined ? {} : { expiresAt: item.expiresAt }) };
    await this.#options.codes.replace(item, payload, options);
  }

  async destroy(code: string): Promise<void> {
    await this.#options.codes.delete(code);
  }
}

function tags({ grantId = '', accountId = '' }: AdapterPayload): Record<string, string> {
  return { [GRANT_TAG]: grantId, [USER_TAG]: accountId };
}
