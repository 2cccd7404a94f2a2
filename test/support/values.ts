/** The chart's values for tests and `make up`: a server for each thing that must be seen to work, or to fail well. */
import type { ClusterForge } from './cluster-forge';

/** @param publicUrl where clients reach the gateway. */
export function chartValues(
  publicUrl: string,
  forge: Pick<ClusterForge, 'publicUrl' | 'apiUrl'>,
  sessionsNamespace: string,
  image: string,
): Record<string, unknown> {
  const forgejo = { url: forge.publicUrl, apiUrl: forge.apiUrl };
  const pod = (image: string) => ({
    image,
    imagePullPolicy: 'Never',
    requests: { cpu: '10m', memory: '16Mi' },
    limits: { cpu: '1', memory: '128Mi' },
  });
  const fixture = { command: ['/child'], forgejo, pod: pod('fmo/child-fixture:test'), stopGrace: '2s' };
  return {
    image: { repository: 'fmo/gateway', tag: 'test', pullPolicy: 'Never' },
    publicUrl,
    gateway: { podAnnotations: { 'test/image': image } },
    service: { type: 'NodePort', nodePort: 30080 },
    defaultServer: 'forgejo',
    sessions: { namespace: { name: sessionsNamespace } },
    networkPolicy: { gateway: { opsFrom: [{ ipBlock: { cidr: '0.0.0.0/0' } }] } },
    config: { sessions: { maxPerUser: 60, maxTotal: 110, opensPerMinutePerUser: 0, opensPerMinute: 0 } },
    servers: {
      forgejo: {
        command: ['/child'],
        forgejo: { ...forgejo, tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'] },
        pod: pod('fmo/child-forgejo-mcp-rs:test'),
      },
      everything: { command: ['/child'], forgejo, pod: pod('fmo/child-everything:test') },
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
