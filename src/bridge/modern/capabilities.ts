/** What a child may ask of a client, by what the client declared (MCP 2026-07-28, 'ClientCapabilities'). */
import { isObject, without } from '../json';

type Capabilities = Readonly<Record<string, unknown>>;

/** The methods that may stand in `inputRequests`. */
export const INPUT_METHODS: ReadonlySet<string> = new Set([
  'elicitation/create',
  'sampling/createMessage',
  'roots/list',
]);

/** The requests that may be answered with `input_required`. */
export const ASKING_METHODS: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);

/** The capabilities that a request of the child needs and the client has not declared; undefined where none is missing. */
export function missingFor(
  capabilities: Capabilities,
  method: string,
  params: Readonly<Record<string, unknown>>,
): Capabilities | undefined {
  if (method === 'roots/list') return isObject(capabilities.roots) ? undefined : { roots: {} };
  if (method === 'sampling/createMessage') {
    const { sampling } = capabilities;
    if (!isObject(sampling)) return { sampling: {} };
    return params.tools !== undefined && !isObject(sampling.tools) ? { sampling: { tools: {} } } : undefined;
  }
  const { elicitation } = capabilities;
  const mode = params.mode === 'url' ? 'url' : 'form';
  if (!isObject(elicitation)) return { elicitation: mode === 'url' ? { url: {} } : {} };
  if (isObject(elicitation[mode])) return undefined;
  // An empty object means forms (the spelling of revisions before 2025-11-25).
  return mode === 'form' && !isObject(elicitation.url) ? undefined : { elicitation: { [mode]: {} } };
}

/** What a client's capabilities mean to a child of the old era: what that era has of them, and nothing that takes a session to use. */
export function legacyCapabilities({ elicitation, sampling, roots, experimental }: Capabilities): Capabilities {
  return {
    ...(isObject(elicitation) ? { elicitation } : {}),
    ...(isObject(sampling) ? { sampling } : {}),
    ...(isObject(roots) ? { roots: {} } : {}),
    ...(isObject(experimental) ? { experimental } : {}),
  };
}

/** A question of a child of the old era as this era has it: forms and pages have members less. */
export function asInputRequest(
  method: string,
  params: Readonly<Record<string, unknown>>,
): { readonly method: string; readonly params: Readonly<Record<string, unknown>> } {
  return { method, params: without(params, '_meta', 'task', 'elicitationId') };
}

/** Whether a client's answer to a request of the child has the shape that such an answer has. */
export function isInputResponse(method: string, value: unknown): value is Record<string, unknown> {
  if (!isObject(value)) return false;
  switch (method) {
    case 'elicitation/create':
      return (
        (value.action === 'accept' || value.action === 'decline' || value.action === 'cancel') &&
        (value.content === undefined || isObject(value.content))
      );
    case 'sampling/createMessage':
      return typeof value.role === 'string' && value.content !== undefined;
    default:
      return Array.isArray(value.roots);
  }
}
