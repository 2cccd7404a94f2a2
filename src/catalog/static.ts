/** The servers of the configuration: they stay what they are for as long as the program runs. */
import type { ServerSpec } from '../config/server';
import type { ServerCatalog } from './contract';

export class StaticCatalog implements ServerCatalog {
  readonly #servers: ReadonlyMap<string, ServerSpec>;

  constructor(servers: readonly ServerSpec[]) {
    this.#servers = new Map(servers.map((server) => [server.name, server]));
  }

  find(name: string): ServerSpec | undefined {
    return this.#servers.get(name);
  }

  all(): readonly ServerSpec[] {
    return [...this.#servers.values()];
  }

  onChange(): () => void {
    return () => undefined;
  }
}
