/** Cookies of the gateway's pages (RFC 6265bis). Each has the prefix that pins it to this host, where there is TLS. */
import type { IncomingMessage } from 'node:http';
import type { Outgoing } from './handler';

export interface CookieOptions {
  /** Whether browsers reach us by https. */
  readonly secure: boolean;
}

/** Reads and writes cookies for the whole host: `__Host-` ones can be set by nobody else, not even by a sibling domain. */
export class Cookies {
  readonly #prefix: string;
  readonly #attributes: string;

  constructor({ secure }: CookieOptions) {
    this.#prefix = secure ? '__Host-fmo_' : 'fmo_';
    this.#attributes = `Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
  }

  /** The value of a cookie of ours; undefined where there is none. */
  get(req: IncomingMessage, name: string): string | undefined {
    const wanted = `${this.#prefix}${name}=`;
    for (const part of (req.headers.cookie ?? '').split(';')) {
      const cookie = part.trim();
      if (cookie.startsWith(wanted)) return cookie.slice(wanted.length);
    }
    return undefined;
  }

  /** The names of our cookies that begin so, in the browser's order: of those with one path the oldest comes first (RFC 6265, 5.4). */
  names(req: IncomingMessage, begin: string): readonly string[] {
    return (req.headers.cookie ?? '')
      .split(';')
      .map((part) => part.trim().split('=', 1)[0] ?? '')
      .filter((name) => name.startsWith(this.#prefix + begin))
      .map((name) => name.slice(this.#prefix.length));
  }

  /** Sets a cookie for some seconds. */
  set(res: Outgoing, name: string, value: string, seconds: number): void {
    res.appendHeader('Set-Cookie', `${this.#prefix}${name}=${value}; ${this.#attributes}; Max-Age=${String(seconds)}`);
  }

  clear(res: Outgoing, name: string): void {
    this.set(res, name, '', 0);
  }
}
