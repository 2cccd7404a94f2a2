/** Clients over time: rates, freshness, registrations, documents. The store is SQLite in memory; the clock is the test's. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '../../src/errors';
import { type FailureKind, FetchFailure, type FetchedDocument } from '../../src/auth/clients/document-fetch';
import {
  ClientDocuments,
  DOCUMENT_DEFAULTS,
  type DocumentOptions,
  type KeptDocument,
} from '../../src/auth/clients/documents';
import { freshFor } from '../../src/auth/clients/freshness';
import { Places } from '../../src/auth/clients/places';
import { Rate } from '../../src/auth/clients/rate';
import { Recent } from '../../src/auth/clients/recent';
import { DEFAULT_REDIRECT_POLICY } from '../../src/auth/clients/redirect-uri';
import {
  isRegisteredClientId,
  register,
  type Registration,
  REGISTRATION_DEFAULTS,
  Registrations,
} from '../../src/auth/clients/registrations';
import { collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { FakeClock } from '../support/fake-link';
import { keptLog } from '../support/silent-log';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const KEYS = [{ id: '00000001', secret: Buffer.alloc(32, 7) }];

/** What a promise is rejected with. */
async function errorOf(promise: Promise<unknown>): Promise<AppError> {
  const thrown: unknown = await promise.then(
    () => new Error('it was not rejected'),
    (error: unknown) => error,
  );
  if (thrown instanceof AppError) return thrown;
  throw thrown;
}

describe('rates', () => {
  it('lets a burst through, then so many a minute, for each key', () => {
    const clock = new FakeClock();
    const rate = new Rate({ burst: 3, perMinute: 6, maxKeys: 10 }, clock);
    expect([1, 2, 3].map(() => rate.take('a'))).to.deep.equal([0, 0, 0]);
    expect(rate.take('a')).to.equal(10);
    expect(rate.take('b')).to.equal(0);
    clock.advance(9 * SECOND);
    expect(rate.take('a')).to.equal(1);
    clock.advance(1 * SECOND);
    expect(rate.take('a')).to.equal(0);
    expect(rate.take('a')).to.equal(10);
    rate.giveBack('a');
    expect(rate.take('a')).to.equal(0);
    clock.advance(DAY);
    expect([1, 2, 3].map(() => rate.take('a'))).to.deep.equal([0, 0, 0]);
    expect(rate.take('a')).to.equal(10);
  });

  it('remembers so many keys, and forgets the one that was used longest ago', () => {
    const rate = new Rate({ burst: 1, perMinute: 1, maxKeys: 2 }, new FakeClock());
    for (const key of ['a', 'b', 'a', 'c']) rate.take(key);
    expect(rate.take('a')).to.equal(60);
    expect(rate.take('b')).to.equal(0);
  });

  it('never lets more through than the burst and what time gave', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 200 }), (gaps) => {
        const clock = new FakeClock();
        const rate = new Rate({ burst: 5, perMinute: 12, maxKeys: 1 }, clock);
        let passed = 0;
        let time = 0;
        for (const gap of gaps) {
          clock.advance(gap);
          time += gap;
          if (rate.take('') === 0) passed += 1;
          expect(passed).to.be.at.most(5 + (time / MINUTE) * 12 + 1e-6);
        }
      }),
    );
  });

  it('gives places by key and in all, and takes them back', () => {
    const places = new Places(2, 3);
    const a = places.take('a');
    expect(places.take('a')).to.be.a('function');
    expect(places.take('a')).to.equal(undefined);
    expect(places.take('b')).to.be.a('function');
    expect(places.take('c')).to.equal(undefined);
    a?.();
    expect(places.take('c')).to.be.a('function');
    expect(places.take('a')).to.equal(undefined);
  });

  it('forgets what was used longest ago', () => {
    const recent = new Recent<number>(2);
    recent.set('a', 1);
    recent.set('b', 2);
    recent.get('a');
    recent.set('c', 3);
    expect([recent.get('a'), recent.get('b'), recent.get('c'), recent.size]).to.deep.equal([1, undefined, 3, 2]);
  });
});

