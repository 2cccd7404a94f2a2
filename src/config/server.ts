/**
 * A server (`MCPServer`): what to run for each session. A part of the configuration, a YAML file's `spec`, or the custom resource's.
 * Times are seconds here and in the schema; `config/load.ts` reads `5m` and the like.
 */

/** Which owners and repositories sessions of a server may touch, and how. */
export interface ServerPolicy {
  /** `read`: only routes marked read; `write`: both. */
  readonly access: 'read' | 'write';
  /** Owner names (users or organisations), `*` for any. Compared without case, as Forgejo does. */
  readonly owners: readonly string[];
  /** `owner/name`, `owner/*` or `*`. A repository is allowed where its owner is allowed and it matches one of these. */
  readonly repositories: readonly string[];
  /** Route templates (`METHOD /path/{x}`) that are marked `never` and that this server opens all the same. */
  readonly insecureAllowRoutes: readonly string[];
}

/** One of the gateway's OAuth applications at a forge. */
export interface ForgeApplicationSpec {
  readonly clientId: string;
  /** File with the client secret and nothing else. */
  readonly clientSecretFile: string;
  /** API scopes that users grant to it. Never none: without one the forge grants full access. */
  readonly scopes: readonly string[];
}

/** What the credential proxy and the child need to know of the forge. */
export interface ForgejoSpec {
  /** The forge's public base URL (browser, links), without a trailing slash. */
  readonly url: string;
  /** The base URL for API calls from the gateway; the public one unless set. */
  readonly apiUrl: string;
  /** Origins of object storage that downloads may be redirected to; fetched without Authorization. */
  readonly storageOrigins: readonly string[];
  /** Name of the child's environment variable for the forge's URL. forgejo-mcp: `FORGEJO_URL`. */
  readonly urlEnv: string;
  /** Names of the child's environment variables for the token. forgejo-mcp: `FORGEJO_ACCESS_TOKEN`. */
  readonly tokenEnv: readonly string[];
  /** Sessions of a site administrator's token are refused unless set. */
  readonly insecureAllowSiteAdmins: boolean;
  /** The applications that users log in with, for reading and for writing; there with `auth.mode: oauth`. */
  readonly applications?: Readonly<Record<'read' | 'write', ForgeApplicationSpec>>;
}

/** Settings of a session's pod; ignored by the process driver. */
export interface PodSpec {
  /** Child image, by digest where possible. */
  readonly image: string;
  readonly imagePullPolicy: 'IfNotPresent' | 'Always' | 'Never';
  readonly imagePullSecrets: readonly string[];
  /** `auto` uses user namespaces where a canary pod proved them. */
  readonly userNamespaces: 'auto' | 'on' | 'off';
  readonly runtimeClassName?: string;
  readonly priorityClassName?: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly Readonly<Record<string, unknown>>[];
  /** Kubernetes quantities, for example `{ cpu: '50m', memory: '32Mi' }`. */
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /**
   * `builtin`: the image has the launcher at `/launcher`; `inject`: an init container of `launcherImage` copies it in, and `command` names the child.
   */
  readonly launcher: 'builtin' | 'inject';
  readonly launcherImage?: string;
}

/** Pods that wait for a session; ignored by the process driver. */
export interface PoolSpec {
  readonly min: number;
  /** At least `min`; 0: no pool. */
  readonly max: number;
  /** Seconds for which a pod may wait. */
  readonly maxAge: number;
}

/** How sessions are kept apart; ignored by the process driver. */
export interface IsolationSpec {
  /** `Shared`: all sessions of the install are in one namespace; `PerUser`: those of each user are in a namespace of their own. */
  readonly namespace: 'Shared' | 'PerUser';
}

/** One server. */
export interface ServerSpec {
  /** DNS label; the path is `/servers/<name>/mcp`. */
  readonly name: string;
  /** The child's program and arguments. Never holds a secret. */
  readonly command: readonly string[];
  /** Plain environment for the child; no secrets. */
  readonly env: Readonly<Record<string, string>>;
  readonly forgejo: ForgejoSpec;
  readonly policy: ServerPolicy;
  readonly pod: PodSpec;
  readonly pool: PoolSpec;
  readonly isolation: IsolationSpec;
  /** Which era of MCP the child speaks: `auto` asks it, `legacy` is the one with `initialize`, `modern` 2026-07-28 and later. */
  readonly protocolEra: 'auto' | 'legacy' | 'modern';
  /** Seconds without a call until the reaper ends the session's child, or the session where it cannot sleep. */
  readonly idleTimeout: number;
  /** Seconds since the last activity after which a session is gone for good. */
  readonly sessionTTL: number;
  /** Seconds since its start after which a session is ended for good; 0: no limit. */
  readonly maxLifetime: number;
  /** Seconds for a child to come up, image pull included. */
  readonly startTimeout: number;
  /** Seconds for one call. */
  readonly callTimeout: number;
  /** Seconds between EOF and SIGTERM, and between SIGTERM and SIGKILL. */
  readonly stopGrace: number;
  /** Bytes of the longest line that the child may write. */
  readonly maxLineBytes: number;
  /** Calls that one session may have in flight. */
  readonly maxCallsInFlight: number;
  /** Sessions of this server at once; 0: no limit of its own. */
  readonly maxSessions: number;
  /** A session of it ends where it would otherwise hibernate: another child could not take over what this one keeps. */
  readonly stateful: boolean;
  /** No new sessions are opened. */
  readonly paused: boolean;
  /** No new sessions are opened, and those that there are end. */
  readonly drain: boolean;
}
