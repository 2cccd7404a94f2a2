/** Which addresses and which client ids a stranger may make this process ask. */
import { expect } from 'chai';
import fc from 'fast-check';
import { BlockList, isIPv4 } from 'node:net';
import { AppError } from '../../src/errors';
import { addressGuard, isPublic, SPECIAL_V4, SPECIAL_V6 } from '../../src/auth/clients/addresses';
import { looksLikeUrl, readClientIdUrl } from '../../src/auth/clients/client-id-url';
import { guardedLookup, publicDns } from '../../src/auth/clients/resolver';

/** An address of the block, with the bits that do not count taken from `fill`. */
function inside(network: string, fill: bigint): string {
  const [address = '', prefix = ''] = network.split('/');
  const size = isIPv4(address) ? 32n : 128n;
  const host = size - BigInt(prefix);
  const first = toNumber(address);
  const value = ((first >> host) << host) | (fill & ((1n << host) - 1n));
  return size === 32n ? v4(value) : v6(value);
}

function toNumber(address: string): bigint {
  if (isIPv4(address)) return address.split('.').reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const [head = '', tail = ''] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const all = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  return all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function v4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
}

function v6(value: bigint): string {
  return Array.from({ length: 8 }, (_, n) => ((value >> BigInt(112 - n * 16)) & 0xffffn).toString(16)).join(':');
}

/** The ways to write an IPv4 address into an IPv6 one. */
const EMBEDDINGS: Readonly<Record<string, (value: bigint) => string>> = {
  'mapped (::ffff:0:0/96)': (value) => v6((0xffffn << 32n) | value),
  'mapped, dotted': (value) => `::ffff:${v4(value)}`,
  'compatible (::/96)': (value) => v6(value),
  'compatible, dotted': (value) => `::${v4(value)}`,
  'translated (::ffff:0:0:0/96)': (value) => v6((0xffff0000n << 32n) | value),
  'NAT64 (64:ff9b::/96)': (value) => v6((0x64ff9bn << 96n) | value),
  'NAT64, dotted': (value) => `64:ff9b::${v4(value)}`,
  'local NAT64 (64:ff9b:1::/48)': (value) => v6((0x64ff9b0001n << 80n) | value),
  '6to4 (2002::/16)': (value) => v6((0x2002n << 112n) | (value << 80n) | 1n),
  'Teredo (2001::/32)': (value) => v6((0x20010000n << 96n) | (value << 64n) | 1n),
};

/** All of IPv6 that is special, by what it is for; the guard itself says only what is not. */
const ALSO_V6 = [
  '::/128',
  '::1/128',
  '::/8',
  '64:ff9b:1::/48',
  '100::/64',
  '100:0:0:1::/64',
  '200::/7',
  '400::/6',
  '1000::/4',
  '4000::/3',
  '5f00::/16',
  '8000::/1',
  'fc00::/7',
  'fd00:ec2::254/128',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
  'ff02::1/128',
];

