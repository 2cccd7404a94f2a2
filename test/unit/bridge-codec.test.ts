import { expect } from 'chai';
import fc from 'fast-check';
import { decodeId, encodeId } from '../../src/bridge/ids';
import { isId, isObject, parseExact } from '../../src/bridge/json';
import { concernsServer, methodLabel } from '../../src/bridge/methods';
import { readEnds } from '../../src/bridge/oversize';
import { exchangeId, exchangeOnce, rewrite } from '../../src/bridge/splice';

describe('ids that say what they stand for', () => {
  const originals = [
    '0',
    '42',
    '-7',
    '9007199254740993',
    '"plain_id-1"',
    '""',
    '"a.b"',
    '"\\ud83d"',
    '1e400',
    '"ü🧑‍🚀"',
    '{"x":1}',
  ];
  for (const original of originals) {
    it(`carry ${original}`, () => {
      const id = encodeId('i', 'get-7_A', 12, original);
      expect(decodeId(id)).to.deep.equal({ kind: 'i', stream: 'get-7_A', sequence: 12, original });
      expect(JSON.stringify(id)).to.equal(`"${id}"`);
    });
  }

  it('are readable for the usual ids', () => {
    expect(encodeId('i', '0', 17, '42')).to.equal('i0.17.n42');
    expect(encodeId('p', '3fa', 1, '"abc"')).to.equal('p3fa.1.sabc');
  });

  it('carry no original that is too long', () => {
    const id = encodeId('r', '0', 1, `"${'a'.repeat(500)}"`);
    expect(id).to.have.length.below(40);
    expect(decodeId(id)).to.include({ kind: 'r', original: undefined });
  });

  for (const foreign of [5, null, undefined, '', 'abc', 'i0.x.n1', 'z0.1.n1', 'i.1.n1', 'i0.1.q1', 'i0.1.n1 ']) {
    it(`are not ${JSON.stringify(foreign)}`, () => {
      expect(decodeId(foreign)).to.equal(undefined);
    });
  }

  it('carry every string and every integer there and back', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 60 }), fc.maxSafeInteger()), (id) => {
        const original = JSON.stringify(id);
        expect(decodeId(encodeId('i', '0', 1, original))?.original).to.equal(
          original.length > 192 ? undefined : original,
        );
      }),
    );
  });
});

describe('JSON digit by digit', () => {
  const texts = [
    '{"id":12345678901234567890}',
    '[9007199254740993,-9007199254740993]',
    '{"a":1.0,"b":-0,"c":1e5,"d":1E+2,"e":0.1000,"f":[ 3.14159265358979323846]}',
    '{"s":"12345678901234567890","n":1.50}',
  ];
  for (const text of texts) {
    it(`keeps ${text}`, () => {
      expect(JSON.stringify(parseExact(text))).to.equal(text.replace(/ /g, ''));
    });
  }

  it('gives plain numbers where nothing would be lost', () => {
    expect(parseExact('{"a":1,"b":-2.5,"c":"x: 1e5","d":9007199254740991,"e":0}')).to.deep.equal({
      a: 1,
      b: -2.5,
      c: 'x: 1e5',
      d: 9007199254740991,
      e: 0,
    });
  });

  it('throws a SyntaxError for what is not JSON, whichever way it looks', () => {
    expect(() => parseExact('{"a":')).to.throw(SyntaxError);
    expect(() => parseExact('{"a":12345678901234567890')).to.throw(SyntaxError);
  });

  it('still reads nesting that is too deep to keep the spelling in', () => {
    const deep = `${'['.repeat(200_000)}12345678901234567890${']'.repeat(200_000)}`;
    expect(parseExact(deep)).to.be.an('array');
  });

  it('keeps any JSON as JSON.stringify would write it', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(JSON.parse(JSON.stringify(parseExact(text)))).to.deep.equal(JSON.parse(text));
      }),
    );
  });

  it('knows ids: strings and integers, large ones too', () => {
    const [large] = parseExact('[12345678901234567890]') as unknown[];
    const [fraction] = parseExact('[12345678901234567890.5]') as unknown[];
    expect(['a', '', 0, -1, large].map(isId)).to.deep.equal([true, true, true, true, true]);
    expect([1.5, fraction, null, undefined, {}, true].map(isId)).to.deep.equal(new Array(6).fill(false));
  });

  it('knows objects', () => {
    const [large] = parseExact('[12345678901234567890]') as unknown[];
    expect([{}, { a: 1 }].map(isObject)).to.deep.equal([true, true]);
    expect([[], null, 1, 'x', large, undefined].map(isObject)).to.deep.equal(new Array(6).fill(false));
  });
});

