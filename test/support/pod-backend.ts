/** The pod driver on the test cluster, in a namespace of its own. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { PodBackend, type PodBackendOptions } from '../../src/backends/pod/driver';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { podManifest } from '../../src/backends/pod/manifest';
import { podName, podSuffix } from '../../src/backends/pod/names';
import type { ServerSpec } from '../../src/config/server';
import { cluster, createNamespace, deleteNamespaces, kubectl, loadImage } from './cluster';
import { sessionName } from '../contract/backend';
import { keptLog, type KeptLog } from './silent-log';

const INSTALL = 'test';

export interface PodRig {
  readonly namespace: string;
  readonly kube: KubeClient;
  readonly log: KeptLog;
  backend(changes?: Partial<PodBackendOptions>): PodBackend;
  /** Names of the pods that are there. */
  pods(): Promise<readonly string[]>;
  /** A pod as a killed gateway leaves it. */
  abandon(server: ServerSpec, run?: string, install?: string): Promise<string>;
  close(): Promise<void>;
}

/** Loads images by their names in test/images and makes a namespace of the `restricted` level. */
export async function podRig(...images: readonly string[]): Promise<PodRig> {
  const build = join(__dirname, '..', 'images', 'build.sh');
  const archives = execFileSync(build, images, {
    encoding: 'utf8',
    timeout: 900_000,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
    .trim()
    .split('\n');
  await loadImage(...archives);
  const namespace = await createNamespace('fmo-pods', { 'pod-security.kubernetes.io/enforce': 'restricted' });
  const kube = new KubeClient(new Credentials(cluster().kubeconfig));
  const log = keptLog();
  return {
    namespace,
    kube,
    log,
    backend: (changes = {}) =>
      new PodBackend({ kube, namespace, install: INSTALL, run: randomBytes(8).toString('hex'), log, ...changes }),
    pods: async () =>
      (await kubectl(['-n', namespace, 'get', 'pods', '-o', 'name'])).split('\n').filter((line) => line !== ''),
    async abandon(server, run = 'killed', install = INSTALL) {
      const name = podName(sessionName(), podSuffix());
      const session = sessionName();
      const body = podManifest({
        name,
        namespace,
        install,
        run,
        component: 'session',
        server,
        session,
        user: 'u1',
        userNamespace: false,
      });
      await kube.core((api, options) => api.createNamespacedPod({ namespace, body }, options));
      return name;
    },
    async close() {
      await kube.close();
      await deleteNamespaces(namespace);
    },
  };
}
