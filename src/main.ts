/** The program: command line, start, signals, exit status. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArguments, USAGE, type Arguments } from './arguments';
import { compose } from './compose';
import { composeOperator } from './compose/operator';
import { jsonSchema } from './config/describe';
import { configurationMarkdown } from './config/documentation';
import { loadConfig, type Config } from './config/load';
import { loadOperatorConfig, type OperatorConfig } from './config/operator';
import { AppError, toAppError } from './errors';
import { unknownAllowRoutes } from './forgejo/policy';
import type { LogFields, Logger } from './telemetry/log';
import { createLog } from './telemetry/pino';

/** package.json is beside `src` and beside `dist`. */
const { version } = JSON.parse(readFileSync(join(__dirname, '..', 'package.json'), 'utf8')) as { version: string };

const FAILED = 1;
const MISUSED = 2;

async function main(): Promise<void> {
  let given: Arguments;
  try {
    given = parseArguments(process.argv.slice(2), process.env);
  } catch (thrown) {
    process.stderr.write(`${(thrown as Error).message}\n\n${USAGE}`);
    process.exitCode = MISUSED;
    return;
  }
  switch (given.command) {
    case 'help':
      process.stdout.write(USAGE);
      return;
    case 'version':
      process.stdout.write(`${version}\n`);
      return;
    case 'config schema':
      process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
      return;
    case 'config docs':
      process.stdout.write(configurationMarkdown());
      return;
    case 'config check': {
      const { servers } = await load(given.config);
      process.stdout.write(`The configuration is good. Servers: ${servers.map(({ name }) => name).join(', ')}.\n`);
      return;
    }
    case 'serve':
      await serve(await load(given.config));
      return;
    case 'operator':
      await operate(await loadOperatorConfig({ file: given.config, env: process.env }));
  }
}

const load = (file: string | undefined): Promise<Config> =>
  loadConfig({ file, env: process.env, unknownRoutes: unknownAllowRoutes });

function serve(config: Config): Promise<void> {
  return run('gateway', config, async (log, signal) => {
    const gateway = await compose(config, { log, version, signal });
    const { url, opsUrl: ops, proxyUrl: proxy } = gateway;
    return { about: { url, ops, proxy }, stop: () => gateway.stop() };
  });
}

function operate(config: OperatorConfig): Promise<void> {
  return run('operator', config, async (log) => {
    const operator = await composeOperator(config, { log, version });
    return { about: { ops: operator.opsUrl }, stop: () => operator.stop() };
  });
}

interface Running {
  /** For the log. */
  readonly about: LogFields;
  stop(): Promise<void>;
}

/** Runs until a signal says stop. The second signal, or a stop that takes too long, ends the process at once. */
async function run(
  what: 'gateway' | 'operator',
  config: Pick<Config, 'log' | 'stop'>,
  start: (log: Logger, signal: AbortSignal) => Promise<Running>,
): Promise<void> {
  const sink = createLog(config.log);
  const { log } = sink;
  const exit = (status: number): never => {
    sink.flush();
    process.exit(status);
  };

  // A promise that nobody looked at is a defect in one place; ending everybody's sessions would be another.
  process.on('unhandledRejection', (thrown) => log.error('process.unhandled-rejection', { error: thrown }));

  // From here on signals are ours: as the first process of a container nothing else would heed them, a start that waits included.
  const giveUp = new AbortController();
  const starting = start(log, giveUp.signal);
  let stopping = false;
  const stop = (why: string, status: number): void => {
    if (stopping) {
      log.warn(`${what}.forced`, { why });
      exit(FAILED);
    }
    stopping = true;
    log.info(`${what}.stopping`, { why });
    giveUp.abort(new Error('the program was told to stop'));
    const deadline = setTimeout(() => {
      log.error(`${what}.stop-deadline`, {});
      exit(FAILED);
    }, config.stop.timeout * 1000);
    const stopped = starting.then(
      (running) => running.stop(),
      () => undefined, // a start that failed has undone itself
    );
    stopped.then(
      () => {
        clearTimeout(deadline);
        log.info(`${what}.stopped`, {});
        exit(status);
      },
      (thrown: unknown) => {
        log.error(`${what}.stop-failed`, { error: thrown });
        exit(FAILED);
      },
    );
  };
  process.on('SIGTERM', () => stop('SIGTERM', 0));
  process.on('SIGINT', () => stop('SIGINT', 0));
  process.on('uncaughtException', (thrown) => {
    log.error('process.uncaught-exception', { error: thrown });
    stop('uncaught exception', FAILED);
  });

  const running = await starting.catch((thrown: unknown) => {
    if (!stopping) throw thrown;
    return undefined; // `stop` ends the process
  });
  if (running !== undefined) log.info(`${what}.started`, { version, ...running.about });
}

main().catch((thrown: unknown) => {
  const error = toAppError(thrown);
  const told = error.code === 'INTERNAL' && thrown instanceof Error ? (thrown.stack ?? error.message) : error.message;
  process.stderr.write(
    `${told}\n${error.detail === undefined || error.code === 'INTERNAL' ? '' : `  ${error.detail}\n`}`,
  );
  process.exitCode = thrown instanceof AppError && thrown.code === 'CONFIG_INVALID' ? MISUSED : FAILED;
  // A start that failed half way may have left a listener open.
  setTimeout(() => process.exit(), 100).unref();
});
