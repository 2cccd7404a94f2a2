/** The credential proxy's way to the other gateways. */
import { AppError } from '../errors';
import type { ProxyElsewhere } from '../forgejo/proxy/elsewhere';
import type { Peers, Replicas } from '../peers/contract';

/** Sends requests of children on to the gateways that have their sessions; see {@link ProxyElsewhere}. */
export function forgeElsewhere(
  peers: Pick<Peers, 'forward' | 'self'>,
  replicas: Pick<Replicas, 'addressOf'>,
): ProxyElsewhere {
  return {
    async send(request, response, { name: session, holder, generation }, options, signal) {
      const address = holder === peers.self ? undefined : await replicas.addressOf(holder);
      if (address === undefined) return 'moved';
      const outcome = await peers.forward(
        request,
        response,
        {
          ...{ channel: 'forge', target: { name: holder, address }, session, epoch: generation },
          ...{ clientAddress: request.socket.remoteAddress ?? '', body: 'stream', ...options },
        },
        signal,
      );
      if (outcome === 'forwarded') return 'done';
      if (outcome === 'unanswered') throw unanswered();
      return 'moved';
    },
  };
}

/** What happened to the request nobody can say who lives. */
function unanswered(): AppError {
  return new AppError(
    'BACKEND_ENDED',
    'The gateway that has this session went away, or fell silent, while it was at work on this. It may have happened: look at Forgejo before you try again.',
  );
}
