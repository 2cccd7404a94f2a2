/** The documents by which a client that knows only a URL finds the rest (RFC 9728, 3; RFC 8414, 3). */
import { type Handler, pathOf } from '../handler';
import { AppError } from '../../errors';
import { sendJson } from '../failure';

/** The document for a path; undefined for a path that is none of its forms. */
export type FindDocument = (path: string) => object | undefined;

/** Serves the documents, to web pages of any origin: there is nothing secret in them. Everything else goes on. */
export function discovery(find: FindDocument): Handler {
  return (req, res, next) => {
    const path = pathOf(req);
    const document = path.includes('/.well-known/') ? find(path) : undefined;
    if (document === undefined) {
      next();
      return;
    }
    res.setHeader('Access-Control-Allow-Origin', '*');
    if (req.method === 'OPTIONS') {
      res.setHeader('Access-Control-Allow-Methods', 'GET');
      res.setHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type, MCP-Protocol-Version');
      res.setHeader('Access-Control-Max-Age', '7200');
      res.writeHead(204).end();
    } else if (req.method === 'GET' || req.method === 'HEAD') {
      sendJson(res, 200, JSON.stringify(document));
    } else {
      res.setHeader('Allow', 'GET, HEAD, OPTIONS');
      throw new AppError('METHOD_NOT_ALLOWED', 'Method not allowed. A metadata document has GET.');
    }
  };
}
