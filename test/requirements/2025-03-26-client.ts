/** 2025-03-26, client. */
import { sameMust, sameShould, type Page } from './model';

export const pages: readonly Page[] = [
  {
    source: 'client/roots.mdx',
    sha256: '037dd3786239c57c540311d05112572d0781cb88f2d7c3f89b702864ede1473c',
    musts: 4,
    shoulds: 4,
    requirements: {
      '2025-03-26/roots/1': sameMust('2024-11-05/roots/1', 'capabilities'),
      '2025-03-26/roots/2': sameMust('2024-11-05/roots/2', 'root-list-changes'),
      '2025-03-26/roots/3': sameMust('2024-11-05/roots/3', 'root'),
      '2025-03-26/roots/4': sameShould('2024-11-05/roots/4', 'error-handling'),
      '2025-03-26/roots/5': sameMust('2024-11-05/roots/5', 'security-considerations'),
      '2025-03-26/roots/6': sameShould('2024-11-05/roots/6', 'security-considerations'),
      '2025-03-26/roots/7': sameShould('2024-11-05/roots/7', 'implementation-guidelines'),
      '2025-03-26/roots/8': sameShould('2024-11-05/roots/8', 'implementation-guidelines'),
    },
  },
  {
    source: 'client/sampling.mdx',
    sha256: '9f1f58f46543379938d26550a59daa629aa167d1b93782718a3e6a03eef71f6d',
    musts: 2,
    shoulds: 7,
    requirements: {
      '2025-03-26/sampling/1': sameShould('2024-11-05/sampling/1', 'user-interaction-model'),
      '2025-03-26/sampling/2': sameShould('2024-11-05/sampling/2', 'user-interaction-model'),
      '2025-03-26/sampling/3': sameMust('2024-11-05/sampling/3', 'capabilities'),
      '2025-03-26/sampling/4': sameShould('2024-11-05/sampling/4', 'error-handling'),
      '2025-03-26/sampling/5': sameShould('2024-11-05/sampling/5', 'security-considerations'),
      '2025-03-26/sampling/6': sameShould('2024-11-05/sampling/6', 'security-considerations'),
      '2025-03-26/sampling/7': sameShould('2024-11-05/sampling/7', 'security-considerations'),
      '2025-03-26/sampling/8': sameShould('2024-11-05/sampling/8', 'security-considerations'),
      '2025-03-26/sampling/9': sameMust('2024-11-05/sampling/9', 'security-considerations'),
    },
  },
];
