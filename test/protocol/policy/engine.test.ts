import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limits } from '../../../protocol/index.ts';
import {
  ACTION_TYPES,
  compilePolicies,
  type Effect,
  NO_POLICY,
  parsePolicy,
  type Policy,
} from '../../../protocol/policy/index.ts';
import { AGENT, context, decide, NOTHING, policy, rules, SEED, tool } from './sample.ts';

const seed = parsePolicy(SEED, { name: 'policy' });

describe("the seed's policy", () => {
  const pii = { ...NOTHING, contains_pii: true };
  test('denies the export of personal data', () => {
    expect(decide(seed, context({ action: 'export' }, { detected: pii }))).toMatchObject({
      effect: 'deny',
      code: 'policy_denied',
      rule: 'no-pii-export',
      matched: [{ policy: 'policy', rule: 'no-pii-export', action: 'deny', certain: true }],
      reason: 'Rule "no-pii-export" of policy "policy" denies it',
    });
  });
  test('denies by default what no rule allows: a limit alone grants nothing', () => {
    for (const action of ['api_call', 'export', 'tool_call'])
      expect(decide(seed, { action })).toMatchObject({ effect: 'deny', rule: null, code: 'policy_denied', limits: [] });
  });
  test('asks for an approval of a deletion', () => {
    expect(decide(seed, { action: 'delete' })).toMatchObject({
      effect: 'require_approval',
      code: 'approval_pending',
      rule: 'require-approval-for-delete',
      approval: { policy: 'policy', approvers: ['security-team'], quorum: 1, expiresMs: 900_000 },
    });
  });
  test('is for its agent, whatever the case and look of the name', () => {
    const by = (name: string): unknown =>
      decide(seed, context({ action: 'delete' }, { agent: { ...AGENT, name } })).effect;
    expect([by('DATA-analyst-agent'), by('data-analyst\u200b-agent'), by('other')]).toEqual([
      'require_approval',
      'require_approval',
      'deny',
    ]);
    expect(decide(seed, context({ action: 'delete' }, { agent: { ...AGENT, name: 'other' } })).policy).toEqual(
      NO_POLICY,
    );
  });
  test('limits what a default allows, and takes the limit only then', () => {
    const open = parsePolicy(`${SEED}\ndefault: allow\n`, { name: 'policy' });
    const use = { policy: 'policy', rule: 'rate-limit-api', count: 100, windowMs: 3_600_000 };
    expect(decide(open, { action: 'api_call' })).toMatchObject({ effect: 'allow', rule: null, limits: [use] });
    expect(decide(open, { action: 'api_call' }, { isFree: () => false })).toMatchObject({
      effect: 'deny',
      code: 'limit_exceeded',
      rule: 'rate-limit-api',
      limits: [],
      reason: 'Rule "rate-limit-api" of policy "policy" allows 100/hour, and they are used up; try again later',
    });
    expect(decide(open, { action: 'other' }).limits).toEqual([]);
  });
});

