/** The pure rules: ids, binding, rates, caps, expiry. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { AppError } from '../../src/errors';
import type { Scope } from '../../src/auth/context';
import { bind, covers } from '../../src/sessions/binding';
import { Caps, userKey, type CapOptions } from '../../src/sessions/caps';
import { expired, idleIn, reapable } from '../../src/sessions/expiry';
import { SessionIds, sessionName, userLabel } from '../../src/sessions/ids';
import { TokenBucket } from '../../src/sessions/rate';
import { within } from '../../src/sessions/within';
import { anAuth, aServer } from '../support/fake-sessions';
import { FakeClock } from '../support/fake-link';

describe('session ids', () => {
  const key = Buffer.alloc(32, 1);
  const ids = new SessionIds([key]);

  it('are 192 bits in 48 hex digits, and never the same', () => {
    const minted = new Set([...Array(1_000)].map(() => ids.mint()));
    expect(minted.size).to.equal(1_000);
    for (const id of minted) expect(id).to.match(/^[0-9a-f]{48}$/);
  });

  it('verify when they were minted here', () => {
    expect(ids.verify(ids.mint())).to.equal(true);
    expect(new SessionIds([Buffer.alloc(32, 1)]).verify(ids.mint())).to.equal(true);
  });

  it('verify with an old key, and not without it', () => {
    const id = ids.mint();
    const other = Buffer.alloc(32, 2);
    expect(new SessionIds([other, key]).verify(id)).to.equal(true);
    expect(new SessionIds([key, other]).verify(id)).to.equal(true);
    expect(new SessionIds([other]).verify(id)).to.equal(false);
    expect(ids.verify(new SessionIds([other, key]).mint())).to.equal(false);
  });

  it('do not verify when any digit was changed', () => {
    const id = ids.mint();
    for (let at = 0; at < id.length; at += 1) {
      const digit = ((parseInt(id.charAt(at), 16) + 1) % 16).toString(16);
      expect(ids.verify(id.slice(0, at) + digit + id.slice(at + 1)), `digit ${String(at)}`).to.equal(false);
    }
  });

  it('do not verify in any other form', () => {
    const id = ids.mint();
    for (const form of [
      '',
      'x',
      id.toUpperCase().replace(/^[0-9]+$/, 'A'),
      `${id} `,
      `${id}00`,
      id.slice(2),
      'g'.repeat(48),
    ]) {
      expect(ids.verify(form), form).to.equal(false);
    }
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (form) => !ids.verify(form)));
  });

  it('need a key, and one that is long enough', () => {
    expect(() => new SessionIds([])).to.throw(RangeError);
    expect(() => new SessionIds([key, Buffer.alloc(31)])).to.throw(RangeError);
  });

  it('have names of 40 hex digits that do not hold them', () => {
    const id = ids.mint();
    expect(sessionName(id)).to.match(/^[0-9a-f]{40}$/);
    expect(sessionName(id)).to.not.equal(id.slice(0, 40));
    expect(sessionName('abc')).to.equal('ba7816bf8f01cfea414140de5dae2223b00361a3');
  });
});

describe('binding', () => {
  const mine = anAuth('7');
  const cases = [
    ['the same grant', {}, 'same', 'same'],
    ['the same grant after the login was renamed', { user: { ...mine.user, login: 'new' } }, 'same', 'same'],
    ['a later login of the same user and client', { grant: 'other' }, 'adopt', 'forbidden'],
    ['the same user through another client', { grant: 'other', client: 'client-2' }, 'ended', 'forbidden'],
    ['another user', { ...anAuth('8') }, 'forbidden', 'forbidden'],
    ['another user with the same grant', { ...anAuth('8'), grant: mine.grant }, 'forbidden', 'forbidden'],
    [
      'a user of another forge with the same number',
      { user: { ...mine.user, issuer: 'https://other.example' } },
      'forbidden',
      'forbidden',
    ],
    [
      'a bearer token of the same user',
      { mode: 'bearer', client: 'bearer', grant: 'fingerprint' },
      'forbidden',
      'forbidden',
    ],
  ] as const;
  for (const [who, over, adopt, strict] of cases) {
    it(`to ${who}: ${adopt}, strictly ${strict}`, () => {
      expect(bind(mine, { ...mine, ...over }, 'adopt')).to.equal(adopt);
      expect(bind(mine, { ...mine, ...over }, 'strict')).to.equal(strict);
    });
  }

  it('in bearer mode is to the token itself', () => {
    const token = anAuth('7', { mode: 'bearer', client: 'bearer', grant: 'fingerprint-1' });
    expect(bind(token, { ...token }, 'adopt')).to.equal('same');
    expect(bind(token, { ...token, grant: 'fingerprint-2' }, 'adopt')).to.equal('forbidden');
  });
});

describe('scopes of a session', () => {
  const sets = { none: '', read: 'r', write: 'w', both: 'rw' } as const;
  type Name = keyof typeof sets;
  const scopes = (name: Name): ReadonlySet<Scope> =>
    new Set([...sets[name]].map((letter): Scope => (letter === 'r' ? 'forgejo:read' : 'forgejo:write')));

  const cases: readonly (readonly [
    string,
    session: Name,
    bearer: Name,
    granted: Name | undefined,
    covered: boolean,
  ])[] = [
    ['the token of the session', 'both', 'both', 'both', true],
    ['a token of before a step-up', 'both', 'read', 'both', false],
    ['a token for the other scope alone', 'both', 'write', 'both', false],
    ['a token for another scope than the session has', 'read', 'write', 'both', false],
    ['a token that does not say all of what is granted, in a session that never had it', 'read', 'read', 'both', true],
    ['a token that was refreshed after the user allowed more', 'read', 'both', 'both', true],
    ['a token of a grant that was narrowed', 'both', 'read', 'read', true],
    ['a token of a grant that was turned to the other scope', 'read', 'write', 'write', true],
    ['a token of a grant that was narrowed, and widened again', 'read', 'both', 'both', true],
    ['the token of a later login with less', 'both', 'read', 'read', true],
    ['a token whose scopes say it all', 'both', 'both', undefined, true],
    ['a narrower token whose scopes say it all', 'both', 'read', undefined, true],
    ['any token, where the session may do nothing', 'none', 'read', 'both', true],
  ];
  for (const [what, session, bearer, granted, covered] of cases) {
    it(`are ${covered ? '' : 'not '}covered by ${what}`, () => {
      const given = { scopes: scopes(bearer), ...(granted === undefined ? {} : { granted: scopes(granted) }) };
      expect(covers({ scopes: scopes(session) }, given)).to.equal(covered);
    });
  }

  it('are covered for good once the session follows a bearer that covers it, whatever was before', () => {
    const name = fc.constantFrom(...(Object.keys(sets) as Name[]));
    fc.assert(
      fc.property(name, name, name, (session, bearer, granted) => {
        const given = { scopes: scopes(bearer), granted: scopes(granted) };
        if (covers({ scopes: scopes(session) }, given)) expect(covers(given, given)).to.equal(true);
      }),
    );
  });
});

describe('token bucket', () => {
  it('gives a minute’s worth at once and then one at a time', () => {
    const bucket = new TokenBucket(60, 0);
    for (let i = 0; i < 60; i += 1) {
      expect(bucket.wait(0)).to.equal(0);
      bucket.take(0);
    }
    expect(bucket.wait(0)).to.equal(1);
    expect(bucket.wait(400)).to.be.closeTo(0.6, 1e-9);
    expect(bucket.wait(1_000)).to.equal(0);
  });

  it('never holds more than a minute’s worth', () => {
    const bucket = new TokenBucket(2, 0);
    bucket.take(0);
    expect(bucket.isFull(29_999)).to.equal(false);
    expect(bucket.isFull(30_001)).to.equal(true);
    bucket.take(1e9);
    bucket.take(1e9);
    expect(bucket.wait(1e9)).to.equal(30);
  });
});

describe('caps', () => {
  const open: CapOptions = { maxPerUser: 0, maxTotal: 0, opensPerMinutePerUser: 0, opensPerMinute: 0 };
  const capsOf = (over: Partial<CapOptions>) => new Caps({ ...open, ...over }, 0);
  const take = (caps: Caps, user = 'a', server = aServer(), now = 0) => caps.take(user, server, now, () => 12.3);

  function refusedBy(work: () => unknown): AppError {
    try {
      work();
    } catch (thrown) {
      return thrown as AppError;
    }
    throw new Error('not refused');
  }

  it('without limits admit everybody', () => {
    const caps = capsOf({});
    for (let i = 0; i < 1_000; i += 1) take(caps);
    expect(caps.total).to.equal(1_000);
  });

  it('of a user answer 503 SESSION_CAP_USER with when to try again, and leave other users alone', () => {
    const caps = capsOf({ maxPerUser: 2 });
    take(caps);
    const place = take(caps);
    const error = refusedBy(() => take(caps));
    expect(error).to.include({ code: 'SESSION_CAP_USER', status: 503, retryAfter: 13 });
    take(caps, 'b');
    place();
    place();
    take(caps);
    refusedBy(() => take(caps));
  });

  it('of a server answer 503 SESSION_CAP_SERVER, and leave other servers alone', () => {
    const caps = capsOf({});
    take(caps, 'a', aServer({ maxSessions: 1 }));
    expect(refusedBy(() => take(caps, 'b', aServer({ maxSessions: 1 })))).to.include({
      code: 'SESSION_CAP_SERVER',
      retryAfter: 13,
    });
    take(caps, 'b', aServer({ name: 'other', maxSessions: 1 }));
  });

  it('of the install answer 503 SESSION_CAP_INSTALL', () => {
    const caps = capsOf({ maxTotal: 1 });
    take(caps);
    expect(refusedBy(() => take(caps, 'b'))).to.include({ code: 'SESSION_CAP_INSTALL', retryAfter: 13 });
  });

  it('of the rate answer 503 SPAWN_RATE with the time until the next, for a user and for all', () => {
    const own = capsOf({ opensPerMinutePerUser: 6 });
    for (let i = 0; i < 6; i += 1) take(own)();
    expect(refusedBy(() => take(own))).to.include({ code: 'SPAWN_RATE', status: 503, retryAfter: 10 });
    take(own, 'b');
    take(own, 'a', aServer(), 10_001);
    const shared = capsOf({ opensPerMinute: 2, opensPerMinutePerUser: 60 });
    take(shared);
    take(shared, 'b');
    expect(refusedBy(() => take(shared, 'c'))).to.include({ code: 'SPAWN_RATE', retryAfter: 30 });
  });

  it('take nothing from a user’s rate for what the rate of all refused', () => {
    const caps = capsOf({ opensPerMinute: 1, opensPerMinutePerUser: 2 });
    take(caps);
    for (let i = 0; i < 5; i += 1) refusedBy(() => take(caps));
    take(caps, 'a', aServer(), 60_000);
    expect(caps.total).to.equal(2);
  });

  it('forget users who have nothing open and opened nothing for a while', () => {
    const caps = capsOf({ opensPerMinutePerUser: 1 });
    for (const user of ['a', 'b', 'c']) take(caps, user)();
    const place = take(caps, 'd');
    expect(caps.known).to.equal(4);
    caps.sweep(59_000);
    expect(caps.known).to.equal(4);
    caps.sweep(61_000);
    expect(caps.known).to.equal(1);
    place();
    expect(caps.known).to.equal(0);
  });

  it('know a user by forge and number, never by name', () => {
    const { user } = anAuth('7');
    const renamed = { ...user, login: 'x' };
    expect(userKey(user)).to.equal(userKey(renamed));
    expect(userKey(user)).to.not.equal(userKey({ ...user, issuer: 'https://other' }));
    expect(userLabel(user)).to.match(/^[0-9a-f]{40}$/);
    expect(userLabel(user)).to.not.equal(userLabel({ ...user, id: '8' }));
  });
});

describe('expiry', () => {
  const limits = { idleTimeout: 300, sessionTTL: 1_000, maxLifetime: 5_000 };
  const at = (startedAt: number, lastActive: number, busy = false) => ({ startedAt, lastActive, busy });

  it('is idle after the idle time, and not while it is busy', () => {
    expect(reapable(limits, at(0, 0), 299_999)).to.equal(undefined);
    expect(reapable(limits, at(0, 0), 300_000)).to.equal('idle');
    expect(reapable(limits, at(0, 0, true), 999_999)).to.equal(undefined);
    expect(expired(limits, at(0, 0), 300_000)).to.equal(undefined);
  });

  it('is over after its time to live without use', () => {
    expect(expired(limits, at(0, 5_000), 1_004_999)).to.equal(undefined);
    expect(expired(limits, at(0, 5_000), 1_005_000)).to.equal('expired');
    expect(expired(limits, at(0, 5_000, true), 1_005_000)).to.equal(undefined);
  });

  it('is over after its life time, busy or not', () => {
    expect(expired(limits, at(0, 4_999_999, true), 5_000_000)).to.equal('lifetime');
    expect(reapable(limits, at(0, 4_999_999), 5_000_000)).to.equal('lifetime');
  });

  it('takes 0 for no limit', () => {
    const none = { idleTimeout: 0, sessionTTL: 0, maxLifetime: 0 };
    expect(reapable(none, at(0, 0), 1e12)).to.equal(undefined);
    expect(idleIn(none, at(0, 0), 5)).to.equal(undefined);
  });

  it('says when a session may be idle', () => {
    expect(idleIn(limits, at(0, 0), 100_000)).to.equal(200);
    expect(idleIn(limits, at(0, 0, true), 100_000)).to.equal(300);
    expect(idleIn(limits, at(0, 0), 400_000)).to.equal(0);
  });
});

describe('waiting with a deadline', () => {
  it('gives the value, the failure, or the deadline, and leaves no timer', async () => {
    const clock = new FakeClock();
    expect(await within(clock, 10, Promise.resolve(5), () => new Error('late'))).to.equal(5);
    const failed: unknown = await within(clock, 10, Promise.reject(new Error('own')), () => new Error('late')).catch(
      (e: unknown) => e,
    );
    expect(failed).to.have.property('message', 'own');
    let fail: (reason: Error) => void = () => undefined;
    const work = new Promise<never>((_resolve, reject) => (fail = reject));
    const waiting = within(clock, 10, work, () => new Error('late')).catch((e: unknown) => e);
    clock.advance(10);
    fail(new Error('too late to matter'));
    expect(await waiting).to.have.property('message', 'late');
    expect(clock.timers).to.equal(0);
  });
});
