/** What the credential proxy is handed. It knows sessions by name only and never sees an MCP client's bearer. */
import type { ServerSpec } from '../config/server';

/** A live session as the proxy needs it. */
export interface ProxySession {
  readonly name: string;
  readonly server: ServerSpec;
  /** For `ForgejoTokens.token`. */
  readonly grant: string;
  /** `write` only where both the server's policy and the grant's scopes allow it. */
  readonly access: 'read' | 'write';
  /** The child that holds the capability now: `BackendAddress.instance` and `.ip`. */
  readonly instance: string;
  readonly ip: string | undefined;
  readonly userId: string;
}

/** Looks a live session up by name; undefined once it has ended, at once. */
export type FindProxySession = (name: string) => ProxySession | undefined;

/** Mints the token that a child presents to the proxy: signed, naming session and instance, worth nothing elsewhere. */
export interface Capabilities {
  mint(session: string, instance: string): string;
  /** Verifies the signature in constant time and returns what it names; undefined when it is not ours. */
  verify(token: string): { readonly session: string; readonly instance: string } | undefined;
}
