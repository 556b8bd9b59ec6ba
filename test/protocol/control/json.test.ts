import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseJsonStrict } from '../../../protocol/control/index.ts';
import type { MeshError } from '../../../protocol/index.ts';

describe('parseJsonStrict()', () => {
  test('gives what JSON.parse gives', () => {
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 5, noUnicodeString: false }),
        fc.constantFrom(undefined, 1, '\t'),
        (json, space) => {
          const value: unknown = JSON.parse(json);
          fc.pre(JSON.stringify(value).isWellFormed() && !/"__proto__"|\\ud[89a-f]/i.test(json));
          expect(parseJsonStrict(JSON.stringify(value, null, space), 16)).toEqual(value);
        },
      ),
      { seed: 20261122 },
    );
  });

  test.each([
    ['a member named twice', '{"a":1,"a":2}'],
    ['a member named twice, once by escapes', '{"a":1,"\\u0061":2}'],
    ['a member named twice, far in', '{"a":[{"b":{"c":1,"d":[],"c":2}}]}'],
    ['a member named twice, with spaces', '{"a"  :1,"a"\n\t:2}'],
    ['__proto__', '{"a":{"__proto__":{"b":1}}}'],
    ['__proto__ by escapes', '{"\\u005f_proto__":1}'],
    ['half a surrogate pair in a value', '{"a":"\\ud800"}'],
    ['half a surrogate pair in a name', '{"\\udc00":1}'],
    ['a level too many', '[[[[[]]]]]'],
    ['a level too many of both kinds', '{"a":[{"b":[{}]}]}'],
    ['no JSON', '{"a":1,}'],
    ['nothing', ''],
    ['two values', '1 2'],
    ['a byte order mark', '\ufeff{}'],
  ])('refuses %s', (_, text) => {
    expect(() => parseJsonStrict(text, 4)).toThrow(expect.objectContaining({ code: 'bad_request' }) as MeshError);
  });

  test.each([
    '{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}',
    '{"a":"\\"a\\":","b":"a\\\\"}',
    '["a","a",":"]',
    '{"a":":","b":"{\\"b\\":"}',
    '"a"',
    '[[[[]]]]',
  ])('takes %s', (text) => {
    expect(parseJsonStrict(text, 4)).toEqual(JSON.parse(text));
  });

  test('does not quote what it refuses', () => {
    expect(() => parseJsonStrict('{"token":"hidden"', 4)).toThrow(/^(?!.*hidden)/);
  });
});
