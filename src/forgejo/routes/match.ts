/** Finds the route of a request: a trie over the table, with the precedence of the forge's own router (literals before parameters). */
import type { Route } from './route';
import type { Segment, Target } from './target';

/** A route and the decoded values of its parameters. */
export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

interface Pattern {
  readonly source: string;
  readonly regex: RegExp;
  readonly node: Node;
}

/** One position in a path. Parameter names belong to the route, for two routes may name the same position differently. */
class Node {
  readonly literals = new Map<string, Node>();
  readonly patterns: Pattern[] = [];
  param: Node | undefined;
  readonly tails = new Map<string, Route>();
  readonly routes = new Map<string, Route>();
}

/** What `{index}.{diffType}` may end in: the forge serves these two and no other. */
const SUFFIXES = '(diff|patch)';
/** Forgejo's and Gitea's names of users, organisations and repositories. */
const NAME = /^[A-Za-z0-9._-]+$/;

const literalPart = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

function patternOf(segment: string): string {
  return segment
    .split(/(\{[^}]+\})/)
    .map((part, index) => (index % 2 === 0 ? literalPart(part) : part === '{diffType}' ? SUFFIXES : '(.+?)'))
    .join('');
}

/** The values of one candidate, in the order of the template's parameters. */
interface Candidate {
  readonly route: Route;
  readonly values: readonly Segment[];
}

/** The policy decides both routes alike, whatever it is: everything that it looks at is the same. */
function sameDecision(one: Route, other: Route): boolean {
  const decisive = ({ class: kind, owner, repo, wholeOwner, open, wide, only, body, param, proof }: Route): string =>
    JSON.stringify([kind, owner, repo, wholeOwner, open, wide, only, body, param, proof]);
  return one === other || decisive(one) === decisive(other);
}

/** Matches methods and paths against a table. HEAD is matched as GET (RFC 9110, 9.3.2). */
export class RouteMatcher {
  private readonly root = new Node();

  constructor(routes: readonly Route[]) {
    for (const route of routes) this.add(route);
  }

  /**
   * The one route that serves this request; undefined when none does: unknown is denied.
   *
   * An encoded slash is taken only inside a parameter of a route that says so, never in an owner or a repository, and only where the path read
   * with that slash decoded is no route at all or one that is decided alike.
   */
  match(method: string, target: Target): Match | undefined {
    const as = method === 'HEAD' ? 'GET' : method;
    const found = this.find(as, target.segments);
    if (found === undefined) return undefined;
    const { route, values } = found;
    const names = [...route.path.matchAll(/\{([^}]+)\}/g)].map((part) => part[1] ?? '');
    const params: Record<string, string> = {};
    for (const [index, name] of names.entries()) {
      const segment = values[index];
      if (segment === undefined) return undefined;
      const anchor = name === route.owner || name === route.repo;
      if (segment.slashed && (anchor || route.slashes !== true)) return undefined;
      if (anchor && !NAME.test(segment.value)) return undefined;
      params[name] = segment.value;
    }
    if (target.segments.some((segment) => segment.slashed)) {
      const decoded = target.segments.flatMap((segment) =>
        segment.value.split('/').map((value) => ({ value, slashed: false })),
      );
      const other = this.find(as, decoded);
      if (other !== undefined && !sameDecision(other.route, route)) return undefined;
    }
    return { route, params };
  }

  private add(route: Route): void {
    const segments = route.path.slice(1).split('/');
    let node = this.root;
    for (const [index, segment] of segments.entries()) {
      if (route.tail === true && index === segments.length - 1) {
        node.tails.set(route.method, route);
        return;
      }
      node = this.step(node, segment);
    }
    node.routes.set(route.method, route);
  }

  private step(node: Node, segment: string): Node {
    if (/^\{[^}]+\}$/.test(segment)) return (node.param ??= new Node());
    if (segment.includes('{')) {
      const source = patternOf(segment);
      const known = node.patterns.find((pattern) => pattern.source === source);
      if (known !== undefined) return known.node;
      const made = { source, regex: new RegExp(`^${source}$`, 's'), node: new Node() };
      node.patterns.push(made);
      return made.node;
    }
    let next = node.literals.get(segment);
    if (next === undefined) node.literals.set(segment, (next = new Node()));
    return next;
  }

  private find(method: string, segments: readonly Segment[]): Candidate | undefined {
    const values: Segment[] = [];
    const walk = (node: Node, index: number): Route | undefined => {
      const segment = segments[index];
      if (segment === undefined) return node.routes.get(method);
      const literal = segment.slashed ? undefined : node.literals.get(segment.value);
      const exact = literal === undefined ? undefined : walk(literal, index + 1);
      if (exact !== undefined) return exact;
      const kept = values.length;
      for (const pattern of node.patterns) {
        const groups = pattern.regex.exec(segment.value);
        if (groups === null) continue;
        values.push(...groups.slice(1).map((value) => ({ value, slashed: segment.slashed })));
        const found = walk(pattern.node, index + 1);
        if (found !== undefined) return found;
        values.length = kept;
      }
      if (node.param !== undefined && segment.value !== '') {
        values.push(segment);
        const found = walk(node.param, index + 1);
        if (found !== undefined) return found;
        values.length = kept;
      }
      const tail = node.tails.get(method);
      if (tail === undefined) return undefined;
      const rest = segments.slice(index).map((part) => part.value);
      // Only a whole tail may be empty (a trailing slash: the root folder), not a part of it.
      if (rest.length > 1 && rest.includes('')) return undefined;
      values.push({ value: rest.join('/'), slashed: rest.length > 1 || segment.slashed });
      return tail;
    };
    const route = walk(this.root, 0);
    return route === undefined ? undefined : { route, values };
  }
}
