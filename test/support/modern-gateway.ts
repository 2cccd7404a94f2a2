/** A whole gateway with real children, spoken to without sessions: what the integration tests of MCP 2026-07-28 share. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BearerForge, type BearerGateway, type ServerSettings, startBearerGateway } from './bearer-gateway';
import { META, StatelessClient, type StatelessAnswer } from './stateless-client';

export const SUBSCRIPTION_ID = `${META}subscriptionId`;
export const SERVER_INFO = `${META}serverInfo`;

/** A client that can be asked everything. */
export const EVERYTHING = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} };

/** `_meta` of a request that wants log messages. */
export const logLevel = (level: string): object => ({ [`${META}logLevel`]: level });

export interface ModernGateway<F extends BearerForge = BearerForge> extends BearerGateway<F> {
  /** A user's client for a server; closed by {@link closeClients}. */
  client(server: string, options?: { readonly user?: string; readonly capabilities?: object }): StatelessClient;
  closeClients(): Promise<void>;
}

/** Starts it with its forge. Idle children are looked for every 100 ms. */
export async function startModernGateway<F extends BearerForge>(
  startForge: () => Promise<F>,
  servers: Readonly<Record<string, ServerSettings>>,
  sessions: object = {},
): Promise<ModernGateway<F>> {
  const gateway = await startBearerGateway(startForge, servers, {
    sessions: { maxPerUser: 100, sweepInterval: '0.1s', opensPerMinutePerUser: 0, opensPerMinute: 0, ...sessions },
  });
  const clients: StatelessClient[] = [];
  const closeClients = async (): Promise<void> => {
    for (const client of clients.splice(0)) await client.close();
  };
  return {
    ...gateway,
    client(server, { user = 'alice', capabilities = EVERYTHING } = {}) {
      const client = new StatelessClient(gateway.urlOf(server), gateway.tokenOf(user), capabilities);
      clients.push(client);
      return client;
    },
    closeClients,
    async stop() {
      await closeClients();
      await gateway.stop();
    },
  };
}

/** The children of this process whose command line has this word, by process id; those that have exited are none. */
export async function childrenWith(word: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const read = (file: string): Promise<string> => readFile(join('/proc', pid, file), 'utf8').catch(() => '');
      const [state, parent] = (await read('stat')).split(') ').at(-1)?.split(' ') ?? [];
      if (state === 'Z' || parent !== String(process.pid)) return undefined;
      return (await read('cmdline')).split('\0').includes(word) ? Number(pid) : undefined;
    }),
  );
  return found.filter((pid) => pid !== undefined);
}

/** What a client must answer before its call goes on. */
export interface Asked {
  readonly requests: Readonly<Record<string, { readonly method: string; readonly params: any }>>;
  readonly state: string | undefined;
  /** Names of the questions. */
  readonly keys: readonly string[];
}

/** Reads an answer that asks; throws if it does not. */
export function askedBy({ status, answer }: StatelessAnswer): Asked {
  const { resultType, inputRequests, requestState } = answer?.result ?? {};
  if (status !== 200 || resultType !== 'input_required') {
    throw new Error(`asks nothing: ${String(status)} ${JSON.stringify(answer)}`);
  }
  return { requests: inputRequests, state: requestState, keys: Object.keys(inputRequests) };
}

/** The text of an answer of a tool's; throws if there is none. */
export function textIn({ status, answer }: StatelessAnswer): string {
  const text = answer?.result?.content?.[0]?.text;
  if (typeof text !== 'string') throw new Error(`no text: ${String(status)} ${JSON.stringify(answer)}`);
  return text;
}

/** The JSON in an answer of a tool's. */
export const jsonIn = (answer: StatelessAnswer): any => JSON.parse(textIn(answer));
