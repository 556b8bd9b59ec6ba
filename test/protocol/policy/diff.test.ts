import { describe, expect, test } from 'vitest';
import { diffPolicies, type Direction } from '../../../protocol/policy/index.ts';
import { policy, rules } from './sample.ts';

const X = `condition: "action.type == 'x'"`;
const XY = `condition: "action.type in ['x', 'y']"`;
const of = (before: string, after: string) => diffPolicies(policy(before), policy(after));
const opposite: Record<Direction, Direction> = {
  same: 'same',
  narrower: 'wider',
  wider: 'narrower',
  unclear: 'unclear',
};

describe('a change allows', () => {
  const deny = rules(`name: a, ${X}, action: deny`);
  const allow = rules(`name: a, ${X}, action: allow`);
  const ask = rules(`name: a, ${X}, action: require_approval`);
  test.each<[string, string, string, Direction]>([
    ['nothing', deny, deny, 'same'],
    ['a deny rule more', '', deny, 'narrower'],
    ['an allow rule more', '', allow, 'wider'],
    ['an allow rule more, where everything is allowed', 'default: allow', `default: allow\n${allow}`, 'same'],
    ['an approval more, where everything is allowed', 'default: allow', `default: allow\n${ask}`, 'narrower'],
    ['an approval more, where it may be denied or allowed', '', ask, 'unclear'],
    ['a note more', '', rules('name: a, action: log'), 'same'],
    ['a limit more', '', rules('name: a, limit: 1/day'), 'narrower'],
    ['deny for allow', allow, deny, 'narrower'],
    ['approval for allow', allow, ask, 'narrower'],
    ['a rule switched off', deny, rules(`name: a, ${X}, action: deny, enabled: false`), 'wider'],
    ['a deny rule for more', deny, rules(`name: a, ${XY}, action: deny`), 'narrower'],
    ['an allow rule for more', allow, rules(`name: a, ${XY}, action: allow`), 'wider'],
    ['a condition put otherwise', deny, rules(`name: a, condition: "'x' == action.type", action: deny`), 'same'],
    ['another condition', deny, rules(`name: a, condition: "data.contains_pii", action: deny`), 'unclear'],
    ['a lower limit', rules('name: a, limit: 9/day'), rules('name: a, limit: 8/day'), 'narrower'],
    ['as many in less time', rules('name: a, limit: 9/day'), rules('name: a, limit: 9/hour'), 'wider'],
    ['fewer in less time', rules('name: a, limit: 9/day'), rules('name: a, limit: 8/hour'), 'unclear'],
    ['default allow', 'default: deny', 'default: allow', 'wider'],
    ['secrets cut out', '', 'output: { secrets: redact }', 'narrower'],
    ['smaller results', '', 'output: { max_bytes: 5 }', 'narrower'],
    ['changed tools denied', '', 'tools: { changes: deny }', 'narrower'],
    ['another strategy', '', 'conflict: allow_overrides', 'unclear'],
    ['other agents', '', 'agent: x', 'unclear'],
    ['more and less', allow, 'output: { secrets: redact }\n' + rules(`name: a, ${XY}, action: allow`), 'unclear'],
  ])('%s', (_, before, after, direction) => {
    expect(of(before, after).direction).toBe(direction);
    expect(of(after, before).direction).toBe(opposite[direction]);
  });
});

test('rules are told by what happened to them', () => {
  const before = rules(`name: gone, ${X}, action: deny`, `name: kept, ${X}, action: allow, description: A`);
  const after = rules(`name: kept, ${XY}, action: allow, description: B`, `name: new, ${X}, action: log`);
  expect(of(before, after).rules).toEqual([
    { rule: 'gone', kind: 'removed', settings: [], direction: 'wider' },
    {
      rule: 'kept',
      kind: 'changed',
      direction: 'wider',
      settings: [
        { setting: 'condition', before: "action.type == 'x'", after: "action.type in ['x', 'y']", direction: 'wider' },
        { setting: 'description', before: 'A', after: 'B', direction: 'same' },
      ],
    },
    { rule: 'new', kind: 'added', settings: [], direction: 'same' },
  ]);
});

test('says limits and times as documents do', () => {
  const limits = diffPolicies(policy(rules('name: a, limit: 9/day')), policy(rules('name: a, limit: 8/hour')));
  expect(limits.rules[0]?.settings).toMatchObject([{ setting: 'limit', before: '9/day', after: '8/hour' }]);
  const asks = (expires: string) => policy(rules(`name: a, action: require_approval, expires: ${expires}`));
  expect(diffPolicies(asks('15m'), asks('1h')).rules[0]?.settings).toMatchObject([
    { setting: 'expires', before: '900s', after: '3600s' },
  ]);
});
