import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { covers, isAlwaysTrue, isNeverTrue } from '../../../../protocol/policy/condition/analyse.ts';
import { compileCondition } from '../../../../protocol/policy/condition/compile.ts';
import { anyCondition, context } from './arbitrary.ts';

describe('isNeverTrue()', () => {
  test.each([
    ['false', 'it is false'],
    ['not true', 'it is false'],
    ['1 == 2 or false', 'it is false'],
    [
      "action.type == 'a' and action.type == 'b'",
      `"action.type == 'a'" and "action.type == 'b'" are not true together`,
    ],
    ['facts.x > 5 and facts.x < 3', '"facts.x > 5" and "facts.x < 3" are not true together'],
    ['facts.x > 5 and 5 > facts.x', '"facts.x > 5" and "5 > facts.x" are not true together'],
    ['facts.x >= 5 and facts.x < 5', undefined],
    ["facts.x > 5 and facts.x < 'a'", undefined],
    ['facts.x in []', '"facts.x in []" is never true: nothing is in an empty list'],
    ["tool.name == 'a' and tool.name != 'Ａ'", undefined],
    ["tool.name == 'a' and not tool['name'] == 'A'", undefined],
    ["tool.name == 'a' and tool.name.startsWith('b')", undefined],
    ["tool.name.startsWith('ab') and tool.name.startsWith('b')", undefined],
    ["tool.name.startsWith('ab') and not tool.name.startsWith('a')", undefined],
    ["tool.name.endsWith('ab') and not tool.name.contains('a')", undefined],
    ["tool.name in ['a', 'b'] and tool.name != 'a' and tool.name != 'b'", undefined],
    ["tool.name in ['a', 'b'] and tool.name in ['c', 'd']", undefined],
    ["(tool.name == 'a' or tool.name == 'b') and tool.name == 'c'", undefined],
    ['data.contains_pii and not data.contains_pii', undefined],
    ['facts.x and facts.x == false', undefined],
    ["facts.x == null and facts.x == 'a'", undefined],
    ["facts.x == 'a' and facts.x == 1", undefined],
    ['not has(tool) and tool.name == "a"', undefined],
    ['not has(facts.x) and facts.x.y != 1', undefined],
    ["under(tool.paths[0], '/a') and under(tool.paths[0], '/b')", undefined],
    ["under(facts.p, '/a/b') and not under(facts.p, '/a')", undefined],
    ["tool.name.matches('a') and not tool.name.matches('a')", undefined],
    ['tool.name == agent.name and not (tool.name == agent.name)', undefined],
    ["tool.paths.exists(p, p == '/a' and p == '/b')", undefined],
    ['(facts.y or facts.z) and facts.x == 1 and facts.x == 2', undefined],
    ['facts.x == 1 and (facts.x == 2 or (facts.x == 3 and facts.y))', undefined],
  ])('is certain of %s', (text, reason) => {
    const said = isNeverTrue(compileCondition(text));
    expect(said).toBeTypeOf('string');
    if (reason !== undefined) expect(said).toBe(reason);
  });

  test.each([
    'true',
    "action.type == 'a'",
    'facts.x >= 5 and facts.x <= 5',
    "facts.x == 'a' or facts.x == 'b'",
    "tool.name == 'a' and agent.name == 'b'",
    "tool.name.startsWith('a') and tool.name.startsWith('ab')",
    "tool.name.startsWith('a') and tool.name.endsWith('b')",
    "tool.name.contains('a') and tool.name.contains('b')",
    "tool.name.contains('a') and not tool.name.startsWith('a')",
    'not has(facts.x) and facts.y == 1',
    'has(facts.x) and not has(facts.x.y)',
    "under(facts.p, '/a') and not under(facts.p, '/a/b')",
    "tool.paths.exists(p, p == '/a') and tool.paths.exists(p, p == '/b')",
    "tool.paths.all(p, p == '/a') and tool.paths.all(p, p == '/b')",
    "facts.a.x == 1 and facts['a.x'] == 2",
    "facts.l[0] == 1 and facts.l['0'] == 2",
  ])('is not of %s', (text) => {
    expect(isNeverTrue(compileCondition(text))).toBeUndefined();
  });
});

describe('isAlwaysTrue()', () => {
  test.each([
    'true',
    'not false',
    "'a' != 'b'",
    'facts.x or true',
    'has(action.type)',
    'has(time) and has(agent.did)',
    'not (false and facts.x)',
  ])('is certain of %s', (text) => expect(isAlwaysTrue(compileCondition(text))).toBe(true));
  test.each([
    'false',
    "action.type == 'a' or action.type != 'a'",
    'has(tool)',
    'has(agent.name)',
    'not has(action)',
    'facts.x or not facts.x',
  ])('is not of %s', (text) => expect(isAlwaysTrue(compileCondition(text))).toBe(false));
});

