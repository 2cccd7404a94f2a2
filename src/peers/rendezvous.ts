/**
 * Who of several does what has a key, so that all choose the same without asking each other: rendezvous hashing (Thaler and Ravishankar, 'Using Name-Based
 * Mappings to Increase Hit Rates'). Where one goes away only its keys move, each to the next in the key's own order; where one comes only those move to it.
 */
import { createHash } from 'node:crypto';

/** The names, each once, in the order in which they are to do what has this key. */
export function ranked(key: string, names: readonly string[]): readonly string[] {
  const [only] = names;
  if (names.length === 1 && only !== undefined) return [only];
  return [...new Set(names)]
    .map((name) => ({ name, weight: weightOf(key, name) }))
    .sort((one, other) => (one.weight < other.weight ? 1 : -1))
    .map(({ name }) => name);
}

/** Hex digits of one length, which compare as the numbers do. No name has a line break in it, so no two pairs are the same text. */
function weightOf(key: string, name: string): string {
  return createHash('sha256').update(`${name}\n${key}`).digest('hex');
}
