/** Templates: whatever stands in a hole comes out of a parser as it went in, and nowhere else. */
import { expect } from 'chai';
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { flag, type Hole, isLinkable, markup, sheet } from '../../src/http/pages/html';
import { pageHeaders, renderPage } from '../../src/http/pages/layout';
import { addressParts, hostOf, shown } from '../../src/http/pages/text';
import { asParsed, decode, hostile } from '../support/pages';

const evil = '"><script>alert(1)</script>';

describe('markup', () => {
  it('gives any text back from text and attributes, and lets none of it be markup', () => {
    fc.assert(
      fc.property(hostile, hostile, (value, text) => {
        const page = markup`<p title="${value}">${text}</p>`.toString();
        const [, title, inner] = /^<p title="([^"<>'`\r\0]*)">([^"<>'`\r\0]*)<\/p>$/.exec(page) ?? [];
        expect(title, page).to.be.a('string');
        expect(decode(title)).to.equal(asParsed(value));
        expect(decode(inner)).to.equal(asParsed(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('escapes once: markup in markup stays, a string that looks like it does not', () => {
    const inner = markup`<b>${'<i>'}</b>`;
    expect(markup`<p>${inner}${[inner, inner]}${inner.toString()}</p>`.toString()).to.equal(
      '<p><b>&lt;i&gt;</b><b>&lt;i&gt;</b><b>&lt;i&gt;</b>&lt;b&gt;&amp;lt;i&amp;gt;&lt;/b&gt;</p>',
    );
    expect(markup`<p>${undefined}${0}</p>`.toString()).to.equal('<p>0</p>');
  });

  it('takes nothing for markup that it has not made', () => {
    for (const forged of [
      { toString: () => evil },
      { markup: evil },
      Object.create(markup``.constructor.prototype),
      null,
      true,
    ]) {
      expect(() => markup`<p>${forged as Hole}</p>`, JSON.stringify(forged)).to.throw(TypeError);
    }
    expect(() => markup`<p>${[evil] as unknown as Hole}</p>`.toString()).not.to.throw();
    expect(markup`<p>${[evil] as unknown as Hole}</p>`.toString()).not.to.contain('<script');
    expect(() => markup([evil] as unknown as TemplateStringsArray)).to.throw(TypeError);
    expect(() => markup(Object.assign([evil], { raw: [evil] }))).to.throw(TypeError);
  });

  it('refuses a hole where escaping does not help', () => {
    const holes: readonly (() => unknown)[] = [
      () => markup`<p title=${'a'}>x</p>`,
      () => markup`<${'p'}>x</p>`,
      () => markup`<p ${'onclick'}="x">x</p>`,
      () => markup`<p ${'title="a"'}>x</p>`,
      () => markup`<p onclick="${'a'}">x</p>`,
      () => markup`<p style="${'a'}">x</p>`,
      () => markup`<iframe srcdoc="${'a'}"></iframe>`,
      () => markup`<img src="${'a'}">`,
      () => markup`<meta content="${'0; url=x'}">`,
      () => markup`<script>${'a'}</script>`,
      () => markup`<style>${'a'}</style>`,
      () => markup`<p title='${'a'}'>x</p>`,
      () => markup`<!-- ${'a'} -->`,
      () => markup`<p title="a`,
      () => markup`<p>${sheet`p{}`}</p>`,
      () => markup`<p title="${markup`<b>x</b>`}">x</p>`,
      () => markup`<p ${flag('open', true)}title="a">x</p>`,
    ];
    for (const hole of holes) expect(hole, hole.toString()).to.throw(TypeError);
  });

  it('draws flags or leaves them out', () => {
    expect(markup`<input ${flag('checked', true)} ${flag('required', false)}>`.toString()).to.equal('<input checked >');
  });

  it('links to https, http, own paths and ids only, as the whole value', () => {
    for (const good of ['https://a.example/x?y=1&z=2', 'http://127.0.0.1:1/', '/own/path?a=b', '#names']) {
      expect(decode(/href="([^"]*)"/.exec(markup`<a href="${good}">x</a>`.toString())![1])).to.equal(good);
    }
    const bad = ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'java\tscript:alert(1)', ' https://a.example', 'data:text/html,x', 'vbscript:x', '//evil.example', '/\\evil.example', '\\\\evil.example', '/\t/evil.example', 'https:evil.example', 'https://user@evil.example/', 'https://', 'relative', '', '#a b']; // prettier-ignore
    for (const address of bad) expect(() => markup`<a href="${address}">x</a>`, address).to.throw(TypeError);
    expect(() => markup`<a href="/a/${'b'}">x</a>`).to.throw(TypeError);
    expect(() => markup`<form action="${'javascript:x'}"></form>`).to.throw(TypeError);
  });

  it('lets no address through that a browser reads as another kind, or as another host than an own path’s', () => {
    const starts = fc.constantFrom(
      '/',
      '//',
      '/\\',
      '\\',
      'https://',
      'http:',
      'javascript:',
      '\t',
      '\u0000',
      ' ',
      'data:',
      '#',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(starts, hostile), { maxLength: 4 }), (parts) => {
        const address = parts.join('');
        if (!isLinkable(address)) return;
        const url = new URL(address, 'https://own.example/a/b');
        expect(['http:', 'https:']).to.include(url.protocol);
        if (/^[/#]/.test(address)) expect(url.host).to.equal('own.example');
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a page’s frame', () => {
  const page = renderPage({ status: 200, title: evil, content: markup`<p>x</p>`, formAction: ["'self'"] });

  it('names its language and its title, and escapes the title', () => {
    expect(page.body).to.match(/^<!doctype html>\n<html lang="en">/);
    expect(page.body).to.contain('<title>&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt; · Forgejo MCP</title>');
    expect(page.body).not.to.contain('<script');
  });

  it('allows its one style sheet by its hash, and nothing else', () => {
    const [, style] = /<style>(.*?)<\/style>/s.exec(page.body)!;
    const hash = createHash('sha256').update(style).digest('base64');
    expect(page.headers['Content-Security-Policy']).to.equal(
      `default-src 'none'; style-src 'sha256-${hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
    );
    expect(page.body).not.to.match(/\sstyle=|\son[a-z]+=|<script|<link|<img|url\(|@import/);
  });

  it('cannot be framed, kept, sniffed or led elsewhere', () => {
    const headers = pageHeaders();
    expect(headers['Content-Security-Policy']).to.contain("form-action 'none'");
    expect(headers).to.include({
      'X-Frame-Options': 'DENY',
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'same-origin',
      'Cache-Control': 'no-store',
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Content-Type': 'text/html; charset=utf-8',
    });
    expect(headers['Permissions-Policy']).to.contain('camera=()');
    expect(pageHeaders({ retryAfter: 0.2 })['Retry-After']).to.equal('1');
  });

  it('refuses a form target that would be another directive', () => {
    for (const target of ["'self'; script-src *", "'self', default-src *", 'a\r\nb']) {
      expect(() => pageHeaders({ formAction: [target] }), target).to.throw(TypeError);
    }
  });
});

describe('a stranger’s words', () => {
  it('are one line of bounded length without anything unseen', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const clean = shown(text, 20);
        expect([...clean].length).to.be.within(1, 20);
        expect(clean).not.to.match(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      }),
    );
    expect(shown('a'.repeat(10_000), 5)).to.equal('aaaa…');
    expect(shown('\u202e\u200b \n', 5)).to.equal('without a name');
    expect(shown('Claude\u202e Code', 30)).to.equal('Claude Code');
    expect(shown(`a${'\u0301'.repeat(50)}`, 30)).to.equal(`a${'\u0301'.repeat(3)}`.normalize('NFD'));
  });

  it('in an address leave its host set off, whatever stands before it', () => {
    const strong = (address: string) => /<strong>(.*?)<\/strong>/.exec(addressParts(address).toString())?.[1];
    expect(strong('https://agent.example:8443/callback?x=https://good.example')).to.equal('agent.example:8443');
    expect(strong('http://127.0.0.1:33418/callback')).to.equal('127.0.0.1:33418');
    expect(strong('https://good.example@evil.example/')).to.equal('evil.example');
    expect(strong('https://evil.example?https://good.example')).to.equal('evil.example');
    expect(strong('cursor://anysphere.cursor-retrieval/oauth')).to.equal('cursor://');
    expect(strong('com.example.app:/callback')).to.equal('com.example.app:');
    expect(hostOf('https://forge.example/sub')).to.equal('forge.example');
  });
});
