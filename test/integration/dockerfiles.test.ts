/**
 * The Dockerfiles of deploy/, put through BuildKit's own frontend: Docker itself does not run here. What a RUN would do is not covered; the
 * images that the cluster tests use are made of the same parts by test/images/.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

import { expect } from 'chai';

import { peerFolder } from '../support/peers';

const ROOT = resolve(__dirname, '../..');

interface Report {
  readonly error?: string;
  readonly warnings: readonly string[];
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly copied: readonly string[];
}

const BUILDS: readonly {
  readonly file: string;
  readonly words: readonly string[];
  readonly entrypoint: readonly string[];
}[] = [
  { file: 'gateway', words: [], entrypoint: ['/usr/local/bin/node', '/app/dist/main.js'] },
  {
    file: 'child',
    words: ['FORGEJO_MCP_URL=https://example.com/x.tar.gz', 'FORGEJO_MCP_SHA256=00'],
    entrypoint: ['/launcher'],
  },
  { file: 'child', words: ['FORGEJO_MCP_FROM=image', 'FORGEJO_MCP_IMAGE=example.com/x'], entrypoint: ['/launcher'] },
  { file: 'child', words: ['launcher-image'], entrypoint: ['/launcher'] },
];

describe('the Dockerfiles', function () {
  this.timeout(900_000); // the first run on a machine builds the frontend

  for (const { file, words, entrypoint } of BUILDS) {
    it(`deploy/${file} translates without an error or a warning: ${words.join(' ') || 'no arguments'}`, async () => {
      const report = await check(file, words);
      expect(report.error).to.equal(undefined);
      expect(report.warnings).to.deep.equal([]);
      expect(report.user).to.equal('65532:65532');
      expect(report.entrypoint).to.deep.equal(entrypoint);
    });
  }

  for (const file of ['gateway', 'child']) {
    it(`deploy/${file} copies only what is in the repository and let through by its .dockerignore`, async () => {
      const ignore = await readFile(join(ROOT, `deploy/${file}/Dockerfile.dockerignore`), 'utf8');
      const letThrough = ignore.split('\n').filter((line) => line.startsWith('!'));
      for (const path of (await check(file, [])).copied) {
        expect(existsSync(join(ROOT, path)), path).to.equal(true);
        expect(letThrough).to.include(`!${path}`);
      }
    });
  }
});

async function check(file: string, words: readonly string[]): Promise<Report> {
  const program = join(await peerFolder('dockerfile-check'), 'dockerfile-check');
  const { stdout } = await promisify(execFile)(program, [join(ROOT, `deploy/${file}/Dockerfile`), ...words]);
  return JSON.parse(stdout) as Report;
}
