/**
 * MCPSession: one MCP session, as it is recorded. It holds no session id, no token and no key, and it has no status subresource: one write
 * records all that happened at once.
 */
import type { KubeObject } from '../kube/objects';
import type { API_VERSION, MCP_SESSIONS } from './group';
import { count, moment, object, type Structural, text } from './structural';

/** Whose session with what it is; never changes. */
export interface MCPSessionSpec {
  /** The server's name. */
  readonly server: string;
  /** The forge's URL, and the user's id there. */
  readonly user: { readonly issuer: string; readonly id: string };
  /** The OAuth client's id, or the bearer's fingerprint. */
  readonly client: string;
  readonly mode: 'oauth' | 'bearer';
}

export type MCPSessionState = 'Starting' | 'Active' | 'Hibernated' | 'Ended';

/** The pod that runs the session's child. */
export interface MCPSessionPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly ip?: string;
}

/** What a new child is told besides `initialize`. */
export interface MCPSessionReplay {
  readonly logLevel?: string;
  /** URIs of resources. */
  readonly subscriptions?: readonly string[];
}

/** Moments are RFC 3339 text. */
export interface MCPSessionStatus {
  readonly state: MCPSessionState;
  /** Why it ended, an `EndReason`; kept as text so that another version's reasons can be read. */
  readonly reason?: string;
  /** Which login it is bound to; an opaque name. */
  readonly grant?: string;
  readonly scopes?: readonly string[];
  readonly protocolVersion?: string;
  /** JSON text of the parameters of `initialize`, at most {@link INITIALIZE_MAX} characters. */
  readonly initialize?: string;
  readonly replay?: MCPSessionReplay;
  /** The run name of the replica that holds it; absent where none does. */
  readonly holder?: string;
  /** Fences: who has a lower one is not the holder any more. Never goes down. */
  readonly epoch: number;
  /** It is within the caps. Absent while that is not said, and while it has no child. */
  readonly admitted?: boolean;
  readonly pod?: MCPSessionPod;
  readonly createdAt: string;
  /** When its present child came up. */
  readonly startedAt?: string;
  /** When it is over for good if nobody uses it. */
  readonly expiresAt?: string;
  readonly endedAt?: string;
}

export interface MCPSession extends KubeObject {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: typeof MCP_SESSIONS.kind;
  readonly spec: MCPSessionSpec;
  readonly status: MCPSessionStatus;
}

/** Characters of `status.initialize`: clients send some kilobytes, and etcd takes 1.5 MiB in all. */
export const INITIALIZE_MAX = 256 * 1024;
/** Resources that are subscribed to, and characters of each URI. */
export const SUBSCRIPTIONS_MAX = 256;
export const URI_MAX = 2048;
/** Characters of a user's or a client's id; a client may be known by a URL. */
export const ID_MAX = 2048;

const NAME_MAX = 253;

/** The schema of `spec`. */
export const SESSION_SPEC: Structural = object(
  {
    server: text('The name of the server.', 63, { minLength: 1 }),
    user: object(
      {
        issuer: text("The forge's URL.", ID_MAX, { minLength: 1 }),
        id: text("The user's id there.", ID_MAX, { minLength: 1 }),
      },
      ['issuer', 'id'],
      { description: 'Whose session it is.' },
    ),
    client: text('The client that opened it.', ID_MAX),
    mode: {
      type: 'string',
      enum: ['oauth', 'bearer'],
      description: '`oauth`: its user logged in; `bearer`: the client brings a token of the forge.',
    },
  },
  ['server', 'user', 'client', 'mode'],
  {
    description: 'Whose session with what it is.',
    'x-kubernetes-validations': [
      { rule: 'self == oldSelf', message: 'a session stays what it is: delete it, and its client opens another one' },
    ],
  },
);

const pod = object(
  {
    namespace: text('Its namespace.', 63),
    name: text('Its name.', NAME_MAX),
    uid: text('Its UID.', 64),
    ip: text('Its address.', 64),
  },
  ['namespace', 'name', 'uid'],
  { description: 'The pod of its child.' },
);

const replay = object(
  {
    logLevel: text('The level of `logging/setLevel`.', 32),
    subscriptions: {
      type: 'array',
      maxItems: SUBSCRIPTIONS_MAX,
      items: { type: 'string', maxLength: URI_MAX },
      description: 'The resources of `resources/subscribe`.',
      'x-kubernetes-list-type': 'atomic',
    },
  },
  [],
  { description: 'What a new child is told besides `initialize`.' },
);

/** The schema of `status`. */
export const SESSION_STATUS: Structural = object(
  {
    state: {
      type: 'string',
      enum: ['Starting', 'Active', 'Hibernated', 'Ended'],
      description:
        '`Hibernated`: it has no pod, and gets one with its next message. `Ended`: it is over; the record goes after a while.',
    },
    reason: text('Why it ended.', 64),
    grant: text('The login that it is bound to.', 256),
    scopes: {
      type: 'array',
      maxItems: 16,
      items: { type: 'string', maxLength: 64 },
      description: 'What it may do.',
      'x-kubernetes-list-type': 'atomic',
    },
    protocolVersion: text('The MCP revision that was agreed on.', 32),
    initialize: text('The parameters of `initialize`, as JSON, for the next child.', INITIALIZE_MAX),
    replay,
    holder: text('The gateway that holds it.', NAME_MAX),
    epoch: count('Counts its holders: the one with the highest is the holder.'),
    admitted: {
      type: 'boolean',
      description:
        'It is within the caps, and counts against them. What starts and is not admitted yet asks for its place.',
    },
    pod,
    createdAt: moment('When it was opened.'),
    startedAt: moment('When its present child came up.'),
    expiresAt: moment('When it is over for good if nobody uses it.'),
    endedAt: moment('When it ended.'),
  },
  ['state', 'epoch', 'createdAt'],
  {
    description: 'How it stands. Written by the gateway that holds it.',
    'x-kubernetes-validations': [
      {
        rule: 'self.epoch >= oldSelf.epoch',
        message: 'the epoch never goes down: read the session again, another gateway holds it by now',
        fieldPath: '.epoch',
      },
      {
        rule: "oldSelf.state != 'Ended' || self.state == 'Ended'",
        message: 'a session that has ended stays so: read it again',
        fieldPath: '.state',
      },
    ],
  },
);
