/** The vault behind the credential proxy's interface: a grant's user and application, and which of them have live sessions. */
import type { AuthContext, ForgejoTokens, UserRef } from '../../auth/context';
import { AppError } from '../../errors';
import type { ApplicationName } from '../login/contract';
import type { Vault } from './vault';

/** Whose tokens a grant works with. */
export interface GrantHolder {
  readonly user: UserRef;
  readonly application: ApplicationName;
}

/** Looks a grant up; undefined where it is revoked or unknown. */
export type ResolveGrant = (grant: string) => Promise<GrantHolder | undefined>;

interface Live {
  sessions: number;
  /** The forge has refused the token: the next one who asks has it checked first. */
  doubted: boolean;
}

export class VaultTokens implements ForgejoTokens {
  readonly #vault: Pick<Vault, 'token' | 'probe'>;
  readonly #resolve: ResolveGrant;
  readonly #live = new Map<string, Live>();

  constructor(vault: Pick<Vault, 'token' | 'probe'>, resolve: ResolveGrant) {
    this.#vault = vault;
    this.#resolve = resolve;
  }

  /**
   * See {@link ForgejoTokens.token}. The grant's application decides about reading and writing at the forge; the proxy's policy has decided before.
   * @throws AppError as {@link Vault.token}, and `AUTH_INVALID` for a grant that is gone.
   */
  async token(grant: string, _access: 'read' | 'write', signal: AbortSignal): Promise<string> {
    const holder = await this.#resolve(grant);
    if (holder === undefined)
      throw new AppError('AUTH_INVALID', 'This connection was revoked. Connect again.', {
        detail: 'forge tokens: grant',
      });
    const live = this.#live.get(grant);
    if (live?.doubted === true) {
      live.doubted = false;
      await this.#vault.probe(holder.user, holder.application, signal);
    }
    return this.#vault.token(holder.user, holder.application, signal);
  }

  /** See {@link ForgejoTokens.refused}. */
  refused(grant: string): void {
    const live = this.#live.get(grant);
    if (live !== undefined) live.doubted = true;
  }

  /** See {@link ForgejoTokens.retain}. */
  retain({ grant }: AuthContext): () => void {
    const live = this.#live.get(grant) ?? { sessions: 0, doubted: false };
    live.sessions += 1;
    this.#live.set(grant, live);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      live.sessions -= 1;
      if (live.sessions === 0) this.#live.delete(grant);
    };
  }

  /** Grants with live sessions here. */
  get grants(): readonly string[] {
    return [...this.#live.keys()];
  }

  /** Who has live sessions here, each user and application once. A grant that cannot be looked up now is left out. */
  async holders(): Promise<readonly GrantHolder[]> {
    const found = new Map<string, GrantHolder>();
    for (const grant of this.#live.keys()) {
      const holder = await this.#resolve(grant).catch(() => undefined);
      if (holder !== undefined) found.set(`${holder.user.issuer}\0${holder.user.id}\0${holder.application}`, holder);
    }
    return [...found.values()];
  }
}
