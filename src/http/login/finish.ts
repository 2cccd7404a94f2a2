/** The last step of a login: the grant is made, and the browser goes on to where the code is issued. */
import { exchangeOf } from '../exchange';
import type { Incoming, Outgoing } from '../handler';
import type { PageHandler } from '../pages/send';
import { askAgain, CONSENTS_COOKIE } from './consent';
import type { LoginPages } from './pages';

/** Where the browser goes on, and the cookie that it is to keep. */
export interface LoginEnd {
  readonly location: string;
  readonly consents?: { readonly value: string; readonly seconds: number };
}

/** The end of a login as this layer sees it. */
export interface FinishStep {
  finish(req: Incoming, res: Outgoing, cookie: string | undefined): Promise<LoginEnd | 'again'>;
}

/** Ends a login. A consent that was remembered for somebody else is asked for after all. */
export function finish({ flow, cookies, admitAddress }: LoginPages): PageHandler {
  return async (req, res) => {
    admitAddress(exchangeOf(res).address);
    const done = await flow.finish(req, res, cookies.get(req, CONSENTS_COOKIE));
    const { uid } = req.params ?? {};
    if (done === 'again') return { location: askAgain(String(uid)) };
    const { location, consents } = done;
    if (consents !== undefined) cookies.set(res, CONSENTS_COOKIE, consents.value, consents.seconds);
    return { location };
  };
}
