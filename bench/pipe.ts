/** The child itself as a baseline: JSON-RPC over any pair of byte streams, many calls in flight. */

/** Where lines go and come from. */
export interface LineLink {
  write(bytes: Buffer): Promise<void> | void;
  onData(consumer: (bytes: Buffer) => void): void;
}

/** A JSON-RPC client on a bare link, with nothing in between. */
export class BareClient {
  private next = 1;
  private rest = '';
  private readonly waiting = new Map<number, (answer: { result?: unknown; error?: unknown }) => void>();

  constructor(private readonly link: LineLink) {
    link.onData((bytes) => {
      this.rest += bytes.toString('utf8');
      for (let cut = this.rest.indexOf('\n'); cut >= 0; cut = this.rest.indexOf('\n')) {
        const line = this.rest.slice(0, cut);
        this.rest = this.rest.slice(cut + 1);
        if (!line.startsWith('{')) continue;
        const message = JSON.parse(line) as { id?: number; result?: unknown; error?: unknown };
        if (message.id === undefined) continue;
        this.waiting.get(message.id)?.(message);
        this.waiting.delete(message.id);
      }
    });
  }

  /** The MCP handshake. */
  async initialize(): Promise<void> {
    await this.request('initialize', {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'bench', version: '1' },
    });
    await this.link.write(Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}\n'));
  }

  /** One request; throws on a JSON-RPC error. */
  async request(method: string, params: unknown): Promise<unknown> {
    const id = this.next++;
    const answer = new Promise<{ result?: unknown; error?: unknown }>((resolve) => this.waiting.set(id, resolve));
    await this.link.write(Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`));
    const { result, error } = await answer;
    if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }
}
