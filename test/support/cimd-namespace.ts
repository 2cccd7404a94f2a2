/**
 * Runs inside of a network namespace that has nothing but a loopback device with public addresses on it: an https host, places that must never be
 * connected to, a name server, and the real fetch of client metadata documents. `cimd.ts` starts it and tells it what to try.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server } from 'node:net';
import { addressGuard } from '../../src/auth/clients/addresses';
import { documentFetch, FETCH_DEFAULTS } from '../../src/auth/clients/document-fetch';
import { ClientDocuments, DOCUMENT_DEFAULTS, type KeptDocument } from '../../src/auth/clients/documents';
import { DEFAULT_REDIRECT_POLICY } from '../../src/auth/clients/redirect-uri';
import { publicDns, type Resolve } from '../../src/auth/clients/resolver';
import { type Clock, systemClock } from '../../src/clock';
import { AppError } from '../../src/errors';
import { createCertificate } from '../../src/forgejo/proxy/tls';
import { collection } from '../../src/stores/sealed';
import { openSqliteRecordStore } from '../../src/stores/sqlite/records';
import { type Attempt, INTERNAL, type Outcome, PUBLIC, PUBLIC_MUTE, PUBLIC_V6, type Report } from './cimd';
import { AAAA, nameServer, type Zone } from './name-server';
import { keptLog } from './silent-log';

const DAY = 86_400_000;
const HOST = 'client.test-host.org';

let attempt: Attempt;
let report: Report;

const tls = createCertificate([HOST, 'other.test-host.org', 'deaf.test-host.org'], [randomBytes(32)]);

/** The host of the documents, as the attempt wants it. */
function answer(req: IncomingMessage, res: ServerResponse): void {
  report.requests += 1;
  report.cookies += req.headers.cookie === undefined ? 0 : 1;
  const url = `https://${req.headers.host}${req.url}`;
  const document = JSON.stringify({ client_id: url, client_name: 'Agent', redirect_uris: ['http://localhost/cb'] });
  res.on('error', () => undefined);
  res.once('close', () => {
    if (!res.writableFinished) report.cutOff += 1;
  });
  const { host = {} } = attempt;
  const headers = { 'content-type': 'application/json', 'set-cookie': 'a=b', ...host.headers };
  switch (host.manner) {
    case 'silent':
      return;
    case 'drip': {
      res.writeHead(200, headers);
      const drip = setInterval(() => res.write(' '), 20);
      res.once('close', () => clearInterval(drip));
      return;
    }
    case 'endless': {
      res.writeHead(200, headers);
      const pour = (): void => {
        while (!res.destroyed && res.write(Buffer.alloc(1024, ' ')));
      };
      res.on('drain', pour);
      pour();
      return;
    }
    case undefined:
      res.writeHead(host.status ?? 200, headers);
      res.end(host.body === undefined ? document : Buffer.from(host.body, 'base64'));
  }
}

/** The attempt's zone; silent about names with `slow` in them, and about IPv6 for those with `deaf`. */
const zone: Zone = (name, type) => {
  report.names.push(name);
  return name.includes('slow') || (name.includes('deaf') && type === AAAA) ? 'silent' : attempt.zone?.[name];
};

async function listen(server: Server, address: string, port: number): Promise<void> {
  server.listen({ host: address, port, ipv6Only: true });
  await once(server, 'listening');
}

async function main(): Promise<void> {
  for (const address of [PUBLIC, PUBLIC_V6]) {
    const server = createHttpsServer({ key: tls.key, cert: tls.cert }, answer);
    server.on('connection', () => (report.connections += 1));
    server.on('tlsClientError', () => undefined);
    await listen(server, address, 443);
  }
  // A host that takes a connection and then says nothing, not even in TLS.
  await listen(
    createServer((socket) => void socket.on('error', () => undefined)),
    PUBLIC_MUTE,
    443,
  );
  for (const address of INTERNAL) {
    for (const port of [80, 443]) {
      const server = createServer((socket) => {
        report.internal.push(`${address} ${port}`);
        socket.on('error', () => undefined).destroy();
      });
      await listen(server, address, port);
    }
  }
  await nameServer(zone);
  process.on('message', (message) => {
    void run(message as Attempt).then((result) => process.send?.(result));
  });
  process.once('disconnect', () => process.exit());
  process.send?.('ready');
}

async function run(wanted: Attempt): Promise<Report> {
  attempt = wanted;
  report = { outcomes: [], requests: 0, connections: 0, internal: [], lookups: 0, names: [], cutOff: 0, cookies: 0 };
  let days = 0;
  const clock: Clock = {
    ...systemClock,
    now: () => systemClock.now() + days * DAY,
    wall: () => systemClock.wall() + days * DAY,
  };
  const fixed: Resolve = async () => {
    const answers = wanted.answers ?? [[PUBLIC]];
    report.lookups += 1;
    return answers[Math.min(report.lookups, answers.length) - 1] ?? [];
  };
  const documents = new ClientDocuments(
    {
      ...DOCUMENT_DEFAULTS,
      redirects: DEFAULT_REDIRECT_POLICY,
      fetch: documentFetch(
        {
          ...FETCH_DEFAULTS,
          guard: addressGuard(wanted.refused),
          resolve: wanted.zone === undefined ? fixed : publicDns,
          deadlineMs: wanted.deadlineMs ?? FETCH_DEFAULTS.deadlineMs,
          ...(wanted.untrusted === true ? {} : { ca: tls.ca }),
        },
        clock,
      ),
    },
    collection<KeptDocument>(openSqliteRecordStore(':memory:', clock), 'cimd', [
      { id: '00000001', secret: Buffer.alloc(32, 1) },
    ]),
    clock,
    keptLog(),
  );
  for (; days < (wanted.days ?? 1); days += 1) {
    const id = wanted.id ?? `https://${HOST}/mcp/client.json`;
    const finds = Array.from({ length: wanted.atOnce ?? 1 }, () => documents.find(id).then(found, refused));
    report.outcomes.push(...(await Promise.all(finds)));
  }
  return report;
}

function found({ client_name }: { client_name?: string }): Outcome {
  return { client: client_name ?? '' };
}

function refused(thrown: unknown): Outcome {
  if (!(thrown instanceof AppError)) return { code: String(thrown), message: '', detail: '' };
  return { code: thrown.code, message: thrown.message, detail: thrown.detail ?? '' };
}

void main();
