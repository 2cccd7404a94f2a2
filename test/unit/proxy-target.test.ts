/** Request targets: one reading or none. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '../../src/errors';
import { readTarget } from '../../src/forgejo/routes/target';

const refused: readonly [string, string][] = [
  ['a relative path', 'api/v1/user'],
  ['the absolute form', 'http://forge.example/api/v1/user'],
  ['the asterisk form', '*'],
  ['an empty target', ''],
  ['a dot segment', '/api/./user'],
  ['two dots', '/api/../user'],
  ['encoded dots', '/api/%2e%2e/user'],
  ['half-encoded dots', '/api/.%2E/user'],
  ['dots around an encoded slash', '/api/x%2f..%2Fy'],
  ['a dot segment at the end', '/api/user/..'],
  ['empty segments', '/api//user'],
  ['an encoded empty segment', '/api/x%2F%2Fy'],
  ['an encoded slash at the end', '/api/x%2F'],
  ['a backslash', '/api\\user'],
  ['an encoded backslash', '/api/..%5cuser'],
  ['a semicolon', '/api;x=1/user'],
  ['a semicolon in the query', '/api/user?a=1;sudo=bob'],
  ['a NUL', '/api/user%00'],
  ['a line feed', '/api/user%0a'],
  ['a C1 control', '/api/user%C2%85'],
  ['bytes that are not UTF-8', '/api/%ff%fe'],
  ['an overlong slash', '/api/%c0%af'],
  ['an encoded surrogate', '/api/%ed%a0%80'],
  ['a double encoding', '/api/%252e%252e'],
  ['a broken encoding', '/api/%zz'],
  ['a cut encoding', '/api/%2'],
  ['a fragment', '/api/user#x'],
  ['a space', '/api/a b'],
  ['raw UTF-8', '/api/\u00e4'],
  ['a broken encoding in the query', '/api/user?a=%zz'],
  ['a broken encoding in a key', '/api/user?%z=1'],
  ['sudo', '/api/user?sudo=bob'],
  ['sudo in capitals', '/api/user?SuDo=bob'],
  ['sudo, encoded', '/api/user?%73%75do=bob'],
  ['sudo without a value', '/api/user?sudo'],
  ['sudo behind a space', '/api/user?+sudo=bob'],
  ['token', '/api/user?x=1&token=abc'],
  ['access_token', '/api/user?access_token=abc'],
  ['a method in the query', '/api/user?_method=DELETE'],
  ['too many parameters', `/api/user?${'a=1&'.repeat(300)}`],
  ['a target that is too long', `/api/${'x'.repeat(20_000)}`],
];

describe('request target', () => {
  for (const [what, target] of refused)
    it(`refuses ${what}`, () => {
      expect(() => readTarget(target))
        .to.throw(AppError)
        .with.property('code', 'REQUEST_REFUSED');
    });

  it('keeps path and query byte for byte and decodes segments once', () => {
    const target = readTarget('/api/v1/a%20b/c%2Fd/%41?q=%20x&page=2&empty=');
    expect(target.path).to.equal('/api/v1/a%20b/c%2Fd/%41');
    expect(target.query).to.equal('q=%20x&page=2&empty=');
    expect(target.segments).to.deep.equal([
      { value: 'api', slashed: false },
      { value: 'v1', slashed: false },
      { value: 'a b', slashed: false },
      { value: 'c/d', slashed: true },
      { value: 'A', slashed: false },
    ]);
  });

  it('takes names that only look odd', () => {
    for (const path of ['/...', '/.git', '/a..b', '/%E2%80%A8', '/100%25', '/a%3Bb', '/~x', '/a:b@c'])
      expect(readTarget(path).path).to.equal(path);
    expect(readTarget('/user?').query).to.equal('');
    expect(readTarget('/user?sudoku=1&tokens=2').query).to.equal('sudoku=1&tokens=2');
  });

  it('reads a path as a URL parser does, whenever it reads it at all', () => {
    const byte = fc.integer({ min: 0, max: 255 }).map((n) => `%${n.toString(16).padStart(2, '0')}`);
    const piece = fc.oneof(
      fc.constantFrom('/', '.', '..', '%2e', '%2F', '%5c', ';', 'a', 'Z', '%25', '%', '?', '&', '=', 'sudo'),
      byte,
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = `/${pieces.join('')}`;
        let target;
        try {
          target = readTarget(text);
        } catch (error) {
          return error instanceof AppError;
        }
        const parsed = new URL(`http://forge.example${text}`);
        const query = target.query === undefined || target.query === '' ? '' : `?${target.query}`;
        return parsed.pathname === target.path && parsed.search === query && !parsed.searchParams.has('sudo');
      }),
      { numRuns: 3000 },
    );
  });
});
