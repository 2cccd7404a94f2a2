import { expect } from 'chai';
import { CookieJar } from '../support/cookie-jar';

const at = (path: string, origin = 'http://127.0.0.1:8080'): URL => new URL(path, origin);
const set = (...lines: string[]): Headers => new Headers(lines.map((line) => ['set-cookie', line]));

describe("the tests' cookie jar (RFC 6265)", () => {
  it('sends a cookie below its path only, and to every port of its host', () => {
    const jar = new CookieJar();
    jar.store(at('/authorize'), set('one=1; path=/login/abc', 'two=2; path=/'));
    expect(jar.header(at('/login/abc'))).to.equal('one=1; two=2');
    expect(jar.header(at('/login/abc/finish'))).to.equal('one=1; two=2');
    expect(jar.header(at('/login/abcd'))).to.equal('two=2');
    expect(jar.header(at('/', 'http://127.0.0.1:3000'))).to.equal('two=2');
    expect(jar.header(at('/', 'http://localhost:8080'))).to.equal('');
  });

  it('takes the folder of the request for the path where none is said', () => {
    const jar = new CookieJar();
    jar.store(at('/a/b'), set('one=1'));
    expect(jar.header(at('/a/c'))).to.equal('one=1');
    expect(jar.header(at('/b'))).to.equal('');
  });

  it('forgets what is ended by Max-Age or Expires, and remembers that it saw it', () => {
    const jar = new CookieJar();
    jar.store(at('/'), set('one=1; Path=/', 'two=2; Path=/'));
    jar.store(at('/'), set('one=; Path=/; Max-Age=0', 'two=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT'));
    expect(jar.header(at('/'))).to.equal('');
    expect([...jar.seen]).to.deep.equal(['1', '2']);
  });

  it('sends a Secure cookie by https only', () => {
    const jar = new CookieJar();
    jar.store(at('/', 'https://mcp.example'), set('one=1; Path=/; Secure'));
    expect(jar.header(at('/', 'http://mcp.example'))).to.equal('');
    expect(jar.header(at('/', 'https://mcp.example'))).to.equal('one=1');
  });
});
