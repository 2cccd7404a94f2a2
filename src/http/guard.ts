/** Host and Origin checks against DNS rebinding (MCP transports, 'Security Warning'), and CORS for browser clients that are allowed. */
import { AppError } from '../errors';
import type { Handler, Incoming, Outgoing } from './handler';

export interface GuardOptions {
  /** The URL under which clients reach the gateway, without a path. */
  readonly publicUrl: string;
  /** Further names in `Host`, with or without a port. */
  readonly allowedHosts: readonly string[];
  /** Origins of browser clients, for example `https://inspector.example.org`. */
  readonly allowedOrigins: readonly string[];
  /** Any origin may call. Bearer tokens are not sent by browsers on their own, so this is not CSRF; but every web page may then try. */
  readonly insecureAllowAnyOrigin: boolean;
}

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

const METHODS = 'GET, POST, DELETE, OPTIONS';
const REQUEST_HEADERS =
  'Accept, Authorization, Content-Type, Last-Event-ID, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, X-Request-Id';
const RESPONSE_HEADERS = 'Mcp-Session-Id, MCP-Protocol-Version, Retry-After, WWW-Authenticate, X-Request-Id';

/**
 * Refuses a `Host` that is not ours: a page whose name was rebound to our address still sends its own name. `HOST_REFUSED`.
 * Names are compared without case, ports only where the allowed entry has one (port forwarding changes them).
 */
export function checkHost(options: GuardOptions): Handler {
  const allowed = new Set(options.allowedHosts.map((host) => host.toLowerCase()));
  const own = new URL(options.publicUrl).hostname;
  allowed.add(own);
  if (LOOPBACK.has(own)) for (const name of LOOPBACK) allowed.add(name);
  return (req, _res, next) => {
    const host = (req.headers.host ?? '').toLowerCase();
    if (!allowed.has(host) && !allowed.has(hostname(host))) {
      throw new AppError(
        'HOST_REFUSED',
        'This name in the Host header is not served here. Use the public URL, or have the administrator add the name to http.allowedHosts.',
        { detail: `host ${JSON.stringify(host.slice(0, 256))}` },
      );
    }
    next();
  };
}

/**
 * Refuses an `Origin` that is neither our own nor configured (`ORIGIN_REFUSED`), answers pre-flight requests (Fetch, 3.2), and lets
 * allowed pages read the headers that MCP clients need. No `Origin`: not a browser, nothing to check.
 */
export function checkOrigin(options: GuardOptions): Handler {
  const allowed = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase()));
  allowed.add(new URL(options.publicUrl).origin.toLowerCase());
  return (req, res, next) => {
    res.setHeader('Vary', 'Origin');
    const origin = req.headers.origin;
    if (origin !== undefined) {
      if (
        !options.insecureAllowAnyOrigin &&
        !allowed.has(origin.toLowerCase()) &&
        !sameOrigin(origin, req.headers.host)
      ) {
        throw new AppError(
          'ORIGIN_REFUSED',
          'Web pages of this origin may not use this gateway. Have the administrator add it to http.allowedOrigins.',
          { detail: `origin ${JSON.stringify(origin.slice(0, 256))}` },
        );
      }
      res.setHeader('Access-Control-Allow-Origin', origin);
      res.setHeader('Access-Control-Expose-Headers', RESPONSE_HEADERS);
    }
    if (req.method === 'OPTIONS') {
      preflight(req, res, origin !== undefined);
      return;
    }
    next();
  };
}

function preflight(req: Incoming, res: Outgoing, crossOrigin: boolean): void {
  if (crossOrigin) {
    res.setHeader('Access-Control-Allow-Methods', METHODS);
    res.setHeader('Access-Control-Allow-Headers', [REQUEST_HEADERS, ...mirrored(req)].join(', '));
    res.setHeader('Access-Control-Max-Age', '7200');
  }
  res.setHeader('Allow', METHODS);
  res.writeHead(204).end();
}

/** Headers that repeat arguments of tools have any names behind their prefix (MCP 2026-07-28, 'Custom Headers from Tool Parameters'). */
function mirrored(req: Incoming): readonly string[] {
  const asked = req.headers['access-control-request-headers'] ?? '';
  return asked
    .split(',')
    .map((name) => name.trim())
    .filter((name) => /^mcp-param-[!#$%&'*+.^_`|~0-9a-z-]{1,128}$/i.test(name))
    .slice(0, 64);
}

/** A page that the checked `Host` itself serves, whatever the scheme in front of us. */
function sameOrigin(origin: string, host: string | undefined): boolean {
  const rest = /^https?:\/\/(.+)$/i.exec(origin)?.[1];
  return rest !== undefined && rest.toLowerCase() === host?.toLowerCase();
}

function hostname(host: string): string {
  const end = host.startsWith('[') ? host.indexOf(']') + 1 : host.indexOf(':');
  return end > 0 ? host.slice(0, end) : host;
}
