/**
 * Issues and pull requests of other repositories that a text mentions. A forge takes a mention for an instruction: it writes an entry into the
 * other issue's timeline and, behind a word such as `closes`, closes it.
 */
import { AppError } from '../../errors';
import type { Policy } from '../policy';

/** Where a forge is: its origin and the path below it, without a trailing slash. */
export interface Base {
  readonly origin: string;
  readonly path: string;
}

/** `owner/repo#1` and `owner/repo!1`, where a forge looks for them: not within a path or a word. */
const SHORT = /(?<![\w./-])([\w.-]+)\/([\w.-]+)[#!]\d/g;

/** A link without a host: a path that begins there, whatever scheme or empty authority stands before it. */
const PATH = /(?<![\w.-])\/([\w.-]+)\/([\w.-]+)\/(?:issues|pulls)\/\d/gi;

const literal = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** What a forge with these bases reads as a mention. */
export class Mentions {
  private readonly patterns: readonly RegExp[];

  constructor(bases: readonly Base[]) {
    this.patterns = [
      SHORT,
      PATH,
      ...bases.map(({ origin, path }) => {
        const { host } = new URL(origin);
        return new RegExp(
          `//(?:[^\\s/@]*@)?${literal(host)}(?::\\d*)?(?:${literal(path)})?/+([\\w.-]+)/([\\w.-]+)/(?:issues|pulls)/\\d`,
          'gi',
        );
      }),
    ];
  }

  /** Throws `POLICY_REFUSED` where a text anywhere in `value` mentions a repository that the policy does not cover. */
  check(policy: Policy, value: unknown): void {
    if (typeof value === 'string') this.checkText(policy, value);
    else if (typeof value === 'object' && value !== null)
      for (const part of Object.values(value)) this.check(policy, part);
  }

  private checkText(policy: Policy, text: string): void {
    for (const pattern of this.patterns)
      for (const [, owner = '', name = ''] of text.matchAll(pattern))
        if (!policy.repository(owner, name))
          throw new AppError(
            'POLICY_REFUSED',
            `This session's policy does not cover the repository that the text mentions ("${`${owner}/${name}`.slice(0, 100)}"), and Forgejo would write a note of it there. Leave the mention out, or write it without "#" or a link.`,
            { detail: 'reference' },
          );
  }
}
