/** One machine: the child on a bare pipe, behind supergateway, and behind the product with the process driver. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { startForge } from '../test/support/forge';
import { bare, calls, type Contender, opens, server } from './contender';
import { startGateway, startSupergateway } from './gateway';
import { BareClient } from './pipe';
import { type Figures, goal, table } from './stats';

const root = resolve(__dirname, '..');
const SESSIONS = [1, 16, 50];

/** Prints the figures; resolves with whether every goal was met. */
export async function benchLocal(seconds: number): Promise<boolean> {
  const folder = execFileSync(join(root, 'test/peers/get.sh'), ['everything-server'], { encoding: 'utf8' }).trim();
  const command = [join(folder, 'everything-server')];
  const forge = await startForge();
  const supergateway = await startSupergateway(command);
  const gateway = await startGateway(command, forge.url);
  const theirs = server('supergateway', supergateway.url);
  const ours = server('gateway, process driver', gateway.url, forge.user('alice').tokens.full);

  const [theirOpen, ourOpen] = await opens([theirs, ours], 20);
  const rows: [string, Figures][] = [
    ['supergateway: open and first call', theirOpen],
    ['gateway, process driver: open and first call', ourOpen],
  ];
  const ratios: [number, number, number][] = [];
  for (const count of SESSIONS) {
    const contenders = [pipe(command[0]), theirs, ours];
    const figures = await calls(contenders, count, seconds);
    rows.push(...figures.map((f, i): [string, Figures] => [`${contenders[i].name}: call, ${count} at once`, f]));
    const [, b, a] = figures;
    ratios.push([count, a.rate / b.rate, a.p50 / b.p50]);
  }
  await gateway.stop();
  await supergateway.stop();
  await forge.stop();

  table('One machine, the same child', rows);
  console.log();
  const met = ratios.flatMap(([count, rate, p50]) => [
    goal(`calls per second at ${count} sessions, against supergateway`, rate, '>=', 2),
    goal(`p50 of a call at ${count} sessions, against supergateway`, p50, '<=', 0.5),
  ]);
  return met.every(Boolean);
}

function pipe(program: string): Contender {
  return bare('bare pipe', async () => {
    const child = spawn(program, { stdio: ['pipe', 'pipe', 'ignore'] });
    const client = new BareClient({
      write: (bytes) => void child.stdin.write(bytes),
      onData: (consumer) => void child.stdout.on('data', consumer),
    });
    await client.initialize();
    return {
      client,
      async close() {
        child.kill('SIGKILL');
        await once(child, 'exit');
      },
    };
  });
}
