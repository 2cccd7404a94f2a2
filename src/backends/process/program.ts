/** Finds the program that a server names, and says what is wrong when it is not there. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { AppError } from '../../errors';

/**
 * The file to run. A name without a slash is looked up in the server's own `PATH`, or in the gateway's where the server names none: the child
 * inherits nothing, but its operator may call it by name.
 *
 * Errors: `BACKEND_CRASHED`.
 */
export async function findProgram(program: string, path: string): Promise<string> {
  if (program.includes('/')) {
    const fault = await executable(program);
    if (fault === undefined) return program;
    throw notRunnable(program, fault);
  }
  let denied = false;
  for (const directory of path.split(delimiter)) {
    if (directory === '') continue;
    const file = join(directory, program);
    const fault = await executable(file);
    if (fault === undefined) return file;
    denied ||= fault === 'EACCES';
  }
  throw notRunnable(program, denied ? 'EACCES' : 'ENOENT');
}

/** A program that cannot be started, by the code of spawn's or the file system's fault. */
export function notRunnable(program: string, code: string): AppError {
  const advice: Readonly<Record<string, string>> = {
    ENOENT: 'It does not exist on the gateway’s machine: install it there, or correct the server’s `command`.',
    EACCES: 'It may not be executed: check the file’s permissions.',
    EINTERPRETER: 'The interpreter that its first line names, or its dynamic loader, does not exist on this machine.',
  };
  return new AppError(
    'BACKEND_CRASHED',
    `The session’s child could not be started. ${advice[code] ?? 'Ask your administrator to look at the gateway’s log.'}`,
    { detail: `${program}: ${code}` },
  );
}

async function executable(file: string): Promise<string | undefined> {
  try {
    if ((await stat(file)).isDirectory()) return 'EACCES';
    await access(file, constants.X_OK);
    return undefined;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    return code === 'EACCES' ? 'EACCES' : code === 'ENOENT' || code === 'ENOTDIR' ? 'ENOENT' : (code ?? 'EIO');
  }
}
