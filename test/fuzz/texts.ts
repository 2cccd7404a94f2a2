/** JSON texts that are nearly right: written, not serialised, because what breaks readers is what no serialiser writes. */
import fc from 'fast-check';

/** Strings that break readers of lines, of headers and of ids. */
const STRINGS = [
  '""',
  '"a"',
  '"1"',
  '"\u2028"',
  '"\\u2028\\u2029"',
  '"\\ud800"',
  '"\\udfff\\ud800"',
  '"\\u0000"',
  '"a\\nb\\r\\n\\r\\n: data: {}"',
  '"__proto__"',
  '"constructor"',
  '"\u{1f600}"',
  '"i0.1.n1"',
  '"p0.1.n1"',
  '"r0.1.n1"',
  '"g0.1.n1"',
  '"id\\":1,\\"jsonrpc\\":\\"2.0"',
  `"${'long'.repeat(80)}"`,
];

const NUMBERS = [
  '0',
  '1',
  '-1',
  '-0',
  '1.0',
  '1e3',
  '1E+2',
  '1.5',
  '1e-7',
  '1e400',
  '9007199254740993',
  '-9223372036854775808',
  '18446744073709551616',
  '123456789012345678901234567890',
];

const OTHERS = ['null', 'true', 'false', '{}', '[]', '[1]', '{"__proto__":{"x":1}}', '{"a":1,"a":2}'];

/** What is no JSON at all. */
const BROKEN = ['', 'undefined', 'NaN', '01', '+1', '"', '{', '[1,]', "'a'", '"\\x"', '"\u0001"', '\ufeff1'];

export const stringText: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...STRINGS),
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => JSON.stringify(text)),
);

export const idText: fc.Arbitrary<string> = fc.oneof(
  { weight: 10, arbitrary: fc.nat({ max: 4 }).map(String) },
  { weight: 3, arbitrary: fc.constantFrom(...NUMBERS) },
  { weight: 4, arbitrary: stringText },
  { weight: 1, arbitrary: fc.constantFrom(...OTHERS) },
);

/** Depths around the bound of 512 levels, and far beyond it. */
const deepText: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom(3, 500, 509, 513, 2000, 60_000), fc.boolean(), fc.boolean())
  .map(([depth, array, closed]) => {
    const [open, close] = array ? ['[', ']'] : ['{"a":', '}'];
    return `${open.repeat(depth)}1${closed ? close.repeat(depth) : ''}`;
  });

/** Any value, of the wrong type wherever it stands. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...OTHERS) },
  { weight: 4, arbitrary: stringText },
  { weight: 3, arbitrary: fc.constantFrom(...NUMBERS) },
  { weight: 2, arbitrary: fc.json({ maxDepth: 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(...BROKEN) },
  { weight: 1, arbitrary: deepText },
);

/** An object's text from members that may stand twice, in any order, with white space that JSON allows. */
export function objectText(members: fc.Arbitrary<readonly (readonly [string, string])[]>): fc.Arbitrary<string> {
  const order = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: 9 }) });
  const space = fc.constantFrom('', '', '', ' ', '\n', '\r\n', '\t');
  return fc.tuple(members, order, space).map(([pairs, turn, gap]) => {
    const at = pairs.length === 0 ? 0 : turn % pairs.length;
    const turned = [...pairs.slice(at), ...pairs.slice(0, at)];
    return `{${gap}${turned.map(([name, value]) => `"${name}"${gap}:${gap}${value}`).join(`,${gap}`)}${gap}}`;
  });
}

/** Mostly the right text, sometimes another. */
export function mostly(right: string | fc.Arbitrary<string>, weight = 40, wrong = anyText): fc.Arbitrary<string> {
  const arbitrary = typeof right === 'string' ? fc.constant(right) : right;
  return fc.oneof({ weight, arbitrary }, { weight: 1, arbitrary: wrong });
}

/** A member that is nearly always there; now and then it is missing, or stands twice. */
export function member(
  name: string,
  value: fc.Arbitrary<string>,
  present = 40,
): fc.Arbitrary<readonly (readonly [string, string])[]> {
  return fc.oneof(
    { weight: present, arbitrary: value.map((text) => [[name, text] as const]) },
    { weight: 1, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.tuple(value, value).map(([one, two]) => [[name, one] as const, [name, two] as const]),
    },
  );
}

export function members(
  ...parts: readonly fc.Arbitrary<readonly (readonly [string, string])[]>[]
): fc.Arbitrary<readonly (readonly [string, string])[]> {
  return fc.tuple(...parts).map((all) => all.flat());
}
