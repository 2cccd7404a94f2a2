/** Ways to the forge and back, and a user's connections: many at once, two gateways on one store, and keys that are rotated meanwhile. */
import { expect } from 'chai';
import { Connections, type RunningSession } from '../../src/auth/connections/connections';
import type { Scope } from '../../src/auth/context';
import { deriveKeys } from '../../src/auth/keys/derive';
import type { Departure } from '../../src/auth/login/contract';
import { CookieSeal } from '../../src/auth/login/cookie-seal';
import { FormTokens } from '../../src/auth/login/form-tokens';
import { ticketName, type TripRecord, Trips } from '../../src/auth/login/trips';
import type { GrantRecord } from '../../src/auth/provider/grants';
import { ResourceUrls } from '../../src/auth/resource/urls';
import { AppError } from '../../src/errors';
import { collection, type SealingKey } from '../../src/stores/sealed';
import { FakeForges } from '../support/fake-forges';
import { EVERYTHING, MASTER, recorded, type Recorded, ShiftedClock, USER } from '../support/oauth';
import { serverSpec } from '../support/server-spec';

const SERVER = serverSpec({ name: 'main' });
/** Of another forge. */
const OTHER = serverSpec({ name: 'other' });
const CALLBACK = '/oauth/callback';
const NEWER: readonly SealingKey[] = [{ id: '1a1b1c1d', secret: Buffer.alloc(32, 6) }, ...MASTER];
const NARROW = { owners: ['acme'], repositories: ['acme/*'] };

const codeOf = (thrown: unknown): string => (thrown instanceof AppError ? thrown.code : String(thrown));
const outcome = (run: Promise<unknown>): Promise<string> => run.then(() => 'none', codeOf);
const tally = (all: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const one of all) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
};

