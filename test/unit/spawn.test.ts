import { expect } from 'chai';
import { systemClock as clock } from '../../src/clock';
import { createSpawner } from '../../src/spawn';
import { createMetrics } from '../../src/telemetry/metrics';
import { FakeBackend } from '../support/fake-backend';
import { anAuth } from '../support/fake-sessions';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';

describe('the spawner', () => {
  it('knows where the later of two children of a session is, also once the earlier one has ended', async () => {
    const backend = new FakeBackend();
    const open = backend.open.bind(backend);
    let count = 0;
    backend.open = (spec, signal) => {
      const instance = `child ${String((count += 1))}`;
      return open({ ...spec, secrets: () => spec.secrets({ instance }) }, signal);
    };
    let held = 0;
    const spawner = createSpawner({
      ...{ backend, clock, log: keptLog(), metrics: createMetrics() },
      proxy: { childUrl: 'https://proxy.example', mint: () => 'capability' },
      tokens: {
        retain: () => {
          held += 1;
          return () => (held -= 1);
        },
        token: () => Promise.reject(new Error('nobody asks')),
        refused: () => undefined,
      },
    });
    const session = 'a'.repeat(40);
    const start = (generation: number) =>
      spawner.spawn(
        { session, auth: anAuth(), server: serverSpec({}), generation, placed: async () => undefined },
        new AbortController().signal,
      );
    const [first, second] = [await start(1), await start(2)];
    await first.close();
    expect(spawner.address(session)).to.deep.equal({ instance: 'child 2' });
    await second.close();
    expect([spawner.address(session), held]).to.deep.equal([undefined, 0]);
  });
});
