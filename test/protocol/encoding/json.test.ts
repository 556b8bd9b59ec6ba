import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isExact, type JsonScan, scanJson } from '../../../protocol/encoding/json.ts';

const scan = (text: string, depthMax = 16): JsonScan => scanJson(text, depthMax);
const membersOf = (text: string): Record<string, string> =>
  Object.fromEntries([...scan(text).members].map(([name, span]) => [name, text.slice(...span)]));

describe('scanJson()', () => {
  test('says where the value of each outermost member stands', () => {
    expect(membersOf(' { "a" : 1 ,"b":{"a":[2]}\n,"c":"}," , "d":[ {} ] } ')).toEqual({
      a: '1',
      b: '{"a":[2]}',
      c: '"},"',
      d: '[ {} ]',
    });
    expect(membersOf('[{"a":1}]')).toEqual({});
    expect(membersOf('"a"')).toEqual({});
  });

  test('finds in every object the text of each of its members', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })),
        fc.constantFrom(undefined, 1, '\t'),
        (object, space) => {
          fc.pre(!JSON.stringify(object).includes('__proto__'));
          const text = JSON.stringify(object, null, space);
          const { members, value, fault } = scan(text);
          expect(fault).toBeUndefined();
          expect([...members.keys()]).toEqual(Object.keys(value as object));
          for (const [name, span] of members)
            expect(JSON.parse(text.slice(...span))).toEqual((value as Record<string, unknown>)[name]);
        },
      ),
      { seed: 20261122 },
    );
  });

  test('tells a fault of the outermost object from one further in', () => {
    expect(scan('{"a":1,"a":2}').fault).toMatchObject({ field: 'a', isOutermost: true });
    expect(scan('{"b":{"a":1,"a":2}}').fault).toMatchObject({ field: 'a', isOutermost: false });
    expect(scan('{"b":[{"__proto__":1}],"b":1}').fault).toMatchObject({ isOutermost: false });
  });

  test('counts the backslashes before a quote', () => {
    for (const text of ['{"a\\\\":"\\\\"}', '{"\\\\\\"a":1}', '["\\\\","\\"",":"]']) {
      expect(scan(text).fault).toBeUndefined();
      expect(scan(text).value).toEqual(JSON.parse(text));
    }
    expect(scan('{"a\\\\":1,"a\\\\":2}').fault?.isOutermost).toBe(true);
  });

  test('does not parse long text that is nested too deep, and counts no brackets of texts', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    expect(scan(deep)).toMatchObject({ value: undefined, fault: { why: 'it is nested deeper than 16 levels' } });
    expect(scan(JSON.stringify([deep])).fault).toBeUndefined();
    expect(() => scan(`"${'\\'.repeat(70_000)}`)).toThrow(SyntaxError);
  });

  test('finds the numbers that are others as doubles', () => {
    const text = '[1,9007199254740993,0.1,{"a":-0},1e400,"9007199254740993"]';
    const { inexact, isOverflowing } = scan(text);
    expect(inexact.map((at) => /^[-+.0-9eE]+/.exec(text.slice(at))?.[0])).toEqual(['9007199254740993', '-0', '1e400']);
    expect(isOverflowing).toBe(true);
    expect(scan('[9007199254740993]').isOverflowing).toBe(false);
  });
});

describe('isExact()', () => {
  test.each([
    '0',
    '1',
    '-1',
    '1.0',
    '0.1',
    '1E5',
    '1e21',
    '100000000000000000000',
    '9007199254740992',
    '1.7976931348623157e308',
    '0e999999999999',
    '0.30000000000000004',
    '5e-324',
  ])('holds of %s', (letters) => {
    expect(isExact(letters)).toBe(true);
    expect(scan(`[${letters}]`).inexact).toEqual([]);
  });

  test.each([
    '-0',
    '-0.00',
    '9007199254740993',
    '1e309',
    '-1e309',
    '1e-400',
    '0.1000000000000000055511151231257827',
    '123456789012345678',
    '1e99999999999999999999',
  ])('does not hold of %s', (letters) => {
    expect(isExact(letters)).toBe(false);
    expect(scan(`[${letters}]`).inexact).toEqual([1]);
  });

  test('holds of whatever ECMAScript writes', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        fc.pre(!Object.is(value, -0));
        expect(isExact(String(value))).toBe(true);
      }),
      { seed: 20261122 },
    );
  });

  test('does not depend on how many zeros are written', () => {
    const zeros = '0'.repeat(200_000);
    expect(isExact(`1.${zeros}`)).toBe(true);
    expect(isExact(`1.${zeros}1`)).toBe(false);
  });
});
