/** What `make run` looks at before it builds or starts anything, because the failure that comes of it later says less. */
import { once } from 'node:events';
import { createServer } from 'node:net';

const ANSWER_DEADLINE_MS = 10_000;

/** Throws an `Error` that names every port of these that another program has, and the variable that chooses another. */
export async function portsAreFree(ports: Readonly<Record<string, number>>): Promise<void> {
  const taken: string[] = [];
  for (const [variable, port] of Object.entries(ports)) {
    if (await isTaken(port)) taken.push(`Port ${port} is taken. Choose another: ${variable}=... make run`);
  }
  if (taken.length > 0) throw new Error(taken.join('\n'));
}

async function isTaken(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return true;
    throw error;
  }
  await new Promise((closed) => server.close(closed));
  return false;
}

/** Throws an `Error` that says why, where nothing answers at a forge's URL. Any answer will do: some forges tell strangers nothing. */
export async function forgeAnswers(url: string): Promise<void> {
  try {
    const signal = AbortSignal.timeout(ANSWER_DEADLINE_MS);
    const answer = await fetch(`${url}/api/v1/version`, { redirect: 'manual', signal });
    await answer.body?.cancel();
  } catch (error) {
    const { message, cause } = error as { message: string; cause?: { code?: string; message?: string } };
    throw new Error(`${url} does not answer: ${cause?.code ?? cause?.message ?? message}`, { cause: error });
  }
}
