/** The last step of a login: the grant is made, and the browser goes on to where the code is issued. */
import type { Incoming, Outgoing } from '../handler';
import type { PageHandler } from '../pages/send';
import { askAgain, CONSENTS_COOKIE } from './consent';
import type { LoginPages } from './pages';

/** The end of a login as this layer sees it. */
export interface FinishStep {
  finish(
    req: Incoming,
    res: Outgoing,
    cookie: string | undefined,
  ): Promise<{ readonly location: string; readonly consents?: string } | 'again'>;
}

/** Seconds for which a browser keeps what it remembers. */
const REMEMBERED = 180 * 86_400;

export function finish({ flow, cookies }: LoginPages): PageHandler {
  return async (req, res) => {
    const done = await flow.finish(req, res, cookies.get(req, CONSENTS_COOKIE));
    const { uid } = req.params ?? {};
    if (done === 'again') return { location: askAgain(String(uid)) };
    if (done.consents !== undefined) cookies.set(res, CONSENTS_COOKIE, done.consents, REMEMBERED);
    return { location: done.location };
  };
}
