/** A server as tests need it: everything valid, nothing special. */
import type { PodSpec, ServerSpec } from '../../src/config/server';

export interface SpecChanges extends Partial<Omit<ServerSpec, 'pod'>> {
  readonly pod?: Partial<PodSpec>;
}

export function serverSpec(changes: SpecChanges = {}): ServerSpec {
  return {
    name: 'fixture',
    command: ['/child'],
    env: {},
    forgejo: {
      url: 'https://forge.example',
      apiUrl: 'https://forge.example',
      storageOrigins: [],
      urlEnv: 'FORGEJO_URL',
      tokenEnv: ['FORGEJO_ACCESS_TOKEN'],
      insecureAllowSiteAdmins: false,
    },
    pool: { min: 0, max: 0, maxAge: 3_600 },
    isolation: { namespace: 'Shared' },
    policy: { access: 'write', owners: ['*'], repositories: ['*'], insecureAllowRoutes: [] },
    protocolEra: 'auto',
    idleTimeout: 300,
    sessionTTL: 86_400,
    maxLifetime: 0,
    startTimeout: 60,
    callTimeout: 60,
    stopGrace: 5,
    maxLineBytes: 16 * 1024 * 1024,
    maxCallsInFlight: 64,
    maxSessions: 0,
    stateful: false,
    paused: false,
    drain: false,
    ...changes,
    pod: {
      image: 'fmo/child-fixture:test',
      imagePullPolicy: 'Never',
      imagePullSecrets: [],
      userNamespaces: 'off',
      nodeSelector: {},
      tolerations: [],
      requests: { cpu: '10m', memory: '32Mi' },
      limits: { memory: '128Mi' },
      labels: {},
      annotations: {},
      launcher: 'builtin',
      ...changes.pod,
    },
  };
}
