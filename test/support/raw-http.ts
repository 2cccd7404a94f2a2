/** An HTTP client that hides nothing: raw headers both ways, bodies by hand, and connections that can be cut. */
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request as httpRequest, type RequestOptions } from 'node:http';

export interface RawAnswer {
  readonly status: number;
  /** The request it answers: `destroy` cuts its connection. */
  readonly request: ClientRequest;
  readonly message: IncomingMessage;
}

/** Begins a request; its body is the caller's to write and end. */
export function begin(url: string, options: RequestOptions = {}): ClientRequest {
  const request = httpRequest(url, { agent: false, ...options });
  request.on('error', () => undefined); // whoever waits for the answer is told
  return request;
}

/** The head of an answer. Rejects when the connection breaks before. */
export async function headOf(request: ClientRequest): Promise<RawAnswer> {
  const [message] = (await once(request, 'response')) as [IncomingMessage];
  message.on('error', () => undefined); // whoever reads the body is told
  return { status: message.statusCode ?? 0, request, message };
}

/** The next bytes of an answer's body. Rejects when it ends or breaks before. */
export function nextChunk(message: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      message.pause();
      message.off('data', onData);
      message.off('close', onClose);
    };
    const onData = (chunk: Buffer): void => {
      done();
      resolve(chunk);
    };
    const onClose = (): void => {
      done();
      reject(new Error(message.complete ? 'the body has ended' : 'the body broke off'));
    };
    message.on('data', onData);
    message.on('close', onClose);
    message.resume();
  });
}

/** The rest of an answer's body. Rejects when it breaks off. */
export async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  if (!message.complete) throw new Error('the body broke off');
  return Buffer.concat(chunks);
}

/** One request, whole, and its answer's status and text. */
export async function ask(
  url: string,
  options: RequestOptions & { readonly body?: string | Buffer } = {},
): Promise<RawAnswer & { readonly text: string }> {
  const { body, ...rest } = options;
  const request = begin(url, rest);
  request.end(body);
  const head = await headOf(request);
  return { ...head, text: (await bodyOf(head.message)).toString('utf8') };
}
