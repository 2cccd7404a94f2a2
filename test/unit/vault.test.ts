/** The vault's state machine, with a forge and a clock in memory: every branch, and a crash at every step. */
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import type { AppError } from '../../src/errors';
import type { ForgeTokens } from '../../src/forgejo/login/contract';
import type { SuspendReason, TokenSet } from '../../src/forgejo/vault/contract';
import { afterLogin, compare, keepUntil, setId, stageOf } from '../../src/forgejo/vault/set';
import { Vault } from '../../src/forgejo/vault/vault';
import { collection, type Collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { FakeClock } from '../support/fake-link';
import { ALICE, FakeUpstream, FlakyCollection, keptEvents } from '../support/fake-upstream';

/** One gateway: its vault and what its observer was told. */
interface Gateway {
  readonly vault: Vault;
  readonly sets: FlakyCollection<TokenSet>;
  readonly refreshes: string[];
  readonly suspensions: SuspendReason[];
  readonly shared: string[];
}

describe('vault: tokens of a user', () => {
  let clock: FakeClock;
  let upstream: FakeUpstream;
  let records: Collection<TokenSet>;
  let one: Gateway;
  let two: Gateway;

  const gateway = (): Gateway => {
    const sets = new FlakyCollection(records);
    const { observer, ...kept } = keptEvents();
    return {
      vault: new Vault({ sets, upstream, clock, observer }),
      sets,
      ...kept,
    };
  };
  const flush = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  /** Lets `ms` pass, and everything happen that is due. */
  const pass = async (ms: number): Promise<void> => {
    await flush();
    for (let left = ms; left > 0; left -= 100) {
      clock.advance(Math.min(100, left));
      await flush();
    }
  };
  /** Lets time pass until `work` is done, a minute at most. */
  const drive = async <T>(work: Promise<T>): Promise<T> => {
    let done = false;
    const end = (): void => void (done = true);
    work.then(end, end);
    await flush();
    for (let passed = 0; !done && passed < 60_000; passed += 100) await pass(100);
    if (!done) throw new Error('not within a minute');
    return work;
  };
  const token = (of = one): Promise<string> => drive(of.vault.token(ALICE, 'read'));
  const code = (work: Promise<unknown>): Promise<string> =>
    drive(
      work.then(
        () => 'well',
        (error: AppError) => error.code,
      ),
    );
  const stored = async (): Promise<TokenSet> => (await records.get(setId(ALICE, 'read')))!.value;
  const logIn = (of = one): Promise<void> => of.vault.store(upstream.login());
  const never = new Promise<never>(() => undefined);

  beforeEach(() => {
    clock = new FakeClock();
    upstream = new FakeUpstream(clock);
    records = collection<TokenSet>(openSqliteRecordStore(':memory:', clock), 'forge-tokens', [
      { id: '00000001', secret: randomBytes(32) },
    ]);
    one = gateway();
    two = gateway();
  });

  describe('while all goes well', () => {
    it('says 401 before any login', async () => {
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
      expect(await one.vault.suspended(ALICE)).to.equal(true);
    });

    it('keeps one set per application', async () => {
      await logIn();
      expect(await token()).to.equal('access-1-1');
      expect(await code(one.vault.token(ALICE, 'write'))).to.equal('AUTH_INVALID');
      expect(await one.vault.suspended(ALICE, 'write')).to.equal(true);
      expect(await one.vault.suspended(ALICE, 'read')).to.equal(false);
      expect(await one.vault.suspended(ALICE)).to.equal(false);
    });

    it('gives the token until it is due, then goes on with it while the next one is fetched', async () => {
      await logIn();
      await pass(11_900);
      expect(await one.vault.token(ALICE, 'read')).to.equal('access-1-1');
      expect(upstream.asked).to.equal(0);
      await pass(200);
      expect(await one.vault.token(ALICE, 'read')).to.equal('access-1-1');
      await flush();
      expect(await one.vault.token(ALICE, 'read')).to.equal('access-1-2');
      expect(one.refreshes).to.deep.equal(['refreshed']);
    });

    it('is settled only when a refresh that runs has been stored, so that a stop in between loses nothing', async () => {
      await logIn();
      await pass(12_100);
      const open = upstream.hold();
      await one.vault.token(ALICE, 'read');
      await flush();
      let settled = false;
      const done = one.vault.settled().then(() => (settled = true));
      await pass(1_000);
      expect(settled).to.equal(false);
      open();
      await drive(done);
      expect((await stored()).tokens?.accessToken).to.equal('access-1-2');
      await one.vault.settled();
    });

    it('waits for the next one shortly before the end and after it', async () => {
      await logIn();
      await pass(14_000);
      expect(await token()).to.equal('access-1-2');
      await pass(3_600_000);
      expect(await token()).to.equal('access-1-3');
    });

    it('refreshes a token of an hour a minute ahead', async () => {
      upstream.lifetime = 3_600_000;
      await logIn();
      clock.advance(3_539_000);
      await one.vault.token(ALICE, 'read');
      expect(upstream.asked).to.equal(0);
      clock.advance(2_000);
      await one.vault.token(ALICE, 'read');
      await flush();
      expect(upstream.asked).to.equal(1);
    });

    it('refreshes once for 200 who ask at once, in two gateways', async () => {
      await logIn();
      for (let expiry = 1; expiry <= 10; expiry++) {
        await pass(15_000);
        const asked = Array.from({ length: 200 }, (_, n) => (n % 2 ? one : two).vault.token(ALICE, 'read'));
        expect(new Set(await drive(Promise.all(asked)))).to.deep.equal(new Set([`access-1-${expiry + 1}`]));
        expect(upstream.asked).to.equal(expiry);
      }
      expect([...one.refreshes, ...two.refreshes]).to.deep.equal(Array.from({ length: 10 }, () => 'refreshed'));
    });

    it('reads the store once for 200 who ask within two seconds', async () => {
      await logIn();
      await Promise.all(Array.from({ length: 200 }, () => two.vault.token(ALICE, 'read')));
      await Promise.all(Array.from({ length: 200 }, () => two.vault.token(ALICE, 'read')));
      expect(two.sets.reads).to.equal(1);
    });

    it('remembers the sets of 10,000 users and no more', async () => {
      await logIn();
      expect(await token()).to.equal('access-1-1');
      const before = one.sets.reads;
      for (let n = 0; n < 9_999; n++) await one.vault.suspended({ ...ALICE, id: `x${n}` }, 'read');
      await token();
      expect(one.sets.reads - before).to.equal(2 * 9_999);
      await one.vault.suspended({ ...ALICE, id: 'one-more' }, 'read');
      await token();
      expect(one.sets.reads - before).to.equal(2 * 10_000 + 1);
    });

    it('leaves no timer and no attempt behind', async () => {
      await logIn();
      await pass(15_000);
      await Promise.all([token(one), token(two)]);
      expect(clock.timers).to.equal(0);
      expect(await stored()).not.to.have.property('pending');
    });

    it('ends the wait of a caller who goes away, and only his', async () => {
      await logIn();
      await pass(15_000);
      const open = upstream.hold();
      const gone = new AbortController();
      const first = one.vault.token(ALICE, 'read', gone.signal);
      const second = one.vault.token(ALICE, 'read');
      await flush();
      gone.abort(new Error('went away'));
      expect(await first.catch((error: Error) => error.message)).to.equal('went away');
      open();
      expect(await second).to.equal('access-1-2');
    });

    it('says 503 to a caller who waits longer than 15 s, and has the token for the next one', async () => {
      await logIn();
      await pass(15_000);
      upstream.lifetime = 300_000;
      const open = upstream.hold();
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
      open();
      await flush();
      expect(await token()).to.equal('access-1-2');
      expect(upstream.asked).to.equal(1);
    });
  });

  describe('logins', () => {
    it('a second login replaces the first for both gateways', async () => {
      await logIn(one);
      expect(await token(two)).to.equal('access-1-1');
      await logIn(two);
      expect(await token(two)).to.equal('access-1-2');
      expect((await stored()).generation).to.equal(2);
      await pass(15_000);
      expect(await token(one)).to.equal('access-1-3');
    });

    it('a login that comes late into the store does not overwrite a later one', async () => {
      const early = upstream.login();
      await one.vault.store(upstream.login());
      await one.vault.store(early);
      expect((await stored()).tokens?.refreshToken).to.equal('refresh-1-2');
    });

    it('a login lifts a suspension at once, also for a gateway that has just seen it', async () => {
      await logIn();
      upstream.revoke();
      expect((await drive(one.vault.probe(ALICE, 'read'))).verdict).to.equal('ended');
      expect(await code(two.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
      await logIn(one);
      expect(await two.vault.token(ALICE, 'read')).to.equal('access-2-1');
      expect(await two.vault.suspended(ALICE)).to.equal(false);
    });

    it('a login wins over a refresh that was under way', async () => {
      await logIn();
      await pass(15_000);
      const open = upstream.hold();
      const waiting = one.vault.token(ALICE, 'read');
      await flush();
      await logIn(two);
      open();
      expect(await drive(waiting)).to.equal('access-1-3');
      expect((await stored()).tokens?.refreshToken).to.equal('refresh-1-3');
    });

    it('a login between exchange and store is waited for, and nobody is accused of sharing', async () => {
      await logIn();
      await pass(15_000);
      const late = upstream.login();
      const waiting = one.vault.token(ALICE, 'read');
      await pass(2_000);
      expect(one.refreshes).to.deep.equal(['used']);
      await two.vault.store(late);
      expect(await drive(waiting)).to.equal('access-1-2');
      expect(one.shared).to.deep.equal([]);
      expect(one.suspensions).to.deep.equal([]);
    });

    it('a forge that was restored from a backup and counts lower gets its users back by a login', async () => {
      await logIn();
      for (let n = 0; n < 5; n++) await logIn();
      await pass(120_000);
      upstream.restore(1);
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
      await logIn();
      expect(await token()).to.equal('access-1-2');
    });

    it('another application in the configuration means a new login, and the old one is not asked', async () => {
      await logIn();
      upstream.client = 'client-2';
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
      expect(await drive(one.vault.probe(ALICE, 'read'))).to.deep.equal({ verdict: 'ended', reason: 'application' });
      await logIn();
      expect(await token()).to.equal('access-1-2');
      expect(upstream.asked).to.equal(0);
    });

    it('works with tokens that cannot be read: a login replaces, a late refresh does not', async () => {
      upstream.readable = false;
      await logIn();
      await pass(15_000);
      const open = upstream.hold();
      const waiting = one.vault.token(ALICE, 'read');
      await flush();
      await logIn(two);
      open();
      expect(await drive(waiting)).to.equal('access-1-3');
    });

    it('survives a store that is away for a moment, and says 503 where it stays away', async () => {
      one.sets.failing = { call: 'create', after: false, times: 5 };
      await drive(logIn());
      expect(await token()).to.equal('access-1-1');
      one.sets.failing = { call: 'replace', after: false, times: Infinity };
      expect(await code(logIn())).to.equal('STORE_UNAVAILABLE');
    });

    it('forgets a user, also while a refresh is under way', async () => {
      await logIn();
      await pass(15_000);
      const open = upstream.hold();
      const waiting = code(one.vault.token(ALICE, 'read'));
      await flush();
      await two.vault.forget(ALICE);
      open();
      expect(await waiting).to.equal('AUTH_INVALID');
      expect(await records.get(setId(ALICE, 'read'))).to.equal(undefined);
    });
  });

  describe('crashes between the forge and the store', () => {
    /** A gateway that dies at the call `n` of `replace` (1: the attempt is recorded; 2: the new tokens are), and never comes back. */
    const dieAt = async (n: number): Promise<void> => {
      const dying = gateway();
      let count = 0;
      dying.sets.onReplace = () => (++count === n ? never : undefined);
      void dying.vault.token(ALICE, 'read').catch(() => undefined);
      await flush();
      expect(count).to.equal(n);
    };

    it('before the attempt is recorded: the next one refreshes', async () => {
      await logIn();
      await pass(15_000);
      await dieAt(1);
      expect(await token()).to.equal('access-1-2');
      expect(one.refreshes).to.deep.equal(['refreshed']);
    });

    it('after the attempt is recorded and before the forge is asked: taken over after 30 s, with the old token', async () => {
      await logIn();
      await pass(15_000);
      const dying = gateway();
      const refresh = upstream.refresh.bind(upstream);
      upstream.refresh = () => never;
      void dying.vault.token(ALICE, 'read').catch(() => undefined);
      await flush();
      upstream.refresh = refresh;
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
      expect(upstream.asked).to.equal(0);
      await pass(16_000);
      expect(await token()).to.equal('access-1-2');
      expect(one.refreshes).to.deep.equal(['recovered']);
    });

    it('after the forge answered: the live token is served to its end, then the user must log in again, and it ends there', async () => {
      upstream.lifetime = 300_000;
      await logIn();
      await pass(241_000);
      await dieAt(2);
      const before = upstream.asked;
      expect(await one.vault.token(ALICE, 'read')).to.equal('access-1-1');
      await pass(36_000);
      expect(one.refreshes).to.deep.equal(['used']);
      expect((await stored()).spent).to.equal('lost');
      expect(await token(two)).to.equal('access-1-1');
      await pass(22_000);
      expect(await token(one)).to.equal('access-1-1');
      await pass(2_000);
      for (let n = 0; n < 5; n++) {
        expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
        expect(await code(two.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
        await pass(3_000);
      }
      expect(upstream.asked).to.equal(before + 1);
      expect([...one.suspensions, ...two.suspensions]).to.deep.equal(['lost']);
      expect(one.shared).to.deep.equal([]);
      expect(await stored()).not.to.have.property('tokens');
      await logIn();
      expect(await token()).to.equal('access-1-3');
    });

    it('after the forge answered, with an expired token: the user must log in again within a minute', async () => {
      await logIn();
      await pass(15_000);
      await dieAt(2);
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
      await pass(25_000);
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
      expect(one.suspensions).to.deep.equal(['lost']);
    });

    it('a restart long after takes over at once', async () => {
      await logIn();
      await pass(15_000);
      await dieAt(2);
      clock.advance(3_600_000);
      const restarted = gateway();
      const asked = code(restarted.vault.token(ALICE, 'read'));
      await flush();
      expect(restarted.refreshes).to.deep.equal(['used']);
      expect(await asked).to.equal('AUTH_INVALID');
    });

    it('a holder that was only slow keeps what the forge gave it, although it was taken over', async () => {
      upstream.lifetime = 300_000;
      await logIn();
      await pass(241_000);
      const open = upstream.hold();
      await one.vault.token(ALICE, 'read');
      await flush();
      upstream.gate = undefined;
      await two.vault.token(ALICE, 'read');
      await pass(36_000);
      expect(two.refreshes).to.deep.equal(['used']);
      expect((await stored()).spent).to.equal('lost');
      open();
      await flush();
      expect(await stored()).not.to.have.property('spent');
      expect(await token(one)).to.equal('access-1-2');
      expect([...one.suspensions, ...two.suspensions]).to.deep.equal([]);
    });

    it('the store is away after the forge answered: tried again until the tokens are in it', async () => {
      await logIn();
      await pass(15_000);
      let count = 0;
      one.sets.onReplace = () => {
        if (++count === 2) one.sets.failing = { call: 'replace', after: false, times: 20 };
      };
      expect(await token()).to.equal('access-1-2');
      expect((await stored()).tokens?.refreshToken).to.equal('refresh-1-2');
    });

    it("the store's answers are lost: neither the attempt nor the tokens are written twice", async () => {
      await logIn();
      await pass(15_000);
      let count = 0;
      one.sets.onReplace = () => {
        if (++count === 2) one.sets.failing = { call: 'replace', after: true, times: 1 };
      };
      expect(await token()).to.equal('access-1-2');
      expect((await stored()).generation).to.equal(2);
      expect(upstream.asked).to.equal(1);
      await pass(15_000);
      one.sets.onReplace = () => undefined;
      one.sets.failing = { call: 'replace', after: true, times: 1 };
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('STORE_UNAVAILABLE');
      expect(await token()).to.equal('access-1-3');
      expect(one.refreshes).to.deep.equal(['refreshed', 'recovered']);
    });
  });

  describe('a forge without a verdict', () => {
    it('away: the live token is served, then 503, and the set goes on when it is back', async () => {
      await logIn();
      await pass(12_100);
      upstream.mood = 'away';
      expect(await token()).to.equal('access-1-1');
      await pass(3_000);
      for (let n = 0; n < 20; n++) {
        expect(await code(one.vault.token(ALICE, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
        await pass(500);
      }
      expect(upstream.asked).to.be.within(3, 6); // it is not hammered
      expect(await stored()).not.to.have.property('pending');
      expect(await one.vault.suspended(ALICE)).to.equal(false);
      upstream.mood = 'well';
      await pass(10_000);
      expect(await token()).to.equal('access-1-2');
      expect(one.suspensions).to.deep.equal([]);
    });

    it('a time-out that did nothing: the old token is tried again at once, by either gateway', async () => {
      await logIn();
      await pass(15_000);
      upstream.mood = 'broken';
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('FORGE_TOKEN_UNAVAILABLE');
      expect((await stored()).pending?.released).to.equal(true);
      upstream.mood = 'well';
      expect(await token(two)).to.equal('access-1-2');
      expect(two.refreshes).to.deep.equal(['recovered']);
      expect(await stored()).not.to.have.property('pending');
    });

    it('a time-out after the token was used: the live token is the last one, and nobody is accused of sharing', async () => {
      upstream.lifetime = 300_000;
      await logIn();
      await pass(241_000);
      upstream.mood = 'cut';
      await token();
      upstream.mood = 'well';
      await pass(2_000);
      await token();
      await pass(6_000);
      expect(one.refreshes).to.deep.equal(['unreachable', 'used']);
      expect((await stored()).spent).to.equal('lost');
      expect(one.shared).to.deep.equal([]);
      await pass(60_000);
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
    });

    it('a wrong client secret ends nobody', async () => {
      await logIn();
      await pass(15_000);
      upstream.mood = 'secret';
      for (let n = 0; n < 10; n++) {
        expect(await code(one.vault.token(ALICE, 'read'))).to.equal('FORGE_LOGIN_CONFIG');
        expect(await drive(one.vault.probe(ALICE, 'read'))).to.include({ verdict: 'unknown' });
        await pass(10_000);
      }
      expect(one.suspensions).to.deep.equal([]);
      expect(await stored()).not.to.have.property('pending');
      upstream.mood = 'well';
      await pass(10_000);
      expect(await token()).to.equal('access-1-2');
      expect(one.refreshes.at(-1)).to.equal('refreshed');
    });
  });

  describe('the end of a login', () => {
    it('a refresh token that somebody else used: told as a shared application, and the live token is the last', async () => {
      await logIn();
      await pass(12_100);
      upstream.steal();
      upstream.lifetime = 300_000;
      expect(await token()).to.equal('access-1-1');
      await pass(6_000);
      expect(one.shared).to.deep.equal(['read']);
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
      expect(one.suspensions).to.deep.equal(['shared']);
    });

    it('a grant that is gone: ended, whatever is left of the access token', async () => {
      await logIn();
      await pass(12_100);
      upstream.revoke();
      await token();
      await pass(6_000);
      expect(one.suspensions).to.deep.equal(['revoked']);
      expect(await code(two.vault.token(ALICE, 'read'))).to.equal('AUTH_INVALID');
    });

    it('probe: well, with the account', async () => {
      await logIn();
      expect(await one.vault.probe(ALICE, 'read')).to.deep.equal({
        verdict: 'ok',
        account: { user: ALICE, isAdmin: false },
      });
    });

    it('probe: asks once for many, and refreshes what is expired', async () => {
      await logIn();
      await pass(20_000);
      const answers = await drive(Promise.all(Array.from({ length: 50 }, () => one.vault.probe(ALICE, 'read'))));
      expect(new Set(answers.map(({ verdict }) => verdict))).to.deep.equal(new Set(['ok']));
      expect([upstream.accounts, upstream.asked]).to.deep.equal([1, 1]);
    });

    it('probe: a blocked account ends the login everywhere', async () => {
      await logIn();
      upstream.blocked = true;
      expect(await one.vault.probe(ALICE, 'read')).to.deep.equal({ verdict: 'ended', reason: 'blocked' });
      await pass(2_000);
      expect(await two.vault.probe(ALICE, 'read')).to.deep.equal({ verdict: 'ended', reason: 'blocked' });
      expect([...one.suspensions, ...two.suspensions]).to.deep.equal(['blocked']);
      expect(await two.vault.suspended(ALICE)).to.equal(true);
    });

    it('probe: an application that is gone refuses both tokens, and that ends the login', async () => {
      await logIn();
      upstream.applicationGone = true;
      expect(await drive(one.vault.probe(ALICE, 'read'))).to.deep.equal({ verdict: 'ended', reason: 'revoked' });
    });

    it('probe: an access token that is refused before its time is replaced where the grant lives', async () => {
      await logIn();
      upstream.lifetime = 60_000;
      const login = upstream.login();
      await one.vault.store({ ...login, tokens: { ...login.tokens, accessToken: 'garbled' } });
      expect((await drive(one.vault.probe(ALICE, 'read'))).verdict).to.equal('ok');
      expect(await token()).to.equal('access-1-3');
    });

    it('probe: a forge that is away says nothing', async () => {
      await logIn();
      upstream.mood = 'away';
      expect((await one.vault.probe(ALICE, 'read')).verdict).to.equal('unknown');
      await pass(15_000);
      expect((await drive(one.vault.probe(ALICE, 'read'))).verdict).to.equal('unknown');
      expect(await one.vault.suspended(ALICE)).to.equal(false);
    });

    it('probe: ends by itself, and with its caller', async () => {
      await logIn();
      upstream.account = () => never;
      const gone = new AbortController();
      const asked = one.vault.probe(ALICE, 'read', gone.signal);
      const other = one.vault.probe(ALICE, 'read');
      await flush();
      gone.abort();
      expect((await asked).verdict).to.equal('unknown');
      expect((await drive(other)).verdict).to.equal('unknown');
      expect(clock.timers).to.equal(0);
    });

    it('probe: a store that is away says nothing', async () => {
      one.sets.failing = { call: 'get', after: false, times: Infinity };
      expect((await one.vault.probe(ALICE, 'read')).verdict).to.equal('unknown');
      expect(await code(one.vault.token(ALICE, 'read'))).to.equal('STORE_UNAVAILABLE');
      one.sets.failing = undefined;
      expect(await one.vault.probe(ALICE, 'read')).to.deep.equal({ verdict: 'ended', reason: 'absent' });
    });

    it('a verdict on a token does not end a login that came in between', async () => {
      await logIn();
      const account = upstream.account.bind(upstream);
      upstream.account = async (...args) => {
        upstream.account = account;
        await logIn(two);
        upstream.blocked = true;
        return account(...args);
      };
      expect((await drive(one.vault.probe(ALICE, 'read'))).verdict).to.equal('unknown');
      expect(one.suspensions).to.deep.equal([]);
    });
  });

  describe('rules', () => {
    const tokens = (left: number, lifetime: number): TokenSet => ({
      user: ALICE,
      application: 'read',
      clientId: 'c',
      generation: 1,
      tokens: { accessToken: 'a', refreshToken: 'r', lifetime, accessExpiresAt: left },
    });

    it('hands out no token that may expire on its way', () => {
      const stages = [3_001, 3_000, 1_501, 1_500, 0, -1].map((left) => stageOf(tokens(left, 15_000), 'c', 0));
      expect(stages).to.deep.equal(['fresh', 'due', 'due', 'expired', 'expired', 'expired']);
      const hour = [60_001, 60_000, 5_001, 5_000].map((left) => stageOf(tokens(left, 3_600_000), 'c', 0));
      expect(hour).to.deep.equal(['fresh', 'due', 'due', 'expired']);
      expect(stageOf({ ...tokens(1, 10), spent: 'lost' }, 'c', 0)).to.equal('last');
      expect(stageOf({ ...tokens(0, 10), spent: 'lost' }, 'c', 0)).to.equal('ended');
      expect(stageOf(tokens(9, 10), 'other', 0)).to.equal('over');
    });

    it('orders by grant and counter, and by the clock only where a restore lies between', () => {
      const at = (grant: number, counter: number, issuedAt = 0) => ({ grant, counter, issuedAt });
      expect(compare(at(1, 2), at(1, 1))).to.be.above(0);
      expect(compare(at(1, 2, 0), at(1, 1, 50))).to.be.above(0);
      expect(compare(at(1, 9), at(2, 1))).to.be.below(0);
      expect(compare(at(1, 1, 100), at(1, 9, 0))).to.be.above(0);
      expect(compare(at(1, 1), at(1, 1))).to.equal(0);
      expect(compare(undefined, at(1, 1))).to.equal(undefined);
    });

    it('lets a login replace a spent or suspended set whatever its counter says', () => {
      const position = { grant: 1, counter: 9, issuedAt: 0 };
      const of = (counter: number): ForgeTokens => ({
        ...(tokens(1, 1).tokens as ForgeTokens),
        position: { ...position, counter },
      });
      const login = { user: ALICE, isAdmin: false, application: 'read', clientId: 'c', tokens: of(3) } as const;
      const before = { ...tokens(1, 1), tokens: of(9) };
      expect(afterLogin(before, login)).to.equal(undefined);
      expect(afterLogin({ ...before, spent: 'lost' }, login)?.generation).to.equal(2);
      expect(afterLogin({ ...before, clientId: 'other' }, login)?.generation).to.equal(2);
      const { tokens: _, ...bare } = before;
      expect(afterLogin({ ...bare, suspended: { reason: 'lost', at: 0 } }, login)).not.to.have.property('suspended');
    });

    it('keeps a record a day longer than its refresh token, and none for ever', () => {
      const day = 86_400_000;
      const set = tokens(1, 1);
      const of = (expiresAt: number): TokenSet => {
        const position = { grant: 1, counter: 1, issuedAt: 0, expiresAt };
        return { ...set, tokens: { ...set.tokens!, position } };
      };
      expect(keepUntil(set, 0)).to.equal(90 * day);
      expect(keepUntil(of(2_628_000), 0)).to.equal(2_628_000_000 + day);
      expect(keepUntil(of(0), 5 * day)).to.equal(6 * day);
      expect(keepUntil(of(Number.MAX_SAFE_INTEGER), 0)).to.equal(366 * day);
    });
  });
});
