/** One machine: the child on a bare pipe, behind supergateway, and behind the product with the process driver. */
import { execFileSync, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { startForge } from '../test/support/forge';
import { startGateway, startSupergateway } from './gateway';
import { measure, rows } from './http';
import { BareClient } from './pipe';
import { goal, load, table } from './stats';

const root = resolve(__dirname, '..');
const CALL = { name: 'test_simple_text', arguments: {} };

/** Prints the figures; resolves with whether every goal was met. */
export async function benchLocal(seconds: number): Promise<boolean> {
  const folder = execFileSync(join(root, 'test/peers/get.sh'), ['everything-server'], { encoding: 'utf8' }).trim();
  const command = [join(folder, 'everything-server')];

  // Before anything is measured: a forge that has just started is busy for a while, and only one of the two has one.
  const forge = await startForge();

  const child = spawn(command[0], { stdio: ['pipe', 'pipe', 'ignore'] });
  const bare = new BareClient({
    write: (bytes) => void child.stdin.write(bytes),
    onData: (consumer) => void child.stdout.on('data', consumer),
  });
  await bare.initialize();
  const pipe1 = await load([() => bare.request('tools/call', CALL)], seconds * 1000);
  const pipe16 = await load(
    Array.from({ length: 16 }, () => () => bare.request('tools/call', CALL)),
    seconds * 1000,
  );
  child.kill('SIGKILL');

  const supergateway = await startSupergateway(command);
  const theirs = await measure(supergateway.origin, supergateway.path, { seconds, opens: 20 });
  await supergateway.stop();

  const gateway = await startGateway(command, forge.url);
  const ours = await measure(gateway.origin, gateway.path, {
    seconds,
    opens: 20,
    token: forge.user('alice').tokens.full,
  });
  await gateway.stop();
  await forge.stop();

  table('One machine, the same child', [
    ['bare pipe: call, 1 in flight', pipe1],
    ['bare pipe: call, 16 in flight', pipe16],
    ...rows('supergateway', theirs),
    ...rows('gateway, process driver', ours),
  ]);
  console.log();
  const met = [1, 16, 50].flatMap((count) => {
    const [a, b] = [ours.calls.get(count)!, theirs.calls.get(count)!];
    return [
      goal(`calls per second at ${count} sessions, against supergateway`, a.rate / b.rate, '>=', 2),
      goal(`p50 of a call at ${count} sessions, against supergateway`, a.p50 / b.p50, '<=', 0.5),
    ];
  });
  return met.every(Boolean);
}
