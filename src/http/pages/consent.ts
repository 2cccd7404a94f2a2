/**
 * The consent page: who asks, where the answer goes, what may be done and where. It comes before the login at Forgejo (the gateway is one client
 * there for all of its own clients: without it, one stranger's link would be enough), and every word on it that a stranger chose is marked as such.
 */
import type { Choice, Scope } from '../../auth/context';
import {
  choiceFields,
  type ChoiceErrors,
  type ChoiceInput,
  levelsOf,
  messages,
  type Most,
  readChoice,
  summaryOf,
  valueOf,
} from './choice';
import { flag, type Html, isLinkable, markup } from './html';
import { type Page, renderPage } from './layout';
import { addressParts, hostOf, nameOf, shown } from './text';

/** What a client asks for, and what the server would let it have. */
export interface ConsentOffer extends Most {
  readonly client: {
    readonly id: string;
    readonly name: string;
    /**
     * Who vouches for the name. `configured`: the gateway's administrator. `document`: the host of the client's id, a URL (Client ID Metadata
     * Document). `registered`: nobody.
     */
    readonly trust: 'configured' | 'document' | 'registered';
    /** The client's home page, only where its host vouches for it. */
    readonly homePage?: string;
  };
  /** In full: the user decides by it. */
  readonly redirectUri: string;
  /** The server's name. */
  readonly server: string;
  /** Whether the answer may be remembered for this browser (RFC 8252, 8.6: not for clients that anybody can pass for). */
  readonly mayRemember: boolean;
}

/** Where the form goes. */
export interface FormTarget {
  /** A path of our own. */
  readonly action: string;
  /** Bound to this browser and this login; checked before anything is read from the form. */
  readonly csrf: string;
}

/** The name of the field with the CSRF token. */
export const CSRF_FIELD = 'csrf';

export interface ConsentInput extends ChoiceInput {
  readonly remember: boolean;
}

export interface ConsentErrors extends ChoiceErrors {
  readonly decision?: readonly string[];
}

/** What came of a form. */
export type ConsentAnswer =
  | { readonly decision: 'deny' }
  | {
      readonly decision: 'allow';
      readonly scopes: readonly Scope[];
      readonly choice: Choice;
      readonly remember: boolean;
    }
  | { readonly decision: 'again'; readonly input: ConsentInput; readonly errors: ConsentErrors };

/** Before anything was chosen: reading only, which can be widened later without a new login. */
const FIRST: ConsentInput = { access: 'read', reach: 'all', names: '', remember: false };

/** The page; with `retry` as the user left it, and what was wrong. 400 then. */
export function consentPage(
  offer: ConsentOffer,
  form: FormTarget,
  retry?: { readonly input: ConsentInput; readonly errors: ConsentErrors },
): Page {
  const { input, errors } = retry ?? { input: FIRST, errors: {} };
  const possible = levelsOf(offer).length > 0;
  const content = markup`${errors.decision === undefined ? undefined : markup`<div class="wrong" role="alert">${messages('decision-errors', errors.decision)}</div>`}
${summaryOf('', errors)}
<p><strong>“${nameOf(offer.client.name)}”</strong> wants to use <strong>${hostOf(offer.forge)}</strong> as you, through the server <code>${shown(offer.server, 63)}</code> of this gateway.</p>
${trustOf(offer)}
<h2>Where your answer goes</h2>
<p>If you allow this, you log in at <strong>${hostOf(offer.forge)}</strong>. Then your browser is sent to:</p>
<p class="place">${addressParts(offer.redirectUri)}</p>
${destinationOf(offer.redirectUri)}
<form method="post" action="${form.action}">
<input type="hidden" name="csrf" value="${form.csrf}">
${possible ? choiceFields('', offer, input, errors) : markup`<p class="note">It asks only to change things, and this server allows reading only. There is nothing that you could allow.</p>`}
${possible && offer.mayRemember ? rememberField(input.remember) : undefined}
${buttons(possible)}
</form>
<p class="soft">You can change or end this at any time on the page ‘Your connections’ of this gateway.</p>`;
  return renderPage({
    status: retry === undefined ? 200 : 400,
    // No word of the client's own: a title is believed.
    title: `Allow access to ${hostOf(offer.forge)}?`,
    content,
    formAction: ["'self'"],
  });
}

/**
 * Reads the POST of {@link consentPage}, whose CSRF token was checked. A denial needs nothing else to be right. Nothing beyond the offer is ever
 * taken: unknown and repeated fields are as good as missing, and 'remember' counts only where it was offered.
 */
export function readConsent(form: URLSearchParams, offer: ConsentOffer): ConsentAnswer {
  const decision = valueOf(form, 'decision');
  if (decision === 'deny') return { decision: 'deny' };
  const remember = offer.mayRemember && valueOf(form, 'remember') === 'yes';
  const read = readChoice(form, offer);
  if ('errors' in read || decision !== 'allow') {
    const input: ChoiceInput = 'errors' in read ? read.input : inputOf(form);
    const errors = 'errors' in read ? read.errors : {};
    return {
      decision: 'again',
      input: { ...input, remember },
      errors: decision === 'allow' ? errors : { ...errors, decision: ['Choose Deny or Allow.'] },
    };
  }
  return { decision: 'allow', ...read, remember };
}

/** The fields of a choice that was right. */
function inputOf(form: URLSearchParams): ChoiceInput {
  const value = (name: string): string => valueOf(form, name) ?? '';
  return { access: value('access'), reach: value('reach'), names: value('names') };
}

function trustOf({ client }: ConsentOffer): Html {
  switch (client.trust) {
    case 'configured':
      return markup`<p class="soft">The administrator of this gateway has set this client up.</p>`;
    case 'document': {
      const home =
        client.homePage?.startsWith('https://') === true && isLinkable(client.homePage)
          ? markup` <a href="${client.homePage}">Its home page</a>.`
          : undefined;
      return markup`<p class="soft">The name was given by <strong>${hostOf(client.id)}</strong>, which publishes this client.${home}</p>`;
    }
    case 'registered':
      return markup`<div class="note"><p><strong>Nobody has checked this name.</strong> The client gave it to itself. Allow it only if you have just started this login yourself, in a program that you trust.</p></div>`;
  }
}

function destinationOf(redirectUri: string): Html {
  const url = URL.parse(redirectUri);
  if (url?.protocol === 'http:') {
    return markup`<div class="note"><p><strong>That is a program on your own computer.</strong> Any program there can wait at this address, whatever it calls itself. If you did not just start this login, deny.</p></div>`;
  }
  if (url?.protocol !== 'https:') {
    return markup`<div class="note"><p><strong>That opens an app on your own device.</strong> Any app there can claim this kind of address, whatever it calls itself. If you did not just start this login, deny.</p></div>`;
  }
  return markup`<p class="soft">Whoever runs <strong>${hostOf(redirectUri)}</strong> can then act as you, within what you choose below.</p>`;
}

function rememberField(on: boolean): Html {
  return markup`<fieldset><legend>Next time</legend>
<div class="option"><input type="checkbox" id="remember" name="remember" value="yes" ${flag('checked', on)}><label for="remember">Do not ask me again in this browser<small>For the same client, address and choice only.</small></label></div></fieldset>`;
}

/** Deny comes first: it is what the Enter key presses in a form. */
function buttons(possible: boolean): Html {
  const allow = possible
    ? markup`<button class="main" type="submit" name="decision" value="allow">Allow</button>`
    : undefined;
  return markup`<div class="buttons"><button type="submit" name="decision" value="deny" formnovalidate>Deny</button>${allow}</div>`;
}
