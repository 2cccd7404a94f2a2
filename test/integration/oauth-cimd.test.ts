/** Stock clients that have a client ID metadata document and know the gateway's URL only: no registration, and the consent page says whose document it is. */
import { expect } from 'chai';
import { CLIENT_NAME, type CimdLogins, cimdLogins, DOCUMENT_HOST, SDKS } from '../support/cimd-logins';

/** What a page says, without its tags. */
const textOf = (html: string): string => html.replace(/<[^>]*>/g, '');

describe('a stock client gets from the bare URL to the private file of its user, by its client ID metadata document', function () {
  this.timeout(120_000);
  let logins: CimdLogins;

  before(async () => {
    logins = await cimdLogins();
  });

  after(async () => logins?.stop());

  for (const sdk of SDKS) {
    it(sdk, async () => {
      const login = await logins.login(sdk);
      expect(login.file).to.contain(login.secret);
      expect(login.clientId, 'it was not registered').to.equal(login.document);
      expect(login.fetched, 'fetched once and kept').to.deep.equal([new URL(login.document).pathname]);
      expect(login.consentPage).to.contain(CLIENT_NAME);
      expect(textOf(login.consentPage)).to.contain(`The name was given by ${DOCUMENT_HOST}`);
      expect(login.connectionsPage).to.contain(CLIENT_NAME).and.contain('Sessions that run now');
    });
  }
});
