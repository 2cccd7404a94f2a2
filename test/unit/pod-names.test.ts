import { expect } from 'chai';
import { canaryName, podName, podSuffix } from '../../src/backends/pod/names';
import { LABEL_PREFIX, LABELS, labelValue, ownSelector } from '../../src/kube/labels';

const SESSION = '0123456789abcdef0123456789abcdef01234567';
const VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

describe('names of Kubernetes objects', () => {
  it('a pod is named by its session and a suffix, within 63 characters of a host name', () => {
    expect(podName(SESSION, '00c0ffee')).to.equal(`mcp-${SESSION}-00c0ffee`);
    expect(podName(SESSION, podSuffix())).to.match(LABEL);
    expect(canaryName(podSuffix())).to.match(LABEL);
  });

  it('refuses what is no session name, so that nothing secret or foreign gets into a name', () => {
    for (const wrong of [
      '',
      SESSION.slice(1),
      `${SESSION}0`,
      SESSION.toUpperCase(),
      `${SESSION.slice(1)}/`,
      `${SESSION}\n`,
    ]) {
      expect(() => podName(wrong, '00c0ffee'), wrong).to.throw(RangeError);
    }
    for (const wrong of ['', '00c0ffe', '00C0FFEE', '00c0ffee0']) {
      expect(() => podName(SESSION, wrong), wrong).to.throw(RangeError);
      expect(() => canaryName(wrong), wrong).to.throw(RangeError);
    }
  });

  it('suffixes differ', () => {
    expect(new Set(Array.from({ length: 1000 }, podSuffix)).size).to.be.above(990);
  });

  const values: readonly (readonly [string, RegExp])[] = [
    ['forgejo', /^forgejo$/],
    ['release-1.2_x', /^release-1\.2_x$/],
    ['a'.repeat(63), /^a{63}$/],
    ['a'.repeat(64), /^a{29}-x[0-9a-f]{32}$/],
    ['', /^x[0-9a-f]{32}$/],
    ['Größe', /^Gr-e-x[0-9a-f]{32}$/],
    ['-starts', /^starts-x[0-9a-f]{32}$/],
    ['ends-', /^ends--x[0-9a-f]{32}$/],
    ['a b', /^a-b-x[0-9a-f]{32}$/],
    ['a,b=c', /^a-b-c-x[0-9a-f]{32}$/],
    ['日本', /^x[0-9a-f]{32}$/],
  ];
  for (const [text, expected] of values) {
    it(`makes a label value of ${JSON.stringify(text.slice(0, 20))}`, () => {
      expect(labelValue(text)).to.match(expected).and.to.match(VALUE);
    });
  }

  it('different texts never share a value, not even with a digest that somebody chose as a name', () => {
    const texts = values.map(([text]) => text).concat(['a-b', 'a.b', 'a b ', 'a  b', 'ends', 'ends--', 'starts']);
    const digests = texts.map(labelValue);
    const all = [...texts, ...digests];
    expect(new Set(all.map(labelValue)).size).to.equal(new Set(all).size);
  });

  it('label keys are valid and selectors hold the install', () => {
    for (const key of Object.values(LABELS)) expect(key).to.match(/^[a-z0-9.-]+\/[a-z0-9-]+$/);
    expect(ownSelector('my install')).to.match(
      new RegExp(
        `^app\\.kubernetes\\.io/instance=my-install-x[0-9a-f]{32},app\\.kubernetes\\.io/managed-by=${LABEL_PREFIX}$`,
      ),
    );
  });
});
