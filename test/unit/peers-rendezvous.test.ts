/** Which replica does what has a key. */
import { expect } from 'chai';
import fc from 'fast-check';
import { replicaName } from '../../src/peers/names';
import { ranked } from '../../src/peers/rendezvous';

const KEYS = Array.from({ length: 3_000 }, (_, at) => `key ${at}`);
const ownersOf = (names: readonly string[]): (string | undefined)[] => KEYS.map((key) => ranked(key, names)[0]);

describe('who does what has a key', () => {
  const names = fc.uniqueArray(fc.string({ unit: 'grapheme-ascii', minLength: 1 }), { minLength: 1, maxLength: 8 });

  it('all names stand in the order, each once, whatever order they came in', () => {
    fc.assert(
      fc.property(fc.string(), names, fc.nat(), (key, given, turn) => {
        const order = ranked(key, given);
        expect([...order].sort()).to.deep.equal([...given].sort());
        const turned = given.map((_, at) => given[(at + turn) % given.length] ?? '');
        expect(ranked(key, turned)).to.deep.equal(order);
        expect(ranked(key, [...given, ...given]), 'given twice').to.deep.equal(order);
      }),
    );
  });

  it('a replica that goes away leaves every other order as it was, so only its own keys move, each to the next', () => {
    fc.assert(
      fc.property(fc.string(), names, fc.nat(), (key, given, nth) => {
        const gone = given[nth % given.length];
        const left = ranked(key, given).filter((name) => name !== gone);
        expect(
          ranked(
            key,
            given.filter((name) => name !== gone),
          ),
        ).to.deep.equal(left);
      }),
    );
  });

  it('keys are spread evenly, also those of a replica that went away', () => {
    const given = Array.from({ length: 5 }, replicaName);
    const owners = ownersOf(given);
    const [gone = '', ...rest] = given;
    for (const name of given) {
      // The mean is 600 and its deviation 22: a fair spread misses these bounds once in more than 10^8 runs.
      expect(owners.filter((owner) => owner === name).length, name).to.be.within(470, 730);
    }
    const heirs = ownersOf(rest).filter((_, at) => owners[at] === gone);
    // Of about 600 that moved, about 150 each.
    for (const name of rest) expect(heirs.filter((heir) => heir === name).length, name).to.be.within(80, 230);
  });
});
