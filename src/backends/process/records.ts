/** What a gateway writes down of its children, so that its next run finds those that outlived it. */
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { identify, type ProcessIdentity } from './identity';

interface ChildRecord {
  readonly child: ProcessIdentity;
  /** The gateway that started it: while it runs, the child is its own affair. */
  readonly gateway: ProcessIdentity;
}

/** One small file for each child in a directory of its own. Holds no secret. */
export class ChildRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes the directory, for this user only. Throws what the file system says. */
  prepare(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    accessSync(this.#directory, constants.W_OK | constants.R_OK);
  }

  /** Records a child that was just started. A child that is gone already needs no record. */
  add(pid: number): void {
    const child = identify(pid);
    const gateway = identify(process.pid);
    if (child === undefined || gateway === undefined) return;
    const record: ChildRecord = {
      child: { pid, started: child.started },
      gateway: { pid: gateway.pid, started: gateway.started },
    };
    writeFileSync(this.#file(pid), JSON.stringify(record), { mode: 0o600 });
  }

  /** Forgets a child. */
  remove(pid: number): void {
    rmSync(this.#file(pid), { force: true });
  }

  /** All readable records; unreadable ones are removed, because nothing can be done by them. */
  all(): ChildRecord[] {
    const found: ChildRecord[] = [];
    for (const name of readdirSync(this.#directory)) {
      if (!/^\d+\.json$/.test(name)) continue;
      const record = parse(join(this.#directory, name));
      if (record === undefined) rmSync(join(this.#directory, name), { force: true });
      else found.push(record);
    }
    return found;
  }

  #file(pid: number): string {
    return join(this.#directory, `${pid}.json`);
  }
}

function parse(file: string): ChildRecord | undefined {
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<keyof ChildRecord, unknown>>;
    return isIdentity(value.child) && isIdentity(value.gateway)
      ? { child: value.child, gateway: value.gateway }
      : undefined;
  } catch {
    return undefined;
  }
}

function isIdentity(value: unknown): value is ProcessIdentity {
  const { pid, started } = (value ?? {}) as { pid?: unknown; started?: unknown };
  return Number.isSafeInteger(pid) && typeof started === 'string' && started !== '';
}
