/** A session in the hands of one request. */
import type {
  Answer,
  CallOptions,
  Channel,
  JsonRpcMessage,
  JsonRpcNotification,
  JsonRpcRequest,
  JsonRpcResponse,
  MessageSink,
  StatelessChild,
  ToolFacts,
} from '../bridge/contract';
import { failureOf } from '../bridge/failures';
import { AppError, toAppError } from '../errors';
import { StillHere } from './elsewhere';
import { draining, ended, moved, serverDraining } from './refusals';
import type { Reclaimed, SessionHandle } from './ports';
import type { Session } from './session';

export interface HandleOptions {
  readonly session: Session;
  readonly id: string;
  /** Whether the gateway stops and takes no new calls. */
  readonly isDraining: () => boolean;
  /** Gives the session a child. Rejects where there is none to be had. */
  readonly wake: () => Promise<Channel>;
  /** Called once, when the handle was released. */
  readonly released: () => void;
  /** There for whoever opens the session. */
  readonly opening?: Opening;
}

/** What the one who opens a session sees to. */
export interface Opening {
  /** Records that the child took `initialize`. Rejects where that could not be recorded: then there is no session. */
  established(): Promise<void>;
  /** The opener was not told that there is a session. */
  lost(): void;
}

/** Holds its session from its making to {@link release}, and beyond it while a call of its own is in flight. */
export class Handle implements SessionHandle {
  readonly id: string;
  readonly name: string;
  readonly firstGeneration: number;
  readonly #session: Session;
  readonly #options: HandleOptions;
  #held = true;

  constructor(options: HandleOptions) {
    this.#options = options;
    this.#session = options.session;
    this.id = options.id;
    this.name = options.session.name;
    this.firstGeneration = options.session.firstGeneration;
    this.#session.enter();
  }

  get protocolVersion(): string | undefined {
    return this.#session.protocolVersion;
  }

  get ended(): Promise<void> {
    return this.#session.gone;
  }

  call(request: JsonRpcRequest, sink: MessageSink, options?: CallOptions): Promise<void> {
    if (this.#options.isDraining()) return Promise.reject(new StillHere(draining()));
    if (this.#session.draining !== undefined) return Promise.reject(this.#emptied());
    const counts = options?.endless !== true;
    if (counts) this.#session.enter();
    const attentive = this.#attentive(request, sink);
    return this.#withChild((channel) => channel.call(request, attentive, options)).finally(() => {
      if (counts) this.#session.leave();
    });
  }

  async notify(notification: JsonRpcNotification): Promise<void> {
    // A child that is gone has no call that could be cancelled.
    if (notification.method === 'notifications/cancelled' && this.#isAsleep) return;
    await this.#withChild((channel) => channel.notify(notification));
  }

  async answer(response: JsonRpcResponse): Promise<void> {
    // Whoever asked is gone.
    if (this.#isAsleep) return;
    await this.#withChild((channel) => channel.answer(response));
  }

  async reclaim(stream: string, sink: MessageSink): Promise<Reclaimed | undefined> {
    const channel = this.#session.channel ?? (await this.#session.adopting);
    const answered = channel?.reclaim(stream, sink);
    if (answered === undefined) return undefined;
    this.#session.enter();
    void answered.then(() => this.#session.leave());
    return { answered };
  }

  tool(name: string): Promise<ToolFacts | undefined> {
    return this.#withChild((channel) => channel.tool(name));
  }

  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined> {
    return this.#withChild((channel) => channel.ask(method, params, ms)).catch(() => undefined);
  }

  begin(child: StatelessChild): void {
    this.#session.channel?.begin(child);
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#session.leave();
    this.#options.released();
  }

  get #isAsleep(): boolean {
    const { state, channel, isComing } = this.#session;
    return state === 'active' && channel === undefined && !isComing;
  }

  /** A client that knows its session is told that it has ended, so that it starts again once it may; one that knows of none, when to try again. */
  #emptied(): AppError {
    return this.#session.outlives === 'nothing' ? serverDraining() : ended();
  }

  /**
   * Does something with the session's child, which is woken first where it sleeps. A child that turns out to be gone has heard nothing; the session may have
   * another one then, once.
   */
  async #withChild<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      if (this.#session.isElsewhere) throw moved();
      if (this.#session.state !== 'active') throw ended();
      const channel = this.#session.channel ?? (await this.#options.wake());
      try {
        return await work(channel);
      } catch (thrown) {
        if (!(thrown instanceof AppError) || thrown.code !== 'LINK_CLOSED') throw thrown;
        if (tries > 1 || !this.#session.maySleep) throw ended(thrown);
        await channel.ended; // the registry hears it first
      }
    }
  }

  /** A sink through which the session's memory and its opener hear of the answer. */
  #attentive(request: JsonRpcRequest, sink: MessageSink): MessageSink {
    const { opening } = this.#options;
    const note = this.#session.memory.notes(request);
    if (note === undefined && opening === undefined) return sink;
    const lost = (): void => opening?.lost();
    const pass: MessageSink['send'] = (message, json, ours) => {
      const sent = sink.send(message, json, ours);
      sent?.catch(lost);
      return sent;
    };
    return {
      ...(sink.stream === undefined ? {} : { stream: sink.stream }),
      get away() {
        return sink.away === true;
      },
      send(message, json, ours) {
        if ('method' in message || ours !== undefined) return pass(message, json, ours);
        note?.(message);
        if (opening === undefined || request.method !== 'initialize' || !('result' in message))
          return pass(message, json, ours);
        return established(opening, message, json);
      },
    };

    /** The opener is told of its session once it is recorded; where it cannot be, there is none. */
    async function established(who: Opening, message: JsonRpcMessage, json: string): Promise<void> {
      try {
        await who.established();
      } catch (thrown) {
        who.lost();
        const error = toAppError(thrown);
        const failure = failureOf(request.id, error);
        await pass(failure, JSON.stringify(failure), error.code);
        return;
      }
      await pass(message, json);
    }
  }
}
