/** The proxy's own readiness check, which says that the listener answers and nothing else; it is neither counted nor audited. */
import { type IncomingMessage, request as plainRequest, type ServerResponse } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { AppError } from '../../errors';

const PATH = '/healthz';

/** Answers a check with 204. False for every other request. */
export function answersCheck(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.url !== PATH || request.method !== 'GET') return false;
  response.writeHead(204).end();
  return true;
}

/** Rejects with `INTERNAL` unless the listener answers before `signal` aborts. */
export async function checkListener(address: AddressInfo, tls: boolean, signal: AbortSignal): Promise<void> {
  const host = address.address === '::' ? '::1' : address.address === '0.0.0.0' ? '127.0.0.1' : address.address;
  const options = { host, port: address.port, path: PATH, agent: false as const, signal };
  const status = await new Promise<number | undefined>((resolve, reject) => {
    // The listener is this process; its certificate names the Service and not this address.
    const request = tls ? tlsRequest({ ...options, rejectUnauthorized: false }) : plainRequest(options);
    request.once('response', (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.once('error', (cause) =>
      reject(new AppError('INTERNAL', 'The credential proxy does not answer.', { detail: 'proxy check', cause })),
    );
    request.end();
  });
  if (status !== 204)
    throw new AppError('INTERNAL', 'The credential proxy does not answer as it should.', {
      detail: `status ${status}`,
    });
}
