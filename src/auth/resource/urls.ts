/** The URLs of the MCP servers as OAuth resources (RFC 8707): what each is called, and what clients call it. */

/** Path of the default server. */
const DEFAULT_PATH = '/mcp';
const SSE_PATH = '/sse';

export class ResourceUrls {
  /** The gateway's public base URL without a trailing slash; the authorization server's issuer as well. */
  readonly base: string;
  readonly #defaultServer: string;
  /** Paths with the server that answers there. */
  readonly #paths = new Map<string, string>();
  /** The same for the transport of 2024-11-05. Tokens never name these: a client that asks for one gets a token for the server's own URL. */
  readonly #ssePaths = new Map<string, string>();

  /**
   * @param publicUrl the gateway's public origin.
   * @throws RangeError where the default server is not among the servers, or the URL has a path.
   */
  constructor(publicUrl: string, servers: readonly string[], defaultServer: string) {
    const url = new URL(publicUrl);
    if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
      throw new RangeError('the public URL is an origin');
    if (!servers.includes(defaultServer)) throw new RangeError('the default server is none of the servers');
    this.base = url.origin;
    this.#defaultServer = defaultServer;
    this.#paths.set(DEFAULT_PATH, defaultServer);
    this.#ssePaths.set(SSE_PATH, defaultServer);
    for (const server of servers) {
      this.#paths.set(`/servers/${server}/mcp`, server);
      this.#ssePaths.set(`/servers/${server}${SSE_PATH}`, server);
    }
  }

  /** The resource that tokens for a server name as their audience. */
  of(server: string): string {
    return server === this.#defaultServer ? `${this.base}${DEFAULT_PATH}` : `${this.base}/servers/${server}/mcp`;
  }

  /** The default server's resource: what a request that names none is for. */
  get default(): string {
    return this.of(this.#defaultServer);
  }

  /** All audiences that a server accepts: its URL; the default one both of its URLs. */
  audiences(server: string): readonly string[] {
    return [...this.#paths].filter(([, name]) => name === server).map(([path]) => `${this.base}${path}`);
  }

  /** The paths at which servers answer. */
  get paths(): readonly string[] {
    return [...this.#paths.keys()];
  }

  /** The server at a path of ours. */
  serverAt(path: string): string | undefined {
    return this.#paths.get(path) ?? this.#ssePaths.get(path);
  }

  /**
   * The resource that a client's `resource` parameter means: the host's case and a trailing slash make no difference, and the bare origin,
   * which real clients send, is the default server. Undefined for anything that is not ours.
   */
  canonical(resource: string): string | undefined {
    const url = URL.parse(resource);
    if (url === null || url.origin !== this.base || url.search !== '' || url.hash !== '') return undefined;
    if (url.username !== '' || url.password !== '') return undefined;
    const path = url.pathname.endsWith('/') ? url.pathname.slice(0, -1) : url.pathname;
    const server = path === '' ? this.#defaultServer : this.serverAt(path);
    return server === undefined ? undefined : this.of(server);
  }
}
