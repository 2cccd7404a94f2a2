/** The keys of links to pods. */
import { expect } from 'chai';
import { deriveKeys } from '../../src/auth/keys/derive';
import { masterKeys } from '../../src/auth/keys/master';
import { LinkKeys } from '../../src/backends/pod/link-keys';

const made = (...bytes: number[]): LinkKeys =>
  new LinkKeys(deriveKeys(masterKeys(bytes.map((byte) => Buffer.alloc(32, byte))), 'pod-links'));
const POD = { namespace: 'sessions', name: 'mcp-1', uid: 'u-1' };

describe('link keys', () => {
  it('are the same in every gateway with the same file, and 32 bytes long', () => {
    const one = made(1);
    const key = one.of(one.current, POD);
    expect(key).to.have.length(32);
    expect(made(1).of(one.current, POD)).to.deep.equal(key);
  });

  it('are another for each pod, namespace, name and UID, and for each key of the file', () => {
    const keys = made(1, 2);
    const [first, second] = [keys.current, made(2).current];
    const all = [
      keys.of(first, POD),
      keys.of(second, POD),
      keys.of(first, { ...POD, uid: 'u-2' }),
      keys.of(first, { ...POD, name: 'mcp-2' }),
      keys.of(first, { ...POD, namespace: 'other' }),
      keys.of(first, { ...POD, namespace: 'sessionsm', name: 'cp-1' }),
    ].map((key) => key?.toString('hex'));
    expect(new Set(all).size).to.equal(6);
    expect(all).to.not.include(undefined);
  });

  it('of pods that were made before a rotation are still known by their name, and not once the old key is gone', () => {
    const before = made(1);
    const rotated = made(2, 1);
    expect(rotated.current).to.not.equal(before.current);
    expect(rotated.of(before.current, POD)).to.deep.equal(before.of(before.current, POD));
    expect(made(2).of(before.current, POD)).to.equal(undefined);
  });

  it('need at least one key', () => {
    expect(() => new LinkKeys([])).to.throw(RangeError);
  });
});
