/** What a gateway keeps, read with its own keys: the secrets that only its store has. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RingRecord } from '../../src/auth/keys/ring';
import { masterKeys } from '../../src/auth/keys/master';
import type { TripRecord } from '../../src/auth/login/trips';
import { systemClock } from '../../src/clock';
import { loadKeys } from '../../src/config/key-files';
import type { TokenSet } from '../../src/forgejo/vault/contract';
import { collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';

export interface Kept {
  readonly tokenSets: readonly TokenSet[];
  readonly trips: readonly TripRecord[];
  readonly signingKeys: readonly string[];
  /** Master keys and what is derived of them to seal, in the forms in which they could be written. */
  readonly masterKeys: readonly string[];
}

/** Reads a gateway's records. @param dataDir its folder for data. */
export async function readKept(dataDir: string): Promise<Kept> {
  const file = join(dataDir, 'oauth.key');
  const keys = await loadKeys(file);
  const masters = masterKeys(keys);
  const store = openSqliteRecordStore(join(dataDir, 'sessions.sqlite'), systemClock);
  try {
    const all = async <T>(kind: string): Promise<T[]> =>
      (await collection<T>(store, kind, masters).find()).map(({ value }) => value);
    const rings = await all<RingRecord>('oauth-keys');
    return {
      tokenSets: await all<TokenSet>('forge-tokens'),
      trips: await all<TripRecord>('oauth-trip'),
      signingKeys: rings.flatMap((ring) => ring.keys.map(({ jwk }) => jwk.d)),
      masterKeys: [
        (await readFile(file, 'utf8')).trim(),
        ...[...keys, ...masters.map(({ secret }) => secret)].flatMap((key) => [
          key.toString('base64url'),
          key.toString('hex'),
        ]),
      ],
    };
  } finally {
    await store.close();
  }
}

/** Every file of the store, as bytes read as Latin-1. */
export async function storeBytes(dataDir: string): Promise<string> {
  const files = (await readdir(dataDir)).filter((name) => name.startsWith('sessions.sqlite'));
  return (await Promise.all(files.map((name) => readFile(join(dataDir, name), 'latin1')))).join('');
}
