/** Large bodies, and what the process holds while they go through it. */
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { heldBytes } from './memory';

export const MIB = 1024 * 1024;

/** `count` MiB of a repeating block, and the digest of them all. */
export function blocks(count: number): { stream: () => Readable; digest: string } {
  const block = randomBytes(MIB);
  const hash = createHash('sha256');
  for (let i = 0; i < count; i++) hash.update(block);
  return {
    stream: () =>
      Readable.from(
        (function* () {
          for (let i = 0; i < count; i++) yield block;
        })(),
        { objectMode: false },
      ),
    digest: hash.digest('hex'),
  };
}

/** How long a stream is, and the digest of it. */
export async function digest(stream: Readable): Promise<{ length: number; digest: string }> {
  const hash = createHash('sha256');
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    length += chunk.length;
  }
  return { length, digest: hash.digest('hex') };
}

/**
 * The most that the process held beyond what it held before, in MiB, while `work` ran: what a collection leaves, looked at again and again. A collection takes as long as
 * the machine is busy; looks that came at a fixed pace left nothing for the work between them.
 */
export async function growth(work: () => Promise<void>): Promise<number> {
  const before = heldBytes();
  let most = before;
  let timer: NodeJS.Timeout;
  const look = (): void => {
    const from = performance.now();
    most = Math.max(most, heldBytes());
    timer = setTimeout(look, Math.max(400, 4 * (performance.now() - from)));
  };
  timer = setTimeout(look, 400);
  try {
    await work();
  } finally {
    clearTimeout(timer);
  }
  return (most - before) / MIB;
}
