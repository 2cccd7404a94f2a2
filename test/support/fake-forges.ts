/** A forge at which everybody is who the code says: `code=42` comes back as the user with this number. */
import { randomBytes } from 'node:crypto';
import type { ApplicationName, UserRef } from '../../src/auth/context';
import type { BegunLogin, ForgeLogins } from '../../src/auth/login/contract';
import type { ServerSpec } from '../../src/config/server';
import { AppError } from '../../src/errors';

export class FakeForges implements ForgeLogins {
  /** Users whose tokens for writing are good. */
  readonly writers = new Set<string>();
  readonly forgotten: string[] = [];
  /** Set: the forge cannot be reached. */
  fault: AppError | undefined;

  async begin(
    { forgejo }: ServerSpec,
    application: ApplicationName,
    redirectUri: string,
  ): Promise<{ readonly url: URL; readonly begun: BegunLogin }> {
    if (this.fault !== undefined) throw this.fault;
    const state = randomBytes(16).toString('hex');
    const url = new URL(`${forgejo.url}/login/oauth/authorize?state=${state}`);
    return { url, begun: { application, redirectUri, state, verifier: 'v'.repeat(43) } };
  }

  async finish({ forgejo }: ServerSpec, _begun: BegunLogin, query: URLSearchParams): Promise<UserRef> {
    if (this.fault !== undefined) throw this.fault;
    if (query.get('error') === 'access_denied') throw new AppError('FORGE_LOGIN_DENIED', 'You said no at Forgejo.');
    const id = query.get('code') ?? '';
    return { issuer: forgejo.url, id, login: `user-${id}` };
  }

  async has({ id }: UserRef): Promise<boolean> {
    return this.writers.has(id);
  }

  async forget({ id }: UserRef): Promise<void> {
    this.forgotten.push(id);
  }
}
