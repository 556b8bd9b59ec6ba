import { describe, expect, test } from 'vitest';
import {
  comparePolicies,
  compilePolicies,
  contextOf,
  type Decision,
  explainDecision,
  mergePoints,
  parsePolicy,
} from '../../../protocol/policy/index.ts';
import { AGENT, context, decide, NOTHING, NOW_MS, policy, rules, SEED, tool } from './sample.ts';

const seed = compilePolicies([parsePolicy(SEED, { name: 'policy' })]);

describe('explainDecision()', () => {
  test('tells each comparison of the rules that matter, and what would change the answer', () => {
    const { decision, rules: told, wouldChange } = explainDecision(seed, context({ action: 'delete' }));
    expect(decision.effect).toBe('require_approval');
    expect(told).toEqual([
      {
        policy: 'policy',
        rule: 'require-approval-for-delete',
        action: 'require_approval',
        is: 'true',
        leaves: [{ text: "action.type == 'delete'", is: 'true', value: 'delete' }],
      },
    ]);
    expect(wouldChange).toEqual([
      `Without what makes rule "require-approval-for-delete" of policy "policy" apply: action.type == 'delete'`,
    ]);
  });

  test('tells what an allow rule lacks', () => {
    const set = compilePolicies([
      policy(rules(`name: r, action: allow, condition: "action.type == 'x' and trust.score >= 500"`)),
    ]);
    const { rules: told, wouldChange } = explainDecision(set, context({ action: 'x' }, { trust: { score: 20 } }));
    expect(told).toMatchObject([{ rule: 'r', is: 'false', leaves: [{ is: 'true' }, { is: 'false', value: 20 }] }]);
    expect(wouldChange).toEqual([
      'With trust.score >= 500 (it is 20), rule "r" of policy "policy" would apply: allow',
      'With a rule of policy "policy" that allows it',
    ]);
    expect(explainDecision(set, context({ action: 'x' })).wouldChange[0]).toBe(
      'With trust.score >= 500 ("trust.score" is missing), rule "r" of policy "policy" would apply: allow',
    );
  });

  test('leaves out rules about other kinds of requests, and what would not change the answer', () => {
    const set = compilePolicies([
      policy(
        rules(
          `name: reads, action: allow, condition: "action.type == 'tool_call' and tool.name == 'read'"`,
          `name: prompts, action: deny, condition: "prompt.paths.exists(p, p == '/etc')"`,
          `name: exports, action: allow, condition: "action.type == 'export'"`,
          `name: no-writes, action: deny, condition: "tool.name == 'write'"`,
        ),
      ),
    ]);
    const { rules: told, wouldChange } = explainDecision(set, context(tool('write')));
    expect(told.map(({ rule }) => rule)).toEqual(['no-writes']);
    expect(wouldChange).toEqual([`Without what makes rule "no-writes" of policy "policy" apply: tool.name == 'write'`]);
    expect(explainDecision(set, context(tool('other'))).wouldChange).toEqual([
      `With tool.name == 'read' (it is "other"), rule "reads" of policy "policy" would apply: allow`,
      'With a rule of policy "policy" that allows it',
    ]);
  });

  test('has nothing to tell where everything is allowed', () => {
    const set = compilePolicies([policy(`default: allow\n${rules('name: l, limit: 9/day', 'name: w, action: warn')}`)]);
    expect(explainDecision(set, context({ action: 'x' }))).toMatchObject({
      decision: { effect: 'allow' },
      rules: [{ rule: 'l', is: 'true', leaves: [] }, { rule: 'w' }],
      wouldChange: [],
    });
  });

  test('tells that no policy is loaded, or none for the agent', () => {
    expect(explainDecision(compilePolicies([]), context({ action: 'x' })).wouldChange).toEqual([
      'With a policy loaded',
    ]);
    const other = context({ action: 'x' }, { agent: { ...AGENT, name: 'other' } });
    expect(explainDecision(seed, other).wouldChange).toEqual(['With a policy whose "agents" names other']);
  });
});

