/** What the credential proxy is handed. It knows sessions by name only and never sees an MCP client's bearer. */
import type { Choice } from '../auth/context';
import type { ServerSpec } from '../config/server';
import type { ErrorCode } from '../errors';

/** A live session as the proxy needs it. */
export interface ProxySession {
  readonly name: string;
  readonly server: ServerSpec;
  /** For `ForgejoTokens.token`. */
  readonly grant: string;
  /** `write` only where the server's policy, the session's scopes and the grant's scopes as they are now all allow it. */
  readonly access: 'read' | 'write';
  /** What the user lets the session touch, as it is now: it may change while the session lives. */
  readonly choice?: Choice;
  /** The child that holds the capability now: `BackendAddress.instance` and `.ip`. */
  readonly instance: string;
  readonly ip: string | undefined;
  readonly userId: string;
}

/** A session whose token another gateway has, and no other: its child's requests go on to that one. */
export interface ProxySessionElsewhere extends Pick<ProxySession, 'name' | 'server' | 'grant' | 'userId'> {
  /** The gateway as records name it, and the generation in which it has the session. */
  readonly holder: string;
  readonly generation: number;
}

/**
 * Looks a live session up by name, with what its grant allows now; undefined once it, or its grant, has ended. Rejects with `STORE_UNAVAILABLE` where
 * that cannot be told, and with `FORGE_TOKEN_UNAVAILABLE` where no gateway has its token.
 * @param fresh what is remembered of it was found wrong.
 */
export type FindProxySession = (
  name: string,
  fresh?: boolean,
) => Promise<ProxySession | ProxySessionElsewhere | undefined>;

/** Mints the token that a child presents to the proxy: signed, naming session and instance, worth nothing elsewhere. */
export interface Capabilities {
  mint(session: string, instance: string): string;
  /** Verifies the signature in constant time and returns what it names; undefined when it is not ours. */
  verify(token: string): { readonly session: string; readonly instance: string } | undefined;
}

/** One request at the proxy, once it is over. Holds no URL, query, token or address: safe for the audit log and, by its enums, for metrics. */
export interface ProxyEvent {
  /** The session's name; undefined where the capability was not ours. */
  readonly session: string | undefined;
  readonly server: string | undefined;
  readonly userId: string | undefined;
  /** `OTHER` for a method that the proxy does not know. */
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OTHER';
  /** The route's template, `none` where none matched. Bounded by the table. */
  readonly route: string;
  readonly class: 'read' | 'write' | 'never' | 'unknown';
  /**
   * `forwarded`: the forge answered; `copied`: answered from the gateway's copy; `refused`: by policy or hygiene; `failed`: forge or token could
   * not be had; `cancelled`: the child went away first.
   */
  readonly outcome: 'forwarded' | 'copied' | 'refused' | 'failed' | 'cancelled';
  /** Why it was refused or failed. */
  readonly code: ErrorCode | undefined;
  /** The policy's reason, a stable name (`never`, `access`, `owner`, `repository`, `wide`, `reference`, `redirect`); undefined otherwise. */
  readonly reason: string | undefined;
  /** The status that the child saw; 0 where it saw none. */
  readonly status: number;
  readonly seconds: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** What the proxy tells its observer; for metrics. Called synchronously: must not throw and must be quick. */
export interface ProxyObserver {
  /** A request began; one `finished` or `sentOn` follows for each. */
  started(): void;
  finished(event: ProxyEvent): void;
  /** It went on to another gateway, which counts it, or came from one that is told to send it elsewhere. */
  sentOn(): void;
}

/**
 * Whether the network shows the proxy its children's own addresses. `unproven` until the first child came; `preserved` is kept for good and
 * enforced from then on; `rewritten`: a child came from another address than its own, and none from its own yet; `off`: not checked.
 */
export type SourceState = 'unproven' | 'preserved' | 'rewritten' | 'off';
