/** Which servers there are: of the configuration, and of the cluster beside them. */
import type { ServerResponse } from 'node:http';
import { expect } from 'chai';
import { ClusterCatalog } from '../../src/catalog/cluster';
import { StaticCatalog } from '../../src/catalog/static';
import { type Ground, judgeServer, type Verdict } from '../../src/catalog/verdict';
import type { ServerSpec } from '../../src/config/server';
import { AppError } from '../../src/errors';
import { unknownAllowRoutes } from '../../src/forgejo/policy';
import { FakeApi, json, status } from '../support/fake-api';
import { FakeClock } from '../support/fake-link';
import { serverSpec } from '../support/server-spec';
import { keptLog, type KeptLog } from '../support/silent-log';
import { until } from '../support/until';

const applications = {
  read: { clientId: 'r', clientSecretFile: '/r', scopes: ['read:user'] },
  write: { clientId: 'w', clientSecretFile: '/w', scopes: ['write:repository'] },
};
const configured = serverSpec({
  name: 'default',
  forgejo: { ...serverSpec().forgejo, apiUrl: 'http://forge.internal:3000', applications },
});
const ground: Ground = { servers: [configured], mode: 'oauth', perUser: false, unknownRoutes: unknownAllowRoutes };

/** A spec as the API server has it; the defaults of the configuration are the same. */
const spec = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  forgejo: { url: 'https://forge.example' },
  pod: { image: 'image' },
  ...more,
});
const served = (verdict: Verdict | undefined): ServerSpec => {
  if (verdict === undefined || !('server' in verdict)) throw new Error(`refused: ${JSON.stringify(verdict)}`);
  return verdict.server;
};

describe('the verdict on an MCPServer', () => {
  it('is a server, with the applications and the API of its forge from the configuration', () => {
    const { name, idleTimeout, forgejo, pod } = served(judgeServer('team', spec({ idleTimeout: '1m' }), ground));
    expect({ name, idleTimeout, image: pod.image }).to.deep.equal({ name: 'team', idleTimeout: 60, image: 'image' });
    expect(forgejo).to.deep.include({
      url: 'https://forge.example',
      apiUrl: 'http://forge.internal:3000',
      applications,
    });
  });

  it('takes a URL as the configuration does: a slash at its end makes no difference', () => {
    const url = 'https://FORGE.example/';
    expect(served(judgeServer('team', spec({ forgejo: { url } }), ground)).forgejo.url).to.equal(
      'https://forge.example',
    );
  });

  const refusals: readonly [why: string, name: string, more: Record<string, unknown>, refusal: string, says: RegExp][] =
    [
      [
        'that has the name of a configured one',
        'default',
        {},
        'NameTaken',
        /configuration has a server named "default"/,
      ],
      [
        'of a forge where nobody can log in',
        'a',
        { forgejo: { url: 'https://other.example' } },
        'ForgeUnknown',
        /https:\/\/other\.example.*OAuth applications/,
      ],
      [
        'that would send tokens elsewhere',
        'a',
        { forgejo: { url: 'https://forge.example', apiUrl: 'https://attacker.example' } },
        'Invalid',
        /^spec\.forgejo\.apiUrl: must be the one/,
      ],
      ['whose name is none', 'a.b', {}, 'Invalid', /^spec\.name: must be a name/],
      ['whose times are none', 'a', { idleTimeout: '0s' }, 'Invalid', /^spec\.idleTimeout: must be at least 1s\.$/],
      [
        'whose times do not go together',
        'a',
        { maxLifetime: '1s' },
        'Invalid',
        /^spec\.maxLifetime: must be longer than startTimeout/,
      ],
      ['without an image', 'a', { pod: {} }, 'Invalid', /^spec\.pod\.image: is needed/],
      [
        'that wants namespaces where nobody makes any',
        'a',
        { isolation: { namespace: 'PerUser' } },
        'Invalid',
        /^spec\.isolation\.namespace: "PerUser" needs .*sessions\.perUser\.enabled/,
      ],
      ['without a forge', 'a', { forgejo: {} }, 'Invalid', /^spec\.forgejo\.url: is needed/],
      [
        'that injects nothing',
        'a',
        { pod: { image: 'i', launcher: 'inject' } },
        'Invalid',
        /^spec\.pod\.launcherImage: is needed/,
      ],
      [
        'whose pool has less room than it must have pods',
        'a',
        { pool: { min: 3, max: 2 } },
        'Invalid',
        /^spec\.pool\.max: must be at least pool\.min/,
      ],
      [
        'that sets what the gateway sets',
        'a',
        { env: { FORGEJO_URL: 'x' } },
        'Invalid',
        /^spec\.env\.FORGEJO_URL: must not be set/,
      ],
      [
        'with a route that opens nothing',
        'a',
        { policy: { insecureAllowRoutes: ['GET /nowhere'] } },
        'Invalid',
        /opens nothing/,
      ],
      ['with a setting that there is not', 'a', { idleTimeOut: '1m' }, 'Invalid', /did you mean "idleTimeout"/],
      ['that is wrong twice', 'a', { env: 7, maxSessions: -1 }, 'Invalid', /spec\.env: .*\. spec\.maxSessions: /],
    ];
  it('takes one with a namespace for each user where the operator makes them, but not with pull Secrets', () => {
    const wants = { isolation: { namespace: 'PerUser' } };
    expect(judgeServer('a', spec(wants), { ...ground, perUser: true })).to.have.nested.property(
      'server.isolation.namespace',
      'PerUser',
    );
    const pod = { image: 'i', imagePullSecrets: ['s'] };
    expect(judgeServer('a', spec({ ...wants, pod }), { ...ground, perUser: true }))
      .to.have.property('message')
      .that.matches(/^spec\.pod\.imagePullSecrets: must be empty/);
    const pooled = judgeServer('a', spec({ ...wants, pool: { max: 1 } }), { ...ground, perUser: true });
    expect(pooled).to.include({ refusal: 'Invalid' });
    expect((pooled as { message: string }).message).to.match(
      /^spec\.pool: cannot be with isolation\.namespace "PerUser"/,
    );
  });

  for (const [why, name, more, refusal, says] of refusals) {
    it(`refuses one ${why}`, () => {
      const verdict = judgeServer(name, spec(more), ground);
      expect(verdict).to.include({ refusal });
      expect((verdict as { message: string }).message).to.match(says);
    });
  }

  it('takes no files of the gateway’s from the resource', () => {
    const own = {
      url: 'https://forge.example',
      applications: { read: { clientId: 'x', clientSecretFile: '/etc/shadow' } },
    };
    expect(served(judgeServer('a', spec({ forgejo: own }), ground)).forgejo.applications).to.deep.equal(applications);
    const bearer = { ...ground, servers: [], mode: 'bearer' } as const;
    expect(served(judgeServer('a', spec({ forgejo: own }), bearer)).forgejo).to.not.have.property('applications');
  });

  it('lets a bearer’s server be of any forge, by any way', () => {
    const bearer: Ground = { ...ground, mode: 'bearer' };
    const forgejo = { url: 'https://other.example', apiUrl: 'http://other.internal' };
    expect(served(judgeServer('a', spec({ forgejo }), bearer)).forgejo).to.deep.include(forgejo);
    const same = { url: 'https://forge.example', apiUrl: 'http://elsewhere' };
    expect(served(judgeServer('a', spec({ forgejo: same }), bearer)).forgejo.apiUrl).to.equal('http://elsewhere');
  });
});

