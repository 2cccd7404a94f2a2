/** The servers that there are now. */
import type { ServerSpec } from '../config/server';

/** Told of each server that is new or changed, and by `undefined` of each that is gone. */
export type CatalogListener = (name: string, server: ServerSpec | undefined) => void;

/** A server that does not change is the same object at each look, so that what is made of it can be kept by it. */
export interface ServerCatalog {
  /**
   * The server of that name; undefined where there is none.
   * @throws AppError `BACKEND_UNAVAILABLE` where that cannot be said of this name just now.
   */
  find(name: string): ServerSpec | undefined;
  /** All that are known, each once. */
  all(): readonly ServerSpec[];
  /** Calls `listener` for every change from now on, until the returned function is called. It must not throw. */
  onChange(listener: CatalogListener): () => void;
}