describe('comparePolicies()', () => {
  const live = compilePolicies([policy('name: live\ndefault: allow')]);
  const candidate = compilePolicies([
    policy(`name: candidate\ndefault: allow\n${rules(`name: no-x, action: deny, condition: "action.type == 'x'"`)}`),
  ]);
  test('counts and lists what would be decided otherwise, both ways', () => {
    const contexts = ['x', 'y', 'x', 'z'].map((action) => context({ action }));
    expect(comparePolicies(live, candidate, contexts)).toMatchObject({
      compared: 4,
      diverged: 2,
      loosened: 0,
      tightened: 2,
      kinds: [
        {
          live: { effect: 'allow', policy: 'live', rule: null },
          candidate: { effect: 'deny', policy: 'candidate', rule: 'no-x' },
          count: 2,
        },
      ],
      divergences: [{ context: contexts[0] }, { context: contexts[2] }],
    });
    expect(comparePolicies(candidate, live, contexts)).toMatchObject({ diverged: 2, loosened: 2, tightened: 0 });
    expect(comparePolicies(live, live, contexts).diverged).toBe(0);
  });
});

describe('mergePoints()', () => {
  const allowed: Decision = decide(policy('default: allow'), { action: 'x' });
  const asked: Decision = decide(policy(rules('name: a, action: require_approval, approvers: [boss]')), {
    action: 'x',
  });
  const denied: Decision = decide(policy(''), { action: 'x' });
  const merge = (decision: Decision, ...answers: unknown[]): Decision =>
    mergePoints(
      decision,
      answers.map((answer) => ({ point: 'pdp', answer })),
      60_000,
    );
  test('lets the strictest answer count', () => {
    expect(merge(allowed, { effect: 'allow', reason: '' })).toBe(allowed);
    expect(merge(denied, { effect: 'allow', reason: '' })).toBe(denied);
    expect(merge(asked, { effect: 'allow', reason: '' }).approval?.approvers).toEqual(['boss']);
    expect(merge(allowed, { effect: 'deny', reason: 'by p0' })).toMatchObject({
      effect: 'deny',
      code: 'policy_denied',
      rule: null,
      reason: 'Decision point "pdp" denies it: by p0',
    });
    expect(merge(allowed, { effect: 'require_approval', reason: '' }, { effect: 'allow', reason: '' })).toMatchObject({
      effect: 'require_approval',
      code: 'approval_pending',
      approval: { approvers: [], quorum: 1, expiresMs: 60_000 },
    });
    expect(merge(asked, { effect: 'deny', reason: '' })).not.toHaveProperty('approval');
  });
  test('denies whatever is no answer', () => {
    for (const answer of [undefined, null, true, 'allow', {}, { effect: 'permit' }, { effect: 'toString' }, []])
      expect(merge(allowed, answer).effect, JSON.stringify(answer)).toBe('deny');
    expect(mergePoints(allowed, [{ point: 'pdp', failure: 'timeout' }], 1)).toMatchObject({
      effect: 'deny',
      code: 'policy_denied',
      reason: 'Decision point "pdp" denies it: it did not answer: timeout',
    });
  });
});

describe('contextOf()', () => {
  test('has the time in UTC, weekdays as ISO 8601 counts them', () => {
    expect(context({ action: 'x' }).time).toEqual({
      iso: '2026-01-05T12:00:00.000Z',
      unix: NOW_MS / 1_000,
      hour: 12,
      weekday: 1,
    });
    expect(context({ action: 'x' }, { nowMs: NOW_MS - 86_400_000 }).time.weekday).toBe(7);
  });
  test('adds what the caller says to what was found, and takes nothing away', () => {
    const found = { ...NOTHING, labels: ['card'], contains_card: true };
    expect(context({ action: 'x', labels: ['phi.mrn', 'pii'] }, { detected: found }).data).toMatchObject({
      labels: ['card', 'phi.mrn', 'pii'],
      contains_card: true,
      contains_phi: true,
      contains_pii: true,
      contains_secret: false,
    });
    expect(context({ action: 'x', labels: ['piix', 'xpii'] }).data?.contains_pii).toBe(false);
  });
  test('knows nothing of data where nothing looked', () => {
    expect(contextOf(tool('x'), { agent: AGENT, nowMs: NOW_MS })).not.toHaveProperty('data');
  });
});
