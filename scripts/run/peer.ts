/** Programs that `make run` shares with the tests; the first time they are built. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from './processes';

/** The folder of a program. */
export async function peer(name: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(root, 'test/peers/get.sh'), [name], { maxBuffer: 1 << 20 });
  return stdout.trim();
}
