/** HTTP/1.1 responses, as far as a benchmark on keep-alive connections needs them (RFC 9112 sections 4 and 6): a status, headers, and a whole body. */

/** One response. */
export class HttpAnswer {
  constructor(
    private readonly head: string,
    readonly body: string,
  ) {}

  get status(): number {
    return Number(this.head.slice(9, 12));
  }

  /** A header's value. @param name in lower case. */
  header(name: string): string | undefined {
    return headerIn(this.head, name);
  }
}

/** Takes what a socket gives, and hands out each response once it is whole. No pipelining: a response ends where its bytes do. */
export class ResponseReader {
  private text = '';

  /** @returns the response that these bytes complete. Bodies are read as Latin-1 on the wire, so that lengths are bytes. */
  push(bytes: Buffer): HttpAnswer | undefined {
    this.text += bytes.toString('latin1');
    const end = this.text.indexOf('\r\n\r\n');
    if (end < 0) return undefined;
    const head = this.text.slice(0, end);
    const body = bodyIn(head, this.text, end + 4);
    if (body === undefined) return undefined;
    this.text = '';
    return new HttpAnswer(head, body);
  }
}

function bodyIn(head: string, text: string, from: number): string | undefined {
  const length = headerIn(head, 'content-length');
  if (length !== undefined) return text.length - from >= Number(length) ? text.slice(from) : undefined;
  if (headerIn(head, 'transfer-encoding') === undefined) return '';
  if (!text.endsWith('0\r\n\r\n')) return undefined;
  let body = '';
  for (let at = from; ;) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return undefined;
    const size = Number.parseInt(text.slice(at, line), 16);
    if (size === 0) return body;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}

function headerIn(head: string, name: string): string | undefined {
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon === name.length && line.slice(0, colon).toLowerCase() === name) return line.slice(colon + 1).trim();
  }
  return undefined;
}
