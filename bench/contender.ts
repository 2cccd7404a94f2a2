/** Whoever is measured side by side: the product and its baselines. */
import { BenchSession } from './client';
import type { BareClient } from './pipe';
import { type Figures, type Samples, figures, load, timed } from './stats';

const CALL = { name: 'test_simple_text', arguments: {} };
const ROUNDS = 5;

/** Sessions that are open, as calls that can be made side by side. */
export interface Open {
  readonly calls: readonly (() => Promise<unknown>)[];
  close(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  /** Makes `count` calls possible at once. */
  readonly open: (count: number) => Promise<Open>;
}

/** An MCP server over HTTP: a session for each call that is in flight. */
export function server(name: string, url: URL, token?: string): Contender {
  return {
    name,
    async open(count) {
      const sessions: BenchSession[] = [];
      while (sessions.length < count) {
        const some = Array.from({ length: Math.min(4, count - sessions.length) }, () => BenchSession.open(url, token));
        sessions.push(...(await Promise.all(some)));
      }
      return {
        calls: sessions.map((session) => () => session.request('tools/call', CALL)),
        close: async () => void (await Promise.all(sessions.map((session) => session.close()))),
      };
    },
  };
}

export interface BareChild {
  readonly client: BareClient;
  readonly close: () => Promise<void>;
}

/** One child with nothing in between: every call is in flight on the one link. */
export function bare(name: string, open: () => Promise<BareChild>): Contender {
  return {
    name,
    async open(count) {
      const { client, close } = await open();
      return { calls: Array.from({ length: count }, () => () => client.request('tools/call', CALL)), close };
    },
  };
}

/** A child for each call that is in flight, as the product has them, with nothing in between. */
export function bareEach(name: string, open: () => Promise<BareChild>): Contender {
  return {
    name,
    async open(count) {
      const children: BareChild[] = [];
      while (children.length < count) children.push(await open());
      return {
        calls: children.map((child) => () => child.client.request('tools/call', CALL)),
        close: async () => void (await Promise.all(children.map((child) => child.close()))),
      };
    },
  };
}

/**
 * Calls, as many at once as `count` says. The contenders take turns, so that whatever else the machine does falls on all of them.
 * @param seconds how long each of them runs in all.
 */
export async function calls(
  contenders: readonly Contender[],
  count: number,
  seconds: number,
): Promise<readonly Figures[]> {
  const open: Open[] = [];
  for (const contender of contenders) open.push(await contender.open(count));
  const samples = contenders.map((): Samples[] => []);
  for (const one of open) await load(one.calls, 500); // warm
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, one] of open.entries()) samples[i].push(await load(one.calls, (seconds * 1000) / ROUNDS));
  }
  for (const one of open) await one.close();
  return samples.map(figures);
}

/** Opens and first calls, one after another, by turns. */
export async function opens(contenders: readonly Contender[], times: number): Promise<readonly Figures[]> {
  const samples = contenders.map((): Samples[] => []);
  for (const contender of contenders) await (await contender.open(1)).close(); // warm
  for (let i = 0; i < times; i++) {
    for (const [n, contender] of contenders.entries()) {
      let open: Open | undefined;
      samples[n].push(
        await timed(async () => {
          open = await contender.open(1);
          await open.calls[0]();
        }),
      );
      await open!.close();
    }
  }
  return samples.map(figures);
}
