/** 2024-11-05, schema. */
import { because, keeps, must, ours, sameMust, should, type Page } from './model';

export const pages: readonly Page[] = [
  {
    source: 'schema.ts',
    sha256: 'be016e68912565f38ebc2e7a4b69d5233cea90e5d958cbf0157a3095fff037e1',
    musts: 4,
    shoulds: 6,
    requirements: {
      '2024-11-05/schema/1': should(
        'both',
        'JSONRPCError.message',
        'The message of an error is one short sentence',
        ours,
      ),
      '2024-11-05/schema/2': should('both', 'CancelledNotification', 'A cancelled request may be over already', ours),
      '2024-11-05/schema/3': should(
        'both',
        'CancelledNotification',
        'Work for a cancelled request ends',
        keeps.cancellation,
      ),
      '2024-11-05/schema/4': sameMust('2024-11-05/cancellation/2', 'CancelledNotification'),
      '2024-11-05/schema/5': sameMust('2024-11-05/cancellation/1', 'CancelledNotification.requestId'),
      '2024-11-05/schema/6': must(
        'client',
        'InitializeResult.protocolVersion',
        "A client that cannot take the server's version disconnects",
        because.client,
      ),
      '2024-11-05/schema/7': should(
        'server',
        'CallToolResult',
        'A fault of a tool is a result with isError, not an error of the protocol',
        keeps.results,
      ),
      '2024-11-05/schema/8': must(
        'client',
        'ModelPreferences.hints',
        'Hints about models are tried in their order',
        because.model,
      ),
      '2024-11-05/schema/9': should('client', 'ModelPreferences.hints', 'Hints come before priorities', because.model),
      '2024-11-05/schema/10': should('client', 'ModelHint.name', "A hint is a part of a model's name", because.model),
    },
  },
];
