/** A service account of the test cluster: what the API server answers whoever has its token. */
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import { parse } from 'yaml';
import { cluster, kubectl } from './cluster';

export interface ApiAnswer {
  readonly status: number;
  readonly body: any;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export class Account {
  readonly #server: string;
  readonly #ca: Buffer;
  readonly #token: string;
  readonly #dispatcher: Agent;
  readonly #headers: Readonly<Record<string, string>>;

  private constructor(server: string, ca: Buffer, token: string) {
    this.#server = server;
    this.#ca = ca;
    this.#token = token;
    this.#dispatcher = new Agent({ connect: { ca } });
    this.#headers = { authorization: `Bearer ${token}`, accept: 'application/json' };
  }

  /** Asks the API server for a token of the account's. */
  static async of(namespace: string, name: string): Promise<Account> {
    const config = parse(await readFile(cluster().kubeconfig, 'utf8')) as {
      clusters: { cluster: { server: string; 'certificate-authority-data': string } }[];
    };
    const { server, 'certificate-authority-data': ca } = config.clusters[0].cluster;
    const token = await kubectl(['-n', namespace, 'create', 'token', name]);
    return new Account(server, Buffer.from(ca, 'base64'), token.trim());
  }

  /** A configuration file's text for programs that act as the account. */
  kubeconfig(): string {
    const cluster = { server: this.#server, 'certificate-authority-data': this.#ca.toString('base64') };
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'cluster', cluster }],
      users: [{ name: 'account', user: { token: this.#token } }],
      contexts: [{ name: 'context', context: { cluster: 'cluster', user: 'account' } }],
      'current-context': 'context',
    });
  }

  /** One request. A body that is an array is a JSON Patch. */
  async ask(method: Method, path: string, body?: object): Promise<ApiAnswer> {
    const type = Array.isArray(body) ? 'application/json-patch+json' : 'application/json';
    const answer = await request(`${this.#server}${path}`, {
      method,
      dispatcher: this.#dispatcher,
      headers: body === undefined ? this.#headers : { ...this.#headers, 'content-type': type },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(20_000),
    });
    return { status: answer.statusCode, body: await answer.body.json() };
  }

  /** Makes a pod, or only asks whether it would be taken. */
  create(pod: any, dryRun = true): Promise<ApiAnswer> {
    return this.ask('POST', `/api/v1/namespaces/${pod.metadata.namespace}/pods${dryRun ? '?dryRun=All' : ''}`, pod);
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
  }
}
