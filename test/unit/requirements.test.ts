/** Holds the requirements of the MCP specification and the tests that cite them against each other. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join, relative } from 'node:path';
import { expect } from 'chai';
import { isRepeated, REQUIREMENTS, REVISIONS, statedBy, type Id } from '../requirements';
import { countKeywords, plainText, type Level } from '../requirements/model';

const TESTS = join(__dirname, '..');

/** Where a checkout of the specification is, to hold the list against its text: the folders `docs/specification` and `schema`. */
const SPECIFICATION = process.env.MCP_SPECIFICATION;

/** MUSTs of ours that no test cites yet, each with its entry of the beads. It is to stay empty: an entry that has been proven fails. */
const PENDING: Readonly<Record<Id, string>> = {};

const ID = String.raw`\d{4}-\d{2}-\d{2}/[a-z-]+/\d+`;
/** `[id]` or `[id, id]` in a title, and the arguments of `cites`. */
const IN_TITLE = new RegExp(String.raw`\[(${ID}(?:,\s*${ID})*)\]`, 'g');
const IN_CALL = /\bcites\(([^)]*)\)/g;

/** The ids that the tests cite, each with the files that do. */
function citations(): ReadonlyMap<Id, readonly string[]> {
  const found = new Map<Id, string[]>();
  for (const file of filesBelow(TESTS).filter((name) => /\.ts$/.test(name) && !/\/requirements(\/|\.)/.test(name))) {
    const text = readFileSync(file, 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, ''); // what stands in a comment proves nothing
    for (const [, list = ''] of [...text.matchAll(IN_TITLE), ...text.matchAll(IN_CALL)]) {
      for (const [id] of list.matchAll(new RegExp(ID, 'g')) as Iterable<[Id]>) {
        found.set(id, [...(found.get(id) ?? []), relative(TESTS, file)]);
      }
    }
  }
  return found;
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name !== 'node_modules')
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesBelow(path) : [path]));
}

describe('requirements of the MCP specification', () => {
  const cited = citations();
  const proven = new Set([...cited.keys()].filter((id) => REQUIREMENTS.has(id)).map((id) => statedBy(id).id));

  for (const [revision, pages] of Object.entries(REVISIONS)) {
    describe(revision, () => {
      const ids = pages.flatMap((page) => Object.keys(page.requirements) as Id[]);

      it('has ids of its own pages, numbered from 1 without a gap', () => {
        for (const page of pages) {
          const own = Object.keys(page.requirements);
          const [first = ''] = own;
          const stem = first.slice(0, first.lastIndexOf('/'));
          expect(stem).to.match(new RegExp(`^${revision}/[a-z-]+$`));
          expect(own).to.deep.equal(own.map((_, index) => `${stem}/${String(index + 1)}`));
        }
        expect(new Set(ids).size).to.equal(ids.length);
      });

      for (const page of pages) {
        it(`has each keyword of ${page.source} in an entry`, () => {
          const words = (level: Level): number =>
            Object.values(page.requirements).reduce((sum, each) => sum + (each.level === level ? each.words : 0), 0);
          expect({ musts: words('MUST'), shoulds: words('SHOULD') }).to.deep.equal({
            musts: page.musts,
            shoulds: page.shoulds,
          });
        });
      }

      it('repeats entries of the same level only, and those that state something', () => {
        for (const id of ids) expect(statedBy(id).entry.level, id).to.equal(REQUIREMENTS.get(id)?.level);
      });

      it('says of each entry in a sentence what it asks, and why where it is not ours', () => {
        for (const id of ids) {
          const entry = REQUIREMENTS.get(id);
          if (entry === undefined || isRepeated(entry)) continue;
          const { concern, says, section } = entry;
          expect(says.length, id).to.be.within(10, 200);
          expect(section, id).to.not.equal('');
          if (concern.kind === 'child') expect(concern.keep, id).to.match(/\w{4}/);
          if (concern.kind === 'not-ours') expect(concern.because, id).to.match(/\w{4}/);
        }
      });

      it('has no MUST of ours that no test cites', () => {
        const open = ids.filter((id) => {
          const stated = statedBy(id);
          return (
            stated.entry.level === 'MUST' &&
            stated.entry.concern.kind === 'ours' &&
            !proven.has(stated.id) &&
            !Object.hasOwn(PENDING, stated.id)
          );
        });
        expect(open.map((id) => `${id}: ${statedBy(id).entry.says}`)).to.deep.equal([]);
      });

      it('is counted', () => {
        const count = (level: Level, kind: string): number =>
          ids.filter((id) => statedBy(id).entry.level === level && statedBy(id).entry.concern.kind === kind).length;
        const line = (['MUST', 'SHOULD'] as const).map(
          (level) =>
            `${level}: ${['ours', 'child', 'not-ours'].map((kind) => `${String(count(level, kind))} ${kind}`).join(', ')}`,
        );
        const should = ids.filter((id) => statedBy(id).entry.level === 'SHOULD' && proven.has(statedBy(id).id)).length;
        console.log(
          `        ${revision}: ${String(ids.length)} entries; ${line.join('; ')}; SHOULD cited: ${String(should)}`,
        );
        expect(ids.length).to.be.greaterThan(0);
      });
    });
  }

  it('are what tests cite: no test cites an id that is not there', () => {
    const unknown = [...cited].filter(([id]) => !REQUIREMENTS.has(id)).map(([id, files]) => `${id} in ${files.join()}`);
    expect(unknown).to.deep.equal([]);
  });

  it('are pending only where they are MUSTs of ours, unproven, and in the beads', () => {
    const beads = readFileSync(join(TESTS, '..', '.beads', 'issues.jsonl'), 'utf8');
    for (const [id, bead] of Object.entries(PENDING) as [Id, string][]) {
      const { id: first, entry } = statedBy(id);
      expect([first, entry.level, entry.concern.kind], id).to.deep.equal([id, 'MUST', 'ours']);
      expect(proven.has(id), `${id} is proven`).to.equal(false);
      expect(beads, id).to.contain(`"id":"${bead}"`);
      console.log(`      pending: ${id} (${bead}): ${entry.says}`);
    }
  });

  if (SPECIFICATION !== undefined) {
    describe(`against the text in ${SPECIFICATION}`, () => {
      for (const [revision, pages] of Object.entries(REVISIONS)) {
        const docs = join(SPECIFICATION, 'docs', 'specification', revision);
        const schema = join(SPECIFICATION, 'schema', revision, 'schema.ts');

        it(`${revision}: every page is the text that the list was made from`, () => {
          for (const page of pages) {
            const file = page.source === 'schema.ts' ? schema : join(docs, page.source);
            const plain = plainText(readFileSync(file, 'utf8'));
            expect(countKeywords(plain), page.source).to.deep.equal({ musts: page.musts, shoulds: page.shoulds });
            expect(createHash('sha256').update(plain).digest('hex'), page.source).to.equal(page.sha256);
          }
        });

        it(`${revision}: every page with a keyword is in the list`, () => {
          const there = filesBelow(docs)
            .filter((file) => file.endsWith('.mdx') && !file.endsWith('/schema.mdx')) // schema.ts says it once
            .filter((file) => {
              const { musts, shoulds } = countKeywords(plainText(readFileSync(file, 'utf8')));
              return musts + shoulds > 0;
            })
            .map((file) => relative(docs, file));
          expect(pages.map((page) => page.source)).to.include.members(there);
        });
      }
    });
  }
});
