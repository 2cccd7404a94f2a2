/** 2025-06-18, client. */
import { because, keeps, must, sameMust, sameShould, should, type Page } from './model';

export const pages: readonly Page[] = [
  {
    source: 'client/elicitation.mdx',
    sha256: 'e10ed6f4bf080e305c53c6ff86c77e6b6c39ca3014bdd43e6345095053847dbe',
    musts: 3,
    shoulds: 7,
    requirements: {
      '2025-06-18/elicitation/1': must(
        'server',
        'user-interaction-model',
        'A server asks for nothing sensitive',
        keeps.questions,
      ),
      '2025-06-18/elicitation/2': should(
        'host',
        'user-interaction-model',
        'A program shows which server asks, and lets the user change, decline or cancel',
        because.interface,
      ),
      '2025-06-18/elicitation/3': must(
        'client',
        'capabilities',
        'A client that can ask its user declares it',
        keeps.clientCapabilities,
      ),
      '2025-06-18/elicitation/4': sameMust('2025-06-18/elicitation/1', 'security-considerations'),
      '2025-06-18/elicitation/5': should(
        'client',
        'security-considerations',
        "A client has the user's word",
        because.interface,
      ),
      '2025-06-18/elicitation/6': should(
        'both',
        'security-considerations',
        'Answers are checked against the schema',
        keeps.questions,
      ),
      '2025-06-18/elicitation/7': should(
        'client',
        'security-considerations',
        'A client shows which server asks',
        because.interface,
      ),
      '2025-06-18/elicitation/8': should(
        'client',
        'security-considerations',
        'A user can always decline',
        because.interface,
      ),
      '2025-06-18/elicitation/9': should(
        'client',
        'security-considerations',
        'A client limits how often a user is asked',
        because.interface,
      ),
      '2025-06-18/elicitation/10': should(
        'client',
        'security-considerations',
        'A client shows what is asked and why',
        because.interface,
      ),
    },
  },
  {
    source: 'client/roots.mdx',
    sha256: '12a53dd812d95d032e3c8fe657dba79ca00c8697d9b083484283bd0f268be004',
    musts: 4,
    shoulds: 4,
    requirements: {
      '2025-06-18/roots/1': sameMust('2024-11-05/roots/1', 'capabilities'),
      '2025-06-18/roots/2': sameMust('2024-11-05/roots/2', 'root-list-changes'),
      '2025-06-18/roots/3': sameMust('2024-11-05/roots/3', 'root'),
      '2025-06-18/roots/4': sameShould('2024-11-05/roots/4', 'error-handling'),
      '2025-06-18/roots/5': sameMust('2024-11-05/roots/5', 'security-considerations'),
      '2025-06-18/roots/6': sameShould('2024-11-05/roots/6', 'security-considerations'),
      '2025-06-18/roots/7': sameShould('2024-11-05/roots/7', 'implementation-guidelines'),
      '2025-06-18/roots/8': sameShould('2024-11-05/roots/8', 'implementation-guidelines'),
    },
  },
  {
    source: 'client/sampling.mdx',
    sha256: 'd21b1917958902a551fd521fbffd0ba87b28b4567068e7a5db88e0d2c503e08d',
    musts: 2,
    shoulds: 7,
    requirements: {
      '2025-06-18/sampling/1': sameShould('2024-11-05/sampling/1', 'user-interaction-model'),
      '2025-06-18/sampling/2': sameShould('2024-11-05/sampling/2', 'user-interaction-model'),
      '2025-06-18/sampling/3': sameMust('2024-11-05/sampling/3', 'capabilities'),
      '2025-06-18/sampling/4': sameShould('2024-11-05/sampling/4', 'error-handling'),
      '2025-06-18/sampling/5': sameShould('2024-11-05/sampling/5', 'security-considerations'),
      '2025-06-18/sampling/6': sameShould('2024-11-05/sampling/6', 'security-considerations'),
      '2025-06-18/sampling/7': sameShould('2024-11-05/sampling/7', 'security-considerations'),
      '2025-06-18/sampling/8': sameShould('2024-11-05/sampling/8', 'security-considerations'),
      '2025-06-18/sampling/9': sameMust('2024-11-05/sampling/9', 'security-considerations'),
    },
  },
];
