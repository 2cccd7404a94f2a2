/** The part of a form in which a user chooses what a client may do and where, and how it is read. */
import type { Choice, Scope } from '../../auth/context';
import type { ServerPolicy } from '../../config/server';
import { flag, type Html, markup } from './html';
import { isUnrestricted, linesOf, MAX_TEXT, readNames } from './names';
import { hostOf, shown } from './text';

/** The most that can be chosen. */
export interface Most {
  /** What the client asked for. */
  readonly scopes: readonly Scope[];
  /** The server's policy, which bounds what was asked for too. */
  readonly policy: Pick<ServerPolicy, 'access' | 'owners' | 'repositories'>;
  /** The forge's public base URL. */
  readonly forge: string;
}

/** What stands in the form, as it came. */
export interface ChoiceInput {
  readonly access: string;
  readonly reach: string;
  readonly names: string;
}

/** Messages for each field that was wrong. */
export interface ChoiceErrors {
  readonly access?: readonly string[];
  readonly reach?: readonly string[];
  readonly names?: readonly string[];
}

export type ReadChoice =
  | { readonly scopes: readonly Scope[]; readonly choice: Choice }
  | { readonly errors: ChoiceErrors; readonly input: ChoiceInput };

export type Access = 'read' | 'write';

/** Entries of a policy that are shown at once. */
const SHOWN_NAMES = 8;

/**
 * The levels that may be chosen, each with its scopes: only what was asked for, and only what the server's policy allows. None where these have
 * nothing in common.
 */
export function levelsOf({
  scopes,
  policy,
}: Most): readonly { readonly access: Access; readonly scopes: readonly Scope[] }[] {
  const read = scopes.includes('forgejo:read');
  const write = scopes.includes('forgejo:write') && policy.access === 'write';
  return [
    ...(read ? [{ access: 'read' as const, scopes: ['forgejo:read'] as const }] : []),
    ...(write
      ? [{ access: 'write' as const, scopes: [...(read ? ['forgejo:read' as const] : []), 'forgejo:write' as const] }]
      : []),
  ];
}

/** A form's one value of a name; undefined where it is missing or came twice. */
export function valueOf(form: URLSearchParams, name: string): string | undefined {
  const [value, ...more] = form.getAll(name);
  return more.length === 0 ? value : undefined;
}

/**
 * Reads the fields that {@link choiceFields} draws. Never more than `most`: a level or a name beyond it is an error. 'Everything' is what the
 * policy lists now; what an administrator adds to it later was not consented to.
 */
export function readChoice(form: URLSearchParams, most: Most): ReadChoice {
  const input: ChoiceInput = {
    access: (valueOf(form, 'access') ?? '').slice(0, 10),
    reach: (valueOf(form, 'reach') ?? '').slice(0, 10),
    names: (valueOf(form, 'names') ?? '').slice(0, MAX_TEXT + 1),
  };
  const level = levelsOf(most).find(({ access }) => access === input.access);
  const access = level === undefined ? ['Choose whether it may only read, or read and change.'] : undefined;
  let choice: Choice | undefined;
  let reach: readonly string[] | undefined;
  let names: readonly string[] | undefined;
  if (input.reach === 'list') {
    const read = readNames(input.names, most.policy, most.forge);
    if ('choice' in read) choice = read.choice;
    else names = read.errors;
  } else if (input.reach !== 'all') {
    reach = ['Choose where it may do this.'];
  } else if (input.names.trim() !== '') {
    // Without :has() the list stays visible: whoever filled it in did not mean everything.
    reach = ['You named owners or repositories, but chose everything. Choose the list, or empty it.'];
  } else {
    choice = { owners: [...most.policy.owners], repositories: [...most.policy.repositories] };
  }
  if (level !== undefined && choice !== undefined) return { scopes: level.scopes, choice };
  const errors = {
    ...(access === undefined ? {} : { access }),
    ...(reach === undefined ? {} : { reach }),
    ...(names === undefined ? {} : { names }),
  };
  return { errors, input: { ...input, names: input.names.slice(0, MAX_TEXT) } };
}

