/** 2024-11-05, transports. */
import { because, keeps, must, ours, should, type Page } from './model';

export const pages: readonly Page[] = [
  {
    source: 'basic/transports.mdx',
    sha256: '74c4ccbaca8550afea09e69968586f415f9e68688c5e78337d265f5c62cad564',
    musts: 8,
    shoulds: 4,
    requirements: {
      '2024-11-05/transports/1': should(
        'client',
        'intro',
        'A client can do stdio where that is possible',
        because.client,
      ),
      '2024-11-05/transports/2': must('both', 'stdio', 'On a pipe a message is one line with no newline inside', ours),
      '2024-11-05/transports/3': must('server', 'stdio', 'A server prints messages only to its stdout', keeps.stdout),
      '2024-11-05/transports/4': must(
        'client',
        'stdio',
        'Nothing but messages is written to the stdin of a child',
        ours,
      ),
      '2024-11-05/transports/5': must(
        'server',
        'security-warning',
        'The Origin of every connection is checked, so that a name that is rebound lets no page in',
        ours,
      ),
      '2024-11-05/transports/6': should(
        'server',
        'security-warning',
        'A server on a desk listens on the loopback address only',
        ours,
      ),
      '2024-11-05/transports/7': should(
        'server',
        'security-warning',
        'Whoever connects has to prove who they are',
        ours,
      ),
      '2024-11-05/transports/8': must(
        'server',
        'security-warning',
        'The old transport has two endpoints: a stream that a client reads, and a place to which it posts',
        ours,
      ),
      '2024-11-05/transports/9': must(
        'server',
        'security-warning',
        'The old stream begins with an endpoint event that names where to post',
        ours,
      ),
      '2024-11-05/transports/10': must(
        'client',
        'security-warning',
        'A client of the old transport posts all its messages to that place',
        because.client,
      ),
      '2024-11-05/transports/11': must(
        'author',
        'custom-transports',
        "A transport of one's own keeps the format of messages and the lifecycle",
        because.otherTransport,
      ),
      '2024-11-05/transports/12': should(
        'author',
        'custom-transports',
        "A transport of one's own is described for others",
        because.otherTransport,
      ),
    },
  },
];
