/** The methods that MCP names, 2024-11-05 to 2025-11-25: metric labels come from here, never from what a client wrote. */
const METHODS: ReadonlySet<string> = new Set([
  'completion/complete',
  'elicitation/create',
  'initialize',
  'logging/setLevel',
  'ping',
  'prompts/get',
  'prompts/list',
  'resources/list',
  'resources/read',
  'resources/subscribe',
  'resources/templates/list',
  'resources/unsubscribe',
  'roots/list',
  'sampling/createMessage',
  'server/discover',
  'tasks/cancel',
  'tasks/get',
  'tasks/list',
  'tasks/result',
  'tools/call',
  'tools/list',
]);

/** A method's metric label. */
export function methodLabel(method: string): string {
  return METHODS.has(method) ? method : 'other';
}

/** Whether a notification tells of the server as a whole and belongs to no call (MCP 'Listening for Messages from the Server'). */
export function concernsServer(method: string): boolean {
  return method.endsWith('/list_changed') || method === 'notifications/resources/updated';
}
