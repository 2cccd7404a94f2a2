import { expect } from 'chai';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import {
  apply,
  busybox,
  cluster,
  createNamespace,
  deleteNamespaces,
  get,
  kubectl,
  onNode,
  podExec,
  podOutput,
  podReady,
  restart,
  type PodOptions,
} from '../support/cluster';
import { until } from '../support/until';

const ports = [
  { name: 'echo', containerPort: 8080 },
  { name: 'other', containerPort: 9090 },
] as const;
const listener: PodOptions = { script: 'nc -ll -p 9090 -e cat & exec nc -ll -p 8080 -e cat', ports };

const policy = (namespace: string, name: string, spec: object): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec,
});
const denyAll = (namespace: string): object =>
  policy(namespace, 'deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });

/** Tells whether a pod reaches an address: a line goes there and comes back. */
async function reaches(namespace: string, pod: string, address: string, port: number): Promise<boolean> {
  const script = `echo ping | timeout 2 nc -w 1 ${address} ${port} | grep -q ping && echo yes || echo no`;
  return (await podExec(namespace, pod, ['sh', '-c', script])).trim() === 'yes';
}

/** A change of policy or labels takes effect within the deadline, and then stays. */
async function settles(expected: boolean, ...probe: Parameters<typeof reaches>): Promise<void> {
  await until(`${probe.join(' ')} is ${expected}`, async () => (await reaches(...probe)) === expected, 5_000);
  expect(await reaches(...probe)).to.equal(expected);
}

describe('NetworkPolicy on the test cluster', function () {
  this.timeout(90_000);
  let open: string;
  let closed: string;
  let server: string;
  const made: string[] = [];

  const space = async (prefix: string, labels?: Record<string, string>): Promise<string> => {
    const name = await createNamespace(prefix, labels);
    made.push(name);
    return name;
  };

  before(async () => {
    [open, closed] = await Promise.all([space('open'), space('closed')]);
    await apply(
      denyAll(closed),
      busybox(open, 'server', listener),
      busybox(open, 'client'),
      busybox(closed, 'inner', listener),
    );
    server = (await podReady(open, 'server')).status.podIP as string;
    await podReady(open, 'client');
    await podReady(closed, 'inner');
  });
  after(() => deleteNamespaces(...made));

  it('lets pods talk where no policy is', async () => {
    await settles(true, open, 'client', server, 8080);
  });

  // Two hundred connections, 5 ms apart, from the first instruction of the pod: some are made before anybody else knows its address.
  const storm = (target: string): string =>
    `for i in $(seq 200); do (echo ping | timeout 3 nc -w 2 ${target} 8080 | grep -q ping && echo through) 2>/dev/null & usleep 5000; done; wait`;

  it('drops the very first packets of a pod that is denied all', async () => {
    const fresh = await space('fresh');
    const names = ['a', 'b', 'c', 'd'];
    // The policy is as new as the pods: one call makes both.
    await apply(denyAll(fresh), ...names.map((name) => busybox(fresh, name, { script: storm(server) })));
    await apply(busybox(open, 'control', { script: storm(server) }));
    for (const name of names) expect(await podOutput(fresh, name)).to.equal('');
    expect((await podOutput(open, 'control')).trim().split('\n')).to.have.length(200);
  });

  it('drops packets from and to a pod address that no rule set knows', async () => {
    const name = `stray${randomInt(1e6)}`;
    const stray = '10.244.0.254';
    const ask = (address: string): string[] => [
      'sh',
      '-c',
      `echo ping | timeout 2 nc -w 1 ${address} 8080 | grep -q ping && echo yes || echo no`,
    ];
    const script = `
      ip netns add ${name}
      ip link add ${name} type veth peer name eth0 netns ${name}
      ip addr add 10.244.0.1/32 dev ${name}; ip link set ${name} up; ip route add ${stray} dev ${name}
      ip netns exec ${name} sh -c 'ip addr add ${stray}/32 dev eth0; ip link set lo up; ip link set eth0 up
        ip route add 10.244.0.1 dev eth0; ip route add default via 10.244.0.1'`;
    try {
      await onNode(['sh', '-ec', script]);
      const within = ['ip', 'netns', 'exec', name, 'busybox'];
      expect(await onNode([...within, ...ask(server)])).to.equal('no\n');
      // The node itself: the API server's port.
      expect(
        await onNode([
          ...within,
          'sh',
          '-c',
          `timeout 2 nc -w 1 ${cluster().nodeIp} 6443 </dev/null && echo yes || echo no`,
        ]),
      ).to.equal('no\n');
      const known = (await get('pod', 'client', open)).status.podIP as string;
      expect(await reaches(open, 'client', server, 8080)).to.equal(true);
      expect(known).not.to.equal(stray);
    } finally {
      await onNode(['ip', 'netns', 'del', name]);
    }
  });

  it('denies egress to other pods, Services, the API server, the node and this machine', async () => {
    const { nodeIp, hostIp } = cluster();
    const here = createServer((socket) => socket.end()).listen(0, hostIp);
    await once(here, 'listening');
    try {
      const targets = [
        [server, 8080],
        ['10.96.0.1', 443],
        [nodeIp, 6443],
        [nodeIp, 10250],
        [hostIp, (here.address() as AddressInfo).port],
      ] as const;
      const connects = async (namespace: string, pod: string): Promise<string[]> =>
        Promise.all(
          targets.map(async ([address, port]) => {
            const script = `timeout 3 nc -w 2 ${address} ${port} </dev/null >/dev/null 2>&1 && echo yes || echo no`;
            return `${address}:${port} ${(await podExec(namespace, pod, ['sh', '-c', script])).trim()}`;
          }),
        );
      expect(await connects(closed, 'inner')).to.deep.equal(targets.map(([address, port]) => `${address}:${port} no`));
      expect(await connects(open, 'client')).to.deep.equal(targets.map(([address, port]) => `${address}:${port} yes`));
    } finally {
      here.close();
    }
    const lookup = 'timeout 3 nslookup kubernetes.default.svc.cluster.local >/dev/null 2>&1 && echo yes || echo no';
    expect(await podExec(closed, 'inner', ['sh', '-c', lookup])).to.equal('no\n');
  });

  it('lets the kubelet probe a pod that is denied all', async () => {
    const readinessProbe = { tcpSocket: { port: 8080 }, periodSeconds: 1 };
    await apply(busybox(closed, 'probed', { ...listener, container: { readinessProbe } }));
    await podReady(closed, 'probed');
  });

  it('allows by the labels of pods and namespaces, and follows their changes', async () => {
    const guarded = await space('guarded');
    const from = [
      { podSelector: { matchLabels: { role: 'friend' } }, namespaceSelector: { matchLabels: { team: 'blue' } } },
    ];
    await apply(
      policy(guarded, 'friends', {
        podSelector: {},
        policyTypes: ['Ingress'],
        ingress: [{ from, ports: [{ port: 'echo' }] }],
      }),
      busybox(guarded, 'server', listener),
    );
    const target = (await podReady(guarded, 'server')).status.podIP as string;
    await settles(false, open, 'client', target, 8080);
    await kubectl(['-n', open, 'label', 'pod', 'client', 'role=friend']);
    await settles(false, open, 'client', target, 8080);
    await kubectl(['label', 'namespace', open, 'team=blue']);
    await settles(true, open, 'client', target, 8080);
    await settles(false, open, 'client', target, 9090); // another port, by name
    await kubectl(['label', 'namespace', open, 'team-']);
    await settles(false, open, 'client', target, 8080);
    await kubectl(['-n', guarded, 'delete', 'networkpolicy', 'friends']);
    await settles(true, open, 'client', target, 8080);
  });

  it('allows egress by namespace and named port, to DNS, and by address block with exceptions', async () => {
    const caged = await space('caged');
    await apply(denyAll(caged), busybox(caged, 'client'));
    await podReady(caged, 'client');
    await settles(false, caged, 'client', server, 8080);
    const namespaceSelector = { matchLabels: { 'kubernetes.io/metadata.name': open } };
    await apply(
      policy(caged, 'out', {
        podSelector: {},
        policyTypes: ['Egress'],
        egress: [{ to: [{ namespaceSelector }], ports: [{ port: 'echo' }] }],
      }),
    );
    await settles(true, caged, 'client', server, 8080);
    await settles(false, caged, 'client', server, 9090);

    const block = (except: string[]): object =>
      policy(caged, 'out', {
        podSelector: {},
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except } }] }],
      });
    await apply(block([`${server}/32`, '10.96.0.0/16', '10.96.0.0/12']));
    await settles(false, caged, 'client', server, 8080);
    const inner = (await get('pod', 'client', open)).status.podIP as string;
    await apply(block([`${inner}/32`]));
    await settles(true, caged, 'client', server, 9090);

    const dns = { namespaceSelector: {}, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } };
    await apply(
      policy(caged, 'out', {
        podSelector: {},
        policyTypes: ['Egress'],
        egress: [{ to: [dns], ports: [{ port: 1053, protocol: 'UDP' }] }],
      }),
    );
    await settles(false, caged, 'client', server, 8080);
    const lookup = 'nslookup kubernetes.default.svc.cluster.local | grep -c 10.96.0.1';
    expect(Number(await podExec(caged, 'client', ['sh', '-c', lookup]))).to.be.at.least(1);
  });

  it('keeps an established flow when a new policy denies its like', async () => {
    const moving = await space('moving');
    // Prints what comes back: one line for each 100 ms that the connection lives.
    const script = `(while :; do echo tick; usleep 100000; done) | nc ${server} 8080`;
    await apply(busybox(moving, 'talker', { script }));
    await podReady(moving, 'talker');
    const ticks = async (): Promise<number> =>
      (await kubectl(['-n', moving, 'logs', 'talker'])).split('tick').length - 1;
    await until('the flow is established', async () => (await ticks()) > 2);
    await apply(denyAll(moving));
    await settles(false, moving, 'talker', server, 8080);
    const before = await ticks();
    await until('the flow goes on', async () => (await ticks()) > before + 10);
    expect((await get('pod', 'talker', moving)).status.containerStatuses[0].restartCount).to.equal(0);
  });

  it('drops what a pod sends with the address of another', async () => {
    const spoof = await space('spoof');
    const capable = { securityContext: { capabilities: { add: ['NET_ADMIN', 'NET_RAW'] } } };
    await apply(busybox(spoof, 'liar', { container: capable }));
    await podReady(spoof, 'liar');
    const honest = (await get('pod', 'client', open)).status.podIP as string;
    const script = `awk '/^Icmp:/ { for (i = 1; i <= NF; i++) if (!names) name[i] = $i; else if (name[i] == "InEchos") print $i; names = 1 }'`;
    const arrived = async (): Promise<number> =>
      Number(await podExec(open, 'server', ['sh', '-c', `${script} /proc/net/snmp`]));
    const ping = (from: string): Promise<string> =>
      podExec(spoof, 'liar', ['sh', '-c', `ping -c 2 -W 1 ${from} ${server} || true`]);
    const before = await arrived();
    await ping('');
    expect(await arrived()).to.equal(before + 2);
    await podExec(spoof, 'liar', ['ip', 'addr', 'add', `${honest}/32`, 'dev', 'lo']);
    await ping(`-I ${honest}`);
    expect(await arrived()).to.equal(before + 2);
  });

  it('goes on enforcing while netpol is killed and restarted, and afterwards', async () => {
    await restart('netpol', 'KILL');
    await settles(true, open, 'client', server, 8080);
    await settles(false, closed, 'inner', server, 8080);
    const later = await space('later');
    await apply(denyAll(later), busybox(later, 'a', { script: storm(server) }));
    expect(await podOutput(later, 'a')).to.equal('');
  });
});
