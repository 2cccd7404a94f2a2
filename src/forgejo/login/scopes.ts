/**
 * Scopes of the forge's applications. The forge takes a grant without an API scope, and one with a misspelt scope, for full access, so every
 * name is checked before it is sent.
 */
import { AppError } from '../../errors';

const AREAS = 'activitypub|issue|misc|notification|organization|package|repository|user';
const API = new RegExp(`^(?:read|write):(?:${AREAS})$`);

/** They narrow what is granted, or concern the ID token only; alone they would be full access. */
const BESIDE: ReadonlySet<string> = new Set(['public-only', 'openid', 'profile', 'email', 'groups']);

/** Without one of these nobody could be told who has logged in. */
const WHO: ReadonlySet<string> = new Set(['read:user', 'write:user']);

/**
 * Checks an application's scopes.
 * @throws AppError `CONFIG_INVALID` for none, for one that the forge does not know, for `all` and the administrator's, and where the user cannot
 * be read.
 */
export function checkScopes(scopes: readonly string[]): void {
  const wrong = scopes.find((scope) => !API.test(scope) && !BESIDE.has(scope));
  if (wrong !== undefined)
    throw new AppError(
      'CONFIG_INVALID',
      `The scope ${JSON.stringify(wrong)} is not one that a Forgejo application may ask for here; Forgejo would grant full access.`,
    );
  if (!scopes.some((scope) => WHO.has(scope)))
    throw new AppError(
      'CONFIG_INVALID',
      'A Forgejo application must ask for read:user (and what else the sessions need): without an API scope Forgejo grants full access.',
    );
}
