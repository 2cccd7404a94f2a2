/**
 * Kubernetes objects in memory behind a {@link FakeApi}: resource versions, preconditions, patches and watches as the API server has them, so that loops can be
 * tested against conflicts and stale caches that no real cluster makes on demand.
 */
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { type ApiCall, FakeApi, json, status } from './fake-api';

export type Stored = Record<string, any> & { metadata: Record<string, any> };

interface Watcher {
  readonly collection: string;
  readonly selector: string;
  readonly response: ServerResponse;
}

export class FakeCluster {
  readonly api: FakeApi;
  /** Called before each call is answered; may answer it itself (true), or change what is stored: somebody else was quicker. */
  before: (call: ApiCall, response: ServerResponse) => boolean | void = () => undefined;
  /** No watch is told of anything while this is set: caches are stale. */
  deaf = false;
  readonly #objects = new Map<string, Stored>();
  readonly #watchers = new Set<Watcher>();
  readonly #unheard: { type: string; object: Stored; collection: string; before: Stored | undefined }[] = [];
  #version = 100;

  private constructor(api: FakeApi) {
    this.api = api;
    api.handle = (call, response) => {
      if (this.before(call, response) !== true) this.#handle(call, response);
    };
  }

  static async start(): Promise<FakeCluster> {
    return new FakeCluster(await FakeApi.start());
  }

  async close(): Promise<void> {
    for (const { response } of this.#watchers) response.destroy();
    await this.api.close();
  }

  /** `collection` is a path such as `/api/v1/namespaces/n/pods`. */
  all(collection: string): Stored[] {
    return [...this.#objects].filter(([path]) => parent(path) === collection).map(([, object]) => object);
  }

  get(path: string): Stored | undefined {
    return this.#objects.get(path);
  }

  /** Stores an object as if somebody else had: made, or replaced. */
  put(collection: string, object: Record<string, any>): Stored {
    const path = `${collection}/${object.metadata.name}`;
    const present = this.#objects.get(path);
    return this.#store(collection, path, {
      ...object,
      metadata: {
        uid: present?.metadata.uid ?? randomUUID(),
        creationTimestamp: present?.metadata.creationTimestamp ?? new Date().toISOString(),
        ...object.metadata,
      },
    });
  }

  remove(path: string): void {
    const object = this.#objects.get(path);
    if (object === undefined) return;
    this.#objects.delete(path);
    this.#tell('DELETED', { ...object, metadata: { ...object.metadata, resourceVersion: this.#next() } }, parent(path));
  }

