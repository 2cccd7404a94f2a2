/** The same measurements for every HTTP server: opening sessions, and calls at 1, 16 and 50 sessions. */
import { BenchSession, pool } from './client';
import { each, type Figures, load } from './stats';

export const SESSIONS = [1, 16, 50] as const;
const CALL = { name: 'test_simple_text', arguments: {} };

export interface HttpFigures {
  readonly open: Figures;
  readonly openParallel: Figures;
  /** By number of sessions. */
  readonly calls: ReadonlyMap<number, Figures>;
}

/**
 * @param seconds how long each load runs. @param opens how many sessions are opened one after another.
 * @param token a bearer, where the server wants one.
 */
export async function measure(
  origin: string,
  path: string,
  options: { seconds: number; opens: number; token?: string; sessions?: readonly number[] },
): Promise<HttpFigures> {
  const connections = pool(origin, 64);
  const open = (): Promise<BenchSession> => BenchSession.open(connections, path, options.token);
  try {
    await (await open()).close();
    const oneByOne = await each(
      Array.from({ length: options.opens }, () => async () => {
        const session = await open();
        await session.request('tools/call', CALL);
        return session;
      }),
      1,
    );
    await Promise.all(oneByOne.results.map((session) => session.close()));
    const parallel = await each(
      Array.from({ length: 20 }, () => open),
      4,
    );
    await Promise.all(parallel.results.map((session) => session.close()));

    const calls = new Map<number, Figures>();
    for (const count of options.sessions ?? SESSIONS) {
      const { results } = await each(
        Array.from({ length: count }, () => open),
        4,
      );
      calls.set(
        count,
        await load(
          results.map((session) => () => session.request('tools/call', CALL)),
          options.seconds * 1000,
        ),
      );
      await Promise.all(results.map((session) => session.close()));
    }
    return { open: oneByOne.figures, openParallel: parallel.figures, calls };
  } finally {
    await connections.destroy();
  }
}

/** The rows of one server's figures. */
export function rows(name: string, f: HttpFigures): [string, Figures][] {
  return [
    [`${name}: open and first call, one by one`, f.open],
    [`${name}: open 20, 4 at a time`, f.openParallel],
    ...[...f.calls].map(([count, figures]): [string, Figures] => [`${name}: call, ${count} sessions`, figures]),
  ];
}