describe('a condition that cannot be told', () => {
  const of = (action: string, more = ''): Policy =>
    policy(`default: allow\n${rules(`name: r, condition: "trust.score < 500", action: ${action}${more}`)}`);
  const grants = policy(rules('name: r, condition: "trust.score >= 500", action: allow'));
  test.each([
    ['deny', '', 'deny'],
    ['require_approval', '', 'require_approval'],
    ['warn', '', 'allow'],
  ])('counts for %s', (action, more, effect) => {
    expect(decide(of(action, more), { action: 'x' })).toMatchObject({
      effect,
      matched: [{ certain: false, because: '"trust.score" is missing' }],
    });
  });
  test('counts for a limit', () => {
    expect(decide(of('limit', ', limit: 1/day'), { action: 'x' }, { isFree: () => false }).code).toBe('limit_exceeded');
  });
  test('does not count for allow', () => {
    expect(decide(grants, { action: 'x' })).toMatchObject({ effect: 'deny', matched: [] });
    expect(decide(grants, context({ action: 'x' }, { trust: { score: 500 } })).effect).toBe('allow');
  });
  test('is the other way round where something is only to be possible', () => {
    expect(decide(grants, { action: 'x' }, { mode: 'possible' }).effect).toBe('allow');
    expect(decide(of('deny'), { action: 'x' }, { mode: 'possible' }).effect).toBe('allow');
    expect(
      decide(of('limit', ', limit: 1/day'), { action: 'x' }, { mode: 'possible', isFree: () => false }).effect,
    ).toBe('allow');
    expect(decide(of('deny'), context({ action: 'x' }, { trust: { score: 1 } }), { mode: 'possible' }).effect).toBe(
      'deny',
    );
  });
  test('or not: limits are not asked then', () => {
    const limited = policy(rules('name: r, action: allow, limit: 1/day'));
    expect(decide(limited, { action: 'x' }, { mode: 'possible', isFree: () => false }).effect).toBe('allow');
    expect(decide(limited, { action: 'x' }, { isFree: () => false }).effect).toBe('deny');
  });
  test('of a rule about tools says nothing of what is about none', () => {
    const about = policy(
      `default: allow\n${rules(
        'name: by-name, condition: "tool.name == \'x\'", action: deny',
        'name: by-words, condition: "tool.name.contains(\'x\') or trust.score > 9", action: deny',
      )}`,
    );
    for (const action of ['tools_list', 'resource_read', 'sampling', 'export'])
      expect(decide(about, { action }).effect, action).toBe('allow');
    expect(decide(about, { action: 'tool_call' })).toMatchObject({ effect: 'deny', rule: 'by-name' });
    expect(decide(about, tool('y')).matched).toMatchObject([{ rule: 'by-words', certain: false }]);
  });
});

describe('a conflict', () => {
  const of = (conflict: string, ...all: string[]): unknown =>
    decide(policy(`conflict: ${conflict}\n${rules(...all)}`), { action: 'x' }).rule;
  const [allow, ask, deny] = [
    'name: allow, action: allow',
    'name: ask, action: require_approval',
    'name: deny, action: deny',
  ];
  test('under deny_overrides is won by the strictest, in whatever order and priority', () => {
    expect(of('deny_overrides', allow, ask, deny)).toBe('deny');
    expect(of('deny_overrides', deny, `${ask}, priority: 9`, `${allow}, priority: 10`)).toBe('deny');
    expect(of('deny_overrides', allow, ask)).toBe('ask');
  });
  test('under allow_overrides is won by the least strict', () => {
    expect(of('allow_overrides', deny, ask, allow)).toBe('allow');
    expect(of('allow_overrides', deny, ask)).toBe('ask');
    expect(of('allow_overrides', deny)).toBe('deny');
  });
  test('under priority_first_match is won by the highest priority, then by the strictest', () => {
    expect(of('priority_first_match', deny, `${allow}, priority: 1`)).toBe('allow');
    expect(of('priority_first_match', allow, deny)).toBe('deny');
    expect(of('priority_first_match', `${allow}, priority: -1`, `${deny}, priority: -2`)).toBe('allow');
  });
  test('under most_specific_wins is won by the narrowest scope, then by the strictest', () => {
    expect(of('most_specific_wins', `${deny}, scope: global`, `${allow}, scope: agent`)).toBe('allow');
    expect(of('most_specific_wins', `${allow}, scope: organisation`, `${deny}, scope: organisation`)).toBe('deny');
    expect(of('most_specific_wins', `${deny}, scope: global, priority: 9`, `${ask}, scope: organisation`)).toBe('ask');
  });
  test('is not decided, and evaluation not ended, by warn and log', () => {
    const parsed = policy(rules('name: w, action: warn, priority: 9', 'name: l, action: log', allow));
    expect(decide(parsed, { action: 'x' })).toMatchObject({
      effect: 'allow',
      rule: 'allow',
      matched: [{ rule: 'w' }, { rule: 'l' }, { rule: 'allow' }],
    });
  });
});

