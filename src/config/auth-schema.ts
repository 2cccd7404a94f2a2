/** The section `auth`: how clients say who they are. */
import { z } from 'zod';
import { boolean, choice, duration, integer, list, network, path, scheme, text } from './fields';

const client = z
  .strictObject(
    { clientId: text(), name: text(), redirectUris: list(text()).min(1, { error: 'must name at least one' }) },
    { error: 'must be a map' },
  )
  .meta({ 'x-type': 'map' });

const oauth = z.strictObject({
  keyFile: path()
    .optional()
    .describe(
      'File with the master keys that logins are encrypted and signed with. Default: `<dataDir>/oauth.key`, made at first start. All gateways of an install need the same.',
    ),
  accessTokenLifetime: duration({ min: 1, max: 3600 })
    .prefault('10m')
    .describe('How long an access token is valid. Clients get a new one by themselves.'),
  refreshTokenLifetime: duration({ min: 1 })
    .prefault('30d')
    .describe('A client that has not been used for this long must log in again.'),
  grantLifetime: duration({ min: 1 })
    .prefault('180d')
    .describe('A client must log in again this long after its login.'),
  loginTimeout: duration({ min: 1, max: 3600 })
    .prefault('10m')
    .describe('Time for a user to log in at Forgejo and to consent.'),
  refreshOverlap: duration({ max: 300 })
    .prefault('30s')
    .describe('A refresh token that was used is taken again for this long, because clients race with themselves.'),
  signingKeyLifetime: duration({ min: 1 })
    .prefault('30d')
    .describe('Age at which the key that access tokens are signed with is replaced by a new one.'),
  probeInterval: duration({ min: 1, max: 60 })
    .prefault('30s')
    .describe(
      'How often Forgejo is asked whether users with live sessions may still use it: an account that was blocked there shows nowhere else.',
    ),
  registration: boolean().prefault(true).describe('Whether clients may register themselves (RFC 7591).'),
  clientDocuments: boolean()
    .prefault(true)
    .describe('Whether a client id may be the URL of a document that describes the client.'),
  refusedNetworks: list(network())
    .prefault([])
    .describe(
      "Networks that such documents are never fetched from, besides all that are not the public Internet: a cluster's pods, Services and nodes where those have public addresses.",
    ),
  redirectSchemes: list(scheme())
    .prefault([
      'claude',
      'cursor',
      'goose',
      'jetbrains',
      'kiro',
      'raycast',
      'trae',
      'vscode',
      'vscode-insiders',
      'vscodium',
      'warp',
      'windsurf',
      'zed',
    ])
    .describe(
      'Private schemes that clients may redirect to, besides https, loopback addresses and reversed domain names such as `com.example.app`; `*` for any.',
    ),
  clients: list(client)
    .prefault([])
    .describe(
      'Clients that need no registration: maps with `clientId`, `name` (as users see it) and `redirectUris`. All clients are public ones, with PKCE and without a secret.',
    ),
  maxLogins: integer({ min: 1 }).prefault(1000).describe('Logins that may be under way at once; then 503.'),
  connectionsLifetime: duration({ min: 1, max: 3600 })
    .prefault('15m')
    .describe("How long the page 'your connections' can be used after its login."),
});

export const auth = z.strictObject({
  mode: choice('oauth', 'bearer')
    .prefault('oauth')
    .describe(
      '`oauth`: users log in at Forgejo with a browser; `bearer`: clients send a Forgejo access token, for scripts and CI.',
    ),
  oauth: oauth.prefault({}),
  keyFile: path()
    .optional()
    .describe(
      "`bearer`: file with the key that tokens' fingerprints are made with. Default: `<dataDir>/auth.key`, made at first start.",
    ),
  cacheTime: duration({ max: 600 })
    .prefault('60s')
    .describe('`bearer`: a token that Forgejo accepted is not asked about again for this long.'),
  refusedCacheTime: duration({ max: 600 }).prefault('5s').describe('`bearer`: the same for a token that it refused.'),
  timeout: duration({ min: 0.1 })
    .prefault('10s')
    .describe('Time for Forgejo to answer about a token or a login; then 503.'),
  maxCachedTokens: integer({ min: 1 }).prefault(10_000).describe('`bearer`: tokens whose check is remembered.'),
  failureBurst: integer({ min: 1 })
    .prefault(60)
    .describe('`bearer`: wrong tokens that one client address may send at once; then 503.'),
  failuresPerMinute: integer({ min: 1 }).prefault(60).describe('`bearer`: wrong tokens a minute that are forgiven.'),
});
