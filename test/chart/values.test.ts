import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { VALUES_SCHEMA, valuesSchema } from '../../scripts/chart/schema';
import { minimal, withMore } from '../support/chart';
import { CHART, helm, KUBERNETES, prepareHelm, refusal, render } from '../support/helm';
import { chartValues } from '../support/values';

before(prepareHelm);

describe('values that cannot work are refused, all at once, with what to do', () => {
  it('nothing given', () => {
    const words = refusal({});
    expect(words).to.include('image.repository is needed: build the gateway');
    expect(words).to.include('publicUrl is needed: the URL at which MCP clients reach the gateway');
    expect(words).to.include("server.forgejo.url is needed: Forgejo's public URL");
    expect(words).to.include(
      'server.forgejo.applications.read.clientId, server.forgejo.applications.write.clientId: needed',
    );
    expect(words).to.include("oauth.existingSecret is needed: a Secret of the release's namespace");
    expect(words).to.include('server.pod.image is needed: the image that runs in each session');
  });

  const table: readonly [what: string, more: Record<string, unknown>, words: string][] = [
    [
      'a public URL with a path',
      { publicUrl: 'https://mcp.example.com/base' },
      'publicUrl "https://mcp.example.com/base" must be http:// or https:// and a host, without a path',
    ],
    ['a public URL of another scheme', { publicUrl: 'mcp.example.com' }, 'must be http:// or https:// and a host'],
    [
      'a public URL with a user',
      { publicUrl: 'https://a:b@mcp.example.com' },
      'must be http:// or https:// and a host',
    ],
    [
      'a server whose name is no label',
      { servers: { My_Server: {} } },
      "servers.My_Server: a server's name is part of its path and a label",
    ],
    [
      'a server without a forge',
      { server: { forgejo: { url: '' } }, servers: { one: {} } },
      'servers.one.forgejo.url is needed',
    ],
    [
      'several servers and none the default',
      { servers: { a: {}, b: {} } },
      'defaultServer is needed with more than one server: which of a, b answers at /mcp?',
    ],
    [
      'a default server that is none',
      { servers: { a: {} }, defaultServer: 'b' },
      'defaultServer "b" is none of servers (a)',
    ],
    [
      'several gateways without an operator',
      { gateway: { replicas: 2 }, operator: { replicas: 0 } },
      'operator.replicas is 0 with several gateways',
    ],
    [
      'a service account without a name',
      { serviceAccount: { create: false } },
      'serviceAccount.name is needed when serviceAccount.create is false',
    ],
    [
      'sessions in the release’s namespace',
      { sessions: { namespace: { name: 'mcp' } } },
      "sessions.namespace.name is the release's own namespace",
    ],
    [
      'logins in the release’s namespace',
      { records: { namespace: { name: 'mcp' } } },
      'records.namespace.name is the namespace of the release or of the sessions',
    ],
    [
      'logins in the sessions’ namespace',
      { records: { namespace: { name: 'x' } }, sessions: { namespace: { name: 'x' } } },
      'records.namespace.name is the namespace of the release or of the sessions',
    ],
    [
      'applications without a Secret',
      { oauth: { existingSecret: '', readEntry: 'r' } },
      "oauth.existingSecret is needed: a Secret of the release's namespace with the applications' client secrets in the entries r and write-client-secret",
    ],
    [
      'an HTTPRoute to nowhere',
      { httpRoute: { enabled: true } },
      'httpRoute.parentRefs is needed with httpRoute.enabled',
    ],
    [
      'a disruption budget without a bound',
      { podDisruptionBudget: { enabled: true } },
      'podDisruptionBudget: set one of minAvailable and maxUnavailable',
    ],
    [
      'a disruption budget with two',
      { podDisruptionBudget: { enabled: true, minAvailable: 1, maxUnavailable: 0 } },
      'podDisruptionBudget: set one of',
    ],
  ];
  for (const [what, more, words] of table) {
    it(what, () => {
      expect(refusal(withMore(more))).to.include(words);
    });
  }

  it('a server without an image', () => {
    const { server, ...rest } = minimal;
    const words = refusal({
      ...rest,
      server: { forgejo: server.forgejo },
      servers: { default: server, bare: {} },
    });
    expect(words).to.include('servers.bare.pod.image is needed').and.not.include('servers.default');
  });

  it('a server with one application', () => {
    const { url, applications } = minimal.server.forgejo;
    const server = { ...minimal.server, forgejo: { url, applications: { read: applications.read } } };
    const words = refusal({ ...minimal, server });
    expect(words).to.include('server.forgejo.applications.write.clientId: needed for users to log in');
    expect(words).to.include('with the redirect URI https://mcp.example.com/oauth/callback');
    expect(words).to.not.include('applications.read');
  });

  it('a cluster that is too old', () => {
    expect(refusal(minimal, { args: ['--kube-version', '1.29.9'] })).to.include('incompatible');
    expect(() => render(minimal, { args: ['--kube-version', '1.30.0'] })).not.to.throw();
    expect(() => render(minimal, { args: ['--kube-version', 'v1.33.4-gke.1000'] })).not.to.throw();
  });
});

