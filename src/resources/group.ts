/** What both custom resources have in common. */
import type { Resource } from '../kube/objects';

export const GROUP = 'forgejo-mcp-operator.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = `${GROUP}/${VERSION}` as const;

/** `kubectl get forgejo-mcp` shows both kinds. */
export const CATEGORY = 'forgejo-mcp';

/** Servers: in the namespace of the release. */
export const MCP_SERVERS = {
  group: GROUP,
  version: VERSION,
  plural: 'mcpservers',
  kind: 'MCPServer',
} as const satisfies Resource;

/** Sessions: in the install's one sessions namespace. */
export const MCP_SESSIONS = {
  group: GROUP,
  version: VERSION,
  plural: 'mcpsessions',
  kind: 'MCPSession',
} as const satisfies Resource;
