/** Client metadata documents fetched inside of a network namespace of the test's own, where public addresses are the test's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Addresses of the public Internet, in a namespace that has no way to it. */
export const PUBLIC = '20.20.20.20';
export const PUBLIC_V6 = '2a00:1234:0:0:0:0:0:1';
export const PUBLIC_MUTE = '20.20.20.21';
export const PUBLIC_CLOSED = '20.20.20.22';

/** Addresses with listeners that count who comes. */
export const INTERNAL = ['127.0.0.1', '10.1.2.3', '169.254.169.254', '::1', 'fd00:1::1'];

/** What to try, as data: it goes to another process. */
export interface Attempt {
  /** The client id; one of the host that answers unless given. */
  readonly id?: string;
  /** What the resolver answers, call by call; the last one again and again. */
  readonly answers?: readonly (readonly string[])[];
  /** With this the real resolver asks a real name server, which has this zone. */
  readonly zone?: Readonly<Record<string, readonly string[]>>;
  readonly host?: {
    readonly manner?: 'silent' | 'drip' | 'endless';
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
    /** Base64; the right document unless given. */
    readonly body?: string;
  };
  readonly refused?: readonly string[];
  /** The test's authority is not believed. */
  readonly untrusted?: boolean;
  readonly deadlineMs?: number;
  /** Finds at once, each day. */
  readonly atOnce?: number;
  /** Finds on so many days, one after the other. */
  readonly days?: number;
}

export type Outcome =
  { readonly client: string } | { readonly code: string; readonly message: string; readonly detail: string };

/** What happened. */
export interface Report {
  outcomes: Outcome[];
  /** HTTP requests and TCP connections that the public host saw. */
  requests: number;
  connections: number;
  /** Connections to internal addresses. */
  internal: string[];
  /** Calls of the resolver that was handed in. */
  lookups: number;
  /** Names that the name server was asked for. */
  names: string[];
  /** Answers that were ended by the other side before they were whole. */
  cutOff: number;
  cookies: number;
}

export interface Namespace {
  try(attempt: Attempt): Promise<Report>;
  stop(): Promise<void>;
}

/** Search domains as a pod has them: the name server answers for what a resolver makes of them, too. */
const RESOLV_CONF =
  'nameserver 127.0.0.1\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:1 attempts:1\n';

/** Starts the namespace; as root. Everything in it ends with its one process. */
export async function cimdNamespace(): Promise<Namespace> {
  const folder = mkdtempSync(join(tmpdir(), 'fmo-cimd-'));
  const resolvConf = join(folder, 'resolv.conf');
  writeFileSync(resolvConf, RESOLV_CONF);
  const v4 = [PUBLIC, PUBLIC_MUTE, PUBLIC_CLOSED, '10.1.2.3', '169.254.169.254'];
  const steps = [
    'mount --make-rprivate /',
    `mount --bind ${resolvConf} /etc/resolv.conf`,
    'ip link set lo up',
    ...v4.map((address) => `ip address add ${address}/32 dev lo`),
    ...[PUBLIC_V6, 'fd00:1::1'].map((address) => `ip -6 address add ${address}/128 dev lo nodad`),
    'exec "$0" "$@"',
  ];
  const program = [process.execPath, '-r', 'ts-node/register/transpile-only', join(__dirname, 'cimd-namespace.ts')];
  const child = spawn('unshare', ['--net', '--mount', 'sh', '-c', steps.join(' && '), ...program], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: {
      ...process.env,
      // Neither may change what the fetch does.
      HTTPS_PROXY: 'http://10.1.2.3:80',
      NODE_USE_ENV_PROXY: '1',
      NODE_TLS_REJECT_UNAUTHORIZED: '0',
      NODE_NO_WARNINGS: '1',
    },
  });
  await next(child);
  return {
    async try(attempt) {
      child.send(attempt);
      return (await next(child)) as Report;
    },
    async stop() {
      const exited = once(child, 'exit', { signal: AbortSignal.timeout(10_000) });
      child.disconnect();
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
}

/** The child's next message; rejects when it exits instead. */
async function next(child: ChildProcess): Promise<unknown> {
  const done = new AbortController();
  const signal = AbortSignal.any([done.signal, AbortSignal.timeout(30_000)]);
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([message]) => message as unknown),
      once(child, 'exit', { signal }).then(([code]) => Promise.reject(new Error(`the namespace exited with ${code}`))),
    ]);
  } finally {
    done.abort();
  }
}
