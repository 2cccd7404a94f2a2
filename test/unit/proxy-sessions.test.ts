/** What the credential proxy is told of a session: what its grant allows at the moment of the call, and nothing once either has ended. */
import { expect } from 'chai';
import type { AuthContext, Choice, Scope } from '../../src/auth/context';
import type { BackendAddress } from '../../src/backends/contract';
import type { ServerSpec } from '../../src/config/server';
import { AppError } from '../../src/errors';
import type { FindProxySession, ProxySession } from '../../src/forgejo/contract';
import { proxySessions, type GrantNow } from '../../src/spawn';
import { aRecord } from '../contract/session-store';
import { recordedSessions } from '../../src/compose/recorded';
import { FakeClock } from '../support/fake-link';
import { anAuth, refusal, SessionBench } from '../support/fake-sessions';
import { MemoryStore } from '../support/memory-store';
import { deferred } from '../support/gateway-app';
import { type ProxyFixture, StandInForge, startProxy } from '../support/proxy';
import { serverSpec } from '../support/server-spec';
import { until } from '../support/until';

const READ: ReadonlySet<Scope> = new Set(['forgejo:read']);
const BOTH: ReadonlySet<Scope> = new Set(['forgejo:read', 'forgejo:write']);
const NOTES: Choice = { owners: ['alice'], repositories: ['alice/notes'] };

const server = (access: 'read' | 'write' = 'write'): ServerSpec =>
  serverSpec({ policy: { access, owners: ['*'], repositories: ['*'], insecureAllowRoutes: [] } });

/** What one may do that is here; undefined of one that is not. */
const accessOf = (session: Awaited<ReturnType<FindProxySession>>): ProxySession['access'] | undefined =>
  session === undefined || 'holder' in session ? undefined : session.access;

describe('sessions as the credential proxy sees them', () => {
  let bench: SessionBench;
  let child: BackendAddress | undefined;
  let grantNow: GrantNow;
  let find: FindProxySession;

  beforeEach(() => {
    bench = new SessionBench();
    child = { instance: 'pod-1', ip: '10.0.0.1' };
    grantNow = async () => ({ scopes: BOTH });
    find = proxySessions(
      (name) => bench.registry.live(name),
      () => child,
      (auth) => grantNow(auth),
    );
  });
  afterEach(() => bench.registry.stop(0));

  const oauth = (scopes = BOTH): AuthContext => anAuth('7', { scopes, granted: BOTH });

  it('have the child of now, and the choice of the grant as it is now', async () => {
    const { name } = await bench.session({ ...oauth(), choice: { owners: ['*'], repositories: ['*'] } }, server());
    grantNow = async ({ grant }) => ({ scopes: BOTH, choice: { ...NOTES, owners: [grant] } });
    expect(await find(name)).to.deep.include({
      name,
      grant: 'grant-7',
      instance: 'pod-1',
      ip: '10.0.0.1',
      userId: '7',
      access: 'write',
      choice: { ...NOTES, owners: ['grant-7'] },
    });
    grantNow = async () => ({ scopes: BOTH });
    expect(await find(name), 'the choice was taken back').not.to.have.property('choice');
  });

  it('may write only where policy, session and grant all say so', async () => {
    for (const policy of ['read', 'write'] as const)
      for (const scopes of [READ, BOTH])
        for (const granted of [READ, BOTH]) {
          const { name } = await bench.session(oauth(scopes), server(policy));
          grantNow = async () => ({ scopes: granted });
          const wanted = policy === 'write' && scopes === BOTH && granted === BOTH ? 'write' : 'read';
          expect(accessOf(await find(name)), `${policy} ${scopes.size} ${granted.size}`).to.equal(wanted);
        }
  });

  it('are none where the name is unknown, the child is not there, or the grant has ended', async () => {
    expect(await find('f'.repeat(40))).to.equal(undefined);
    const { name } = await bench.session(oauth(), server());
    grantNow = async () => undefined;
    expect(await find(name)).to.equal(undefined);
    grantNow = async () => ({ scopes: BOTH });
    child = undefined;
    expect(await find(name)).to.equal(undefined);
  });

  it('are none once the session ends while the grant is being read, nor wider than it got meanwhile', async () => {
    const { id, name } = await bench.session(oauth(), server());
    const slow = [deferred<{ scopes: typeof BOTH }>(), deferred<{ scopes: typeof BOTH }>()];
    grantNow = () => slow[0].promise;
    const narrowed = Array.from({ length: 50 }, () => find(name));
    (await bench.registry.use({ ...oauth(READ), granted: READ }, server(), id)).release();
    slow[0].resolve({ scopes: BOTH });
    for (const session of await Promise.all(narrowed)) expect(accessOf(session)).to.equal('read');
    grantNow = () => slow[1].promise;
    const late = Array.from({ length: 50 }, () => find(name));
    await bench.registry.endNamed(name, 'user');
    slow[1].resolve({ scopes: BOTH });
    for (const session of await Promise.all(late)) expect(session).to.equal(undefined);
  });

  it('cannot be told while the store is away: STORE_UNAVAILABLE', async () => {
    const { name } = await bench.session(oauth(), server());
    grantNow = () => Promise.reject(new AppError('STORE_UNAVAILABLE', 'away', { retryAfter: 5 }));
    expect(await refusal(find(name))).to.include({ code: 'STORE_UNAVAILABLE' });
  });

  it('in bearer mode are as their token was found', async () => {
    const bearer = anAuth('7', { mode: 'bearer', client: 'bearer', scopes: BOTH });
    const { name } = await bench.session(bearer, server());
    grantNow = async (auth) => auth;
    const found = await find(name);
    expect(accessOf(found)).to.equal('write');
    expect(found).not.to.have.property('choice');
  });
});

