/** What the child says, message by message, and what becomes of it. */
import type { Ask, Asks } from './asks';
import type { Call, Calls } from './calls';
import type { ChannelObserver, DropReason, JsonRpcId, JsonRpcMessage, JsonRpcNotification } from './contract';
import type { EarlyRequests } from './early';
import { failureOf, lineTooLong, malformedAnswer } from './failures';
import type { LineConsumer } from './framing';
import { decodeId, vouched } from './ids';
import { idTextOf, readLine, type ChildMessage, type ChildSpeech } from './inbound';
import { isObject } from './json';
import { concernsServer } from './methods';
import { SUBSCRIPTION_ID } from './modern/meta';
import { readEnds } from './oversize';
import type { Questions } from './questions';
import type { Router } from './router';
import type { Strays } from './strays';
import { exchangeId, exchangeOnce, rewrite } from './splice';

export interface ChildOptions {
  readonly calls: Calls;
  readonly asks: () => Asks;
  readonly questions: Questions;
  /** Present where the child was another process's. */
  readonly strays: () => Strays | undefined;
  readonly early: EarlyRequests;
  readonly router: Router;
  readonly observer: ChannelObserver;
  readonly maxLineBytes: number;
  /** Told of bytes that nobody gets. */
  readonly waste: (bytes: number) => void;
  /** Sends our own word to the child. */
  readonly reply: (json: string) => void;
  /** Ends a call with its answer. */
  readonly finish: (call: Call, message: JsonRpcMessage, json: string) => void;
  /** The child's list of tools is another one from now on. */
  readonly toolsChanged: () => void;
}

/** JSON-RPC's number for a request that timed out, as the MCP SDKs use it. */
const REQUEST_TIMEOUT = -32001;
const SERVER_ERROR = -32000;

export class Child implements LineConsumer, ChildSpeech {
  readonly #options: ChildOptions;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  /** Whatever goes wrong with one line stays with that line. */
  line(bytes: Buffer, start: number, end: number): void {
    try {
      readLine(bytes, start, end, this);
    } catch (thrown) {
      this.#options.observer.fault(thrown);
    }
  }

  noise(bytes: number): void {
    this.#options.observer.noise(bytes);
    this.#options.waste(bytes);
  }

  /** A line over the limit fails the call or the request whose id it still shows; the session goes on (MCP says nothing; peers hang). */
  tooLong(head: Buffer, tail: Buffer, length: number): void {
    const { calls, questions, maxLineBytes, finish } = this.#options;
    this.#dropped('too-long', length);
    const { id, hasMethod } = readEnds(head, tail);
    if (id === undefined) return;
    if (hasMethod) {
      this.#refuse(id, SERVER_ERROR, `The request is longer than ${String(maxLineBytes)} bytes.`);
      return;
    }
    const key = unquoted(id);
    const call = calls.get(key);
    if (call === undefined && questions.answer(key, undefined)) return;
    const strays = this.#options.strays();
    const stray = call === undefined ? strays?.callOf(key) : undefined;
    const asked = call ?? stray;
    if (asked === undefined) return;
    const failure = failureOf(asked.id, lineTooLong(maxLineBytes));
    const json = JSON.stringify(failure);
    if (call !== undefined) finish(call, failure, json);
    else if (stray !== undefined) strays?.answer(stray, failure, json);
  }

  answer(message: ChildMessage, json: string): void {
    const { id } = message;
    const call = typeof id === 'string' ? this.#options.calls.get(id) : undefined;
    if (call !== undefined) {
      this.#answered(call, message, json);
      return;
    }
    if (typeof id === 'string' && this.#options.questions.answer(id, { result: message.result, error: message.error }))
      return;
    const strays = this.#options.strays();
    const stray = typeof id === 'string' ? strays?.callOf(id) : undefined;
    if (stray !== undefined) {
      const { answer, text } = restored(stray, message, json);
      strays?.answer(stray, answer, text);
      return;
    }
    const kind = decodeId(id)?.kind;
    this.#dropped(kind === 'i' || kind === 'g' ? 'late-answer' : 'unknown-id', json.length);
  }

  #answered(call: Call, message: ChildMessage, json: string): void {
    const { answer, text } = restored(call, message, json);
    this.#options.finish(call, answer, text);
  }

