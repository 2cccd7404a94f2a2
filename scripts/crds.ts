/**
 * The custom resources' definitions, made from src/resources: in `crds/` for people, and the same files in the chart, which renders them.
 *
 *   node -r ts-node/register/transpile-only scripts/crds.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'prettier';
import { stringify } from 'yaml';
import { definitions } from '../src/resources/definitions';

const ROOT = join(__dirname, '..');
/** Both have the same files. */
export const CRD_FOLDERS: readonly string[] = [
  join(ROOT, 'crds'),
  join(ROOT, 'charts/forgejo-mcp-operator/files/crds'),
];

const HEAD = '# Made by `make crds` from src/resources; a test fails when it differs.\n';

/** The text of each file, by its name. */
export async function crdFiles(): Promise<Readonly<Record<string, string>>> {
  const files: Record<string, string> = {};
  for (const [name, definition] of Object.entries(definitions())) {
    // kubectl and Helm read YAML 1.1, to which `on` and `off` are booleans unless they are quoted.
    const text = stringify(definition, { version: '1.1', aliasDuplicateObjects: false, lineWidth: 0 });
    files[name] = await format(HEAD + text, { parser: 'yaml', printWidth: 120, singleQuote: true });
  }
  return files;
}

async function write(): Promise<void> {
  const files = await crdFiles();
  for (const folder of CRD_FOLDERS) {
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  }
}

if (require.main === module) void write();
