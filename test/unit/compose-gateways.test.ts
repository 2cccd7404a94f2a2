/** The way to other gateways for requests that are for no recorded session. */
import { expect } from 'chai';
import { gatewaysBy, ownsBy } from '../../src/compose/gateways';
import { AppError } from '../../src/errors';
import type { Exchange } from '../../src/http/exchange';
import type { Incoming, Outgoing } from '../../src/http/handler';
import type { Forward, Outcome } from '../../src/peers/contract';
import { replicaName } from '../../src/peers/names';
import { deferred } from '../support/gateway-app';

const [SELF, OTHER, UNKNOWN] = [replicaName(), replicaName(), replicaName()];
const REQUEST = {} as Incoming;
const RESPONSE = {} as Outgoing;
const EXCHANGE = { id: 'r1', address: '192.0.2.1' } as Exchange;
const gone = new AbortController().signal;

describe('the way to other gateways', () => {
  let outcome: Outcome;
  let sent: Forward[];
  let alive: (name: string) => Promise<boolean>;
  let asked: string[];

  const replicas = {
    self: SELF,
    living: () => [SELF, OTHER],
    addressOf: async () => '10.0.0.2:9443',
    isAlive: (name: string) => {
      asked.push(name);
      return alive(name);
    },
  };
  const peers = {
    forward: async (_request: unknown, _response: unknown, forward: Forward) => {
      sent.push(forward);
      return outcome;
    },
  };
  const gateways = gatewaysBy(peers, replicas);
  const send = (name: string) =>
    gateways.send(REQUEST, RESPONSE, EXCHANGE, { name, channel: 'sse', body: 'stream', gone });
  const refusal = (thrown: unknown): string => (thrown instanceof AppError ? thrown.code : String(thrown));

  beforeEach(() => {
    outcome = 'forwarded';
    sent = [];
    asked = [];
    alive = async () => false;
  });

  it('leads to a gateway that lives, without a question', async () => {
    expect(await send(OTHER)).to.equal('done');
    expect(sent).to.deep.equal([
      {
        channel: 'sse',
        target: { name: OTHER, address: '10.0.0.2:9443' },
        body: 'stream',
        clientAddress: '192.0.2.1',
        requestId: 'r1',
      },
    ]);
    expect(asked).to.deep.equal([]);
  });

  it('leads to one that nobody here knows only where the cluster says that it lives', async () => {
    expect(await send(UNKNOWN)).to.equal('not-taken');
    expect(sent).to.deep.equal([]);
    alive = async () => true;
    expect(await send(UNKNOWN)).to.equal('done');
    expect(asked).to.deep.equal([UNKNOWN, UNKNOWN]);
  });

  it('says what became of a request: not taken, or nobody knows', async () => {
    for (const refused of ['not-holder', 'not-there'] as const) {
      outcome = refused;
      expect(await send(OTHER)).to.equal('not-taken');
    }
    outcome = 'unanswered';
    expect(await send(OTHER).catch(refusal)).to.equal('BACKEND_ENDED');
  });

  it('asks for few names at once, which clients may make up, and none of those holds up one that is known', async () => {
    const answer = deferred<boolean>();
    alive = () => answer.promise;
    const sending = Array.from({ length: 50 }, () => send(replicaName()).catch(refusal));
    expect(await send(OTHER)).to.equal('done');
    answer.resolve(false);
    const ends = await Promise.all(sending);
    expect(ends.filter((end) => end === 'not-taken')).to.have.length(8);
    expect(ends.filter((end) => end === 'OVERLOADED')).to.have.length(42);
    expect(await send(UNKNOWN), 'again, once those are answered').to.equal('not-taken');
  });

  it('each key is owned by the first of its order', () => {
    const views = [SELF, OTHER].map((self) => ({ self, living: () => [self, self === SELF ? OTHER : SELF] }));
    for (let n = 0; n < 50; n += 1) {
      const owners = views.filter((view) => ownsBy(view)(`key ${String(n)}`)).map(({ self }) => self);
      expect(owners).to.deep.equal([gateways.order(`key ${String(n)}`)[0]]);
    }
  });
});
