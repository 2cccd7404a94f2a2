/** Words of strangers, made fit to be shown to a person who decides by them. */
import { markup, type Html } from './html';

/**
 * Text without what cannot be seen or moves other text (controls, direction marks: CVE-2021-42574), on one line, with no more than three marks on a
 * character, cut to `max` code points. `fallback` where nothing is left.
 */
export function shown(text: string, max: number, fallback = 'without a name'): string {
  const clean = text
    .slice(0, 8 * max)
    .replace(/[\s\p{Z}]+/gu, ' ')
    .replace(/[\p{C}\p{Default_Ignorable_Code_Point}]/gu, '')
    .replace(/(\p{M}{3})\p{M}+/gu, '$1')
    .replace(/^[\p{M} ]+/u, '')
    .trim();
  if (clean === '') return fallback;
  const points = [...clean];
  return points.length <= max ? clean : `${points.slice(0, max - 1).join('')}…`;
}

/** A name of somebody else's choosing: its direction stays its own. */
export function nameOf(name: string): Html {
  return markup`<bdi class="name">${shown(name, 80)}</bdi>`;
}

/** An address with its host set off from what surrounds it, because that is what decides where one is sent. */
export function addressParts(address: string): Html {
  const match = /^([a-z][a-z0-9+.-]*:(?:\/\/(?:[^/?#]*@)?)?)([^/?#]*)(.*)$/is.exec(address);
  const clean = (part: string | undefined, max: number): string => shown(part ?? '', max, '');
  if (match === null) return markup`<bdi>${clean(address, 600)}</bdi>`;
  const [, scheme, host, rest] = match;
  // A scheme of an app's own has no host that means anything: the scheme is what decides.
  return /^https?:/i.test(scheme ?? '')
    ? markup`<bdi>${clean(scheme, 100)}<strong>${clean(host, 300)}</strong>${clean(rest, 600)}</bdi>`
    : markup`<bdi><strong>${clean(scheme, 100)}</strong>${clean(`${host ?? ''}${rest ?? ''}`, 600)}</bdi>`;
}

/** The host of an address, with its port; the address itself where it has none. */
export function hostOf(address: string): string {
  return shown(URL.parse(address)?.host ?? address, 300, 'nowhere');
}

const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });

/** A point in time (wall-clock milliseconds) for a person, in UTC: the page knows nothing of the browser's time zone. */
export function timeOf(wall: number): Html {
  const date = new Date(wall);
  return markup`<time datetime="${date.toISOString()}">${DATE.format(date)} UTC</time>`;
}
