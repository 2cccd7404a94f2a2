/**
 * The one error type of the product and the one table that maps its codes to what a client sees.
 *
 * `message` is public: it says what happened and what to do, and holds no secret. `detail` is private: it goes to the log only.
 */

/** What a code means on the wire: the HTTP status, the JSON-RPC error number, and whether a `Retry-After` is due. */
export interface ErrorMeaning {
  readonly status: number;
  readonly rpc: number;
}

/**
 * JSON-RPC numbers: -32700 to -32600 are JSON-RPC 2.0's own; -32001 is what MCP clients match for a lost session; -32000 is the
 * server error that MCP SDKs use for transport faults. -32020 to -32022 are MCP 2026-07-28's own.
 */
export const ERRORS = {
  // Who is asking (RFC 6750)
  AUTH_MISSING: { status: 401, rpc: -32000 },
  AUTH_INVALID: { status: 401, rpc: -32000 },
  AUTH_CONTEXT_ABSENT: { status: 500, rpc: -32603 },
  AUTH_UNAVAILABLE: { status: 503, rpc: -32000 },
  AUTH_REFUSED: { status: 403, rpc: -32000 },
  AUTH_SCOPE: { status: 403, rpc: -32000 },
  AUTH_RATE: { status: 503, rpc: -32000 },
  ORIGIN_REFUSED: { status: 403, rpc: -32000 },
  HOST_REFUSED: { status: 403, rpc: -32000 },

  // Which OAuth client (RFC 6749, 5.2; RFC 7591, 3.2.2)
  CLIENT_INVALID: { status: 400, rpc: -32000 },
  CLIENT_METADATA_INVALID: { status: 400, rpc: -32000 },
  CLIENT_REDIRECT_INVALID: { status: 400, rpc: -32000 },
  CLIENT_UNAVAILABLE: { status: 503, rpc: -32000 },
  CLIENT_RATE: { status: 429, rpc: -32000 },

  // Which session
  SESSION_ID_MISSING: { status: 400, rpc: -32600 },
  SESSION_UNKNOWN: { status: 410, rpc: -32001 },
  SESSION_ENDED: { status: 404, rpc: -32001 },
  SESSION_FORBIDDEN: { status: 403, rpc: -32000 },
  MISDIRECTED: { status: 421, rpc: -32000 },
  SESSION_CAP_USER: { status: 503, rpc: -32000 },
  SESSION_CAP_SERVER: { status: 503, rpc: -32000 },
  SESSION_CAP_INSTALL: { status: 503, rpc: -32000 },
  SPAWN_RATE: { status: 503, rpc: -32000 },
  DRAINING: { status: 503, rpc: -32000 },
  SERVER_PAUSED: { status: 503, rpc: -32000 },
  SERVER_DRAINING: { status: 503, rpc: -32000 },
  STORE_UNAVAILABLE: { status: 503, rpc: -32000 },
  WAKE_FAILED: { status: 503, rpc: -32000 },

  // What was sent
  SERVER_UNKNOWN: { status: 404, rpc: -32600 },
  METHOD_NOT_ALLOWED: { status: 405, rpc: -32000 },
  NOT_ACCEPTABLE: { status: 406, rpc: -32000 },
  BODY_TOO_LARGE: { status: 413, rpc: -32600 },
  OVERLOADED: { status: 503, rpc: -32000 },
  CONTENT_TYPE: { status: 415, rpc: -32000 },
  PARSE: { status: 400, rpc: -32700 },
  INVALID_REQUEST: { status: 400, rpc: -32600 },
  PROTOCOL_VERSION: { status: 400, rpc: -32000 },
  EVENT_UNKNOWN: { status: 400, rpc: -32000 },
  NOT_FOUND: { status: 404, rpc: -32600 },
  PARAMS_INVALID: { status: 400, rpc: -32602 },
  HEADER_MISMATCH: { status: 400, rpc: -32020 },
  VERSION_UNSUPPORTED: { status: 400, rpc: -32022 },
  METHOD_UNKNOWN: { status: 404, rpc: -32601 },

  // The child behind the session
  BACKEND_UNSCHEDULABLE: { status: 503, rpc: -32000 },
  BACKEND_IMAGE: { status: 502, rpc: -32000 },
  BACKEND_CRASHED: { status: 502, rpc: -32000 },
  BACKEND_START_DEADLINE: { status: 503, rpc: -32000 },
  BACKEND_REFUSED: { status: 502, rpc: -32000 },
  BACKEND_UNAVAILABLE: { status: 503, rpc: -32000 },
  BACKEND_ENDED: { status: 502, rpc: -32000 },
  LINK_CLOSED: { status: 502, rpc: -32000 },
  CALL_DEADLINE: { status: 504, rpc: -32000 },
  CALLS_TOO_MANY: { status: 503, rpc: -32000 },
  LINE_TOO_LONG: { status: 502, rpc: -32000 },
  STREAM_STALLED: { status: 500, rpc: -32000 },
  ANSWER_LOST: { status: 500, rpc: -32000 },

  // The forge and the credential proxy
  CAPABILITY_INVALID: { status: 401, rpc: -32000 },
  POLICY_REFUSED: { status: 403, rpc: -32000 },
  ROUTE_REFUSED: { status: 403, rpc: -32000 },
  REQUEST_REFUSED: { status: 400, rpc: -32600 },
  UPSTREAM_UNREACHABLE: { status: 502, rpc: -32000 },
  UPSTREAM_TIMEOUT: { status: 504, rpc: -32000 },
  UPSTREAM_INVALID: { status: 502, rpc: -32000 },
  FORGE_TOKEN_UNAVAILABLE: { status: 503, rpc: -32000 },
  FORGE_LOGIN_DENIED: { status: 403, rpc: -32000 },
  FORGE_LOGIN_INVALID: { status: 400, rpc: -32600 },
  FORGE_LOGIN_CONFIG: { status: 502, rpc: -32000 },

  CONFIG_INVALID: { status: 500, rpc: -32603 },
  INTERNAL: { status: 500, rpc: -32603 },
} as const satisfies Record<string, ErrorMeaning>;

/** A stable error code; the key of {@link ERRORS}. */
export type ErrorCode = keyof typeof ERRORS;

export interface AppErrorOptions {
  /** For the log only; may name pods, hosts and files, never a secret. */
  readonly detail?: string;
  readonly cause?: unknown;
  /** Seconds until a retry makes sense (RFC 9110, 10.2.3). */
  readonly retryAfter?: number;
  /** Public: further members of the JSON-RPC error's `data`. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** An error with a stable code. Everything that reaches a client is one of these. */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly retryAfter: number | undefined;
  readonly data: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
    this.retryAfter = options.retryAfter;
    this.data = options.data;
  }

  /** The HTTP status for this code. */
  get status(): number {
    return ERRORS[this.code].status;
  }

  /** The JSON-RPC error number for this code. */
  get rpc(): number {
    return ERRORS[this.code].rpc;
  }
}

/** Wraps anything thrown into an {@link AppError}; what is not one already becomes `INTERNAL` with a message that tells nothing. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  return new AppError(
    'INTERNAL',
    'Something went wrong inside the gateway. Try again; if it stays, give the request id to your administrator.',
    {
      detail: thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : typeof thrown,
      cause: thrown,
    },
  );
}