describe('values.schema.json', () => {
  const table: readonly [what: string, more: Record<string, unknown>, at: RegExp][] = [
    ['an unknown value', { replicaCount: 2 }, /additional properties 'replicaCount' not allowed/],
    ['an unknown value below', { gateway: { replica: 1 } }, /at '\/gateway'.*'replica' not allowed/],
    [
      'an unknown setting of a server',
      { servers: { a: { idelTimeout: '5m' } } },
      /at '\/servers\/a'.*'idelTimeout' not allowed/,
    ],
    ['an unknown setting of all servers', { server: { pod: { imag: 'x' } } }, /at '\/server\/pod'.*'imag' not allowed/],
    [
      'an unknown setting of the gateway',
      { config: { http: { boddy: 1 } } },
      /at '\/config\/http'.*'boddy' not allowed/,
    ],
    [
      'a listener, which is the chart’s',
      { config: { http: { listen: '0.0.0.0:1' } } },
      /at '\/config\/http'.*'listen' not allowed/,
    ],
    [
      'a namespace, which is the chart’s',
      { config: { backend: { namespace: 'x' } } },
      /at '\/config\/backend'.*'namespace' not allowed/,
    ],
    ['a store, which is the chart’s', { config: { store: { path: '/x' } } }, /at '\/config'.*'store' not allowed/],
    [
      'a master key, which is the chart’s',
      { config: { auth: { oauth: { keyFile: '/x' } } } },
      /at '\/config\/auth\/oauth'.*'keyFile' not allowed/,
    ],
    ['a digest that is none', { image: { digest: 'sha256:abc' } }, /at '\/image\/digest'/],
    ['a pull policy that is none', { image: { pullPolicy: 'Sometimes' } }, /at '\/image\/pullPolicy'/],
    ['a number where text belongs', { server: { env: { A: 1 } } }, /at '\/server\/env\/A'.*want string/],
    ['a quantity that is none', { gateway: { dataSize: '1 GB' } }, /at '\/gateway\/dataSize'/],
    [
      'a host alone as the place of images, whose name may go on',
      { sessions: { admissionPolicy: { images: ['registry.example.com'] } } },
      /at '\/sessions\/admissionPolicy\/images\/0'/,
    ],
    [
      'an action of the policy that is none',
      { sessions: { admissionPolicy: { actions: ['Refuse'] } } },
      /at '\/sessions\/admissionPolicy\/actions\/0'/,
    ],
  ];
  for (const [what, more, at] of table) {
    it(`refuses ${what}`, () => {
      expect(refusal(withMore(more))).to.match(at);
    });
  }

  it('is made from the gateway’s configuration schema: run scripts/chart/schema.ts', () => {
    const present = readFileSync(VALUES_SCHEMA, 'utf8');
    expect(JSON.parse(present)).to.deep.equal(JSON.parse(valuesSchema(present)));
  });

  it('knows every value of values.yaml, and values.yaml every value of it', () => {
    const schema = JSON.parse(readFileSync(VALUES_SCHEMA, 'utf8'));
    const defaults = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as unknown;
    const differing: string[] = [];
    const walk = (node: any, value: any, at: string): void => {
      if (node.properties === undefined || node.$ref !== undefined) return;
      for (const key of new Set([...Object.keys(node.properties as object), ...Object.keys((value ?? {}) as object)])) {
        const child = node.properties[key];
        const below = value?.[key];
        if (child === undefined || below === undefined) differing.push(`${at}${key}`);
        else walk(child, below, `${at}${key}.`);
      }
    };
    walk(schema, defaults, '');
    const probes = /^gateway\.(liveness|readiness|startup)Probe\.(initialDelaySeconds|successThreshold)$/; // optional, no default
    expect(differing.filter((path) => !probes.test(path) && !/^httpRoute\.timeouts\./.test(path))).to.deep.equal([]);
  });
});

describe('whole values files', () => {
  it('a full one is taken, and lints', () => {
    const full = parse(readFileSync(join(CHART, 'ci/full-values.yaml'), 'utf8')) as Record<string, unknown>;
    expect(render(full).length).to.be.at.least(20);
    const { ok, stdout, stderr } = helm(['lint', CHART, '--strict', '--kube-version', KUBERNETES], full);
    expect(ok, stdout + stderr).to.equal(true);
  });

  it('a full one names every value that there is', () => {
    const full = parse(readFileSync(join(CHART, 'ci/full-values.yaml'), 'utf8')) as Record<string, unknown>;
    const defaults = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;
    const missing: string[] = [];
    const walk = (want: Record<string, unknown>, have: Record<string, unknown>, at: string): void => {
      for (const [key, value] of Object.entries(want)) {
        if (have[key] === undefined) missing.push(`${at}${key}`);
        else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
          walk(value as Record<string, unknown>, have[key] as Record<string, unknown>, `${at}${key}.`);
        }
      }
    };
    walk(defaults, full, '');
    expect(missing).to.deep.equal([]);
  });

  it('the least one lints', () => {
    const { ok, stdout, stderr } = helm(['lint', CHART, '--strict', '--kube-version', KUBERNETES], minimal);
    expect(ok, stdout + stderr).to.equal(true);
  });

  it('those of the end-to-end tests are taken', () => {
    const application = { clientId: 'id', clientSecret: 'secret' };
    const values = chartValues({
      publicUrl: 'http://198.18.0.2:30080',
      forge: {
        publicUrl: 'http://198.18.0.2:30300',
        apiUrl: 'http://10.96.0.5:3000',
        applications: { read: application, write: application },
      },
      sessionsNamespace: 'mcp-sessions',
      recordsNamespace: 'mcp-logins',
      oauthSecret: 'forge-applications',
      image: 'image',
    });
    expect(() => render(values)).not.to.throw();
  });
});
