/** The vault under any order of calls, outages and crashes: what holds whatever happens. */
import { expect } from 'chai';
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { AppError } from '../../src/errors';
import type { TokenSet } from '../../src/forgejo/vault/contract';
import { Vault } from '../../src/forgejo/vault/vault';
import { collection, type Collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { FakeClock, settle } from '../support/fake-link';
import { ALICE, FakeUpstream, FlakyCollection, type Mood } from '../support/fake-upstream';

type Step =
  | { readonly do: 'ask' | 'probe' | 'login'; readonly at: number }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'mood'; readonly mood: Mood }
  /** The store fails for a gateway; `after`: having done what it was asked. */
  | { readonly do: 'fail'; readonly at: number; readonly after: boolean; readonly times: number }
  /** The gateway stops for good within its next write or the one after, and a new one takes its place. */
  | { readonly do: 'kill'; readonly at: number; readonly write: 1 | 2 };

const GATEWAYS = 3;
const at = fc.nat(GATEWAYS - 1);
const ask = fc.record({ do: fc.constantFrom('ask' as const, 'probe' as const), at });
const pass = fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 20_000 }) });
const mood = fc.record({
  do: fc.constant('mood' as const),
  mood: fc.constantFrom<Mood>('well', 'well', 'away', 'broken', 'secret'),
});
const harmless = fc.oneof(
  { weight: 6, arbitrary: ask },
  { weight: 4, arbitrary: pass },
  { weight: 2, arbitrary: mood },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('login' as const), at }) },
);
const harmful = fc.oneof(
  { weight: 8, arbitrary: harmless },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      at,
      after: fc.boolean(),
      times: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('kill' as const), at, write: fc.constantFrom(1 as const, 2 as const) }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'mood' as const, mood: 'cut' as const }) },
);

/** An install of three gateways, one forge and one user, logged in. */
class World {
  readonly clock = new FakeClock();
  readonly upstream = new FakeUpstream(this.clock);
  readonly problems: string[] = [];
  suspensions = 0;
  shared = 0;
  #asking = 0;
  readonly #records: Collection<TokenSet>;
  readonly #gateways: { vault: Vault; sets: FlakyCollection<TokenSet> }[];
  #open = new Set<Promise<unknown>>();

  constructor() {
    const key = { id: '00000001', secret: randomBytes(32) };
    this.#records = collection<TokenSet>(openSqliteRecordStore(':memory:', this.clock), 'forge-tokens', [key]);
    this.#gateways = Array.from({ length: GATEWAYS }, () => this.#gateway());
    const refresh = this.upstream.refresh.bind(this.upstream);
    this.upstream.refresh = async (...args) => {
      if (++this.#asking > 1) this.problems.push('two refreshes at once');
      try {
        await settle(); // others get a chance to be wrong
        return await refresh(...args);
      } finally {
        this.#asking -= 1;
      }
    };
  }

  async run(step: Step): Promise<void> {
    switch (step.do) {
      case 'ask':
        return this.#background(this.#ask(this.#gateways[step.at].vault));
      case 'probe':
        return this.#background(this.#gateways[step.at].vault.probe(ALICE, 'read'));
      case 'login':
        return this.#background(this.#gateways[step.at].vault.store(this.upstream.login()).catch(() => undefined));
      case 'pass':
        return this.pass(step.ms);
      case 'mood':
        this.upstream.mood = step.mood;
        return;
      case 'fail':
        this.#gateways[step.at].sets.failing = { call: 'replace', after: step.after, times: step.times };
        return;
      case 'kill': {
        let writes = 0;
        const { sets } = this.#gateways[step.at];
        sets.onReplace = () => (++writes >= step.write ? new Promise<never>(() => undefined) : undefined);
        this.#background(this.#ask(this.#gateways[step.at].vault));
        await settle();
        this.#gateways[step.at] = this.#gateway();
      }
    }
  }

  async pass(ms: number): Promise<void> {
    await settle();
    for (let left = ms; left > 0; left -= 250) {
      this.clock.advance(Math.min(250, left));
      await settle();
    }
  }

  /** Everything is well again, and the user logs in once more where he must: then every gateway serves him. */
  async recover(): Promise<void> {
    this.upstream.mood = 'well';
    for (const { sets } of this.#gateways) sets.failing = undefined;
    await this.pass(70_000);
    const [{ vault }] = this.#gateways;
    for (let tries = 0; tries < 6; tries++) {
      const code = await this.#drive(
        vault.token(ALICE, 'read').then(
          () => 'well',
          (error: AppError) => error.code,
        ),
      );
      if (code === 'well') break;
      if (code === 'AUTH_INVALID') await vault.store(this.upstream.login());
    }
    for (let expiry = 0; expiry < 2; expiry++) {
      for (const one of this.#gateways) {
        const token = await this.#drive(one.vault.token(ALICE, 'read'));
        await this.upstream.account(token);
      }
      await this.pass(15_000);
    }
  }

  /** A token that is handed out is one that the forge takes; anything else is one of the errors that are meant. */
  async #ask(vault: Vault): Promise<void> {
    let token;
    try {
      token = await vault.token(ALICE, 'read');
    } catch (thrown) {
      const code = thrown instanceof AppError ? thrown.code : String(thrown);
      const meant = ['AUTH_INVALID', 'FORGE_TOKEN_UNAVAILABLE', 'FORGE_LOGIN_CONFIG', 'STORE_UNAVAILABLE'];
      if (!meant.includes(code)) this.problems.push(`an error ${code}`);
      if (code === 'AUTH_INVALID' && this.suspensions === 0) this.problems.push('401 without a suspension');
      return;
    }
    if (!this.upstream.lives(token)) this.problems.push(`${token} does not live`);
  }

  #background(work: Promise<unknown>): void {
    this.#open.add(work);
    void work.finally(() => this.#open.delete(work));
  }

  async #drive<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const end = (): void => void (done = true);
    work.then(end, end);
    await settle();
    for (let passed = 0; !done && passed < 60_000; passed += 250) await this.pass(250);
    if (!done) throw new Error('not within a minute');
    return work;
  }

  #gateway(): { vault: Vault; sets: FlakyCollection<TokenSet> } {
    const sets = new FlakyCollection(this.#records);
    const observer = {
      refreshed: () => undefined,
      suspended: () => void (this.suspensions += 1),
      shared: () => void (this.shared += 1),
    };
    return { vault: new Vault({ sets, upstream: this.upstream, clock: this.clock, observer }), sets };
  }
}

describe('vault: whatever happens', function () {
  this.timeout(60_000);

  const play = async (steps: readonly Step[]): Promise<World> => {
    const world = new World();
    await world.run({ do: 'login', at: 0 });
    await settle();
    for (const step of steps) await world.run(step);
    await world.recover();
    return world;
  };

  it('outages, wrong secrets and new logins end nobody, and no two refreshes run at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(harmless, { maxLength: 30 }), async (steps) => {
        const world = await play(steps);
        expect(world.problems).to.deep.equal([]);
        expect([world.suspensions, world.shared]).to.deep.equal([0, 0]);
      }),
      { numRuns: 100 },
    );
  });

  it('crashes and lost answers end in a new login at worst, and every token that is handed out is good', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(harmful, { maxLength: 30 }), async (steps) => {
        const world = await play(steps);
        expect(world.problems).to.deep.equal([]);
      }),
      { numRuns: 100 },
    );
  });
});