describe('a call of a child', () => {
  let forge: StandInForge;
  let proxy: ProxyFixture;

  beforeEach(async () => {
    forge = await new StandInForge().listen();
    proxy = await startProxy({ forgejo: { apiUrl: forge.url } });
  });
  afterEach(async () => {
    await proxy.close();
    await forge.close();
  });

  const call = (method = 'GET', path = '/api/v1/repos/alice/notes/issues') =>
    proxy.call(path, method === 'GET' ? {} : { method, body: '{"title":"x"}' });

  it('is decided by what is allowed at that moment: narrowed, widened, taken back', async () => {
    expect((await call('POST')).status).to.equal(200);
    proxy.addSession('one', { access: 'read' });
    expect((await call('POST')).status).to.equal(403);
    expect((await call()).status).to.equal(200);
    proxy.addSession('one', { choice: { owners: ['alice'], repositories: ['alice/other'] } });
    expect((await call()).status).to.equal(403);
    proxy.addSession('one', { choice: { owners: ['alice'], repositories: ['alice/*'] } });
    expect((await call('POST')).status).to.equal(200);
    const capability = proxy.capability();
    proxy.sessions.delete('one');
    expect((await proxy.call('/api/v1/user', { token: capability })).status).to.equal(401);
    expect(forge.requests.length).to.equal(3);
  });

  it('is answered 503 with a time to retry while nobody can tell what is allowed, and never reaches the forge', async () => {
    proxy.lookup = () => Promise.reject(new AppError('STORE_UNAVAILABLE', 'The store is away.', { retryAfter: 5 }));
    const answers = await Promise.all(Array.from({ length: 50 }, () => call('POST')));
    for (const { status, headers, json } of answers) {
      expect(status).to.equal(503);
      expect(headers['retry-after']).to.equal('5');
      expect(json.message).to.equal('The store is away.');
    }
    expect(forge.requests).to.have.length(0);
    expect(proxy.events.map(({ outcome }) => outcome)).to.deep.equal(answers.map(() => 'failed'));
  });

  it('whose child goes away meanwhile is cancelled, and never reaches the forge', async () => {
    const asked = deferred<undefined>();
    const gate = deferred<undefined>();
    proxy.lookup = async (name) => {
      asked.resolve(undefined);
      await gate.promise;
      return proxy.sessions.get(name);
    };
    const aborted = new AbortController();
    const sent = fetch(`${proxy.url}/api/v1/repos/alice/notes/issues`, {
      method: 'POST',
      headers: { authorization: `token ${proxy.capability()}`, 'content-type': 'application/json' },
      body: '{"title":"x"}',
      signal: aborted.signal,
    }).catch(() => undefined);
    await asked.promise;
    aborted.abort();
    await sent;
    await proxy.proxy.check(new AbortController().signal); // the listener has seen the end of the other connection by now
    gate.resolve(undefined);
    const event = await until('the end of the call', async () => proxy.events[0]);
    expect(event.outcome).to.equal('cancelled');
    expect(forge.requests).to.have.length(0);
  });
});

