import { describe, expect, test } from 'vitest';
import { LINTS, lintPolicy } from '../../../protocol/policy/index.ts';
import { policy, rules } from './sample.ts';

/** Findings as "lint rule", in order. */
const lint = (body: string): string[] => lintPolicy(policy(body)).map(({ lint: kind, rule }) => `${kind} ${rule}`);

const X = `condition: "action.type == 'x'"`;
const XY = `condition: "action.type in ['x', 'y']"`;
const X_AND = `condition: "action.type == 'x' and data.contains_pii"`;
const allow = (name: string, condition: string, more = ''): string =>
  `name: ${name}, ${condition}, action: allow${more}`;
const deny = (name: string, condition: string, more = ''): string => `name: ${name}, ${condition}, action: deny${more}`;
const ask = (name: string, condition: string, more = ''): string =>
  `name: ${name}, ${condition}, action: require_approval${more}`;

test('a policy as it should be has no findings', () => {
  expect(lint(rules(allow('a', X), deny('b', X_AND), ask('c', `condition: "action.type == 'z'"`)))).toEqual([]);
});

describe('found is', () => {
  test.each([
    ['a rule that is switched off', rules(allow('a', X), deny('b', XY, ', enabled: false')), ['disabled b']],
    [
      'a condition that contradicts itself',
      rules(allow('a', X), `name: b, action: deny, condition: "action.type == 'x' and action.type == 'y'"`),
      ['never_matches b'],
    ],
    ['a condition that says nothing', rules(`name: a, action: allow, condition: "true"`), ['always_matches a']],
    [
      'an allow rule behind a deny rule',
      rules(allow('z', `condition: "action.type == 'z'"`), allow('a', X), deny('b', XY)),
      ['shadowed a'],
    ],
    [
      'an approval behind a deny rule',
      rules(allow('z', `condition: "action.type == 'z'"`), deny('b', XY), ask('a', X)),
      ['unreachable_approval a'],
    ],
    [
      'an approval behind a rule that denies everything',
      rules('name: all, action: deny', ask('a', X)),
      ['nothing_allowed null', 'unreachable_approval a'],
    ],
    ['an allow rule behind an approval', rules(ask('b', XY), allow('a', X)), ['shadowed a']],
    [
      'the same twice',
      rules(deny('a', X), deny('b', X), allow('c', `condition: "action.type == 'z'"`)),
      ['duplicate b'],
    ],
    [
      'a quorum that nobody can fill',
      rules(ask('a', X, ", quorum: 3, approvers: [a@b.c, 'did:mesh:x']")),
      ['quorum a'],
    ],
    [
      'a limit of what nothing allows',
      rules(`name: a, ${X}, limit: 1/day`, allow('b', `condition: "action.type == 'z'"`)),
      ['limit_without_allow a'],
    ],
    ['a policy that can allow nothing', rules(deny('a', X)), ['nothing_allowed null']],
    ['a mistyped action type', rules(allow('a', `condition: "action.type == 'tool_cal'"`)), ['action_type a']],
  ])('%s', (_, body, found) => {
    expect(lint(body)).toEqual(found);
  });
});

describe('not found is', () => {
  test.each([
    ['a deny rule that another one covers in part', rules(deny('a', X_AND), allow('b', X))],
    ['a quorum of all who are named', rules(ask('a', X, ', quorum: 2, approvers: [a@b.c, d@e.f]'))],
    ['a quorum of a group', rules(ask('a', X, ', quorum: 3, approvers: [security-team]'))],
    ['a limit of what an approval allows', rules(`name: a, ${X}, limit: 1/day`, ask('b', XY))],
    ['a limit where the default allows', `default: allow\n${rules(`name: a, ${X}, limit: 1/day`)}`],
    ["an action of the caller's own", rules(allow('a', `condition: "action.type == 'export'"`))],
    ['the same twice, but for a limit', rules(allow('a', X, ', limit: 1/day'), allow('b', X, ', limit: 9/hour'))],
  ])('%s', (_, body) => {
    expect(lint(body)).toEqual([]);
  });
});

test('which rule decides nothing depends on the strategy', () => {
  const both = rules(allow('a', X), deny('d', X), allow('z', `condition: "action.type == 'z'"`));
  expect(lint(`conflict: allow_overrides\n${both}`)).toEqual(['shadowed d']);
  expect(lint(`conflict: priority_first_match\n${rules(allow('a', X, ', priority: 1'), deny('d', X))}`)).toEqual([
    'shadowed d',
  ]);
  expect(
    lint(`conflict: most_specific_wins\n${rules(allow('a', X, ', scope: agent'), deny('d', X, ', scope: global'))}`),
  ).toEqual(['shadowed d']);
});

test('what a parent denies is never shadowed, and shadows', () => {
  const base = `version: "1.0"\n${rules(deny('no-x', X))}`;
  const child = `extends: base.yaml\nconflict: allow_overrides\n${rules(allow('a', X), allow('all', XY))}`;
  const both = lintPolicy(policy(child, { resolve: (path) => ({ name: path, text: base }) }));
  expect(both.map(({ lint: kind, rule }) => `${kind} ${rule}`)).toEqual(['shadowed a']);
  const found = lintPolicy(
    policy(
      `extends: agentmesh:strict\nconflict: allow_overrides\n${rules('name: shells, action: allow, condition: "tool.name == \'shell\'"', allow('a', X))}`,
    ),
  );
  expect(found.filter(({ rule }) => rule?.startsWith('no-'))).toEqual([]);
});

test('a finding has its place and a sentence', () => {
  expect(
    lintPolicy(policy(`name: p\n${rules(allow('a', X), deny('b', XY, ', enabled: false'))}`, { file: 'p.yaml' })),
  ).toEqual([
    { lint: 'disabled', rule: 'b', message: 'Rule "b" is switched off', file: 'p.yaml', place: { line: 5, column: 5 } },
  ]);
  expect(Object.keys(LINTS)).toContain('disabled');
});