describe('the configuration’s servers', () => {
  it('are what they are', () => {
    const catalog = new StaticCatalog([configured]);
    expect(catalog.find('default')).to.equal(configured);
    expect(catalog.find('other')).to.equal(undefined);
    expect(catalog.all()).to.deep.equal([configured]);
    expect(() => catalog.onChange()()).to.not.throw();
  });
});

describe('the cluster’s servers', () => {
  let api: FakeApi;
  let clock: FakeClock;
  let log: KeptLog;
  let catalog: ClusterCatalog;
  let open: ServerResponse[];
  let items: object[];
  let changes: [string, ServerSpec | undefined][];
  let version: number;

  const resource = (name: string, more: Record<string, unknown> = {}, generation = 1): object => ({
    metadata: { name, uid: `uid-${name}`, resourceVersion: String(++version), generation },
    spec: spec(more),
  });

  beforeEach(async () => {
    api = await FakeApi.start();
    clock = new FakeClock();
    log = keptLog();
    open = [];
    items = [];
    changes = [];
    version = 10;
    api.handle = (call, response) => {
      if (!call.query.has('watch'))
        return json(response, 200, JSON.stringify({ metadata: { resourceVersion: String(version) }, items }));
      response.writeHead(200).flushHeaders();
      return void open.push(response);
    };
    catalog = new ClusterCatalog({ kube: api.kube(), clock, log, namespace: 'release', ground });
    catalog.onChange((name, server) => changes.push([name, server]));
  });
  afterEach(async () => {
    await catalog.stop();
    await api.close();
    expect(clock.timers, 'timers that are left').to.equal(0);
  });

  const started = async (): Promise<void> => {
    await catalog.synced(AbortSignal.timeout(20_000));
    await until('the watch is open', async () => open.length > 0);
  };
  const event = async (type: string, object: object): Promise<void> => {
    open[open.length - 1].write(`${JSON.stringify({ type, object })}\n`);
    const marker = resource(`marker-${version}`);
    open[open.length - 1].write(`${JSON.stringify({ type: 'ADDED', object: marker })}\n`);
    const { name } = (marker as { metadata: { name: string } }).metadata;
    await until('it was heard', async () => catalog.verdict(name) !== undefined);
    changes = changes.filter(([changed]) => changed !== name);
  };

  it('are served from the moment on at which they are there, until they are gone', async () => {
    items = [resource('early')];
    await started();
    expect(api.calls[0].path).to.equal('/apis/forgejo-mcp-operator.dev/v1alpha1/namespaces/release/mcpservers');
    expect(catalog.all().map(({ name }) => name)).to.deep.equal(['default', 'early']);
    expect(catalog.find('late')).to.equal(undefined);
    await event('ADDED', resource('late', { idleTimeout: '1m' }));
    expect(catalog.find('late')?.idleTimeout).to.equal(60);
    await event('MODIFIED', resource('late', { idleTimeout: '2m' }, 2));
    expect(catalog.find('late')?.idleTimeout).to.equal(120);
    await event('DELETED', resource('late'));
    expect(catalog.find('late')).to.equal(undefined);
    expect(changes.map(([name, server]) => [name, server?.idleTimeout])).to.deep.equal([
      ['early', 300],
      ['late', 60],
      ['late', 120],
      ['late', undefined],
    ]);
  });

  it('are the same objects until their spec changes', async () => {
    await started();
    await event('ADDED', resource('a'));
    const before = catalog.find('a');
    await event('MODIFIED', resource('a'));
    expect(catalog.find('a')).to.equal(before);
    expect(changes).to.have.length(1);
    await event('MODIFIED', resource('a', {}, 2));
    expect(catalog.find('a')).to.not.equal(before);
  });

  it('are left out when they are wrong, and say why, and nothing else is', async () => {
    items = [resource('good'), resource('bad', { idleTimeout: 'never' }), resource('default', { idleTimeout: '9m' })];
    await started();
    expect(catalog.all().map(({ name }) => name)).to.deep.equal(['default', 'good']);
    expect(catalog.find('bad')).to.equal(undefined);
    expect(catalog.find('default')).to.equal(configured);
    expect(catalog.verdict('bad')).to.include({ refusal: 'Invalid' });
    expect(catalog.verdict('default')).to.include({ refusal: 'NameTaken' });
    expect(catalog.verdict('good')).to.have.property('server');
    expect(catalog.verdict('none')).to.equal(undefined);
    expect(log.lines.filter((line) => line.includes('server.refused'))).to.have.length(2);
    await event('MODIFIED', resource('bad', { idleTimeout: '1m' }, 2));
    expect(catalog.find('bad')?.idleTimeout).to.equal(60);
    await event('MODIFIED', resource('good', { idleTimeout: 'never' }, 2));
    expect(catalog.find('good'), 'one that went wrong').to.equal(undefined);
    expect(changes.map(([name, server]) => [name, server !== undefined])).to.deep.equal([
      ['good', true],
      ['bad', true],
      ['good', false],
    ]);
  });

  it('are neither there nor not there while nobody can tell: BACKEND_UNAVAILABLE, but for those that are known', async () => {
    const unsure = (): void => {
      expect(() => catalog.find('other'))
        .to.throw(AppError)
        .and.include({ code: 'BACKEND_UNAVAILABLE', retryAfter: 5 });
      expect(catalog.find('default')).to.equal(configured);
    };
    unsure();
    items = [resource('known')];
    await started();
    expect(catalog.find('other')).to.equal(undefined);
    api.handle = (_call, response) => status(response, 503, 'ServiceUnavailable', 'down');
    open[0].destroy();
    await until('it failed', async () => log.lines.some((line) => line.includes('watch-failed')) && clock.timers > 0);
    clock.advance(90_000);
    unsure();
    expect(catalog.find('known')?.name).to.equal('known');
  });

  it('say what is missing where the cluster knows no such resource', async () => {
    api.handle = (_call, response) =>
      status(response, 404, 'NotFound', 'the server could not find the requested resource');
    const waiting = catalog.synced(AbortSignal.timeout(300)).catch((error: unknown) => error);
    await until('it failed', async () => log.lines.length > 0);
    expect(await waiting)
      .to.be.instanceOf(AppError)
      .and.include({ code: 'BACKEND_UNAVAILABLE' });
    expect(((await waiting) as AppError).detail).to.match(/apply crds\//);
  });
});
