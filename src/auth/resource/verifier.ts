/** Access tokens, verified on the spot: JWTs of our own authorization server (RFC 9068), with the keys of the ring and nothing else. */
import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { errors, jwtVerify, type JWTHeaderParameters, type JWTPayload } from 'jose';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Scope } from '../context';
import type { PublicSigningJwk } from '../keys/signing';
import { SCOPES } from './metadata';

/** What a good token says. */
export interface AccessClaims {
  /** See `accountOf`. */
  readonly account: string;
  readonly grant: string;
  readonly client: string;
  readonly audience: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Wall-clock milliseconds. */
  readonly expiresAt: number;
}

export interface VerifierKeys {
  /** The key with this id if it is still good; synchronous, for tokens that were verified before. */
  find(kid: string): PublicSigningJwk | undefined;
  /** As `find`, after a look at what other gateways made. Rejects with `STORE_UNAVAILABLE`. */
  resolve(kid: string): Promise<PublicSigningJwk | undefined>;
}

export interface VerifierOptions {
  readonly issuer: string;
  readonly keys: VerifierKeys;
  readonly clock: Clock;
  /** Verified tokens that are remembered. */
  readonly maxCached: number;
}

interface Verified {
  readonly claims: AccessClaims;
  readonly kid: string;
}

/** Only this, whatever a token's header or a key set says (RFC 8725, 3.1). */
const ALGORITHM = 'ES256';
/** Keys are named by a SHA-256 thumbprint; anything else is not looked up. */
const KID = /^[A-Za-z0-9_-]{43}$/;

export class AccessTokenVerifier {
  readonly #options: VerifierOptions;
  /** By the token's digest, so no token is kept; used last stands last. */
  readonly #verified = new Map<string, Verified>();
  /** Imported once each; a handful. */
  readonly #imported = new Map<string, KeyObject>();

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /**
   * The claims of a token of this issuer for one of these audiences, signed with a key that is in the ring now, not expired.
   * @throws AppError `AUTH_INVALID` for every other token; `STORE_UNAVAILABLE` where its key may be one that cannot be read now.
   */
  async verify(token: string, audiences: readonly string[]): Promise<AccessClaims> {
    const digest = hash('sha256', token, 'base64url');
    const { claims, kid } = this.#remembered(digest) ?? (await this.#verify(token));
    if (!audiences.includes(claims.audience)) throw invalid('it is for another server');
    this.#remember(digest, { claims, kid });
    return claims;
  }

  /** Tokens that are remembered now. */
  get size(): number {
    return this.#verified.size;
  }

  #remembered(digest: string): Verified | undefined {
    const known = this.#verified.get(digest);
    if (known === undefined) return undefined;
    this.#verified.delete(digest);
    const good =
      known.claims.expiresAt > this.#options.clock.wall() && this.#options.keys.find(known.kid) !== undefined;
    return good ? known : undefined;
  }

  #remember(digest: string, verified: Verified): void {
    this.#verified.delete(digest);
    this.#verified.set(digest, verified);
    if (this.#verified.size <= this.#options.maxCached) return;
    const oldest = this.#verified.keys().next();
    if (!oldest.done) this.#verified.delete(oldest.value);
  }

  async #verify(token: string): Promise<Verified> {
    const { issuer, clock } = this.#options;
    try {
      const { payload, protectedHeader } = await jwtVerify(token, (header) => this.#key(header), {
        algorithms: [ALGORITHM],
        issuer,
        typ: 'at+jwt',
        requiredClaims: ['exp', 'iat', 'sub', 'aud', 'client_id', 'gid', 'scope'],
        clockTolerance: 0,
        currentDate: new Date(clock.wall()),
      });
      return { claims: claimsOf(payload), kid: protectedHeader.kid ?? '' };
    } catch (thrown) {
      if (thrown instanceof AppError) throw thrown;
      throw invalid(thrown instanceof errors.JOSEError ? thrown.code : 'it cannot be read');
    }
  }

  /** By the id in the header alone: keys, URLs and certificates that a token brings along are never looked at. */
  async #key({ alg, kid }: JWTHeaderParameters): Promise<KeyObject> {
    if (alg !== ALGORITHM || kid === undefined || !KID.test(kid)) throw invalid('no key of ours');
    const jwk = await this.#options.keys.resolve(kid);
    if (jwk === undefined) throw invalid('no key of ours');
    let key = this.#imported.get(kid);
    if (key === undefined) {
      for (const old of this.#imported.keys()) {
        if (this.#options.keys.find(old) === undefined) this.#imported.delete(old);
      }
      key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
      this.#imported.set(kid, key);
    }
    return key;
  }
}

function claimsOf({ sub, aud, exp, client_id: client, gid: grant, scope }: JWTPayload): AccessClaims {
  if (typeof aud !== 'string' || sub === undefined || exp === undefined) throw invalid('a claim is missing');
  if (typeof client !== 'string' || typeof grant !== 'string' || typeof scope !== 'string')
    throw invalid('a claim is missing');
  const granted = scope.split(' ');
  return {
    account: sub,
    grant,
    client,
    audience: aud,
    scopes: new Set(SCOPES.filter((one) => granted.includes(one))),
    expiresAt: exp * 1000,
  };
}

function invalid(detail: string): AppError {
  return new AppError('AUTH_INVALID', 'The access token is not valid, or not any more. Log in again.', { detail });
}
