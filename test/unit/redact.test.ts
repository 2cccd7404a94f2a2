import { expect } from 'chai';
import { redact, stripTerminal } from '../../src/telemetry/redact';

const HEX40 = '0123456789abcdef0123456789abcdef01234567';

describe('redaction', () => {
  const secrets: [string, string, string][] = [
    ['a Forgejo access token', `using ${HEX40} for it`, HEX40],
    ['a Forgejo access token in capitals', `using ${HEX40.toUpperCase()}`, HEX40.toUpperCase()],
    ['a session id', `sid ${HEX40}01234567.`, `${HEX40}01234567`],
    ['an Authorization header with a scheme', 'Authorization: Bearer abc.def-123', 'abc.def-123'],
    ['an Authorization header with Forgejo’s scheme', 'authorization: token s3cret', 's3cret'],
    ['an Authorization header of Go', 'map[Authorization:[token s3cretpassword] X:[y]]', 's3cretpassword'],
    ['an Authorization member in JSON', '{"Authorization":"Basic dXNlcjpwdw=="}', 'dXNlcjpwdw=='],
    ['a Proxy-Authorization header', 'Proxy-Authorization: Basic dXNlcjpwdw==', 'dXNlcjpwdw=='],
    ['a bearer without a header', 'sent bearer abcdefgh12345678ijkl to it', 'abcdefgh12345678ijkl'],
    ['a JWT', 'got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln_-x end', 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln_-x'],
    ['a JWE', 'eyJhbGciOiJkaXIi.x.y.z.w', 'eyJhbGciOiJkaXIi.x.y.z.w'],
    ['a capability', 'token=fmocap_abc.DEF-1_2', 'fmocap_abc.DEF-1_2'],
    ['a capability alone', 'x fmocap_abc.DEF-1_2 y', 'abc.DEF'],
    ['an OAuth secret of Forgejo', 'secret gto_abcdefghijklmnopqrstuvwxyz234567', 'gto_abcdefghijklmnop'],
    ['a GitHub token', 'ghp_abcdefABCDEF123456', 'ghp_abcdefABCDEF'],
    ['a GitLab token', 'glpat-abcdefABCDEF123456', 'abcdefABCDEF'],
    ['a password in a URL', 'cloning https://user:hunter2@forge.example/x.git', 'hunter2'],
    ['a token in a URL', 'cloning https://abcdef@forge.example/x.git', 'abcdef'],
    ['a token in a query', 'GET /api?access_token=abcdefgh12&x=1', 'abcdefgh12'],
    ['a token in the environment', 'FORGEJO_ACCESS_TOKEN=abcdefgh', 'abcdefgh'],
    ['a password in JSON', '{"password":"hunter2hunter2"}', 'hunter2hunter2'],
    ['a session header', 'Mcp-Session-Id: 1234567890', '1234567890'],
    ['a cookie', 'Cookie: i_like_gitea=abcdef12345', 'abcdef12345'],
    ['a private key', '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY----- after', 'MHcCAQEE'],
    ['a private key that is cut off', '-----BEGIN PRIVATE KEY----- MHcCAQEE', 'MHcCAQEE'],
  ];
  for (const [what, text, secret] of secrets) {
    it(`takes out ${what}`, () => {
      expect(redact(text)).to.include('[redacted]').and.not.include(secret);
    });
  }

  const harmless = [
    'listening on stdio',
    'GET https://forge.example/api/v1/version 200 in 12 ms',
    'tokens used: 5, token count 12',
    'the key of the map is empty',
    `sha256:${HEX40}${HEX40.slice(0, 24)}`,
    'basic authentication is not supported',
    'mailto:someone@example.org',
    'commit abc1234 pushed',
  ];
  for (const text of harmless) {
    it(`leaves "${text.slice(0, 40)}" alone`, () => {
      expect(redact(text)).to.equal(text);
    });
  }

  it('takes every secret of a line out and keeps the rest', () => {
    expect(redact(`a ${HEX40} b ${HEX40} c token: abcdefgh d`)).to.equal(
      'a [redacted] b [redacted] c token: [redacted] d',
    );
  });

  it('takes linear time over hostile text', () => {
    for (const text of [
      '-----BEGIN A PRIVATE KEY-----',
      'authorization: ',
      'token=',
      'https://',
      'eyJaaaa.',
      'bearer ',
      'a.',
    ]) {
      redact(text.repeat(200_000 / text.length));
      redact(text + 'a'.repeat(200_000));
      redact(text + '-'.repeat(200_000));
    }
  });
});

describe('terminal escapes', () => {
  const cases: [string, string][] = [
    ['\x1b[1;31mred\x1b[0m', 'red'],
    ['\x1b]0;title\x07x', 'x'],
    ['\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\', 'link'],
    ['\x1b]0;never ended', ''],
    ['\x1bPdevice\x1b\\x', 'x'],
    ['\x1b(Bx\x1b7y\x1bMz', 'xyz'],
    ['a\x00b\x07c\x08d\x7fe\x9b31mf', 'abcde31mf'],
    ['one\rtwo', 'onetwo'],
    ['tab\tstays', 'tab\tstays'],
    ['right\u202eleft\u2066x\u2069\u200e', 'rightleftx'],
    ['line\u2028one', 'lineone'],
    ['ünïcode 🧑‍🚀 stays', 'ünïcode 🧑‍🚀 stays'],
    ['\x1b', ''],
  ];
  for (const [text, clean] of cases) {
    it(`are taken out of ${JSON.stringify(text)}`, () => {
      expect(stripTerminal(text)).to.equal(clean);
    });
  }
});
