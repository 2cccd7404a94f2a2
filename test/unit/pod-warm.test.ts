import { expect } from 'chai';
import { podManifest } from '../../src/backends/pod/manifest';
import { warmName } from '../../src/backends/pod/names';
import { podState } from '../../src/backends/pod/pod-state';
import { claimPatch, isReady, takeable, templateOf, warmManifest } from '../../src/backends/pod/warm';
import type { ServerSpec } from '../../src/config/server';
import { serverSpec, type SpecChanges } from '../support/server-spec';

const SESSION = '0123456789abcdef0123456789abcdef01234567';
const NOW = Date.UTC(2026, 0, 1);
const COMMON = { namespace: 'sessions', install: 'main', run: 'operator-1', userNamespace: false };

const server = (changes: SpecChanges = {}): ServerSpec =>
  serverSpec({ pool: { min: 2, max: 4, maxAge: 3_600 }, ...changes });
const warm = (changes: SpecChanges = {}): any => warmManifest({ ...COMMON, name: warmName(), server: server(changes) });

/** As the API server has it once its launcher runs. */
const running = (pod = warm(), status: object = {}): any => ({
  ...pod,
  metadata: {
    ...pod.metadata,
    uid: `uid-${pod.metadata.name as string}`,
    creationTimestamp: new Date(NOW).toISOString(),
  },
  status: { phase: 'Running', podIP: '10.0.0.9', containerStatuses: [{ state: { running: {} } }], ...status },
});

