/** What is kept of a failed Kubernetes call: never client-node's own error objects, which print tokens and keys when inspected. */

/** Longest message of a Status that is kept; admission webhooks may answer with essays. */
const MESSAGE_MAX = 1000;

/** A failed call. `status` is 0 where no answer came. Holds status, reason and message of the API's `Status` (meta/v1) and nothing else. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly status: number;
  /** `Status.reason`, for example `AlreadyExists`; or ours: `Timeout`, `Unreachable`, `Credentials`. */
  readonly reason: string;
  /** Seconds, from Retry-After (RFC 9110, 10.2.3). */
  readonly retryAfter: number | undefined;

  constructor(status: number, reason: string, message: string, retryAfter?: number) {
    super(message.slice(0, MESSAGE_MAX));
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }

  /**
   * Whether it says no more than that the API is away: nobody answered, or the server could not do its work at all. Who is refused has been answered.
   */
  get isAway(): boolean {
    if (this.status === 0) return this.reason === 'Timeout' || this.reason === 'Unreachable';
    return this.status === 429 || this.status >= 500;
  }

  /** One line for a log. */
  get summary(): string {
    return `${this.status === 0 ? 'no answer' : String(this.status)} ${this.reason}: ${this.message}`;
  }
}

/** Reads a failed call's answer. A body that is no Status is dropped: it may be a proxy's page. */
export function fromAnswer(status: number, body: string, retryAfter?: string): KubeError {
  const seconds = Number(retryAfter);
  const wait = retryAfter !== undefined && Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined;
  const { reason, message } = statusOf(body);
  return new KubeError(status, reason ?? 'Unknown', message ?? 'the answer was no Kubernetes Status', wait);
}

/** Names a fault below HTTP by its code alone (`ECONNREFUSED`): the error itself may hold the request with its headers. */
export function fromFault(thrown: unknown): KubeError {
  if (thrown instanceof KubeError) return thrown;
  return new KubeError(0, 'Unreachable', faultCode(thrown));
}

/** The code of a connection fault, looked for in causes as well; `fault` where there is none. */
export function faultCode(thrown: unknown): string {
  for (let at: unknown = thrown, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const code = (at as NodeJS.ErrnoException).code;
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,48}$/.test(code)) return code;
    if (at instanceof AggregateError && at.errors.length > 0) {
      const inner = faultCode(at.errors[0]);
      if (inner !== 'fault') return inner;
    }
  }
  return 'fault';
}

/** `reason` and `message` of a Status given as text; both absent where it is none. */
export function statusOf(text: string): { reason?: string; message?: string } {
  try {
    const value: unknown = JSON.parse(text);
    if (value === null || typeof value !== 'object' || (value as { kind?: unknown }).kind !== 'Status') return {};
    const { reason, message } = value as { reason?: unknown; message?: unknown };
    return {
      ...(typeof reason === 'string' && reason !== '' ? { reason } : {}),
      ...(typeof message === 'string' ? { message } : {}),
    };
  } catch {
    return {};
  }
}

/** Whether an error, or what caused it, says that the API is away; see {@link KubeError.isAway}. */
export function isAway(thrown: unknown): boolean {
  for (let at: unknown = thrown, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof KubeError) return at.isAway;
  }
  return false;
}
