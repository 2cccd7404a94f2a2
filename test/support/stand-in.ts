/** A stand-in for a host beyond the cluster, in the cluster's own network namespace: an address on an interface of its own and a listener on it. */
import { once } from 'node:events';
import { onNode, spawnOnNode } from './cluster';

export interface StandIn {
  reachableFromNode(): Promise<boolean>;
  remove(): Promise<void>;
}

/** Puts `address` on an interface of its own of the node and listens on `port` there. */
export async function standIn(address: string, port: number): Promise<StandIn> {
  const device = `stand-in-${port}`;
  const removeDevice = (): Promise<unknown> => onNode(['ip', 'link', 'del', device]).catch(() => undefined);
  await removeDevice();
  await onNode(['ip', 'link', 'add', device, 'type', 'bridge']);
  await onNode(['ip', 'address', 'add', `${address}/32`, 'dev', device]);
  await onNode(['ip', 'link', 'set', device, 'up']);
  // It ends with its input: it runs below nsenter, so a signal sent from here would end nsenter alone.
  const listen = `process.stdin.resume().on('end',()=>process.exit());require('net').createServer((s)=>s.on('error',()=>{}).end('hello')).listen(${port},'${address}',()=>console.log('up'))`;
  const probe = `const s=require('net').connect(${port},'${address}');s.on('connect',()=>process.exit(0));s.on('error',()=>process.exit(1))`;
  const listener = spawnOnNode([process.execPath, '-e', listen]);
  await Promise.race([
    once(listener.stdout!, 'data'),
    once(listener, 'exit').then(([code]) => Promise.reject(new Error(`the stand-in exited with ${code}`))),
  ]);
  return {
    reachableFromNode: () =>
      onNode([process.execPath, '-e', probe], { deadline: 10_000 }).then(
        () => true,
        () => false,
      ),
    async remove() {
      const exited = once(listener, 'exit', { signal: AbortSignal.timeout(10_000) });
      listener.stdin!.end();
      await exited;
      await removeDevice();
    },
  };
}
