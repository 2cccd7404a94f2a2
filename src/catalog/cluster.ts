/**
 * The MCPServers of a namespace beside the servers of the configuration, which win. They are followed by a reflector: one that is made is served a moment later,
 * one that changes counts for what begins from then on, and one that cannot be served is left out and says why.
 */
import type { Clock } from '../clock';
import type { ServerSpec } from '../config/server';
import { AppError } from '../errors';
import type { KubeClient } from '../kube/client';
import { collectionPath } from '../kube/objects';
import { type Projection, Reflector, type Seen } from '../kube/reflector';
import { MCP_SERVERS } from '../resources/group';
import type { Logger } from '../telemetry/log';
import type { CatalogListener, ServerCatalog } from './contract';
import { StaticCatalog } from './static';
import { type Ground, judgeServer, type Verdict } from './verdict';

/**
 * Milliseconds without a word of the API server after which nobody can say that a server is not there. The reflector gives a silent watch up a little earlier,
 * and is told something at least once a minute.
 */
const STALE_MS = 90_000;
/** Seconds after which somebody who asked for such a server may try again. */
const RETRY_SECONDS = 5;

export interface ClusterCatalogOptions {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where the MCPServers are. */
  readonly namespace: string;
  readonly ground: Ground;
}

interface Facts extends Projection {
  readonly generation: number;
  readonly spec: Readonly<Record<string, unknown>>;
}

interface Judged {
  readonly uid: string;
  readonly generation: number;
  readonly verdict: Verdict;
}

export class ClusterCatalog implements ServerCatalog {
  readonly #options: ClusterCatalogOptions;
  readonly #configured: StaticCatalog;
  readonly #reflector: Reflector<Facts>;
  readonly #judged = new Map<string, Judged>();
  readonly #listeners = new Set<CatalogListener>();

  constructor(options: ClusterCatalogOptions) {
    this.#options = options;
    this.#configured = new StaticCatalog(options.ground.servers);
    const { kube, clock, log, namespace } = options;
    this.#reflector = new Reflector({
      ...{ kube, clock, log },
      path: collectionPath(MCP_SERVERS, namespace),
      what: 'servers',
      project: facts,
      refusal: (fault) =>
        new AppError('BACKEND_UNAVAILABLE', 'The MCPServers of the cluster cannot be read.', {
          detail:
            fault.status === 404
              ? 'the cluster has no MCPServers: apply crds/ of the release, or let the chart do it (crds.install)'
              : fault.summary,
          retryAfter: RETRY_SECONDS,
        }),
    });
    this.#reflector.follow((name, seen) => this.#look(name, seen));
  }

  /** Starts, and resolves once all are known. Rejects with `BACKEND_UNAVAILABLE` when `signal` aborts before; it goes on trying all the same. */
  synced(signal: AbortSignal): Promise<void> {
    return this.#reflector.synced(signal);
  }

  /** Resolves when nothing runs any more. */
  stop(): Promise<void> {
    return this.#reflector.stop();
  }

  find(name: string): ServerSpec | undefined {
    const found = this.#configured.find(name) ?? this.#served(name);
    if (found !== undefined || this.#reflector.heardAgo() < STALE_MS) return found;
    throw new AppError(
      'BACKEND_UNAVAILABLE',
      'Whether there is such a server cannot be said just now, because the Kubernetes API does not answer. Try again in a moment.',
      { retryAfter: RETRY_SECONDS },
    );
  }

  all(): readonly ServerSpec[] {
    const ofCluster = [...this.#judged.keys()].flatMap((name) => this.#served(name) ?? []);
    return [...this.#configured.all(), ...ofCluster];
  }

  onChange(listener: CatalogListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** What is said of an MCPServer; undefined for one that is not there. */
  verdict(name: string): Verdict | undefined {
    return this.#judged.get(name)?.verdict;
  }

  #served(name: string): ServerSpec | undefined {
    const verdict = this.#judged.get(name)?.verdict;
    return verdict !== undefined && 'server' in verdict ? verdict.server : undefined;
  }

  #look(name: string, seen: Seen<Facts>): void {
    const before = this.#judged.get(name);
    const served = this.#served(name);
    if (seen === 'gone') {
      this.#judged.delete(name);
    } else {
      // Its status and labels change as well, and say nothing of what it is.
      if (before?.uid === seen.uid && before.generation === seen.generation) return;
      const verdict = judgeServer(name, seen.spec, this.#options.ground);
      this.#judged.set(name, { uid: seen.uid, generation: seen.generation, verdict });
    }
    this.#tell(name, served);
  }

  #tell(name: string, before: ServerSpec | undefined): void {
    const { log } = this.#options;
    const verdict = this.#judged.get(name)?.verdict;
    const now = this.#served(name);
    if (verdict !== undefined && 'refusal' in verdict) {
      log.warn('server.refused', { server: name, reason: verdict.refusal, why: verdict.message });
    } else log.info(now === undefined ? 'server.removed' : 'server.accepted', { server: name });
    if (before === undefined && now === undefined) return;
    for (const listener of [...this.#listeners]) listener(name, now);
  }
}

/** Objects come as the API server has them: the schema holds, and yet nothing is trusted further than its type. */
function facts(value: unknown): Facts | undefined {
  const { metadata, spec } = (value ?? {}) as { metadata?: Partial<Facts>; spec?: unknown };
  const { name, uid, resourceVersion, generation } = metadata ?? {};
  if (name === undefined || uid === undefined) return undefined;
  return {
    name,
    uid,
    resourceVersion: resourceVersion ?? '',
    generation: generation ?? 0,
    spec: typeof spec === 'object' && spec !== null ? (spec as Facts['spec']) : {},
  };
}