describe('a pod that waits for a session', () => {
  it('is the pod that a session would have, with nothing of a session in it', () => {
    const pod = warm({ env: { PLAIN: 'only-in-the-claim' } });
    const own = podManifest({
      ...COMMON,
      name: 'x',
      component: 'session',
      server: server(),
      session: SESSION,
      user: 'u',
    });
    expect(pod.spec).to.deep.equal(own.spec);
    const {
      'app.kubernetes.io/component': component,
      'forgejo-mcp-operator/template': template,
      ...labels
    } = pod.metadata.labels;
    expect([component, template]).to.deep.equal(['warm', templateOf(server(), false)]);
    for (const label of Object.keys(labels)) expect(own.metadata?.labels).to.have.property(label);
    expect(labels).to.not.have.any.keys('forgejo-mcp-operator/session', 'forgejo-mcp-operator/user');
    expect(JSON.stringify(pod)).to.not.include('only-in-the-claim');
  });

  it('lives as long as a session that begins with it at the last moment', () => {
    const { spec } = warm({ maxLifetime: 100, startTimeout: 10 });
    expect(spec.activeDeadlineSeconds).to.equal(2 * 3_600 + 100 + 10 + 300);
  });

  it('has a name that is a host name, and never the same', () => {
    const names = Array.from({ length: 100 }, warmName);
    expect(new Set(names).size).to.equal(100);
    for (const name of names) expect(name).to.match(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
  });
});

describe('the template of a server’s pods', () => {
  const of = (changes: SpecChanges, userNamespace = false): string => templateOf(server(changes), userNamespace);

  it('is the same whatever comes with the claim, and in whatever order it was read', () => {
    const [a, b] = [
      { x: '1', y: '2' },
      { y: '2', x: '1' },
    ];
    expect(of({ pod: { nodeSelector: a, labels: a } })).to.equal(of({ pod: { nodeSelector: b, labels: b } }));
    const claimed = of({ command: ['/other'], env: { A: 'b' }, idleTimeout: 1, pool: { min: 9, max: 9, maxAge: 60 } });
    expect(claimed).to.equal(of({}));
  });

  it('changes with everything that the pod is made of', () => {
    const pods: SpecChanges[] = [
      {},
      { name: 'another' },
      { maxLifetime: 60 },
      { pod: { image: 'i' } },
      { pod: { runtimeClassName: 'r' } },
      { pod: { limits: { memory: '1Gi' } } },
      { pod: { labels: { a: 'b' } } },
      { pod: { annotations: { a: 'b' } } },
      { pod: { tolerations: [{ operator: 'Exists' }] } },
      { pod: { launcher: 'inject' } },
    ];
    const found = [...pods.map((changes) => of(changes)), of({}, true)];
    expect(new Set(found).size).to.equal(pods.length + 1);
    for (const one of found) expect(one).to.match(/^[0-9a-f]{16}$/);
  });
});

describe('which pods can be taken', () => {
  const wanted = { server: server(), userNamespace: false, wall: NOW + 1_000 };
  const takes = (pod: object, over: Partial<typeof wanted> = {}): boolean =>
    takeable([podState(pod)!], { ...wanted, ...over }).length === 1;
  const relabelled = (labels: object): any => {
    const pod = running();
    Object.assign(pod.metadata.labels, labels);
    return pod;
  };

  it('one whose launcher runs', () => {
    expect(takes(running())).to.equal(true);
    expect(isReady(podState(running())!)).to.equal(true);
  });

  it('none that is not up, not there any more, or without an address', () => {
    expect(takes(running(warm(), { containerStatuses: [] }))).to.equal(false);
    expect(takes(running(warm(), { podIP: undefined }))).to.equal(false);
    expect(takes(running(warm(), { phase: 'Failed' }))).to.equal(false);
    const disrupted = { conditions: [{ type: 'DisruptionTarget', status: 'True' }] };
    expect(takes(running(warm(), disrupted))).to.equal(false);
    const going = running();
    going.metadata.deletionTimestamp = new Date(NOW).toISOString();
    expect(takes(going)).to.equal(false);
  });

  it('none of another server or template, none that a session has, and none that was made of other settings', () => {
    expect(takes(relabelled({ 'forgejo-mcp-operator/server': 'other' }))).to.equal(false);
    expect(takes(relabelled({ 'forgejo-mcp-operator/template': 'other' }))).to.equal(false);
    expect(takes(relabelled({ 'app.kubernetes.io/component': 'session' }))).to.equal(false);
    expect(takes(running(warm({ pod: { image: 'former' } })))).to.equal(false);
    expect(takes(running(), { userNamespace: true })).to.equal(false);
  });

  it('none whose template has a user namespace that the API server dropped', () => {
    const pod = running(warmManifest({ ...COMMON, name: warmName(), server: server(), userNamespace: true }));
    expect(takes(pod, { userNamespace: true })).to.equal(true);
    delete pod.spec.hostUsers;
    expect(takes(pod, { userNamespace: true })).to.equal(false);
  });

  it('one that has a user namespace, where they are used as far as the cluster can; and none without, where it can', () => {
    const auto = server({ pod: { userNamespaces: 'auto' } });
    const made = (userNamespace: boolean): any =>
      running(warmManifest({ ...COMMON, name: warmName(), server: auto, userNamespace }));
    expect(takes(made(true), { server: auto, userNamespace: false })).to.equal(true);
    expect(takes(made(true), { server: auto, userNamespace: true })).to.equal(true);
    expect(takes(made(false), { server: auto, userNamespace: false })).to.equal(true);
    expect(takes(made(false), { server: auto, userNamespace: true })).to.equal(false);
  });

  it('none that has waited for so long that its own deadline would end the session', () => {
    expect(takes(running(), { wall: NOW + 2 * 3_600_000 - 1 })).to.equal(true);
    expect(takes(running(), { wall: NOW + 2 * 3_600_000 })).to.equal(false);
  });
});

describe('the patch that takes a pod', () => {
  const owner = { apiVersion: 'forgejo-mcp-operator.dev/v1alpha1', kind: 'MCPSession', name: SESSION, uid: 's1' };

  it('tests what only a claim changes, and makes the pod its session’s', () => {
    expect(claimPatch('u1', { session: SESSION, user: 'user', run: 'gateway-1', owner, linkKey: 'k1' })).to.deep.equal([
      { op: 'test', path: '/metadata/uid', value: 'u1' },
      { op: 'test', path: '/metadata/labels/app.kubernetes.io~1component', value: 'warm' },
      { op: 'replace', path: '/metadata/labels/app.kubernetes.io~1component', value: 'session' },
      { op: 'add', path: '/metadata/labels/forgejo-mcp-operator~1session', value: SESSION },
      { op: 'add', path: '/metadata/labels/forgejo-mcp-operator~1user', value: 'user' },
      { op: 'replace', path: '/metadata/labels/forgejo-mcp-operator~1run', value: 'gateway-1' },
      { op: 'add', path: '/metadata/annotations/forgejo-mcp-operator~1link-key', value: 'k1' },
      { op: 'add', path: '/metadata/ownerReferences', value: [owner] },
    ]);
  });

  it('leaves the owner as it is where the session’s record owns nothing', () => {
    const paths = claimPatch('u1', { session: SESSION, user: 'user', run: 'r' }).map(({ path }) => path);
    expect(paths).to.not.include('/metadata/ownerReferences');
    expect(paths.filter((path) => path.startsWith('/metadata/annotations'))).to.deep.equal([]);
  });
});
