/** The custom resources on a real API server: what it takes, fills in, refuses and shows, and a reflector that follows them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { CRD_FOLDERS } from '../../scripts/crds';
import { systemClock } from '../../src/clock';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { KubeError } from '../../src/kube/error';
import { collectionPath, KubeObjects, type KubeObject } from '../../src/kube/objects';
import { type Projection, Reflector } from '../../src/kube/reflector';
import { definitions } from '../../src/resources/definitions';
import { API_VERSION, MCP_SERVERS, MCP_SESSIONS } from '../../src/resources/group';
import type { MCPServer, MCPServerStatus } from '../../src/resources/server';
import type { MCPSession, MCPSessionStatus } from '../../src/resources/session';
import { minimal } from '../support/chart';
import { apply, cluster, createNamespace, deleteNamespaces, get, helmCommand, kubectl } from '../support/cluster';
import { CHART } from '../support/helm';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

const crds = Object.entries(definitions()).map(([file, { metadata }]) => ({ file, name: metadata.name }));

/** Established, as the API server says itself. */
async function established(name: string): Promise<any[]> {
  return until(`${name} is established`, async () => {
    const { status } = await get('crd', name);
    const conditions = (status?.conditions ?? []) as { type: string; status: string }[];
    return conditions.some(({ type, status }) => type === 'Established' && status === 'True') && conditions;
  });
}

/** What the API server said when it refused. */
const said: string[] = [];

async function refused(work: Promise<unknown>): Promise<KubeError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown, 'it was taken').to.be.instanceOf(KubeError);
  said.push((thrown as KubeError).message);
  return thrown as KubeError;
}

