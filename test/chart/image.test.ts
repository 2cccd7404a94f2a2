import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { CHART } from '../support/helm';

const root = join(__dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The two ways to make the gateway's image, and what the chart expects of it, are kept in step by hand; this holds them. */
describe("the gateway's image", () => {
  const dockerfile = read('deploy/gateway/Dockerfile');
  const script = read('test/images/gateway.sh');
  const manifest = JSON.parse(read('package.json')) as { version: string; devDependencies: Record<string, string> };

  it('has the Node of the lock file', () => {
    expect(/^ARG NODE_VERSION=(.+)$/m.exec(dockerfile)?.[1]).to.equal(manifest.devDependencies.node);
    expect(script).to.include('node_modules/node/bin/node');
  });

  it('starts the same program either way, as the user that the chart runs it as', () => {
    const entrypoint = '["/usr/local/bin/node", "/app/dist/main.js"]';
    expect(dockerfile).to.include(`ENTRYPOINT ${entrypoint}`);
    expect(script).to.include(`-entrypoint '${entrypoint.replace(', ', ',')}'`);
    expect(dockerfile).to.include('USER 65532:65532');
    expect(script).to.include('-user 65532:65532');
    const helpers = readFileSync(join(CHART, 'templates/_names.tpl'), 'utf8');
    expect(helpers).to.include('runAsUser: 65532').and.include('runAsGroup: 65532');
    expect(readFileSync(join(CHART, 'templates/tests/ready.yaml'), 'utf8')).to.include('- /usr/local/bin/node');
  });

  it('is built of named public images, without a shell in the last one', () => {
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, name]) => name);
    expect(bases).to.deep.equal([
      'node:${NODE_VERSION}-trixie-slim',
      'node:${NODE_VERSION}-trixie-slim',
      'gcr.io/distroless/cc-debian13:nonroot',
    ]);
    const last = dockerfile.slice(dockerfile.lastIndexOf('FROM '));
    expect(last).not.to.match(/^RUN /m);
  });

  it('copies nothing that .dockerignore leaves out', () => {
    const allowed = read('deploy/gateway/Dockerfile.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names]) => names.split(' '));
    expect(copied.length).to.be.greaterThan(5);
    for (const name of copied) expect(allowed, name).to.include(name);
  });

  it('has the version of the chart’s appVersion', () => {
    const chart = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')) as { appVersion: string };
    expect(chart.appVersion).to.equal(manifest.version);
  });
});
