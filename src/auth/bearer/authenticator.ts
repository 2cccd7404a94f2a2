/** Bearer mode: a Forgejo access token in `Authorization: Bearer ...` (RFC 6750, 2.1), checked against the forge and cached briefly. */
import type { Clock } from '../../clock';
import type { ServerSpec } from '../../config/server';
import { AppError, type ErrorCode } from '../../errors';
import type { Authenticator, Credentials } from '../authenticator';
import type { AuthContext, UserRef } from '../context';
import { BearerContext } from './context';
import { FailureLimit, type FailureLimitOptions } from './failure-limit';
import { Fingerprints } from './fingerprint';
import type { ForgeUser } from './forge-user';

/** Asks the forge whose token this is. Rejects with `AUTH_INVALID`, `AUTH_REFUSED`, `AUTH_SCOPE` or `AUTH_UNAVAILABLE`. */
export type WhoAmI = (apiUrl: string, token: string) => Promise<ForgeUser>;

/** How a request's check went; a metric label. */
export type AuthOutcome = 'ok' | 'missing' | 'invalid' | 'refused' | 'rate' | 'unavailable';

export interface AuthObserver {
  /** `cached`: answered without asking the forge. */
  checked(outcome: AuthOutcome, cached: boolean): void;
  /** Seconds that the forge took to answer. */
  forge(seconds: number): void;
}

export interface BearerOptions {
  /** Keys the fingerprints; at least 32 bytes. */
  readonly key: Buffer;
  readonly whoAmI: WhoAmI;
  readonly clock: Clock;
  readonly observer: AuthObserver;
  /** Milliseconds for which a good, and a refused, token is not checked again. */
  readonly okMs: number;
  readonly refusedMs: number;
  /** Tokens whose verdict is kept. */
  readonly maxCached: number;
  readonly failures: FailureLimitOptions;
}

interface Verdict {
  /** Monotonic milliseconds. */
  readonly until: number;
  readonly user?: ForgeUser;
  readonly error?: AppError;
}

/** Credentials, taken apart. */
interface Presented {
  readonly authorization: string | undefined;
  readonly apiUrl: string;
  readonly token: string;
  readonly grant: string;
}

/** RFC 6750, 2.1: `b64token`. Forgejo's own tokens have 40 hex digits, its OAuth tokens are JWTs. */
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;
const MAX_TOKEN = 8192;

/** Questions to the forge that may wait at once: failures are counted when they are known, and a flood must not be asked on in between. */
const MAX_PENDING = 512;

/** Codes that are a verdict on the token, as opposed to a fault on the way to one. */
const VERDICTS: ReadonlySet<string> = new Set(['AUTH_INVALID', 'AUTH_REFUSED', 'AUTH_SCOPE']);

const OUTCOMES: Readonly<Record<string, AuthOutcome>> = {
  AUTH_MISSING: 'missing',
  AUTH_INVALID: 'invalid',
  AUTH_REFUSED: 'refused',
  AUTH_SCOPE: 'refused',
  AUTH_RATE: 'rate',
};

const CHALLENGES: Partial<Readonly<Record<ErrorCode, string>>> = {
  AUTH_MISSING: 'Bearer realm="forgejo-mcp"',
  AUTH_INVALID:
    'Bearer realm="forgejo-mcp", error="invalid_token", error_description="The token is not valid at this Forgejo"',
  AUTH_SCOPE: 'Bearer realm="forgejo-mcp", error="insufficient_scope", scope="read:user"',
};

export class BearerAuthenticator implements Authenticator {
  readonly #options: BearerOptions;
  readonly #limit: FailureLimit;
  readonly #fingerprints: Fingerprints;
  /** Newest last, so the first is the one to forget. Keyed by fingerprint: no token is kept here. */
  readonly #verdicts = new Map<string, Verdict>();
  readonly #pending = new Map<string, Promise<Verdict>>();
  /** What was made of a connection's credentials last. Gone with the connection, which holds the same header itself while it reads. */
  readonly #presented = new WeakMap<object, Presented>();

  constructor(options: BearerOptions) {
    this.#options = options;
    this.#fingerprints = new Fingerprints(options.key);
    this.#limit = new FailureLimit(options.failures, options.clock);
  }

