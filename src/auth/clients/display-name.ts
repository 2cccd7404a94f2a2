/** A client's name as it may be shown to a person who decides by it. */

/** Code points that are shown; what is longer is cut. */
const MAX_LENGTH = 60;

/** What is looked at before anything is done with it. */
const MAX_INPUT = 1024;

/** Marks on one character: enough for every living script, too few to paint over the lines around it. */
const PILED_MARKS = /(\p{M}{3})\p{M}+/gu;

/** Every kind of space, line and paragraph ends, and a blank that Unicode calls a symbol. */
const SPACES = /[\s\p{Z}\u2800]+/gu;

/**
 * Controls, formatting (the marks that turn the direction of text, CVE-2021-42574, joiners, tags), surrogates, private use, unassigned; and whatever
 * is drawn as nothing (Unicode TR 36, 2.10).
 */
const UNSEEN = /[\p{C}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Cleans a `client_name` (RFC 7591, 2): the consent page shows it, and a stranger chose it. What cannot be seen or would move other text is taken
 * out, look-alike forms are folded (NFKC), spaces become one, and it is cut to 60 code points with an ellipsis. Undefined where nothing to see is left.
 */
export function displayName(name: string): string | undefined {
  const clean = name
    .slice(0, MAX_INPUT)
    .normalize('NFKC')
    .replace(SPACES, ' ')
    .replace(UNSEEN, '')
    // What stood apart may belong together now.
    .normalize('NFKC')
    .replace(PILED_MARKS, '$1')
    .replace(SPACES, ' ')
    // A mark with nothing before it would sit on the text around the name.
    .replace(/^[\p{M} ]+/u, '')
    .trimEnd();
  if (clean === '') return undefined;
  const points = [...clean];
  return points.length <= MAX_LENGTH
    ? clean
    : `${points
        .slice(0, MAX_LENGTH - 1)
        .join('')
        .trimEnd()}…`;
}
