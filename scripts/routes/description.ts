/** The forge's published description of its API, from the Gitea module of the Go module proxy: the pinned version is the forge of the tests. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MODULE = 'code.gitea.io/gitea@v1.26.0';

/** Where the module's files are; downloads them once (`go mod download`). */
export function moduleFolder(): string {
  const out = execFileSync('go', ['mod', 'download', '-json', MODULE], {
    cwd: tmpdir(), // outside any module of ours
    env: { ...process.env, GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local' },
    encoding: 'utf8',
  });
  return (JSON.parse(out) as { Dir: string }).Dir;
}

/** Every `METHOD /path` of the description (Swagger 2.0, `paths`), without its base path. */
export function describedRoutes(folder: string): string[] {
  const text = readFileSync(join(folder, 'templates', 'swagger', 'v1_json.tmpl'), 'utf8');
  // The file is a Go template: version and sub-path are filled in when it is served.
  const description = JSON.parse(text.replaceAll(/\{\{[^}]*\}\}/g, '')) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const routes: string[] = [];
  for (const [path, operations] of Object.entries(description.paths))
    for (const method of Object.keys(operations))
      if (method !== 'parameters') routes.push(`${method.toUpperCase()} ${path}`);
  return routes;
}
