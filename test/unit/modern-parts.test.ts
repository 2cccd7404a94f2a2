import { expect } from 'chai';
import fc from 'fast-check';
import { canonical, digestOf } from '../../src/bridge/modern/canonical';
import { isInputResponse, missingFor } from '../../src/bridge/modern/capabilities';
import { legacyMeta, metaOf, severityOf } from '../../src/bridge/modern/meta';
import { readFilter } from '../../src/bridge/modern/modern-watch';
import { completed, completedAnswer, exactError } from '../../src/bridge/modern/results';
import { Running } from '../../src/bridge/modern/running';
import type { StateSeal } from '../../src/bridge/modern/state';
import { stateSeal, stateSealAt } from '../support/state-seal';
import { urlQuestions } from '../../src/bridge/modern/url-elicitation';
import { parseExact } from '../../src/bridge/json';
import type { JsonRpcSuccess } from '../../src/bridge/contract';
import { FakeClock } from '../support/fake-link';
import { modernRequest, toolCall } from '../support/modern-bench';

describe('the parts of the stateless era', () => {
  describe('request states', () => {
    const key = (byte: number): Buffer => Buffer.alloc(32, byte);
    const request = toolCall(1, 'work', { arguments: { a: 1, b: [2] } });

    it('open for the same request however its members are ordered, and for no other', () => {
      const seal = stateSeal(new FakeClock(), key(1));
      const state = seal.seal('alice', request, 60, { call: 'c', round: 2 });
      const again = modernRequest(9, 'tools/call', { requestState: state, arguments: { b: [2], a: 1 }, name: 'work' });
      expect(seal.open('alice', again, state)).to.deep.equal({ call: 'c', round: 2 });
      for (const other of [
        toolCall(1, 'work', { arguments: { a: 1, b: [3] } }),
        toolCall(1, 'other', { arguments: { a: 1, b: [2] } }),
        modernRequest(1, 'prompts/get', { name: 'work', arguments: { a: 1, b: [2] } }),
        { jsonrpc: '2.0', id: 1, method: 'tools/call' } as const,
      ]) {
        expect(seal.open('alice', other, state)).to.equal(undefined);
      }
      expect(seal.open('bob', request, state)).to.equal(undefined);
    });

    it('open until their time is over', () => {
      const clock = new FakeClock();
      const seal = stateSeal(clock, key(1));
      const state = seal.seal('alice', request, 60, { child: 'x' });
      clock.advance(60_000);
      expect(seal.open('alice', request, state)).to.deep.equal({ child: 'x' });
      clock.advance(1);
      expect(seal.open('alice', request, state)).to.equal(undefined);
    });

    it('open with any key, and are sealed with the first', () => {
      const clock = new FakeClock();
      const old = stateSeal(clock, key(1)).seal('alice', request, 60, { call: 'c' });
      expect(stateSeal(clock, key(2), key(1)).open('alice', request, old)).to.deep.equal({ call: 'c' });
      expect(stateSeal(clock, key(2)).open('alice', request, old)).to.equal(undefined);
    });

    it('say in which process the child asked, to every one with the same keys, and to nobody else', () => {
      const [one, other] = ['one', 'other'].map((at) => stateSealAt(at, key(1))) as [StateSeal, StateSeal];
      const state = one.seal('alice', request, 60, { call: 'c' });
      for (const seal of [one, other])
        expect(seal.open('alice', request, state)).to.deep.equal({ call: 'c', at: 'one' });
      expect(Buffer.from(state, 'base64url').toString('latin1')).to.not.include('one');
      const former = stateSeal(new FakeClock(), key(1)).seal('alice', request, 1e9, { call: 'c' });
      expect(one.open('alice', request, former), 'from before there were several').to.deep.equal({ call: 'c' });
    });

    it('never open when a character was changed, cut or added', () => {
      const seal = stateSeal(new FakeClock(), key(1));
      const state = seal.seal('alice', request, 60, { call: 'c' });
      fc.assert(
        fc.property(fc.nat(state.length - 1), fc.constantFrom(...'Aa0_-.= +/'), fc.nat(2), (at, character, what) => {
          const changed = state.slice(0, at) + (what === 0 ? '' : character) + state.slice(what === 1 ? at : at + 1);
          fc.pre(changed !== state);
          expect(seal.open('alice', request, changed)).to.equal(undefined);
        }),
        { numRuns: 300 },
      );
      for (const text of ['', 'AA', 'A'.repeat(1_048_577)])
        expect(seal.open('alice', request, text)).to.equal(undefined);
    });
  });

  describe('canonical texts', () => {
    it('are equal for values that differ in the order of members alone, and keep numbers as they are spelt', () => {
      expect(canonical(parseExact('{"b":[1.0,null,{"y":1,"x":2}],"a":12345678901234567890}'))).to.equal(
        '{"a":12345678901234567890,"b":[1.0,null,{"x":2,"y":1}]}',
      );
      expect(canonical({ a: undefined, b: [undefined] })).to.equal('{"b":[null]}');
      expect(digestOf({ a: 1 }))
        .to.have.length(43)
        .and.not.equal(digestOf({ a: '1' }));
    });

    it('read as the same value', () => {
      fc.assert(
        fc.property(fc.jsonValue(), (value) => {
          expect(JSON.parse(canonical(value))).to.deep.equal(JSON.parse(JSON.stringify(value)));
        }),
      );
    });
  });

  it('capabilities tell what is missing for a question', () => {
    for (const [capabilities, method, params, missing] of [
      [{}, 'roots/list', {}, { roots: {} }],
      [{ roots: {} }, 'roots/list', {}, undefined],
      [{}, 'sampling/createMessage', {}, { sampling: {} }],
      [{ sampling: {} }, 'sampling/createMessage', {}, undefined],
      [{ sampling: {} }, 'sampling/createMessage', { tools: [] }, { sampling: { tools: {} } }],
      [{ sampling: { tools: {} } }, 'sampling/createMessage', { tools: [] }, undefined],
      [{}, 'elicitation/create', {}, { elicitation: {} }],
      [{}, 'elicitation/create', { mode: 'url' }, { elicitation: { url: {} } }],
      [{ elicitation: {} }, 'elicitation/create', { mode: 'form' }, undefined],
      [{ elicitation: {} }, 'elicitation/create', { mode: 'url' }, { elicitation: { url: {} } }],
      [{ elicitation: { url: {} } }, 'elicitation/create', {}, { elicitation: { form: {} } }],
      [{ elicitation: { url: {} } }, 'elicitation/create', { mode: 'url' }, undefined],
    ] as const) {
      expect(missingFor(capabilities, method, params), JSON.stringify([capabilities, method, params])).to.deep.equal(
        missing,
      );
    }
    const running = new Running({ method: 'tools/list' });
    running.lacks({ elicitation: { url: {} }, odd: 1 });
    running.lacks({ elicitation: { form: {} } });
    expect(running.missing).to.deep.equal({ elicitation: { url: {}, form: {} }, odd: {} });
  });

  it('answers of clients are told by their shape', () => {
    for (const [method, value, good] of [
      ['elicitation/create', { action: 'accept', content: {} }, true],
      ['elicitation/create', { action: 'decline' }, true],
      ['elicitation/create', { action: 'cancel' }, true],
      ['elicitation/create', { action: 'accept', content: [] }, false],
      ['elicitation/create', { action: 'maybe' }, false],
      ['sampling/createMessage', { role: 'assistant', content: {} }, true],
      ['sampling/createMessage', { role: 'assistant' }, false],
      ['sampling/createMessage', { content: {} }, false],
      ['roots/list', { roots: [] }, true],
      ['roots/list', {}, false],
      ['roots/list', undefined, false],
      ['roots/list', [], false],
    ] as const) {
      expect(isInputResponse(method, value), JSON.stringify([method, value])).to.equal(good);
    }
  });

  it('metadata is read where there is some, and the old era’s part of it is told apart', () => {
    expect(metaOf({ params: { _meta: [] } })).to.deep.equal({});
    expect(metaOf({})).to.deep.equal({});
    expect(legacyMeta({ 'io.modelcontextprotocol/logLevel': 'info' })).to.equal(undefined);
    expect(legacyMeta({ 'io.modelcontextprotocol/x': 1, 'com.example/y': 2 })).to.deep.equal({ 'com.example/y': 2 });
    expect([severityOf('debug'), severityOf('emergency'), severityOf('loud'), severityOf(1)]).to.deep.equal([
      0,
      7,
      undefined,
      undefined,
    ]);
  });

  it('filters are read from whatever a client sends', () => {
    for (const value of [undefined, null, 7, [], { resourceSubscriptions: 'a:1', toolsListChanged: 1 }]) {
      expect(readFilter(value)).to.deep.include({ toolsListChanged: false, resources: new Set() });
    }
  });

  it('pages to visit are at most 16, each with an address', () => {
    const elicitations = Array.from({ length: 20 }, (_, i) => ({
      url: `https://x.example/${String(i)}`,
      message: 'Go.',
    }));
    expect(Object.keys(urlQuestions({ elicitations }) ?? {})).to.have.length(16);
    for (const data of [undefined, {}, { elicitations: {} }, { elicitations: [{}, 7] }])
      expect(urlQuestions(data)).to.equal(undefined);
  });

  describe('answers', () => {
    const more = { name: 'fake', version: '1' };
    const read = (json: string, id: string | number = 1, method = 'tools/list') =>
      completedAnswer(method, JSON.parse(json) as JsonRpcSuccess, json, id, more);

    it('are completed without being read again in the two forms that SDKs write, and read again in any other', () => {
      const spaced = '{ "jsonrpc":"2.0","id":7,"result":{"n":1.0}}';
      for (const [json, untouched] of [
        ['{"jsonrpc":"2.0","id":7,"result":{"n":1.0}}', true],
        ['{"jsonrpc":"2.0","id":7,"result":{}}', true],
        ['{"jsonrpc":"2.0","id":7,"result":{ }}', true],
        ['{"jsonrpc":"2.0","id":7,"result":{"n":1.0},"x":{}}', true],
        ['{"result":{"n":1.0},"jsonrpc":"2.0","id":7}', true],
        ['{"result":{},"jsonrpc":"2.0","id":7}', true],
        ['{"result":{"n":1.0},"x":{"y":2},"jsonrpc":"2.0","id":7}', true],
        [spaced, false],
        ['{"jsonrpc":"2.0","id":7,"result":{"n":1.0,"_meta":{"a":1}}}', false],
      ] as const) {
        const [message, text] = read(json);
        expect(JSON.parse(text), json).to.deep.include({ id: 1, jsonrpc: '2.0' });
        const { result } = JSON.parse(text) as { result: Record<string, unknown> };
        expect(result).to.deep.include({ resultType: 'complete', ttlMs: 60_000, cacheScope: 'private' });
        expect(result._meta).to.deep.include({ 'io.modelcontextprotocol/serverInfo': more });
        if (json.includes('1.0')) expect(text).to.include('"n":1.0');
        expect(result).to.deep.equal(JSON.parse(JSON.stringify((message as JsonRpcSuccess).result)));
        expect(text.includes('"result":{"resultType"'), json).to.equal(untouched);
      }
    });

    it('say the same whether or not they were read again', () => {
      fc.assert(
        fc.property(
          fc.dictionary(fc.string(), fc.jsonValue()),
          fc.constantFrom('tools/call', 'resources/read', '__proto__'),
          (result, method) => {
            for (const json of [
              `{"jsonrpc":"2.0","id":7,"result":${JSON.stringify(result)}}`,
              `{"result":${JSON.stringify(result)},"jsonrpc":"2.0","id":7}`,
            ]) {
              const [, text] = read(json, 'other', method);
              const plain = completed(method, JSON.parse(JSON.stringify(result)) as Record<string, unknown>, more);
              expect(JSON.parse(text)).to.deep.equal({
                jsonrpc: '2.0',
                id: 'other',
                result: JSON.parse(JSON.stringify(plain)),
              });
            }
          },
        ),
      );
    });

    it('have no code that has to be kept digit by digit', () => {
      expect(exactError('{"error":{"code":-1.0,"message":"x"}}')).to.equal(undefined);
      expect(exactError('{"error":7}')).to.equal(undefined);
      expect(JSON.stringify(exactError('{"error":{"code":-1,"message":"x","data":1.0}}'))).to.include('1.0');
    });
  });
});
