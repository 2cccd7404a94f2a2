/** A real forge for tests: Gitea on a free loopback port, with a data folder of its own and the users of scripts/seed-forge.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import {
  type Account,
  callForge,
  type ForgeAnswer,
  type ForgeCall,
  type Seed,
  seedForge,
  type SeededUser,
} from '../../scripts/seed-forge';
import { peerFolder } from './peers';
import { freePort } from './ports';

const RUN = resolve(__dirname, '../peers/forge/run.sh');
const READY_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 10_000;
const POLL_MS = 50;
const LOG_KEPT = 16 * 1024;
/** Another process can take the port between finding and using it. */
const START_ATTEMPTS = 3;

/** What a test may ask of its forge. */
export interface ForgeOptions {
  /** More lines for app.ini, such as `[oauth2]` and `ACCESS_TOKEN_EXPIRATION_TIME = 15`. */
  readonly ini?: string;
  /** The users to make; `alice` and `bob` if absent. */
  readonly users?: readonly string[];
}

/** An OAuth application of the administrator's. */
export interface ForgeApplication {
  /** For deleting it. */
  readonly id: number;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** A running forge. */
export interface Forge {
  /** Without a trailing slash; the API is below `/api/v1`. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly admin: Account;
  readonly users: Readonly<Record<string, SeededUser>>;
  readonly organization: string;
  /** A user of the seed; throws for a name that is not in it. */
  user(name: string): SeededUser;
  /** Calls the API, as the administrator unless the call says otherwise; every status is an answer. */
  api(path: string, call?: ForgeCall): Promise<ForgeAnswer>;
  /** Adds users like those of the seed, or gives the present ones. */
  addUsers(...names: string[]): Promise<readonly SeededUser[]>;
  /** Makes a further access token with these scopes, such as `read:repository`. */
  token(name: string, scopes: readonly string[]): Promise<string>;
  /** Makes a confidential OAuth application. */
  application(name: string, redirectUri: string): Promise<ForgeApplication>;
  /** Deletes an OAuth application: its grants and tokens are gone with it. */
  deleteApplication(application: ForgeApplication): Promise<void>;
  /** Stops it with SIGSTOP, so that connections are accepted and nothing answers; `resume` undoes it. */
  freeze(): void;
  resume(): void;
  /** The last 16 KiB of its log. */
  log(): string;
  /** Ends it as a crash would. */
  kill(): Promise<void>;
  /** Starts it again on the same port with the same data, after `kill`. */
  restart(): Promise<void>;
  /** Ends it and removes its data; does nothing the second time. */
  stop(): Promise<void>;
}

/** Starts a forge and seeds it: about 4 s. Throws with the end of its log if it is not ready within a minute. */
export async function startForge(options: ForgeOptions = {}): Promise<Forge> {
  const data = await mkdtemp(join(tmpdir(), 'fmo-forge-'));
  const runner = new ForgeProcess(data, await peerFolder('forge'), options.ini ?? '');
  try {
    await runner.start();
    const admin = { name: 'forge-admin', password: await readFile(join(data, 'admin-password'), 'utf8') };
    const seed = await seedForge({ url: runner.url, admin, ...(options.users ? { users: options.users } : {}) });
    return new SeededForge(runner, admin, seed);
  } catch (error) {
    await runner.remove();
    throw error;
  }
}

/** The process and its folder. */
class ForgeProcess {
  port = 0;
  private child: ChildProcess | undefined;
  private tail = '';
  private readonly killAtExit = (): void => void this.child?.kill('SIGKILL');

  constructor(
    private readonly data: string,
    private readonly home: string,
    private readonly ini: string,
  ) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.running().pid!;
  }

  get log(): string {
    return this.tail;
  }

