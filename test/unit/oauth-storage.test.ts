/** Keys, refresh tokens, codes, grants and logins under way, on SQLite in memory, with many at once. */
import { expect } from 'chai';
import { errors, type AdapterPayload } from 'oidc-provider';
import fc from 'fast-check';
import { AppError } from '../../src/errors';
import { deriveKeys } from '../../src/auth/keys/derive';
import { SigningKeyRing, type RingRecord } from '../../src/auth/keys/ring';
import { publicJwk } from '../../src/auth/keys/signing';
import { Codes } from '../../src/auth/provider/codes';
import { accountOf, type GrantRecord } from '../../src/auth/provider/grants';
import { Interactions } from '../../src/auth/provider/interactions';
import { RefreshIds } from '../../src/auth/provider/refresh-ids';
import { RefreshTokens } from '../../src/auth/provider/refresh-tokens';
import { collection, type SealingKey } from '../../src/stores/sealed';
import { EVERYTHING, MASTER, openRing, recorded, ShiftedClock, USER, type Recorded } from '../support/oauth';

const DAY = 86_400_000;

function key(id: string, fill: number): SealingKey {
  return { id, secret: Buffer.alloc(32, fill) };
}

async function nameOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (thrown) {
    if (thrown instanceof AppError) return thrown.code;
    return thrown instanceof errors.OIDCProviderError ? thrown.error : String(thrown);
  }
  return 'none';
}

