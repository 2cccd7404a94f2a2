/**
 * Grants: one consent of one user to one client. Everything that was issued for a grant lives as long as its record: deleting that is the one
 * step at which all of it ends.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Collection, Item } from '../../stores/sealed';
import type { ApplicationName, Choice, Scope, UserRef } from '../context';
import { GRANT_TAG, USER_TAG } from './records';

/** What a user consented to. */
export interface Consent {
  readonly user: UserRef;
  readonly client: {
    readonly id: string;
    /** As the consent page showed it. */
    readonly name: string;
  };
  /** The server's resource (RFC 8707), as `ResourceUrls.of` writes it. */
  readonly resource: string;
  readonly scopes: readonly Scope[];
  readonly policy: Choice;
  /** Whose tokens at the forge its sessions work with. A grant that was narrowed to reading keeps the one that it has: the proxy enforces the scopes. */
  readonly application: ApplicationName;
}

export interface GrantRecord extends Consent {
  readonly id: string;
  /** Wall-clock milliseconds. */
  readonly createdAt: number;
  readonly expiresAt: number;
  /** Whether the client has come for it. Until then it lives for minutes: a login that nobody finished leaves nothing behind. */
  readonly redeemed: boolean;
}

/** What a user may change of a grant later, without a new login. */
export type GrantChange = Partial<Pick<GrantRecord, 'scopes' | 'policy' | 'application'>>;

export interface GrantsOptions {
  readonly grants: Collection<GrantRecord>;
  /** The collections whose records carry the grant's tag and go with it. */
  readonly members: readonly Pick<Collection<unknown>, 'find' | 'delete'>[];
  readonly clock: Clock;
  /** Seconds from the consent. */
  readonly lifetime: number;
  /** Seconds from the consent for the client to redeem its code. */
  readonly pending: number;
  /** Called when a grant was deleted by this process; sessions end and caches forget. Must not throw. */
  readonly revoked: (grant: string) => void;
}

/** Tries against other writers of the same record. */
const ATTEMPTS = 8;

/** How tokens name a user: number and forge, never the login, which can be renamed and reused. */
export function accountOf({ issuer, id }: Pick<UserRef, 'issuer' | 'id'>): string {
  return `${id}@${issuer}`;
}

/** All methods reject with `STORE_UNAVAILABLE` when the store cannot be reached. */
export class Grants {
  readonly #options: GrantsOptions;

  constructor(options: GrantsOptions) {
    this.#options = options;
  }

  /** Records a consent. Every login has its own grant. It is gone after minutes unless it is {@link redeem}ed. */
  async create(consent: Consent): Promise<GrantRecord> {
    const { grants, clock, pending } = this.#options;
    const createdAt = clock.wall();
    const record: GrantRecord = {
      ...consent,
      id: randomBytes(24).toString('base64url'),
      createdAt,
      expiresAt: createdAt + pending * 1000,
      redeemed: false,
    };
    const created = await grants.create(record.id, record, writeOptions(record));
    if (created === undefined) throw new AppError('INTERNAL', 'The login could not be recorded. Try again.');
    return record;
  }

  /** The live grant with this id. */
  async find(id: string): Promise<GrantRecord | undefined> {
    return (await this.#get(id))?.value;
  }

  /** A user's live grants, oldest first. */
  async ofUser(user: Pick<UserRef, 'issuer' | 'id'>): Promise<readonly GrantRecord[]> {
    const found = await this.#options.grants.find({ name: USER_TAG, value: accountOf(user) });
    return found.map(({ value }) => value).sort((a, b) => a.createdAt - b.createdAt);
  }

  /**
   * Narrows or widens a grant; tokens that are out follow at once where it gets narrower, and with their next refresh where it gets wider.
   * A grant that is deleted meanwhile stays deleted. Resolves with the grant as it is now, undefined where there is none.
   */
  update(id: string, change: GrantChange): Promise<GrantRecord | undefined> {
    return this.#change(id, (record) => ({ ...record, ...change }));
  }

  /** The client has come: the grant lives its whole life. Resolves with it, undefined where there is none. */
  redeem(id: string): Promise<GrantRecord | undefined> {
    return this.#change(id, (record) =>
      record.redeemed
        ? record
        : { ...record, redeemed: true, expiresAt: record.createdAt + this.#options.lifetime * 1000 },
    );
  }

  /** Ends a grant and all that was issued for it. Resolves with whether this call did. */
  async revoke(id: string): Promise<boolean> {
    const { grants, members, revoked } = this.#options;
    const deleted = await grants.delete(id);
    if (deleted) revoked(id);
    // From here nothing of the grant works any more; what is left is rubbish, which expires by itself where it cannot be removed now.
    await Promise.allSettled(
      members.map(async (collection) => {
        const found = await collection.find({ name: GRANT_TAG, value: id });
        await Promise.allSettled(found.map((item) => collection.delete(item)));
      }),
    );
    return deleted;
  }

  /** Ends all grants of a user. Resolves with how many. */
  async revokeUser(user: Pick<UserRef, 'issuer' | 'id'>): Promise<number> {
    let count = 0;
    for (const { id } of await this.ofUser(user)) if (await this.revoke(id)) count += 1;
    return count;
  }

  async #change(id: string, change: (record: GrantRecord) => GrantRecord): Promise<GrantRecord | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const item = await this.#get(id);
      if (item === undefined) return undefined;
      const record = change(item.value);
      if (record === item.value) return record;
      const replaced = await this.#options.grants.replace(item, record, writeOptions(record));
      if (replaced !== undefined) return record;
    }
    throw new AppError('STORE_UNAVAILABLE', 'The connection is being changed elsewhere. Try again in a few seconds.', {
      retryAfter: 2,
    });
  }

  async #get(id: string): Promise<Item<GrantRecord> | undefined> {
    const item = await this.#options.grants.get(id);
    return item === undefined || item.value.expiresAt <= this.#options.clock.wall() ? undefined : item;
  }
}

function writeOptions(record: GrantRecord): { expiresAt: number; tags: Record<string, string> } {
  return { expiresAt: record.expiresAt, tags: { [USER_TAG]: accountOf(record.user) } };
}
