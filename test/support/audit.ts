/** What the test cluster's API server wrote down of a service account: test/cluster/manifests/audit.yaml says what that is. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cluster } from './cluster';

export interface AuditedRequest {
  readonly verb: string;
  /** `''` for the core API. */
  readonly group: string;
  /** With its subresource: `pods/attach`. */
  readonly resource: string;
  /** `''` for what belongs to no namespace. */
  readonly namespace: string;
  readonly allowed: boolean;
  readonly userAgent: string;
  /** HTTP status of the answer. */
  readonly status: number;
}

interface Event {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly apiGroup?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Every request for a resource that an account made since the cluster was started. */
export async function auditedRequests(namespace: string, account: string): Promise<AuditedRequest[]> {
  const folder = join(cluster().state, 'log');
  const files = (await readdir(folder)).filter((name) => /^audit.*\.log$/.test(name));
  if (files.length === 0) throw new Error('the API server writes no audit log: test/cluster/restart.sh kube-apiserver');
  const lines = (await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))).join('').split('\n');
  const username = `system:serviceaccount:${namespace}:${account}`;
  return lines
    .filter((line) => line.includes(`"${username}"`))
    .map((line) => JSON.parse(line) as Event)
    .filter(({ user, objectRef }) => user.username === username && objectRef?.resource !== undefined)
    .map(({ verb, objectRef, annotations, userAgent, responseStatus }) => ({
      verb,
      group: objectRef?.apiGroup ?? '',
      resource: [objectRef?.resource, objectRef?.subresource].filter((part) => part !== undefined).join('/'),
      namespace: objectRef?.namespace ?? '',
      allowed: annotations?.['authorization.k8s.io/decision'] === 'allow',
      userAgent: userAgent ?? '',
      status: responseStatus?.code ?? 0,
    }));
}
