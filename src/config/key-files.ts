/** Keys in files: made at first start, readable by this user only, and never in the configuration itself. */
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError } from '../errors';

/** Bytes of a key. */
const KEY_BYTES = 32;

/**
 * Reads the keys of a file: one a line, base64 or hex, at least 32 bytes each; the first one signs, all verify. A file that is not there is
 * made with one new key (mode 0600), whole or not at all, so that two programs that start at once use the same.
 * @throws AppError `CONFIG_INVALID` when it cannot be read or made, or holds no usable key.
 */
export async function loadKeys(file: string): Promise<[Buffer, ...Buffer[]]> {
  let text = await readOrNothing(file);
  if (text === undefined) {
    await make(file);
    text = (await readOrNothing(file)) ?? '';
  }
  const keys = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => decode(line));
  const [first, ...rest] = keys;
  if (first === undefined || keys.some((key) => key.length < KEY_BYTES)) {
    throw new AppError('CONFIG_INVALID', `${file}: must hold keys of at least 32 bytes, one a line, in base64 or hex.`);
  }
  return [first, ...rest];
}

function decode(line: string): Buffer {
  if (/^[0-9a-f]+$/i.test(line) && line.length % 2 === 0) return Buffer.from(line, 'hex');
  return /^[A-Za-z0-9+/_-]+=*$/.test(line) ? Buffer.from(line, 'base64') : Buffer.alloc(0);
}

async function readOrNothing(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new AppError('CONFIG_INVALID', `${file}: the key file cannot be read (${code ?? 'unknown'}).`);
  }
}

/** Written under another name and linked into place: `link` fails where somebody was quicker, and theirs is used then. */
async function make(file: string): Promise<void> {
  const partial = `${file}.${String(process.pid)}.${randomBytes(4).toString('hex')}`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const handle = await open(partial, 'wx', 0o600);
    try {
      await handle.writeFile(`${randomBytes(KEY_BYTES).toString('base64')}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await chmod(partial, 0o600);
    await link(partial, file).catch((thrown: unknown) => {
      if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    });
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw new AppError(
      'CONFIG_INVALID',
      `${file}: the key file cannot be made (${code ?? 'unknown'}). Let this user write to its folder, or set dataDir.`,
    );
  } finally {
    await unlink(partial).catch(() => undefined);
  }
}
