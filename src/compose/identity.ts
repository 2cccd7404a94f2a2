/** Who may ask, as the rest of the wiring sees it: one shape for both modes. */
import type { Authenticator } from '../auth/authenticator';
import type { AuthContext, ForgejoTokens } from '../auth/context';
import type { LoginOptions } from '../http/app';
import type { BodyReader } from '../http/mcp/body';
import type { ReadinessCheck } from '../http/ops';

/** What depends on the URL that clients use, which is known late. */
export interface Served {
  readonly authenticator: Authenticator;
  /** Absent where nobody logs in here. */
  readonly login?: LoginOptions;
}

export interface Identity {
  readonly tokens: ForgejoTokens;
  /** What a session's login allows now; undefined where it has ended. Rejects with `STORE_UNAVAILABLE`. */
  readonly now: (auth: AuthContext) => Promise<Pick<AuthContext, 'scopes' | 'choice'> | undefined>;
  readonly checks: readonly ReadinessCheck[];
  /** To be called once. @param publicUrl without a trailing slash. */
  serve(publicUrl: string, bodies: BodyReader): Served;
  /** Ends its loops and gives up what it holds. */
  close(): Promise<void>;
}
