/**
 * Sessions: those that sleep and whose time is up end, records that have been kept long enough go, and those of dead gateways that nobody takes over sleep or
 * end. Nothing is done to a session whose holder lives.
 */
import { LABELS } from '../kube/labels';
import type { MCPSession, MCPSessionStatus } from '../resources/session';
import type { SessionFacts } from './facts';
import { judgeSession, type SessionVerdict, sleepsUntil } from './judge';
import type { World } from './world';

/** Milliseconds after which a session is looked at again whose record was changed by another while it was looked at. */
const AGAIN_MS = 1_000;

/**
 * One look at one session.
 * @param keepRecords milliseconds.
 */
export async function reconcileSession(
  world: World,
  keepRecords: number,
  name: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { sessions, pods, sessionsNamespace } = world.options;
  const cached = sessions.get(name);
  if (cached === undefined) return undefined;
  // The pods that are watched are those of the sessions' namespace; of one elsewhere the live read tells.
  const watched = cached.pod?.namespace !== sessionsNamespace || pods.get(cached.pod.name)?.uid === cached.pod.uid;
  const first = judge(world, keepRecords, cached, cached.pod !== undefined && watched && !isOver(world, cached));
  if (first.act === 'nothing') return first.again;

  const object = await world.read((limits) => world.sessionObjects.get(name, limits), signal);
  if (object === undefined) return undefined;
  const session = sessions.seed(object);
  if (session === undefined || session.uid !== cached.uid) return AGAIN_MS;
  if (isHeld(session) && !(await world.isDead(session.holder, signal))) return AGAIN_MS;
  const verdict = judge(world, keepRecords, session, await hasPod(world, session, signal));
  if (verdict.act === 'nothing') return verdict.again ?? AGAIN_MS;
  return (await carryOut(world, object, session, verdict, signal)) ? 0 : AGAIN_MS;
}

function judge(world: World, keepRecords: number, session: SessionFacts, has: boolean): SessionVerdict {
  const { replicas, clock } = world.options;
  return judgeSession({
    session,
    times: world.times(session.server),
    holderDeadFor: isHeld(session)
      ? replicas.deadFor(session.holder, `${session.name}/${String(session.epoch)}`)
      : undefined,
    hasPod: has,
    wall: clock.wall(),
    keepRecords,
  });
}

/** Whether it should have a holder. One that sleeps has it while it is being woken. */
const isHeld = ({ state, holder }: SessionFacts): boolean =>
  state === 'Starting' || state === 'Active' || (state === 'Hibernated' && holder !== '');

function isOver(world: World, { pod }: SessionFacts): boolean {
  return pod !== undefined && world.options.pods.get(pod.name)?.over === true;
}

async function hasPod(world: World, { pod }: SessionFacts, signal: AbortSignal): Promise<boolean> {
  if (pod === undefined) return false;
  const found = await world.pod(pod.namespace, pod.name, signal);
  return found !== undefined && found.uid === pod.uid && !found.over && !found.deleting;
}

/** The record first: whoever takes the session over is refused then, and a pod that is left is nobody's. */
async function carryOut(
  world: World,
  object: MCPSession,
  session: SessionFacts,
  verdict: Exclude<SessionVerdict, { act: 'nothing' }>,
  signal: AbortSignal,
): Promise<boolean> {
  const { name, uid, resourceVersion, server, pod, holder } = session;
  const about = { session: name, server, ...(holder === '' ? {} : { holder }) };
  if (verdict.act === 'remove') {
    const isDone = await world.write(
      (limits) => world.sessionObjects.delete(name, { uid, resourceVersion }, limits),
      signal,
    );
    if (isDone) world.did('record-removed', about);
    return isDone;
  }
  const status = statusAfter(world, object.status, session, verdict);
  const { [LABELS.live]: live, ...labels } = object.metadata.labels ?? {};
  const metadata = verdict.act === 'end' && live !== undefined ? { ...object.metadata, labels } : object.metadata;
  const next = { ...object, metadata, status };
  const isDone = await world.write((limits) => world.sessionObjects.replace(next, limits), signal);
  if (!isDone) return false;
  if (verdict.act === 'hibernate') world.did('session-hibernated', about);
  else
    world.did(verdict.reason === 'expired' ? 'session-expired' : 'session-ended', { ...about, reason: verdict.reason });
  if (pod !== undefined && (await world.removePod(pod, pod.namespace, signal))) {
    world.did('pod-removed', { pod: pod.name, ...about });
  }
  return true;
}

/** The epoch goes up: a holder that was thought dead and goes on is refused whatever it writes. */
function statusAfter(
  world: World,
  {
    holder: _holder,
    pod: _pod,
    startedAt: _startedAt,
    expiresAt: _expiresAt,
    admitted: _admitted,
    ...kept
  }: MCPSessionStatus,
  session: SessionFacts,
  verdict: Extract<SessionVerdict, { act: 'end' | 'hibernate' }>,
): MCPSessionStatus {
  const wall = world.options.clock.wall();
  const epoch = session.epoch + 1;
  if (verdict.act === 'hibernate') {
    const until = sleepsUntil(session, world.times(session.server), wall);
    return { ...kept, state: 'Hibernated', epoch, expiresAt: new Date(until).toISOString() };
  }
  // What another child would have been told is nobody's business any more.
  const { protocolVersion: _version, initialize: _initialize, replay: _replay, ...rest } = kept;
  return { ...rest, state: 'Ended', epoch, reason: verdict.reason, endedAt: new Date(wall).toISOString() };
}
