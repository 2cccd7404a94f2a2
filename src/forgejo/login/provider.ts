/** The forge's OpenID metadata (OpenID Connect Discovery 1.0, 4), and one client configuration per application on top of it. */
import {
  allowInsecureRequests,
  ClientSecretPost,
  Configuration,
  customFetch,
  discovery,
  type ServerMetadata,
} from 'openid-client';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import { type BackChannel, invalid } from './back-channel';
import type { Application, ApplicationName } from './contract';

/** Milliseconds after which the metadata is read again; while the forge is away the old copy stays good. */
const TTL = 3_600_000;
/** Milliseconds between two tries to read it again. */
const RETRY = 30_000;

interface Known {
  readonly configurations: Readonly<Record<ApplicationName, Configuration>>;
  /** Monotonic milliseconds from which it is read again. */
  until: number;
}

export class Provider {
  readonly #channel: BackChannel;
  readonly #applications: Readonly<Record<ApplicationName, Application>>;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #known: Known | undefined;
  #asking: Promise<Known> | undefined;

  constructor(
    channel: BackChannel,
    applications: Readonly<Record<ApplicationName, Application>>,
    clock: Clock,
    timeoutMs: number,
  ) {
    this.#channel = channel;
    this.#applications = applications;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * The configuration for an application.
   * @throws AppError `UPSTREAM_*` while the metadata has never been read, `CONFIG_INVALID` where it belongs to another issuer.
   */
  async configuration(application: ApplicationName): Promise<Configuration> {
    const known = this.#known;
    if (known !== undefined && known.until > this.#clock.now()) return known.configurations[application];
    const asked = (this.#asking ??= this.#discover().finally(() => (this.#asking = undefined)));
    if (known === undefined) return (await asked).configurations[application];
    known.until = this.#clock.now() + RETRY;
    asked.catch(() => undefined); // the old copy stays good
    return known.configurations[application];
  }

  async #discover(): Promise<Known> {
    const metadata = await this.#read();
    const known = {
      configurations: { read: this.#client(metadata, 'read'), write: this.#client(metadata, 'write') },
      until: this.#clock.now() + TTL,
    };
    this.#known = known;
    return known;
  }

  /** Naming the document itself leaves the issuer to be checked here, where Forgejo's trailing slash is known. */
  async #read(): Promise<ServerMetadata> {
    const channel = this.#channel;
    let metadata: ServerMetadata;
    try {
      const found = await discovery(
        new URL(`${channel.apiUrl}/.well-known/openid-configuration`),
        this.#applications.read.clientId,
        undefined,
        ClientSecretPost(this.#applications.read.clientSecret),
        {
          [customFetch]: channel.fetch,
          execute: channel.insecure ? [allowInsecureRequests] : [],
          timeout: this.#timeoutMs / 1000,
        },
      );
      metadata = found.serverMetadata();
    } catch (thrown) {
      const cause = thrown instanceof Error ? thrown.cause : undefined;
      throw cause instanceof AppError ? cause : invalid('discovery: no OpenID metadata');
    }
    if (metadata.issuer.replace(/\/+$/, '') !== channel.url)
      throw new AppError(
        'CONFIG_INVALID',
        'Forgejo names another public URL than the configuration does. Tell your administrator.',
        {
          detail: `discovery: the issuer is ${JSON.stringify(metadata.issuer.slice(0, 200))}, configured is ${channel.url}`,
        },
      );
    if (!metadata.token_endpoint || !metadata.authorization_endpoint) throw invalid('discovery: endpoints are missing');
    if (!below(metadata.authorization_endpoint, channel.url))
      throw invalid('discovery: the authorization endpoint is not below the public URL');
    return metadata;
  }

  /** ClientSecretBasic fails at Forgejo: it does not decode what RFC 6749, 2.3.1 makes clients encode. */
  #client(metadata: ServerMetadata, application: ApplicationName): Configuration {
    const { clientId, clientSecret } = this.#applications[application];
    const configuration = new Configuration(metadata, clientId, undefined, ClientSecretPost(clientSecret));
    configuration[customFetch] = this.#channel.fetch;
    configuration.timeout = this.#timeoutMs / 1000;
    if (this.#channel.insecure) allowInsecureRequests(configuration);
    return configuration;
  }
}

/** A page that people are sent to: never one at another host. */
function below(endpoint: string, base: string): boolean {
  return URL.canParse(endpoint) && new URL(endpoint).href.startsWith(`${base}/`);
}
