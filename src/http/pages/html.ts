/**
 * HTML in which nothing is unescaped by accident: whatever stands in a hole of the template is escaped for the place where the hole is, and a hole
 * where escaping does not help (a tag's name, an unquoted value, a script, a handler) is refused when the template is first used.
 */

/** Markup. Only {@link markup} makes it: no cast and no look-alike object passes for one. */
export class Html {
  readonly #markup: string;

  private constructor(markup: string) {
    this.#markup = markup;
  }

  /** What a hole in text becomes. */
  static #text(value: unknown): string {
    if (value instanceof Html) return value.#markup;
    if (Array.isArray(value)) return value.map((one) => Html.#text(one)).join('');
    if (value instanceof Style) throw new TypeError('a style sheet belongs into a style element');
    return plain(value);
  }

  /** For {@link markup}. */
  static fill(template: TemplateStringsArray, holes: readonly Hole[]): Html {
    const places = placesOf(template);
    let markup = template[0] ?? '';
    holes.forEach((hole, index) => {
      const place = places[index];
      markup += place.kind === 'text' ? Html.#text(hole) : inTag(place, hole);
      markup += template[index + 1] ?? '';
    });
    return new Html(markup);
  }

  toString(): string {
    return this.#markup;
  }
}

/** A style sheet without holes, made by {@link sheet}; a policy allows it by its hash. */
export class Style {
  readonly text: string;

  constructor(template: TemplateStringsArray) {
    genuine(template);
    const [text] = template;
    if (template.length !== 1 || text === undefined || /<|\r|\0/.test(text)) {
      throw new TypeError('a style sheet is one literal, without < and carriage returns');
    }
    this.text = text;
  }
}

/** An attribute that is there or not, made by {@link flag}. */
export class Flag {
  readonly #text: string;

  constructor(name: 'checked' | 'open' | 'required', on: boolean) {
    this.#text = on ? name : '';
  }

  toString(): string {
    return this.#text;
  }
}

/** What may stand in a hole. Nothing is drawn for `undefined`. */
export type Hole = Html | Style | Flag | string | number | undefined | readonly Html[];

/**
 * A template literal as markup. Text and attribute values are escaped, addresses (`href`, `action`) must be https, http, a path of our own or an id of the
 * same page. Values stand in double quotes.
 * @throws TypeError for a hole in a place that cannot be made safe, and for a value that does not belong into its place.
 */
export function markup(template: TemplateStringsArray, ...holes: readonly Hole[]): Html {
  return Html.fill(template, holes);
}

/** A style sheet: one literal, no holes. @throws TypeError for anything else. */
export function sheet(template: TemplateStringsArray): Style {
  return new Style(template);
}

/** An attribute without a value, for the place of an attribute: `<input ${flag('checked', true)}>`. */
export function flag(name: 'checked' | 'open' | 'required', on: boolean): Flag {
  return new Flag(name, on);
}

/** Whether an address may be linked to: absolute https or http without user information, a path of our own, or an id of the same page. */
export function isLinkable(address: string): boolean {
  // Browsers drop tabs and line ends, and take `\` for `/`: such an address is read otherwise than it looks.
  if (/[\p{C}\s\\]/u.test(address)) return false;
  if (/^#[\w-]+$/.test(address)) return true;
  if (address.startsWith('/')) return !address.startsWith('//');
  const url = /^https?:\/\//i.test(address) ? URL.parse(address) : null;
  return url !== null && url.username === '' && url.password === '';
}

type Place =
  | { readonly kind: 'text' }
  | { readonly kind: 'attribute' }
  | { readonly kind: 'style' }
  | { readonly kind: 'value'; readonly whole: boolean; readonly address: boolean };

const ADDRESSES = new Set(['href', 'action']);

/** Attributes in which a value can do no harm once it is escaped. Handlers, styles and everything that loads are not among them. */
const VALUES = /^(?:value|id|for|name|class|datetime|title|lang|aria-[a-z]+)$/;

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
  // A parser would make a line feed of it.
  '\r': '&#13;',
  // No reference stands for it, and a parser drops it or puts this in its place.
  '\0': '\u{fffd}',
};