  /** Starts it on a free port, or on `port` where one is given, and waits until it is healthy. */
  async start(port?: number): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.port = port ?? (await freePort());
      this.launch();
      if (await this.healthy()) return;
      await this.kill();
      if (attempt === START_ATTEMPTS) throw new Error(`the forge did not get ready; the end of its log:\n${this.tail}`);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.running().kill(signal);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.child;
    if (child && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill(signal);
      const patience = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
      await exited;
      clearTimeout(patience);
    }
    this.child = undefined;
    process.off('exit', this.killAtExit);
  }

  async remove(): Promise<void> {
    if (this.child) this.child.kill('SIGCONT');
    await this.kill('SIGTERM');
    await rm(this.data, { recursive: true, force: true });
  }

  private launch(): void {
    // The environment is named, not inherited: a proxy or a token of the developer's has no business here.
    const child = spawn(RUN, ['serve'], {
      env: {
        PATH: process.env['PATH'],
        FORGE_HOME: this.home,
        FORGE_DATA: this.data,
        FORGE_HTTP_PORT: String(this.port),
        FORGE_INI: this.ini,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const keep = (chunk: Buffer): void => {
      this.tail = (this.tail + chunk.toString()).slice(-LOG_KEPT);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    this.child = child;
    process.on('exit', this.killAtExit);
  }

  private async healthy(): Promise<boolean> {
    const deadline = Date.now() + READY_DEADLINE_MS;
    while (Date.now() < deadline && this.running().exitCode === null) {
      const answer = await fetch(`${this.url}/api/healthz`, { signal: AbortSignal.timeout(2000) }).catch(
        () => undefined,
      );
      await answer?.arrayBuffer();
      if (answer?.ok) return true;
      await new Promise((next) => setTimeout(next, POLL_MS));
    }
    return false;
  }

  private running(): ChildProcess {
    if (!this.child) throw new Error('the forge is not running');
    return this.child;
  }
}

class SeededForge implements Forge {
  private seed: Seed;

  constructor(
    private readonly runner: ForgeProcess,
    readonly admin: Account,
    seed: Seed,
  ) {
    this.seed = seed;
  }

  get url(): string {
    return this.runner.url;
  }

  get port(): number {
    return this.runner.port;
  }

  get pid(): number {
    return this.runner.pid;
  }

  get users(): Readonly<Record<string, SeededUser>> {
    return this.seed.users;
  }

  get organization(): string {
    return this.seed.organization;
  }

  user(name: string): SeededUser {
    const user = this.seed.users[name];
    if (!user) throw new Error(`the forge was seeded without a user ${name}`);
    return user;
  }

  api(path: string, call: ForgeCall = {}): Promise<ForgeAnswer> {
    return callForge(this.url, path, { as: this.admin, ...call });
  }

  async addUsers(...names: string[]): Promise<readonly SeededUser[]> {
    const added = await seedForge({ url: this.url, admin: this.admin, users: names, previous: this.seed });
    this.seed = { ...this.seed, users: { ...this.seed.users, ...added.users } };
    return names.map((name) => this.user(name));
  }

  async token(name: string, scopes: readonly string[]): Promise<string> {
    const account = this.user(name);
    const path = `/users/${name}/tokens`;
    const answer = await callForge(this.url, path, {
      as: { name: account.name, password: account.password },
      body: { name: `test-${process.hrtime.bigint()}`, scopes },
    });
    if (answer.status !== 201) throw new Error(`the forge answered ${answer.status} to a token for ${name}`);
    return answer.body.sha1 as string;
  }

  async application(name: string, redirectUri: string): Promise<ForgeApplication> {
    const { status, body } = await this.api('/user/applications/oauth2', {
      body: { name, redirect_uris: [redirectUri], confidential_client: true },
    });
    if (status !== 201) throw new Error(`the forge answered ${status} to an OAuth application`);
    return {
      id: body.id as number,
      clientId: body.client_id as string,
      clientSecret: body.client_secret as string,
    };
  }

  async deleteApplication({ id }: ForgeApplication): Promise<void> {
    const { status } = await this.api(`/user/applications/oauth2/${id}`, { method: 'DELETE' });
    if (status !== 204) throw new Error(`the forge answered ${status} to deleting an OAuth application`);
  }

  freeze(): void {
    this.runner.signal('SIGSTOP');
  }

  resume(): void {
    this.runner.signal('SIGCONT');
  }

  log(): string {
    return this.runner.log;
  }

  kill(): Promise<void> {
    return this.runner.kill();
  }

  restart(): Promise<void> {
    return this.runner.start(this.runner.port);
  }

  stop(): Promise<void> {
    return this.runner.remove();
  }
}
