/**
 * The data of each event of a `text/event-stream` body, as it arrives, holding one event at a time. A network chunk may end anywhere, also between
 * the two newlines that end an event. Events without data (comments, priming) are left out. WHATWG HTML 9.2.6, as far as the gateway's output goes.
 */
export async function* eventData(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let line: Buffer[] = [];
  let data: string[] = [];
  for await (const chunk of body) {
    let rest = chunk;
    for (let cut = rest.indexOf(10); cut >= 0; cut = rest.indexOf(10)) {
      line.push(rest.subarray(0, cut));
      rest = rest.subarray(cut + 1);
      const text = Buffer.concat(line).toString('utf8');
      line = [];
      if (text.startsWith('data:')) data.push(text.slice(5).trimStart());
      if (text !== '') continue;
      const event = data.join('\n');
      data = [];
      if (event !== '') yield event;
    }
    line.push(rest);
  }
}
