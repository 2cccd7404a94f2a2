/** A replica's certificate as files that somebody else writes, whenever they like. */
import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AppError } from '../../src/errors';
import { Certificates } from '../../src/peers/certificates';
import { PEER_DNS_NAME } from '../../src/peers/names';
import { FakeClock } from '../support/fake-link';
import { Authority, type PeerFiles, SecretFolder } from '../support/peer-certificates';
import { type KeptLog, keptLog } from '../support/silent-log';
import { until } from '../support/until';

describe('the certificates of a replica', () => {
  const authority = new Authority();
  let secret: SecretFolder;
  let clock: FakeClock;
  let log: KeptLog;
  let certificates: Certificates;
  let changes: number;

  beforeEach(() => {
    secret = new SecretFolder();
    clock = new FakeClock();
    log = keptLog();
    certificates = new Certificates({ folder: secret.path, clock, log });
    changes = 0;
    certificates.onChange(() => changes++);
  });

  afterEach(() => {
    certificates.stop();
    secret.remove();
  });

  const inUse = (): unknown => certificates.current?.tls.cert;
  const events = (): string[] => log.lines.map((line) => (JSON.parse(line) as { event: string }).event);

  const missing = (): Promise<string | undefined> =>
    certificates.check().then(
      () => undefined,
      (thrown: AppError) => thrown.code,
    );

  it('are waited for, and taken when they come; until then the replica is not ready', async () => {
    expect(await missing()).to.equal('STORE_UNAVAILABLE');
    await certificates.start();
    await certificates.look();
    expect(inUse()).to.equal(undefined);
    expect(await missing()).to.equal('STORE_UNAVAILABLE');
    expect(events(), 'said once').to.deep.equal(['peers.certificate-awaited']);
    const files = authority.issue();
    secret.write(files);
    clock.advance(5_000);
    await until('they are taken', async () => changes === 1);
    expect(inUse()).to.equal(files.cert);
    expect(await missing()).to.equal(undefined);
    const late: unknown[] = [];
    certificates.onChange((material) => late.push(material.tls.cert))();
    expect(late, 'whoever asks later is told the present ones').to.deep.equal([files.cert]);
  });

  it('are read again when they change, and only then', async () => {
    secret.write(authority.issue());
    await certificates.start();
    for (let i = 0; i < 5; i++) await certificates.look();
    expect(changes).to.equal(1);
    const next = authority.issue();
    secret.write(next);
    await certificates.look();
    expect(changes).to.equal(2);
    expect(inUse()).to.equal(next.cert);
    certificates.stop();
    expect(clock.timers).to.equal(0);
  });

  it('stay what they were while the files are none, not whole, or do not belong together', async () => {
    const good = authority.issue();
    secret.write(good);
    await certificates.start();
    const bad: PeerFiles[] = [
      { ...good, key: authority.issue().key },
      { ...good, cert: '' },
      { ...good, ca: 'nothing' },
      { ...good, key: good.key.slice(0, 60) },
      authority.issue({ hosts: ['gateway.example'] }),
      authority.issue({ hosts: ['x'], commonName: PEER_DNS_NAME }),
    ];
    for (const files of bad) {
      secret.write(files);
      await certificates.look();
      expect(inUse()).to.equal(good.cert);
    }
    expect(changes).to.equal(1);
    expect(await missing(), 'what was read once does').to.equal(undefined);
    expect(new Set(events())).to.deep.equal(new Set(['peers.certificate', 'peers.certificate-unusable']));
    const next = authority.issue();
    secret.write(next);
    await certificates.look();
    expect(inUse()).to.equal(next.cert);
    for (const { key } of [good, next, ...bad]) {
      const [, body = ''] = key.split('\n');
      expect(log.lines.join('')).to.not.contain(body.slice(0, 20));
    }
  });

  it('stay what they were when the folder goes away', async () => {
    const files = authority.issue();
    secret.write(files);
    await certificates.start();
    secret.remove();
    await certificates.look();
    expect(inUse()).to.equal(files.cert);
    expect(events()).to.deep.equal(['peers.certificate', 'peers.certificate-unusable']);
  });

  it('are taken when they have expired: the next may be late, and it is the others who refuse', async () => {
    const files = authority.issue({ expiresIn: -1_000 });
    secret.write(files);
    await certificates.start();
    expect(inUse()).to.equal(files.cert);
  });

  it('are read from a plain folder, too, however its files are written', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fmo-plain-'));
    try {
      const plain = new Certificates({ folder, clock, log });
      const [one, two] = [authority.issue(), authority.issue()];
      const write = (files: PeerFiles, part: 'ca' | 'cert' | 'key'): void =>
        writeFileSync(join(folder, { ca: 'ca.crt', cert: 'tls.crt', key: 'tls.key' }[part]), files[part]);
      for (const part of ['ca', 'cert', 'key'] as const) {
        await plain.look();
        expect(plain.current).to.equal(undefined);
        write(one, part);
      }
      await plain.look();
      expect(plain.current?.tls.cert).to.equal(one.cert);
      write(two, 'cert'); // its key is still to come
      await plain.look();
      expect(plain.current?.tls.cert).to.equal(one.cert);
      write(two, 'key');
      await plain.look();
      expect(plain.current?.tls).to.include({ cert: two.cert, key: two.key });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
