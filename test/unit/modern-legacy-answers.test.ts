import { expect } from 'chai';
import type { JsonRpcRequest, JsonRpcSuccess } from '../../src/bridge/contract';
import { translated } from '../../src/bridge/modern/legacy-answers';
import { Running } from '../../src/bridge/modern/running';

const META = 'io.modelcontextprotocol/';

describe('an answer of a child of the old era', () => {
  const request: JsonRpcRequest = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'work' } };
  const serverInfo = { name: 'child', version: '1' };
  const context = { client: { capabilities: {}, info: undefined }, serverInfo };

  it('is whole even where the child says that it asks for something, so that no state but ours reaches a client', () => {
    const result = { resultType: 'input_required', requestState: 'mine', n: 1 };
    const message: JsonRpcSuccess = { jsonrpc: '2.0', id: 'i0.1.n7', result };
    const json = JSON.stringify(message).replace('"n":1', '"n":1.50');
    const [answer, text] = translated(context, new Running(request), { message, json, ours: undefined }, request);
    expect(answer).to.deep.include({ jsonrpc: '2.0', id: 7 });
    expect(JSON.parse(text).result).to.deep.equal({
      ...result,
      n: 1.5,
      resultType: 'complete',
      _meta: { [`${META}serverInfo`]: serverInfo },
    });
    expect(text).to.contain('"n":1.50');
  });
});
