/** What `fixture-child` does, as a script for the fake backend: the tools that the contract of the backends uses. */
import { createHash } from 'node:crypto';
import type { FakeChild, FakeScript } from './fake-backend';

type Args = Record<string, any>;

const text = (...texts: readonly string[]): object => ({ content: texts.map((one) => ({ type: 'text', text: one })) });

const tools: Record<string, (child: FakeChild, args: Args) => Promise<object | undefined> | object | undefined> = {
  echo: (_child, args) => text(String(args.text)),
  env: (child) => text(JSON.stringify(child.env)),
  orphan: () => text('0'),
  stderr(child, args) {
    for (let count = Number(args.times ?? 1); count > 0; count--) child.stderr(String(args.text));
    return text('written');
  },
  async big(child, args) {
    const sum = createHash('sha256');
    for (let index = 0; index < Number(args.messages); index++) {
      const unit = `${String(index).padStart(8, '0')} abcdefghijklmnopqrstuvwxyz.`;
      const data = unit.repeat(Number(args.bytes) / unit.length + 1).slice(0, Number(args.bytes));
      sum.update(data);
      await say(child, { method: 'notifications/message', params: { level: 'info', data } });
    }
    return text(JSON.stringify({ sha256: sum.digest('hex') }));
  },
  crash(child, args) {
    if (args.signal === 9) child.exit(null, 'SIGKILL');
    else child.exit(2);
    return undefined;
  },
};

async function say(child: FakeChild, message: object): Promise<void> {
  await child.stdout(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
}

/** Speaks newline-delimited JSON-RPC until EOF. FIXTURE_START gives the same faults at the start as the real one. */
export const fixtureScript: FakeScript = async (child) => {
  const faults = (child.env.FIXTURE_START ?? '').split(',');
  const exit = faults.find((fault) => fault.startsWith('exit:'));
  const over = new Promise<void>((resolve) => child.signal.addEventListener('abort', () => resolve()));
  if (exit !== undefined) return child.exit(Number(exit.slice(5)));
  if (faults.includes('hang')) return over;
  if (faults.includes('noise')) await child.stdout('fixture-child is starting\n{broken\n');
  let rest = Buffer.alloc(0);
  for await (const bytes of child.stdin) {
    rest = Buffer.concat([rest, bytes]);
    for (let at = rest.indexOf(10); at !== -1; at = rest.indexOf(10)) {
      await answer(child, JSON.parse(rest.subarray(0, at).toString('utf8')) as Args);
      rest = rest.subarray(at + 1);
    }
  }
  if (faults.includes('ignore-eof')) await (faults.includes('ignore-term') ? new Promise(() => undefined) : over);
};

async function answer(child: FakeChild, request: Args): Promise<void> {
  if (request.id === undefined) return;
  if (request.method !== 'tools/call') return say(child, { id: request.id, result: {} });
  const { name, arguments: args } = request.params as { name: string; arguments: Args };
  if (name === 'exit') {
    if (args.answer === true) await say(child, { id: request.id, result: text(`exiting with ${args.code}`) });
    return child.exit(Number(args.code));
  }
  const result = await tools[name]?.(child, args);
  if (result !== undefined) await say(child, { id: request.id, result });
}