  notification(message: ChildMessage, json: string): void {
    switch (message.method) {
      case 'notifications/progress':
        this.#progress(message, json);
        break;
      case 'notifications/cancelled':
        this.#cancelled(message, json);
        break;
      case 'notifications/tools/list_changed':
        this.#options.toolsChanged();
        if (!this.#toSubscription(message, json)) this.#toAny(message, json);
        break;
      default:
        if (!this.#toSubscription(message, json)) this.#toAny(message, json);
    }
  }

  /** What names a subscription goes with its request (MCP 2026-07-28, 'Subscriptions'); false where it names none that is open. */
  #toSubscription(message: ChildMessage, json: string): boolean {
    const params = isObject(message.params) ? message.params : {};
    const key = isObject(params._meta) ? params._meta[SUBSCRIPTION_ID] : undefined;
    const call = typeof key === 'string' ? this.#options.calls.get(key) : undefined;
    if (call === undefined) return false;
    this.#options.router.toCall(call, message as unknown as JsonRpcMessage, json);
    return true;
  }

  /** A request of the child. A ping asks whether its peer is there, and we are; everything else is the client's to answer. */
  request(message: ChildMessage, json: string): void {
    const { asks, router } = this.#options;
    const childId = idTextOf(message, json);
    if (message.method === 'ping') {
      this.#options.reply(`{"jsonrpc":"2.0","id":${childId},"result":{}}`);
      return;
    }
    const ask = asks().add(childId);
    if (ask === undefined) {
      this.#dropped('overflow', json.length);
      this.#refuse(childId, SERVER_ERROR, 'Too many requests to the client are open. Wait for their answers.');
      return;
    }
    const sent = exchangeId(json, childId, `"${ask.key}"`);
    message.id = ask.key;
    const giveUp = (why: DropReason): void => {
      this.#dropped(why, json.length);
      if (asks().take(ask.key) === undefined) return;
      this.#refuse(childId, SERVER_ERROR, 'The client has no open stream that could carry a request.');
    };
    const route = (): void => {
      if (!asks().has(ask.key)) return; // withdrawn, or too late
      router.toAny(
        message as unknown as JsonRpcMessage,
        sent,
        false,
        (sink) => {
          ask.sink = sink;
        },
        (why) => {
          if (why === 'no-stream') this.#options.early.hold(json.length, route, () => giveUp(why));
          else giveUp(why);
        },
      );
    };
    route();
  }

  /** The client did not answer in time: both sides are told. */
  askExpired(ask: Ask): void {
    this.#refuse(ask.childId, REQUEST_TIMEOUT, 'The client did not answer in time.');
    const params = { requestId: ask.key, reason: 'deadline' };
    this.#withdraw(ask, { jsonrpc: '2.0', method: 'notifications/cancelled', params });
  }

  /** Progress goes with its call (MCP 'Progress'); a task's progress outlives the call. */
  #progress(message: ChildMessage, json: string): void {
    const params = isObject(message.params) ? message.params : {};
    const key = params.progressToken;
    const call = typeof key === 'string' ? this.#options.calls.byToken(key) : undefined;
    const token = decodeId(key);
    const former =
      call === undefined && token !== undefined ? this.#options.strays()?.streamOf(token.stream) : undefined;
    const isOpen = token?.kind === 't' || former !== undefined;
    const original = call?.tokenText ?? (isOpen ? vouched(token?.original)?.text : undefined);
    if (original === undefined) {
      this.#dropped(token === undefined ? 'unknown-id' : 'late-answer', json.length);
      return;
    }
    const parsed = JSON.parse(original) as unknown;
    const text =
      exchangeOnce(json, 'progressToken', JSON.stringify(key), original) ??
      rewrite(json, (exact) => {
        exact.params = { ...(exact.params as object), progressToken: parsed };
      });
    params.progressToken = parsed;
    if (former !== undefined) this.#options.router.hand(former, message as unknown as JsonRpcMessage, text);
    else if (call === undefined) this.#toAny(message, text);
    else this.#options.router.toCall(call, message as unknown as JsonRpcMessage, text);
  }

