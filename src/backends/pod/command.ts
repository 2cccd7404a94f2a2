/** What the launcher of a session is told to run. */
import type { ServerSpec } from '../../config/server';
import type { ChildCommand } from './sealed/contract';

/**
 * The credential proxy's CA certificate inside the pod. `/dev/shm` is the one place of a container with a read-only root that every runtime
 * makes writable without a volume.
 */
export const CA_FILE = '/dev/shm/forgejo-mcp-operator/ca.crt';

export interface Trust {
  /** The credential proxy's CA certificate (PEM, public), for children that reach the proxy over TLS. */
  readonly ca?: string;
  /** Names of the child's environment variables that point at the CA's file. `SSL_CERT_FILE` unless set. */
  readonly caEnv?: readonly string[];
}

/** The command, environment and files of a server's child. The server's own variables win over the CA's, and the session's secrets over both. */
export function childCommand(
  server: ServerSpec,
  secrets: Readonly<Record<string, string>>,
  trust: Trust,
): ChildCommand {
  const { ca, caEnv = ['SSL_CERT_FILE'] } = trust;
  const env = { ...server.env, ...secrets };
  if (ca === undefined) return { argv: server.command, env };
  const pointers = Object.fromEntries(caEnv.map((name) => [name, CA_FILE]));
  return { argv: server.command, env: { ...pointers, ...env }, files: { [CA_FILE]: ca } };
}
