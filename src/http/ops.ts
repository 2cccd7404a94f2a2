/** The operations listener: metrics and health, for Prometheus and the kubelet. Never for the Internet. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Clock } from '../clock';
import { toAppError } from '../errors';
import type { Logger } from '../telemetry/log';
import { sendJson } from './failure';

/** One thing that must work before the gateway can serve. Rejects when it does not. */
export interface ReadinessCheck {
  /** A label of the metric `forgejo_mcp_ready`. */
  readonly name: string;
  check(signal: AbortSignal): Promise<void>;
  /**
   * Whether what it rejected with says no more than that something is away which all gateways share, so that leaving their Service helps nobody. No answer in time counts as that, too.
   * A check without it is of this gateway alone.
   */
  readonly isOutage?: (thrown: unknown) => boolean;
}

export interface OpsOptions {
  readonly checks: readonly ReadinessCheck[];
  /** Milliseconds for each check. */
  readonly timeoutMs: number;
  /** Milliseconds for which a result is used again. */
  readonly cacheMs: number;
  /** Milliseconds for which a check that passed before may fail in an outage while the gateway stays ready. */
  readonly outageMs?: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** The metrics' text and its content type. */
  readonly metrics: { text(): Promise<string>; readonly contentType: string };
  /** What an administrator wants to know besides, and what decides nothing: `source` is whether children's addresses can be trusted. */
  readonly notes: () => Readonly<Record<string, string>>;
  /** Told after each check. */
  readonly observe: (check: string, ready: boolean) => void;
}

type CheckResult =
  | 'ok'
  /** `outage`: it fails, and the gateway is ready all the same. */
  | { readonly code: string; readonly message: string; readonly outage?: true };

/** What /readyz says. `message` names what to look at; what is secret never reaches it (`AppError`). */
export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, CheckResult>>;
  readonly notes: Readonly<Record<string, string>>;
}

/** Runs the checks: all at once, each with its deadline, none more often than `cacheMs`, however many ask. */
export class ReadinessProbe {
  readonly #options: Omit<OpsOptions, 'metrics'>;
  #stopping = false;
  #last: { at: number; result: Promise<Readiness> } | undefined;
  /** When each check passed last. */
  readonly #passed = new Map<string, number>();

  constructor(options: Omit<OpsOptions, 'metrics'>) {
    this.#options = options;
  }

  /** From now on not ready, whatever works: load balancers take the gateway out. */
  stop(): void {
    this.#stopping = true;
  }

  /** Never rejects. */
  async probe(): Promise<Readiness> {
    if (this.#stopping)
      return {
        ready: false,
        checks: { stopping: { code: 'DRAINING', message: 'The gateway is stopping.' } },
        notes: {},
      };
    const { clock, cacheMs } = this.#options;
    if (this.#last === undefined || clock.now() - this.#last.at >= cacheMs) {
      this.#last = { at: clock.now(), result: this.#run() };
    }
    return this.#last.result;
  }

  async #run(): Promise<Readiness> {
    const results = await Promise.all(this.#options.checks.map((check) => this.#one(check)));
    return {
      ready: results.every(([, result]) => result === 'ok' || result.outage === true),
      checks: Object.fromEntries(results),
      notes: this.#options.notes(),
    };
  }

  async #one(check: ReadinessCheck): Promise<[string, CheckResult]> {
    const { timeoutMs, outageMs = 0, clock, observe, log } = this.#options;
    const began = clock.now();
    const deadline = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        deadline.abort();
        reject(new Error('no answer in time'));
      }, timeoutMs).unref();
    });
    try {
      await Promise.race([check.check(deadline.signal), late]);
      this.#passed.set(check.name, began);
      observe(check.name, true);
      return [check.name, 'ok'];
    } catch (thrown) {
      const error = toAppError(thrown);
      observe(check.name, false);
      const isLate = deadline.signal.aborted;
      const isShort = began - (this.#passed.get(check.name) ?? -Infinity) < outageMs;
      const isOutage = isShort && check.isOutage !== undefined && (isLate || check.isOutage(thrown));
      log.warn('ready.failed', { check: check.name, code: error.code, detail: error.detail, ready: isOutage });
      const message = isLate ? 'It did not answer in time.' : error.message;
      return [check.name, { code: error.code, message, ...(isOutage ? { outage: true } : {}) }];
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Serves `/metrics` (Prometheus text format), `/healthz` (200 while the event loop turns: it is the answer itself that proves it) and
 * `/readyz` (200, or 503; with what fails).
 */
export function opsHandler(probe: ReadinessProbe, metrics: OpsOptions['metrics']): RequestListener {
  return (req: IncomingMessage, res: ServerResponse) => {
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.setHeader('Allow', 'GET, HEAD');
      sendJson(res, 405, '{"error":"only GET is served here"}');
      return;
    }
    void answer(req, res, probe, metrics).catch(() => {
      if (!res.headersSent) sendJson(res, 500, '{"error":"internal"}');
      else res.destroy();
    });
  };
}

async function answer(
  req: IncomingMessage,
  res: ServerResponse,
  probe: ReadinessProbe,
  metrics: OpsOptions['metrics'],
): Promise<void> {
  switch ((req.url ?? '').split('?')[0]) {
    case '/metrics': {
      const text = await metrics.text();
      res.writeHead(200, { 'Content-Type': metrics.contentType, 'Content-Length': Buffer.byteLength(text) });
      res.end(text);
      return;
    }
    case '/healthz':
      sendJson(res, 200, '{"status":"ok"}');
      return;
    case '/readyz': {
      const readiness = await probe.probe();
      sendJson(res, readiness.ready ? 200 : 503, JSON.stringify(readiness));
      return;
    }
    default:
      sendJson(res, 404, '{"error":"there are /metrics, /healthz and /readyz"}');
  }
}
