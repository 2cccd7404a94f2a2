/** The chart's values for tests and `make up`: a server for each thing that must be seen to work, or to fail well. */
import type { ClusterForge } from './cluster-forge';

export interface ChartChoices {
  /** Where clients reach the gateway. */
  readonly publicUrl: string;
  readonly forge: Pick<ClusterForge, 'publicUrl' | 'apiUrl' | 'applications'>;
  readonly sessionsNamespace: string;
  readonly recordsNamespace: string;
  /** The Secret with the applications' secrets. */
  readonly oauthSecret: string;
  /** Changes whenever the gateway's image does, whose tag does not. */
  readonly image: string;
}

export function chartValues(choices: ChartChoices): Record<string, unknown> {
  const { publicUrl, forge, sessionsNamespace, recordsNamespace, oauthSecret, image } = choices;
  const { read, write } = forge.applications;
  const forgejo = {
    url: forge.publicUrl,
    apiUrl: forge.apiUrl,
    applications: { read: { clientId: read.clientId }, write: { clientId: write.clientId } },
  };
  const pod = (image: string) => ({
    image,
    imagePullPolicy: 'Never',
    requests: { cpu: '10m', memory: '16Mi' },
    limits: { cpu: '1', memory: '128Mi' },
  });
  const fixture = { command: ['/child'], forgejo, pod: pod('fmo/child-fixture:test'), stopGrace: '2s' };
  const everything = { command: ['/child'], forgejo, pod: pod('fmo/child-everything:test') };
  return {
    image: { repository: 'fmo/gateway', tag: 'test', pullPolicy: 'Never' },
    publicUrl,
    gateway: { podAnnotations: { 'test/image': image } },
    service: { type: 'NodePort', nodePort: 30080 },
    defaultServer: 'forgejo',
    oauth: { existingSecret: oauthSecret },
    sessions: { namespace: { name: sessionsNamespace } },
    records: { namespace: { name: recordsNamespace } },
    networkPolicy: { gateway: { opsFrom: [{ ipBlock: { cidr: '0.0.0.0/0' } }] } },
    config: {
      http: { allowedHosts: ['127.0.0.1'] }, // the conformance suite wants an endpoint on loopback
      sessions: { maxPerUser: 60, maxTotal: 110, opensPerMinutePerUser: 0, opensPerMinute: 0 },
      auth: { oauth: { accessTokenLifetime: '1h' } },
    },
    servers: {
      forgejo: {
        command: ['/child'],
        forgejo: { ...forgejo, tokenEnv: ['FORGEJO_TOKEN_READ_ONLY', 'FORGEJO_TOKEN_WRITE'] },
        pod: pod('fmo/child-forgejo-mcp-rs:test'),
      },
      everything,
      conformance: { ...everything, idleTimeout: '30s' },
      fixture,
      brief: { ...fixture, idleTimeout: '5s' },
      'no-image': { ...fixture, pod: pod('fmo/no-such-image:test'), startTimeout: '30s' },
      unschedulable: {
        ...fixture,
        pod: { ...pod('fmo/child-fixture:test'), nodeSelector: { 'no-such': 'node' } },
        startTimeout: '8s',
      },
      crashing: { ...fixture, env: { FIXTURE_START: 'crash' }, startTimeout: '30s' },
      silent: { ...fixture, env: { FIXTURE_START: 'hang' }, startTimeout: '8s' },
    },
  };
}
