/** A raw connection: what goes over it, what comes back, and whether that is HTTP. */
import { connect } from 'node:net';
import type { Conversation } from './bytes';
import { later } from './client';

export interface Reply {
  readonly bytes: Buffer;
  /** Whether the other side closed the connection before our deadline. */
  readonly closed: boolean;
}

/** Milliseconds to wait for the end once all was sent: beyond every time-out of the gateway under test, as often as it looks for them. */
const PATIENCE_MS = 20_000;
/** Turns of silence after which our side ends, where it does not wait for the other one. */
const SILENT_TURNS = 40;

/** Sends it as told. @param fill puts the run's own words into the bytes. */
export function talk(port: number, { pieces, ending }: Conversation, fill: (bytes: Buffer) => Buffer): Promise<Reply> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const timer = setTimeout(() => finish(false), PATIENCE_MS);
    const finish = (closed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ bytes: Buffer.concat(chunks), closed });
    };
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', () => socket.end());
    socket.on('error', () => undefined); // `close` tells
    socket.on('close', () => finish(true));
    const leave = (): void => {
      if (ending === 'end') socket.end();
      else if (ending === 'destroy') socket.destroy();
      else if (ending === 'reset') socket.resetAndDestroy();
    };
    const quiet = (seen: number, turns: number): void => {
      if (socket.destroyed) return;
      if (turns > SILENT_TURNS) leave();
      else later(0, () => quiet(chunks.length, chunks.length === seen ? turns + 1 : 0));
    };
    const next = (at: number): void => {
      const piece = pieces[at];
      if (socket.destroyed) return;
      if (piece === undefined) {
        if (ending !== 'wait') quiet(0, 0);
      } else if (piece.kind === 'turns') later(piece.turns, () => next(at + 1));
      else socket.write(fill(piece.bytes), () => next(at + 1));
    };
    socket.on('connect', () => next(0));
  });
}

export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  /** Whether the body came to its end. */
  readonly whole: boolean;
}

/** Reads what came as HTTP/1.1 answers, strictly, the last of which may be cut. Throws at the first byte that is in none. */
export function readAnswers(bytes: Buffer): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let text = bytes.toString('latin1');
  while (text !== '') {
    const [line = '', status = ''] = /^HTTP\/1\.1 (\d{3}) [\x20-\x7e]*\r\n/.exec(text) ?? [];
    if (line === '') {
      if (!text.includes('\r\n') && text.startsWith('HTTP/1.1 '.slice(0, text.length))) return answers;
      throw new Error(`no answer begins so: ${JSON.stringify(text.slice(0, 200))}`);
    }
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) return answers;
    const head = text.slice(0, end + 2);
    for (const header of head.slice(line.length).split('\r\n').slice(0, -1)) {
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\x20-\x7e\x80-\xff\t]*$/.test(header))
        throw new Error(`no header: ${header}`);
    }
    const { body, rest, whole } = readBody(head, Number(status), text.slice(end + 4));
    answers.push({ status: Number(status), head, body, whole });
    text = rest;
  }
  return answers;
}

function readBody(head: string, status: number, text: string): { body: string; rest: string; whole: boolean } {
  if (status < 200 || status === 204 || status === 304) return { body: '', rest: text, whole: true };
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1];
  if (length !== undefined) {
    const size = Number(length);
    return { body: text.slice(0, size), rest: text.slice(size), whole: text.length >= size };
  }
  if (!/\r\ntransfer-encoding: chunked\r\n/i.test(head)) return { body: text, rest: '', whole: true }; // to the end of the connection
  let body = '';
  let rest = text;
  for (;;) {
    const found = /^([0-9a-f]+)\r\n/i.exec(rest);
    if (found?.[1] === undefined) return { body, rest: '', whole: false };
    const size = parseInt(found[1], 16);
    const from = found[0].length;
    if (rest.length < from + size + 2) return { body, rest: '', whole: false };
    if (size === 0) return { body, rest: rest.slice(from + 2), whole: true };
    body += rest.slice(from, from + size);
    rest = rest.slice(from + size + 2);
  }
}
