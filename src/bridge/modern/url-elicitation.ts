/** Pages that a user must visit before a call can be made (2025-11-25, 'URL Elicitation Required Errors'). */
import { isObject } from '../json';
import type { InputRequest } from './running';

const MAX_PAGES = 16;

/** The `inputRequests` for an error's `data.elicitations`; undefined where there is none that can be understood. */
export function urlQuestions(data: unknown): Readonly<Record<string, InputRequest>> | undefined {
  const elicitations = isObject(data) && Array.isArray(data.elicitations) ? data.elicitations.slice(0, MAX_PAGES) : [];
  const questions: Record<string, InputRequest> = {};
  for (const [at, elicitation] of elicitations.entries()) {
    if (!isObject(elicitation) || typeof elicitation.url !== 'string') continue;
    const message = typeof elicitation.message === 'string' ? elicitation.message : 'Open this page to go on.';
    questions[`u${String(at + 1)}`] = {
      method: 'elicitation/create',
      params: { mode: 'url', message, url: elicitation.url },
    };
  }
  return Object.keys(questions).length === 0 ? undefined : questions;
}
