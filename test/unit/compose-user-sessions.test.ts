/** A user's sessions over all gateways, as the page of connections lists and ends them. */
import { expect } from 'chai';
import { userSessions } from '../../src/compose/user-sessions';
import { anAuth, SessionBench } from '../support/fake-sessions';
import { settle } from '../support/fake-link';
import { MemoryStore } from '../support/memory-store';

describe('a user’s sessions', () => {
  const records = new Map();
  const { user } = anAuth('7');
  let gateways: SessionBench[];

  const sessionsAt = (at: number) => {
    const { registry, clock } = gateways[at];
    const { view } = new MemoryStore(`gateway-${String(at)}`, records);
    return userSessions(() => registry, view, `gateway-${String(at)}`, clock);
  };

  beforeEach(() => {
    records.clear();
    gateways = [0, 1, 2].map((n) => {
      const self = `gateway-${String(n)}`;
      const holders = { self, isSure: true, doubts: 0, isAlive: async () => true };
      return new SessionBench({ store: new MemoryStore(self, records), holders });
    });
  });
  afterEach(async () => {
    for (const { registry, clock } of gateways) {
      const stopped = registry.stop(0);
      await settle();
      clock.advance(60_000);
      await stopped;
    }
  });

  it('are those of all gateways, oldest first, and nobody else’s', async () => {
    const names: string[] = [];
    for (const gateway of gateways) {
      names.push((await gateway.session()).name);
      await gateway.session(anAuth('8'));
      for (const { clock } of gateways) clock.advance(1000);
    }
    for (const at of [0, 1, 2])
      expect(
        sessionsAt(at)
          .of(user)
          .map(({ name }) => name),
      ).to.deep.equal(names);
    expect(sessionsAt(2).of(user)[0]).to.include({ server: 'forgejo', grant: 'grant-7' });
  });

  it('are ended whichever gateway has them: by their user’s wish, with their child', async () => {
    const { name, link } = await gateways[0].session();
    await sessionsAt(1).end(name);
    await settle();
    expect(records.get(name)).to.include({ state: 'ended', endReason: 'user' });
    expect([link.running, gateways[0]?.log.ends]).to.deep.equal([false, ['user']]);
    expect(sessionsAt(0).of(user)).to.deep.equal([]);
    await sessionsAt(2).end(name);
    await sessionsAt(2).end('f'.repeat(40));
  });

  it('are ended all at once', async () => {
    const own = await Promise.all(gateways.flatMap((gateway) => [...Array(10).keys()].map(() => gateway.session())));
    const other = await gateways[0].session(anAuth('8'));
    await sessionsAt(1).endUser(user);
    await settle();
    expect(own.filter(({ link }) => link.running)).to.deep.equal([]);
    expect(other.link.running).to.equal(true);
    expect(sessionsAt(1).of(user)).to.deep.equal([]);
  });
});
