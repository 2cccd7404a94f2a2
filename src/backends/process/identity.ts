/** Which process a number means: a PID is used again after its process is gone, a PID with its start time is not. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Milliseconds for `ps`, where there is no /proc. */
const PS_MS = 2_000;

export interface ProcessIdentity {
  readonly pid: number;
  /** Opaque; equal for the same process only, across boots as well. */
  readonly started: string;
}

/** Identifies a running process; undefined where there is none. A zombie is none. */
export function identify(pid: number): (ProcessIdentity & { readonly group: number }) | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

/** Whether that very process still runs. */
export function runs(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

/** proc_pid_stat(5): state is field 3, the group field 5, the start time in clock ticks since boot field 22. */
function fromProc(pid: number): (ProcessIdentity & { readonly group: number }) | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name is in brackets and may hold spaces and brackets itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { pid, group: Number(fields[2]), started: `${bootId()}:${fields[19]}` };
  } catch {
    return undefined;
  }
}

let boot: string | undefined;

function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

function fromPs(pid: number): (ProcessIdentity & { readonly group: number }) | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'pgid=,stat=,lstart=', '-p', String(pid)], {
      timeout: PS_MS,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    const [group, state, ...started] = line.split(/\s+/);
    if (group === undefined || state === undefined || state.startsWith('Z')) return undefined;
    return { pid, group: Number(group), started: started.join(' ') };
  } catch {
    return undefined;
  }
}
