/** Client metadata documents fetched inside of a network namespace of the test's own, where public addresses are the test's. */
import { Namespace } from './namespace';

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

export interface DocumentNamespace {
  try(attempt: Attempt): Promise<Report>;
  stop(): Promise<void>;
}

/** Starts the namespace; as root. Everything in it ends with its one process. */
export async function cimdNamespace(): Promise<DocumentNamespace> {
  const namespace = await Namespace.start({
    program: 'cimd-namespace.ts',
    addresses: [PUBLIC, PUBLIC_MUTE, PUBLIC_CLOSED, '10.1.2.3', '169.254.169.254', PUBLIC_V6, 'fd00:1::1'],
    // None of them may change what the fetch does.
    env: { HTTPS_PROXY: 'http://10.1.2.3:80', NODE_USE_ENV_PROXY: '1', NODE_TLS_REJECT_UNAUTHORIZED: '0' },
  });
  return {
    try: async (attempt) => (await namespace.ask(attempt)) as Report,
    stop: () => namespace.stop(),
  };
}
