/** The run's install with so many gateways, for one `describe`, and the clients of its tests. */
import { installed, type Installed } from './installed';
import type { McpClient } from './mcp';

export class Gateways {
  readonly clients: McpClient[] = [];
  #app: Installed | undefined;

  get app(): Installed {
    if (this.#app === undefined) throw new Error('only within a test');
    return this.#app;
  }

  /** A client with a session, which ends with the test. */
  async open(user = 'alice', server = 'fixture'): Promise<McpClient> {
    const client = await this.app.client(user, server);
    this.clients.push(client);
    await client.initialize(150_000);
    return client;
  }

  /** Registers the hooks of a `describe`; to be called within it. */
  static use(replicas: number): Gateways {
    const gateways = new Gateways();
    const { clients } = gateways;
    before(async function () {
      this.timeout(900_000);
      gateways.#app = await installed();
      await gateways.app.scaleGateways(replicas);
    });
    afterEach(async function () {
      this.timeout(120_000);
      await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
      await Promise.all(clients.splice(0).map((client) => client.close()));
    });
    // The tests of the other files look into the one gateway that there is.
    after(async function () {
      this.timeout(300_000);
      await gateways.#app?.scaleGateways(1);
    });
    return gateways;
  }
}
