/** 'Your connections': what a user has allowed, what runs because of it, and how to change or end each. */
import type { Choice, Scope } from '../../auth/context';
import {
  choiceFields,
  type ChoiceErrors,
  type ChoiceInput,
  describeChoice,
  levelsOf,
  messages,
  type Most,
  readChoice,
  summaryOf,
  valueOf,
} from './choice';
import type { FormTarget } from './consent';
import { flag, type Html, markup } from './html';
import { type Page, renderPage } from './layout';
import { isWhole, linesOf } from './names';
import { hostOf, nameOf, shown, timeOf } from './text';

/** A session that runs. */
export interface LiveSession {
  /** The record's name, 40 hex digits; never the session id. */
  readonly name: string;
  readonly server: string;
  /** Wall-clock milliseconds. */
  readonly startedAt: number;
}

/** A grant with its sessions. */
export interface Connection {
  readonly grant: string;
  readonly client: { readonly id: string; readonly name: string };
  readonly server: string;
  /** Wall-clock milliseconds. */
  readonly since: number;
  readonly expiresAt: number;
  readonly scopes: readonly Scope[];
  readonly choice: Choice;
  /** What the user may change it to without a new login. */
  readonly most: Most;
  readonly sessions: readonly LiveSession[];
}

/** What the page shows. */
export interface ConnectionsView {
  readonly login: string;
  /** The forge's public base URL. */
  readonly forge: string;
  readonly connections: readonly Connection[];
  /** What the last form did, in a sentence of ours. */
  readonly notice?: string;
  /** A form that was wrong: 400. */
  readonly retry?: ConnectionsRetry;
}

export interface ConnectionsRetry {
  /** Of a grant's form; without one, the message is about the page. */
  readonly grant?: string;
  readonly input?: ChoiceInput;
  readonly errors: ChoiceErrors & { readonly page?: readonly string[] };
}

/** What a form of the page asks for. */
export type ConnectionsAction =
  | { readonly do: 'change'; readonly grant: string; readonly scopes: readonly Scope[]; readonly choice: Choice }
  | { readonly do: 'end'; readonly grant: string; readonly session: string }
  | { readonly do: 'revoke'; readonly grant: string }
  | { readonly do: 'disconnect' }
  | { readonly do: 'again'; readonly retry: ConnectionsRetry };

const GONE: ConnectionsAction = {
  do: 'again',
  retry: { errors: { page: ['That connection or session is not there any more. Below is what there is now.'] } },
};

/** The page. Every form is one POST to the same address. */
export function connectionsPage(view: ConnectionsView, form: FormTarget): Page {
  const { connections, retry } = view;
  const notice =
    view.notice === undefined
      ? undefined
      : markup`<div class="note done" role="status"><p>${shown(view.notice, 300)}</p></div>`;
  const wrong =
    retry?.errors.page === undefined
      ? undefined
      : markup`<div class="wrong" role="alert">${messages('page-errors', retry.errors.page)}</div>`;
  const cards = connections.map((connection, index) => card(connection, `c${index + 1}-`, form, retry));
  const content = markup`<p>You are <strong>${nameOf(view.login)}</strong> at <strong>${hostOf(view.forge)}</strong>.${connections.length === 0 ? '' : ' These programs may use it as you.'}</p>
${notice}
${wrong}
${connections.length === 0 ? empty() : markup`${cards}${disconnect(view, form)}`}`;
  return renderPage({
    status: retry === undefined ? 200 : 400,
    title: 'Your connections',
    content,
    formAction: ["'self'"],
  });
}

/**
 * Reads a POST of {@link connectionsPage}, whose CSRF token was checked. Only what is among the user's own `connections` can be named; a change stays
 * within what its page offered.
 */
export function readConnections(form: URLSearchParams, connections: readonly Connection[]): ConnectionsAction {
  const asked = valueOf(form, 'do');
  if (asked === 'disconnect') {
    return valueOf(form, 'sure') === 'yes'
      ? { do: 'disconnect' }
      : { do: 'again', retry: { errors: { page: ['Tick the box first if you want to disconnect everything.'] } } };
  }
  const connection = connections.find(({ grant }) => grant === valueOf(form, 'grant'));
  if (connection === undefined) return GONE;
  const { grant } = connection;
  switch (asked ?? '') {
    case 'revoke':
      return { do: 'revoke', grant };
    case 'end': {
      const session = connection.sessions.find(({ name }) => name === valueOf(form, 'session'));
      return session === undefined ? GONE : { do: 'end', grant, session: session.name };
    }
    case 'change': {
      const read = readChoice(form, connection.most);
      return 'errors' in read ? { do: 'again', retry: { grant, ...read } } : { do: 'change', grant, ...read };
    }
    default:
      return { do: 'again', retry: { errors: { page: ['This form was not understood. Please try again.'] } } };
  }
}

