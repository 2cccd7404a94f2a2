import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOperatorConfig } from '../../src/config/operator';
import { configFile, minimal, of, only, withMore, within } from '../support/chart';
import { prepareHelm, render, type Manifest } from '../support/helm';

const SESSIONS = 'mcp-forgejo-mcp-sessions';

before(prepareHelm);

describe('the operator in the chart', () => {
  let manifests: Manifest[];
  let operator: Manifest[];
  before(() => {
    manifests = render(minimal);
    operator = of('operator', manifests);
  });
  const named = (kind: string): Manifest => only(manifests, kind, 'forgejo-mcp-operator');
  const rules = (namespace: string): any[] => {
    const role = only(within(operator, namespace), 'Role', 'forgejo-mcp-operator');
    return (role.rules as any[]).map(({ resources, resourceNames, verbs }) => ({
      resources: resources.join(),
      verbs: verbs.join(' '),
      ...(resourceNames === undefined ? {} : { names: resourceNames.join() }),
    }));
  };

  it('takes the configuration that it is given, and finds in it what is the release’s', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fmo-chart-'));
    try {
      const file = join(folder, 'config.yaml');
      await writeFile(file, configFile(manifests));
      const config = await loadOperatorConfig({ file, env: {} });
      expect(config.operator).to.include({
        namespace: 'mcp',
        lease: 'forgejo-mcp-operator',
        certificateSecret: 'forgejo-mcp-peers',
      });
      expect(config.backend).to.include({ namespace: SESSIONS });
      expect(config.ops.listen).to.deep.equal({ address: '0.0.0.0', port: 9090 });
      expect(config.servers.map(({ name }) => name)).to.deep.equal(['default']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('has these rights and no others, in the namespaces of the release and of sessions', () => {
    expect(rules('mcp')).to.deep.equal([
      { resources: 'mcpservers', verbs: 'list watch' },
      { resources: 'mcpservers/status', verbs: 'patch' },
      { resources: 'leases', verbs: 'delete get list watch' },
      { resources: 'leases', names: 'forgejo-mcp-operator', verbs: 'update' },
      { resources: 'secrets', names: 'forgejo-mcp-peers', verbs: 'get update' },
    ]);
    expect(rules(SESSIONS)).to.deep.equal([
      { resources: 'mcpsessions', verbs: 'delete get list update watch' },
      { resources: 'pods', verbs: 'create delete get list watch' },
      { resources: 'configmaps', names: 'forgejo-mcp-sessions', verbs: 'get' },
    ]);
    expect(operator.filter(({ kind }) => /^ClusterRole/.test(kind))).to.deep.equal([]);
    const bindings = operator.filter(({ kind }) => kind === 'RoleBinding');
    expect(bindings.map(({ metadata }) => metadata.namespace)).to.have.members(['mcp', SESSIONS]);
    for (const { roleRef, subjects } of bindings) {
      expect(roleRef.name).to.equal('forgejo-mcp-operator');
      expect(subjects).to.deep.equal([{ kind: 'ServiceAccount', name: 'forgejo-mcp-operator', namespace: 'mcp' }]);
    }
  });

  it('runs twice, as the restricted profile demands, with no key and no secret mounted', () => {
    const { replicas, template } = named('Deployment').spec;
    expect(replicas).to.equal(2);
    const [container] = template.spec.containers;
    expect(container.args).to.deep.equal(['operator', '--config', '/etc/forgejo-mcp-operator/config.yaml']);
    expect(container.securityContext).to.deep.include({
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
    });
    expect(template.spec.securityContext).to.include({ runAsNonRoot: true });
    expect(template.spec.volumes).to.deep.equal([{ name: 'config', configMap: { name: 'forgejo-mcp-gateway' } }]);
    expect(JSON.stringify(template)).to.not.include('secret');
    expect(template.spec.serviceAccountName).to.equal('forgejo-mcp-operator');
    expect(named('PodDisruptionBudget').spec.maxUnavailable).to.equal(1);
  });

  it('is reached at its operations port only, by the release’s test and whom opsFrom names', () => {
    const monitoring = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } };
    const more = render(withMore({ networkPolicy: { gateway: { opsFrom: [monitoring] } } }));
    const { spec } = only(more, 'NetworkPolicy', 'forgejo-mcp-operator');
    expect(spec.policyTypes).to.deep.equal(['Ingress']);
    expect(spec.ingress).to.have.length(1);
    expect(spec.ingress[0].ports).to.deep.equal([{ protocol: 'TCP', port: 9090 }]);
    expect(spec.ingress[0].from[1]).to.deep.equal(monitoring);
    const api = [{ to: [{ ipBlock: { cidr: '10.96.0.1/32' } }] }];
    const closed = render(withMore({ networkPolicy: { operator: { egress: api } } }));
    expect(only(closed, 'NetworkPolicy', 'forgejo-mcp-operator').spec).to.deep.include({
      policyTypes: ['Ingress', 'Egress'],
      egress: api,
    });
  });

  it('has a Secret for the certificates that is made empty, so that an upgrade writes nothing into it', () => {
    const secret = only(manifests, 'Secret', 'forgejo-mcp-peers');
    expect(secret).to.not.have.any.keys('data', 'stringData');
    expect(secret.metadata.namespace).to.equal('mcp');
  });

  it('has its leader’s Lease made, with nothing in it, so that it goes with the release', () => {
    expect(named('Lease')).to.not.have.property('spec');
  });

  it('never has the gateway’s account', () => {
    const account = { create: false, name: 'forgejo-mcp-gateway' };
    expect(() => render(withMore({ operator: { serviceAccount: account } }))).to.throw(/accounts of their own/);
    expect(() => render(withMore({ operator: { serviceAccount: { create: false } } }))).to.throw(
      /operator\.serviceAccount\.name is needed/,
    );
    const mine = render(withMore({ operator: { serviceAccount: { create: false, name: 'mine' } } }));
    const bound = of('operator', mine).filter(({ kind }) => kind === 'RoleBinding');
    expect(bound.map(({ subjects }) => subjects[0].name as string)).to.deep.equal(['mine', 'mine']);
  });
});