/** The two groups of fields. `prefix` keeps their ids apart where a page has several forms. */
export function choiceFields(prefix: string, most: Most, input: ChoiceInput, errors: ChoiceErrors = {}): Html {
  const levels = levelsOf(most);
  const text = {
    read: { label: 'Read only', hint: 'See code, issues, pull requests and what else you can see.' },
    write: { label: 'Read and change', hint: 'Also create and change these things in your name.' },
  };
  const options = levels.map(({ access }) =>
    option(
      prefix,
      'access',
      access,
      input.access === access || levels.length === 1,
      text[access].label,
      text[access].hint,
    ),
  );
  const withheld =
    most.policy.access === 'read' && most.scopes.includes('forgejo:write')
      ? markup`<p class="soft">It asked to change things too. This server allows reading only.</p>`
      : undefined;
  const everything = isUnrestricted(most.policy)
    ? markup`Everything that your account at ${hostOf(most.forge)} can reach, new repositories too.`
    : markup`All that is listed below.`;
  return markup`<fieldset id="${prefix}access" aria-describedby="${prefix}access-errors">
<legend>What may it do?</legend>
${messages(`${prefix}access-errors`, errors.access)}
${options}
${withheld}
</fieldset>
<fieldset id="${prefix}reach" aria-describedby="${prefix}reach-errors">
<legend>Where?</legend>
${messages(`${prefix}reach-errors`, errors.reach)}
${option(prefix, 'reach', 'all', input.reach === 'all', isUnrestricted(most.policy) ? 'Everywhere' : 'Everywhere that this server allows', everything)}
${option(prefix, 'reach', 'list', input.reach === 'list', 'Only in these', 'Owners and repositories that you name. Whatever else you can reach stays out of its reach.')}
<div class="names">
<label for="${prefix}names">Owners and repositories, one a line</label>
<p class="soft" id="${prefix}names-hint"><code>acme</code> or <code>acme/*</code> for all of an owner’s, <code>acme/app</code> for one.</p>
${messages(`${prefix}names-errors`, errors.names)}
<textarea id="${prefix}names" name="names" rows="4" spellcheck="false" autocapitalize="none" autocomplete="off" maxlength="16384" aria-invalid="${errors.names === undefined ? 'false' : 'true'}" aria-describedby="${prefix}names-hint ${prefix}names-errors">
${input.names}</textarea>
</div>
${boundsOf(most.policy)}
</fieldset>`;
}

/** The server's own bounds: a short list at once, the rest of a long one to be opened. */
function boundsOf(policy: Most['policy']): Html {
  if (isUnrestricted(policy)) return markup``;
  const lines = linesOf(policy);
  if (lines.length === 0) return markup`<p class="note">This server allows no repository at all.</p>`;
  const rest = lines.slice(SHOWN_NAMES);
  const more =
    rest.length === 0 ? undefined : markup`<details><summary>${rest.length} more</summary>${list(rest)}</details>`;
  return markup`<div class="soft"><p>This server allows:</p>${list(lines.slice(0, SHOWN_NAMES))}${more}</div>`;
}

function list(lines: readonly string[]): Html {
  return markup`<ul>${lines.map((line) => markup`<li><code>${shown(line, 150)}</code></li>`)}</ul>`;
}

/** What was chosen, in words. */
export function describeChoice(choice: Choice | undefined, forge: string): Html {
  if (choice === undefined || isUnrestricted(choice)) return markup`Everything that you can reach at ${hostOf(forge)}`;
  const lines = linesOf(choice);
  if (lines.length === 0) return markup`Nothing`;
  const rest = lines.slice(SHOWN_NAMES);
  const more =
    rest.length === 0 ? undefined : markup`<details><summary>${rest.length} more</summary>${list(rest)}</details>`;
  return markup`${list(lines.slice(0, SHOWN_NAMES))}${more}`;
}

/** The messages of one field; empty, but there, where it has none, so that what points to it always points to something. */
export function messages(id: string, texts: readonly string[] | undefined): Html {
  return markup`<div id="${id}">${(texts ?? []).map((text) => markup`<p class="error">${text}</p>`)}</div>`;
}

/** What was wrong, at the top of a form: read out by screen readers, and leading to the fields. */
export function summaryOf(prefix: string, errors: ChoiceErrors): Html | undefined {
  const fields = (['access', 'reach', 'names'] as const).filter((field) => errors[field] !== undefined);
  if (fields.length === 0) return undefined;
  const items = fields.map((field) => {
    const [first = ''] = errors[field] ?? [];
    return markup`<li><a class="error" href="${`#${prefix}${field}`}">${first}</a></li>`;
  });
  return markup`<div class="wrong" role="alert"><p><strong>Nothing was saved yet. Please look at:</strong></p><ul>${items}</ul></div>`;
}

function option(
  prefix: string,
  name: 'access' | 'reach',
  value: string,
  on: boolean,
  label: string,
  hint: string | Html,
): Html {
  const id = `${prefix}${name}-${value}`;
  return markup`<div class="option"><input type="radio" id="${id}" name="${name}" value="${value}" ${flag('checked', on)} ${flag('required', true)}><label for="${id}">${label}<small>${hint}</small></label></div>`;
}