describe('exchanging an id in place', () => {
  it('touches only the first member where the child writes the id first', () => {
    const text =
      '{"jsonrpc":"2.0","id":"i0.1.n5","result":{"n":1.0,"id":"i0.1.n5","big":12345678901234567890,"u":"\\u00e9\\ud800"}}';
    expect(exchangeId(text, '"i0.1.n5"', '5')).to.equal(
      '{"jsonrpc":"2.0","id":5,"result":{"n":1.0,"id":"i0.1.n5","big":12345678901234567890,"u":"\\u00e9\\ud800"}}',
    );
  });

  it('leaves no id of ours where the child writes the id twice', () => {
    const text = '{"jsonrpc":"2.0","id":"i0.1.n5","result":{"n":1.0},"id":"i0.1.n5"}';
    expect(exchangeId(text, '"i0.1.n5"', '5')).to.equal('{"jsonrpc":"2.0","id":5,"result":{"n":1.0}}');
  });

  it('touches only the last member where the child writes the id last', () => {
    const text = '{"result":{"id":"i0.1.n5","n":1.50},"jsonrpc":"2.0","id":"i0.1.n5"}';
    expect(exchangeId(text, '"i0.1.n5"', '"x"')).to.equal(
      '{"result":{"id":"i0.1.n5","n":1.50},"jsonrpc":"2.0","id":"x"}',
    );
  });

  it('writes the message again where the id stands elsewhere, digit by digit', () => {
    const text = '{ "id" : "i0.1.n5", "jsonrpc":"2.0", "result":{"n":1.50,"x":"i0.1.n5"} }';
    expect(exchangeId(text, '"i0.1.n5"', '12345678901234567890')).to.equal(
      '{"id":12345678901234567890,"jsonrpc":"2.0","result":{"n":1.50,"x":"i0.1.n5"}}',
    );
  });

  it('writes a request of the child again where its id stands elsewhere, because that id is not one of a kind', () => {
    const text = '{"id":1,"jsonrpc":"2.0","method":"x","params":{"n":1.0}}';
    expect(exchangeId(text, '1', '"r0.1.n1"')).to.equal(
      '{"id":"r0.1.n1","jsonrpc":"2.0","method":"x","params":{"n":1.0}}',
    );
  });

  it('does not take a longer id for a shorter one', () => {
    expect(exchangeId('{"jsonrpc":"2.0","id":12,"method":"x"}', '1', '"r"')).to.equal(
      '{"jsonrpc":"2.0","id":"r","method":"x"}',
    );
  });

  it('exchanges a member that stands once, and says when it does not', () => {
    expect(exchangeOnce('{"progressToken":"p1","x":1.0}', 'progressToken', '"p1"', '7')).to.equal(
      '{"progressToken":7,"x":1.0}',
    );
    expect(exchangeOnce('{"progressToken":"p1","message":"p1"}', 'progressToken', '"p1"', '7')).to.equal(undefined);
    expect(exchangeOnce('{"message":"p1","progressToken":"p1"}', 'progressToken', '"p1"', '7')).to.equal(undefined);
    expect(exchangeOnce('{"other":"p1"}', 'progressToken', '"p1"', '7')).to.equal(undefined);
    expect(exchangeOnce('["progressToken","p1"]', 'progressToken', '"p1"', '7')).to.equal(undefined);
    expect(exchangeOnce('{"x":1}', 'progressToken', '"p1"', '7')).to.equal(undefined);
    expect(exchangeOnce('{"progressToken" : "p1"}', 'progressToken', '"p1"', '7')).to.equal('{"progressToken" : 7}');
  });

  it('writes again what was changed', () => {
    expect(rewrite('{"a":1.0,"b":2}', (message) => void (message.b = 3))).to.equal('{"a":1.0,"b":3}');
  });
});

describe('the ends of a line that is too long', () => {
  const ends = (head: string, tail: string) => readEnds(Buffer.from(head), Buffer.from(tail));

  it('show an id before the bulk', () => {
    expect(ends('{"jsonrpc":"2.0","id":"i0.1.n5","result":{"x":"aaaa', 'aaaa"}}')).to.deep.equal({
      id: '"i0.1.n5"',
      hasMethod: false,
    });
  });

  it('show an id after the bulk', () => {
    expect(ends('{"result":{"x":"aaaa', 'aa"},"jsonrpc":"2.0","id":"i0.1.n5"}').id).to.equal('"i0.1.n5"');
    expect(ends('{"result":{"x":"aaaa', 'aa"}, "id" : 7 , "jsonrpc":"2.0" } ').id).to.equal('7');
  });

  it('show a request of the child', () => {
    expect(ends('{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"x":"aa', 'a"}}')).to.deep.equal({
      id: '3',
      hasMethod: true,
    });
  });

  it('do not take an id inside the bulk for the id', () => {
    expect(ends('{"result":{"id":"i0.1.n5","x":"aaa', 'aaa\\"id\\":\\"i0.1.n5\\"}"}}').id).to.equal(undefined);
  });

  it('show nothing of what is not JSON', () => {
    expect(ends('Loading..............', '........')).to.deep.equal({ id: undefined, hasMethod: false });
  });
});

describe('methods', () => {
  it('are labels only when MCP names them', () => {
    expect(methodLabel('tools/call')).to.equal('tools/call');
    expect(methodLabel('x'.repeat(5000))).to.equal('other');
  });

  it('that concern the server as a whole are told from those of a call', () => {
    expect(concernsServer('notifications/tools/list_changed')).to.equal(true);
    expect(concernsServer('notifications/resources/updated')).to.equal(true);
    expect(concernsServer('notifications/message')).to.equal(false);
  });
});