  /** The child no longer wants an answer to a request of its own. */
  #cancelled(message: ChildMessage, json: string): void {
    const params = isObject(message.params) ? message.params : {};
    const stream = typeof params.requestId === 'string' ? this.#options.calls.get(params.requestId) : undefined;
    if (stream?.endless === true) {
      // A child ends a subscription with this, and may leave the answer out (MCP 2026-07-28, 'Cancellation').
      const answer = { jsonrpc: '2.0', id: stream.id, result: {} } as const;
      this.#options.finish(stream, answer, JSON.stringify(answer));
      return;
    }
    const ask = this.#options.asks().takeByChildId(idTextOf({ id: params.requestId }, json));
    if (ask === undefined) {
      this.#dropped('late-answer', json.length);
      return;
    }
    this.#withdraw(ask, {
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { ...params, requestId: ask.key },
    });
  }

  /** Tells the client that a request is off, on the stream that carried it. */
  #withdraw(ask: Ask, message: JsonRpcNotification): void {
    const { router } = this.#options;
    if (ask.sink === undefined) return;
    const json = JSON.stringify(message);
    router.hand(ask.sink, message, json, undefined, () => this.#dropped('stream-gone', json.length));
  }

  #toAny(message: ChildMessage, json: string): void {
    this.#options.router.toAny(
      message as unknown as JsonRpcMessage,
      json,
      concernsServer(String(message.method)),
      () => undefined,
      (why) => this.#dropped(why, json.length),
    );
  }

  #refuse(childId: string, code: number, message: string): void {
    this.#options.reply(`{"jsonrpc":"2.0","id":${childId},"error":${JSON.stringify({ code, message })}}`);
  }

  #dropped(why: DropReason, bytes: number): void {
    this.#options.observer.dropped(why);
    this.#options.waste(bytes);
  }
}

/** An answer under the id of the client's. */
function restored(
  call: Pick<Call, 'key' | 'id' | 'idText'>,
  message: ChildMessage,
  json: string,
): { readonly answer: JsonRpcMessage; readonly text: string } {
  try {
    if (!isWellFormed(message)) {
      const answer = mend(message, call.id);
      return { answer, text: JSON.stringify(answer) };
    }
    const answer = { ...message, id: call.id } as JsonRpcMessage;
    return { answer, text: exchangeId(json, `"${call.key}"`, call.idText) };
  } catch {
    // Nested deeper than it can be written again: the caller gets an error instead of nothing.
    const answer = failureOf(call.id, malformedAnswer());
    return { answer, text: JSON.stringify(answer) };
  }
}

/** Whether an answer can go on as it is (JSON-RPC 2.0, 5). */
function isWellFormed(message: ChildMessage): boolean {
  if (message.jsonrpc !== '2.0') return false;
  if (!('error' in message)) return 'result' in message;
  if ('result' in message) return false;
  const { error } = message;
  return isObject(error) && Number.isInteger(error.code) && typeof error.message === 'string';
}

/** Makes an answer of what sloppy children write (`"error": null` beside a result, no `jsonrpc`), because strict clients would hang on it. */
function mend(message: ChildMessage, id: JsonRpcId): JsonRpcMessage {
  const { result, error } = message;
  if (isObject(error)) {
    const code = Number.isInteger(error.code) ? Number(error.code) : -32603;
    const text = typeof error.message === 'string' ? error.message : 'The server gave no reason.';
    return { jsonrpc: '2.0', id, error: { ...error, code, message: text } };
  }
  if (result !== undefined && (error === undefined || error === null)) return { jsonrpc: '2.0', id, result };
  return failureOf(id, malformedAnswer());
}

function unquoted(idText: string): string {
  return idText.startsWith('"') ? idText.slice(1, -1) : idText;
}
