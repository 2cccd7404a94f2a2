/** `make bench`: everything beside its baselines in the same run. Exits 1 when a goal is missed; figures of two runs are not compared. */
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { benchCluster } from './cluster';
import { benchLocal } from './local';

const root = resolve(__dirname, '..');
const seconds = Number(process.env['BENCH_SECONDS'] ?? 5);
const only = process.argv[2];

async function main(): Promise<void> {
  execFileSync(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--noCheck'],
    {
      cwd: root,
      stdio: 'inherit',
    },
  );
  console.log(
    `${cpus().length} CPUs, ${cpus()[0]?.model.trim() ?? 'unknown'}; Node ${process.version}; each load runs ${seconds} s; client, server and child share the machine`,
  );
  const met: boolean[] = [];
  if (only !== 'cluster') met.push(await benchLocal(seconds));
  if (only !== 'local') met.push(await benchCluster(seconds));
  process.exitCode = met.every(Boolean) ? 0 : 1;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
