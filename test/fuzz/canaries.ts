/** Words that tell where they come from, so that one seen in the wrong place tells that something leaks. */

/** `mk.<user>.<number>`: in a request of this user's. `cy.<user>.<number>`: of a child of this user's. */
const WORD = /\b(mk|cy)\.([a-z]+)\.(\d+)\b/g;

let count = 0;

export function mark(user: string): string {
  count += 1;
  return `mk.${user}.${count}`;
}

export function canary(user: string): string {
  count += 1;
  return `cy.${user}.${count}`;
}

/** Throws where `text` has a word of another user's, a child's other than `own`, or a mark other than `asked`. */
export function checkWords(text: string, user: string, own: string | undefined, asked: ReadonlySet<string>): void {
  for (const [word, kind, whose] of text.matchAll(WORD)) {
    if (whose !== user) throw new Error(`${word} was shown to ${user}`);
    if (kind === 'cy' && own !== undefined && word !== own)
      throw new Error(`${word} was shown in the session of ${own}`);
    if (kind === 'mk' && !asked.has(word)) throw new Error(`${word} was shown in answer to ${[...asked].join(', ')}`);
  }
}

/** Throws where a child gets a word of a user other than its own. */
export function checkHeard(text: string, user: string): void {
  for (const [word, , whose] of text.matchAll(WORD))
    if (whose !== user) throw new Error(`a child of ${user} heard ${word}`);
}
