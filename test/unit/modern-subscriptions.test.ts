import { expect } from 'chai';
import type { ChangeConsumer, Conversation, ConversationLink, Filter } from '../../src/bridge/modern/contract';
import { MAX_SUBSCRIPTIONS, Subscriptions } from '../../src/bridge/modern/subscriptions';
import { AppError } from '../../src/errors';
import { FakeSink, settle } from '../support/fake-link';
import { LEGACY, modernBench, modernRequest } from '../support/modern-bench';

const ID = 'io.modelcontextprotocol/subscriptionId';
const TOOLS = 'notifications/tools/list_changed';
const UPDATED = 'notifications/resources/updated';
const LINK = {} as ConversationLink;

/** A conversation of which only the watching is looked at. */
class Watched implements Pick<Conversation, 'watch' | 'closed'> {
  closed = false;
  readonly filters: Filter[] = [];
  changed: ChangeConsumer = () => undefined;
  /** Set: watching waits for it. */
  gate: Promise<void> | undefined;
  fails = false;

  async watch(_link: ConversationLink, filter: Filter, changed: ChangeConsumer): Promise<Filter> {
    this.filters.push(filter);
    this.changed = changed;
    await this.gate;
    if (this.fails) throw new Error('gone');
    return { ...filter, promptsListChanged: false };
  }

  get as(): Conversation {
    return this as unknown as Conversation;
  }
}

