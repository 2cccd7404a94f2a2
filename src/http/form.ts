/** A form of one of our pages: read once, bounded, and sent by a page of ours. */
import type { IncomingMessage } from 'node:http';
import { AppError } from '../errors';
import type { BodyReader } from './mcp/body';
import type { Outgoing } from './handler';

/** Bytes: the longest list of names that a page takes, every character of it escaped, and as much again. Strangers send forms too. */
const MAX_BYTES = 128 * 1024;

/**
 * Reads a POST of `application/x-www-form-urlencoded`.
 * @param origin our own.
 * @throws AppError `ORIGIN_REFUSED` for a form of another site (before anything is read), `CONTENT_TYPE`, and as `BodyReader.read`.
 */
export async function readForm(
  req: IncomingMessage,
  res: Outgoing,
  bodies: BodyReader,
  origin: string,
): Promise<URLSearchParams> {
  const from = req.headers.origin;
  const site = req.headers['sec-fetch-site'];
  if ((from !== undefined && from !== origin) || (site !== undefined && site !== 'same-origin')) {
    throw new AppError('ORIGIN_REFUSED', 'This form was sent by another site. Open the page here and send it again.');
  }
  const [type = ''] = (req.headers['content-type'] ?? '').split(';');
  if (type.trim().toLowerCase() !== 'application/x-www-form-urlencoded') {
    throw new AppError('CONTENT_TYPE', 'This is not the form of the page.');
  }
  const { text, release } = await bodies.read(req, res, MAX_BYTES);
  release();
  return new URLSearchParams(text);
}

/** The form's token was wrong: it is too old, or was not made for this browser. */
export function staleForm(): AppError {
  return new AppError('ORIGIN_REFUSED', 'This form is too old, or was made for another browser. Open the page again.');
}
