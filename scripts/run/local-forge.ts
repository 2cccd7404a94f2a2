/** The forge of `make run`: on this machine, with two users and the gateway's two applications; all the same at every start. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureForgeApplications, type ForgeApplications } from '../forge-applications';
import { type Account, type Seed, seedForge } from '../seed-forge';
import { peer } from './peer';
import { healthy, type Processes, root, say } from './processes';

export interface LocalForge {
  readonly url: string;
  readonly seed: Seed;
  /** The gateway's applications there, made when they are first asked for. @param publicUrl the gateway's. */
  applications(publicUrl: string): Promise<ForgeApplications>;
}

/** Starts it. @param folder for its data, kept between starts. */
export async function startLocalForge(processes: Processes, folder: string, port: number): Promise<LocalForge> {
  say('forge: a local one (give FORGEJO_URL for yours)');
  const home = await peer('forge');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const url = `http://127.0.0.1:${port}`;
  const env = {
    PATH: process.env['PATH'],
    FORGE_HOME: home,
    FORGE_DATA: folder,
    FORGE_HTTP_PORT: String(port),
  };
  processes.start('the forge', join(root, 'test/peers/forge/run.sh'), ['serve'], env, join(folder, 'log'));
  await healthy(`${url}/api/healthz`, 'the forge');
  const admin: Account = { name: 'forge-admin', password: await readFile(join(folder, 'admin-password'), 'utf8') };
  const seed = await kept<Seed>(join(folder, 'seed.json'), (previous) => seedForge({ url, admin, previous }));
  return {
    url,
    seed,
    applications: (publicUrl) =>
      kept<ForgeApplications>(join(folder, 'applications.json'), (previous) =>
        ensureForgeApplications({ url, admin, publicUrl, previous }),
      ),
  };
}

/** What is made again with what was made before in hand. Its file is for this user alone. */
async function kept<T>(file: string, make: (previous: T | undefined) => Promise<T>): Promise<T> {
  const previous = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as T,
    () => undefined,
  );
  const made = await make(previous);
  await writeFile(file, JSON.stringify(made), { mode: 0o600 });
  return made;
}
