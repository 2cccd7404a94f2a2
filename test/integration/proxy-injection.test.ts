/**
 * A prompt-injected agent in a session that its user limited to one private repository, before a real forge where the same user can reach much
 * more: every way to read or to write elsewhere that is known to have worked anywhere, and none works.
 */
import { expect } from 'chai';
import { type Forge, startForge } from '../support/forge';
import { seedTargets, snapshot, type Targets } from '../support/injection';
import { ATTEMPTS, NOTES, sent, type Try, VAULT } from '../support/injection-attempts';
import { type Answer, type ProxyFixture, startProxy } from '../support/proxy';

describe('a prompt-injected agent in a session limited to one private repository', function () {
  this.timeout(180_000);
  let forge: Forge;
  let proxy: ProxyFixture;
  let targets: Targets;
  let untouched: Readonly<Record<string, unknown>>;

  before(async () => {
    forge = await startForge();
    targets = await seedTargets(forge);
    proxy = await startProxy({ forgejo: { apiUrl: forge.url }, token: forge.user('alice').tokens.full });
    proxy.addSession('one', { choice: { owners: ['alice'], repositories: ['alice/private-notes'] } });
    untouched = await snapshot(forge, targets);
  });
  after(async () => {
    await proxy?.close();
    await forge?.stop();
  });

  /** Sends an attempt; the status is the first answer's. */
  async function send({ method, path, body, headers, raw: bytes }: Try): Promise<Pick<Answer, 'status' | 'body'>> {
    if (bytes !== undefined) {
      const text = await proxy.raw(bytes.replace('{capability}', proxy.capability()));
      return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), body: Buffer.from(text, 'latin1') };
    }
    const text = typeof body === 'string' ? body : JSON.stringify(body)?.replaceAll('{forge}', forge.url);
    const answer = await proxy.call(path, {
      ...(method === undefined ? {} : { method }),
      ...(text === undefined ? {} : { body: text }),
      ...(headers === undefined ? {} : { headers }),
    });
    return { status: answer.status, body: Buffer.concat([Buffer.from(JSON.stringify(answer.headers)), answer.body]) };
  }

  it('works in its own repository', async () => {
    const read = await proxy.call(`${NOTES}/contents/secret.md`);
    expect(read.status).to.equal(200);
    const written = await send(
      sent('POST', `${NOTES}/issues`, { title: 'own work, see #1 and alice/private-notes#1' })(),
    );
    expect(written.status).to.equal(201);
  });

  it('tries at least fifty ways, each by a name of its own', () => {
    expect(ATTEMPTS.length).to.be.at.least(50);
    expect(new Set(ATTEMPTS.map(({ what }) => what)).size).to.equal(ATTEMPTS.length);
  });

  for (const { what, outcome, make } of ATTEMPTS)
    it(`does not get ${what}: ${outcome}`, async () => {
      const { status, body } = await send(make(targets));
      const found = targets.needles.filter((needle) => needle.isIn(body)).map(({ text }) => text);
      expect(found, 'secrets in the answer').to.deep.equal([]);
      if (outcome === 'refused') expect(status, body.toString().slice(0, 300)).to.be.within(400, 599);
    });

  it('has found needles that can be found: the same user without the limit sees them', async () => {
    proxy.addSession('free');
    const seen = await proxy.call(`${VAULT}/contents/plan.md`, { session: 'free' });
    expect(targets.needles.some((needle) => needle.isIn(seen.body))).to.equal(true);
  });

  it('has changed nothing elsewhere, as the administrator and the user see it', async () => {
    const now = await snapshot(forge, targets);
    for (const [path, value] of Object.entries(untouched))
      expect(JSON.stringify(now[path]), path).to.equal(JSON.stringify(value));
  });
});
