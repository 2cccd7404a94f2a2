/** Clients of MCP 2026-07-28 before several gateways: whichever of them a request reaches, one of them has the child. Real HTTP, real TLS between them. */
import { expect } from 'chai';
import { Agent } from 'undici';
import { ranked } from '../../src/peers/rendezvous';
import { contextOf, initializeResult } from '../support/gateway-app';
import type { FakeLink, Sent } from '../support/fake-link';
import { askedBy, textIn } from '../support/modern-gateway';
import { serverSpec } from '../support/server-spec';
import { Install, type SharedGateway } from '../support/several-gateways';
import { StatelessClient } from '../support/stateless-client';
import { until } from '../support/until';

const SERVER = serverSpec({ name: 'default', protocolEra: 'legacy', maxCallsInFlight: 200 });
const CAPABILITIES = { elicitation: { form: {} }, sampling: {} };
const QUESTIONS: Record<string, object> = {
  'elicitation/create': { message: 'Who?', requestedSchema: { type: 'object', properties: {} } },
  'sampling/createMessage': { messages: [], maxTokens: 10 },
};
const ANSWERS: Record<string, object> = {
  'elicitation/create': { action: 'accept', content: {} },
  'sampling/createMessage': { role: 'assistant', model: 'm', content: { type: 'text', text: 'said' } },
};

const capabilities = { tools: { listChanged: true } };

/** A child with tools: `ask` asks its client, `hang` never answers, any other one says its arguments. */
function child(link: FakeLink): void {
  const polite = link.onMessage;
  const asking = new Map<string, Sent>();
  const text = (to: Sent, said: unknown): void =>
    link.reply(to, { content: [{ type: 'text', text: JSON.stringify(said) }] });
  link.onMessage = (message) => {
    const { id, method, params } = message;
    const call = asking.get(id);
    if (method === undefined && call !== undefined) text(call, (message as { result?: unknown }).result);
    else if (method === 'initialize') link.reply(message, { ...(initializeResult(message) as object), capabilities });
    else if (method !== 'tools/call') polite(message);
    else if (params.name === 'ask') {
      const asked = (params.arguments as { method: string }).method;
      asking.set(`q${id}`, message);
      link.say({ jsonrpc: '2.0', id: `q${id}`, method: asked, params: QUESTIONS[asked] });
    } else if (params.name !== 'hang') text(message, params.arguments);
  };
}

