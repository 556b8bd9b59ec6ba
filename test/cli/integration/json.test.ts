import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonFormat } from '../../../cli/integration/json.ts';
import { isSame, type Json, withValueAt } from '../../../cli/integration/json-value.ts';

const { parse, edit, replace, textAt } = jsonFormat;

describe('edit()', () => {
  test.each([
    ['{"a":{"x":1}}', { at: ['x'], value: 2 }, '{"a":{"x":2}}'],
    ['{"a":{"x":1}}', { at: ['y'], value: ['p', 'q'], after: 'x' }, '{"a":{"x":1,"y":["p","q"]}}'],
    [
      '{"a": {"x": 1, "z": 3}}',
      { at: ['y'], value: { k: 'v' }, after: 'x' },
      '{"a": {"x": 1, "y": { "k": "v" }, "z": 3}}',
    ],
    ['{"a":{}}', { at: ['y'], value: 1 }, '{"a":{"y": 1}}'],
    ['{"a":{"u":1,"z":2}}', { at: ['c'], value: 'x', inPlaceOf: 'u' }, '{"a":{"c":"x","z":2}}'],
    [
      '{\r\n\t"a": {\r\n\t\t"x": 1, // one\r\n\t}\r\n}',
      { at: ['y'], value: ['p'], after: 'x' },
      '{\r\n\t"a": {\r\n\t\t"x": 1,\r\n\t\t"y": [\r\n\t\t\t"p"\r\n\t\t], // one\r\n\t}\r\n}',
    ],
    ['{"a": {"x": [\n  1\n ] }}', { at: ['x'], value: [] }, '{"a": {"x": [] }}'],
    ['{"a":{"o":{"p":1}}}', { at: ['o', 'p'], value: 2 }, '{"a":{"o":{"p":2}}}'],
    // Removal takes one comma, and no comment of its neighbours.
    ['{"a":{"x":1}}', { at: ['x'], value: undefined }, '{"a":{}}'],
    ['{"a":{"x":1,"y":2}}', { at: ['x'], value: undefined }, '{"a":{"y":2}}'],
    ['{"a":{"x":1,"y":2}}', { at: ['y'], value: undefined }, '{"a":{"x":1}}'],
    [
      '{"a":{\n "x":1, // one\n "y":2, // two\n}}',
      { at: ['y'], value: undefined },
      '{"a":{\n "x":1, // one // two\n}}',
    ],
    [
      '{"a":{\n "x":1 /* , */, // one\n "y":2\n}}',
      { at: ['y'], value: undefined },
      '{"a":{\n "x":1 /* , */ // one\n}}',
    ],
    ['\ufeff{"a":{"x":1}}', { at: ['x'], value: 2 }, '\ufeff{"a":{"x":2}}'],
  ])('of %j with %j', (text, change, wanted) => {
    expect(edit(text, ['a'], change)).toBe(wanted);
  });

  test('refuses a member that is there twice, as clients would not agree on it', () => {
    expect(() => edit('{"a":{"x":1,"x":2}}', ['a'], { at: ['x'], value: 3 })).toThrow('"x" is there twice');
    expect(() => edit('{"a":{},"\\u0061":{}}', ['a'], { at: ['x'], value: 3 })).toThrow('"a" is there twice');
  });

  test('changes the value that is meant and nothing else, however the text is laid out', () => {
    const key = fc.constantFrom('x', 'y', '__proto__', 'a b', 'é"\\');
    const value: fc.Arbitrary<Json> = fc.letrec<{ json: Json }>((tie) => ({
      json: fc.oneof(
        fc.string(),
        fc.integer(),
        fc.constant(null),
        fc.array(tie('json'), { maxLength: 3 }),
        fc.dictionary(key, tie('json'), { maxKeys: 3 }),
      ),
    })).json;
    fc.assert(
      fc.property(
        fc.dictionary(key, value, { maxKeys: 4 }),
        key,
        fc.option(value, { nil: undefined }),
        fc.option(key, { nil: undefined }),
        fc.constantFrom(undefined, '\t', '  '),
        fc.boolean(),
        (object, name, wanted, after, indent, isWindows) => {
          const eol = isWindows ? '\r\n' : '\n';
          const before = JSON.stringify({ '//': 'keep', s: object, t: [1] }, null, indent).replaceAll('\n', eol);
          const place = after === undefined ? {} : { after };
          const text = edit(before, ['s'], { at: [name], value: wanted, ...place });
          expect(isSame(parse(text), withValueAt(parse(before), ['s', name], wanted))).toBe(true);
          const at = before.indexOf('"s":');
          expect(text.slice(0, at)).toBe(before.slice(0, at));
          const tail = before.slice(before.lastIndexOf('"t":'));
          expect(text.endsWith(tail)).toBe(true);
          if (isWindows) expect(text.replaceAll('\r\n', '')).not.toContain('\n');
          const entry = textAt(before, ['s']);
          expect(replace(text, ['s'], entry)).toBe(before);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('parse()', () => {
  test.each([
    ['{"a": }', 'line 1, column 7: value expected'],
    ['{\n  "a": 1\n  "b": 2\n}', 'line 3, column 3: comma expected'],
    ['[]', 'it holds a list, want an object'],
    ['7', 'it holds a single value, want an object'],
    ['{} x', 'column 4'],
    ['{"a": "\u0001"}', 'invalid character'],
  ])('refuses %j, saying where', (text, why) => {
    expect(() => parse(text)).toThrow(why);
  });

  test('takes an empty file for one without servers', () => {
    expect([parse(''), parse(' \n'), parse('// nothing')]).toEqual([{}, {}, {}]);
  });

  test('refuses what is nested too deeply, instead of ending', () => {
    expect(() => parse(`{"a":${'['.repeat(200_000)}`)).toThrow(/nested too deeply|expected/);
  });
});
