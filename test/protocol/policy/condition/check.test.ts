import { describe, expect, test } from 'vitest';
import { CONDITION_PATTERN_PROGRAM_MAX, CONDITION_PATTERN_TEXT_MAX } from '../../../../protocol/limits.ts';
import { compileCondition } from '../../../../protocol/policy/condition/compile.ts';

describe('compileCondition()', () => {
  test.each([
    ['tool.nam == 1', 6, '"tool.nam", which is no field', 'a field: did you mean "tool.name"'],
    ['tol.name == 1', 1, '"tol", which is no field', 'a field: did you mean "tool"'],
    [
      'tool.args == 1',
      6,
      '"tool.args", which is no field',
      'one of tool.name, tool.server, tool.arguments, tool.paths',
    ],
    ['export', 1, '"export", which is no field', undefined],
    ['tool.name.first == 1', 11, 'a member of "tool.name", which is a name', 'nothing inside it'],
    ['tool.paths.x == 1', 12, 'a member of "tool.paths", which is a list', 'nothing inside it'],
    ['tool.arguments[0] == 1', 16, 'a member of "tool.arguments", which is a map', 'nothing inside it'],
    ["environment.name.x == ''", 18, 'a member of "environment", which is a text', 'nothing inside it'],
    ["toString == 'x'", 1, '"toString", which is no field', undefined],
    ["__proto__ == 'x'", 1, '"__proto__", which is no field', undefined],
    ["tool.constructor == 'x'", 6, '"tool.constructor", which is no field', undefined],
    ["'a'.b == 1", 1, '"\'a\'"', 'a field before "." and "["'],

    ['action.type > 3', 15, '"3", which is a number, compared with "action.type", which is a name', 'a name'],
    [
      "data.contains_pii == 'yes'",
      22,
      '"\'yes\'", which is a text, compared with "data.contains_pii", which is a boolean',
      'a boolean',
    ],
    [
      "trust.score == '700'",
      16,
      '"\'700\'", which is a text, compared with "trust.score", which is a number',
      'a number',
    ],
    ['tool.server == null', 16, '"null", which is null, compared with "tool.server", which is a name', 'a name'],
    ['tool.name', 1, '"tool.name", which is a name', 'a boolean or a comparison'],
    ['tool', 1, '"tool", which is a group of fields', 'a boolean or a comparison'],
    ["action.type == 'a' and 'b'", 24, '"\'b\'", which is a text', 'a boolean or a comparison'],
    ['not trust.score', 5, '"trust.score", which is a number', 'a boolean or a comparison'],
    ['data.contains_pii < true', 1, '"data.contains_pii", which is a boolean', 'a number or a text'],
    ['tool.arguments == 1', 1, '"tool.arguments", which is a map', 'a text, number, boolean or null'],
    ["data.labels == ['a']", 1, '"data.labels", which is a list', 'a text, number, boolean or null'],
    ['1 == true', 6, '"true", which is a boolean, compared with "1", which is a number', 'a number'],
    ["tool.name == '\\u200b'", 14, '"\u200b", of which nothing is compared', 'visible characters'],
    ["tool.name in ['a', '\\u200b']", 14, '"\u200b", of which nothing is compared', 'visible characters'],
    ["tool.name.contains('\\u200b')", 20, '"\u200b", of which nothing is compared', 'visible characters'],

    ["tool.name in ['a', 3]", 20, 'a number among others of another type', 'a text'],
    ['tool.name in [3]', 14, '"[3]", which is a list, compared with "tool.name", which is a name', 'a name'],
    ["tool.name in 'abc'", 14, '"\'abc\'", which is a text', 'a list: for a part of a text there is .contains()'],
    ['1 in trust.score', 6, '"trust.score", which is a number', 'a list'],
    ['1 in data.labels', 6, '"data.labels", which is a list, compared with "1", which is a number', 'a number'],
    ['5 in tool.arguments', 6, '"tool.arguments", which is a map, compared with "5", which is a number', 'a number'],
    ['data.labels in [[1]]', 17, '"[1]"', 'a text, number, boolean or null'],
    ['tool.name in [agent.name]', 15, '"agent.name"', 'a text, number, boolean or null'],

    ['has(3)', 5, '"3"', 'a field'],
    ['has(tool.nam)', 10, '"tool.nam", which is no field', 'a field: did you mean "tool.name"'],
    ['has()', 1, '"has" with 0 arguments', '1'],
    ['has(tool, agent)', 1, '"has" with 2 arguments', '1'],
    ['data.labels.exists(x, has(x))', 27, '"x", which is always there', 'something inside it'],
    ["startsWith(tool.name, 'a')", 1, '"startsWith", which is no function', 'it behind a dot: x.startsWith(…)'],
    ['sise(tool.name) == 1', 1, '"sise", which is no function', 'one: did you mean "size"'],
    ['now() == 1', 1, '"now", which is no function', 'one of has, size, under'],
    ["tool.name.startswith('a')", 11, '"startswith", which is no method', 'one: did you mean "startsWith"'],
    ["tool.name.replace('a')", 11, '"replace", which is no method', undefined],
    ["trust.score.startsWith('a')", 1, '"trust.score", which is a number', 'a text'],
    ['tool.name.startsWith(1)', 22, '"1", which is a number', 'a text'],
    [
      "data.labels.contains('a')",
      1,
      '"data.labels", which is a list',
      'a text: for an element of a list there is "in"',
    ],
    ['size(trust.score) == 1', 6, '"trust.score", which is a number', 'a text, list or map'],
    ['trust.score.lower() == 1', 1, '"trust.score", which is a number', 'a text'],
    ['tool.name.lower(1) == 1', 11, '"lower" with 1 arguments', 'none'],

    [
      "under(tool.paths, '/a')",
      7,
      '"tool.paths", which is a list',
      'a path: of a list, "tool.paths".all(p, under(p, …))',
    ],
    ["under(tool.name, '/a')", 7, '"tool.name", which is a name', 'a path'],
    ["under(resource.uri, 'a')", 21, '"a"', 'an absolute path without "." or ".." in it, as /srv/data'],
    ["under(resource.uri, '/a/../b')", 21, '"/a/../b"', 'an absolute path without "." or ".." in it, as /srv/data'],
    ["under(resource.uri, '')", 21, '""', 'an absolute path without "." or ".." in it, as /srv/data'],
    ['under(resource.uri, agent.did)', 21, '"agent.did"', 'a directory in quotes'],

    ['tool.name.exists(x, x)', 1, '"tool.name", which is a name', 'a list'],
    ["data.labels.exists(x, 'a')", 23, '"\'a\'", which is a text', 'a boolean or a comparison'],
    ["data.labels.exists(x.y, x == 'a')", 20, '"x.y"', 'a name for the elements'],
    [
      "data.labels.exists(tool, tool == 'a')",
      20,
      '"tool", which has a meaning already',
      'another name for the elements',
    ],
    ["data.labels.exists(x, data.labels.all(x, x == 'a'))", 39, '"x", which has a meaning already', undefined],
    ["data.labels.exists(x, true) and x == 'a'", 33, '"x", which is no field', undefined],
    ["data.labels.exists(x, x.y == 'a')", 25, 'a member of "x", which is a text', 'nothing inside it'],
    ["data.labels.map(x, x == 'a')", 13, '"map", which is no method', undefined],

    ["tool.name.matches('(')", 19, undefined, 'one that RE2 takes'],
    ["tool.name.matches('(?=a)')", 19, undefined, 'one that RE2 takes'],
    ["tool.name.matches('(a)\\\\1')", 19, undefined, 'one that RE2 takes'],
    ['tool.name.matches(agent.did)', 19, '"agent.did"', "a pattern in quotes, as r'^a+$'"],
    [`tool.name.matches('${'a'.repeat(CONDITION_PATTERN_TEXT_MAX + 1)}')`, 19, undefined, 'one that RE2 takes'],
    [
      `tool.name.matches('(a{50}){${Math.ceil(CONDITION_PATTERN_PROGRAM_MAX / 50)}}')`,
      19,
      undefined,
      'one that RE2 takes',
    ],
  ])('refuses %j at column %i', (text, column, is, want) => {
    expect(() => compileCondition(text)).toThrow(
      expect.objectContaining({
        code: 'policy_invalid',
        data: expect.objectContaining({
          line: 1,
          column,
          ...(is === undefined ? {} : { is }),
          ...(want === undefined ? {} : { want }),
        }) as unknown,
      }) as Error,
    );
  });

  test('finds fields whichever way they are written, and says which a condition looks at', () => {
    const condition = compileCondition(
      "tool['name'] == 'a' and tool.arguments['a b'][0].c == 1 and data.labels.exists(l, l == agent.did) and has(facts['it\\'s'])",
    );
    expect(condition.fields).toEqual([
      'tool.name',
      "tool.arguments['a b'][0].c",
      'data.labels',
      'agent.did',
      "facts['it\\'s']",
    ]);
  });
});
