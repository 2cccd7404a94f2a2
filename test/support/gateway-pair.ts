/**
 * Two gateways, each a process of its own, that share a store, keys and a public URL. In front of them stands a forwarder of connections that keeps each
 * client at one of them, by the loopback address that it comes from; who comes from another address, such as people's browsers, meets either.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Agent, fetch as undiciFetch } from 'undici';
import { masterKeys } from '../../src/auth/keys/master';
import { systemClock } from '../../src/clock';
import { loadKeys } from '../../src/config/key-files';
import type { RecordStore } from '../../src/stores/contract';
import { type Collection, collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { ensureForgeApplications, type ForgeApplications } from '../../scripts/forge-applications';
import type { Forge } from './forge';
import { Logins } from './logins';
import type { OAuthBrowser } from './oauth-browser';
import type { LoggedIn, LoginOptions } from './oauth-login';
import { freePort } from './ports';
import { until } from './until';

const ROOT = resolve(__dirname, '../..');
const READY_MS = 60_000;
const STOP_MS = 60_000;

/** Which of the two. */
export type Side = 0 | 1;
/** Files of keys that both read. */
export type KeyFile = 'oauth' | 'sessions' | 'proxy';

export interface GatewayPairOptions {
  readonly forge: Forge;
  /** As in a file; both are given the forge and the applications beside it. */
  readonly settings: Readonly<Record<string, unknown>> & { readonly auth?: object };
  /** The child's command. */
  readonly command: readonly string[];
}

export interface GatewayPair {
  /** Of the endpoint `/mcp`, the same for both. */
  readonly url: string;
  readonly applications: ForgeApplications;
  /** `fetch` of a client that stays with one of them. */
  fetchOf(side: Side): typeof fetch;
  /** For an `McpClient` that stays with one of them; to be closed with it. */
  agentOf(side: Side): Agent;
  /** A new browser of a user of the forge. */
  browser(user: string): OAuthBrowser;
  login(user: string, options?: Partial<LoginOptions>): Promise<LoggedIn>;
  /** Sum of the samples that begin so, over both or of one. */
  metric(begin: string, side?: Side): Promise<number>;
  /** HTTP status of `/readyz`. */
  ready(side: Side): Promise<number>;
  /** What it wrote to its log up to now, earlier runs included. */
  log(side: Side): string;
  /** Ends it in order, and says with which status. */
  stopOne(side: Side): Promise<number | null>;
  start(side: Side): Promise<void>;
  keys(file: KeyFile): Promise<string[]>;
  /** Writes a key file anew; who reads it is started again. */
  setKeys(file: KeyFile, keys: readonly string[]): Promise<void>;
  /** A kind of records of the shared store, read as the gateways do. */
  records<T>(kind: string): Promise<Collection<T>>;
  stop(): Promise<void>;
}

