/** A session in the hands of one request. */
import type {
  Answer,
  CallOptions,
  Channel,
  JsonRpcNotification,
  JsonRpcRequest,
  JsonRpcResponse,
  MessageSink,
  StatelessChild,
  ToolFacts,
} from '../bridge/contract';
import { AppError } from '../errors';
import { draining, ended } from './refusals';
import type { SessionHandle } from './ports';
import type { Session } from './session';

export interface HandleOptions {
  readonly session: Session;
  readonly channel: Channel;
  readonly id: string;
  /** Whether the gateway stops and takes no new calls. */
  readonly isDraining: () => boolean;
  /** Called once, when the handle was released. */
  readonly released: () => void;
  /** Called when the stream of a call lost a message. */
  readonly lost?: () => void;
}

/** Holds its session from its making to {@link release}, and beyond it while a call of its own is in flight. */
export class Handle implements SessionHandle {
  readonly id: string;
  readonly name: string;
  readonly #session: Session;
  readonly #channel: Channel;
  readonly #options: HandleOptions;
  #held = true;

  constructor(options: HandleOptions) {
    this.#options = options;
    this.#session = options.session;
    this.#channel = options.channel;
    this.id = options.id;
    this.name = options.session.name;
    this.#session.enter();
  }

  get protocolVersion(): string | undefined {
    return this.#channel.protocolVersion;
  }

  get ended(): Promise<void> {
    return this.#session.gone;
  }

  call(request: JsonRpcRequest, sink: MessageSink, options?: CallOptions): Promise<void> {
    const refusal = this.#options.isDraining() ? draining() : this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const counts = options?.endless !== true;
    if (counts) this.#session.enter();
    const { lost } = this.#options;
    return this.#channel.call(request, lost === undefined ? sink : watched(sink, lost), options).then(
      () => {
        if (counts) this.#session.leave();
      },
      (thrown: unknown) => {
        if (counts) this.#session.leave();
        throw asEnded(thrown);
      },
    );
  }

  async notify(notification: JsonRpcNotification): Promise<void> {
    await this.#pass(this.#channel.notify.bind(this.#channel), notification);
  }

  async answer(response: JsonRpcResponse): Promise<void> {
    await this.#pass(this.#channel.answer.bind(this.#channel), response);
  }

  tool(name: string): Promise<ToolFacts | undefined> {
    return this.#channel.tool(name);
  }

  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined> {
    return this.#channel.ask(method, params, ms);
  }

  begin(child: StatelessChild): void {
    this.#channel.begin(child);
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#session.leave();
    this.#options.released();
  }

  async #pass<T>(send: (message: T) => Promise<void>, message: T): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    await send(message).catch((thrown: unknown) => {
      throw asEnded(thrown);
    });
  }

  #refusal(): AppError | undefined {
    return this.#session.state === 'active' ? undefined : ended();
  }
}

/** A child that is gone is a session that has ended, even where the news of it is still on its way. Nothing was sent, so a client may start again. */
function asEnded(thrown: unknown): unknown {
  return thrown instanceof AppError && thrown.code === 'LINK_CLOSED' ? ended(thrown) : thrown;
}

/** A sink that tells when it lost a message. */
function watched(sink: MessageSink, lost: () => void): MessageSink {
  return {
    ...(sink.stream === undefined ? {} : { stream: sink.stream }),
    send(message, json, ours) {
      const sent = sink.send(message, json, ours);
      sent?.catch(lost);
      return sent;
    },
  };
}
