/** What MCP 2026-07-28 asks of error codes ('Error Codes'). */
import { expect } from 'chai';
import { ERRORS } from '../../src/errors';
import { modernError } from '../../src/bridge/modern/results';
import { cites } from '../requirements';

/** JSON-RPC's own. */
const STANDARD = [-32700, -32600, -32601, -32602, -32603];
/** -32000: JSON-RPC 2.0, 5.1. -32001: the SDKs' for a session that is not there and a request that timed out. Both older than the policy. */
const OLDER_THAN_THE_POLICY = [-32000, -32001];
const DEFINED = [-32020, -32021, -32022];

describe('error codes', () => {
  it('of the gateway are those that are defined, and none that it made up', () => {
    cites('2026-07-28/basic/15', '2026-07-28/basic/18', '2024-11-05/messages/8');
    for (const [name, { rpc }] of Object.entries(ERRORS)) {
      expect([...STANDARD, ...OLDER_THAN_THE_POLICY, ...DEFINED], name).to.include(rpc);
    }
    const of = (rpc: number): string[] =>
      Object.entries(ERRORS)
        .filter(([, error]) => error.rpc === rpc)
        .map(([name]) => name);
    expect(of(-32020)).to.deep.equal(['HEADER_MISMATCH']);
    expect(of(-32022)).to.deep.equal(['VERSION_UNSUPPORTED']);
  });

  it('of a child never reach a client of 2026-07-28 where they are of earlier revisions or nobody defined them', () => {
    cites('2026-07-28/basic/18', '2026-07-28/basic/19');
    const codes = Array.from({ length: 100 }, (_, i) => -32000 - i);
    for (const code of codes) {
      const sent = modernError({ code, message: 'm' }).code;
      expect(sent, String(code)).to.satisfy((is: number) => is > -32020 || is < -32099 || DEFINED.includes(is));
      expect(sent).to.not.be.oneOf([-32002, -32042]);
    }
  });

  it('of the part without meaning pass as the child wrote them, but -32002 [2026-07-28/basic/17]', () => {
    for (let code = -32000; code >= -32019; code -= 1) {
      const error = { code, message: 'm', data: { a: 1 } };
      expect(modernError(error)).to.deep.equal(code === -32002 ? { ...error, code: -32602 } : error);
    }
  });
});
