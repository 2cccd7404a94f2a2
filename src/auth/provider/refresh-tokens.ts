/**
 * The storage of refresh tokens: rotation with an overlap, and revocation of the whole grant when a token is used again after it (RFC 9700,
 * 4.14.2). oidc-provider has no overlap: of racing refreshes each would get a branch of its own.
 */
import { errors, type AdapterPayload } from 'oidc-provider';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Collection, Item } from '../../stores/sealed';
import type { Grants } from './grants';
import { GRANT_TAG, USER_TAG } from './records';
import type { RefreshId, RefreshIds } from './refresh-ids';

/** One family: all refresh tokens that came of one code. */
export interface RefreshFamily {
  /** The newest token's, without its id. */
  readonly payload: AdapterPayload;
  /** The newest that was issued. */
  readonly generation: number;
  /** When tokens were first used, wall-clock milliseconds; only those that matter still. */
  readonly used: readonly { readonly generation: number; readonly at: number }[];
}

export interface RefreshTokensOptions {
  readonly families: Collection<RefreshFamily>;
  readonly grants: Grants;
  readonly ids: RefreshIds;
  readonly clock: Clock;
  /** Seconds. */
  readonly overlap: number;
  /** A token was used again that should not have been. */
  readonly replayed: (grant: string) => void;
}

/** Uses within the overlap that are remembered; older ones count as replays. */
const MAX_USED = 64;
/** Tries against other writers of the same family: each lost one means that somebody else got on. */
const ATTEMPTS = 16;

export class RefreshTokens {
  readonly #options: RefreshTokensOptions;

  constructor(options: RefreshTokensOptions) {
    this.#options = options;
  }

  /**
   * What is known of a token; `consumed` (seconds) only where its use is a replay: its successor was used, and the overlap is over. So a
   * client that never got the answer with the successor can always ask again. Nothing for a token whose grant is gone.
   */
  async find(token: string): Promise<AdapterPayload | undefined> {
    const { families, grants, ids, clock, replayed } = this.#options;
    const id = ids.parse(token);
    if (id === undefined) return undefined;
    const family = (await families.get(id.family))?.value;
    if (family === undefined || id.generation > family.generation) return undefined;
    const grant = await grants.find(family.payload.grantId ?? '');
    if (grant === undefined) return undefined;
    const known: AdapterPayload = {
      ...family.payload,
      jti: token,
      scope: grant.scopes.join(' '),
      resource: grant.resource,
    };
    if (!this.#isReplay(family, id)) return known;
    replayed(grant.id);
    return { ...known, consumed: Math.floor(clock.wall() / 1000) };
  }

  /**
   * Notes a token's first use.
   * @throws InvalidGrant where the token is gone meanwhile.
   */
  async consume(token: string): Promise<void> {
    await this.#change(token, (family, id) => {
      if (id.generation > family.generation) throw new errors.InvalidGrant('refresh token not found');
      if (family.used.some(({ generation }) => generation === id.generation)) return undefined;
      const now = this.#options.clock.wall();
      const matters = family.used.filter(
        ({ generation, at }) => generation >= family.generation || at + this.#options.overlap * 1000 > now,
      );
      return { ...family, used: [...matters.slice(1 - MAX_USED), { generation: id.generation, at: now }] };
    });
  }

  /**
   * Begins a family with its first token, or makes a successor the newest where nobody else has done so.
   * @param expiresIn seconds.
   * @throws InvalidGrant where the family is gone meanwhile.
   */
  async save(token: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const id = this.#parse(token);
    const { jti: _token, ...rest } = payload;
    if (id.generation === 0) return this.#begin(id, rest, expiresIn);
    await this.#change(
      token,
      (family) => {
        if (family.generation >= id.generation) return undefined;
        if (family.generation !== id.generation - 1) throw new errors.InvalidGrant('refresh token not found');
        return { ...family, generation: id.generation, payload: rest };
      },
      this.#options.clock.wall() + expiresIn * 1000,
    );
  }

  /** Removes a token's whole family. */
  async destroy(token: string): Promise<void> {
    const id = this.#options.ids.parse(token);
    if (id !== undefined) await this.#options.families.delete(id.family);
  }

  async #begin(id: RefreshId, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const { families, grants, clock } = this.#options;
    const family: RefreshFamily = { payload, generation: 0, used: [] };
    const options = { expiresAt: clock.wall() + expiresIn * 1000, tags: tags(payload) };
    const item = await families.create(id.family, family, options);
    if (item === undefined) throw new AppError('INTERNAL', 'The login could not be recorded. Try again.');
    // The grant was revoked while its code was redeemed, and its tokens were removed before this one was there.
    if ((await grants.find(payload.grantId ?? '')) === undefined) await families.delete(item);
  }

  #isReplay(family: RefreshFamily, { generation }: RefreshId): boolean {
    const { clock, overlap } = this.#options;
    const useOf = (wanted: number): number | undefined => family.used.find((use) => use.generation === wanted)?.at;
    const behind = family.generation - generation;
    if (behind === 0 || (behind === 1 && useOf(family.generation) === undefined)) return false;
    const at = useOf(generation);
    return at === undefined || clock.wall() >= at + overlap * 1000;
  }

  /** Compare-and-set until it holds, or `change` says that there is nothing to do. */
  async #change(
    token: string,
    change: (family: RefreshFamily, id: RefreshId) => RefreshFamily | undefined,
    expiresAt?: number,
  ): Promise<void> {
    const id = this.#parse(token);
    const { families } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const item = await families.get(id.family);
      if (item === undefined) throw new errors.InvalidGrant('refresh token not found');
      const changed = change(item.value, id);
      if (changed === undefined) return;
      if ((await this.#replace(item, changed, expiresAt)) !== undefined) return;
    }
    throw new AppError('STORE_UNAVAILABLE', 'The login is being refreshed elsewhere. Try again in a few seconds.', {
      retryAfter: 1,
    });
  }

  #replace(
    item: Item<RefreshFamily>,
    family: RefreshFamily,
    expiresAt = item.expiresAt,
  ): Promise<Item<RefreshFamily> | undefined> {
    return this.#options.families.replace(item, family, {
      tags: tags(family.payload),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    });
  }

  #parse(token: string): RefreshId {
    const id = this.#options.ids.parse(token);
    if (id === undefined) throw new AppError('INTERNAL', 'The login could not be recorded. Try again.');
    return id;
  }
}

function tags({ grantId = '', accountId = '' }: AdapterPayload): Record<string, string> {
  return { [GRANT_TAG]: grantId, [USER_TAG]: accountId };
}