describe('addresses that a stranger may have us connect to', () => {
  const fill = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n });
  const everywhere = (1n << 128n) - 1n;

  for (const network of SPECIAL_V4) {
    it(`refuses all of ${network}, and every IPv6 address that stands for it`, () => {
      const check = (value: bigint): void => {
        const address = inside(network, value);
        expect(isPublic(address), address).to.equal(false);
        for (const [way, embed] of Object.entries(EMBEDDINGS)) {
          const other = embed(toNumber(address));
          expect(isPublic(other), `${way}: ${other}`).to.equal(false);
        }
      };
      [0n, everywhere].forEach(check);
      fc.assert(fc.property(fill, check), { numRuns: 50 });
    });
  }

  for (const network of [...SPECIAL_V6, ...ALSO_V6]) {
    it(`refuses all of ${network}`, () => {
      const check = (value: bigint): void => {
        const address = inside(network, value);
        // The one part of ::/8 that is somebody else's: a translator's address of a public IPv4 address.
        fc.pre(!address.startsWith('64:ff9b:0:0:0:0:'));
        expect(isPublic(address), address).to.equal(false);
      };
      fc.assert(fc.property(fill, check), { numRuns: 50, examples: [[0n], [everywhere]] });
    });
  }

  for (const address of [
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '169.253.255.255',
    '172.15.255.255',
    '172.32.0.0',
    '192.0.1.0',
    '192.167.255.255',
    '192.169.0.0',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '2606:4700:4700::1111',
    '2a00:1450:4001:80b::200e',
    '2001:200::1',
    '2001:4860:4860::8888',
    '3ffe:ffff::1',
    '64:ff9b::808:808',
    '64:ff9b::8.8.8.8',
  ]) {
    it(`takes ${address}`, () => {
      expect(isPublic(address)).to.equal(true);
    });
  }

  for (const text of [
    '',
    'localhost',
    '127.1',
    '0177.0.0.1',
    '0x7f.0.0.1',
    '2130706433',
    '8.8.8.8.',
    ' 8.8.8.8',
    '8.8.8.8/32',
    '[2606:4700::1]',
    'fe80::1%eth0',
    '2606:4700::1%1',
    '2606:4700:::1',
    '::ffff:8.8.8.8.8',
  ]) {
    it(`refuses ${JSON.stringify(text)}, which is no plain address`, () => {
      expect(isPublic(text)).to.equal(false);
      expect(addressGuard()(text)).to.equal(false);
    });
  }

  it("agrees with Node's own block list about every IPv4 address", () => {
    const list = new BlockList();
    for (const network of SPECIAL_V4) {
      const [address = '', prefix] = network.split('/');
      list.addSubnet(address, Number(prefix), 'ipv4');
    }
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(isPublic(address)).to.equal(!list.check(address, 'ipv4'));
      }),
      { numRuns: 2000 },
    );
  });

  it("agrees with Node's own block list about every IPv6 address of the public part", () => {
    const list = new BlockList();
    for (const network of SPECIAL_V6) {
      const [address = '', prefix] = network.split('/');
      list.addSubnet(address, Number(prefix), 'ipv6');
    }
    fc.assert(
      fc.property(fill, (value) => {
        const address = inside('2000::/3', value);
        expect(isPublic(address)).to.equal(!list.check(address, 'ipv6'));
      }),
      { numRuns: 2000 },
    );
  });

  it('refuses the networks of the cluster as well, and what stands for them', () => {
    const guard = addressGuard(['20.30.0.0/16', '2a00:1:2::/48', '52.1.2.3/32']);
    for (const address of [
      '20.30.0.0',
      '20.30.255.255',
      '52.1.2.3',
      '64:ff9b::141e:1',
      '2a00:1:2::',
      '2a00:1:2:ffff::1',
    ]) {
      expect(isPublic(address), address).to.equal(true);
      expect(guard(address), address).to.equal(false);
    }
    for (const address of ['20.31.0.0', '52.1.2.4', '2a00:1:3::1']) expect(guard(address), address).to.equal(true);
    expect(guard('10.0.0.1')).to.equal(false);
  });

  for (const network of ['', '10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/8/8', 'x/8', '10.0.0.0/-1']) {
    it(`does not take ${JSON.stringify(network)} for a network`, () => {
      expect(() => addressGuard([network])).to.throw(RangeError);
    });
  }
});

