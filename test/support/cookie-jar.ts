/** A browser's cookies as RFC 6265 keeps them: by name, host and path. Ports do not part them, so what clashes in a browser clashes here. */
import { parseCookie } from 'undici';

interface Kept {
  readonly name: string;
  readonly value: string;
  readonly host: string;
  readonly path: string;
  readonly secure: boolean;
}

export class CookieJar {
  /** Every value that was ever set. */
  readonly seen = new Set<string>();
  private readonly kept = new Map<string, Kept>();

  /** Takes what an answer of this URL sets; what it ends is gone. */
  store(url: URL, headers: Headers): void {
    for (const line of headers.getSetCookie()) {
      const cookie = parseCookie(line);
      if (cookie === null) continue;
      if (cookie.value !== '') this.seen.add(cookie.value);
      const path = cookie.path?.startsWith('/') === true ? cookie.path : defaultPath(url);
      const key = JSON.stringify([url.hostname, path, cookie.name]);
      if (ended(cookie)) this.kept.delete(key);
      else
        this.kept.set(key, {
          name: cookie.name,
          value: cookie.value,
          host: url.hostname,
          path,
          secure: cookie.secure ?? false,
        });
    }
  }

  /** The `Cookie` header of a request to this URL: longer paths first; empty where there is none. */
  header(url: URL): string {
    return [...this.kept.values()]
      .filter(({ host, path, secure }) => host === url.hostname && covers(path, url) && allows(secure, url))
      .sort((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }
}

/** RFC 6265, 5.2.2: Max-Age goes before Expires. */
function ended({ maxAge, expires }: { readonly maxAge?: number; readonly expires?: Date | number }): boolean {
  if (maxAge !== undefined) return maxAge <= 0;
  return expires !== undefined && Number(expires) <= Date.now();
}

/** RFC 6265, 5.1.4. */
function defaultPath({ pathname }: URL): string {
  return pathname.slice(0, Math.max(1, pathname.lastIndexOf('/')));
}

function covers(path: string, { pathname }: URL): boolean {
  return pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`);
}

function allows(secure: boolean, { protocol }: URL): boolean {
  return !secure || protocol === 'https:';
}