describe('clients of MCP 2026-07-28 before three gateways', function () {
  this.timeout(60_000);

  let install: Install;
  let agent: Agent;

  beforeEach(async () => {
    agent = new Agent({ connections: 64, keepAliveTimeout: 1_000 });
    install = await Install.of(3, { servers: [SERVER], child });
  });
  afterEach(async () => {
    await agent.destroy();
    await install.stop();
  });

  /** The same client, as it reaches a gateway. */
  const at = ({ app }: SharedGateway, user = 'alice'): StatelessClient =>
    new StatelessClient(new URL('/mcp', app.url).href, user, CAPABILITIES, agent);
  /** Children that were ever started, and where. */
  const children = (): { gateway: SharedGateway; link: FakeLink }[] =>
    install.gateways.flatMap((gateway) => gateway.children.map((link) => ({ gateway, link })));
  const theChild = (): { gateway: SharedGateway; link: FakeLink } => {
    const [one, ...more] = children();
    if (one === undefined || more.length > 0) throw new Error(`${String(more.length)} children too many, or none`);
    return one;
  };
  /** The order of gateways for a user's requests, of which all must be of one kind. */
  const orderOf = (user: string, gateways = install.gateways): SharedGateway[] => {
    const [{ app }] = gateways as [SharedGateway];
    const message = at(gateways[0], user).message('tools/list');
    const meta = message.params._meta as Record<string, object>;
    const client = {
      capabilities: CAPABILITIES,
      info: meta['io.modelcontextprotocol/clientInfo'] as Record<string, unknown>,
    };
    const { key } = app.stateless.place(contextOf(user), SERVER, client, message);
    return ranked(
      key,
      gateways.map(({ name }) => name),
    ).map((name) => install.named(name) as SharedGateway);
  };
  /** A call of a tool that does not answer, once its child has it. */
  const hanging = async (client: StatelessClient): Promise<{ answer: ReturnType<StatelessClient['tool']> }> => {
    const answer = client.tool('hang');
    answer.catch(() => undefined);
    await until('the call', async () =>
      children().some(({ link }) =>
        link.sent.some(({ method, params }) => method === 'tools/call' && params.name === 'hang'),
      ),
    );
    return { answer };
  };

  it('have one child each, whichever gateway each request reaches; of many clients every gateway has some', async () => {
    for (const user of Array.from({ length: 26 }, (_, n) => `user-${String(n)}`)) {
      const before = children().length;
      for (const [n, gateway] of [...install.gateways, ...install.gateways].entries()) {
        const args = { text: `a\u2028b ${String(n)} 👩‍👩‍👧`, big: 2 ** 53 - 1 };
        expect(JSON.parse(textIn(await at(gateway, user).tool('say', args)))).to.deep.equal(args);
      }
      expect(children().length - before, user).to.equal(1);
    }
    for (const gateway of install.gateways) expect(gateway.children).to.not.have.length(0);
  });

  it('are served once each, a hundred at once by one child, also where that is not there yet', async () => {
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) => at(install.gateways[n % 3]).tool('say', { n })),
    );
    expect(answers.map((answer) => JSON.parse(textIn(answer)) as { n: number })).to.deep.equal(
      Array.from({ length: 100 }, (_, n) => ({ n })),
    );
    const { link } = theChild();
    expect(link.sent.filter(({ method }) => method === 'tools/call')).to.have.length(100);
  });

  for (const method of Object.keys(QUESTIONS)) {
    it(`answer ${method} at any gateway, wherever they were asked`, async () => {
      for (const asked of install.gateways) {
        for (const answered of install.gateways) {
          const { state, keys } = askedBy(await at(asked).tool('ask', { method }));
          const again = { name: 'ask', arguments: { method }, requestState: state };
          const inputResponses = Object.fromEntries(keys.map((key) => [key, ANSWERS[method]]));
          const answer = await at(answered).call('tools/call', { ...again, inputResponses });
          expect(JSON.parse(textIn(answer))).to.deep.equal(ANSWERS[method]);
        }
      }
      expect(theChild().link.running).to.equal(true);
    });
  }

  it('are heard where they were asked although another gateway came, which owns them from then on', async () => {
    const method = 'elicitation/create';
    const [, , newer] = install.gateways as [SharedGateway, SharedGateway, SharedGateway];
    const older = install.gateways.filter((gateway) => gateway !== newer);
    const user = Array.from({ length: 200 }, (_, n) => `user-${String(n)}`).find(
      (name) => orderOf(name)[0] === newer,
    ) as string;
    for (const gateway of older) gateway.unseen.add(newer.name);
    const asking = orderOf(user, older)[0];
    const { state, keys } = askedBy(await at(older[0], user).tool('ask', { method }));
    for (const gateway of older) gateway.unseen.clear();
    await at(older[1], user).tool('say');
    expect(children().map(({ gateway }) => gateway)).to.have.members([asking, newer]);
    const again = { name: 'ask', arguments: { method }, requestState: state };
    const inputResponses = Object.fromEntries(keys.map((key) => [key, ANSWERS[method]]));
    const answer = await at(newer, user).call('tools/call', { ...again, inputResponses });
    expect(JSON.parse(textIn(answer))).to.deep.equal(ANSWERS[method]);
    expect(children()).to.have.length(2);
  });

  it('are told that what waited is gone where the gateway that asked is dead', async () => {
    const method = 'elicitation/create';
    const [asking, next] = orderOf('alice') as [SharedGateway, SharedGateway];
    const { state, keys } = askedBy(await at(next).tool('ask', { method }));
    await asking.vanish();
    asking.isDead = true;
    const again = { name: 'ask', arguments: { method }, requestState: state };
    const inputResponses = Object.fromEntries(keys.map((key) => [key, ANSWERS[method]]));
    const { answer } = await at(next).call('tools/call', { ...again, inputResponses });
    expect(answer.error).to.include({ code: -32602 });
    expect(answer.error.message).to.match(/gone.*may have happened/);
  });

  it('hear at any gateway of changes that requests at another one made', async () => {
    const streams = [];
    for (const gateway of install.gateways) {
      const client = at(gateway);
      const message = client.message('subscriptions/listen', { notifications: { toolsListChanged: true } });
      const stream = await client.open(message);
      expect((await stream.next()).method).to.equal('notifications/subscriptions/acknowledged');
      streams.push(stream);
    }
    await at(install.gateways[1]).tool('say');
    theChild().link.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    for (const stream of streams) {
      expect((await stream.next()).method).to.equal('notifications/tools/list_changed');
      stream.close();
    }
  });

  it('cancel a call by going away from whichever gateway they reached', async () => {
    const [owner, other] = orderOf('alice') as [SharedGateway, SharedGateway];
    const client = at(other);
    const abort = new AbortController();
    const opening = client.open(client.message('tools/call', { name: 'hang', arguments: {} }), {}, abort);
    opening.catch(() => undefined);
    const call = await until('the call', async () =>
      owner.children[0]?.sent.find(({ method }) => method === 'tools/call'),
    );
    abort.abort();
    const cancelled = await until('its cancellation', async () =>
      owner.children[0]?.sent.find(({ method }) => method === 'notifications/cancelled'),
    );
    expect(cancelled.params.requestId).to.equal(call.id);
  });

  it('are authenticated by the gateway that serves them too, and refused as ever', async () => {
    const [owner, other] = orderOf('alice') as [SharedGateway, SharedGateway];
    expect((await at(other, 'bad').tool('say')).status).to.equal(401);
    expect(owner.app.seen).to.deep.equal([]);
    expect((await at(other).tool('say')).status).to.equal(200);
    expect(owner.app.seen).to.deep.equal([{ method: 'POST', status: 200 }]);
    const refused = await at(other).call('initialize');
    expect([refused.status, refused.answer.error.code]).to.deep.equal([404, -32601]);
  });

  it('are told that a call may have happened whose gateway is lost within it, and go on at the next one', async () => {
    const [owner, other, third] = orderOf('alice') as [SharedGateway, SharedGateway, SharedGateway];
    const { answer } = await hanging(at(third));
    await owner.vanish();
    const lost = await answer;
    expect(lost.status).to.equal(502);
    expect(lost.answer.error.message).to.match(/may have happened/);
    expect(lost.answer.id).to.match(/^r\d+$/);
    // It is not known to be dead yet, and cannot be reached: the next one in order serves, whoever is asked.
    for (const gateway of [third, other, third]) expect((await at(gateway).tool('say')).status).to.equal(200);
    owner.isDead = true;
    for (const gateway of [third, other]) expect((await at(gateway).tool('say')).status).to.equal(200);
    expect([other.children.length, third.children.length]).to.deep.equal([1, 0]);
  });

  it('notice nothing of a gateway that stops: the next one serves, whoever is asked, the one that stops too', async () => {
    const [owner, other, third] = orderOf('alice') as [SharedGateway, SharedGateway, SharedGateway];
    const { answer } = await hanging(at(third));
    const stopped = owner.app.registry.stop(30_000);
    for (const gateway of [owner, third, other]) expect((await at(gateway).tool('say')).status).to.equal(200);
    expect([owner.children.length, other.children.length, third.children.length]).to.deep.equal([1, 1, 0]);
    const [link] = owner.children as [FakeLink];
    const call = link.sent.find(({ params }) => params?.name === 'hang') as Sent;
    link.reply(call, { content: [{ type: 'text', text: 'in the end' }] });
    expect(textIn(await answer), 'what was under way is answered').to.equal('in the end');
    await stopped;
  });

  it('are served after one hop at most, where gateways are not of one mind about who lives', async () => {
    const [first, second, third] = orderOf('alice') as [SharedGateway, SharedGateway, SharedGateway];
    third.unseen.add(first.name); // so the third sends it to the second, which would send it to the first
    expect((await at(third).tool('say')).status).to.equal(200);
    expect(theChild().gateway).to.equal(second);
    expect((await at(second).tool('say')).status).to.equal(200);
    expect(first.children).to.have.length(1);
  });
});

