/** The route table: what the credential proxy lets through, as data. Written by `scripts/routes/generate.ts`; never edited by hand. */
import data from './table.json';

/** `never`: mints credentials that outlast the session, gives others access, or administers. A server may open single ones. */
export type RouteClass = 'read' | 'write' | 'never';

/** How an answer is cut to what a restricting policy allows; the name says what the answer is. */
export type Filter =
  | 'repositories' // an array of repositories
  | 'repository' // one repository
  | 'search' // `{ ok, data: [repositories] }`
  | 'issues' // an array of issues, each naming its repository
  | 'notifications' // an array of threads, each naming its repository
  | 'notification'
  | 'organizations' // an array of organisations
  | 'activities' // an array of events, each with its repository
  | 'timeline' // an array of comments, some with an issue of another repository
  | 'pulls' // an array of pull requests, each describing the repositories of its two branches
  | 'pull'; // one pull request

/** Which names of other repositories a body can carry. */
export type BodyCheck =
  | 'pull' // `head` as `owner:branch`, and texts
  | 'text' // texts that mention issues of other repositories
  | 'issue' // `owner` and `repo` of another issue
  | 'settings'; // `private: false`, `internal`, `name`: shows or moves the repository

/** One method of one path template. */
export interface Route {
  readonly method: string;
  /** The whole path with `{parameter}`s, from the forge's root on. */
  readonly path: string;
  readonly class: RouteClass;
  /** The path parameter that holds the owner, and the one that holds the repository's name. */
  readonly owner?: string;
  readonly repo?: string;
  /** Concerns all of the owner's repositories. */
  readonly wholeOwner?: boolean;
  /** Shows and changes nothing of any repository or owner. */
  readonly open?: boolean;
  /** Spans owners: only where the policy restricts nothing, or filtered. */
  readonly wide?: boolean;
  readonly only?: Filter;
  readonly body?: BodyCheck;
  /** A path parameter that can name another repository (`owner:branch`). */
  readonly param?: string;
  /** The last parameter takes the rest of the path. */
  readonly tail?: boolean;
  /** Parameters other than owner and repository may hold an encoded slash. */
  readonly slashes?: boolean;
  readonly upload?: boolean;
  readonly binary?: boolean;
  readonly text?: boolean;
  /** Answers with a file's bytes, which stay as they are. */
  readonly raw?: boolean;
  /** Under a restricting policy only links that the proxy gave out itself. */
  readonly proof?: boolean;
  /** Where a route comes from that the description does not have. */
  readonly source?: string;
}

/** Every route that is known; what is not here is denied. */
export const ROUTES = data as readonly Route[];
