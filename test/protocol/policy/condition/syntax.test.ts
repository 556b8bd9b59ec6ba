import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MeshError } from '../../../../protocol/errors.ts';
import { CONDITION_DEPTH_MAX, CONDITION_NODES_MAX, CONDITION_TEXT_MAX } from '../../../../protocol/limits.ts';
import { compileCondition } from '../../../../protocol/policy/condition/compile.ts';
import { parseSyntax } from '../../../../protocol/policy/condition/syntax.ts';

const TOKENS = [
  ..."and or not in ( ) [ ] , . == < 'x' 1 tool.name facts size ! exists has matches x \" \\ - __proto__ constructor".split(
    ' ',
  ),
  '\n',
  '\u0000',
  '\ud800',
];

/** What it is refused with. */
function refusal(text: string): MeshError {
  try {
    parseSyntax(text);
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error(`"${text}" was accepted`);
}
const valueOf = (text: string): unknown => {
  const expression = parseSyntax(text);
  return expression.kind === 'constant' ? expression.value : expression;
};

describe('parseSyntax()', () => {
  test.each([
    ["a == 'x' b", 10, '"b"', '"and", "or" or the end'],
    ["a == 'x' and", 13, 'at its end', 'a field, a value, "not" or "("'],
    ['', 1, 'at its end', 'a condition'],
    ['  \n ', 2, 'at its end', 'a condition'],
    ['(a', 3, 'at its end', '")"'],
    ['a)', 2, '")"', '"and", "or" or the end'],
    ['a = 1', 3, '"="', '"=="'],
    ['a & b', 3, '"&"', '"&&" or "and"'],
    ['a | b', 3, '"|"', '"||" or "or"'],
    ['a + 1', 3, '"+"', 'a field, a value or an operator'],
    ['a == 1 == 2', 8, '"=="', '"and" or "or": comparisons do not chain'],
    ['1 < a < 3', 7, '"<"', '"and" or "or": comparisons do not chain'],
    ['a in [1] in [2]', 10, '"in"', '"and" or "or": comparisons do not chain'],
    ['a not b', 7, '"b"', '"in" after "not"'],
    ['and a', 1, '"and"', 'a field, a value, "not" or "("'],
    ["a == 'x", 6, 'a text without an end', "' on the same line"],
    ["a == 'x\n'", 6, 'a text without an end', "' on the same line"],
    [
      "a == 'x\\d'",
      8,
      '"\\\\d"',
      "\\\\ \\' \\\" \\n \\r \\t \\xHH \\uHHHH or \\UHHHHHHHH; a pattern is best written as r'…'",
    ],
    ["'\\ud800'", 2, '"\\\\u"', undefined],
    ["'\\U00110000'", 2, '"\\\\U"', undefined],
    ["'\ud800'", 1, 'half of a surrogate pair', 'Unicode text'],
    ['a == “x”', 6, '"“"', 'a text in \' or "'],
    ['a\u00a0== 1', 2, 'U+00A0', 'a field, a value or an operator'],
    ['a == 1\u200b', 7, 'U+200B', 'a field, a value or an operator'],
    ['a == 12x', 6, '"12x"', 'a number such as 10, -2 or 0.5'],
    ['a == 007', 6, '"00"', 'a number such as 10, -2 or 0.5'],
    ['a == 9007199254740993', 6, '"9007199254740993"', 'a number that a double holds: integers within ±(2^53 - 1)'],
    ['a == 1e400', 6, '"1e400"', 'a number that a double holds: integers within ±(2^53 - 1)'],
    ['a.b-c', 4, '"-"', 'a field, a value or an operator'],
    ['a.', 3, 'at its end', "the name of a member: others are written as ['name']"],
    ['a[b]', 3, '"b"', 'a text, or an integer from 0'],
    ['a[-1]', 3, '"-1"', 'a text, or an integer from 0'],
    ['a[1.5]', 3, '"1.5"', 'a text, or an integer from 0'],
    ['a in [1,]', 9, '"]"', 'a field, a value, "not" or "("'],
    ['f(a b)', 5, '"b"', '"," or ")"'],
    ['a ? b : c', 3, '"?"', 'a field, a value or an operator'],
    ['a; b', 2, '";"', 'a field, a value or an operator'],
  ])('refuses %j at column %i', (text, column, is, want) => {
    const { code, data } = refusal(text);
    expect({ code, column: data.column, is: data.is }).toEqual({ code: 'policy_invalid', column, is });
    if (want !== undefined) expect(data.want).toBe(want);
  });

  test('says line and column in characters, and the offset in code units', () => {
    const { data, message } = refusal("a == '😀' and\n  b == '😀' c");
    expect(data).toMatchObject({ line: 2, column: 12, offset: 26 });
    expect(message).toBe('Cannot read condition at line 2, column 12: it is "c", want "and", "or" or the end');
  });

  test.each([
    ["'a\\'b'", "a'b"],
    ['"a\\"b\\\\\\n\\r\\t"', 'a"b\\\n\r\t'],
    ["'\\x41\\u00e9\\U0001F600'", 'Aé😀'],
    ["r'\\d+'", '\\d+'],
    ['r"\\"', '\\'],
    ['-12', -12],
    ['-0', 0],
    ['0.5', 0.5],
    ['1e3', 1000],
    ['9007199254740991', 9007199254740991],
    ['true', true],
    ['null', null],
  ])('reads %j as %j', (text, value) => {
    expect(Object.is(valueOf(text), value)).toBe(true);
  });

  test.each([
    ['a or b and c', 'a or (b and c)'],
    ['a || b && c', 'a or (b and c)'],
    ['not a == b', 'not (a == b)'],
    ['!a == b', '(!a) == b'],
    ['not a and b', '(not a) and b'],
    ['a and not b in [1]', 'a and (not (b in [1]))'],
    ["a['b'].c[0]", "((((a))['b']).c)[0]"],
  ])('reads %j as %j', (text, explicit) => {
    expect(shapeOf(parseSyntax(text))).toEqual(shapeOf(parseSyntax(explicit)));
  });

  test('takes every word as the name of a member', () => {
    expect(parseSyntax('a.in.not.true == 1').kind).toBe('relation');
  });

  test.each([
    ['parentheses', (n: number) => '('.repeat(n) + 'a' + ')'.repeat(n)],
    ['"not"', (n: number) => `${'not '.repeat(n)}a`],
    ['"!"', (n: number) => `${'!'.repeat(n)}a`],
    ['lists', (n: number) => `a in ${'['.repeat(n)}${']'.repeat(n)}`],
    ['calls', (n: number) => `${'size('.repeat(n)}a${')'.repeat(n)} == 1`],
  ])('nests %s as deep as allowed, and no deeper', (_, nest) => {
    expect(() => parseSyntax(nest(CONDITION_DEPTH_MAX))).not.toThrow();
    expect(refusal(nest(CONDITION_DEPTH_MAX + 1)).data.is).toBe('nested deeper');
    expect(refusal(nest(2_000)).data.is).toBe('nested deeper');
  });

  test('is as long as allowed, and no longer', () => {
    const list = (length: number): string => `a in [${Array.from({ length }, () => '1').join(',')}]`;
    expect(() => parseSyntax(list(CONDITION_NODES_MAX - 3))).not.toThrow();
    expect(refusal(list(CONDITION_NODES_MAX - 2)).data.is).toBe('longer');
    expect(refusal(`a${'.a'.repeat(CONDITION_NODES_MAX)}`).data.is).toBe('longer');
    const text = (length: number): string => `a == '${'x'.repeat(length - 7)}'`;
    expect(() => parseSyntax(text(CONDITION_TEXT_MAX))).not.toThrow();
    expect(refusal(text(CONDITION_TEXT_MAX + 1)).data.want).toBe(`at most ${CONDITION_TEXT_MAX}`);
  });

  test('refuses whatever else it is given with policy_invalid and a place', () => {
    const token = fc.constantFrom(...TOKENS);
    const text = fc.oneof(
      fc.array(token, { maxLength: 12 }).map((tokens) => tokens.join(' ')),
      fc.array(token, { maxLength: 12 }).map((tokens) => tokens.join('')),
      fc.string({ unit: 'binary' }),
    );
    let refused = 0;
    fc.assert(
      fc.property(text, (input) => {
        try {
          compileCondition(input);
        } catch (error) {
          refused++;
          expect(error).toBeInstanceOf(MeshError);
          expect(error).toMatchObject({ code: 'policy_invalid' });
          const { offset = -1, line = 0, column = 0 } = (error as MeshError).data as Record<string, number>;
          expect(offset >= 0 && offset <= input.length && line >= 1 && column >= 1).toBe(true);
        }
      }),
      { numRuns: 2000, seed: 5 },
    );
    expect(refused).toBeGreaterThan(500);
  });
});

/** Without places, which parentheses move. */
const shapeOf = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (key, member: unknown) => (['start', 'end', 'at'].includes(key) ? undefined : member)),
  );
