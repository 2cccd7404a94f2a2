/** Whose a session is: the rules by which a bearer may use it. Pure. */
import type { AuthContext } from '../auth/context';

/** `strict`: the grant that minted the session only; `adopt`: also a later grant of the same user and client. */
export type BindingPolicy = 'adopt' | 'strict';

/**
 * `same`: goes on; `adopt`: goes on and belongs to the new grant from now on; `ended`: for this bearer the session is as ended (404), so that
 * its client starts again by itself; `forbidden`: 403.
 */
export type Binding = 'same' | 'adopt' | 'ended' | 'forbidden';

/** What a session remembers of its bearer. */
export type Bound = Pick<AuthContext, 'mode' | 'user' | 'grant' | 'client'>;

/**
 * Decides whether `bearer` may use a session that is bound to `bound`.
 *
 * A token that was refreshed has the same grant and goes on: a session bound to a token's bytes would die with every refresh. Another user
 * is always refused, even with the same grant, which cannot be and is not trusted to be. In bearer mode the grant is the token itself.
 */
export function bind(bound: Bound, bearer: Bound, policy: BindingPolicy): Binding {
  const sameUser = bound.user.issuer === bearer.user.issuer && bound.user.id === bearer.user.id;
  if (!sameUser || bound.mode !== bearer.mode) return 'forbidden';
  if (bound.grant === bearer.grant) return 'same';
  if (bearer.mode === 'bearer' || policy === 'strict') return 'forbidden';
  return bound.client === bearer.client ? 'adopt' : 'ended';
}

/**
 * Whether a bearer that a session is bound to may use it as far as it reaches: all that the session may do, and its login is allowed still, its token may
 * do as well. Where it is not, the token is of before a step-up, and what the session may do is none of its business (403 `insufficient_scope`).
 *
 * A session follows a bearer that covers it: to more, because the user allowed more and the client fetched a token for it; to less, because the
 * user took something back, which is no fault of the token.
 */
export function covers(session: Pick<AuthContext, 'scopes'>, bearer: Pick<AuthContext, 'scopes' | 'granted'>): boolean {
  const granted = bearer.granted ?? bearer.scopes;
  for (const scope of session.scopes) if (granted.has(scope) && !bearer.scopes.has(scope)) return false;
  return true;
}