describe('subscriptions to changes', () => {
  let subscriptions: Subscriptions;
  let child: Watched;
  let emptied: number;

  beforeEach(() => {
    emptied = 0;
    subscriptions = new Subscriptions(() => (emptied += 1));
    child = new Watched();
  });

  const listen = async (id: string | number, notifications: unknown, sink = new FakeSink(), of = child) => {
    const abort = new AbortController();
    const request = modernRequest(id, 'subscriptions/listen', { notifications });
    const { ended } = await subscriptions.serve(of.as, LINK, request, sink, abort.signal);
    const state = { over: false };
    void ended.then(() => (state.over = true));
    return { sink, state, close: () => abort.abort() };
  };
  const heard = (sink: FakeSink): unknown[] =>
    sink.messages.map(({ method, params }) => [method, params?.uri ?? params?.notifications, params?._meta?.[ID]]);

  it('are acknowledged first, with what the child agreed to, and each told of what it wanted under its own id', async () => {
    const one = await listen(1, { toolsListChanged: true, promptsListChanged: true });
    const two = await listen('two', { resourceSubscriptions: ['a:1', 'a:2/', 7], resourcesListChanged: 'yes' });
    child.changed(TOOLS, {});
    for (const uri of ['a:1', 'a:1/part', 'a:2/part', 'a:12', 'b:1', `a:1/${'x'.repeat(9_000)}`])
      child.changed(UPDATED, { uri });
    child.changed(UPDATED, { uri: 7 });
    child.changed('notifications/prompts/list_changed', {});
    child.changed('constructor', {});
    expect(heard(one.sink)).to.deep.equal([
      ['notifications/subscriptions/acknowledged', { toolsListChanged: true }, 1],
      [TOOLS, undefined, 1],
    ]);
    expect(heard(two.sink)).to.deep.equal([
      ['notifications/subscriptions/acknowledged', { resourceSubscriptions: ['a:1', 'a:2/'] }, 'two'],
      [UPDATED, 'a:1', 'two'],
      [UPDATED, 'a:1/part', 'two'],
      [UPDATED, 'a:2/part', 'two'],
    ]);
  });

  it('hear nothing before they are acknowledged', async () => {
    let open: () => void = () => undefined;
    child.gate = new Promise((resolve) => (open = resolve));
    const sink = new FakeSink();
    const serving = listen(1, { toolsListChanged: true }, sink);
    await settle();
    child.changed(TOOLS, {});
    expect(sink.messages).to.deep.equal([]);
    open();
    await serving;
    expect(sink.messages).to.have.length(1);
  });

  it('narrow what is watched when one of them ends, and tell when the last one has', async () => {
    const one = await listen(1, { toolsListChanged: true });
    const two = await listen(2, { resourceSubscriptions: ['a:1'] });
    one.close();
    one.close();
    await settle();
    expect([one.state.over, two.state.over, emptied]).to.deep.equal([true, false, 0]);
    expect(child.filters.at(-1)).to.deep.include({ toolsListChanged: false, resources: new Set(['a:1']) });
    child.fails = true;
    two.close();
    await settle();
    expect([two.state.over, emptied, subscriptions.size]).to.deep.equal([true, 1, 0]);
  });

  it('of a client that has gone are none, before and while they are acknowledged', async () => {
    const gone = new AbortController();
    gone.abort();
    const request = modernRequest(1, 'subscriptions/listen', {});
    await (
      await subscriptions.serve(child.as, LINK, request, new FakeSink(), gone.signal)
    ).ended;
    const leaving = new AbortController();
    const sink = new FakeSink();
    const serving = subscriptions.serve(child.as, LINK, request, sink, leaving.signal);
    leaving.abort();
    await (
      await serving
    ).ended;
    expect([sink.messages.length, subscriptions.size]).to.deep.equal([0, 0]);
  });

  it('end with the oldest where there are too many', async () => {
    const all = [];
    for (let id = 0; id <= MAX_SUBSCRIPTIONS; id += 1) all.push(await listen(id, {}));
    await settle();
    expect(all.filter(({ state }) => state.over)).to.have.length(1);
    expect(all[0]?.sink.last).to.deep.equal({
      jsonrpc: '2.0',
      id: 0,
      result: { resultType: 'complete', _meta: { [ID]: 0 } },
    });
  });

  it('are told that all has changed when another child takes over, and hear nothing of the former one', async () => {
    const one = await listen(1, { toolsListChanged: true, resourceSubscriptions: ['a:1'] });
    const former = child.changed;
    subscriptions.lost(child.as, false);
    const next = new Watched();
    await subscriptions.replaced(next.as, LINK);
    former(TOOLS, {});
    subscriptions.lost(child.as, true); // news of the former one's end that come late
    expect(heard(one.sink).slice(1)).to.deep.equal([
      [TOOLS, undefined, 1],
      [UPDATED, 'a:1', 1],
    ]);
    expect(one.state.over).to.equal(false);
  });

  it('are nothing to a child that takes over where there are none', async () => {
    await subscriptions.replaced(child.as, LINK);
    expect(child.filters).to.deep.equal([]);
  });

  it('end in order with their child where it ended for good, and all when the gateway stops', async () => {
    const one = await listen(1, {});
    subscriptions.lost(child.as, true);
    await settle();
    expect([one.state.over, one.sink.last.id]).to.deep.equal([true, 1]);
    const gone = new FakeSink();
    const two = await listen(2, {}, gone);
    gone.gone = true;
    subscriptions.end();
    await settle();
    expect([two.state.over, subscriptions.size]).to.deep.equal([true, 0]);
  });

  it('are refused, so that another child is asked, where theirs is gone before they were acknowledged', async () => {
    child.closed = true;
    const refused = async (): Promise<unknown> => listen(1, {}).catch((thrown: unknown) => thrown);
    expect(await refused())
      .to.be.instanceOf(AppError)
      .with.property('code', 'LINK_CLOSED');
    child.closed = false;
    let open: () => void = () => undefined;
    child.gate = new Promise((resolve) => (open = resolve));
    const late = refused();
    child.closed = true;
    subscriptions.lost(child.as, true);
    open();
    expect(await late).to.be.instanceOf(AppError);
    expect(subscriptions.size).to.equal(0);
  });

  it('of clients that do not read are told of each change once, when they read again', async () => {
    const one = await listen(1, { toolsListChanged: true, resourceSubscriptions: ['a:'] });
    let read: () => void = () => undefined;
    one.sink.gate = new Promise((resolve) => (read = resolve));
    child.changed(TOOLS, { big: 1 });
    for (let i = 0; i < 2_000; i += 1) {
      child.changed(TOOLS, { big: i });
      child.changed(UPDATED, { uri: `a:/${String(i)}`, big: i });
    }
    expect(one.sink.messages).to.have.length(2);
    one.sink.gate = undefined;
    read();
    await settle();
    const later = one.sink.messages.slice(2);
    expect(later).to.have.length(1_024);
    expect(later[0]).to.deep.equal({ jsonrpc: '2.0', method: TOOLS, params: { _meta: { [ID]: 1 } } });
    expect(later[1]?.params).to.deep.equal({ uri: 'a:/0', _meta: { [ID]: 1 } });
  });

  it('of clients that are gone, or stall, end', async () => {
    const one = await listen(1, { toolsListChanged: true });
    one.sink.gone = true;
    child.changed(TOOLS, {});
    await settle();
    expect(one.state.over).to.equal(true);
    const two = await listen(2, { toolsListChanged: true });
    let read: () => void = () => undefined;
    two.sink.gate = new Promise((resolve) => (read = resolve));
    child.changed(TOOLS, {});
    child.changed(TOOLS, {});
    two.close();
    read();
    await settle();
    expect(two.sink.messages).to.have.length(2);
  });

  describe('in front of a child of the old era', () => {
    const filter = (...uris: string[]): Filter => ({
      toolsListChanged: true,
      promptsListChanged: true,
      resourcesListChanged: true,
      resources: new Set(uris),
    });

    it('subscribe to each resource once, and unsubscribe when nobody wants it any more', async () => {
      const bench = await modernBench();
      const changes: string[] = [];
      const watch = (...uris: string[]) =>
        bench.conversation.watch(bench.channel, filter(...uris), (method) => changes.push(method));
      const granted = await watch('a:1', 'a:2');
      expect(granted).to.deep.equal({ ...filter('a:1', 'a:2'), promptsListChanged: false });
      await watch('a:2', 'a:3');
      const sent = (method: string) => bench.sent(method).map(({ params }) => params.uri as string);
      expect(sent('resources/subscribe')).to.deep.equal(['a:1', 'a:2', 'a:3']);
      expect(sent('resources/unsubscribe')).to.deep.equal(['a:1']);
      bench.link.say({ jsonrpc: '2.0', method: TOOLS });
      expect(changes).to.deep.equal([TOOLS]);
    });

    it('are granted no resource that the child refuses, and none of one that offers no subscriptions', async () => {
      const bench = await modernBench({ errors: { 'resources/subscribe': { code: -32002, message: 'no' } } });
      expect((await bench.conversation.watch(bench.channel, filter('a:1'), () => undefined)).resources.size).to.equal(
        0,
      );
      const plain = await modernBench({
        answers: {
          ...LEGACY,
          initialize: { protocolVersion: '2025-11-25', capabilities: { resources: {}, tools: 7 } },
        },
      });
      expect(await plain.conversation.watch(plain.channel, filter('a:1'), () => undefined)).to.deep.equal({
        toolsListChanged: false,
        promptsListChanged: false,
        resourcesListChanged: false,
        resources: new Set(),
      });
      expect(plain.sent('resources/subscribe')).to.deep.equal([]);
    });

    it('take what nobody has asked for yet as nobody’s', async () => {
      const bench = await modernBench();
      bench.link.say({ jsonrpc: '2.0', method: TOOLS, params: [] });
      expect(bench.observer.faults).to.deep.equal([]);
    });
  });
});