describe('sessions of another gateway as the credential proxy sees them', () => {
  const clock = new FakeClock();
  let store: MemoryStore;
  let grantNow: GrantNow;
  let find: FindProxySession;
  const catalog = { find: (name: string) => (name === 'forgejo' ? server() : undefined) };
  const held = aRecord({
    holder: 'other',
    scopes: ['forgejo:read', 'forgejo:write'],
    child: { instance: 'pod-1', ip: '10.0.0.1' },
  });

  beforeEach(() => {
    store = new MemoryStore();
    store.records.set(held.name, held);
    grantNow = async () => ({ scopes: BOTH, choice: NOTES });
    const recorded = recordedSessions(store, catalog, clock);
    find = proxySessions(
      () => undefined,
      () => undefined,
      (auth) => grantNow(auth),
      recorded,
    );
  });

  it('have the child that their record names, and what their grant allows now', async () => {
    expect(await find(held.name)).to.deep.include({
      ...{
        name: held.name,
        grant: 'grant-1',
        instance: 'pod-1',
        ip: '10.0.0.1',
        userId: '7',
        access: 'write',
        choice: NOTES,
      },
    });
    grantNow = async () => ({ scopes: READ });
    expect(await find(held.name)).to.include({ access: 'read' });
    grantNow = async () => undefined;
    expect(await find(held.name)).to.equal(undefined);
  });

  it('are none where they have ended, sleep, or are of a server that is not there', async () => {
    const { child: _none, ...asleep } = held;
    const others = [
      aRecord({ ...held, name: 'b'.repeat(40), state: 'ended' }),
      { ...asleep, name: 'c'.repeat(40) },
      aRecord({ ...held, name: 'd'.repeat(40), server: 'gone' }),
    ];
    for (const record of others) store.records.set(record.name, record);
    for (const { name } of [...others, { name: 'e'.repeat(40) }]) expect(await find(name)).to.equal(undefined);
  });

  it('are believed for two seconds, and one that has just got its child is not refused', async () => {
    await find(held.name);
    store.records.set(held.name, { ...held, state: 'ended' });
    expect(await find(held.name)).to.not.equal(undefined);
    clock.advance(2_000);
    expect(await find(held.name)).to.equal(undefined);
    const { child, ...starting } = held;
    store.records.set('f'.repeat(40), { ...starting, name: 'f'.repeat(40) });
    expect(await find('f'.repeat(40))).to.equal(undefined);
    store.records.set('f'.repeat(40), { ...starting, name: 'f'.repeat(40), ...(child === undefined ? {} : { child }) });
    expect(await find('f'.repeat(40))).to.include({ instance: 'pod-1' });
  });

  it('go on to the gateway that has their token, where clients bring it', async () => {
    const bearer = aRecord({ ...held, name: '1'.repeat(40), mode: 'bearer', holder: 'other', generation: 3 });
    store.records.set(bearer.name, bearer);
    grantNow = () => Promise.reject(new AppError('INTERNAL', 'asked for what the other gateway is to ask for'));
    const { name, grant, userId } = bearer;
    expect(await find(name)).to.deep.include({ name, grant, userId, holder: 'other', generation: 3 });
    const { holder: _none, ...given } = bearer;
    store.records.set(name, given);
    expect(await find(name), 'believed for two seconds').to.include({ holder: 'other' });
    expect(await refusal(find(name, true))).to.include({ code: 'FORGE_TOKEN_UNAVAILABLE', retryAfter: 5 });
    store.records.set(name, { ...bearer, holder: 'third', generation: 4 });
    expect(await find(name, true)).to.include({ holder: 'third', generation: 4 });
  });

  it('cannot be told while the store is away: STORE_UNAVAILABLE, and asked again afterwards', async () => {
    store.down = true;
    expect((await refusal(find(held.name))).code).to.equal('STORE_UNAVAILABLE');
    store.down = false;
    expect(await find(held.name)).to.include({ instance: 'pod-1' });
  });
});
