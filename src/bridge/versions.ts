/** The revisions of MCP that are served. */

/** Those with sessions, the oldest first. */
export const SESSION_VERSIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'] as const;

/** The newest of them: what a client is offered that asks for one which is not served, and what a child is offered. */
export const LATEST_SESSION_VERSION = '2025-11-25' satisfies (typeof SESSION_VERSIONS)[number];

/** The one without. */
export const MODERN_VERSION = '2026-07-28';

/** All of them, the newest first. */
export const ALL_VERSIONS: readonly string[] = [MODERN_VERSION, ...[...SESSION_VERSIONS].reverse()];
