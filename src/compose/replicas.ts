/** The other gateways of an install: who of them lives, and the way to them. */
import type { Clock } from '../clock';
import type { Config } from '../config/load';
import { AppError } from '../errors';
import type { ProxyElsewhere } from '../forgejo/proxy/elsewhere';
import type { McpOptions } from '../http/mcp/routes';
import type { ReadinessCheck } from '../http/ops';
import type { KubeClient } from '../kube/client';
import { Certificates } from '../peers/certificates';
import type { PeerListener, PeerService, Replicas } from '../peers/contract';
import { openPeerListener } from '../peers/listener';
import { createPeers } from '../peers/peers';
import { createReplicas } from '../peers/replicas';
import type { Holders } from '../sessions/holders';
import type { Logger } from '../telemetry/log';
import type { Metrics } from '../telemetry/metrics';
import { peerObserver } from '../telemetry/observers';
import { elsewhereBy } from './elsewhere';
import { forgeElsewhere } from './forge-elsewhere';
import { gatewaysBy, ownsBy } from './gateways';

/** Milliseconds for this gateway's Lease to be made. */
const START_MS = 30_000;
/** Milliseconds for requests of others to end when this gateway stops. */
const CLOSE_MS = 2_000;

/** The replicas where sessions are shared. */
export interface Shared {
  readonly replicas: Replicas;
  /** The same for whoever holds sessions. */
  readonly holders: Holders;
  /** Whether requests of the stateless era come to this one, by what says which of them share a child. */
  owns(key: string): boolean;
  /** What has to work before this gateway can be one among others. */
  readonly checks: readonly ReadinessCheck[];
  /** The credential proxy's way to the others; undefined where there is none. */
  readonly forge: ProxyElsewhere | undefined;
  /** Takes requests of the others from now on. Resolves with the ways to them. */
  open(service: PeerService): Promise<Pick<McpOptions, 'elsewhere' | 'gateways'>>;
  /** Tells the others to come no more; what is with this one is answered. */
  drain(): void;
  /** Takes nothing of the others any more. Call it once this gateway's sessions are given up. Never rejects. */
  close(): Promise<void>;
  /** Leaves: nothing is sent on any more. Never rejects. */
  stop(): Promise<void>;
}

/**
 * Makes this gateway one of the install's replicas: from now on its Lease says that it lives. Undefined where sessions are not shared.
 * @throws AppError `STORE_UNAVAILABLE`, `CONFIG_INVALID`.
 */
export async function joinReplicas(
  { sessions, replicas: own, operator, backend }: Config,
  kube: KubeClient | undefined,
  { clock, log, metrics, signal }: { clock: Clock; log: Logger; metrics: Metrics; signal: AbortSignal },
): Promise<Shared | undefined> {
  if (sessions.driver !== 'kubernetes') return undefined;
  const { namespace } = operator;
  if (kube === undefined || namespace === undefined || own.address === undefined) {
    throw new AppError(
      'CONFIG_INVALID',
      'sessions.driver kubernetes needs a Kubernetes API, operator.namespace and replicas.address.',
    );
  }
  const replicas = createReplicas({
    ...{ kube, namespace, install: backend.installId, address: own.address, owner: operator.lease, clock, log },
  });
  await replicas.start(AbortSignal.any([signal, AbortSignal.timeout(START_MS)]));
  const observer = peerObserver(metrics);
  const certificates =
    own.certificates === undefined ? undefined : new Certificates({ folder: own.certificates, clock, log });
  let listener: PeerListener | undefined;
  const peers =
    certificates === undefined ? undefined : createPeers({ self: replicas.self, certificates, clock, observer });
  if (peers !== undefined) replicas.onGone((name) => peers.cut(name));
  return {
    replicas,
    holders: holdersBy(replicas),
    // It fails at the start only: what was once read is kept.
    checks: certificates === undefined ? [] : [{ name: 'peers', check: () => certificates.check() }],
    owns: peers === undefined ? () => true : ownsBy(replicas),
    forge: peers === undefined ? undefined : forgeElsewhere(peers, replicas),
    async open(service) {
      const elsewhere = elsewhereBy(peers, replicas, clock);
      if (certificates === undefined || peers === undefined) return { elsewhere };
      await certificates.start();
      listener = await openPeerListener({ self: replicas.self, listen: own.listen, certificates, service, observer });
      return { elsewhere, gateways: gatewaysBy(peers, replicas) };
    },
    drain: () => listener?.drain(),
    close: async () => listener?.close(CLOSE_MS),
    async stop() {
      await listener?.close(0);
      peers?.close();
      certificates?.stop();
      await replicas.stop();
    },
  };
}

function holdersBy(replicas: Replicas): Holders {
  let doubts = 0;
  replicas.onSureAgain(() => (doubts += 1));
  return {
    self: replicas.self,
    get isSure() {
      return replicas.isSure;
    },
    get doubts() {
      return doubts;
    },
    isAlive: (holder) => replicas.isAlive(holder),
  };
}
