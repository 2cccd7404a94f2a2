/** The way from a backend and the bridge to the {@link SpawnFunc} that the registry is handed. */
import type { Backend, BackendAddress, BackendLink, BackendSpec } from '../backends/contract';
import { openChannel } from '../bridge/channel';
import type { Channel, ChannelObserver } from '../bridge/contract';
import type { Clock } from '../clock';
import { userLabel } from './ids';
import type { AdoptFunc, SpawnFunc, SpawnRequest } from './ports';

type ChannelRequest = Pick<SpawnRequest, 'session' | 'server' | 'generation'>;

interface ChannelMaker {
  readonly clock: Clock;
  readonly observer: (request: ChannelRequest) => ChannelObserver;
}

export interface AdoptOptions extends ChannelMaker {
  readonly backend: Required<Pick<Backend, 'adopt'>>;
}

export interface SpawnOptions extends ChannelMaker {
  readonly backend: Backend;
  /** The record of a session as the owner of its child; absent where records own nothing. */
  readonly owner?: (session: string, uid: string) => NonNullable<BackendSpec['owner']>;
  /** The child's secret environment, made once its address is known: the credential proxy's URL and a capability that names this child. */
  readonly secrets: (request: SpawnRequest, address: BackendAddress) => Promise<Readonly<Record<string, string>>>;
  /** Told when a child runs; for the metrics of its start phases. */
  readonly started: (request: SpawnRequest, link: BackendLink) => void;
}

/** Makes sessions' children with `backend` and speaks to them through the bridge. */
export function spawnWith(options: SpawnOptions): SpawnFunc {
  const { backend } = options;
  return async (request, signal) => {
    const { server } = request;
    const link = await backend.open(
      {
        session: request.session,
        user: userLabel(request.auth.user),
        server,
        epoch: request.generation,
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
    return channelOf(options, request, link);
  };
}

/** Takes sessions' children over with `backend`, where it can. */
export function adoptWith(options: AdoptOptions): AdoptFunc {
  const { backend } = options;
  return async (request, signal) => {
    const { session, server, child, generation: epoch, protocolVersion } = request;
    const link = await backend.adopt({ session, server, child, epoch }, signal);
    return channelOf(options, request, link, protocolVersion);
  };
}

function channelOf(
  { clock, observer }: ChannelMaker,
  request: ChannelRequest,
  link: BackendLink,
  negotiated?: string,
): Channel {
  const { server, generation } = request;
  return openChannel(link, {
    clock,
    observer: observer(request),
    callTimeout: server.callTimeout,
    initializeTimeout: Math.min(server.callTimeout, server.startTimeout),
    maxLineBytes: server.maxLineBytes,
    maxCallsInFlight: server.maxCallsInFlight,
    generation,
    ...(negotiated === undefined ? {} : { negotiated }),
  });
}