describe('oauth storage', () => {
  let clock: ShiftedClock;
  let at: Recorded;

  beforeEach(() => {
    clock = new ShiftedClock();
    at = recorded(clock);
  });

  afterEach(() => at.store.close());

  function grant(): Promise<GrantRecord> {
    return at.grants.create({
      user: USER,
      client: { id: 'client', name: 'Client' },
      resource: 'https://mcp.example/mcp',
      scopes: ['forgejo:read', 'forgejo:write'],
      policy: EVERYTHING,
      application: 'write',
    });
  }

  const payload = (id: string): AdapterPayload => ({
    kind: 'RefreshToken',
    grantId: id,
    accountId: accountOf(USER),
    clientId: 'client',
    exp: Math.floor(clock.wall() / 1000) + 3600,
  });

  describe('derived keys', () => {
    it('are one for each master key and purpose, always the same, and none is the master key', () => {
      const masters = [key('00000001', 1), key('00000002', 2)];
      const cookies = deriveKeys(masters, 'provider-cookies');
      expect(cookies.map(({ id }) => id)).to.deep.equal(['00000001', '00000002']);
      expect(deriveKeys(masters, 'provider-cookies')).to.deep.equal(cookies);
      const all = [
        ...masters,
        ...cookies,
        ...deriveKeys(masters, 'own-cookies'),
        ...deriveKeys(masters, 'refresh-tokens'),
      ];
      expect(new Set(all.map(({ secret }) => secret.toString('hex'))).size).to.equal(8);
    });

    it('need a whole master key', () => {
      expect(() => deriveKeys([], 'own-cookies')).to.throw(RangeError);
      expect(() => deriveKeys([{ id: '00000001', secret: Buffer.alloc(16) }], 'own-cookies')).to.throw(RangeError);
    });
  });

  describe('the signing key ring', () => {
    it('is made once by 20 gateways that start at once', async () => {
      const rings = await Promise.all(Array.from({ length: 20 }, () => openRing(at.store, clock)));
      expect(new Set(rings.map(({ keys }) => keys.map(({ jwk }) => jwk.kid).join())).size).to.equal(1);
    });

    it('keeps private keys sealed in the store, and out of the key set', async () => {
      const ring = await openRing(at.store, clock);
      const d = ring.keys[0]?.jwk.d ?? '';
      expect(d).to.have.length.above(40);
      for (const { value } of await at.store.find('oauth-keys')) expect(value.includes(d)).to.equal(false);
      expect(JSON.stringify(ring.jwks)).not.to.include(d);
      expect(ring.keys[0] && publicJwk(ring.keys[0])).to.have.all.keys('kty', 'crv', 'x', 'y', 'kid', 'alg', 'use');
    });

    it('is rotated once when it is due, by 20 gateways that look at once', async () => {
      const rings = await Promise.all(Array.from({ length: 20 }, () => openRing(at.store, clock)));
      await Promise.all(rings.map((ring) => ring.maintain()));
      expect(rings[0]?.keys.length).to.equal(1);
      clock.advance(DAY);
      await Promise.all(rings.map((ring) => ring.maintain()));
      await Promise.all(rings.map((ring) => ring.reload()));
      expect(new Set(rings.map(({ version }) => version)).size).to.equal(1);
      expect(rings.map(({ keys }) => keys.length)).to.deep.equal(Array(20).fill(2));
    });

    it('drops a key when it has not signed for as long as its tokens can live, not before', async () => {
      const ring = await openRing(at.store, clock);
      const first = ring.keys[0]?.jwk.kid;
      clock.advance(30 * DAY);
      await ring.rotate();
      expect(ring.keys.map(({ jwk }) => jwk.kid)).to.include(first);
      clock.advance(3_599_000);
      await ring.rotate();
      expect(ring.keys.map(({ jwk }) => jwk.kid)).to.include(first);
      clock.advance(1000);
      await ring.rotate();
      expect(ring.keys.map(({ jwk }) => jwk.kid)).not.to.include(first);
      expect(ring.keys.length).to.equal(3);
    });

    it('finds a key that another gateway made, and asks the store once a second at most for keys that nobody made', async () => {
      const [one, two] = [await openRing(at.store, clock), await openRing(at.store, clock)];
      await one.rotate();
      const fresh = one.keys[0]?.jwk.kid ?? '';
      expect(two.find(fresh)).to.equal(undefined);
      clock.advance(1000);
      expect((await two.resolve(fresh))?.kid).to.equal(fresh);
      let reads = 0;
      at.store.failing = () => {
        reads += 1;
        return false;
      };
      await Promise.all(Array.from({ length: 100 }, (_, index) => two.resolve(`unknown ${index}`)));
      expect(reads).to.equal(0);
      clock.advance(1000);
      await Promise.all(Array.from({ length: 100 }, (_, index) => two.resolve(`unknown ${index}`)));
      expect(reads).to.equal(1);
    });

    it('signs with a new key only once it has been there for so long that every gateway knows it', async () => {
      const records = collection<RingRecord>(at.store, 'oauth-keys', MASTER);
      const options = { records, clock, rotateAfter: DAY, retireAfter: DAY, settleAfter: 150_000, reloadGap: 1000 };
      const ring = await SigningKeyRing.open(options);
      const first = ring.current.jwk.kid;
      expect(first).to.equal(ring.keys[0]?.jwk.kid);
      await ring.rotate();
      clock.advance(60_000);
      await ring.rotate();
      expect(ring.keys).to.have.length(3);
      clock.advance(80_000);
      expect(ring.current.jwk.kid).to.equal(first);
      clock.advance(20_000);
      expect(ring.current.jwk.kid).to.equal(ring.keys[1]?.jwk.kid);
      clock.advance(60_000);
      expect(ring.current.jwk.kid).to.equal(ring.keys[0]?.jwk.kid);
    });

    it('says STORE_UNAVAILABLE, never "no such key", when the store cannot be read', async () => {
      const ring = await openRing(at.store, clock);
      clock.advance(1000);
      at.store.failing = () => true;
      expect(await nameOf(() => ring.resolve('x'))).to.equal('STORE_UNAVAILABLE');
      expect(await nameOf(() => openRing(at.store, clock))).to.equal('STORE_UNAVAILABLE');
    });

    it('never makes a new ring over one that it cannot open', async () => {
      await openRing(at.store, clock);
      const records = collection<RingRecord>(at.store, 'oauth-keys', [key('ffffffff', 9)]);
      const options = { records, clock, rotateAfter: DAY, retireAfter: DAY, settleAfter: 0, reloadGap: 1000 };
      expect(await nameOf(() => SigningKeyRing.open(options))).to.equal('STORE_UNAVAILABLE');
    });
  });

  describe('refresh token ids', () => {
    const ids = new RefreshIds([key('0000000a', 1)]);

    it('follow from each other, the same wherever they are made', () => {
      const first = ids.first();
      const elsewhere = new RefreshIds([key('0000000a', 1)]);
      expect(ids.successor(first)).to.equal(elsewhere.successor(first));
      expect(ids.parse(first)?.generation).to.equal(0);
      expect(ids.parse(ids.successor(ids.successor(first)))).to.deep.equal({ ...ids.parse(first), generation: 2 });
      expect(ids.first()).not.to.equal(first);
    });

    it('are refused when any bit is changed, or of another form', () => {
      const token = ids.first();
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 383 }), (bit) => {
          const bytes = Buffer.from(token, 'base64url');
          bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          return ids.parse(bytes.toString('base64url')) === undefined;
        }),
      );
      fc.assert(fc.property(fc.string(), (text) => ids.parse(text) === undefined));
      expect(ids.parse(`${token}\n`)).to.equal(undefined);
    });

    it('outlive a rotation of the key, and end with it', () => {
      const token = ids.first();
      const rotated = new RefreshIds([key('0000000b', 2), key('0000000a', 1)]);
      expect(rotated.parse(token)?.generation).to.equal(0);
      expect(rotated.parse(rotated.successor(token))?.family).to.equal(ids.parse(token)?.family);
      expect(new RefreshIds([key('0000000b', 2)]).parse(token)).to.equal(undefined);
      expect(() => new RefreshIds([key('0000000b', 2)]).successor(token)).to.throw(RangeError);
    });
  });

  describe('refresh tokens', () => {
    const ids = new RefreshIds(deriveKeys(MASTER, 'refresh-tokens'));
    let tokens: RefreshTokens;
    let replays: string[];

    beforeEach(() => {
      replays = [];
      const { records, grants } = at;
      tokens = new RefreshTokens({
        families: records.refreshTokens,
        grants,
        ids,
        clock,
        overlap: 30,
        replayed: (id) => replays.push(id),
      });
    });

    async function begin(): Promise<[string, string]> {
      const { id } = await grant();
      await at.grants.redeem(id);
      const token = ids.first();
      await tokens.save(token, { ...payload(id), jti: token }, 3600);
      return [token, id];
    }

    async function rotate(token: string, id: string): Promise<string> {
      await tokens.consume(token);
      const next = ids.successor(token);
      await tokens.save(next, { ...payload(id), jti: next }, 3600);
      return next;
    }

    it('keeps the first use only: later ones do not stretch the overlap', async () => {
      const [token, id] = await begin();
      const next = await rotate(token, id);
      await rotate(next, id);
      clock.advance(20_000);
      await rotate(token, id);
      clock.advance(11_000);
      expect((await tokens.find(token))?.consumed).to.be.a('number');
      expect(replays).to.deep.equal([id]);
    });

    it('gives nothing for a family that never was, or is ahead of what was issued', async () => {
      const [token] = await begin();
      expect(await tokens.find(ids.first())).to.equal(undefined);
      expect(await tokens.find(ids.successor(token))).to.equal(undefined);
      expect(await nameOf(() => tokens.consume(ids.successor(token)))).to.equal('invalid_grant');
      expect(await nameOf(() => tokens.save(ids.successor(ids.successor(token)), {}, 60))).to.equal('invalid_grant');
    });

    it('stores neither token nor family in the clear', async () => {
      const [token] = await begin();
      const parsed = ids.parse(token);
      for (const kind of ['oauth-refresh', 'oauth-grant']) {
        for (const record of await at.store.find(kind)) {
          const text = JSON.stringify(record) + record.value.toString('latin1');
          expect(text).not.to.include(token).and.not.to.include(parsed?.family);
        }
      }
    });

    it('gives nothing for a grant that is gone, although its tokens could not be removed', async () => {
      const [token, id] = await begin();
      at.store.failing = (method) => method === 'find';
      await at.grants.revoke(id);
      at.store.failing = () => false;
      expect((await at.records.refreshTokens.find()).length).to.equal(1);
      expect(await tokens.find(token)).to.equal(undefined);
    });

    it('issues nothing more for a grant that was revoked in between, and leaves nothing behind', async () => {
      const [token, id] = await begin();
      await tokens.consume(token);
      await at.grants.revoke(id);
      const next = ids.successor(token);
      expect(await nameOf(() => tokens.save(next, payload(id), 3600))).to.equal('invalid_grant');
      const first = ids.first();
      await tokens.save(first, payload(id), 3600);
      expect(await tokens.find(first)).to.equal(undefined);
      expect(await at.records.refreshTokens.find()).to.deep.equal([]);
    });

    it('does what the rule says for any order of uses and pauses', async () => {
      const step = fc.oneof(
        fc.record({ pause: fc.constantFrom(1000, 14_000, 30_000, 90_000) }),
        fc.record({ behind: fc.nat({ max: 4 }) }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
          const [first, id] = await begin();
          const issued = [first];
          const used = new Map<number, number>();
          let now = 0;
          for (const one of steps) {
            if ('pause' in one) {
              now += one.pause;
              clock.advance(one.pause);
              continue;
            }
            const newest = issued.length - 1;
            const index = Math.max(0, newest - one.behind);
            const token = issued[index] ?? '';
            const at = used.get(index);
            const unused = index === newest || (index === newest - 1 && !used.has(newest));
            const good = unused || (at !== undefined && now < at + 30_000);
            expect((await tokens.find(token))?.consumed === undefined).to.equal(good);
            if (!good) return;
            if (at === undefined) used.set(index, now);
            const next = await rotate(token, id);
            if (index === newest) issued.push(next);
            expect(next).to.equal(issued[index + 1]);
          }
        }),
        { numRuns: 60 },
      );
    });

    it('has one record after 200 rotations in a hurry, with a bounded memory of uses', async () => {
      const [first, id] = await begin();
      let token = first;
      for (let count = 0; count < 200; count += 1) token = await rotate(token, id);
      const [family] = await at.records.refreshTokens.find();
      expect(family?.value.generation).to.equal(200);
      expect(family?.value.used.length).to.equal(64);
      expect((await tokens.find(token))?.consumed).to.equal(undefined);
    });
  });

  describe('codes', () => {
    it('is redeemed by one of 20 at once; the grant is gone, and its losers are told invalid_grant', async () => {
      const replays: string[] = [];
      const { records, grants } = at;
      const codes = new Codes({ codes: records.codes, grants, clock, replayed: (id) => replays.push(id) });
      const { id } = await grant();
      await codes.save('code', { ...payload(id), kind: 'AuthorizationCode', jti: 'code' }, 60);
      expect((await codes.find('code'))?.jti).to.equal('code');
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => nameOf(() => codes.consume('code'))));
      expect(outcomes.filter((name) => name === 'none').length).to.equal(1);
      expect(outcomes.filter((name) => name === 'invalid_grant').length).to.equal(19);
      expect(await codes.find('code')).to.equal(undefined);
      expect(await grants.find(id)).to.equal(undefined);
      expect(at.revoked).to.deep.equal([id]);
      expect(await nameOf(() => codes.consume('never'))).to.equal('invalid_grant');
    });
  });

  describe('grants', () => {
    it('are found by their user, oldest first, and by nobody else', async () => {
      const first = await grant();
      clock.advance(10);
      const second = await grant();
      expect((await at.grants.ofUser(USER)).map(({ id }) => id)).to.deep.equal([first.id, second.id]);
      expect(await at.grants.ofUser({ ...USER, id: '4' })).to.deep.equal([]);
      expect(await at.grants.ofUser({ ...USER, issuer: 'https://other.example' })).to.deep.equal([]);
      expect(await at.grants.revokeUser(USER)).to.equal(2);
      expect(at.revoked).to.have.members([first.id, second.id]);
    });

    it('are never brought back by a change that comes too late, or with the deletion', async () => {
      const { id } = await grant();
      await Promise.all([
        at.grants.revoke(id),
        ...Array.from({ length: 10 }, () => at.grants.update(id, { scopes: ['forgejo:read'] })),
        at.grants.redeem(id),
      ]);
      expect(await at.grants.find(id)).to.equal(undefined);
      expect(await at.grants.update(id, { scopes: ['forgejo:read'] })).to.equal(undefined);
      expect(await at.grants.redeem(id)).to.equal(undefined);
    });

    it('are dead when their record is, although what hangs on them cannot be removed now', async () => {
      const { id } = await grant();
      at.store.failing = (method) => method === 'find';
      expect(await at.grants.revoke(id)).to.equal(true);
      expect(await at.grants.revoke(id)).to.equal(false);
      expect(await at.grants.find(id)).to.equal(undefined);
      expect(at.revoked).to.deep.equal([id]);
    });

    it('are not taken for revoked when the store cannot be reached', async () => {
      const { id } = await grant();
      at.store.failing = () => true;
      expect(await nameOf(() => at.grants.find(id))).to.equal('STORE_UNAVAILABLE');
      expect(await nameOf(() => at.grants.revoke(id))).to.equal('STORE_UNAVAILABLE');
      expect(at.revoked).to.deep.equal([]);
    });
  });

  describe('logins under way', () => {
    let interactions: Interactions;

    beforeEach(() => {
      interactions = new Interactions({ interactions: at.records.interactions, clock, max: 10 });
    });

    it('are as many as may be, with 50 who come at once; those that end or expire make room', async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 50 }, (_, index) => nameOf(() => interactions.save(`login ${index}`, { jti: 'x' }, 600))),
      );
      expect(outcomes.filter((name) => name === 'none').length).to.equal(10);
      expect(outcomes.filter((name) => name === 'OVERLOADED').length).to.equal(40);
      const open = outcomes.indexOf('none');
      await interactions.save(`login ${open}`, { jti: 'changed' }, 600);
      await interactions.destroy(`login ${open}`);
      expect(await nameOf(() => interactions.save('another', {}, 600))).to.equal('none');
      expect(await nameOf(() => interactions.save('one more', {}, 600))).to.equal('OVERLOADED');
      clock.advance(600_000);
      expect(interactions.size).to.equal(0);
      expect(await nameOf(() => interactions.save('one more', {}, 600))).to.equal('none');
    });

    it('end once', async () => {
      await interactions.save('login', {}, 600);
      const outcomes = await Promise.all(Array.from({ length: 5 }, () => nameOf(() => interactions.destroy('login'))));
      expect(outcomes.filter((name) => name === 'none').length).to.equal(1);
    });

    it('take no room when the store refused them', async () => {
      at.store.failing = (method) => method === 'create';
      expect(await nameOf(() => interactions.save('login', {}, 600))).to.equal('STORE_UNAVAILABLE');
      expect(interactions.size).to.equal(0);
    });
  });
});
