/** The URLs of the MCP servers as OAuth resources (RFC 8707): what each is called, and what clients call it. */

/** Path of the default server. */
const DEFAULT_PATH = '/mcp';
const SSE_PATH = '/sse';

/** Path of every server by its name, for either transport. */
const BY_NAME = /^\/servers\/([^/]+)(\/mcp|\/sse)$/;

export class ResourceUrls {
  /** The gateway's public base URL without a trailing slash; the authorization server's issuer as well. */
  readonly base: string;
  readonly #isServer: (name: string) => boolean;
  readonly #defaultServer: string;

  /**
   * @param publicUrl the gateway's public origin.
   * @param isServer whether there is a server of that name now.
   * @throws RangeError where the default server is none, or the URL has a path.
   */
  constructor(publicUrl: string, isServer: (name: string) => boolean, defaultServer: string) {
    const url = new URL(publicUrl);
    if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
      throw new RangeError('the public URL is an origin');
    if (!isServer(defaultServer)) throw new RangeError('the default server is none of the servers');
    this.base = url.origin;
    this.#isServer = isServer;
    this.#defaultServer = defaultServer;
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
    if (!this.#isServer(server)) return [];
    const own = `${this.base}/servers/${server}${DEFAULT_PATH}`;
    return server === this.#defaultServer ? [this.default, own] : [own];
  }

  /** The server whose MCP endpoint is at a path; tokens name these, and not those of the transport of 2024-11-05. */
  endpointAt(path: string): string | undefined {
    return path.endsWith(SSE_PATH) ? undefined : this.serverAt(path);
  }

  /** The server at a path of ours, whichever transport's it is. */
  serverAt(path: string): string | undefined {
    if (path === DEFAULT_PATH || path === SSE_PATH) return this.#defaultServer;
    const name = BY_NAME.exec(path)?.[1];
    return name !== undefined && this.#isServer(name) ? name : undefined;
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