describe('the lookup of a guarded connection', () => {
  const look = (
    answers: readonly string[] | Error,
    all: boolean,
  ): Promise<{ error: Error | null; address: unknown; family: unknown }> =>
    new Promise((resolve) => {
      const resolveName = async () => {
        if (answers instanceof Error) throw answers;
        return answers;
      };
      const lookup = guardedLookup(resolveName, addressGuard(), AbortSignal.timeout(10_000));
      lookup('client.example', { all }, (error, address, family) => resolve({ error, address, family }));
    });

  it('gives the checked addresses, all or the first, with their families', async () => {
    const answers = ['8.8.8.8', '2606:4700::1'];
    expect((await look(answers, true)).address).to.deep.equal([
      { address: '8.8.8.8', family: 4 },
      { address: '2606:4700::1', family: 6 },
    ]);
    expect(await look(answers, false)).to.include({ error: null, address: '8.8.8.8', family: 4 });
  });

  for (const [what, answers] of [
    ['one private address among public ones', ['8.8.8.8', '10.0.0.1']],
    ['a mapped loopback address', ['::ffff:127.0.0.1']],
    ['no address', []],
    ['very many addresses', Array.from({ length: 33 }, () => '8.8.8.8')],
    ['something that is no address', ['metadata']],
  ] as const) {
    it(`fails for ${what}`, async () => {
      for (const all of [true, false]) {
        expect((await look(answers, all)).error?.message).to.equal('the name leads to an address that is not public');
      }
    });
  }

  it('fails where the name cannot be resolved', async () => {
    expect((await look(new Error('no such name'), true)).error?.message).to.equal('no such name');
  });

  it('asks no name server when the deadline has passed', async () => {
    const error = await publicDns('client.example', AbortSignal.abort(new Error('late'))).catch(
      (thrown: Error) => thrown,
    );
    expect(error).to.have.property('message', 'late');
  });
});

describe('client ids that are URLs', () => {
  for (const id of [
    'https://vscode.dev/oauth/client-metadata.json',
    'https://chatgpt.com/oauth/codex/client.json',
    'https://claude.ai/oauth/claude-code-client-metadata',
    'https://client.example/a/',
    'https://client.example/c?v=1',
    'https://xn--bcher-kva.example/c.json',
  ]) {
    it(`takes ${id}`, () => {
      expect(looksLikeUrl(id)).to.equal(true);
      expect(readClientIdUrl(id).href).to.equal(id);
    });
  }

  for (const id of [
    'http://client.example/c.json',
    'HTTPS://client.example/c.json',
    'https://CLIENT.example/c.json',
    'https://client.example',
    'https://client.example/',
    'https://client.example/?c',
    'https://client.example:443/c.json',
    'https://client.example:8443/c.json',
    'https://client.example:22/c.json',
    'https://user@client.example/c.json',
    'https://user:pass@client.example/c.json',
    'https://@client.example/c.json',
    'https://client.example/c.json#',
    'https://client.example/c.json#x',
    'https://client.example/./c.json',
    'https://client.example/a/../c.json',
    'https://client.example/a/%2e%2e/c.json',
    'https://client.example/a/%2E/c.json',
    'https://client.example/a/..',
    'https://client.example\\c.json',
    'https://client.example/a\\c.json',
    'https://client.example/a c',
    'https://client.example/\tc.json',
    'https://client.example/\u00e4',
    'https://b\u00fccher.example/c.json',
    'https:client.example/c.json',
    'https:///client.example/c.json',
    ' https://client.example/c.json',
    'https://127.0.0.1/c.json',
    'https://8.8.8.8/c.json',
    'https://2130706433/c.json',
    'https://0x7f.1/c.json',
    'https://[::1]/c.json',
    'https://[2606:4700::1]/c.json',
    'https://localhost/c.json',
    'https://foo.localhost/c.json',
    'https://forge/c.json',
    'https://forge.git.svc.cluster.local/c.json',
    'https://metadata.google.internal/c.json',
    'https://printer.local/c.json',
    'https://router.home.arpa/c.json',
    'https://client.example./c.json',
    'https://x.onion/c.json',
    `https://client.example/${'x'.repeat(1024)}`,
    'ftp://client.example/c.json',
    'javascript:alert(1)',
    '',
  ]) {
    it(`refuses ${JSON.stringify(id).slice(0, 60)}`, () => {
      expect(() => readClientIdUrl(id))
        .to.throw(AppError)
        .with.property('code', 'CLIENT_INVALID');
    });
  }

  it('takes an id of ours for no URL', () => {
    for (const id of ['dcr_abc', 'my-client', 'cursor://x', 'httpsx', 'urn:x'])
      expect(looksLikeUrl(id)).to.equal(false);
    expect(looksLikeUrl('HTTPS://x')).to.equal(true);
  });
});
