/** The vault behind the credential proxy, and the rounds that find blocked users. */
import { expect } from 'chai';
import type { AuthContext } from '../../src/auth/context';
import { AppError } from '../../src/errors';
import { Prober } from '../../src/forgejo/vault/prober';
import { type GrantHolder, VaultTokens } from '../../src/forgejo/vault/tokens';
import type { ProbeAnswer, Vault } from '../../src/forgejo/vault/vault';
import { FakeClock, settle } from '../support/fake-link';
import { ALICE } from '../support/fake-upstream';

const BOB = { ...ALICE, id: '4', login: 'bob' };
const OK: ProbeAnswer = { verdict: 'ok', account: { user: ALICE, isAdmin: false } };
const signal = new AbortController().signal;

describe('vault: behind the credential proxy', () => {
  let calls: string[];
  let answers: Map<string, ProbeAnswer>;
  let gate: Promise<void> | undefined;
  let tokens: VaultTokens;
  const grants = new Map<string, GrantHolder>([
    ['a-read', { user: ALICE, application: 'read' }],
    ['a-write', { user: ALICE, application: 'write' }],
    ['a-read-too', { user: ALICE, application: 'read' }],
    ['b-read', { user: BOB, application: 'read' }],
  ]);
  const vault = {
    token: async (user: { id: string }, application: string) => {
      calls.push(`token ${user.id} ${application}`);
      return `token-of-${user.id}-${application}`;
    },
    probe: async (user: { id: string }, application: string) => {
      calls.push(`probe ${user.id} ${application}`);
      await gate;
      return answers.get(user.id) ?? OK;
    },
  } as unknown as Vault;
  const context = (grant: string): AuthContext => ({
    mode: 'oauth',
    user: ALICE,
    grant,
    client: 'c',
    scopes: new Set(['forgejo:read']),
  });

  beforeEach(() => {
    calls = [];
    answers = new Map();
    gate = undefined;
    tokens = new VaultTokens(vault, async (grant) => {
      if (grant === 'store-away') throw new AppError('STORE_UNAVAILABLE', 'away');
      return grants.get(grant);
    });
  });

  it("gives the token of the grant's user and application, whatever the call is", async () => {
    expect(await tokens.token('a-read', 'read', signal)).to.equal('token-of-3-read');
    expect(await tokens.token('a-write', 'read', signal)).to.equal('token-of-3-write');
    expect(await tokens.token('b-read', 'write', signal)).to.equal('token-of-4-read');
  });

  it('says 401 for a grant that is gone, 503 where that cannot be told', async () => {
    const code = (grant: string): Promise<string> =>
      tokens.token(grant, 'read', signal).catch((error: AppError) => error.code);
    expect(await code('revoked')).to.equal('AUTH_INVALID');
    expect(await code('store-away')).to.equal('STORE_UNAVAILABLE');
  });

  it('checks a token that the forge refused before it is given out again, once', async () => {
    const release = tokens.retain(context('a-read'));
    tokens.refused('a-read');
    tokens.refused('a-read');
    await tokens.token('a-read', 'read', signal);
    await tokens.token('a-read', 'read', signal);
    expect(calls).to.deep.equal(['probe 3 read', 'token 3 read', 'token 3 read']);
    release();
    tokens.refused('a-read');
    expect(tokens.grants).to.deep.equal([]);
  });

  it('knows who has live sessions, each user and application once', async () => {
    const releases = ['a-read', 'a-read', 'a-read-too', 'a-write', 'b-read', 'store-away', 'revoked'].map((grant) =>
      tokens.retain(context(grant)),
    );
    expect((await tokens.holders()).map(({ user, application }) => `${user.login} ${application}`)).to.deep.equal([
      'alice read',
      'alice write',
      'bob read',
    ]);
    releases[0]();
    releases[0]();
    expect(tokens.grants).to.include('a-read');
    for (const release of releases) release();
    expect(tokens.grants).to.deep.equal([]);
  });

  describe('rounds', () => {
    const clock = new FakeClock();
    let told: string[];
    let prober: Prober;

    beforeEach(() => {
      told = [];
      for (const grant of grants.keys()) tokens.retain(context(grant));
      prober = new Prober({
        vault,
        holders: () => tokens.holders(),
        clock,
        ended: ({ user, application }, reason) => told.push(`${user.login} ${application} ${reason}`),
        seen: ({ user }) => told.push(`${user.login} seen`),
      });
    });
    afterEach(() => prober.stop());

    it('ask for everybody every 30 s, and tell who must log in again until his sessions are gone', async () => {
      answers.set('4', { verdict: 'ended', reason: 'blocked' });
      clock.advance(29_999);
      await settle();
      expect(calls).to.deep.equal([]);
      for (let round = 1; round <= 2; round++) {
        clock.advance(round === 1 ? 1 : 30_000);
        await settle();
        expect(calls).to.have.length(3 * round);
        expect(told.filter((line) => line === 'bob read blocked')).to.have.length(round);
      }
      expect(told.filter((line) => line === 'alice seen')).to.have.length(4);
    });

    it('draw no conclusion where nothing was found out', async () => {
      for (const id of ['3', '4']) answers.set(id, { verdict: 'unknown', error: new AppError('UPSTREAM_TIMEOUT', '') });
      await prober.round();
      expect(told).to.deep.equal([]);
      expect(calls).to.have.length(3);
    });

    it('do not overtake each other, and tell nothing once they are stopped', async () => {
      let open = (): void => undefined;
      gate = new Promise((resolve) => (open = resolve));
      clock.advance(90_000);
      await settle();
      expect(calls).to.have.length(3);
      prober.stop();
      open();
      await settle();
      expect(told).to.deep.equal([]);
      clock.advance(90_000);
      await settle();
      expect(calls).to.have.length(3);
    });

    it('ask at most eight at once', async () => {
      let running = 0;
      let most = 0;
      const many = Array.from({ length: 100 }, (_, n) => ({
        user: { ...ALICE, id: String(n) },
        application: 'read' as const,
      }));
      const other = new Prober({
        clock,
        holders: async () => many,
        vault: {
          probe: async () => {
            most = Math.max(most, ++running);
            await settle();
            running -= 1;
            return OK;
          },
        },
        ended: () => undefined,
        seen: () => told.push('seen'),
      });
      await other.round();
      other.stop();
      expect([most, told.length]).to.deep.equal([8, 100]);
    });
  });
});