test('limits cap under every strategy, and an approval does not take them yet', () => {
  const limited = rules('name: a, action: allow', 'name: b, action: allow, limit: 1/day', 'name: c, limit: 5/day');
  for (const conflict of ['deny_overrides', 'allow_overrides', 'priority_first_match', 'most_specific_wins']) {
    const parsed = policy(`conflict: ${conflict}\n${limited}`);
    expect(decide(parsed, { action: 'x' }).limits.map(({ rule }) => rule)).toEqual(['b', 'c']);
    expect(decide(parsed, { action: 'x' }, { isFree: (rule) => rule !== 'c' })).toMatchObject({
      effect: 'deny',
      rule: 'c',
    });
  }
  const asked = policy(rules('name: a, action: require_approval, limit: 1/day'));
  expect(decide(asked, { action: 'x' }, { isFree: () => false })).toMatchObject({
    effect: 'require_approval',
    limits: [{ rule: 'a', count: 1, windowMs: 86_400_000 }],
  });
});

test('a rule that is switched off does nothing', () => {
  expect(decide(policy(rules('name: a, action: allow, enabled: false')), { action: 'x' }).effect).toBe('deny');
});

test('the default says nothing of lists, of unknown messages, and of what has rules of its own', () => {
  const without = ['tools_list', 'resources_list', 'prompts_list', 'mcp_request', 'delegate', 'handshake', 'message'];
  for (const action of ACTION_TYPES)
    expect(decide(policy(''), { action }).effect, action).toBe(without.includes(action) ? 'allow' : 'deny');
  const listing = policy(rules('name: r, condition: "action.type == \'tools_list\'", action: deny'));
  expect(decide(listing, { action: 'tools_list' }).effect).toBe('deny');
});

describe('of several policies', () => {
  const open = policy('name: open\ndefault: allow');
  const closed = policy('name: closed');
  const asking = policy(
    `name: asking\n${rules('name: ask, action: require_approval, approvers: [boss], expires: 1h')}`,
  );
  test('the strictest answer counts, in whatever order', () => {
    const effects: readonly [Policy[], Effect, string][] = [
      [[open], 'allow', 'open'],
      [[open, asking], 'require_approval', 'asking'],
      [[asking, open], 'require_approval', 'asking'],
      [[asking, closed, open], 'deny', 'closed'],
      [[open, open], 'allow', 'open'],
    ];
    for (const [policies, effect, name] of effects)
      expect(decide(policies, { action: 'x' })).toMatchObject({ effect, policy: { name } });
  });
  test('none allows anything', () => {
    expect(decide([], { action: 'tools_list' })).toMatchObject({
      effect: 'deny',
      policy: NO_POLICY,
      reason: 'No policy is loaded',
    });
  });
  test('those for other agents say nothing', () => {
    const other = policy('name: other\nagent: somebody-else');
    expect(decide([open, other], { action: 'x' }).effect).toBe('allow');
    expect(decide([other], { action: 'x' })).toMatchObject({
      effect: 'deny',
      reason: 'No policy that is loaded is for this agent',
    });
    expect(decide([policy(`name: did\nagent: "${AGENT.did}"`)], { action: 'x' }).policy.name).toBe('did');
  });
  test('the first that wants an approval names the approvers; number and time are the strictest', () => {
    const second = policy(
      `name: second\n${rules('name: b, action: require_approval, approvers: [me], quorum: 2, expires: 1m')}`,
    );
    expect(decide([asking, second], { action: 'x' }).approval).toEqual({
      policy: 'asking',
      rule: 'ask',
      approvers: ['boss'],
      quorum: 2,
      expiresMs: 60_000,
    });
  });
  test('limits of all are taken, under names that do not mix', () => {
    const one = policy(`default: allow\n${rules('name: r, limit: 1/day')}`);
    const two = policy(`default: allow\n${rules('name: r, limit: 2/day')}`);
    const { limits: uses } = decide([one, two], { action: 'x' });
    expect(uses.map((use) => use.policy)).toEqual(['policy', `policy@${two.digest.slice(0, 16)}`]);
  });
  test('output and pinning are the strictest', () => {
    const a = policy(
      'name: a\ndefault: allow\noutput: { secrets: redact, pii: mark }\ntools: { changes: approve, approvers: [x] }',
    );
    const b = policy(
      'name: b\ndefault: allow\noutput: { secrets: mark, cards: refuse, max_bytes: 5 }\ntools: { changes: warn }',
    );
    expect(decide([a, b], { action: 'x' }).output).toMatchObject({
      secrets: 'redact',
      pii: 'mark',
      cards: 'refuse',
      bytesMax: 5,
    });
    expect(compilePolicies([b, a]).pins(AGENT)).toEqual({ changes: 'approve', approvers: ['x'] });
    expect(compilePolicies([]).pins(AGENT).changes).toBe('deny');
  });
  test('there are no more than there may be', () => {
    const many = Array.from({ length: limits.POLICY_LAYERS_MAX + 1 }, (_, i) => policy(`name: p${i}\ndefault: allow`));
    expect(() => compilePolicies(many)).toThrow(expect.objectContaining({ code: 'policy_invalid' }));
    expect(decide(many.slice(1), { action: 'x' }).effect).toBe('allow');
  });
});

