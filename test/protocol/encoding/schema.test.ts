import { describe, expect, test } from 'vitest';
import type { Cbor } from '../../../protocol/encoding/cbor.ts';
import { Link } from '../../../protocol/encoding/cid.ts';
import {
  bytes,
  integer,
  link,
  list,
  literal,
  map,
  multikey,
  nullable,
  oneOf,
  refine,
  type Schema,
  text,
  tuple,
  variant,
} from '../../../protocol/encoding/schema.ts';

const id = Link.ofDigest(new Uint8Array(32));
const key = Uint8Array.from([0xed, 1, ...new Uint8Array(32)]);

/** One value of each shape that a decoder can give. */
const SHAPES: Record<string, Cbor> = {
  null: null,
  true: true,
  one: 1,
  minusOne: -1,
  text: 'x',
  empty: '',
  bytes: new Uint8Array(2),
  key,
  link: id,
  foreignLink: new Link(Uint8Array.of(1, 0x55, 0, 0)),
  list: [],
  listOfOne: [1],
  map: {},
  mapOfOne: { a: 1 },
};

const passing = (schema: Schema<unknown>): string[] =>
  Object.keys(SHAPES).filter((name) => {
    try {
      schema.check(SHAPES[name], 'f');
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'schema' });
      return false;
    }
  });

test.each<[string, Schema<unknown>, string[]]>([
  ['integer(-1, 0)', integer(-1, 0), ['minusOne']],
  ['integer(1, 9)', integer(1, 9), ['one']],
  ['bytes(2)', bytes(2), ['bytes']],
  ['bytes(34)', bytes(34), ['key']],
  ['multikey', multikey, ['key']],
  ['text(1)', text(1), ['text', 'empty']],
  ['text(0)', text(0), ['empty']],
  ['oneOf', oneOf('x', 'y'), ['text']],
  ['literal(true)', literal(true), ['true']],
  ['literal(1)', literal(1), ['one']],
  ['link', link, ['link']],
  ['nullable(link)', nullable(link), ['null', 'link']],
  ['list of integers, 0 to 1', list(integer(0, 9), 0, 1), ['list', 'listOfOne']],
  ['list of integers, 1 to 1', list(integer(0, 9), 1, 1), ['listOfOne']],
  ['list of texts, 0 to 1', list(text(9), 0, 1), ['list']],
  ['tuple of one', tuple(integer(0, 9)), ['listOfOne']],
  ['tuple of none', tuple(), ['list']],
  ['map of none', map({}), ['map']],
  ['map of a', map({ a: integer(0, 9) }), ['mapOfOne']],
  ['map of an optional a', map({}, { a: integer(0, 9) }), ['map', 'mapOfOne']],
  ['map of a text a', map({ a: text(9) }), []],
  ['variant', variant('a', { x: map({ a: literal('x') }) }), []],
])('%s passes exactly its shapes', (_, schema, names) => {
  expect(passing(schema)).toEqual(names);
});

describe('a refusal names the field', () => {
  const inner = map({ a: integer(0, 1) }, { b: list(map({ c: text(1) }), 0, 2), d: tuple(link, nullable(bytes(1))) });
  test.each<[string, Cbor]>([
    ['', 1],
    ['a', {}],
    ['a', { a: 2 }],
    ['z', { a: 1, z: 1 }],
    ['__proto__', JSON.parse('{"a":1,"__proto__":1}') as Cbor],
    ['toString', { a: 1, toString: 1 }],
    ['b', { a: 1, b: [{ c: '' }, { c: '' }, { c: '' }] }],
    ['b[1].c', { a: 1, b: [{ c: '' }, { c: 'xx' }] }],
    ['b[0].c', { a: 1, b: [{}] }],
    ['d[1]', { a: 1, d: [id, new Uint8Array(2)] }],
    ['d', { a: 1, d: [id] }],
  ])('"%s"', (field, value) => {
    expect(() => inner.check(value, '')).toThrow(
      expect.objectContaining({ code: 'schema', data: expect.objectContaining({ field }) as object }),
    );
  });
});

test('lengths of text are counted in characters (code points), not in UTF-16 units', () => {
  expect(() => text(2).check('𐅑𐅑', 'f')).not.toThrow();
  expect(() => text(2).check('𐅑𐅑a', 'f')).toThrow(expect.objectContaining({ code: 'schema' }));
  expect(() => text(2).check('a'.repeat(1_000_000), 'f')).toThrow(expect.objectContaining({ code: 'schema' }));
});

test('absent optional entries are no entries, and null is not absent', () => {
  const schema = map({ a: integer(0, 1) }, { b: integer(0, 1) });
  expect(() => schema.check({ a: 1, b: undefined, z: undefined }, '')).not.toThrow();
  expect(() => schema.check({ a: 1, b: null }, '')).toThrow(expect.objectContaining({ code: 'schema' }));
});

test('refine() runs its check only on what has the shape, and can refuse any field', () => {
  let runs = 0;
  const even = refine(integer(0, 9), (value, fail) => {
    runs++;
    if (value % 2 === 1) fail('parity', 'an even number');
  });
  expect(() => even.check('x', 'n')).toThrow(
    expect.objectContaining({ data: expect.objectContaining({ field: 'n' }) as object }),
  );
  expect(runs).toBe(0);
  expect(() => even.check(3, 'n')).toThrow(
    expect.objectContaining({ data: expect.objectContaining({ field: 'parity' }) as object }),
  );
  expect(even.check(4, 'n')).toBe(4);
});

test('variant() takes no tag from a prototype', () => {
  const schema = variant('op', { a: map({ op: literal('a') }) });
  expect(schema.check({ op: 'a' }, '')).toEqual({ op: 'a' });
  for (const op of ['toString', '__proto__', 'constructor', 'b', 1, null, ['a']]) {
    expect(() => schema.check({ op }, '')).toThrow(
      expect.objectContaining({ code: 'schema', data: expect.objectContaining({ field: 'op' }) as object }),
    );
  }
});