describe('freshness of a document', () => {
  const bounds = { min: MINUTE, max: HOUR, fallback: 10 * MINUTE };
  const wall = Date.UTC(2026, 0, 1);
  const cases: readonly [string, { cacheControl?: string; expires?: string; age?: string }, number][] = [
    ['nothing said', {}, 10 * MINUTE],
    ['max-age', { cacheControl: 'public, max-age=300' }, 5 * MINUTE],
    ['s-maxage before max-age', { cacheControl: 'max-age=60, s-maxage=600' }, 10 * MINUTE],
    ['capitals and quotes', { cacheControl: 'Public,MAX-AGE="300"' }, 5 * MINUTE],
    ['less the age', { cacheControl: 'max-age=300', age: '120' }, 3 * MINUTE],
    ['older than its age', { cacheControl: 'max-age=300', age: '999' }, MINUTE],
    ['no more than the maximum', { cacheControl: 'max-age=31536000, immutable' }, HOUR],
    ['a number without end', { cacheControl: `max-age=${'9'.repeat(400)}` }, MINUTE],
    ['no less than the minimum', { cacheControl: 'max-age=0' }, MINUTE],
    ['no-store', { cacheControl: 'no-store,no-cache,max-age=86400' }, MINUTE],
    ['no-cache', { cacheControl: 'no-cache' }, MINUTE],
    ['nonsense', { cacheControl: 'max-age=soon' }, MINUTE],
    ['directives of no meaning here', { cacheControl: 'must-revalidate, private' }, 10 * MINUTE],
    ['Expires', { expires: 'Thu, 01 Jan 2026 00:20:00 GMT' }, 20 * MINUTE],
    ['Expires in the past', { expires: 'Thu, 01 Jan 1970 00:00:00 GMT' }, MINUTE],
    ['Expires that is no date', { expires: '0' }, MINUTE],
    ['max-age before Expires', { cacheControl: 'max-age=120', expires: 'Thu, 01 Jan 2026 00:20:00 GMT' }, 2 * MINUTE],
  ];
  for (const [what, { cacheControl, expires, age }, fresh] of cases) {
    it(what, () => {
      expect(freshFor({ cacheControl, expires, age }, bounds, wall)).to.equal(fresh);
    });
  }

  it('keeps within its bounds whatever is said [2025-11-25/authorization/32]', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (cacheControl, expires, age) => {
        expect(freshFor({ cacheControl, expires, age }, bounds, wall)).to.be.within(bounds.min, bounds.max);
      }),
    );
  });
});

