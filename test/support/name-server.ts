/** A name server of the test's own over UDP (RFC 1035), on port 53 of loopback: for network namespaces, where that is free. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** Types of queries (RFC 1035, 3.2.2; RFC 3596, 2.1). */
export const A = 1;
export const AAAA = 28;

/** Addresses of both families of a name, IPv6 in eight groups; `undefined` for a name that does not exist, `silent` for no answer at all. */
export type Zone = (name: string, type: number) => readonly string[] | undefined | 'silent';

/** Listens until the process ends. */
export async function nameServer(zone: Zone): Promise<void> {
  const socket = createSocket('udp4').on('message', (query, peer) => {
    const labels: string[] = [];
    let at = 12;
    for (let size = query[at] ?? 0; size > 0; size = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + size));
      at += size + 1;
    }
    const type = query.readUInt16BE(at + 1);
    const known = zone(labels.join('.'), type);
    if (known === 'silent') return;
    const found = (known ?? []).map(bytesOf).filter((bytes) => bytes.length === (type === A ? 4 : 16));
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(known === undefined ? 0x8183 : 0x8180, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(found.length, 6);
    const records = found.map((bytes) => {
      const record = Buffer.alloc(12);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(type, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt16BE(bytes.length, 10);
      return Buffer.concat([record, bytes]);
    });
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...records]), peer.port, peer.address);
  });
  socket.bind(53, '127.0.0.1');
  await once(socket, 'listening');
}

function bytesOf(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  return Buffer.from(address.split(':').flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]));
}
