/**
 * Uploads (RFC 7578). Forges merge every part of a form into the request's parameters, so a part named `sudo` would act as another user: exactly
 * one part, a file named `attachment`, is read as a stream and written anew; anything else ends the upload before its last boundary.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';
import busboy from 'busboy';
import { AppError } from '../../errors';

/** The name that Forgejo's and Gitea's upload routes take the file under. */
const PART = 'attachment';

const refuse = (what: string, cause?: unknown): AppError =>
  new AppError('REQUEST_REFUSED', `The credential proxy refused the upload: ${what}.`, { cause });

/** A form that is being read and written anew. */
export interface Upload {
  /** For the upstream request. */
  readonly contentType: string;
  /** The new form. It fails with the AppError that ended the upload. */
  readonly body: Readable;
}

/** File names as Go's reader of forms takes them: quotes and backslashes escaped, no control characters. */
function quoted(filename: string | undefined): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is taken out
  const plain = (filename ?? 'file').replaceAll(/[\u0000-\u001f\u007f]/g, '');
  return `"${plain.replaceAll(/[\\"]/g, String.raw`\$&`)}"`;
}

/** Starts to read `input` as a form. Throws `REQUEST_REFUSED` for a content type that is not a form's. */
export function readUpload(contentType: string, input: Readable): Upload {
  let parser: busboy.Busboy;
  try {
    parser = busboy({
      headers: { 'content-type': contentType },
      defParamCharset: 'utf8',
      limits: { fields: 1, fieldSize: 1, headerPairs: 20, fileSize: Number.POSITIVE_INFINITY },
    });
  } catch (cause) {
    throw refuse('its form cannot be read', cause);
  }
  const boundary = `fmo-${randomBytes(18).toString('hex')}`;
  const body = new PassThrough();
  body.on('error', () => undefined); // whoever reads it sees the error; it may come before anybody does
  let files = 0;
  let written = Promise.resolve();
  const fail = (error: AppError): void => {
    input.unpipe(parser);
    input.destroy(); // lets go of the connection, which is read on so that the refusal is
    parser.destroy();
    body.destroy(error);
  };

  parser.on('field', () => fail(refuse(`a form may hold only the file "${PART}"`)));
  parser.on('file', (name, file, info) => {
    files++;
    file.on('error', () => undefined); // the parser's own error says it
    if (name !== PART || files > 1) {
      file.resume();
      fail(refuse(`a form may hold only the file "${PART}", once`));
      return;
    }
    const type = /^[\w.+-]+\/[\w.+-]+$/.test(info.mimeType) ? info.mimeType : 'application/octet-stream';
    body.write(
      `--${boundary}\r\nContent-Disposition: form-data; name="${PART}"; filename=${quoted(info.filename)}\r\nContent-Type: ${type}\r\n\r\n`,
    );
    file.pipe(body, { end: false });
    written = once(file, 'end').then(() => undefined);
    written.catch(() => undefined); // a broken form is reported by the parser
  });
  parser.on('error', (cause) => fail(refuse('its form is broken', cause)));
  parser.on('close', () => {
    if (files === 0) return fail(refuse(`its form holds no file "${PART}"`));
    void written.then(() => body.end(`\r\n--${boundary}--\r\n`));
  });
  input.on('error', (cause) => fail(cause instanceof AppError ? cause : refuse('its body ended too early', cause)));
  body.on('close', () => {
    input.unpipe(parser);
    parser.destroy();
  });
  input.pipe(parser);
  return { contentType: `multipart/form-data; boundary=${boundary}`, body };
}