  /** See {@link Authenticator.authenticate}. */
  async authenticate(credentials: Credentials, server: ServerSpec): Promise<AuthContext> {
    let cached = true;
    try {
      const { token, grant } = this.#read(credentials, server.forgejo.apiUrl);
      let verdict = this.#verdicts.get(grant);
      if (verdict === undefined || verdict.until <= this.#options.clock.now()) {
        cached = false;
        verdict = await this.#check(
          grant,
          server.forgejo.apiUrl,
          token,
          credentials.address,
          verdict?.user !== undefined,
        );
      }
      if (verdict.user === undefined) throw verdict.error ?? invalid();
      const context = new BearerContext(admit(verdict.user, server), grant, token);
      this.#options.observer.checked('ok', cached);
      return context;
    } catch (thrown) {
      const code = thrown instanceof AppError ? thrown.code : '';
      this.#options.observer.checked(OUTCOMES[code] ?? 'unavailable', cached);
      throw thrown;
    }
  }

  /** See {@link Authenticator.confirm}. A token has no grant that could have ended: {@link authenticate} has said all. */
  async confirm(): Promise<void> {}

  /** See {@link Authenticator.challenge}; RFC 6750, 3 and 3.1. */
  challenge(error: AppError): string | undefined {
    return CHALLENGES[error.code];
  }

  /** Forgets the verdict on a grant's token: the forge has refused it elsewhere. */
  forget(grant: string): void {
    this.#verdicts.delete(grant);
  }

  /** Verdicts that are kept now. */
  get size(): number {
    return this.#verdicts.size;
  }

  /** Token and fingerprint. Clients send the same header over and over on one connection; it is taken apart and hashed once. */
  #read({ authorization, connection }: Credentials, apiUrl: string): Presented {
    const before = connection === undefined ? undefined : this.#presented.get(connection);
    if (before !== undefined && before.authorization === authorization && before.apiUrl === apiUrl) return before;
    const token = tokenOf(authorization);
    const presented = { authorization, apiUrl, token, grant: this.#fingerprints.of(apiUrl, token) };
    if (connection !== undefined) this.#presented.set(connection, presented);
    return presented;
  }

  /** One question to the forge for all requests that wait for the same token. A token that was good before is not held back by the limit. */
  async #check(grant: string, apiUrl: string, token: string, address: string, known: boolean): Promise<Verdict> {
    const waiting = this.#pending.get(grant);
    if (waiting !== undefined) return waiting;
    if (!known) this.#limit.admit(address);
    if (this.#pending.size >= MAX_PENDING) throw busy();
    const asked = this.#ask(grant, apiUrl, token).finally(() => this.#pending.delete(grant));
    this.#pending.set(grant, asked);
    const verdict = await asked;
    if (verdict.user === undefined) this.#limit.failed(address);
    return verdict;
  }

  async #ask(grant: string, apiUrl: string, token: string): Promise<Verdict> {
    const { clock, observer, whoAmI, okMs, refusedMs } = this.#options;
    const began = clock.now();
    let verdict: Verdict;
    try {
      const user = await whoAmI(apiUrl, token);
      verdict = { user, until: clock.now() + okMs };
    } catch (thrown) {
      if (!(thrown instanceof AppError) || !VERDICTS.has(thrown.code)) throw thrown;
      verdict = { error: thrown, until: clock.now() + refusedMs };
    } finally {
      observer.forge((clock.now() - began) / 1000);
    }
    this.#keep(grant, verdict);
    return verdict;
  }

  #keep(grant: string, verdict: Verdict): void {
    this.#verdicts.delete(grant);
    this.#verdicts.set(grant, verdict);
    if (this.#verdicts.size > this.#options.maxCached) {
      const oldest = this.#verdicts.keys().next();
      if (!oldest.done) this.#verdicts.delete(oldest.value);
    }
  }
}

/** The token of an `Authorization` header. Throws `AUTH_MISSING` without one, `AUTH_INVALID` for one that is no bearer token. */
function tokenOf(header: string | undefined): string {
  if (header === undefined || header === '') {
    throw new AppError('AUTH_MISSING', 'Log in first: send a Forgejo access token as "Authorization: Bearer <token>".');
  }
  const token = BEARER.exec(header)?.[1];
  if (token === undefined || token.length > MAX_TOKEN) throw invalid();
  return token;
}

/** Whether this user may use this server. A site administrator's token can act as anybody (`sudo`), so it is refused unless allowed. */
function admit(user: ForgeUser, server: ServerSpec): UserRef {
  if (user.isAdmin && !server.forgejo.insecureAllowSiteAdmins) {
    throw new AppError(
      'AUTH_REFUSED',
      'Site administrators may not use this server, because their token can act as anybody. Use a token of an ordinary account.',
    );
  }
  return { issuer: server.forgejo.url, id: user.id, login: user.login };
}

function invalid(): AppError {
  return new AppError(
    'AUTH_INVALID',
    'The access token is not valid. Make a new one in Forgejo (Settings, Applications) and send it as bearer.',
  );
}

function busy(): AppError {
  return new AppError(
    'AUTH_UNAVAILABLE',
    'Too many access tokens are being checked at the moment. Try again in a second.',
    {
      retryAfter: 1,
    },
  );
}