test('the index leaves out no rule that could matter', () => {
  const words = ['a', 'b', 'C'];
  const word = fc.constantFrom(...words);
  const leaf = fc.oneof(
    word.map((x) => `action.type == '${x}'`),
    word.map((x) => `tool.name == '${x}'`),
    word.map((x) => `tool.name != '${x}'`),
    fc.tuple(word, word).map(([x, y]) => `tool.name in ['${x}', '${y}']`),
    fc.tuple(word, word).map(([x, y]) => `action.type in ['${x}', '${y}']`),
    fc.constant('data.contains_pii'),
    fc.constant('trust.score > 5'),
  );
  const condition = fc.oneof(
    leaf,
    fc.tuple(leaf, leaf, fc.constantFrom('and', 'or')).map(([a, b, join]) => `${a} ${join} ${b}`),
    leaf.map((a) => `not (${a})`),
    fc.tuple(leaf, leaf, leaf).map(([a, b, c]) => `(${a} or ${b}) and ${c}`),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(condition, fc.constantFrom('allow', 'deny', 'require_approval', 'warn')), {
        minLength: 1,
        maxLength: 8,
      }),
      word,
      fc.option(word, { nil: undefined }),
      fc.boolean(),
      (all, action, name, isPii) => {
        const parsed = policy(
          rules(...all.map(([text, effect], i) => `name: r${i}, condition: "${text}", action: ${effect}`)),
        );
        const request = context(
          { action, ...(name !== undefined && { tool: { name } }) },
          { detected: { ...NOTHING, contains_pii: isPii } },
        );
        const found = decide(parsed, request).matched.map(({ rule, certain }) => `${rule} ${certain}`);
        const expected = parsed.rules.flatMap(({ name: rule, condition: each, action: effect }) => {
          const truth = each?.evaluate(request);
          if (truth === true) return [`${rule} true`];
          const isAboutTools = each?.fields.some((field) => field.startsWith('tool')) === true;
          return truth === false || effect === 'allow' || (isAboutTools && name === undefined) ? [] : [`${rule} false`];
        });
        expect(found).toEqual(expected);
      },
    ),
  );
});

test('a decision changes nothing that the next one sees', () => {
  const set = compilePolicies([seed]);
  const options = { isLimitFree: () => true };
  const first = JSON.stringify(set.decide(context({ action: 'export' }), options));
  set.decide(context({ action: 'delete' }), options);
  expect(JSON.stringify(set.decide(context({ action: 'export' }), options))).toBe(first);
});

test('a reason stays a sentence, however much a policy says', () => {
  const long = policy(
    `name: ${'n'.repeat(128)}\nrules:\n  - name: ${'r'.repeat(128)}\n    description: ${'why '.repeat(500)}\n    action: require_approval\n    approvers: [${Array.from({ length: limits.APPROVERS_MAX }, (_, i) => `${i}${'a'.repeat(250)}`).join(', ')}]\n`,
  );
  const { reason, approval } = decide(long, { action: 'x' });
  expect(reason.length).toBeLessThan(2_000);
  expect(reason).toContain('and 12 more: why why');
  expect(approval?.approvers).toHaveLength(limits.APPROVERS_MAX);
});