describe('clients of MCP 2026-07-28 before many gateways', function () {
  this.timeout(60_000);

  let install: Install;
  let agent: Agent;

  beforeEach(async () => {
    agent = new Agent({ connections: 64, keepAliveTimeout: 1_000 });
    install = await Install.of(5, { servers: [SERVER], child });
  });
  afterEach(async () => {
    await agent.destroy();
    await install.stop();
  });
  const at = ({ app }: SharedGateway, user: string): StatelessClient =>
    new StatelessClient(new URL('/mcp', app.url).href, user, CAPABILITIES, agent);

  it('are served by the one they reached where all others that it would ask are lost a moment ago', async () => {
    const [self, ...others] = install.gateways as [SharedGateway, ...SharedGateway[]];
    for (const other of others) await other.vanish();
    for (const user of ['alice', 'bob', 'carol', 'dave'])
      expect((await at(self, user).tool('say')).status).to.equal(200);
    expect(self.children).to.have.length(4);
  });

  it('are answered, each with its own answer or a clear error, while gateways are lost, stop and come', async () => {
    const [lost, stopping, ...stay] = install.gateways as [SharedGateway, SharedGateway, ...SharedGateway[]];
    const round = (from: number): Promise<number>[] =>
      Array.from({ length: 60 }, async (_, n) => {
        const args = { n: from + n };
        const answer = await at(stay[n % stay.length], `user-${String(n % 20)}`).tool('say', args);
        if (answer.status === 200) expect(JSON.parse(textIn(answer))).to.deep.equal(args);
        else expect([answer.status, answer.answer.error.message]).to.satisfy(isLoss);
        return answer.status;
      });
    const isLoss = ([status, said]: [number, string]): boolean => status === 502 && /may have happened/.test(said);
    const first = round(0);
    await Promise.race(first);
    const changes = [lost.vanish(), stopping.app.registry.stop(30_000), install.join({ servers: [SERVER], child })];
    const second = round(100);
    await Promise.all([...changes, ...first, ...second]);
    lost.isDead = true;
    stopping.isDead = true;
    const children = (): number => install.gateways.reduce((sum, gateway) => sum + gateway.children.length, 0);
    expect(new Set(await Promise.all(round(200)))).to.deep.equal(new Set([200]));
    const settled = children();
    expect(new Set(await Promise.all(round(300)))).to.deep.equal(new Set([200]));
    expect(children(), 'all is where it belongs').to.equal(settled);
  });
});

describe('the last gateway that stops', () => {
  it('says so: 503 DRAINING', async () => {
    const install = await Install.of(2, { servers: [SERVER], child });
    const agent = new Agent();
    try {
      const [a, b] = install.gateways as [SharedGateway, SharedGateway];
      for (const { app } of [a, b]) await app.registry.stop(0);
      const client = new StatelessClient(new URL('/mcp', a.app.url).href, 'alice', CAPABILITIES, agent);
      const { status, answer, headers } = await client.tool('say');
      expect([status, answer.error.data.code]).to.deep.equal([503, 'DRAINING']);
      expect(Number(headers['retry-after'])).to.be.above(0);
    } finally {
      await agent.destroy();
      await install.stop();
    }
  });
});
