/** A forge that knows nothing but whose token it is: `token alice` is alice's. For gateways with the setting `auth.mode: bearer`. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface NameForge {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts it on a free port of 127.0.0.1. Tokens are lower-case letters, digits and dashes; the id is made of their bytes. */
export async function startNameForge(): Promise<NameForge> {
  const server = createServer((req, res) => {
    const login = /^token ([a-z][a-z0-9-]*)$/.exec(req.headers.authorization ?? '')?.[1];
    const known = login !== undefined && req.url === '/api/v1/user';
    res.writeHead(login === undefined ? 401 : known ? 200 : 404, { 'Content-Type': 'application/json' });
    res.end(known ? JSON.stringify({ id: idOf(login), login, is_admin: false }) : '{}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function idOf(login: string): number {
  let id = 7;
  for (const byte of Buffer.from(login)) id = (id * 31 + byte) % 2_147_483_647;
  return id;
}
