/** 2024-11-05, client. */
import { because, keeps, must, should, type Page } from './model';

export const pages: readonly Page[] = [
  {
    source: 'client/roots.mdx',
    sha256: 'fff029896f57c3415fbc3bb15da590534dbb7f3d6441ad4316c431c0b4dd15dd',
    musts: 4,
    shoulds: 4,
    requirements: {
      '2024-11-05/roots/1': must(
        'client',
        'capabilities',
        'A client with roots declares them',
        keeps.clientCapabilities,
      ),
      '2024-11-05/roots/2': must(
        'client',
        'root-list-changes',
        'A client that promised to tell of changed roots tells of them',
        keeps.params,
      ),
      '2024-11-05/roots/3': must('client', 'root', 'A root is a file URI', keeps.params),
      '2024-11-05/roots/4': should(
        'client',
        'error-handling',
        'Errors about roots are JSON-RPC errors with the usual codes',
        keeps.params,
      ),
      '2024-11-05/roots/5': must(
        'client',
        'security-considerations',
        'A client shows roots that the user may open only, checks their URIs and keeps watch over them',
        because.interface,
      ),
      '2024-11-05/roots/6': should(
        'server',
        'security-considerations',
        'A server keeps within the roots that it was given, also when they go away',
        keeps.questions,
      ),
      '2024-11-05/roots/7': should(
        'client',
        'implementation-guidelines',
        'A client asks the user before it shows roots, and lets them be managed',
        because.interface,
      ),
      '2024-11-05/roots/8': should(
        'server',
        'implementation-guidelines',
        'A server looks for the capability first, follows changes and keeps within the roots',
        keeps.questions,
      ),
    },
  },
  {
    source: 'client/sampling.mdx',
    sha256: 'f28a05808f08c855f59467731210e4aa9ac6ca452cf2429670666456d0da9dc8',
    musts: 2,
    shoulds: 7,
    requirements: {
      '2024-11-05/sampling/1': should(
        'host',
        'user-interaction-model',
        'A human can refuse each sampling',
        because.interface,
      ),
      '2024-11-05/sampling/2': should(
        'host',
        'user-interaction-model',
        'A program lets the user see and change prompts and what came of them',
        because.interface,
      ),
      '2024-11-05/sampling/3': must(
        'client',
        'capabilities',
        'A client that samples declares it',
        keeps.clientCapabilities,
      ),
      '2024-11-05/sampling/4': should(
        'client',
        'error-handling',
        'Errors of sampling are told with the usual codes',
        keeps.params,
      ),
      '2024-11-05/sampling/5': should(
        'client',
        'security-considerations',
        "A client has the user's word for sampling",
        because.interface,
      ),
      '2024-11-05/sampling/6': should(
        'both',
        'security-considerations',
        'Contents of sampling are checked by both',
        keeps.questions,
      ),
      '2024-11-05/sampling/7': should(
        'client',
        'security-considerations',
        'A client follows hints about models',
        because.model,
      ),
      '2024-11-05/sampling/8': should(
        'client',
        'security-considerations',
        'A client limits how often it samples',
        because.client,
      ),
      '2024-11-05/sampling/9': must(
        'both',
        'security-considerations',
        'What is sensitive in sampling is handled with care',
        keeps.questions,
      ),
    },
  },
];
