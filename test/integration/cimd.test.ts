/**
 * The fetch of client metadata documents on real sockets: TLS with a test authority, a real name server, and addresses of the public Internet that exist in
 * a network namespace of the test only.
 */
import { expect } from 'chai';
import { cites } from '../requirements';
import {
  type Attempt,
  cimdNamespace,
  type DocumentNamespace,
  INTERNAL,
  PUBLIC,
  PUBLIC_CLOSED,
  PUBLIC_MUTE,
  PUBLIC_V6,
  type Report,
} from '../support/cimd';

const HOST = 'client.test-host.org';
const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64');

describe('CIMD: the fetch of a client metadata document', () => {
  let namespace: DocumentNamespace;

  before(async () => {
    namespace = await cimdNamespace();
  });

  after(async () => namespace.stop());

  /** Tries it, and holds what is always true: nothing internal was connected to. */
  const attempt = async (wanted: Attempt): Promise<Report> => {
    const report = await namespace.try(wanted);
    expect(report.internal, 'connections to internal addresses').to.deep.equal([]);
    expect(report.cookies).to.equal(0);
    return report;
  };

  /** The one outcome. */
  const only = ({ outcomes }: Report): any => {
    expect(outcomes).to.have.length(1);
    return outcomes[0];
  };

  it('takes a document of a public host over TLS', async () => {
    cites('2025-11-25/authorization/25', '2025-11-25/authorization/30');
    const report = await attempt({});
    expect(only(report)).to.deep.equal({ client: 'Agent' });
    expect(report).to.include({ requests: 1, connections: 1, lookups: 1 });
  });

  it('takes it over IPv6, and over the address that answers where another does not', async () => {
    expect(only(await attempt({ answers: [[PUBLIC_V6]] }))).to.deep.equal({ client: 'Agent' });
    expect(only(await attempt({ answers: [[PUBLIC_CLOSED, PUBLIC_V6]] }))).to.deep.equal({ client: 'Agent' });
  });

  it('takes application/<anything>+json, and parameters', async () => {
    for (const type of ['application/json; charset=utf-8', 'application/cimd+json', 'Application/JSON']) {
      expect(only(await attempt({ host: { headers: { 'content-type': type } } })), type).to.have.property('client');
    }
  });

  it('sends one request for 100 that ask at once', async () => {
    const report = await attempt({ atOnce: 100 });
    expect(report.outcomes).to.have.length(100);
    expect(report.outcomes.every((outcome) => 'client' in outcome)).to.equal(true);
    expect(report).to.include({ requests: 1, connections: 1, lookups: 1 });
  });

  it('believes only the authorities that it was given, whatever the environment says', async () => {
    const report = await attempt({ untrusted: true });
    expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
    expect(only(report).detail).to.match(/certificate/);
    expect(report.requests).to.equal(0);
  });

  it('refuses the certificate of another host', async () => {
    const report = await attempt({ id: 'https://impostor.test-host.org/c.json' });
    expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
    expect(report.requests).to.equal(0);
  });

  describe('never connects to what is not public', () => {
    for (const address of [
      ...INTERNAL,
      '::ffff:127.0.0.1',
      '::ffff:10.1.2.3',
      '64:ff9b::10.1.2.3',
      '2002:a01:203::1',
      '0.0.0.0',
      '::',
      '224.0.0.1',
      '192.0.2.1',
    ]) {
      it(`not to ${address}, nor to a public address beside it`, async () => {
        for (const answers of [[address], [PUBLIC, address], [address, PUBLIC]]) {
          const report = await attempt({ answers: [answers] });
          expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
          expect(report.connections).to.equal(0);
        }
      });
    }

    it('not to a network of the cluster that has public addresses', async () => {
      const report = await attempt({ refused: ['20.20.20.0/24'] });
      expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
      expect(report.connections).to.equal(0);
    });

    it('not when a name changes its mind between the check and the connection (DNS rebinding)', async () => {
      cites('2025-11-25/authorization/88', '2025-11-25/authorization/89');
      const report = await attempt({ answers: [[PUBLIC], ['127.0.0.1']] });
      expect(only(report)).to.deep.equal({ client: 'Agent' });
      expect(report).to.include({ lookups: 1, connections: 1 });
    });

    it('not when it changes its mind later: every connection is checked anew, and the last good document goes on', async () => {
      const report = await attempt({ answers: [[PUBLIC], ['127.0.0.1'], ['10.1.2.3'], [PUBLIC]], days: 4 });
      expect(report.outcomes).to.deep.equal(Array(4).fill({ client: 'Agent' }));
      expect(report).to.include({ lookups: 4, requests: 2 });
    });

    for (const id of [
      'https://127.0.0.1/c.json',
      'https://10.1.2.3/c.json',
      'https://2130706433/c.json',
      'https://[::1]/c.json',
      'https://[::ffff:10.1.2.3]/c.json',
      'https://localhost/c.json',
      `https://${HOST}:80/c.json`,
      `https://${HOST}@10.1.2.3/c.json`,
      `http://${HOST}/c.json`,
    ]) {
      it(`not by the client id ${id}`, async () => {
        const report = await attempt({ id });
        expect(only(report)).to.include({ code: 'CLIENT_INVALID' });
        expect(report).to.include({ connections: 0, lookups: 0 });
      });
    }

    for (const status of [301, 302, 303, 307, 308]) {
      it(`not by a redirect with ${status}`, async () => {
        for (const location of [
          'https://10.1.2.3/c.json',
          'http://127.0.0.1/c.json',
          `https://${HOST}/other.json`,
          '//169.254.169.254/latest/meta-data',
        ]) {
          const report = await attempt({ host: { status, headers: { location } } });
          expect(only(report)).to.include({ code: 'CLIENT_INVALID' });
          expect(report).to.include({ requests: 1, connections: 1 });
        }
      });
    }
  });

  it('tells a stranger the same of an internal address, a closed port, a mute host, a wrong certificate and no name', async () => {
    const attempts: Attempt[] = [
      { answers: [['10.1.2.3']] },
      { answers: [[PUBLIC_CLOSED]] },
      { answers: [[PUBLIC_MUTE]], deadlineMs: 200 },
      { answers: [[]] },
      { untrusted: true },
      { host: { status: 500 } },
      { zone: {} },
    ];
    const told = new Set<string>();
    for (const wanted of attempts) {
      const { code, message } = only(await attempt(wanted));
      told.add(`${code} ${message}`);
    }
    expect([...told]).to.have.length(1);
    expect([...told][0]).to.match(/^CLIENT_UNAVAILABLE /);
  });

  describe('waits for nothing beyond its deadline', () => {
    const slow: readonly [string, Attempt][] = [
      ['a host that does not speak TLS', { answers: [[PUBLIC_MUTE]] }],
      ['a host that does not answer', { host: { manner: 'silent' } }],
      ['a host that sends a byte at a time', { host: { manner: 'drip' } }],
      ['a name server that does not answer', { zone: {}, id: 'https://slow.test-host.org/c.json' }],
    ];
    for (const [what, wanted] of slow) {
      it(`not for ${what}`, async () => {
        const report = await attempt({ ...wanted, deadlineMs: 300 });
        expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
      });
    }
  });

  describe('refuses what is no small JSON document', () => {
    const large = JSON.stringify({
      client_id: `https://${HOST}/mcp/client.json`,
      redirect_uris: ['http://localhost/cb'],
      client_name: 'x'.repeat(5 * 1024),
    });
    const cases: readonly [string, NonNullable<Attempt['host']>][] = [
      [
        'a body that is announced as too large',
        { headers: { 'content-length': String(large.length) }, body: base64(large) },
      ],
      ['a body that turns out too large', { headers: { 'transfer-encoding': 'chunked' }, body: base64(large) }],
      ['a body without end', { manner: 'endless' }],
      ['HTML', { headers: { 'content-type': 'text/html' } }],
      ['a type that only begins like JSON', { headers: { 'content-type': 'application/jsonp' } }],
      ['plain text', { headers: { 'content-type': 'text/plain; application/json' } }],
      ['no type', { headers: { 'content-type': '' } }],
      ['compression that nobody asked for', { headers: { 'content-encoding': 'gzip' } }],
      ['no JSON', { body: base64('<html>') }],
      ['nothing', { body: '' }],
      ['no UTF-8', { body: base64(Buffer.from([0x7b, 0xff, 0xfe, 0x7d])) }],
      [
        'the document of another client',
        {
          body: base64(
            JSON.stringify({ client_id: 'https://x.org/c', client_name: 'n', redirect_uris: ['https://x.org/cb'] }),
          ),
        },
      ],
      [
        'a secret',
        {
          body: base64(
            JSON.stringify({
              client_id: `https://${HOST}/mcp/client.json`,
              client_name: 'n',
              redirect_uris: ['http://localhost/cb'],
              client_secret: 'x',
            }),
          ),
        },
      ],
    ];
    for (const [what, host] of cases) {
      it(what, async () => {
        expect(only(await attempt({ host }))).to.include({ code: 'CLIENT_METADATA_INVALID' });
      });
    }

    it('takes exactly 5 KiB', async () => {
      const document = {
        client_id: `https://${HOST}/mcp/client.json`,
        client_name: 'Agent',
        redirect_uris: ['http://localhost/cb'],
        pad: '',
      };
      const pad = 'x'.repeat(5 * 1024 - JSON.stringify(document).length);
      const body = base64(JSON.stringify({ ...document, pad }));
      expect(only(await attempt({ host: { body } }))).to.have.property('client');
    });

    it('hangs up on a host that goes on sending', async () => {
      expect((await attempt({ host: { manner: 'endless' } })).cutOff).to.equal(1);
    });

    it('hangs up on headers that are too large', async () => {
      const report = await attempt({ host: { headers: { 'x-large': 'x'.repeat(10_000) } } });
      expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
    });
  });

  const statuses: readonly [number, string][] = [
    [201, 'CLIENT_INVALID'],
    [204, 'CLIENT_INVALID'],
    [304, 'CLIENT_INVALID'],
    [401, 'CLIENT_INVALID'],
    [403, 'CLIENT_INVALID'],
    [404, 'CLIENT_INVALID'],
    [410, 'CLIENT_INVALID'],
    [429, 'CLIENT_UNAVAILABLE'],
    [500, 'CLIENT_UNAVAILABLE'],
    [503, 'CLIENT_UNAVAILABLE'],
  ];
  for (const [status, code] of statuses) {
    it(`takes an answer of ${status} for ${code}, without a word of its body`, async () => {
      const outcome = only(
        await attempt({ host: { status, ...(status === 204 ? {} : { body: base64('"s3cret"') }) } }),
      );
      expect(outcome).to.include({ code });
      expect(outcome.message).to.not.contain('s3cret');
    });
  }

  describe('asks the name server', () => {
    it('for the name as it stands, and connects to what it answers', async () => {
      const report = await attempt({ zone: { [HOST]: [PUBLIC, PUBLIC_V6] } });
      expect(only(report)).to.deep.equal({ client: 'Agent' });
      expect(new Set(report.names)).to.deep.equal(new Set([HOST]));
    });

    it('and does without IPv6 where it stays silent about that', async () => {
      const name = 'deaf.test-host.org';
      const report = await attempt({ id: `https://${name}/c.json`, zone: { [name]: [PUBLIC] } });
      expect(only(report)).to.deep.equal({ client: 'Agent' });
    });

    it('never for a name in a search domain, which would lead into the cluster', async () => {
      const report = await attempt({
        id: 'https://forge.git/c.json',
        zone: { 'forge.git.svc.cluster.local': [PUBLIC] },
      });
      expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
      expect(report.connections).to.equal(0);
      expect(new Set(report.names)).to.deep.equal(new Set(['forge.git']));
    });

    it('and refuses an internal address in its answer, of either family', async () => {
      for (const zone of [
        ['127.0.0.1'],
        ['0:0:0:0:0:0:0:1'],
        [PUBLIC, 'fd00:1:0:0:0:0:0:1'],
        ['10.1.2.3', PUBLIC_V6],
      ]) {
        const report = await attempt({ zone: { [HOST]: zone } });
        expect(only(report)).to.include({ code: 'CLIENT_UNAVAILABLE' });
        expect(report.connections).to.equal(0);
      }
    });
  });
});
