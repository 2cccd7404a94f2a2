import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';

const clock = { wall: () => Date.now() };
const AT = { kind: 'count', name: 'a'.repeat(40) };
const [PROCESSES, STEPS] = [4, 50];

/** The other process: adds to the one record, and tries again whenever somebody was quicker. */
async function add(path: string): Promise<void> {
  const store = openSqliteRecordStore(path, clock);
  for (let done = 0; done < STEPS;) {
    const before = await store.get(AT);
    const value = Buffer.from(String(Number(before?.value.toString() ?? 0) + 1));
    const version =
      before === undefined ? await store.create(AT, { value }) : await store.replace(AT, { value }, before.version);
    if (version !== undefined) done += 1;
  }
  await store.close();
}

if (process.env['FMO_TEST_ADD'] !== undefined) {
  void add(process.env['FMO_TEST_ADD']);
} else {
  describe('records in one file, written by several processes', () => {
    it('lose no step, from the first opening of the file on', async function () {
      this.timeout(60_000);
      const folder = mkdtempSync(join(tmpdir(), 'fmo-processes-'));
      const path = join(folder, 'gateway.sqlite');
      try {
        const others = Array.from({ length: PROCESSES }, () =>
          fork(__filename, {
            execArgv: ['-r', 'ts-node/register/transpile-only'],
            env: { ...process.env, FMO_TEST_ADD: path },
          }),
        );
        const ends = await Promise.all(others.map((other) => once(other, 'exit') as Promise<[number | null]>));
        expect(ends.map(([code]) => code)).to.deep.equal(others.map(() => 0));
        const store = openSqliteRecordStore(path, clock);
        expect((await store.get(AT))?.value.toString()).to.equal(String(PROCESSES * STEPS));
        await store.close();
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });
}