/** Starts both, and waits until they are ready. */
export async function startGatewayPair({ forge, settings, command }: GatewayPairOptions): Promise<GatewayPair> {
  const folder = await mkdtemp(join(tmpdir(), 'fmo-pair-'));
  const front = new Front();
  const publicUrl = await front.listen();
  const members: [Member, Member] = [new Member(), new Member()];
  const stores: RecordStore[] = [];
  const agents: Agent[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(agents.map((agent) => agent.destroy()));
    await Promise.all(members.map((member) => member.stop()));
    await front.close();
    for (const store of stores) await store.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const applications = await ensureForgeApplications({ url: forge.url, admin: forge.admin, publicUrl });
    const application = async (kind: keyof ForgeApplications) => {
      const clientSecretFile = join(folder, kind);
      await writeFile(clientSecretFile, applications[kind].clientSecret, { mode: 0o600 });
      return { clientId: applications[kind].clientId, clientSecretFile };
    };
    const fileOf = (name: KeyFile): string => join(folder, `${name}.key`);
    const storePath = join(folder, 'store.sqlite');
    const forgejo = {
      url: forge.url,
      tokenEnv: ['FORGEJO_TOKEN_READ_ONLY'],
      applications: { read: await application('read'), write: await application('write') },
    };
    for (const [index, member] of members.entries()) {
      const dataDir = join(folder, `gateway-${index}`);
      await mkdir(dataDir);
      member.port = await freePort();
      member.opsPort = await freePort();
      member.file = join(dataDir, 'config.json');
      const { oauth, ...auth } = { mode: 'oauth', ...settings.auth } as { mode: string; oauth?: object };
      await writeFile(
        member.file,
        JSON.stringify({
          ...settings,
          dataDir,
          http: { listen: `127.0.0.1:${member.port}`, publicUrl },
          ops: { listen: `127.0.0.1:${member.opsPort}`, checkCache: '0s' },
          store: { path: storePath },
          auth: { ...auth, oauth: { ...oauth, keyFile: fileOf('oauth') } },
          sessions: { maxPerUser: 100, ...(settings['sessions'] as object | undefined), keyFile: fileOf('sessions') },
          proxy: { keyFile: fileOf('proxy') },
          servers: [{ name: 'forgejo', command, forgejo }],
        }),
      );
    }
    front.ports = [members[0].port, members[1].port];
    for (const member of members) await member.start(); // one after the other: the first makes the keys
    const logins = new Logins(forge.url, (user) => forge.user(user));
    const agentOf = (side: Side): Agent => {
      const agent = new Agent({ connections: 64, localAddress: ADDRESSES[side] });
      agents.push(agent);
      return agent;
    };
    const fetches = ([0, 1] as const).map((side) => {
      const dispatcher = agentOf(side);
      const pinned = (url: string | URL, init: object = {}) => undiciFetch(url, { ...init, dispatcher });
      return pinned as unknown as typeof fetch;
    });
    const url = `${publicUrl}/mcp`;
    return {
      url,
      applications,
      fetchOf: (side) => fetches[side],
      agentOf,
      browser: (user) => logins.browser(user),
      login: (user, options = {}) => logins.login(user, { url, ...options }),
      async metric(begin, side) {
        const of = side === undefined ? members : [members[side]];
        const counts = await Promise.all(of.map((member) => member.metric(begin)));
        return counts.reduce((sum, count) => sum + count, 0);
      },
      ready: (side) => members[side].ready(),
      log: (side) => members[side].log,
      stopOne: (side) => members[side].stop(),
      start: (side) => members[side].start(),
      keys: async (file) => (await readFile(fileOf(file), 'utf8')).split('\n').filter((line) => line !== ''),
      async setKeys(file, keys) {
        await writeFile(fileOf(file), `${keys.join('\n')}\n`);
        await chmod(fileOf(file), 0o600);
      },
      async records<T>(kind: string) {
        const store = openSqliteRecordStore(storePath, systemClock);
        stores.push(store);
        return collection<T>(store, kind, masterKeys(await loadKeys(fileOf('oauth'))));
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Where clients come from that stay with one gateway: any address of 127.0.0.0/8 is this machine's. */
const ADDRESSES = ['127.0.0.2', '127.0.0.3'] as const;

class Front {
  ports: readonly [number, number] = [0, 0];
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((client) => this.#forward(client));
  #count = 0;

  /** The public URL. */
  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }

  #forward(client: Socket): void {
    const pinned = ADDRESSES.findIndex((address) => address === client.remoteAddress);
    const port = this.ports[pinned === -1 ? this.#count++ % 2 : pinned] ?? 0;
    const gateway = connect({ port, host: '127.0.0.1' });
    for (const [socket, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  }
}

/** One gateway, which is started again with the same data. */
class Member {
  port = 0;
  opsPort = 0;
  file = '';
  log = '';
  #process: ChildProcess | undefined;
  #exited: Promise<number | null> = Promise.resolve(null);
  readonly #killAtExit = (): void => void this.#process?.kill('SIGKILL');

  async start(): Promise<void> {
    // The environment is named, not inherited: settings of the developer's have no business here.
    const child = spawn(
      process.execPath,
      ['-r', 'ts-node/register/transpile-only', 'src/main.ts', '--config', this.file],
      {
        cwd: ROOT,
        env: { PATH: process.env['PATH'] },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    child.stderr.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    this.#process = child;
    this.#exited = once(child, 'close').then(([status]) => status as number | null);
    process.on('exit', this.#killAtExit);
    const ready = async (): Promise<boolean> => (await this.ready()) === 200 || child.exitCode !== null;
    await until('the gateway to be ready', ready, READY_MS);
    if (child.exitCode !== null) throw new Error(`the gateway did not start:\n${this.log.slice(-2000)}`);
  }

  async stop(): Promise<number | null> {
    const child = this.#process;
    this.#process = undefined;
    process.off('exit', this.#killAtExit);
    child?.kill('SIGTERM');
    const patience = setTimeout(() => child?.kill('SIGKILL'), STOP_MS);
    const status = await this.#exited;
    clearTimeout(patience);
    return status;
  }

  async ready(): Promise<number> {
    const { status, body } = await fetch(`http://127.0.0.1:${this.opsPort}/readyz`);
    await body?.cancel();
    return status;
  }

  async metric(begin: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.opsPort}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(begin));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }
}
