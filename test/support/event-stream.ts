/** Bodies of the type `text/event-stream` (WHATWG HTML, 9.2.6, as far as the gateway's output goes), for everything in tests that reads them. */

/** One event as it stands in a stream; a field that was not sent is absent. */
export interface ServerEvent {
  readonly id?: string;
  readonly event?: string;
  readonly retry?: string;
  /** Empty in an event that only names a place. */
  readonly data: string;
}

/** Gathers the lines of one event after the other. */
class Gathering {
  #fields: Record<string, string> = {};
  #data: string[] = [];

  /** Takes a line without its end; the empty one gives the event, if it has any field. */
  line(text: string): ServerEvent | undefined {
    if (text !== '') {
      const [, name, value] = /^(id|event|retry|data):(?: ?)(.*)$/s.exec(text) ?? [];
      if (name === 'data') this.#data.push(value ?? '');
      else if (name !== undefined) this.#fields[name] = value ?? '';
      return undefined;
    }
    const some = this.#data.length > 0 || Object.keys(this.#fields).length > 0;
    const event = { ...this.#fields, data: this.#data.join('\n') };
    this.#fields = {};
    this.#data = [];
    return some ? event : undefined;
  }
}

/**
 * The events of a body as they arrive, holding one at a time. A network chunk may end anywhere, also in a character and between the two newlines that
 * end an event. Comments are left out, and so is what was cut off.
 */
export async function* eventsOf(body: AsyncIterable<Buffer>): AsyncGenerator<ServerEvent, undefined> {
  const gathering = new Gathering();
  let line: Buffer[] = [];
  for await (const chunk of body) {
    let rest = chunk;
    for (let cut = rest.indexOf(10); cut >= 0; cut = rest.indexOf(10)) {
      line.push(rest.subarray(0, cut));
      rest = rest.subarray(cut + 1);
      const event = gathering.line(Buffer.concat(line).toString('utf8'));
      line = [];
      if (event !== undefined) yield event;
    }
    line.push(rest);
  }
  return undefined;
}

/** The events of a whole body, or of as much as came of it. */
export function eventsIn(text: string): ServerEvent[] {
  const gathering = new Gathering();
  const lines = text.split('\n').slice(0, -1);
  return lines.flatMap((line) => gathering.line(line) ?? []);
}

/** The data of each event of a body that has any, as {@link eventsOf} reads it. */
export async function* eventData(body: AsyncIterable<Buffer>): AsyncGenerator<string, undefined> {
  for await (const { data } of eventsOf(body)) if (data !== '') yield data;
  return undefined;
}

/** The JSON in the data of events. */
export const messagesOf = (events: readonly ServerEvent[]): any[] =>
  events.filter(({ data }) => data !== '').map(({ data }) => JSON.parse(data));
