/** The presented tokens of live sessions, in memory only: what the credential proxy calls Forgejo with in bearer mode. */
import { AppError } from '../../errors';
import type { AuthContext, ForgejoTokens } from '../context';
import { BearerContext } from './context';

interface Held {
  readonly token: string;
  sessions: number;
}

export class HeldTokens implements ForgejoTokens {
  readonly #held = new Map<string, Held>();
  readonly #forget: (grant: string) => void;

  /** @param forget drops what the authenticator remembers of a grant. */
  constructor(forget: (grant: string) => void) {
    this.#forget = forget;
  }

  /** See {@link ForgejoTokens.token}. The token's own scopes decide at the forge about reading and writing. */
  async token(grant: string): Promise<string> {
    const held = this.#held.get(grant);
    if (held === undefined) {
      throw new AppError('FORGE_TOKEN_UNAVAILABLE', 'The session that this belongs to has ended. Start a new one.');
    }
    return held.token;
  }

  /** See {@link ForgejoTokens.refused}. */
  refused(grant: string): void {
    this.#forget(grant);
  }

  /** See {@link ForgejoTokens.retain}. Throws `AUTH_CONTEXT_ABSENT` for a context that no bearer token stands behind. */
  retain(auth: AuthContext): () => void {
    const token = BearerContext.tokenOf(auth);
    if (token === undefined) {
      throw new AppError('AUTH_CONTEXT_ABSENT', 'The request was not authenticated. Tell your administrator.');
    }
    const held = this.#held.get(auth.grant) ?? { token, sessions: 0 };
    held.sessions += 1;
    this.#held.set(auth.grant, held);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      held.sessions -= 1;
      if (held.sessions === 0) this.#held.delete(auth.grant);
    };
  }

  /** Grants whose token is held now. */
  get size(): number {
    return this.#held.size;
  }
}
