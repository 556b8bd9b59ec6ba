import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../protocol/encoding/bytes.ts';
import { decodeJcs, encodeJcs, type Json } from '../../../protocol/encoding/jcs.ts';
import { isMeshError } from '../../../protocol/errors.ts';
import { JCS_DEPTH_MAX } from '../../../protocol/limits.ts';
import { mutateBytes } from '../../fuzz/mutate.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { describeWithShared } from '../../shared.ts';

const SEED = suiteSeed(8785);
const BYTES_MAX = 4096;
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
const encoded = (value: unknown): string => textOf(encodeJcs(value));

function codeOf(call: () => unknown): string {
  try {
    call();
    return 'accepted';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}
const decoding = (text: string, bytesMax = BYTES_MAX): string => codeOf(() => decodeJcs(bytesOf(text), bytesMax));
const encoding = (value: unknown): string => codeOf(() => encodeJcs(value));

/** RFC 8785 once more, by its words: names compared as UTF-16 big-endian, characters escaped one by one. */
function byTheBook(value: Json): string {
  if (typeof value === 'string') return `"${[...value].map(escaped).join('')}"`;
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(byTheBook).join(',')}]`;
  const members = Object.entries(value).map(([name, member]) => ({ name, member, order: utf16(name) }));
  members.sort((a, b) => (a.order < b.order ? -1 : 1));
  return `{${members.map(({ name, member }) => `${byTheBook(name)}:${byTheBook(member)}`).join(',')}}`;
}
const utf16 = (text: string): string =>
  Array.from({ length: text.length }, (_, i) => text.charCodeAt(i).toString(16).padStart(4, '0')).join('');
const SHORT: Readonly<Record<string, string>> = {
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\f': '\\f',
  '\r': '\\r',
  '"': '\\"',
  '\\': '\\\\',
};
const escaped = (letter: string): string =>
  SHORT[letter] ?? (letter < ' ' ? `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}` : letter);

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.string({ maxLength: 8 }),
  fc.nat(99).map(String),
);
const json: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    anyText,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(anyText, tie('value'), { maxKeys: 6, noNullPrototype: false }),
  ),
})).value;

describe('encodeJcs()', () => {
  test('writes what RFC 8785 says, by another reading of it', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(encoded(value)).toBe(byTheBook(value));
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  test('gives what decodeJcs() takes and reads as the same value', () => {
    fc.assert(
      fc.property(json, (value) => {
        const bytes = encodeJcs(value);
        expect(encodeJcs(decodeJcs(bytes, bytes.length))).toEqual(bytes);
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  test('orders names by UTF-16 code units (RFC 8785 section 3.2.3)', () => {
    const value = {
      '\u20ac': 'Euro Sign',
      '\r': 'Carriage Return',
      '\ufb33': 'Hebrew Letter Dalet With Dagesh',
      '1': 'One',
      '\ud83d\ude00': 'Emoji: Grinning Face',
      '\u0080': 'Control',
      '\u00f6': 'Latin Small Letter O With Diaeresis',
    };
    expect([...encoded(value).matchAll(/:"([^"]+)"/g)].map(([, text]) => text)).toEqual([
      'Carriage Return',
      'One',
      'Control',
      'Latin Small Letter O With Diaeresis',
      'Euro Sign',
      'Emoji: Grinning Face',
      'Hebrew Letter Dalet With Dagesh',
    ]);
  });

  test('orders names that look like numbers as texts, though engines do not', () => {
    expect(encoded({ 2: 0, 10: 0, a: 0, 1: 0 })).toBe('{"1":0,"10":0,"2":0,"a":0}');
  });

  test('writes texts and literals as in RFC 8785 section 3.2.2, whose bytes section 3.2.4 lists', () => {
    const value = { string: '\u20ac$\u000f\u000aA\u0027\u0042\u0022\u005c\\"/', literals: [null, true, false] };
    expect(toHex(encodeJcs(value))).toBe(
      toHex(bytesOf('{"literals":[null,true,false],"string":"')) +
        // e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c 22 5c 5c 5c 5c 5c 22 2f of the RFC
        'e282ac245c75303030665c6e4127425c225c5c5c5c5c222f' +
        toHex(bytesOf('"}')),
    );
  });

  test('writes minus zero as zero, and integers to the last one that is exact', () => {
    expect(encoded([0, -0, 1, -1, 2 ** 53 - 1, -(2 ** 53 - 1)])).toBe('[0,0,1,-1,9007199254740991,-9007199254740991]');
  });

  // RFC 8785 appendix B, by the bits of each number; all are numbers of ECMAScript, few are integers that keep their value.
  test.each([
    ['0000000000000000', 'accepted'],
    ['8000000000000000', 'accepted'],
    ['0000000000000001', 'malformed'],
    ['8000000000000001', 'malformed'],
    ['7fefffffffffffff', 'malformed'],
    ['ffefffffffffffff', 'malformed'],
    ['4340000000000000', 'malformed'], // 2^53
    ['c340000000000000', 'malformed'],
    ['4430000000000000', 'malformed'],
    ['7fffffffffffffff', 'malformed'], // NaN
    ['7ff0000000000000', 'malformed'], // infinity
    ['44b52d02c7e14af5', 'malformed'],
    ['44b52d02c7e14af6', 'malformed'],
    ['444b1ae4d6e2ef50', 'malformed'],
    ['3eb0c6f7a0b5ed8d', 'malformed'],
    ['41b3de4355555555', 'malformed'],
    ['becbf647612f3696', 'malformed'],
    ['43143ff3c1cb0959', 'malformed'],
  ])('of the number with bits %s is %s', (bits, code) => {
    const number = new DataView((fromHex(bits) as Uint8Array).slice().buffer).getFloat64(0);
    expect(encoding(number)).toBe(code);
    expect(encoding({ deep: [number] })).toBe(code);
  });

  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['a member that is undefined', { a: undefined }],
    ['a hole in a list', Array.from({ length: 2 })],
    ['a BigInt', 1n],
    ['a function', () => 0],
    ['a symbol', Symbol('a')],
    ['a Date', new Date(0)],
    ['bytes', new Uint8Array(2)],
    ['a Map', new Map()],
    ['an object that would write itself', { toJSON: () => 1 }],
    ['half of a surrogate pair', '\ud83d'],
    ['the other half', 'a\ude00'],
    ['half of a pair in a name', { '\ud83d': 0 }],
  ])('refuses %s', (_, value) => {
    expect(encoding(value)).toBe('malformed');
  });

  test('takes objects without a prototype', () => {
    expect(encoded(Object.assign(Object.create(null), { b: 1, a: 2 }))).toBe('{"a":2,"b":1}');
  });

  test('nests JCS_DEPTH_MAX levels and no more, also in a circle', () => {
    const nested = (levels: number): Json =>
      levels === 0 ? 0 : levels % 2 === 0 ? [nested(levels - 1)] : { a: nested(levels - 1) };
    expect(encoding(nested(JCS_DEPTH_MAX))).toBe('accepted');
    expect(encoding(nested(JCS_DEPTH_MAX + 1))).toBe('too_large');
    const circle: unknown[] = [];
    circle.push(circle);
    expect(encoding(circle)).toBe('too_large');
  });
});

describe('decodeJcs()', () => {
  test.each(['{}', '[]', '""', '0', '-1', 'null', 'true', '{"":0,"a":[1,"\\n",{"b":"é😀"}]}', '"\\u0000\u007f\u2028"'])(
    'takes %s',
    (text) => {
      expect(encoded(decodeJcs(bytesOf(text), BYTES_MAX))).toBe(text);
    },
  );

  test.each([
    ['white space', '{"a": 1}', 'noncanonical'],
    ['white space before', ' 1', 'noncanonical'],
    ['a line end after', '1\n', 'noncanonical'],
    ['names out of order', '{"b":1,"a":2}', 'noncanonical'],
    ['names in the order of numbers', '{"2":0,"10":0}', 'noncanonical'],
    ['names in the order of UTF-8', '{"\ufb33":0,"\ud83d\ude00":0}', 'noncanonical'],
    ['a name twice', '{"a":1,"a":1}', 'noncanonical'],
    ['a name twice, once escaped', '{"a":1,"\\u0061":2}', 'noncanonical'],
    ['an escape that needs not be', '"\\u0041"', 'noncanonical'],
    ['an escaped slash', '"\\/"', 'noncanonical'],
    ['an escape in capitals', '"\\u000F"', 'noncanonical'],
    ['a long escape where there is a short one', '"\\u000a"', 'noncanonical'],
    ['a pair of surrogates, escaped', '"\\ud83d\\ude00"', 'noncanonical'],
    ['an integer with a fraction', '1.0', 'noncanonical'],
    ['an integer with an exponent', '1e1', 'noncanonical'],
    ['minus zero', '-0', 'noncanonical'],
    ['a fraction', '0.5', 'malformed'],
    ['2^53', '9007199254740992', 'malformed'],
    ['2^53 + 1, which a double cannot hold', '9007199254740993', 'malformed'],
    ['infinity, by its exponent', '1e999', 'malformed'],
    ['half of a surrogate pair', '"\\ud83d"', 'malformed'],
    ['nothing', '', 'malformed'],
    ['two values', '1 2', 'malformed'],
    ['a leading zero', '01', 'malformed'],
    ['a comma too many', '[1,]', 'malformed'],
    ['a comment', '1//', 'malformed'],
    ['NaN', 'NaN', 'malformed'],
    ['a control character as it is', '"\u0001"', 'malformed'],
    ['a byte order mark', '\ufeff1', 'malformed'],
    ['too many levels', `${'['.repeat(JCS_DEPTH_MAX + 1)}${']'.repeat(JCS_DEPTH_MAX + 1)}`, 'too_large'],
  ])('refuses %s', (_, text, code) => {
    expect(decoding(text)).toBe(code);
  });

  test.each(['22ff22', '22c3', '22eda08022', '22c1bf22', '22f490808022'])(
    'refuses bytes %s, which are no UTF-8',
    (hex) => {
      expect(codeOf(() => decodeJcs(fromHex(hex) as Uint8Array, BYTES_MAX))).toBe('malformed');
    },
  );

  test('counts bytes, not letters', () => {
    expect(decoding('"é"', 4)).toBe('accepted');
    expect(decoding('"é"', 3)).toBe('too_large');
  });

  test('bears a depth that would exhaust a stack', () => {
    expect(decoding('['.repeat(60_000) + ']'.repeat(60_000), 200_000)).toBe('too_large');
  });

  test('of changed bytes takes only what is canonical', () => {
    const random = seededRandom(SEED);
    const corpus = fc.sample(json, { seed: SEED, numRuns: 50 }).map((value) => encodeJcs(value));
    let taken = 0;
    let refused = 0;
    for (let i = 0; i < 5_000; i++) {
      const bytes = mutateBytes(random.pick(corpus), random, corpus);
      try {
        expect(byTheBook(decodeJcs(bytes, 1_000_000)), `seed ${SEED}`).toBe(textOf(bytes));
        taken++;
      } catch (error) {
        if (!isMeshError(error)) throw error;
        refused++;
      }
    }
    expect({ taken: taken > 200, refused: refused > 1_000 }, `seed ${SEED}: ${taken} and ${refused}`).toEqual({
      taken: true,
      refused: true,
    });
  });
});

describeWithShared('vectors/identity/jcs', "the reference implementation's examples", (folder) => {
  const file = (path: string): string => readFileSync(join(folder, path), 'utf8');

  test.each(['arrays', 'structures'])('%s is written as there, to the byte', (name) => {
    const bytes = encodeJcs(JSON.parse(file(`input/${name}.json`)));
    expect(textOf(bytes)).toBe(file(`output/${name}.json`));
    expect(toHex(bytes)).toBe(file(`outhex/${name}.txt`).replaceAll(/\s/g, ''));
    expect(encoded(decodeJcs(bytes, BYTES_MAX))).toBe(file(`output/${name}.json`));
  });

  test('values are refused for their fractions, and written as there without them', () => {
    const value = JSON.parse(file('input/values.json')) as Record<string, Json>;
    expect(encoding(value)).toBe('malformed');
    expect(decoding(file('output/values.json'))).toBe('malformed');
    const expected = file('output/values.json').replace(/"numbers":\[[^\]]*\]/, '"numbers":[]');
    expect(encoded({ ...value, numbers: [] })).toBe(expected);
  });
});

describeWithShared('vectors/identity/eddsa-jcs-2022', 'the canonical documents of eddsa-jcs-2022', (folder) => {
  const file = (path: string): string => readFileSync(join(folder, path), 'utf8');
  test.each([
    ['unsigned.json', 'canonDocJCS.txt'],
    ['proofConfigJCS.json', 'proofCanonJCS.txt'],
  ])('%s gives %s', (input, canonical) => {
    expect(encoded(JSON.parse(file(input)))).toBe(file(canonical).trim());
  });
});

describe("numbers: 'any'", () => {
  // RFC 8785, appendix B.
  test.each([
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ])('writes the double %s as %s', (bits, text) => {
    const value = new DataView((fromHex(bits) as Uint8Array).buffer as ArrayBuffer).getFloat64(0);
    expect(textOf(encodeJcs([value], { numbers: 'any' }))).toBe(`[${text}]`);
  });

  test('refuses what JSON has no word for, and is asked for: integers are what is taken else', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      expect(codeOf(() => encodeJcs([value], { numbers: 'any' }))).toBe('malformed');
    expect(encoding([1.5])).toBe('malformed');
    expect(encoding([2 ** 53])).toBe('malformed');
  });

  test('goes as deep as is asked for, and no deeper', () => {
    let deep: unknown = 1;
    for (let i = 0; i < 40; i++) deep = [deep];
    expect(codeOf(() => encodeJcs(deep, { depthMax: 40 }))).toBe('accepted');
    expect(codeOf(() => encodeJcs(deep, { depthMax: 39 }))).toBe('too_large');
    expect(encoding(deep)).toBe('too_large');
  });
});
