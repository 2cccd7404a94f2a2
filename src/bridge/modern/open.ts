/** Beginning a conversation with a child: which era it speaks, and the handshake of the old one (MCP 2026-07-28, 'stdio', backward compatibility). */
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { JsonRpcMessage, MessageSink } from '../contract';
import { LATEST_SESSION_VERSION, MODERN_VERSION } from '../versions';
import { isObject } from '../json';
import { legacyCapabilities } from './capabilities';
import type { Conversation, ConversationLink } from './contract';
import { LegacyChild } from './legacy-child';
import { CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION, type ClientFacts } from './meta';
import { ModernChild } from './modern-child';
import { VERSION_UNSUPPORTED } from './results';
import type { StateSeal } from './state';

/** `auto`: the child is asked; the others say what it speaks. */
export type ChildEra = 'auto' | 'legacy' | 'modern';

export interface OpenOptions {
  readonly clock: Clock;
  readonly seal: StateSeal;
  readonly audience: string;
  readonly client: ClientFacts;
  readonly era: ChildEra;
  readonly versions: readonly string[];
  /** Seconds for one call. */
  readonly callTimeout: number;
  /** Calls that may wait for their clients. */
  readonly maxParked: number;
  /** Milliseconds for a child to say which era it speaks; one that says nothing is of the old one. */
  readonly probeMs: number;
  /** Told what the child answered when it was asked for its era; not called when it gave no answer. */
  readonly learned: (era: 'legacy' | 'modern') => void;
}

/** What a client that does not tell its name is called towards a child, which must be told one. */
const UNNAMED = { name: 'mcp-client', version: '0' };

/**
 * Begins the conversation.
 * Rejects as {@link ConversationLink.call} does where the child ends meanwhile.
 * @throws AppError `BACKEND_REFUSED` when the child speaks no version that is served, `BACKEND_CRASHED` when it does not answer `initialize` well.
 */
export async function openConversation(link: ConversationLink, options: OpenOptions): Promise<Conversation> {
  if (options.era === 'legacy') return initialize(link, options);
  const meta = ownMeta(options.client);
  const answer = await link.ask('server/discover', { _meta: meta }, options.probeMs);
  const discovered = answer?.result;
  if (isObject(discovered) && Array.isArray(discovered.supportedVersions)) {
    if (discovered.supportedVersions.includes(MODERN_VERSION)) {
      options.learned('modern');
      return modern(link, options, meta, discovered);
    }
  } else if (isUnsupportedVersion(answer?.error)) {
    throw new AppError(
      'BACKEND_REFUSED',
      'The server of this endpoint speaks no version of MCP that is served here. Tell your administrator.',
    );
  }
  if (answer !== undefined) options.learned('legacy');
  return initialize(link, options);
}

function modern(
  link: ConversationLink,
  options: OpenOptions,
  meta: Readonly<Record<string, unknown>>,
  discovered: Readonly<Record<string, unknown>>,
): Conversation {
  const { capabilities } = discovered;
  const hasTools = isObject(capabilities) && isObject(capabilities.tools);
  link.begin({ protocolVersion: MODERN_VERSION, hasTools, meta });
  return new ModernChild(link, { ...options, meta, discovered });
}

/** `_meta` of the gateway's own requests: it asks on behalf of the client. */
function ownMeta({ capabilities, info }: ClientFacts): Readonly<Record<string, unknown>> {
  return {
    [PROTOCOL_VERSION]: MODERN_VERSION,
    [CLIENT_CAPABILITIES]: capabilities,
    ...(info === undefined ? {} : { [CLIENT_INFO]: info }),
  };
}

/** A child that names the versions it speaks, none of which is ours, is not of the old era. */
function isUnsupportedVersion(error: unknown): boolean {
  return isObject(error) && error.code === VERSION_UNSUPPORTED;
}

/** The handshake (MCP 2025-11-25, 'Lifecycle'). */
async function initialize(link: ConversationLink, options: OpenOptions): Promise<Conversation> {
  const { client } = options;
  const params = {
    protocolVersion: LATEST_SESSION_VERSION,
    capabilities: legacyCapabilities(client.capabilities),
    clientInfo: named(client.info),
  };
  let answer: JsonRpcMessage | undefined;
  const sink: MessageSink = {
    send: (message) => {
      if (!('method' in message)) answer = message;
      return undefined;
    },
  };
  await link.call({ jsonrpc: '2.0', id: 'initialize', method: 'initialize', params }, sink);
  const initialized = answer !== undefined && 'result' in answer ? answer.result : undefined;
  if (!isObject(initialized) || typeof initialized.protocolVersion !== 'string') {
    throw new AppError(
      'BACKEND_CRASHED',
      'The server of this endpoint did not start as it should. Try again; if it stays, tell your administrator.',
      { detail: 'initialize was answered with an error' },
    );
  }
  await link.notify({ jsonrpc: '2.0', method: 'notifications/initialized' });
  return new LegacyChild(link, { ...options, initialized });
}

/** What a client says of itself, with what the old era requires of that: a child may refuse to begin without it. */
function named(info: ClientFacts['info']): Readonly<Record<string, unknown>> {
  const { name, version } = info ?? UNNAMED;
  return {
    ...info,
    name: typeof name === 'string' ? name : UNNAMED.name,
    version: typeof version === 'string' ? version : UNNAMED.version,
  };
}