describe('covers()', () => {
  test.each([
    ['true', 'facts.x'],
    ['facts.x', 'false'],
    ["action.type == 'a'", "'A' == action.type"],
    ["action.type == 'a'", "action.type == 'a' and facts.x"],
    ["action.type == 'a' and facts.x", "facts.x and facts.y and action.type == 'a'"],
    ["action.type == 'a' or facts.x", "action.type == 'a'"],
    ["tool.name in ['a', 'b', 'c']", "tool.name == 'A' or tool.name == 'b'"],
    ["tool.name == 'a' or tool.name == 'b'", "tool.name in ['b']"],
    ["tool.name not in ['a']", "tool.name not in ['a', 'b']"],
    ["tool.name != 'a'", "tool.name == 'b'"],
    ["tool.name != 'a'", "tool.name.startsWith('b')"],
    ['facts.x > 3', 'facts.x > 5'],
    ['facts.x >= 3', 'facts.x > 3'],
    ['facts.x < 5', '3 > facts.x'],
    ['facts.x >= 3', 'facts.x in [3, 7]'],
    ['facts.x != 1', 'facts.x > 1'],
    ['not (facts.x > 5)', 'facts.x <= 5'],
    ["tool.name.startsWith('re')", "tool.name == 'READ'"],
    ["tool.name.startsWith('re')", "tool.name.startsWith('read')"],
    ["tool.name.contains('ea')", "tool.name.endsWith('ead')"],
    ["not tool.name.startsWith('read')", "not tool.name.startsWith('re')"],
    ["not tool.name.startsWith('b')", "tool.name.startsWith('a')"],
    ["under(facts.p, '/a')", "under(facts.p, '/a/b')"],
    ["under(facts.p, '/')", "under(facts.p, '/a')"],
    ["not under(facts.p, '/a')", "under(facts.p, '/b')"],
    ["tool.paths.exists(p, under(p, '/a'))", "tool.paths.exists(q, under(q, '/a/b') and q != '/a/b')"],
    ["not tool.paths.all(p, under(p, '/a'))", "tool.paths.exists(q, not under(q, '/a'))"],
    ['has(facts.x)', 'facts.x != 3'],
    ['has(facts)', 'has(facts.x)'],
    ['not has(facts.x)', 'not has(facts)'],
    ['not facts.a or not facts.b', 'not (facts.a and facts.b)'],
    ["tool.name.matches('^a')", "facts.x and tool.name.matches('^a')"],
    ['tool.name == agent.name', 'tool.name == agent.name'],
  ])('is certain that %s covers %s', (a, b) => {
    expect(covers(compileCondition(a), compileCondition(b))).toBe(true);
  });

  test.each([
    ['facts.x', 'true'],
    ["action.type == 'a' and facts.x", "action.type == 'a'"],
    ["action.type == 'a'", "action.type == 'a' or facts.x"],
    ['facts.x > 5', 'facts.x > 3'],
    ['facts.x > 3', 'facts.x >= 3'],
    ["facts.x != 'a'", 'facts.x == 5'], // a number does not compare with a text
    ["facts.x != 'a'", 'facts.x > 5'],
    ["facts.x not in ['a']", 'facts.x'],
    ["tool.name.startsWith('read')", "tool.name.startsWith('re')"],
    ["not tool.name.startsWith('re')", "not tool.name.startsWith('read')"],
    ["not tool.name.contains('b')", "tool.name.startsWith('a')"],
    ["under(facts.p, '/a')", "under(facts.p, '/ab')"],
    ["tool.paths.all(p, under(p, '/a'))", "tool.paths.exists(p, under(p, '/a'))"],
    ['has(facts.x)', 'has(facts)'],
    ['has(facts.x)', 'not has(facts.x)'],
    ["facts.t.matches('^a')", "tool.name.matches('^a')"],
    ["facts.t.matches('^a')", "facts.t.matches('^A')"],
    ['not (facts.x > 5)', 'has(facts.x)'],
  ])('is not certain that %s covers %s', (a, b) => {
    expect(covers(compileCondition(a), compileCondition(b))).toBe(false);
  });

  test('ends, whatever it is asked', () => {
    const nested = (depth: number, leaf: string): string =>
      depth === 0
        ? leaf
        : `(${nested(depth - 1, `${leaf}0`)} and facts.b${depth} or ${nested(depth - 1, `${leaf}1`)} and facts.c${depth})`;
    const [a, b] = [nested(6, 'facts.x'), nested(6, 'facts.y')].map(compileCondition);
    if (a === undefined || b === undefined) throw new Error('nothing to compare');
    expect(covers(a, b)).toBe(false);
    expect(covers(b, a)).toBe(false);
  });
});

describe('of random conditions and requests', () => {
  test('what is never true is not true, what is always true is true, and what covers is true where the other is', () => {
    const seen = { never: 0, always: 0, covered: 0, held: 0 };
    fc.assert(
      fc.property(
        anyCondition,
        anyCondition,
        fc.array(context, { minLength: 5, maxLength: 5 }),
        (textA, textB, requests) => {
          // Conditions that share something cover each other more often than strangers do.
          const [a, b, both] = [textA, textB, `(${textA}) and (${textB})`].map(compileCondition);
          if (a === undefined || b === undefined || both === undefined) throw new Error('nothing to compare');
          for (const condition of [a, both]) {
            if (isNeverTrue(condition) !== undefined) {
              seen.never++;
              for (const request of requests) expect(condition.evaluate(request), condition.text).not.toBe(true);
            }
            if (isAlwaysTrue(condition)) {
              seen.always++;
              for (const request of requests) expect(condition.evaluate(request), condition.text).toBe(true);
            }
          }
          for (const [wide, narrow] of [
            [a, b],
            [b, a],
            [a, both],
            [both, a],
          ] as const) {
            if (!covers(wide, narrow)) continue;
            seen.covered++;
            for (const request of requests) {
              if (narrow.evaluate(request) !== true) continue;
              seen.held++;
              expect(wide.evaluate(request), `${wide.text} covers ${narrow.text}`).toBe(true);
            }
          }
        },
      ),
      { numRuns: 1500, seed: 11 },
    );
    for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(10);
  });
});
