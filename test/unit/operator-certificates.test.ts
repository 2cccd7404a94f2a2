import { expect } from 'chai';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isPeerCertificate } from '../../src/peers/certificates';
import { type Entries, rotated } from '../../src/operator/certificates';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = 1_800_000_000_000;

const leafOf = (entries: Entries): X509Certificate => new X509Certificate(entries['tls.crt'] ?? '');
const casOf = (entries: Entries): X509Certificate[] =>
  (entries['ca.crt'] ?? '')
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .filter((text) => text !== '')
    .map((text) => new X509Certificate(text));
/** Whether a gateway that has read `theirs` believes one that has read `ours`. */
const believes = (theirs: Entries, ours: Entries): boolean =>
  casOf(theirs).some((ca) => leafOf(ours).checkIssued(ca) && leafOf(ours).verify(ca.publicKey));

describe('the certificates of gateways', () => {
  it('are made where there are none, and left alone from then on', () => {
    const made = rotated({}, NOW);
    if (made === undefined) throw new Error('nothing was made');
    expect(Object.keys(made)).to.deep.equal(['ca.crt', 'tls.crt', 'tls.key']);
    const leaf = leafOf(made);
    expect(isPeerCertificate(leaf)).to.equal(true);
    expect(leaf.checkPrivateKey(createPrivateKey(made['tls.key'] ?? ''))).to.equal(true);
    expect(leaf.keyUsage).to.deep.equal(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(believes(made, made)).to.equal(true);
    expect(rotated(made, NOW)).to.equal(undefined);
    expect(rotated(made, NOW + 59 * DAY)).to.equal(undefined);
  });

  it('have no CA’s key', () => {
    const made = rotated({}, NOW);
    expect(JSON.stringify(made).match(/PRIVATE KEY-----\\n/g)).to.have.length(2); // begin and end of one
  });

  it('are rotated before they expire, so that whatever gateway has read last believes every other', () => {
    const seen: Entries[] = [];
    for (let at = NOW; at < NOW + 400 * DAY; at += 8 * HOUR) {
      const next = rotated(seen.at(-1) ?? {}, at);
      if (next === undefined) continue;
      const before = seen.at(-1);
      seen.push(next);
      expect(leafOf(next).validToDate.getTime() - at).to.be.above(29 * DAY);
      for (const ca of casOf(next)) expect(ca.validToDate.getTime()).to.be.above(at);
      expect(casOf(next).length).to.be.at.most(3);
      if (before === undefined) continue;
      expect(believes(next, before), 'the new believes the former').to.equal(true);
      expect(believes(before, next), 'the former believes the new').to.equal(true);
    }
    const leaves = new Set(seen.map((entries) => leafOf(entries).serialNumber));
    expect(leaves.size).to.be.within(6, 8);
  });

  it('keep a CA until what it signed has expired', () => {
    const first = rotated({}, NOW) ?? {};
    const prepared = rotated(first, NOW + 61 * DAY) ?? {};
    expect(leafOf(prepared).serialNumber).to.equal(leafOf(first).serialNumber);
    expect(casOf(prepared)).to.have.length(2);
    expect(rotated(prepared, NOW + 61 * DAY + HOUR / 2)).to.equal(undefined);
    const second = rotated(prepared, NOW + 61 * DAY + HOUR) ?? {};
    expect(leafOf(second).serialNumber).to.not.equal(leafOf(first).serialNumber);
    expect(Object.keys(second)).to.deep.equal(['ca.crt', 'tls.crt', 'tls.key']);
    expect(believes(second, first)).to.equal(true);
    expect(rotated(second, NOW + 89 * DAY)).to.equal(undefined);
    const later = rotated(second, NOW + 91 * DAY) ?? {};
    expect(casOf(later)).to.have.length(1);
    expect(leafOf(later).serialNumber).to.equal(leafOf(second).serialNumber);
  });

  for (const [what, broken] of [
    [
      'a key that is another’s',
      (good: Entries): Entries => ({ ...good, 'tls.key': (rotated({}, NOW) ?? {})['tls.key'] ?? '' }),
    ],
    ['no key', ({ 'tls.key': _key, ...rest }: Entries): Entries => rest],
    ['a certificate that is none', (good: Entries): Entries => ({ ...good, 'tls.crt': 'x' })],
    ['another’s CA', (good: Entries): Entries => ({ ...good, 'ca.crt': (rotated({}, NOW) ?? {})['ca.crt'] ?? '' })],
  ] as const) {
    it(`are made anew where there is ${what}; CAs that were believed stay so`, () => {
      const good = rotated({}, NOW) ?? {};
      const bad = broken(good);
      const mended = rotated(bad, NOW + HOUR) ?? {};
      expect(believes(mended, mended)).to.equal(true);
      expect(leafOf(mended).serialNumber).to.not.equal(leafOf(good).serialNumber);
      for (const ca of casOf(bad)) expect(casOf(mended).map(String)).to.include(String(ca));
    });
  }

  it('are made anew where they have expired', () => {
    const made = rotated({}, NOW) ?? {};
    const mended = rotated(made, NOW + 200 * DAY) ?? {};
    expect(leafOf(mended).validToDate.getTime()).to.be.above(NOW + 280 * DAY);
    expect(casOf(mended)).to.have.length(1);
  });
});