function escape(text: string): string {
  return text.replace(/\p{Cs}/gu, '\u{fffd}').replace(/[&<>"'`\r\0]/g, (character) => ESCAPES[character] ?? '');
}

function plain(value: unknown): string {
  if (value === undefined) return '';
  if (typeof value === 'string') return escape(value);
  if (typeof value === 'number') return String(value);
  throw new TypeError('a hole takes strings, numbers and markup');
}

function inTag(place: Exclude<Place, { kind: 'text' }>, hole: Hole): string {
  if (place.kind === 'attribute') {
    if (!(hole instanceof Flag)) throw new TypeError('an attribute in a hole must be a flag');
    return hole.toString();
  }
  if (place.kind === 'style') {
    if (!(hole instanceof Style)) throw new TypeError('a style element takes a style sheet');
    return hole.text;
  }
  if (place.address && (typeof hole !== 'string' || !place.whole || !isLinkable(hole))) {
    throw new TypeError('an address must be https, http or a path of our own');
  }
  return plain(hole);
}

/** Places are found once for each literal: the engine hands the same object over every time. */
const known = new WeakMap<TemplateStringsArray, readonly Place[]>();

function placesOf(template: TemplateStringsArray): readonly Place[] {
  let places = known.get(template);
  if (places === undefined) {
    genuine(template);
    places = findPlaces(template);
    known.set(template, places);
  }
  return places;
}

/** A literal in the source, not an array that somebody filled with strings. */
function genuine(template: TemplateStringsArray): void {
  const { raw } = template as { raw?: unknown };
  if (!Object.isFrozen(template) || !Array.isArray(raw) || !Object.isFrozen(raw)) {
    throw new TypeError('this must be used on a template literal');
  }
}

/** Walks the literal parts as a parser would: text, tag, value in double quotes, style. What is not of these shapes is refused. */
function findPlaces(template: TemplateStringsArray): readonly Place[] {
  const places: Place[] = [];
  let state: 'text' | 'tag' | 'value' | 'style' = 'text';
  let tag = ''; // what the tag holds so far
  let name = '';
  template.forEach((part, index) => {
    let start = 0; // of the current value in this part; -1: in an earlier one
    for (let at = 0; at < part.length; at += 1) {
      const character = part.charAt(at);
      if (state === 'text' && character === '<') {
        if (!/^<(?:[a-z]|\/[a-z]|!doctype )/.test(part.slice(at, at + 10)) || /^<script\b/.test(part.slice(at))) {
          throw new TypeError('this is no markup that a template may hold');
        }
        [state, tag] = ['tag', ''];
      } else if (state === 'tag' && character === '>') {
        state = /^style\b/.test(tag) ? 'style' : 'text';
      } else if (state === 'tag' && character === '"') {
        name = /\s([a-z-]+)=$/.exec(tag)?.[1] ?? '';
        if (name === '') throw new TypeError('a value must belong to an attribute');
        [state, start] = ['value', at + 1];
      } else if (state === 'tag') {
        if (/['`<]/.test(character)) throw new TypeError('values stand in double quotes');
        tag += character;
      } else if (state === 'value' && character === '"') {
        state = 'tag';
        tag += '""';
      } else if (state === 'style' && part.startsWith('</style', at)) {
        [state, tag] = ['tag', ''];
      }
    }
    if (index === template.length - 1) {
      if (state !== 'text') throw new TypeError('a template must close what it opens');
      return;
    }
    const next = template[index + 1] ?? '';
    switch (state) {
      case 'text':
      case 'style':
        places.push({ kind: state });
        break;
      case 'tag':
        if (!/\s$/.test(part) || !/^[\s>]/.test(next)) throw new TypeError('a hole cannot be part of a name');
        places.push({ kind: 'attribute' });
        break;
      case 'value': {
        const address = ADDRESSES.has(name);
        if (!address && !VALUES.test(name)) throw new TypeError(`the attribute ${name} cannot have a hole`);
        places.push({ kind: 'value', address, whole: start === part.length && next.startsWith('"') });
        break;
      }
    }
  });
  return places;
}
