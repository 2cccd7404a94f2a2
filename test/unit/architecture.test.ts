/** Who may import what: the table of docs/architecture.md, held against every import of src/. */
import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

const ROOT = resolve(__dirname, '../../src');

/** Free to all: they know nothing of the others. */
const FREE = ['errors', 'clock', 'config/server', 'telemetry/log', 'telemetry/redact'];

/** What a folder may import besides itself and what is free to all. A file's path without `.ts`, or a folder with a slash at its end. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'http/': [
    'auth/authenticator',
    'auth/context',
    'auth/login/contract',
    'auth/login/trips',
    'auth/connections/connections',
    'sessions/ports',
    'peers/contract',
    'peers/forwarded',
    'sessions/elsewhere',
    'bridge/contract',
    'bridge/json',
    'bridge/modern/meta',
    'bridge/versions',
  ],
  'auth/': ['stores/contract', 'stores/seal', 'stores/sealed'],
  'sessions/': ['auth/context', 'bridge/', 'backends/contract'],
  'bridge/': ['backends/contract'],
  'kube/': [],
  'peers/': ['kube/'],
  'resources/': ['kube/objects', 'config/describe'],
  'catalog/': ['config/', 'kube/', 'resources/'],
  'backends/': ['kube/'],
  'tls/': [],
  'operator/': [
    'kube/',
    'resources/',
    'tls/',
    'peers/names',
    // What a pod is made of and what its state means; never how a child is spoken to.
    'backends/pod/names',
    'backends/pod/warm',
    'backends/pod/pod-state',
    'backends/pod/judge',
    'sessions/ports',
    'config/units',
  ],
  'forgejo/': ['tls/', 'peers/forwarded', 'auth/context', 'auth/login/contract', 'stores/contract', 'stores/sealed'],
  'stores/': ['sessions/ports', 'sessions/ids', 'kube/', 'resources/'],
  'config/': [],
  'telemetry/': [
    'peers/contract',
    'bridge/contract',
    'sessions/ports',
    'forgejo/contract',
    'forgejo/vault/contract',
    'auth/login/contract',
    'auth/connections/connections',
    'auth/provider/ports',
  ],
};

/** The files that build and wire; everything is open to them, and nobody imports them. */
const WIRING = ['main', 'compose', 'spawn', 'leftovers', 'arguments'];
/** The parts of `compose`. */
const COMPOSE = 'compose/';

/** Packages and built-in modules that only these parts may know. */
const OUTSIDE: readonly { readonly module: RegExp; readonly only: readonly string[] }[] = [
  { module: /^express$/, only: ['http/'] },
  { module: /^@kubernetes\//, only: ['kube/', 'backends/pod/', 'stores/kubernetes/'] },
  { module: /^ws$/, only: ['backends/pod/'] },
  { module: /^(zod|yaml)$/, only: ['config/'] },
  { module: /^(pino|prom-client)$/, only: ['telemetry/'] },
  { module: /^busboy$/, only: ['forgejo/'] },
  { module: /^openid-client$/, only: ['forgejo/'] },
  { module: /^(jose|oidc-provider)$/, only: ['auth/'] },
  { module: /^undici$/, only: ['auth/', 'kube/', 'forgejo/', 'compose', 'compose/'] },
  { module: /^node:sqlite$/, only: ['stores/'] },
  { module: /^node:child_process$/, only: ['backends/process/'] },
  { module: /^node:timers/, only: ['backends/', 'kube/', 'http/', 'forgejo/', 'auth/'] },
  { module: /^node:https?$/, only: ['http/', 'kube/', 'backends/pod/', 'forgejo/', 'peers/', 'compose', 'compose/'] },
];

/** Parts whose time is handed to them. */
const TIMELESS = ['sessions/', 'bridge/'];

interface Import {
  /** Without `.ts`, relative to src. */
  readonly from: string;
  readonly to: string;
  readonly inside: boolean;
}

function files(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return files(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

const sources = files(ROOT).map((path) => ({
  name: relative(ROOT, path).replace(/\.ts$/, ''),
  path,
  source: ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2023, true),
}));

function importsOf({ name, path, source }: (typeof sources)[number]): Import[] {
  const found: Import[] = [];
  const add = (node: ts.Node | undefined): void => {
    if (node === undefined || !ts.isStringLiteralLike(node)) return;
    const inside = node.text.startsWith('.');
    found.push({ from: name, to: inside ? relative(ROOT, resolve(dirname(path), node.text)) : node.text, inside });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal);
    else if (
      ts.isCallExpression(node) &&
      (node.expression.kind === ts.SyntaxKind.ImportKeyword || node.expression.getText() === 'require')
    ) {
      add(node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

const within = (name: string, places: readonly string[]): boolean =>
  places.some((place) => (place.endsWith('/') ? name.startsWith(place) : name === place));

describe('architecture', () => {
  const imports = sources.flatMap((source) => importsOf(source));

  it('reads every file of src', () => {
    expect(sources.length).to.be.above(50);
    expect(imports.length).to.be.above(200);
  });

  it('has every folder in the table', () => {
    const folders = new Set(
      sources.filter(({ name }) => name.includes('/')).map(({ name }) => `${name.split('/')[0] ?? ''}/`),
    );
    expect([...folders].sort()).to.deep.equal([...Object.keys(ALLOWED), COMPOSE].sort());
    const top = sources.filter(({ name }) => !name.includes('/')).map(({ name }) => name);
    expect(top.sort()).to.deep.equal([...WIRING, 'errors', 'clock'].sort());
  });

  it('imports along the table only', () => {
    const wrong = imports.filter(({ from, to, inside }) => {
      if (!inside || WIRING.includes(from) || from.startsWith(COMPOSE) || within(to, FREE)) return false;
      const folder = Object.keys(ALLOWED).find((place) => from.startsWith(place));
      if (folder === undefined) return !within(to, FREE);
      return !to.startsWith(folder) && !within(to, ALLOWED[folder] ?? []);
    });
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).to.deep.equal([]);
  });

  it('keeps the two drivers apart, and stores', () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        (from.startsWith('backends/pod/') && to.startsWith('backends/process/')) ||
        (from.startsWith('backends/process/') && to.startsWith('backends/pod/')),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('knows packages only where they belong', () => {
    const wrong = imports.filter(
      ({ from, to, inside }) => !inside && OUTSIDE.some(({ module, only }) => module.test(to) && !within(from, only)),
    );
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).to.deep.equal([]);
  });

  it('sets no timer and reads no clock in sessions and bridge', () => {
    const wrong = sources
      .filter(({ name }) => within(name, TIMELESS))
      .filter(({ source }) =>
        /\b(setTimeout|setInterval|setImmediate)\(|\bDate\.now\(|\bperformance\.now\(|new Date\(\)/.test(source.text),
      )
      .map(({ name }) => name);
    expect(wrong).to.deep.equal([]);
  });

  it('has no file of more than 400 lines', () => {
    const long = sources.filter(({ source }) => source.text.split('\n').length > 401).map(({ name }) => name);
    expect(long).to.deep.equal([]);
  });
});
