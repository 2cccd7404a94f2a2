/**
 * Whole logins by a client ID metadata document, in a network namespace of the test's own: a public host serves the document over https there, beside a
 * gateway that believes the test's authority, a real forge, and the clients.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCertificate } from '../../src/forgejo/proxy/tls';
import { Namespace } from './namespace';
import { peerFolder } from './peers';

/** Public, and in the namespace only. */
export const DOCUMENT_ADDRESS = '20.20.20.20';
export const DOCUMENT_HOST = 'agent.test-host.org';
export const CLIENT_NAME = 'An agent with a document';

export const SDKS = ['the TypeScript SDK', 'the second version of the TypeScript SDK', 'the Python SDK'] as const;
export type Sdk = (typeof SDKS)[number];

/** What came of one login; it goes from process to process. */
export interface CimdLogin {
  /** The document's URL: each SDK has its own. */
  readonly document: string;
  /** In the authorization request. */
  readonly clientId: string;
  /** Paths that were asked for at the document's host. */
  readonly fetched: readonly string[];
  readonly consentPage: string;
  /** The page of connections, after the tool call. */
  readonly connectionsPage: string;
  /** What the tool call gave, as JSON. */
  readonly file: string;
  /** What the file holds. */
  readonly secret: string;
}

export interface CimdLogins {
  /** From the bare URL to the user's private file. Rejects with what failed. */
  login(sdk: Sdk): Promise<CimdLogin>;
  stop(): Promise<void>;
}

/** Starts all of it; as root. */
export async function cimdLogins(): Promise<CimdLogins> {
  // What is not built yet is built here, where there is a way to the registries.
  await Promise.all((['forge', 'forgejo-mcp-rs', 'python-client'] as const).map(peerFolder));
  const folder = mkdtempSync(join(tmpdir(), 'fmo-cimd-logins-'));
  const { ca, cert, key } = createCertificate([DOCUMENT_HOST], [randomBytes(32)]);
  for (const [name, pem] of Object.entries({ ca, cert, key })) writeFileSync(join(folder, name), pem, { mode: 0o600 });
  const namespace = await Namespace.start({
    program: 'cimd-logins-namespace.ts',
    addresses: [DOCUMENT_ADDRESS],
    env: { DOCUMENT_TLS: folder, NODE_EXTRA_CA_CERTS: join(folder, 'ca') },
  });
  return {
    async login(sdk) {
      const told = (await namespace.ask({ sdk })) as CimdLogin | { readonly failed: string };
      if ('failed' in told) throw new Error(told.failed);
      return told;
    },
    async stop() {
      await namespace.stop();
      rmSync(folder, { recursive: true });
    },
  };
}