describe('ways to the forge', () => {
  let clock: ShiftedClock;
  let at: Recorded;
  let forges: FakeForges;
  let told: string[];

  beforeEach(() => {
    clock = new ShiftedClock();
    at = recorded(clock);
    forges = new FakeForges();
    told = [];
  });
  afterEach(() => at.store.close());

  /** A gateway's, on the one store. */
  const trips = (masters: readonly SealingKey[] = MASTER, max = 100): Trips =>
    new Trips({
      trips: collection<TripRecord>(at.store, 'oauth-trip', masters),
      forges,
      findServer: (name) => [SERVER, OTHER].find((server) => server.name === name),
      redirectUri: ({ name }) => `https://mcp.example${name === 'main' ? CALLBACK : `${CALLBACK}/${name}`}`,
      clock,
      lifetime: 600,
      max,
      observer: {
        consented: () => undefined,
        denied: () => undefined,
        loggedIn: ({ id }, application, errand) => told.push(`in ${id} ${application} ${errand}`),
        failed: (errand, code) => told.push(`failed ${errand} ${code}`),
      },
    });
  const back = ({ url }: Departure, more: Record<string, string> = { code: '42' }): URLSearchParams =>
    new URLSearchParams({ state: new URL(url).searchParams.get('state') ?? '', ...more });

  it('lets one of 20 browsers go on that come back with one state, at two gateways', async () => {
    const gateways = [trips(), trips()];
    const gone = await gateways[0].begin(SERVER, 'read', { kind: 'connections' });
    const ends = Array.from({ length: 20 }, (_, i) =>
      outcome(gateways[i % 2].end(CALLBACK, back(gone), gone.ticket.secret)),
    );
    expect(tally(await Promise.all(ends))).to.deep.equal({ none: 1, INVALID_REQUEST: 19 });
    expect(told.filter((line) => line === 'in 42 read connections')).to.have.length(1);
  });

  it('ends only at the callback of the forge that it began at: a code that one forge was told of another is never redeemed', async () => {
    const at = trips();
    const here = await at.begin(SERVER, 'read', { kind: 'connections' });
    const there = await at.begin(OTHER, 'read', { kind: 'connections' });
    expect(await outcome(at.end(`${CALLBACK}/other`, back(here), here.ticket.secret))).to.equal('INVALID_REQUEST');
    expect(await outcome(at.end(CALLBACK, back(there), there.ticket.secret))).to.equal('INVALID_REQUEST');
    const again = await at.begin(OTHER, 'read', { kind: 'connections' });
    expect(await outcome(at.end(`${CALLBACK}/other`, back(again), again.ticket.secret))).to.equal('none');
  });

  it('does not end for a browser without its ticket, and still ends for the one that has it', async () => {
    const [one, two] = [trips(), trips()];
    const gone = await one.begin(SERVER, 'write', { kind: 'connections' });
    const other = await one.begin(SERVER, 'write', { kind: 'connections' });
    expect(gone.ticket.name).to.equal(ticketName(back(gone).get('state') ?? ''));
    for (const ticket of [undefined, '', other.ticket.secret, `${gone.ticket.secret}x`])
      expect(await outcome(two.end(CALLBACK, back(gone), ticket)), String(ticket)).to.equal('INVALID_REQUEST');
    const twice = back(gone);
    twice.append('state', 'another');
    expect(await outcome(two.end(CALLBACK, twice, gone.ticket.secret))).to.equal('INVALID_REQUEST');
    expect(await outcome(two.end(CALLBACK, new URLSearchParams(), gone.ticket.secret))).to.equal('INVALID_REQUEST');
    expect(told).to.deep.equal(Array.from({ length: 6 }, () => 'failed unknown INVALID_REQUEST'));
    expect(await two.end(CALLBACK, back(gone), gone.ticket.secret)).to.deep.include({ application: 'write' });
  });

  it('is over after its time', async () => {
    const ways = trips();
    const gone = await ways.begin(SERVER, 'read', { kind: 'connections' });
    clock.advance(601_000);
    expect(await outcome(ways.end(CALLBACK, back(gone), gone.ticket.secret))).to.equal('INVALID_REQUEST');
  });

  it('begun with the old master key ends with the new one', async () => {
    const gone = await trips(MASTER).begin(SERVER, 'read', { kind: 'connections' });
    expect(await outcome(trips(NEWER).end(CALLBACK, back(gone), gone.ticket.secret))).to.equal('none');
  });

  it('are bounded: of 50 at once as many begin as may, and places of those that failed or ended are free again', async () => {
    const ways = trips(MASTER, 10);
    const begun: Departure[] = [];
    const begin = (): Promise<string> =>
      outcome(ways.begin(SERVER, 'read', { kind: 'connections' }).then((gone) => begun.push(gone)));
    forges.fault = new AppError('UPSTREAM_UNREACHABLE', 'The forge is away.');
    expect(tally(await Promise.all(Array.from({ length: 5 }, begin)))).to.deep.equal({ UPSTREAM_UNREACHABLE: 5 });
    expect(told[0]).to.equal('failed connections UPSTREAM_UNREACHABLE');
    forges.fault = undefined;
    expect(tally(await Promise.all(Array.from({ length: 50 }, begin)))).to.deep.equal({ none: 10, OVERLOADED: 40 });
    await ways.end(CALLBACK, back(begun[0]), begun[0].ticket.secret);
    expect(await begin()).to.equal('none');
    expect(await begin()).to.equal('OVERLOADED');
  });

  it('tells that the user said no as an answer, and the failures of the forge as such', async () => {
    const ways = trips();
    const gone = await ways.begin(SERVER, 'read', { kind: 'connections' });
    const refused = await ways.end(CALLBACK, back(gone, { error: 'access_denied' }), gone.ticket.secret);
    expect('refused' in refused && refused.refused.code).to.equal('FORGE_LOGIN_DENIED');
    const again = await ways.begin(SERVER, 'read', { kind: 'connections' });
    forges.fault = new AppError('UPSTREAM_TIMEOUT', 'The forge is slow.');
    expect(await outcome(ways.end(CALLBACK, back(again), again.ticket.secret))).to.equal('UPSTREAM_TIMEOUT');
  });

  describe('from the page with the connections', () => {
    let sessions: RunningSession[];
    let changed: string[];
    let forgotten: string[];
    const urls = new ResourceUrls('https://mcp.example', (name) => ['main'].includes(name), 'main');

    beforeEach(() => {
      sessions = [];
      changed = [];
      forgotten = [];
    });

    const connections = (masters: readonly SealingKey[] = MASTER): Connections =>
      new Connections({
        grants: at.grants,
        forges,
        trips: trips(masters),
        sessions: {
          of: () => sessions,
          end: async (name) => void changed.push(`end ${name}`),
          endUser: async ({ id }) => void changed.push(`end user ${id}`),
        },
        urls,
        findServer: (name) => (name === 'main' ? SERVER : undefined),
        seal: new CookieSeal(deriveKeys(masters, 'own-cookies')),
        forms: new FormTokens(deriveKeys(masters, 'form-tokens')),
        clock,
        lifetime: 600,
        forget: (id) => forgotten.push(id),
        observer: {
          changed: ({ id, scopes }) => changed.push(`${id} ${scopes.join(' ')}`),
          revoked: (_, id) => changed.push(`revoked ${id}`),
          disconnected: (_, count) => changed.push(`disconnected ${count}`),
        },
      });
    const grant = async (
      scopes: readonly Scope[] = ['forgejo:read'],
      resource = urls.default,
    ): Promise<GrantRecord> => {
      const { id } = await at.grants.create({
        user: USER,
        client: { id: 'client', name: 'Client' },
        resource,
        scopes,
        policy: EVERYTHING,
        application: scopes.includes('forgejo:write') ? 'write' : 'read',
      });
      const redeemed = await at.grants.redeem(id);
      if (redeemed === undefined) throw new Error('the grant is gone');
      return redeemed;
    };
    const arrival = { server: SERVER, user: USER, application: 'write' } as const;
    const widening = (of: GrantRecord, account = '42@https://forge.example') =>
      ({
        ...arrival,
        errand: { kind: 'widen', grant: of.id, account, scopes: ['forgejo:read', 'forgejo:write'], choice: EVERYTHING },
      }) as const;

    it('knows a visitor and the forms of the page until the visit is over, also with keys that are rotated meanwhile', () => {
      const before = connections(MASTER);
      const { cookie, seconds } = before.open({ ...arrival, errand: { kind: 'connections' } });
      const after = connections(NEWER);
      const visitor = after.visitor(cookie);
      expect(visitor).to.deep.include({ user: USER, server: 'main' });
      if (visitor === undefined) return;
      expect(after.checkForm(visitor, before.formToken(visitor))).to.equal(true);
      expect(after.checkForm({ ...visitor, id: 'another visit' }, before.formToken(visitor))).to.equal(false);
      clock.advance(seconds * 1000);
      expect(after.visitor(cookie)).to.equal(undefined);
    });

    it('lists what clients have come for, newest first, with its sessions, and nothing of servers that are no more', async () => {
      const first = await grant();
      clock.advance(1000);
      const second = await grant();
      await grant(['forgejo:read'], 'https://mcp.example/servers/gone/mcp');
      await at.grants.create({ ...first, client: { id: 'never came', name: 'x' } });
      sessions = [{ name: 'a', server: 'main', grant: first.id, startedAt: 0 }];
      const own = await connections().of({ user: USER, server: 'main', id: 'v' });
      expect(own.map((one) => one.grant.id)).to.deep.equal([second.id, first.id]);
      expect(own.map((one) => one.sessions.length)).to.deep.equal([0, 1]);
    });

    it('narrows at once; 50 at once leave one whole change, and say busy to those that lose too often', async () => {
      const own = await grant(['forgejo:read', 'forgejo:write']);
      const page = connections();
      const of = { grant: own, server: SERVER, sessions: [] };
      const choices = Array.from({ length: 50 }, (_, i) => ({ owners: [`o${i}`], repositories: [`o${i}/*`] }));
      const outcomes = await Promise.all(choices.map((choice) => outcome(page.change(of, ['forgejo:read'], choice))));
      const { none, STORE_UNAVAILABLE = 0 } = tally(outcomes);
      expect(none).to.be.above(0);
      expect(none + STORE_UNAVAILABLE).to.equal(50);
      expect(changed).to.have.length(none);
      const now = await at.grants.find(own.id);
      expect(choices).to.deep.include(now?.policy ?? {});
      expect(now).to.deep.include({ scopes: ['forgejo:read'], application: 'write', user: USER });
      expect(forgotten).to.include(own.id);
    });

    it('widens by way of the forge only where the tokens that are there cannot do it', async () => {
      const own = await grant();
      const page = connections();
      const of = { grant: own, server: SERVER, sessions: [] };
      const both: readonly Scope[] = ['forgejo:read', 'forgejo:write'];
      const gone = await page.change(of, both, NARROW);
      expect(gone?.url).to.contain('https://forge.example/');
      expect(await at.grants.find(own.id), 'nothing yet').to.deep.include({ scopes: ['forgejo:read'] });
      forges.writers.add(USER.id);
      expect(await page.change(of, both, NARROW)).to.equal(undefined);
      expect(await at.grants.find(own.id)).to.deep.include({ scopes: both, policy: NARROW, application: 'write' });
    });

    it('widens nothing for somebody else than the grant belongs to: FORGE_LOGIN_INVALID', async () => {
      const own = await grant();
      expect(await outcome(connections().widened(widening(own, '43@https://forge.example')))).to.equal(
        'FORGE_LOGIN_INVALID',
      );
      expect(await at.grants.find(own.id)).to.deep.include({ scopes: ['forgejo:read'] });
    });

    it('does not bring a grant back that is revoked while it is widened: it stays ended, and the loser is told', async () => {
      for (let round = 0; round < 20; round += 1) {
        const own = await grant();
        const page = connections();
        const [widened] = await Promise.all([
          outcome(page.widened(widening(own))),
          page.revoke({ user: USER, server: 'main', id: 'v' }, own.id),
        ]);
        expect(widened).to.be.oneOf(['none', 'INVALID_REQUEST']);
        expect(await at.grants.find(own.id)).to.equal(undefined);
      }
      const own = await grant();
      await at.grants.revoke(own.id);
      changed.length = 0;
      expect(await outcome(connections().widened(widening(own)))).to.equal('INVALID_REQUEST');
      expect(changed).to.deep.equal([]);
    });

    it('ends nothing that is not the visitor’s: neither a connection nor a session', async () => {
      const at = connections();
      const own = await grant();
      const stranger = { user: { ...USER, id: '43' }, server: 'main', id: 'v' };
      await at.revoke(stranger, own.id);
      await at.end(stranger, 'no session of this visitor');
      expect(changed).to.deep.equal([]);
      await at.revoke({ ...stranger, user: USER }, own.id);
      expect(changed).to.deep.equal([`revoked ${own.id}`]);
    });

    it('disconnects everything of the visitor, once', async () => {
      const owned = [await grant(), await grant()];
      const page = connections();
      const visitor = { user: USER, server: 'main', id: 'v' };
      await page.disconnect(visitor);
      await page.revoke(visitor, owned[0].id);
      expect(changed).to.deep.equal(['end user 42', 'disconnected 2']);
      expect(at.revoked).to.have.members(owned.map(({ id }) => id));
      expect(forges.forgotten).to.deep.equal(['42']);
    });
  });
});
