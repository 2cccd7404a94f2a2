/** A loopback proxy that adds a bearer token to what clients send that know of none. It changes nothing else: names, order, Host, Origin and streams stay. */
import { createServer, request } from 'node:http';
import { listenOnLoopback, type Loopback } from './loopback';

/**
 * Starts it on a free port of 127.0.0.1.
 * @param target the gateway's base URL; the gateway sees the Host that the client sent.
 * @param token asked for at each request, because it may have been refreshed.
 */
export async function authorizingShim(target: string, token: () => Promise<string>): Promise<Loopback> {
  const { hostname, port } = new URL(target);
  const server = createServer((req, res) => {
    const forward = (bearer: string): void => {
      const sent = request({
        host: hostname,
        port,
        method: req.method,
        path: req.url,
        agent: false,
        setHost: false,
        headers: [...req.rawHeaders, 'Authorization', `Bearer ${bearer}`],
      });
      sent.on('response', (answer) => {
        res.sendDate = false;
        res.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
        res.flushHeaders();
        answer.pipe(res);
        answer.on('error', () => res.destroy());
      });
      sent.on('error', () => res.destroy());
      res.on('close', () => sent.destroy());
      req.pipe(sent);
      req.on('error', () => sent.destroy());
    };
    token().then(forward, () => res.destroy());
  });
  server.requestTimeout = 0;
  return listenOnLoopback(server);
}