describe('registrations', () => {
  const idOf = (body: object): string => register(body, DEFAULT_REDIRECT_POLICY).clientId;
  const client = { client_name: 'Agent', redirect_uris: ['http://localhost:1/cb', 'https://a.example/cb'] };

  const make = (options: Partial<typeof REGISTRATION_DEFAULTS> | object = {}) => {
    const clock = new FakeClock();
    const store = collection<Registration>(openSqliteRecordStore(':memory:', clock), 'client', KEYS);
    const keyOf = (address: string): string => address;
    return {
      clock,
      store,
      registrations: new Registrations(
        { ...REGISTRATION_DEFAULTS, keyOf, redirects: DEFAULT_REDIRECT_POLICY, ...options },
        store,
        clock,
      ),
    };
  };

  it('have an id that is a digest of their metadata: the same client is the same client', () => {
    const id = idOf(client);
    expect(id).to.match(/^dcr_[A-Za-z0-9_-]{43}$/);
    expect(isRegisteredClientId(id)).to.equal(true);
    for (const same of [
      { redirect_uris: client.redirect_uris, client_name: 'Agent' },
      { ...client, redirect_uris: [...client.redirect_uris].reverse() },
      { ...client, redirect_uris: ['http://localhost:54212/cb', 'https://a.example/cb'] },
      { ...client, redirect_uris: ['http://localhost:1/cb', 'http://localhost:2/cb', 'https://a.example/cb'] },
      { ...client, scope: 'forgejo:read', logo_uri: 'https://a.example/x.png' },
      { ...client, token_endpoint_auth_method: 'client_secret_post' },
    ]) {
      expect(idOf(same), JSON.stringify(same)).to.equal(id);
    }
    for (const other of [
      { ...client, client_name: 'agent' },
      { ...client, redirect_uris: ['http://localhost:1/cb'] },
      { ...client, redirect_uris: ['http://localhost:1/cb', 'https://a.example:8443/cb'] },
      { ...client, redirect_uris: ['http://127.0.0.1:1/cb', 'https://a.example/cb'] },
    ]) {
      expect(idOf(other), JSON.stringify(other)).to.not.equal(id);
    }
  });

  it('expire after 24 hours without a login', async () => {
    const { clock, registrations } = make();
    const id = idOf(client);
    await registrations.save(id, { ...client });
    clock.advance(DAY - 1);
    expect(await registrations.find(id)).to.deep.equal({ ...client, client_id: id });
    clock.advance(1);
    expect(await registrations.find(id)).to.equal(undefined);
  });

  it('live on from a login, and from every later one, and registering again shortens nothing', async () => {
    const { clock, registrations } = make();
    const id = idOf(client);
    await registrations.save(id, { ...client });
    clock.advance(HOUR);
    await registrations.loggedIn(id);
    clock.advance(180 * DAY);
    await registrations.save(id, { ...client });
    clock.advance(9 * DAY);
    await registrations.loggedIn(id);
    clock.advance(189 * DAY);
    expect(await registrations.find(id)).to.deep.equal({ ...client, client_id: id });
    clock.advance(DAY);
    expect(await registrations.find(id)).to.equal(undefined);
  });

  it('live another 24 hours when an unused client registers again in the second half of its life', async () => {
    const { clock, registrations, store } = make();
    const id = idOf(client);
    await registrations.save(id, { ...client });
    const first = await store.get(id);
    clock.advance(11 * HOUR);
    await registrations.save(id, { ...client });
    expect((await store.get(id))?.version).to.equal(first?.version);
    clock.advance(2 * HOUR);
    await registrations.save(id, { ...client });
    clock.advance(23 * HOUR);
    expect(await registrations.find(id)).to.deep.equal({ ...client, client_id: id });
    clock.advance(HOUR);
    expect(await registrations.find(id)).to.equal(undefined);
  });

  it('are refused with 429 and the seconds to wait when one address registers too often', () => {
    const { clock, registrations } = make({ perAddress: { burst: 2, perMinute: 6, maxKeys: 10 } });
    registrations.admit('192.0.2.1');
    registrations.admit('192.0.2.1');
    registrations.admit('192.0.2.2');
    expect(() => registrations.admit('192.0.2.1'))
      .to.throw(AppError)
      .with.include({ code: 'CLIENT_RATE', status: 429, retryAfter: 10 });
    clock.advance(10 * SECOND);
    registrations.admit('192.0.2.1');
  });

  it('are bounded in all, and a flood of new ones keeps no known client out', async () => {
    const { registrations, store } = make({ fresh: { burst: 50, perMinute: 1 } });
    const known = idOf(client);
    await registrations.save(known, { ...client });
    const results = await Promise.allSettled(
      Array.from({ length: 500 }, (_, n) => {
        const input = { ...client, client_name: `flood ${n}` };
        return registrations.save(idOf(input), input);
      }),
    );
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused).to.have.length(451);
    expect(refused[0]?.reason).to.include({ code: 'CLIENT_RATE', status: 429 });
    expect(await store.find()).to.have.length(50);
    await registrations.save(known, { ...client });
  });

  it('of one client from a hundred users at once are one record, and cost one place', async () => {
    const { registrations, store } = make({ fresh: { burst: 100, perMinute: 1 } });
    const id = idOf(client);
    await Promise.all(Array.from({ length: 100 }, () => registrations.save(id, { ...client })));
    expect(await store.find()).to.have.length(1);
    await Promise.all(
      Array.from({ length: 99 }, (_, n) => {
        const input = { ...client, client_name: `other ${n}` };
        return registrations.save(idOf(input), input);
      }),
    );
  });

  it('of many logins at once keep one login', async () => {
    const { registrations, store, clock } = make();
    const id = idOf(client);
    await registrations.save(id, { ...client });
    await Promise.all(Array.from({ length: 20 }, () => registrations.loggedIn(id)));
    expect((await store.get(id))?.value.lastLogin).to.equal(clock.wall());
  });

  it('of another shape are not looked up', async () => {
    const { registrations } = make();
    for (const id of ['', 'dcr_', 'dcr_x', 'my-client', 'https://a.example/c', `dcr_${'x'.repeat(44)}`]) {
      expect(isRegisteredClientId(id)).to.equal(false);
      expect(await registrations.find(id)).to.equal(undefined);
      await registrations.loggedIn(id);
    }
  });

  it('are not found once the policy takes their redirect URIs no more', async () => {
    const app = { client_name: 'Cursor', redirect_uris: ['cursor://anysphere.cursor-mcp/oauth/callback'] };
    const id = idOf(app);
    const lax = make();
    await lax.registrations.save(id, app);
    expect(await lax.registrations.find(id)).to.have.property('client_id', id);
    const strict = make({ redirects: { schemes: [], reverseDomain: false } });
    await strict.registrations.save(id, app);
    expect(await strict.registrations.find(id)).to.equal(undefined);
  });

  it('can be deleted', async () => {
    const { registrations } = make();
    const id = idOf(client);
    await registrations.save(id, { ...client });
    await registrations.delete(id);
    expect(await registrations.find(id)).to.equal(undefined);
  });
});

