/** Logging in at a forge: an OAuth 2.0 code flow with PKCE (RFC 6749, 4.1; RFC 7636), by one of the gateway's two applications. */
import {
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
  refreshTokenGrant,
} from 'openid-client';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../clock';
import type { BegunLogin } from '../../auth/login/contract';
import { AppError } from '../../errors';
import { fetchAccount } from './account';
import { BackChannel, neverSent } from './back-channel';
import type { Account, Application, ApplicationName, ForgeUpstream, Login, RefreshAnswer } from './contract';
import { failureOf, loginError } from './failure';
import { Provider } from './provider';
import { checkScopes } from './scopes';
import { tokensOf } from './tokens';

export interface ForgeLoginOptions {
  /** The forge's public base URL: browsers go there. */
  readonly url: string;
  /** The base URL by which the gateway reaches it. */
  readonly apiUrl: string;
  readonly applications: Readonly<Record<ApplicationName, Application>>;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  /** Milliseconds for one request to the forge. */
  readonly timeoutMs: number;
}

export class ForgeLogin implements ForgeUpstream {
  readonly #options: ForgeLoginOptions;
  readonly #channel: BackChannel;
  readonly #provider: Provider;

  /** @throws AppError `CONFIG_INVALID` for scopes that would be full access, for applications that are one, and for base URLs that are none. */
  constructor(options: ForgeLoginOptions) {
    const { read, write } = options.applications;
    checkScopes(read.scopes);
    checkScopes(write.scopes);
    if (read.clientId === write.clientId)
      throw new AppError(
        'CONFIG_INVALID',
        'Reading and writing need an OAuth application each at Forgejo: what a user grants to one of them cannot be widened later.',
      );
    this.#options = options;
    this.#channel = new BackChannel(options);
    this.#provider = new Provider(this.#channel, options.applications, options.clock, options.timeoutMs);
  }

  clientId(application: ApplicationName): string {
    return this.#options.applications[application].clientId;
  }

  /**
   * Where to send the browser, and what to keep until it comes back.
   * @throws AppError `UPSTREAM_*` while the forge is away, `CONFIG_INVALID` where it is another one than configured.
   */
  async begin(application: ApplicationName, redirectUri: string): Promise<{ url: URL; begun: BegunLogin }> {
    const configuration = await this.#provider.configuration(application);
    const { scopes } = this.#options.applications[application];
    const [state, verifier] = [randomState(), randomPKCECodeVerifier()];
    const nonce = scopes.includes('openid') ? randomNonce() : undefined;
    const url = buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: scopes.join(' '),
      state,
      code_challenge: await calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...(nonce === undefined ? {} : { nonce }),
    });
    return { url, begun: { application, redirectUri, state, verifier, ...(nonce === undefined ? {} : { nonce }) } };
  }

  /**
   * Exchanges the code of a callback and asks whose account it is. From here on the tokens of an earlier login of this user are used up, so the
   * result must be stored, or the user logs in again.
   * @param query the callback's own query.
   * @throws AppError `FORGE_LOGIN_DENIED`, `FORGE_LOGIN_INVALID` (another state, a used or old code), `FORGE_LOGIN_CONFIG`, `AUTH_REFUSED` (the account
   * may not log in), `AUTH_SCOPE`, `UPSTREAM_*`.
   */
  async finish(begun: BegunLogin, query: URLSearchParams): Promise<Login> {
    const { application, redirectUri, state, verifier, nonce } = begun;
    const configuration = await this.#provider.configuration(application);
    const callback = new URL(redirectUri);
    callback.search = query.toString();
    const asked = this.#options.clock.wall();
    let tokens;
    let subject: string | undefined;
    try {
      const answer = await authorizationCodeGrant(configuration, callback, {
        expectedState: state,
        pkceCodeVerifier: verifier,
        ...(nonce === undefined ? {} : { expectedNonce: nonce, idTokenExpected: true }),
      });
      tokens = tokensOf(answer, asked);
      subject = answer.claims()?.sub;
    } catch (thrown) {
      throw loginError(thrown);
    }
    const { user, isAdmin } = await this.#owner(tokens.accessToken);
    if (subject !== undefined && subject !== user.id)
      throw new AppError('FORGE_LOGIN_INVALID', 'Forgejo named two different users for this login. Start it again.');
    return { application, clientId: this.clientId(application), user, isAdmin, tokens };
  }

  /** Asked again where there was no answer: the code is used up, and with it the tokens of an earlier login. */
  async #owner(accessToken: string): Promise<Account> {
    try {
      return await this.account(accessToken);
    } catch (thrown) {
      if (!(thrown instanceof AppError) || !thrown.code.startsWith('UPSTREAM_')) throw thrown;
      return this.account(accessToken);
    }
  }

  /** See {@link ForgeUpstream.refresh}. */
  async refresh(application: ApplicationName, refreshToken: string): Promise<RefreshAnswer> {
    let configuration;
    try {
      configuration = await this.#provider.configuration(application);
    } catch (thrown) {
      return { kind: 'unreachable', error: loginError(thrown), reached: false };
    }
    const asked = this.#options.clock.wall();
    try {
      return { kind: 'refreshed', tokens: tokensOf(await refreshTokenGrant(configuration, refreshToken), asked) };
    } catch (thrown) {
      const failure = failureOf(thrown);
      return failure.kind === 'unreachable' ? { ...failure, reached: !neverSent(failure.error) } : failure;
    }
  }

  /** See {@link ForgeUpstream.account}. */
  account(accessToken: string): Promise<Account> {
    return fetchAccount(this.#channel, accessToken);
  }
}
