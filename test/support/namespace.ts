/** A program of the tests in network and mount namespaces of its own: addresses and names are the test's there, and nothing else can be reached. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface NamespaceOptions {
  /** A TypeScript file in this folder. It sends `ready`, then one message for each that it gets, and exits when the channel closes. */
  readonly program: string;
  /** Addresses of its loopback device beside 127.0.0.1 and ::1; without their prefix lengths. */
  readonly addresses: readonly string[];
  /** Beside the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Search domains as a pod has them: the name server answers for what a resolver makes of them, too. */
const RESOLV_CONF =
  'nameserver 127.0.0.1\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:1 attempts:1\n';
const ANSWER_DEADLINE_MS = 60_000;
const EXIT_DEADLINE_MS = 10_000;

export class Namespace {
  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {}

  /** Starts the program and waits until it is ready; as root. Everything in the namespaces ends with it. */
  static async start({ program, addresses, env }: NamespaceOptions): Promise<Namespace> {
    const folder = mkdtempSync(join(tmpdir(), 'fmo-namespace-'));
    const resolvConf = join(folder, 'resolv.conf');
    writeFileSync(resolvConf, RESOLV_CONF);
    const steps = [
      'mount --make-rprivate /',
      `mount --bind ${resolvConf} /etc/resolv.conf`,
      'ip link set lo up',
      ...addresses.map((address) =>
        address.includes(':') ? `ip -6 address add ${address}/128 dev lo nodad` : `ip address add ${address}/32 dev lo`,
      ),
      'exec "$0" "$@"',
    ];
    const command = [process.execPath, '-r', 'ts-node/register/transpile-only', join(__dirname, program)];
    const child = spawn('unshare', ['--net', '--mount', 'sh', '-c', steps.join(' && '), ...command], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, ...env, NODE_NO_WARNINGS: '1' },
    });
    const namespace = new Namespace(child, folder);
    await namespace.next();
    return namespace;
  }

  /** One message there, and the one that comes back; one at a time. Rejects when the program exits instead. */
  async ask(message: object): Promise<unknown> {
    this.child.send(message);
    return this.next();
  }

  async stop(): Promise<void> {
    const exited = once(this.child, 'exit', { signal: AbortSignal.timeout(EXIT_DEADLINE_MS) });
    this.child.disconnect();
    await exited;
    rmSync(this.folder, { recursive: true });
  }

  private async next(): Promise<unknown> {
    const done = new AbortController();
    const signal = AbortSignal.any([done.signal, AbortSignal.timeout(ANSWER_DEADLINE_MS)]);
    try {
      return await Promise.race([
        once(this.child, 'message', { signal }).then(([message]) => message as unknown),
        once(this.child, 'exit', { signal }).then(([code]) =>
          Promise.reject(new Error(`the namespace exited with ${code}`)),
        ),
      ]);
    } finally {
      done.abort();
    }
  }
}
