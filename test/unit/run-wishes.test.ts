import { expect } from 'chai';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { forgeAnswers, portsAreFree } from '../../scripts/run/checks';
import { OWN_VARIABLES, wishesOf } from '../../scripts/run/wishes';

/** What a promise is rejected with; empty where it is not. */
const failure = (work: Promise<void>): Promise<string> =>
  work.then(
    () => '',
    (error: Error) => error.message,
  );

describe('what make run is asked for', () => {
  it('is a login at a local forge where nothing is said, or by empty variables only', () => {
    for (const env of [{}, { AUTH: '', PORT: '', OPS_PORT: '', FORGE_PORT: '', FORGEJO_URL: '', PUBLIC_URL: '' }]) {
      const { auth, port, opsPort, forgePort, publicUrl, forge } = wishesOf(env);
      expect([auth, port, opsPort, forgePort]).to.deep.equal(['oauth', 8080, 9090, 3000]);
      expect([publicUrl, forge]).to.deep.equal(['http://127.0.0.1:8080', undefined]);
    }
  });

  it('takes a port into the public URL, and URLs without their last slash', () => {
    expect(wishesOf({ PORT: '18080' }).publicUrl).to.equal('http://127.0.0.1:18080');
    expect(wishesOf({ FORGEJO_URL: 'https://forge.example/git/' }).forge).to.equal('https://forge.example/git');
  });

  it('is refused by the name of the variable where it cannot be meant', () => {
    for (const [name, value] of [
      ['AUTH', 'basic'],
      ['PORT', '80a'],
      ['OPS_PORT', '0'],
      ['FORGE_PORT', '65536'],
      ['FORGEJO_URL', 'forge.example'],
      ['FORGEJO_API_URL', 'ftp://forge.example'],
      ['PUBLIC_URL', 'https://'],
    ] as const)
      expect(() => wishesOf({ [name]: value }), name).to.throw(new RegExp(`^${name} must be .*, not ${value}$`));
  });

  it('is not handed on to the gateway', () => {
    const own = ['AUTH', 'PORT', 'OPS_PORT', 'FORGE_PORT', 'PUBLIC_URL', 'FORGEJO_URL', 'FORGEJO_READ_CLIENT_SECRET'];
    expect([...own, 'FMO_LOG_LEVEL', 'NODE_EXTRA_CA_CERTS'].filter((name) => !OWN_VARIABLES.test(name))).to.deep.equal([
      'FMO_LOG_LEVEL',
      'NODE_EXTRA_CA_CERTS',
    ]);
  });
});

describe('what make run looks at first', () => {
  it('is whether its ports are free: each that is not is told with the variable that chooses another', async () => {
    const other = createServer((_, res) => res.writeHead(403).end());
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as AddressInfo;
    try {
      expect(await failure(portsAreFree({ PORT: port, OPS_PORT: port }))).to.equal(
        `Port ${port} is taken. Choose another: PORT=... make run\nPort ${port} is taken. Choose another: OPS_PORT=... make run`,
      );
      expect(await failure(forgeAnswers(`http://127.0.0.1:${port}`)), 'any answer is one').to.equal('');
    } finally {
      await new Promise((closed) => other.close(closed));
    }
    expect(await failure(portsAreFree({ PORT: port }))).to.equal('');
    expect(await failure(forgeAnswers(`http://127.0.0.1:${port}`))).to.equal(
      `http://127.0.0.1:${port} does not answer: ECONNREFUSED`,
    );
  });
});