  /** Tells what was kept from the watches. */
  hear(): void {
    this.deaf = false;
    for (const { type, object, collection, before } of this.#unheard.splice(0))
      this.#tell(type, object, collection, before);
  }

  #next(): string {
    return String(++this.#version);
  }

  #store(collection: string, path: string, object: Record<string, any>): Stored {
    const before = this.#objects.get(path);
    const stored: Stored = { ...object, metadata: { ...object.metadata, resourceVersion: this.#next() } };
    this.#objects.set(path, stored);
    this.#tell(before === undefined ? 'ADDED' : 'MODIFIED', stored, collection, before);
    return stored;
  }

  #tell(type: string, object: Stored, collection: string, before?: Stored): void {
    if (this.deaf) {
      this.#unheard.push({ type, object, collection, before });
      return;
    }
    for (const { collection: watched, selector, response } of this.#watchers) {
      if (watched !== collection) continue;
      if (selects(selector, object)) response.write(`${JSON.stringify({ type, object })}\n`);
      // To who selects it no longer it is gone.
      else if (before !== undefined && selects(selector, before))
        response.write(`${JSON.stringify({ type: 'DELETED', object })}\n`);
    }
  }

  #handle(call: ApiCall, response: ServerResponse): void {
    const path = decodeURIComponent(call.path);
    const isCollection = path.split('/namespaces/')[1]?.split('/').length === 2;
    if (isCollection) return this.#collection(call, path, response);
    const isStatus = path.endsWith('/status');
    const at = isStatus ? path.slice(0, -'/status'.length) : path;
    const present = this.#objects.get(at);
    if (present === undefined) return status(response, 404, 'NotFound', 'not found');
    const answer = (object: Stored): void => json(response, 200, JSON.stringify(object));
    const body = call.body === '' ? undefined : JSON.parse(call.body);
    switch (call.method) {
      case 'GET':
        return answer(present);
      case 'PUT':
        if (conflicts(body.metadata?.resourceVersion, present)) return conflict(response);
        return answer(this.#store(parent(at), at, { ...body, metadata: { ...body.metadata, ...fixed(present) } }));
      case 'PATCH': {
        const next = Array.isArray(body) ? patched(present, body) : merged(present, body);
        if (next === undefined) return status(response, 422, 'Invalid', 'a test does not hold');
        if (!Array.isArray(body) && conflicts(body.metadata?.resourceVersion, present)) return conflict(response);
        return answer(this.#store(parent(at), at, isStatus ? { ...present, status: next.status } : next));
      }
      case 'DELETE': {
        const { uid, resourceVersion } = body?.preconditions ?? {};
        if ((uid !== undefined && uid !== present.metadata.uid) || conflicts(resourceVersion, present))
          return conflict(response);
        this.remove(at);
        return json(response, 200, JSON.stringify({ kind: 'Status', status: 'Success' }));
      }
      default:
        return status(response, 405, 'MethodNotAllowed', 'no');
    }
  }

  #collection(call: ApiCall, path: string, response: ServerResponse): void {
    if (call.method === 'POST') {
      const object = JSON.parse(call.body) as Record<string, any>;
      if (this.#objects.has(`${path}/${object.metadata.name}`))
        return status(response, 409, 'AlreadyExists', 'already exists');
      return json(response, 201, JSON.stringify(this.put(path, object)));
    }
    const selector = call.query.get('labelSelector') ?? '';
    if (call.query.get('watch') === 'true') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.flushHeaders();
      const watcher = { collection: path, selector, response };
      this.#watchers.add(watcher);
      response.on('close', () => this.#watchers.delete(watcher));
      const from = Number(call.query.get('resourceVersion') ?? 0);
      for (const object of this.all(path))
        if (Number(object.metadata.resourceVersion) > from && selects(selector, object) && !this.deaf)
          response.write(`${JSON.stringify({ type: 'MODIFIED', object })}\n`);
      return;
    }
    const [, name] = /^metadata\.name=(.+)$/.exec(call.query.get('fieldSelector') ?? '') ?? [];
    const isNamed = ({ metadata }: Stored): boolean => name === undefined || metadata.name === name;
    const items = this.all(path).filter((object) => selects(selector, object) && isNamed(object));
    json(response, 200, JSON.stringify({ kind: 'List', metadata: { resourceVersion: String(this.#version) }, items }));
  }
}

function parent(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

/** What a client cannot change. */
function fixed({ metadata: { uid, creationTimestamp } }: Stored): Record<string, any> {
  return { uid, creationTimestamp };
}

function conflicts(version: unknown, present: Stored): boolean {
  return version !== undefined && version !== present.metadata.resourceVersion;
}

function conflict(response: ServerResponse): void {
  status(response, 409, 'Conflict', 'the object has been modified');
}

/** Equality-based selectors only. */
function selects(selector: string, object: Stored): boolean {
  if (selector === '') return true;
  return selector.split(',').every((part) => {
    const [key = '', value] = part.split('=');
    return object.metadata.labels?.[key] === value;
  });
}

function merged(under: any, over: any): any {
  if (over === null || typeof over !== 'object' || Array.isArray(over)) return over;
  const next: Record<string, any> = { ...(typeof under === 'object' ? under : {}) };
  for (const [key, value] of Object.entries(over)) {
    if (value === null) delete next[key];
    else next[key] = merged(next[key], value);
  }
  return next;
}

/** RFC 6902 as far as it is used; undefined where a test does not hold. */
function patched(object: Stored, operations: readonly any[]): any {
  const next = structuredClone(object) as any;
  for (const { op, path, value } of operations) {
    const parts = (path as string)
      .slice(1)
      .split('/')
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = parts.pop() ?? '';
    let node = next;
    for (const part of parts) node = node?.[part];
    if (op === 'test') {
      if (JSON.stringify(node?.[last]) !== JSON.stringify(value)) return undefined;
    } else if (node === undefined) return undefined;
    else if (op === 'remove') delete node[last];
    else node[last] = value;
  }
  return next;
}