describe('the custom resources on a cluster', function () {
  this.timeout(120_000);
  let namespace: string;
  let kube: KubeClient;
  let servers: KubeObjects<MCPServer>;
  let sessions: KubeObjects<MCPSession>;
  let count = 0;

  before(async () => {
    await apply(...crds.map(({ file }) => parse(readFileSync(join(CRD_FOLDERS[0], file), 'utf8')) as object));
    namespace = await createNamespace('resources');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
    servers = new KubeObjects(kube, MCP_SERVERS, namespace);
    sessions = new KubeObjects(kube, MCP_SESSIONS, namespace);
    for (const { name } of crds) await established(name);
  });

  after(async () => {
    await kube.close();
    await deleteNamespaces(namespace);
  });

  const server = (name: string, spec: object = {}): MCPServer => ({
    apiVersion: API_VERSION,
    kind: MCP_SERVERS.kind,
    metadata: { name },
    spec: { forgejo: { url: 'https://forge.example' }, pod: { image: 'image' }, ...spec },
  });
  const session = (status: Partial<MCPSessionStatus> = {}): MCPSession => ({
    apiVersion: API_VERSION,
    kind: MCP_SESSIONS.kind,
    metadata: { name: (++count).toString(16).padStart(40, '0') },
    spec: {
      server: 'default',
      user: { issuer: 'https://forge.example', id: '7' },
      client: 'https://client.example/metadata.json',
      mode: 'oauth',
    },
    status: { state: 'Starting', epoch: 1, createdAt: '2026-01-02T03:04:05Z', ...status },
  });

  it('are established, and their schemas structural', async () => {
    for (const { name } of crds) {
      const conditions = await established(name);
      expect(conditions.filter(({ type }) => /NonStructural|Terminating/.test(type as string))).to.deep.equal([]);
      const { spec } = await get('crd', name);
      expect(spec.scope).to.equal('Namespaced');
      expect(spec.preserveUnknownFields ?? false).to.equal(false);
    }
  });

  it('are rendered by the release that made them, and left alone by every other one', async () => {
    const [{ name }] = crds;
    const rendered = async (release: string): Promise<string[]> => {
      const text = await helmCommand(
        ['template', release, CHART, '--namespace', namespace, '--dry-run=server', '--values', '-'],
        { input: JSON.stringify(minimal) },
      );
      expect(text).to.include('kind: Deployment');
      return text.match(/(?<=^kind: CustomResourceDefinition\nmetadata:\n {2}name: ).*$/gm) ?? [];
    };
    /** As Helm marks what is a release's. */
    const mark = (release: string | null, of: string | null): Promise<string> => {
      const annotations = { 'meta.helm.sh/release-name': release, 'meta.helm.sh/release-namespace': of };
      const labels = { 'app.kubernetes.io/managed-by': release === null ? null : 'Helm' };
      const patch = JSON.stringify({ metadata: { annotations, labels } });
      return kubectl(['patch', 'crd', name, '--type=merge', '--patch', patch]);
    };
    const { annotations = {} } = (await get('crd', name)).metadata as { annotations?: Record<string, string> };
    try {
      await mark('ours', namespace);
      expect(await rendered('ours')).to.include(name);
      expect(await rendered('other')).to.not.include(name);
      await mark('ours', 'elsewhere');
      expect(await rendered('ours')).to.not.include(name);
    } finally {
      await mark(
        annotations['meta.helm.sh/release-name'] ?? null,
        annotations['meta.helm.sh/release-namespace'] ?? null,
      );
    }
  });

  it('have the defaults filled in, at every depth', async () => {
    const { spec } = await servers.create(server('defaults', { policy: { access: 'read' } }));
    expect(spec).to.deep.include({ idleTimeout: '5m', maxLineBytes: '64Mi', paused: false, stateful: false, env: {} });
    expect(spec.policy).to.deep.equal({
      access: 'read',
      owners: ['*'],
      repositories: ['*'],
      insecureAllowRoutes: [],
    });
    expect(spec.pool).to.deep.equal({ min: 0, maxAge: '1h' });
    expect(spec.pod).to.deep.include({ image: 'image', launcher: 'builtin', userNamespaces: 'auto' });
    expect(spec.forgejo).to.deep.include({ url: 'https://forge.example', tokenEnv: ['FORGEJO_ACCESS_TOKEN'] });
  });

  it('lose what nobody knows', async () => {
    const { spec } = await servers.create(
      server('unknown', { forgejo: { url: 'https://forge.example', applications: {} } }),
    );
    expect(spec.forgejo).to.not.have.property('applications');
    const warned = await kubectl(['-n', namespace, 'apply', '--validate=strict', '-f', '-'], {
      input: JSON.stringify(server('typo', { idleTimeOut: '5m' })),
    }).catch((error: unknown) => String(error));
    expect(warned).to.include('unknown field "spec.idleTimeOut"');
  });

  describe('a server is refused, with what to do,', () => {
    const pod = (more: object): object => ({ pod: { image: 'image', ...more } });
    const forgejo = (more: object): object => ({ forgejo: { url: 'https://forge.example', ...more } });
    const cases: readonly [why: string, spec: object, says: RegExp][] = [
      ['without a forge', { forgejo: undefined }, /spec\.forgejo: Required value/],
      ['without the URL of one', { forgejo: {} }, /spec\.forgejo\.url: Required value/],
      ['without an image', { pod: {} }, /spec\.pod\.image: Required value/],
      ['with an empty image', pod({ image: '' }), /spec\.pod\.image/],
      ['whose URL is none', forgejo({ url: 'forge.example' }), /spec\.forgejo\.url: .*must be a URL such as https:/],
      ['whose URL has a user', forgejo({ url: 'https://u:p@forge.example' }), /must be a URL such as .* without user/],
      [
        'whose API has a query',
        forgejo({ apiUrl: 'https://forge.example/?a' }),
        /spec\.forgejo\.apiUrl: .*must be a URL/,
      ],
      [
        'whose storage has a path',
        forgejo({ storageOrigins: ['https://s3.example/x'] }),
        /storageOrigins\[0\].*an origin such as/,
      ],
      ['with a variable that is none', forgejo({ urlEnv: '1 2' }), /spec\.forgejo\.urlEnv: .*environment variable/],
      [
        'that sets the URL’s variable',
        { env: { FORGEJO_URL: 'x' } },
        /spec\.env: .*the gateway sets them for every session/,
      ],
      ['that sets the token’s variable', { env: { FORGEJO_ACCESS_TOKEN: 'x' } }, /spec\.env: .*the gateway sets them/],
      [
        'with an owner that has a slash',
        { policy: { owners: ['*', 'a/b'] } },
        /policy\.owners\[1\]: .*user or an organisation, or \*/,
      ],
      [
        'with a repository without owner',
        { policy: { repositories: ['b'] } },
        /policy\.repositories\[0\]: .*owner\/name, owner\/\* or \*/,
      ],
      [
        'with a route that is none',
        { policy: { insecureAllowRoutes: ['/x'] } },
        /insecureAllowRoutes\[0\]: .*METHOD \/path/,
      ],
      ['with an access that is none', { policy: { access: 'admin' } }, /supported values: "read", "write"/],
      ['of an era that is none', { protocolEra: 'new' }, /supported values: "auto", "legacy", "modern"/],
      ['with a time that is none', { idleTimeout: 'soon' }, /spec\.idleTimeout: .*a time such as 30s, 5m or 1h30m/],
      ['with a size that is none', { maxLineBytes: 'big' }, /spec\.maxLineBytes: .*a size such as 512Ki/],
      ['with no call in flight', { maxCallsInFlight: 0 }, /spec\.maxCallsInFlight: .*greater than or equal to 1/],
      ['with less than no session', { maxSessions: -1 }, /spec\.maxSessions: .*greater than or equal to 0/],
      ['without a program', { command: [] }, /spec\.command: .*at least 1/],
      [
        'that injects no launcher',
        pod({ launcher: 'inject' }),
        /spec\.pod\.launcherImage: .*is needed with launcher "inject"/,
      ],
      [
        'with requests that are none',
        pod({ requests: { cpu: 'lots' } }),
        /spec\.pod\.requests: .*quantities such as 100m or 64Mi/,
      ],
      [
        'with limits that are none',
        pod({ limits: { memory: '1 G' } }),
        /spec\.pod\.limits: .*quantities such as 100m or 64Mi/,
      ],
      ['with a pool of less than no pod', { pool: { min: -1 } }, /spec\.pool\.min: .*greater than or equal to 0/],
      ['with a pool of too many', { pool: { max: 1_001 } }, /spec\.pool\.max: .*less than or equal to 1000/],
      ['whose pool has less room than pods', { pool: { min: 3, max: 2 } }, /spec\.pool\.max: .*must be at least min/],
      [
        'with a pool and a namespace for each user',
        { pool: { min: 1 }, isolation: { namespace: 'PerUser' } },
        /spec\.pool: .*cannot be with isolation\.namespace PerUser/,
      ],
      [
        'with room for a pool and a namespace for each user',
        { pool: { max: 1 }, isolation: { namespace: 'PerUser' } },
        /spec\.pool: .*cannot be with isolation\.namespace PerUser/,
      ],
      [
        'with pull secrets and a namespace for each user, which has none',
        {
          isolation: { namespace: 'PerUser' },
          pod: { image: 'registry.example.com/child:1', imagePullSecrets: ['pull'] },
        },
        /spec\.pod\.imagePullSecrets: .*must be empty with isolation\.namespace PerUser/,
      ],
      ['with user namespaces of YAML 1.1', pod({ userNamespaces: true }), /must be of type string/],
    ];
    for (const [why, spec, says] of cases) {
      it(why, async () => {
        const error = await refused(servers.create(server('refused', spec)));
        expect(error).to.include({ status: 422, reason: 'Invalid' });
        expect(error.message).to.match(says);
      });
    }

    it('with a name that is no part of a URL', async () => {
      for (const name of ['a.b', 'a'.repeat(64)]) {
        const error = await refused(servers.create(server(name)));
        expect(error.message).to.match(/at most 63 lower-case letters, digits and hyphens/);
      }
      await servers.create(server('b'.repeat(63)));
    });

    it('by a change as well', async () => {
      const made = await servers.create(server('changed'));
      const error = await refused(servers.replace({ ...made, spec: { ...made.spec, callTimeout: 'x' } }));
      expect(error.message).to.match(/spec\.callTimeout: .*a time such as/);
    });
  });

  describe('a server’s status', () => {
    const status: MCPServerStatus = {
      observedGeneration: 1,
      conditions: [
        {
          type: 'Accepted',
          status: 'True',
          reason: 'Valid',
          message: '',
          observedGeneration: 1,
          lastTransitionTime: '2026-01-02T03:04:05Z',
        },
        {
          type: 'Ready',
          status: 'False',
          reason: 'ImagePull',
          message: 'no',
          lastTransitionTime: '2026-01-02T03:04:05Z',
        },
      ],
      sessions: { active: 2, hibernated: 3, starting: 0 },
      pool: { ready: 1, desired: 1 },
    };

    it('is apart: it does not come with the server, and the server does not change with it', async () => {
      const made = await servers.create({ ...server('apart'), status });
      expect(made.status).to.equal(undefined);
      await servers.patchStatus('apart', { ...status, spec: { paused: true } });
      const written = await servers.get('apart');
      expect(written.status).to.deep.equal(status);
      expect(written.spec).to.deep.equal(made.spec);
      expect(written.metadata.generation).to.equal(1);
      const changed = await servers.replace({ ...written, spec: { ...written.spec, paused: true }, status: {} });
      expect(changed.status).to.deep.equal(status);
      expect(changed.metadata.generation).to.equal(2);
    });

    it('is compared and set where that is asked for', async () => {
      const made = await servers.create(server('compared'));
      await servers.patchStatus('compared', { observedGeneration: 1 }, made.metadata.resourceVersion);
      const late = servers.patchStatus('compared', { observedGeneration: 2 }, made.metadata.resourceVersion);
      expect(await refused(late)).to.include({ status: 409, reason: 'Conflict' });
    });

    it('has one condition of a type', async () => {
      await servers.create(server('twice'));
      const [accepted] = status.conditions ?? [];
      const error = await refused(servers.patchStatus('twice', { conditions: [accepted, accepted] }));
      expect(error.message).to.include('Duplicate value');
    });

    it('is shown by kubectl, with what people look for', async () => {
      await servers.create(server('shown', { paused: true }));
      await servers.patchStatus('shown', status);
      const short = await kubectl(['-n', namespace, 'get', 'mcps', 'shown']);
      expect(short.split('\n')[0]?.trim().split(/\s+/)).to.deep.equal(
        'NAME FORGEJO ACCEPTED READY PAUSED ACTIVE HIBERNATED POOL AGE'.split(' '),
      );
      expect(short.split('\n')[1]).to.match(/^shown +https:\/\/forge\.example +True +False +true +2 +3 +1 +\d+s/);
      expect(await kubectl(['-n', namespace, 'get', 'mcps', 'shown', '-o', 'wide'])).to.match(
        /IMAGE +ACCESS +AGE\n.* image +write /,
      );
    });
  });

  describe('a session', () => {
    it('has no status subresource: one write records all', async () => {
      const made = await sessions.create(session({ scopes: ['forgejo:read'], holder: 'one' }));
      expect(made.status).to.include({ state: 'Starting', holder: 'one' });
      const changed = await sessions.replace({ ...made, status: { ...made.status, state: 'Active' } });
      expect(changed.status.state).to.equal('Active');
      expect(await refused(sessions.patchStatus(made.metadata.name, { state: 'Ended' }))).to.include({ status: 404 });
    });

    it('holds what it must, and nothing that it must not', async () => {
      const { status: _none, ...without } = session();
      expect((await refused(sessions.create(without as MCPSession))).message).to.match(/status: Required value/);
      const error = await refused(sessions.create(session({ state: 'Asleep' as 'Active' })));
      expect(error.message).to.match(/supported values: "Starting", "Active", "Hibernated", "Ended"/);
      const extra = { ...session(), spec: { ...session().spec, token: 'x' } } as MCPSession;
      expect((await sessions.create(extra)).spec).to.not.have.property('token');
    });

    it('has the name of a session', async () => {
      const named = { ...session(), metadata: { name: 'mine' } };
      expect((await refused(sessions.create(named))).message).to.match(/only the gateway makes sessions/);
    });

    it('stays what it is', async () => {
      const made = await sessions.create(session());
      const other = { ...made, spec: { ...made.spec, user: { ...made.spec.user, id: '8' } } };
      expect((await refused(sessions.replace(other))).message).to.match(/a session stays what it is: delete it/);
      const unset = sessions.patch(made.metadata.name, [{ op: 'remove', path: '/spec/client' }]);
      expect((await refused(unset)).status).to.equal(422);
    });

    it('never goes back: not its epoch, and not from its end', async () => {
      const { metadata } = await sessions.create(session({ epoch: 5 }));
      const put = (path: string, value: unknown) => sessions.patch(metadata.name, [{ op: 'replace', path, value }]);
      await put('/status/epoch', 6);
      expect((await refused(put('/status/epoch', 5))).message).to.match(/status\.epoch: .*another gateway holds it/);
      await put('/status/state', 'Ended');
      expect((await refused(put('/status/state', 'Active'))).message).to.match(/status\.state: .*has ended stays so/);
      await put('/status/reason', 'idle');
    });

    it('is taken by one of many that try at once', async () => {
      const { metadata } = await sessions.create(session({ holder: 'dead' }));
      const take = (holder: string) =>
        sessions.patch(metadata.name, [
          { op: 'test', path: '/status/epoch', value: 1 },
          { op: 'replace', path: '/status/epoch', value: 2 },
          { op: 'replace', path: '/status/holder', value: holder },
        ]);
      const tries = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => take(`gateway-${i}`)));
      const won = tries.filter((one) => one.status === 'fulfilled');
      expect(won).to.have.length(1);
      for (const one of tries) {
        if (one.status === 'rejected') expect(one.reason).to.be.instanceOf(KubeError).and.include({ status: 422 });
      }
      const { status } = await sessions.get(metadata.name);
      expect(status).to.deep.include({ epoch: 2, holder: won[0]?.value.status.holder });
    });

    it('is deleted under preconditions', async () => {
      const { metadata } = await sessions.create(session());
      expect(await refused(sessions.delete(metadata.name, { uid: 'another' }))).to.include({ status: 409 });
      await sessions.delete(metadata.name, { uid: metadata.uid ?? '' });
      expect(await refused(sessions.get(metadata.name))).to.include({ status: 404, reason: 'NotFound' });
    });

    it('is shown by kubectl, with what people look for', async () => {
      const pod = { namespace, name: 'mcp-pod', uid: 'u' };
      const { metadata } = await sessions.create(session({ state: 'Active', pod, expiresAt: '2026-01-03T00:00:00Z' }));
      const short = await kubectl(['-n', namespace, 'get', 'mcpsess', metadata.name]);
      expect(short.split('\n')[0]?.trim().split(/\s+/)).to.deep.equal(
        'NAME SERVER USER STATE REASON POD AGE'.split(' '),
      );
      expect(short.split('\n')[1]).to.match(/^0+[0-9a-f]+ +default +7 +Active +mcp-pod +\d+s/);
      const all = await kubectl(['-n', namespace, 'get', 'forgejo-mcp', '-o', 'name']);
      expect(all).to.include('mcpserver.forgejo-mcp-operator.dev/').and.include('mcpsession.forgejo-mcp-operator.dev/');
    });
  });

  describe('all rules', () => {
    it('were seen to refuse', () => {
      const messages = new Set<string>();
      JSON.stringify(definitions(), (key, value: unknown) => {
        if (key === 'message' && typeof value === 'string') messages.add(value);
        return value;
      });
      expect(messages.size).to.be.above(10);
      const unseen = [...messages].filter((message) => !said.some((text) => text.includes(message)));
      expect(unseen).to.deep.equal([]);
    });
  });

  describe('a reflector', () => {
    const project = (value: unknown): Projection | undefined => (value as KubeObject).metadata as Projection;
    const versions = (all: Iterable<Projection>): string[] =>
      [...all].map(({ name, uid, resourceVersion }) => `${name} ${uid} ${resourceVersion}`).sort();

    it('follows 200 sessions that many writers change, make and remove', async () => {
      const label = { metadata: { labels: { load: 'yes' } } };
      const labelled = (): MCPSession => {
        const { metadata, ...rest } = session();
        return { ...rest, metadata: { ...metadata, ...label.metadata } };
      };
      const log = keptLog();
      const reflector = new Reflector({
        ...{ kube, clock: systemClock, log, path: sessions.path, what: 'sessions', project },
        selector: 'load=yes',
      });
      const told = new Map<string, bigint>();
      const backwards: string[] = [];
      reflector.follow((name, seen) => {
        if (seen === 'gone') return void told.delete(name);
        if (BigInt(seen.resourceVersion) < (told.get(name) ?? 0n)) backwards.push(name);
        return void told.set(name, BigInt(seen.resourceVersion));
      });
      try {
        await reflector.synced(AbortSignal.timeout(20_000));
        const objects = Array.from({ length: 200 }, labelled);
        const work = [...objects];
        const writer = async (): Promise<void> => {
          for (let object = work.pop(); object !== undefined; object = work.pop()) {
            const { name } = (await sessions.create(object)).metadata;
            const change = (): Promise<unknown> =>
              sessions.patch(name, [{ op: 'replace', path: '/status/state', value: 'Active' }]);
            await Promise.all([change(), change(), change()]);
            if (Number.parseInt(name, 16) % 4 === 0) await sessions.delete(name);
          }
        };
        await Promise.all(Array.from({ length: 10 }, writer));
        const listed = (await sessions.list('load=yes')).map(({ metadata }) => metadata as Projection);
        expect(listed).to.have.length(150);
        await until('the reflector has all', async () => versions(reflector.all()).join() === versions(listed).join());
        expect([...told.keys()].sort()).to.deep.equal(listed.map(({ name }) => name).sort());
        expect(backwards).to.deep.equal([]);
        expect(log.lines).to.deep.equal([]);
      } finally {
        await reflector.stop();
      }
    });

    it('lists again when the API server has forgotten what it was at', async () => {
      const group = `${namespace}.example.org`;
      const resource = { group, version: 'v1', plural: 'widgets', kind: 'Widget' };
      const name = `widgets.${group}`;
      const path = collectionPath(resource, namespace);
      const widgets = new KubeObjects<KubeObject>(kube, resource, namespace);
      const widget = (i: number, labels = {}): KubeObject => ({
        apiVersion: `${group}/v1`,
        kind: 'Widget',
        metadata: { name: `w${i}`, labels },
      });
      const schema = (description: string): object => ({ openAPIV3Schema: { type: 'object', description } });
      const definition = (description: string): object => ({
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name },
        spec: {
          group,
          scope: 'Namespaced',
          names: { kind: 'Widget', plural: 'widgets' },
          versions: [{ name: 'v1', served: true, storage: true, schema: schema(description) }],
        },
      });

      /** Its watches can be cut and kept from coming back. */
      class Held extends KubeClient {
        version = '';
        cut: () => void = () => undefined;
        gate = Promise.resolve();
        override async stream(...args: Parameters<KubeClient['stream']>): ReturnType<KubeClient['stream']> {
          await this.gate;
          this.version = args[1].resourceVersion;
          const body = await super.stream(...args);
          this.cut = () => body.destroy();
          return body;
        }
      }
      const held = new Held(new Credentials(cluster().kubeconfig));
      const log = keptLog();
      const reflector = new Reflector({ kube: held, clock: systemClock, log, path, what: 'widgets', project });
      try {
        await apply(definition('before'));
        await established(name);
        await until('it is served', () =>
          widgets.list().then(
            () => true,
            () => false,
          ),
        );
        for (let i = 0; i < 10; i++) await widgets.create(widget(i));
        await reflector.synced(AbortSignal.timeout(20_000));
        await until('the watch is open', async () => held.version !== '');

        let open: () => void = () => undefined;
        held.gate = new Promise((resolve) => (open = resolve));
        held.cut();
        for (let i = 0; i < 5; i++) await widgets.delete(`w${i}`);
        for (let i = 10; i < 20; i++) await widgets.create(widget(i));
        // A changed definition gets a new cache, which knows nothing of before.
        await apply(definition('after'));
        await until('its history is gone', async () => {
          const query = { watch: 'true', resourceVersion: held.version, timeoutSeconds: '1' };
          const text = await kube.stream(path, query).then(
            (body) => body.text(),
            (error: unknown) => (error as KubeError).summary,
          );
          return /"code":410|^410/.test(text);
        });
        open();
        held.gate = Promise.resolve();
        const listed = (await widgets.list()).map(({ metadata }) => metadata as Projection);
        expect(listed).to.have.length(15);
        await until('the reflector has all', async () => versions(reflector.all()).join() === versions(listed).join());
        expect(log.lines.join('\n')).to.match(/widgets\.watch-failed.*410/);
        await widgets.create(widget(99));
        await reflector.until('w99', (seen) => (seen === 'gone' ? undefined : true), AbortSignal.timeout(20_000));
      } finally {
        held.gate = Promise.resolve();
        await reflector.stop();
        await held.close();
        await kubectl(['delete', 'crd', name, '--ignore-not-found', '--wait=false']);
      }
    });
  });
});
