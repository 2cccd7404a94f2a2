/** How long an answer may be used (RFC 9111, 4.2), within bounds of our own. */

export interface FreshnessBounds {
  /** A client is looked up several times in one login; whatever a host says, it is not asked more often than this. Milliseconds. */
  readonly min: number;
  readonly max: number;
  /** Where the answer does not say. */
  readonly fallback: number;
}

export interface CacheHeaders {
  readonly cacheControl: string | undefined;
  readonly expires: string | undefined;
  readonly age: string | undefined;
}

/**
 * Milliseconds for which the answer is fresh (draft-ietf-oauth-client-id-metadata-document-02, 5.2): `s-maxage` is for shared caches, which this is,
 * then `max-age`, then `Expires`, less `Age`; `no-store` and `no-cache` count as zero. Always within the bounds.
 */
export function freshFor(headers: CacheHeaders, bounds: FreshnessBounds, wall: number): number {
  const stated = lifetime(headers, wall);
  if (stated === undefined) return bounds.fallback;
  return Math.min(bounds.max, Math.max(bounds.min, stated - seconds(headers.age, 0) * 1000));
}

function lifetime({ cacheControl, expires }: CacheHeaders, wall: number): number | undefined {
  const directives = new Map(
    (cacheControl ?? '')
      .toLowerCase()
      .split(',')
      .map((directive): [string, string] => {
        const [name = '', value = ''] = directive.split('=', 2);
        return [name.trim(), value.trim().replace(/^"(.*)"$/, '$1')];
      }),
  );
  if (directives.has('no-store') || directives.has('no-cache')) return 0;
  const age = directives.get('s-maxage') ?? directives.get('max-age');
  if (age !== undefined) return seconds(age, 0) * 1000;
  if (expires === undefined) return undefined;
  // A date that cannot be read is in the past (RFC 9111, 5.3).
  const until = Date.parse(expires);
  return Number.isNaN(until) ? 0 : until - wall;
}

function seconds(text: string | undefined, otherwise: number): number {
  return text !== undefined && /^\d{1,10}$/.test(text.trim()) ? Number(text) : otherwise;
}
