/** 2025-03-26, schema. */
import { sameMust, sameShould, type Page } from './model';

export const pages: readonly Page[] = [
  {
    source: 'schema.ts',
    sha256: '5ba5234ddeb87aea1508cfbefd7e6125655b5bb51af0ff8abad51076be71fb14',
    musts: 4,
    shoulds: 6,
    requirements: {
      '2025-03-26/schema/1': sameShould('2024-11-05/schema/1', 'JSONRPCError.message'),
      '2025-03-26/schema/2': sameShould('2024-11-05/schema/2', 'CancelledNotification'),
      '2025-03-26/schema/3': sameShould('2024-11-05/schema/3', 'CancelledNotification'),
      '2025-03-26/schema/4': sameMust('2024-11-05/cancellation/2', 'CancelledNotification'),
      '2025-03-26/schema/5': sameMust('2024-11-05/cancellation/1', 'CancelledNotification.requestId'),
      '2025-03-26/schema/6': sameMust('2024-11-05/schema/6', 'InitializeResult.protocolVersion'),
      '2025-03-26/schema/7': sameShould('2024-11-05/schema/7', 'CallToolResult'),
      '2025-03-26/schema/8': sameMust('2024-11-05/schema/8', 'ModelPreferences.hints'),
      '2025-03-26/schema/9': sameShould('2024-11-05/schema/9', 'ModelPreferences.hints'),
      '2025-03-26/schema/10': sameShould('2024-11-05/schema/10', 'ModelHint.name'),
    },
  },
];
