/** The claim: the one line that is not sealed, since it brings the key (docs/launcher-protocol.md, 'The claim'). */
import { createHash } from 'node:crypto';
import { AppError } from '../../../errors';
import type { ChildCommand, SealedLimits } from './contract';
import { PROTOCOL_VERSION } from './frame';

/** Bytes of a claim's line at most. */
export const MAX_CLAIM = 256 * 1024;

const CHECKSUM_DIGITS = 16;
const REFUSED = 'FMO-REFUSED ';

/** The claim's line with its newline. It holds the key and the child's secrets. Throws `BACKEND_REFUSED` where it would be too long. */
export function claimLine(key: Buffer, epoch: number, child: ChildCommand, limits: SealedLimits): Buffer {
  const json = JSON.stringify({
    key: key.toString('base64'),
    epoch,
    argv: child.argv,
    env: child.env,
    ...(child.cwd === undefined ? {} : { cwd: child.cwd }),
    ...(child.files === undefined ? {} : { files: child.files }),
    limits: {
      stdinWindow: limits.stdinWindowBytes,
      outputWindow: limits.outputWindowBytes,
      podGraceMs: limits.podGraceMs,
      lingerMs: limits.lingerMs,
    },
  });
  const said = `FMO${PROTOCOL_VERSION}`;
  const payload = Buffer.from(json).toString('base64').replace(/=+$/, '');
  const checksum = createHash('sha256').update(`${said} ${payload}`).digest('hex').slice(0, CHECKSUM_DIGITS);
  const line = Buffer.from(`${said} CLAIM ${payload} ${checksum}\n`, 'latin1');
  if (line.length > MAX_CLAIM) {
    throw new AppError(
      'BACKEND_REFUSED',
      'The command and environment of this server are too large. Make them smaller.',
      {
        detail: `a claim of ${line.length} bytes`,
      },
    );
  }
  return line;
}

/** The reason in a launcher's refusal of a claim, or undefined for any other line. The only plain text that a launcher ever writes. */
export function refusalIn(line: Buffer): string | undefined {
  if (line.length > 500 || !line.toString('latin1', 0, REFUSED.length).startsWith(REFUSED)) return undefined;
  return line.toString('latin1', REFUSED.length).replace(/[^ -~]/g, '?');
}