function card(connection: Connection, prefix: string, form: FormTarget, retry: ConnectionsRetry | undefined): Html {
  const { grant, client, server, since, expiresAt, scopes, choice, most } = connection;
  const mine = retry?.grant === grant ? retry : undefined;
  const input = mine?.input ?? current(connection);
  const change = markup`<details ${flag('open', mine !== undefined)}><summary>Change what it may do</summary>
<form method="post" action="${form.action}">
${summaryOf(prefix, mine?.errors ?? {})}
${hidden(form, 'change', grant)}
${choiceFields(prefix, most, input, mine?.errors)}
<p class="soft">This counts from the next call on, in sessions that run too. To let it change things, you may be sent to ${hostOf(most.forge)} once.</p>
<div class="buttons"><button class="main" type="submit">Save</button></div>
</form></details>`;
  return markup`<section class="card" aria-labelledby="${prefix}name">
<h2 id="${prefix}name">${nameOf(client.name)}</h2>
<dl class="facts">
<dt>Client</dt><dd>${shown(client.id, 200)}</dd>
<dt>Server</dt><dd><code>${shown(server, 63)}</code></dd>
<dt>May</dt><dd>${scopes.includes('forgejo:write') ? 'read and change' : 'read only'}</dd>
<dt>Where</dt><dd>${describeChoice(choice, most.forge)}</dd>
<dt>Since</dt><dd>${timeOf(since)}</dd>
<dt>Until</dt><dd>${timeOf(expiresAt)} at the latest</dd>
</dl>
${sessions(connection, prefix, form)}
${levelsOf(most).length === 0 ? undefined : change}
<form method="post" action="${form.action}">${hidden(form, 'revoke', grant)}
<div class="buttons"><button class="danger" type="submit" aria-describedby="${prefix}name">End this connection</button></div></form>
</section>`;
}

/** What the form begins with: what holds now. */
function current({ scopes, choice, most }: Connection): ChoiceInput {
  const whole = isWhole(choice, most.policy);
  return {
    access: scopes.includes('forgejo:write') ? 'write' : 'read',
    reach: whole ? 'all' : 'list',
    names: whole ? '' : linesOf(choice).join('\n'),
  };
}

function sessions({ grant, sessions: live }: Connection, prefix: string, form: FormTarget): Html {
  if (live.length === 0) return markup`<p class="soft">No session runs now.</p>`;
  const items = live.map(({ name, server, startedAt }, index) => {
    const id = `${prefix}s${index + 1}`;
    return markup`<li><span id="${id}"><code>${shown(server, 63)}</code>, since ${timeOf(startedAt)}</span>
<form method="post" action="${form.action}">${hidden(form, 'end', grant)}<input type="hidden" name="session" value="${name}"><button class="small" type="submit" aria-describedby="${id}">End session</button></form></li>`;
  });
  return markup`<h3>Sessions that run now</h3><ul class="sessions">${items}</ul>`;
}

function disconnect({ forge }: ConnectionsView, form: FormTarget): Html {
  return markup`<hr><details><summary>Disconnect everything</summary>
<p>All connections and sessions above end, and the gateway forgets its access to your account. Each program then has to ask you again.</p>
<p>What Forgejo itself remembers is on <a href="${`${forge.replace(/\/+$/, '')}/user/settings/applications`}">its page of authorized applications</a>, where you can remove it too.</p>
<form method="post" action="${form.action}"><input type="hidden" name="csrf" value="${form.csrf}"><input type="hidden" name="do" value="disconnect">
<div class="option"><input type="checkbox" id="sure" name="sure" value="yes" ${flag('required', true)}><label for="sure">Yes, end all of them</label></div>
<div class="buttons"><button class="danger" type="submit">Disconnect everything</button></div></form></details>`;
}

function empty(): Html {
  return markup`<p class="note done">Nothing is connected. A program appears here once you have <a href="/">added this gateway</a> to it and allowed it.</p>`;
}

function hidden(form: FormTarget, action: string, grant: string): Html {
  return markup`<input type="hidden" name="csrf" value="${form.csrf}"><input type="hidden" name="do" value="${action}"><input type="hidden" name="grant" value="${grant}">`;
}
