/** The custom resources' one source, and what is made from it. */
import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CRD_FOLDERS, crdFiles } from '../../scripts/crds';
import { serverJsonSchema } from '../../src/config/describe';
import { baseUrl, bytes, duration, envName, origin, owner, repository, route } from '../../src/config/fields';
import { serverSchema } from '../../src/config/server-schema';
import { definitions } from '../../src/resources/definitions';
import { FORMS, structural } from '../../src/resources/from-settings';
import { serverSpec } from '../../src/resources/server-spec';
import type { Structural } from '../../src/resources/structural';

/** Calls back with every schema in a schema, and where it is. */
function walk(node: Structural, look: (node: Structural, path: string) => void, path = 'spec'): void {
  look(node, path);
  if (node.items !== undefined) walk(node.items, look, `${path}[]`);
  if (node.additionalProperties !== undefined) walk(node.additionalProperties, look, `${path}{}`);
  for (const [name, child] of Object.entries(node.properties ?? {})) walk(child, look, `${path}.${name}`);
}

/** What the API server makes of an object: defaults, from the top down. */
function withDefaults(node: Structural, value: unknown): unknown {
  if (node.properties === undefined || typeof value !== 'object' || value === null) return value;
  const filled: Record<string, unknown> = { ...value };
  for (const [name, child] of Object.entries(node.properties)) {
    if (filled[name] === undefined && child.default !== undefined) filled[name] = child.default;
    if (filled[name] !== undefined) filled[name] = withDefaults(child, filled[name]);
  }
  return filled;
}

const LEAST = { forgejo: { url: 'https://forge.example' }, pod: { image: 'image' } };

describe('custom resources', () => {
  it('are in crds/ and in the chart as src/resources has them: run `make crds`', async () => {
    const files = await crdFiles();
    for (const folder of CRD_FOLDERS) {
      expect(readdirSync(folder).sort()).to.deep.equal(Object.keys(files).sort());
      for (const [name, text] of Object.entries(files)) {
        expect(readFileSync(join(folder, name), 'utf8'), `${folder}/${name}`).to.equal(text);
      }
    }
  });

  it('are made the same way each time', async () => {
    expect(await crdFiles()).to.deep.equal(await crdFiles());
    expect(JSON.stringify(definitions())).to.equal(JSON.stringify(definitions()));
  });

  it('have a bound for every text, list and map, so that the cost of their rules has one', () => {
    const open: string[] = [];
    for (const { spec } of Object.values(definitions())) {
      const [version] = spec.versions as readonly { schema: { openAPIV3Schema: Structural } }[];
      const { spec: own, status } = version.schema.openAPIV3Schema.properties ?? {};
      for (const [at, node] of Object.entries({ spec: own, status })) {
        walk(
          node,
          ({ type, enum: words, format, maxLength, maxItems, additionalProperties, maxProperties }, path) => {
            if (type === 'string' && words === undefined && format === undefined && maxLength === undefined)
              open.push(path);
            if (type === 'array' && maxItems === undefined) open.push(path);
            if (additionalProperties !== undefined && maxProperties === undefined) open.push(path);
          },
          at,
        );
      }
    }
    expect(open).to.deep.equal([]);
  });

  it('say of every field what it means', () => {
    const silent: string[] = [];
    walk(serverSpec(), ({ description }, path) => {
      if (description === undefined && !/(\[\]|\{\})$/.test(path)) silent.push(path);
    });
    expect(silent).to.deep.equal([]);
  });

  describe('a server’s spec', () => {
    it('has every setting of a server but the files with secrets', () => {
      const fields = (node: Structural): string[] => {
        const found: string[] = [];
        walk(node, (_child, path) => found.push(path));
        return found;
      };
      const { applications: _files, ...forgejo } = serverJsonSchema().properties?.forgejo.properties ?? {};
      const without = { ...serverJsonSchema().properties, forgejo: { type: 'object', properties: forgejo } };
      expect(fields(serverSpec())).to.deep.equal(fields(structural({ type: 'object', properties: without })));
      expect(JSON.stringify(definitions())).to.not.match(/SecretFile|clientId/);
    });

    it('is taken by the configuration with its defaults, which are the same there', () => {
      expect(serverSchema.parse(withDefaults(serverSpec(), LEAST))).to.deep.equal(serverSchema.parse(LEAST));
    });

    it('needs what has no default', () => {
      const spec = serverSpec();
      expect(spec.required).to.deep.equal(['forgejo', 'pod']);
      expect(spec.properties?.forgejo?.required).to.deep.equal(['url']);
      expect(spec.properties?.pod?.required).to.deep.equal(['image']);
    });

    it('has times and sizes as text', () => {
      const { idleTimeout, maxLineBytes, maxSessions, paused } = serverSpec().properties ?? {};
      expect(idleTimeout).to.include({ type: 'string', default: '5m' });
      expect(maxLineBytes).to.include({ type: 'string', default: '64Mi' });
      expect(maxSessions).to.include({ type: 'integer', minimum: 0, default: 0 });
      expect(paused).to.include({ type: 'boolean', default: false });
    });
  });

  it('have the forms of text that the configuration has', () => {
    const fields = {
      duration: duration(),
      bytes: bytes(),
      url: baseUrl(),
      origin: origin(),
      variable: envName(),
      owner: owner(),
      repository: repository(),
      route: route(),
    };
    const samples =
      `5m|1h30m|250ms|7d|0|1.5s|5 m|-1s|5x||512Ki|4Mi|1G|64MiB|12|https://forge.example|https://forge.example/sub/|http://[::1]:3000|ftp://x` +
      `|https://u:p@forge.example|https://forge.example/?q|https://forge.example/#f|forge.example|FORGEJO_URL|_x|1x|a-b|*` +
      `|team-a|a/b|a/*|*/b|*/*|a/b/c|a.b_c|GET /repos/{owner}|get /x|GET x|POST /admin/users`;
    expect(Object.keys(FORMS).sort()).to.deep.equal(Object.keys(fields).sort());
    for (const [kind, field] of Object.entries(fields)) {
      const { pattern, what } = FORMS[kind];
      for (const sample of samples.split('|')) {
        const { success, error } = field.safeParse(sample);
        expect(new RegExp(pattern).test(sample), `${kind} "${sample}"`).to.equal(success);
        if (!success) expect(error.issues[0]?.message).to.equal(`must be ${what}`);
      }
    }
  });

  it('refuse a setting of a kind that they do not know, when they are made', () => {
    expect(() => structural({ anyOf: [{ type: 'number' }] })).to.throw('no structural schema');
  });
});
