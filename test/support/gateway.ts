/** A whole gateway in this process: the real configuration, composition, credential proxy, process driver and store. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compose, type Gateway } from '../../src/compose';
import { loadConfig } from '../../src/config/load';
import { createLog } from '../../src/telemetry/pino';

export interface LocalGateway {
  /** Of the endpoint `/mcp`. */
  readonly url: string;
  readonly opsUrl: string;
  readonly dataDir: string;
  /** Every line of the log, at the level `debug`. */
  readonly lines: string[];
  readonly gateway: Gateway;
  metrics(): Promise<string>;
  /** The value of a metric's first sample whose line begins so; 0 where there is none. */
  metric(begin: string): Promise<number>;
  /** Texts of all key files. */
  keys(): Promise<string[]>;
  stop(): Promise<void>;
}

/**
 * Settings as in a file; the folder for data is chosen here.
 * @param listen a free port of loopback if absent.
 */
export async function startGateway(
  settings: Readonly<Record<string, unknown>>,
  listen = '127.0.0.1:0',
): Promise<LocalGateway> {
  const dataDir = await mkdtemp(join(tmpdir(), 'fmo-gateway-'));
  const lines: string[] = [];
  const env: Record<string, string> = {
    FMO_DATA_DIR: dataDir,
    FMO_HTTP_LISTEN: listen,
    FMO_OPS_LISTEN: '127.0.0.1:0',
  };
  const file = join(dataDir, 'config.json');
  await writeFile(file, JSON.stringify(settings));
  const config = await loadConfig({ file, env });
  const { log } = createLog({ level: 'debug', destination: 'stderr' }, { write: (line) => void lines.push(line) });
  const gateway = await compose(config, { log, version: '0.0.0-test', signal: new AbortController().signal });
  const metrics = async (): Promise<string> => (await fetch(`${gateway.opsUrl}/metrics`)).text();
  return {
    url: `${gateway.url}/mcp`,
    opsUrl: gateway.opsUrl,
    dataDir,
    lines,
    gateway,
    metrics,
    async metric(begin) {
      const line = (await metrics()).split('\n').find((one) => one.startsWith(begin));
      return line === undefined ? 0 : Number(line.split(' ').at(-1));
    },
    async keys() {
      const names = (await readdir(dataDir)).filter((name) => name.endsWith('.key'));
      return Promise.all(names.map(async (name) => (await readFile(join(dataDir, name), 'utf8')).trim()));
    },
    async stop() {
      await gateway.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