describe('client metadata documents', () => {
  const ID = 'https://client.example/mcp/client.json';
  const body = (id: string, name = 'Agent'): string =>
    JSON.stringify({ client_id: id, client_name: name, redirect_uris: ['http://localhost/cb'] });

  /** A host that answers as the test says; every request is counted. */
  class Host {
    requests: string[] = [];
    answer: (id: string) => Promise<FetchedDocument> = async (id) => this.document(body(id));

    document(text: string, cacheControl: string | undefined = 'max-age=600'): FetchedDocument {
      return { text, cache: { cacheControl, expires: undefined, age: undefined } };
    }

    fails(kind: FailureKind): void {
      this.answer = () => Promise.reject(new FetchFailure(kind, `secret answer of 10.0.0.1: ${kind}`));
    }

    fetch = (url: URL): Promise<FetchedDocument> => {
      this.requests.push(url.href);
      return this.answer(url.href);
    };
  }

  const make = (options: Partial<DocumentOptions> = {}) => {
    const clock = new FakeClock();
    const host = new Host();
    const log = keptLog();
    const records = openSqliteRecordStore(':memory:', clock);
    const store = collection<KeptDocument>(records, 'cimd', KEYS);
    const open = (): ClientDocuments =>
      new ClientDocuments(
        { ...DOCUMENT_DEFAULTS, fetch: host.fetch, redirects: DEFAULT_REDIRECT_POLICY, ...options },
        store,
        clock,
        log,
      );
    return { clock, host, log, records, store, open, documents: open() };
  };

  it('are fetched once while they are fresh, and again afterwards', async () => {
    const { clock, host, documents } = make();
    const expected = {
      client_id: ID,
      client_name: 'Agent',
      redirect_uris: ['http://localhost/cb'],
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
    expect(await documents.find(ID)).to.deep.equal(expected);
    clock.advance(10 * MINUTE - 1);
    expect(await documents.find(ID)).to.deep.equal(expected);
    expect(host.requests).to.have.length(1);
    clock.advance(1);
    host.answer = async (id) => host.document(body(id, 'Agent 2'));
    expect((await documents.find(ID)).client_name).to.equal('Agent 2');
    expect(host.requests).to.have.length(2);
  });

  it('are fetched once for 100 who ask at once', async () => {
    const { host, documents } = make();
    const clients = await Promise.all(Array.from({ length: 100 }, () => documents.find(ID)));
    expect(new Set(clients.map(({ client_id }) => client_id))).to.deep.equal(new Set([ID]));
    expect(host.requests).to.have.length(1);
  });

  it('must name their own URL, byte for byte [2025-11-25/authorization/31]', async () => {
    for (const other of [
      `${ID}/`,
      ID.toUpperCase(),
      `${ID}?`,
      'https://client.example/other.json',
      undefined,
      7,
      [ID],
    ]) {
      const { host, documents } = make();
      host.answer = async () =>
        host.document(JSON.stringify({ client_id: other, client_name: 'n', redirect_uris: ['http://localhost/cb'] }));
      expect((await errorOf(documents.find(ID))).code, String(other)).to.equal('CLIENT_METADATA_INVALID');
    }
  });

  for (const [what, text, code] of [
    ['is no JSON', '{', 'CLIENT_METADATA_INVALID'],
    ['is no object', '[]', 'CLIENT_METADATA_INVALID'],
    [
      'has no id',
      JSON.stringify({ client_name: 'n', redirect_uris: ['http://localhost/'] }),
      'CLIENT_METADATA_INVALID',
    ],
    ['has no name', JSON.stringify({ client_id: ID, redirect_uris: ['http://localhost/'] }), 'CLIENT_METADATA_INVALID'],
    ['has no redirect URIs', JSON.stringify({ client_id: ID, client_name: 'n' }), 'CLIENT_REDIRECT_INVALID'],
    [
      'has a wrong redirect URI',
      JSON.stringify({ client_id: ID, client_name: 'n', redirect_uris: ['http://x/'] }),
      'CLIENT_REDIRECT_INVALID',
    ],
    [
      'has a secret',
      JSON.stringify({ client_id: ID, client_name: 'n', redirect_uris: ['http://localhost/'], client_secret: 'x' }),
      'CLIENT_METADATA_INVALID',
    ],
    [
      'uses a shared secret',
      JSON.stringify({
        client_id: ID,
        client_name: 'n',
        redirect_uris: ['http://localhost/'],
        token_endpoint_auth_method: 'client_secret_post',
      }),
      'CLIENT_METADATA_INVALID',
    ],
  ] as const) {
    it(`are refused when the text ${what} [2025-11-25/authorization/34, 2025-11-25/authorization/28]`, async () => {
      const { host, documents } = make();
      host.answer = async () => host.document(text);
      expect((await errorOf(documents.find(ID))).code).to.equal(code);
    });
  }

  it('of a URL that is no client id are never fetched [2025-11-25/authorization/27]', async () => {
    const { host, documents } = make();
    for (const id of ['https://127.0.0.1/c.json', 'http://client.example/c', 'https://client.example:22/c', 'x']) {
      expect((await errorOf(documents.find(id))).code).to.equal('CLIENT_INVALID');
    }
    expect(host.requests).to.have.length(0);
  });

  for (const [kind, code] of [
    ['unreachable', 'CLIENT_UNAVAILABLE'],
    ['refused', 'CLIENT_INVALID'],
    ['gone', 'CLIENT_INVALID'],
    ['malformed', 'CLIENT_METADATA_INVALID'],
  ] as const) {
    it(`that are ${kind} give ${code}, say nothing of what was answered, and are left alone for a while`, async () => {
      const { clock, host, documents, log } = make();
      host.fails(kind);
      const error = await errorOf(documents.find(ID));
      expect(error.code).to.equal(code);
      expect(error.message).to.not.match(/10\.0\.0\.1|secret/);
      expect(log.lines.join('\n')).to.contain('client.document.failed').and.to.contain(kind);
      host.answer = async (id) => host.document(body(id));
      expect((await errorOf(documents.find(ID))).code).to.equal(code);
      expect(host.requests).to.have.length(1);
      clock.advance(DOCUMENT_DEFAULTS.backoffMs);
      expect((await documents.find(ID)).client_name).to.equal('Agent');
    });
  }

  for (const kind of ['unreachable', 'refused'] as const) {
    it(`go on for 30 days when their host is ${kind}, and no longer`, async () => {
      const { clock, host, documents } = make();
      await documents.find(ID);
      host.fails(kind);
      for (let day = 0; day < 29; day += 1) {
        clock.advance(DAY);
        expect((await documents.find(ID)).client_name).to.equal('Agent');
        expect((await documents.find(ID)).client_name).to.equal('Agent');
      }
      expect(host.requests).to.have.length(30);
      clock.advance(DAY);
      await errorOf(documents.find(ID));
    });
  }

  for (const kind of ['gone', 'malformed'] as const) {
    it(`end at once, in the store too, when their host says that they are ${kind}`, async () => {
      const { clock, host, documents, store } = make();
      await documents.find(ID);
      await documents.keep(ID);
      expect(await store.get(ID)).to.not.equal(undefined);
      clock.advance(DAY);
      host.fails(kind);
      await errorOf(documents.find(ID));
      host.fails('unreachable');
      clock.advance(MINUTE);
      await errorOf(documents.find(ID));
      expect(await store.get(ID)).to.equal(undefined);
    });
  }

  it('are written only once a user has logged in, so that strangers add nothing to the store', async () => {
    const { documents, store } = make({ inAll: { burst: 100, perMinute: 1 } });
    for (let n = 0; n < 30; n += 1) await documents.find(`https://host${n}.example/c.json`);
    expect(await store.find()).to.have.length(0);
    await documents.keep('https://host7.example/c.json');
    await documents.keep('https://unknown.example/c.json');
    expect(await store.find()).to.have.length(1);
  });

  it('that were kept outlive this process while their host is down, and serve another process', async () => {
    const { clock, host, documents, open } = make();
    await documents.find(ID);
    await documents.keep(ID);
    expect((await open().find(ID)).client_name).to.equal('Agent');
    expect(host.requests).to.have.length(1);
    host.fails('unreachable');
    clock.advance(29 * DAY);
    expect((await open().find(ID)).client_name).to.equal('Agent');
    clock.advance(DAY);
    await errorOf(open().find(ID));
  });

  it('that were kept are written again when they change, and once a day when they do not', async () => {
    const { clock, host, documents, store } = make();
    await documents.find(ID);
    await documents.keep(ID);
    const version = async () => (await store.get(ID))?.version;
    const first = await version();
    clock.advance(HOUR);
    await documents.find(ID);
    expect(await version()).to.equal(first);
    host.answer = async (id) => host.document(body(id, 'Changed'));
    clock.advance(HOUR);
    await documents.find(ID);
    const second = await version();
    expect(second).to.not.equal(first);
    clock.advance(DAY);
    await documents.find(ID);
    expect(await version()).to.not.equal(second);
    clock.advance(29 * DAY);
    expect(await store.get(ID)).to.not.equal(undefined);
  });

  it('that a login keeps while they are fetched anew stay kept', async () => {
    const { clock, host, documents, store } = make();
    await documents.find(ID);
    clock.advance(HOUR);
    let arrive = (): void => undefined;
    host.answer = (id) => new Promise((resolve) => (arrive = () => resolve(host.document(body(id)))));
    const again = documents.find(ID);
    while (host.requests.length < 2) await new Promise((resolve) => setImmediate(resolve));
    await documents.keep(ID);
    arrive();
    await again;
    host.answer = async (id) => host.document(body(id, 'Changed'));
    clock.advance(HOUR);
    await documents.find(ID);
    expect((await store.get(ID))?.value.text).to.contain('Changed');
  });

  it('that are gone are gone from the store as well when another process kept them', async () => {
    const { clock, host, documents, store, open } = make();
    const other = open();
    await documents.find(ID);
    await other.find(ID);
    await other.keep(ID);
    clock.advance(HOUR);
    host.fails('gone');
    await errorOf(documents.find(ID));
    expect(await store.get(ID)).to.equal(undefined);
  });

  it('that the policy takes no more are not read from the store', async () => {
    const { host, documents, open } = make();
    await documents.find(ID);
    await documents.keep(ID);
    host.fails('unreachable');
    expect((await open().find(ID)).client_name).to.equal('Agent');
    const { store, ...strict } = make();
    await store.create(ID, {
      text: body(ID).replace('http://localhost', 'foo://x'),
      fetchedAt: 0,
      freshUntil: Infinity,
    });
    strict.host.fails('unreachable');
    expect((await errorOf(strict.documents.find(ID))).code).to.equal('CLIENT_UNAVAILABLE');
  });

  it('are found without the store, which can be down', async () => {
    const { documents, records, log } = make();
    await records.close();
    expect((await documents.find(ID)).client_name).to.equal('Agent');
    await documents.keep(ID);
    expect(log.lines.join('\n')).to.contain('client.document.unread').and.to.contain('client.document.unwritten');
  });

  it('of one host are asked for so often, and of all hosts', async () => {
    const { host, documents, clock } = make({
      perHost: { burst: 3, perMinute: 6, maxKeys: 10 },
      inAll: { burst: 5, perMinute: 6 },
    });
    const find = (name: string, n: number) => documents.find(`https://${name}.example/${n}.json`);
    for (const n of [1, 2, 3]) await find('a', n);
    expect(await errorOf(find('a', 4))).to.include({ code: 'CLIENT_UNAVAILABLE', status: 503, retryAfter: 10 });
    for (const n of [1, 2]) await find('b', n);
    expect(await errorOf(find('c', 1))).to.include({ code: 'CLIENT_UNAVAILABLE', retryAfter: 10 });
    expect(host.requests).to.have.length(5);
    expect((await find('a', 1)).client_name).to.equal('Agent');
    clock.advance(10 * SECOND);
    expect((await find('c', 1)).client_name).to.equal('Agent');
  });

  it('are asked for so many at once, of one host and of all; a known one goes on', async () => {
    const { host, documents, clock } = make({ concurrent: { perHost: 2, inAll: 3 } });
    await documents.find('https://known.example/c.json');
    clock.advance(DAY);
    const waiting: (() => void)[] = [];
    host.answer = (id) => new Promise((resolve) => waiting.push(() => resolve(host.document(body(id)))));
    const running = ['a.example/1', 'a.example/2', 'b.example/1'].map((id) => documents.find(`https://${id}`));
    expect((await errorOf(documents.find('https://a.example/3'))).code).to.equal('CLIENT_UNAVAILABLE');
    expect((await errorOf(documents.find('https://c.example/1'))).code).to.equal('CLIENT_UNAVAILABLE');
    expect((await documents.find('https://known.example/c.json')).client_name).to.equal('Agent');
    while (waiting.length < 3) await new Promise((resolve) => setImmediate(resolve));
    for (const go of waiting) go();
    await Promise.all(running);
    host.answer = async (id) => host.document(body(id));
    expect((await documents.find('https://c.example/1')).client_name).to.equal('Agent');
  });

  it('are remembered in a bounded number', async () => {
    const { host, documents } = make({
      maxDocuments: 10,
      inAll: { burst: 1000, perMinute: 1 },
    });
    for (let n = 0; n < 30; n += 1) await documents.find(`https://host${n}.example/c.json`);
    await documents.find('https://host29.example/c.json');
    expect(host.requests).to.have.length(30);
    await documents.find('https://host0.example/c.json');
    expect(host.requests).to.have.length(31);
  });

  it('have no query in the log', async () => {
    const { host, documents, log } = make();
    host.fails('unreachable');
    await errorOf(documents.find('https://client.example/c.json?token=abcdef'));
    expect(log.lines.join('\n')).to.contain('https://client.example/c.json').and.to.not.contain('abcdef');
  });
});
