import { expect } from 'chai';
import { parse } from 'yaml';
import type { PodSpec } from '../../src/config/server';
import { podManifest } from '../../src/backends/pod/manifest';
import { configFile, minimal, only, withMore } from '../support/chart';
import { prepareHelm, render, type Manifest } from '../support/helm';
import { serverSpec } from '../support/server-spec';

const MADE = 'forgejo-mcp-f12dd57f-pods-made';
const KEPT = 'forgejo-mcp-f12dd57f-pods-kept';

before(prepareHelm);

function expressions({ spec }: Manifest): string {
  const { variables, validations } = spec as Record<string, { expression: string }[]>;
  return [...variables, ...validations].map(({ expression }) => expression).join('\n');
}

/** Every name that a policy's expressions have in quotes: its fields and constants. */
function quoted(policy: Manifest): string[] {
  return [...expressions(policy).matchAll(/'([^']*)'/g)].map(([, name]) => name);
}

/** The rules themselves are tried on a cluster: test/e2e/admission.test.ts. */
describe('the admission policies', () => {
  let manifests: Manifest[];
  before(() => {
    manifests = render(minimal);
  });

  it('are in force for this install’s accounts only, and fail closed', () => {
    for (const name of [MADE, KEPT]) {
      const { spec } = only(manifests, 'ValidatingAdmissionPolicy', name);
      expect(spec.failurePolicy).to.equal('Fail');
      expect(spec.matchConditions).to.deep.equal([
        {
          name: 'made-by-this-install',
          expression:
            "request.userInfo.username in ['system:serviceaccount:mcp:forgejo-mcp-gateway', 'system:serviceaccount:mcp:forgejo-mcp-operator']",
        },
      ]);
      expect(only(manifests, 'ValidatingAdmissionPolicyBinding', name).spec).to.deep.equal({
        policyName: name,
        validationActions: ['Deny'],
      });
    }
  });

  it('have names that two releases never share, and know the sessions of their own', () => {
    const other = render(minimal, { namespace: 'elsewhere' });
    const policies = [manifests, other].map((from) => from.filter(({ kind }) => /^Validating/.test(kind)));
    expect(new Set(policies.flat().map(({ kind, metadata }) => `${kind} ${metadata.name}`)).size).to.equal(8);
    const { installId } = parse(configFile(manifests)).backend;
    expect(MADE).to.equal(`${installId as string}-pods-made`);
    for (const policy of policies[0].filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')) {
      expect(expressions(policy)).to.include(`'app.kubernetes.io/instance': '${installId as string}'`);
      expect(expressions(policy)).to.include("request.namespace == 'mcp-forgejo-mcp-sessions'");
    }
  });

  it('know every field and every constant of the pods that the gateway makes', () => {
    const known = quoted(only(manifests, 'ValidatingAdmissionPolicy', MADE));
    const pod = (changes: Partial<PodSpec>): any =>
      podManifest({
        name: 'x',
        namespace: 'y',
        install: 'z',
        run: 'run',
        component: 'session',
        server: serverSpec({ maxLifetime: 1, pod: changes }),
        session: 'a'.repeat(40),
        user: 'u',
        userNamespace: true,
      });
    const full: Partial<PodSpec> = {
      runtimeClassName: 'gvisor',
      priorityClassName: 'low',
      nodeSelector: { pool: 'agents' },
      tolerations: [{ operator: 'Exists' }],
      imagePullSecrets: ['registry'],
    };
    for (const { spec } of [pod(full), pod({ ...full, launcher: 'inject' })]) {
      expect(known).to.include.members(Object.keys(spec as object));
      expect(known).to.include.members(Object.keys(spec.securityContext as object));
      for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
        const { stdinOnce: _false, tty: _no, ...fields } = container; // what is false is left out by the API server
        expect(known).to.include.members(Object.keys(fields as object));
        expect(known).to.include.members(Object.keys(container.securityContext as object));
        expect(known).to.include.members([container.name, ...container.command]);
        for (const mount of container.volumeMounts ?? []) expect(known).to.include(mount.mountPath);
      }
      for (const volume of spec.volumes ?? []) {
        expect(known).to.include.members([volume.name, volume.emptyDir.sizeLimit]);
      }
    }
  });

  it('say in plain words what is wrong, within what the API server keeps', () => {
    for (const name of [MADE, KEPT]) {
      for (const { message } of only(manifests, 'ValidatingAdmissionPolicy', name).spec.validations) {
        expect(message).to.match(/^[^\n]{20,300}$/);
      }
    }
  });

  it('limit images as told', () => {
    const rules = (from: Manifest[]): string => expressions(only(from, 'ValidatingAdmissionPolicy', MADE));
    expect(rules(manifests)).not.to.include('one.image');
    const images = ['registry.example.com/agents/', 'registry.example.com/child'];
    const limited = rules(render(withMore({ sessions: { admissionPolicy: { images } } })));
    expect(limited).to.include('["registry.example.com/agents/","registry.example.com/child"].exists(');
  });

  it('warn and audit as told, and are left out as told', () => {
    const actions = ['Warn', 'Audit'];
    const warned = render(withMore({ sessions: { admissionPolicy: { actions } } }));
    for (const name of [MADE, KEPT]) {
      const { spec } = only(warned, 'ValidatingAdmissionPolicyBinding', name);
      expect(spec.validationActions).to.deep.equal(actions);
    }
    const without = render(withMore({ sessions: { admissionPolicy: { enabled: false } } }));
    expect(without.filter(({ kind }) => /^Validating/.test(kind))).to.deep.equal([]);
  });
});
