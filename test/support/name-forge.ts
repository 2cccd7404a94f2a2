/** A forge that knows nothing but whose token it is: `token alice` is alice's. For gateways with the setting `auth.mode: bearer`. */
import { createServer } from 'node:http';
import type { BearerForge } from './bearer-gateway';
import { listenOnLoopback } from './loopback';

/** Knows every user, and of each one token, which is the name. */
export type NameForge = BearerForge;

/** Starts it on a free port of 127.0.0.1. Tokens are lower-case letters, digits and dashes; the id is made of their bytes. */
export async function startNameForge(): Promise<NameForge> {
  const server = createServer((req, res) => {
    const login = /^token ([a-z][a-z0-9-]*)$/.exec(req.headers.authorization ?? '')?.[1];
    const known = login !== undefined && req.url === '/api/v1/user';
    res.writeHead(login === undefined ? 401 : known ? 200 : 404, { 'Content-Type': 'application/json' });
    res.end(known ? JSON.stringify({ id: idOf(login), login, is_admin: false }) : '{}');
  });
  const { url, close } = await listenOnLoopback(server);
  return { url, user: (name) => ({ tokens: { full: name } }), stop: close };
}

function idOf(login: string): number {
  let id = 7;
  for (const byte of Buffer.from(login)) id = (id * 31 + byte) % 2_147_483_647;
  return id;
}
