import { describe, expect, test } from 'vitest';
import { compilePolicies, parsePolicy, runPolicyTests } from '../../../protocol/policy/index.ts';
import { policy, rules, SEED } from './sample.ts';

const seed = compilePolicies([parsePolicy(`${SEED}\ndefault: allow\n`, { name: 'policy' })]);
const agent = 'agent: { name: data-analyst-agent }';
const run = (cases: string) => runPolicyTests(cases, seed, 'policy.test.yaml');

test('cases that hold pass, and those that do not say what is otherwise', () => {
  const results = run(`cases:
  - name: personal data stays
    context: { action: { type: export }, data: { contains_pii: true }, ${agent} }
    expect: { effect: deny, rule: no-pii-export, code: policy_denied }
  - name: other data may go
    context: { action: { type: export }, ${agent} }
    expect: { effect: allow, rule: null }
  - name: limits are limits
    context: { action: { type: api_call }, ${agent} }
    used_up: [rate-limit-api]
    expect: { effect: deny, code: limit_exceeded }
  - name: wrong in everything
    context: { action: { type: delete }, ${agent} }
    expect: { effect: allow, rule: null, code: policy_denied }
`);
  expect(results.map(({ name, place, failures }) => ({ name, line: place.line, failures }))).toEqual([
    { name: 'personal data stays', line: 2, failures: [] },
    { name: 'other data may go', line: 5, failures: [] },
    { name: 'limits are limits', line: 8, failures: [] },
    {
      name: 'wrong in everything',
      line: 12,
      failures: [
        'effect is "require_approval", want "allow": Rule "require-approval-for-delete" of policy "policy" wants an approval by security-team',
        'rule is "require-approval-for-delete", want null',
        'code is "approval_pending", want "policy_denied"',
      ],
    },
  ]);
});

test('every part of a context can be said', () => {
  const fields = policy(
    rules(
      `name: r, action: allow, condition: "tool.name == 't' and tool.server == 's' and tool.arguments.n == 1.5 and under(tool.paths[0], '/a') and agent.did == 'd' and principal.did == 'p' and peer.organisation == 'o' and trust.score == 7 and delegation.depth == 2 and 'c' in delegation.capabilities and 'pii.email' in data.labels and time.hour == 23 and time.weekday == 7 and environment.name == 'prod' and facts.x.y == true"`,
    ),
  );
  const [result] = runPolicyTests(
    `cases:
  - name: all
    context:
      action: { type: tool_call }
      tool: { name: t, server: s, arguments: { n: 1.5 }, paths: [/a/b] }
      agent: { did: d, name: n, organisation: o }
      principal: { did: p }
      peer: { did: x, organisation: o }
      trust: { score: 7 }
      delegation: { depth: 2, capabilities: [c] }
      data: { labels: [pii.email], contains_pii: true, bytes: 12 }
      time: { iso: "2026-01-04T23:59:59Z" }
      environment: { name: prod }
      facts: { x: { y: true } }
    expect: { effect: allow, rule: r }
`,
    compilePolicies([fields]),
  );
  expect(result?.failures).toEqual([]);
});

describe('what is wrong with the tests is told with its place', () => {
  const one = (context: string, expected = '{ effect: deny }'): string =>
    `cases:\n  - name: x\n    context: ${context}\n    expect: ${expected}\n`;
  test.each([
    ['no cases', '{}', 1, 'cases'],
    ['an empty list', 'cases: []', 1, 'at least one'],
    ['an unknown key', 'cases:\n  - nme: x', 2, 'perhaps "name"'],
    ['no expectation', 'cases:\n  - name: x\n    context: { action: { type: x } }', 2, 'expect" is missing'],
    ['no action', one('{}'), 3, 'action.type" is missing'],
    ['an unknown field', one('{ action: { type: x }, dta: {} }'), 3, 'perhaps "data"'],
    ['an unknown member', one('{ action: { typ: x } }'), 3, 'perhaps "type"'],
    ['text for a boolean', one('{ action: { type: x }, data: { contains_pii: "yes" } }'), 3, 'true or false'],
    ['text for a number', one('{ action: { type: x }, trust: { score: high } }'), 3, 'no number'],
    ['a list for a map', one('{ action: { type: x }, facts: [] }'), 3, 'no map'],
    ['a time that is none', one('{ action: { type: x }, time: { iso: noon } }'), 3, 'want a time'],
    ['an unknown effect', one('{ action: { type: x } }', '{ effect: refuse }'), 4, 'one of allow'],
    ['an unknown code', one('{ action: { type: x } }', '{ effect: deny, code: no }'), 4, 'an error code'],
  ])('%s', (_, text, line, words) => {
    expect(() => run(text)).toThrow(
      expect.objectContaining({
        code: 'policy_invalid',
        message: expect.stringContaining(words),
        data: expect.objectContaining({ line, file: 'policy.test.yaml' }),
      }),
    );
  });
});
