/**
 * What the gateway remembers of logins: records by kind and name, with compare-and-set, an expiry and tags to find them by. Drivers know bytes
 * only; `sealed.ts` encrypts what goes in and types what comes out. One contract suite runs against every driver.
 */

/**
 * Where a record is. The name is a digest of whatever identifies it (`recordName`), because ids are secrets themselves: an authorization
 * code's id is the code.
 */
export interface RecordKey {
  /** Lower-case letters and dashes, at most 20: a class of records. */
  readonly kind: string;
  /** 40 hex digits. */
  readonly name: string;
}

/** What is written. */
export interface RecordData {
  readonly value: Buffer;
  /** Wall-clock milliseconds from which the record is as good as gone; none: it stays. */
  readonly expiresAt?: number;
  /** What {@link RecordStore.find} finds it by; names as kinds are, values 40 hex digits. At most four. */
  readonly tags?: Readonly<Record<string, string>>;
}

/** What is read. */
export interface StoredRecord extends RecordData {
  readonly key: RecordKey;
  /** Changes with every write; opaque. */
  readonly version: string;
}

/**
 * Linearisable: every read sees every write that was answered before it, by whichever process; a code must not be redeemed
 * twice because two gateways read at once. All methods reject with `STORE_UNAVAILABLE` when the store cannot be reached in time.
 */
export interface RecordStore {
  /** The record; undefined where there is none, or it has expired. */
  get(key: RecordKey): Promise<StoredRecord | undefined>;
  /** Makes a record that is not there (or has expired). Resolves with its version, undefined where it exists. */
  create(key: RecordKey, data: RecordData): Promise<string | undefined>;
  /** Replaces a record that still has this version, tags and expiry included. Resolves with the new version, undefined where it has not or is gone. */
  replace(key: RecordKey, data: RecordData, version: string): Promise<string | undefined>;
  /** Deletes a record, with `version` only while it still has it. Resolves with whether this call deleted it. */
  delete(key: RecordKey, version?: string): Promise<boolean>;
  /** All live records of a kind, with `tag` those that carry it. In no order. */
  find(kind: string, tag?: { readonly name: string; readonly value: string }): Promise<readonly StoredRecord[]>;
  /** Removes what has expired, at most `limit` records. Resolves with how many; two processes at once do no harm. */
  sweep(limit: number): Promise<number>;
  /** Rejects unless records can be read and written now. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** A task that one of several processes has at a time. */
export interface Turn {
  /** Takes it, or keeps it. Resolves with whether this process has it now. Rejects with `STORE_UNAVAILABLE` when that cannot be told. */
  take(): Promise<boolean>;
  /** Gives it back, so that another need not wait until it has run out. */
  release(): Promise<void>;
}
