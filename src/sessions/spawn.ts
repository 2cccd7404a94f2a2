/** The way from a backend and the bridge to the {@link SpawnFunc} that the registry is handed. */
import type { Backend, BackendAddress, BackendLink, BackendSpec } from '../backends/contract';
import { openChannel } from '../bridge/channel';
import type { ChannelObserver } from '../bridge/contract';
import type { Clock } from '../clock';
import { userLabel } from './ids';
import type { SpawnFunc, SpawnRequest } from './ports';

export interface SpawnOptions {
  readonly backend: Backend;
  readonly clock: Clock;
  /** The record of a session as the owner of its child; absent where records own nothing. */
  readonly owner?: (session: string, uid: string) => NonNullable<BackendSpec['owner']>;
  /** The child's secret environment, made once its address is known: the credential proxy's URL and a capability that names this child. */
  readonly secrets: (request: SpawnRequest, address: BackendAddress) => Promise<Readonly<Record<string, string>>>;
  readonly observer: (request: SpawnRequest) => ChannelObserver;
  /** Told when a child runs; for the metrics of its start phases. */
  readonly started: (request: SpawnRequest, link: BackendLink) => void;
}

/** Makes sessions' children with `backend` and speaks to them through the bridge. */
export function spawnWith(options: SpawnOptions): SpawnFunc {
  const { backend, clock } = options;
  return async (request, signal) => {
    const { server } = request;
    const link = await backend.open(
      {
        session: request.session,
        user: userLabel(request.auth.user),
        server,
        ...(options.owner === undefined || request.uid === undefined
          ? {}
          : { owner: options.owner(request.session, request.uid) }),
        secrets: async (address) => {
          await request.placed(address);
          return options.secrets(request, address);
        },
      },
      signal,
    );
    options.started(request, link);
    return openChannel(link, {
      clock,
      observer: options.observer(request),
      callTimeout: server.callTimeout,
      initializeTimeout: Math.min(server.callTimeout, server.startTimeout),
      maxLineBytes: server.maxLineBytes,
      maxCallsInFlight: server.maxCallsInFlight,
      generation: request.generation,
    });
  };
}
