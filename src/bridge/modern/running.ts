/** A call that runs at a child of the old era, over as many requests of its client as it takes. */
import { randomBytes } from 'node:crypto';
import type { Timer } from '../../clock';
import type { ErrorCode } from '../../errors';
import type { JsonRpcFailure, JsonRpcRequest, JsonRpcSuccess, MessageSink } from '../contract';
import { isObject } from '../json';
import { ASKING_METHODS } from './capabilities';
import { LOG_LEVEL, metaOf, severityOf } from './meta';

/** The client's request that waits for this call now. */
export interface Attached {
  readonly request: JsonRpcRequest;
  readonly sink: MessageSink;
  /** JSON value of the progress token; undefined where the client wants no progress. */
  readonly progressToken: unknown;
  /** How severe a log message must be for this client; undefined where it wants none. */
  readonly severity: number | undefined;
  /** Ends the wait of whoever serves the request. */
  readonly done: () => void;
}

/** What the child wants to know of the client. */
export interface InputRequest {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** An answer of the child, and its exact text. */
export interface Finished {
  readonly message: JsonRpcSuccess | JsonRpcFailure;
  readonly json: string;
  /** The code of an answer that the bridge gave in the child's place. */
  readonly ours: ErrorCode | undefined;
}

export class Running {
  /** Names the call in request states. */
  readonly id = randomBytes(16).toString('base64url');
  readonly method: string;
  /** Whether it may be answered with questions. */
  readonly mayAsk: boolean;
  /** What is called, the same for calls that are likely to ask the same. */
  readonly target: string;
  /** Withdraws the call at the child. */
  readonly abort = new AbortController();
  /** Open questions by the id that answers them at the channel. */
  readonly questions = new Map<string, InputRequest>();
  /** Which round of questions is out; states of earlier rounds are worth nothing. */
  round = 0;
  /** Capabilities that the client lacks and the child wanted. */
  missing: Record<string, unknown> | undefined;
  attached: Attached | undefined;
  /** The child's answer, where it came while nobody was attached. */
  finished: Finished | undefined;
  /** Runs while an answer with the open questions is about to go out. */
  gathering: Timer | undefined;
  /** Whether its client has come back and is about to be attached: a state is good for one. */
  resuming = false;

  constructor({ method, params = {} }: Pick<JsonRpcRequest, 'method' | 'params'>) {
    const name = params.name ?? params.uri;
    this.method = method;
    this.mayAsk = ASKING_METHODS.has(method);
    this.target = typeof name === 'string' ? `${method}\n${name}` : method;
  }

  /** Its client has been asked and has not come back. */
  get parked(): boolean {
    return this.attached === undefined && !this.resuming;
  }

  attach(request: JsonRpcRequest, sink: MessageSink, done: () => void): Attached {
    const meta = metaOf(request);
    this.resuming = false;
    this.attached = {
      request,
      sink,
      progressToken: meta.progressToken,
      severity: severityOf(meta[LOG_LEVEL]),
      done,
    };
    return this.attached;
  }

  /** Takes what waits for this call away from it. */
  detach(): Attached | undefined {
    const { attached } = this;
    this.attached = undefined;
    return attached;
  }

  lacks(capabilities: Readonly<Record<string, unknown>>): void {
    const merged: Record<string, unknown> = { ...this.missing };
    for (const [name, value] of Object.entries(capabilities)) {
      merged[name] = { ...(isObject(merged[name]) ? merged[name] : {}), ...(isObject(value) ? value : {}) };
    }
    this.missing = merged;
  }
}
