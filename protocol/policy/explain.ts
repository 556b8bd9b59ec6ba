/** Why a decision is what it is, and what would make it another one: for whoever writes policies, never for agents. */
import type { Json } from '../encoding/jcs.ts';
import { evaluatorOf, isUnknown } from './condition/compile.ts';
import { explainCondition } from './condition/explain.ts';
import type { PolicyContext } from './context.ts';
import type { Decision, Effect, RuleAction } from './decision.ts';
import type { PolicySet } from './engine.ts';
import { canonicalName } from './names.ts';
import type { Policy, PolicyRule } from './policy.ts';

type Told = 'true' | 'false' | 'unknown';

export interface ExplainedLeaf {
  /** As the condition has it. */
  readonly text: string;
  readonly is: Told;
  readonly value?: Json;
  readonly because?: string;
}

export interface ExplainedRule {
  readonly policy: string;
  readonly rule: string;
  readonly action: RuleAction;
  readonly is: Told;
  /** The comparisons of its condition, in order. */
  readonly leaves: readonly ExplainedLeaf[];
}

export interface Explanation {
  readonly decision: Decision;
  /** Those whose condition is not false, and those that need one thing more; in the order of their policies. */
  readonly rules: readonly ExplainedRule[];
  /** A sentence each. */
  readonly wouldChange: readonly string[];
}

const WOULD_CHANGE_MAX = 16;

/** `isLimitFree`: default is that every limit is free. */
export function explainDecision(
  policies: PolicySet,
  context: PolicyContext,
  isLimitFree: () => boolean = () => true,
): Explanation {
  const decision = policies.decide(context, { isLimitFree });
  const matched = new Set(decision.matched.map(({ policy, rule }) => `${policy}\n${rule}`));
  const rules: ExplainedRule[] = [];
  const near: string[] = [];
  for (const policy of policies.layersOf(context.agent))
    for (const rule of policy.rules) {
      if (!rule.isEnabled) continue;
      const explained = explainRule(policy.name, rule, context);
      const isMatched = matched.has(`${policy.name}\n${rule.name}`);
      if (!isMatched && isElsewhere(explained, rule, context)) continue;
      const change = changeOf(explained, rule, isMatched, decision, policy);
      if (isMatched || explained.is !== 'false' || change !== undefined) rules.push(explained);
      if (change !== undefined && near.length < WOULD_CHANGE_MAX) near.push(change);
    }
  return { decision, rules, wouldChange: [...near, ...ofDefault(policies, decision, context)] };
}

function explainRule(policy: string, rule: PolicyRule, context: PolicyContext): ExplainedRule {
  const { name, action, condition } = rule;
  if (condition === null) return { policy, rule: name, action, is: 'true', leaves: [] };
  const truth = evaluatorOf(condition.tree, condition.text)(context);
  const leaves = explainCondition(condition, context).map(({ is, text, because, ...leaf }) => ({
    ...leaf,
    text: shown(text, LEAF_SHOWN_MAX),
    is: told(is),
    ...(because !== undefined && { because: shown(because, LEAF_SHOWN_MAX) }),
  }));
  return { policy, rule: name, action, is: told(isUnknown(truth) ? 'unknown' : truth), leaves };
}

const told = (is: boolean | 'unknown'): Told => (is === 'unknown' ? is : is ? 'true' : 'false');

const STRICTNESS: Readonly<Partial<Record<RuleAction, number>>> = { deny: 2, require_approval: 1, limit: 1, allow: 0 };
const EFFECT_STRICTNESS: Readonly<Record<Effect, number>> = { deny: 2, require_approval: 1, allow: 0 };

/** About another kind of request: what it would take is not a change of this one. */
const isElsewhere = ({ is }: ExplainedRule, { action, condition }: PolicyRule, context: PolicyContext): boolean =>
  condition?.actionTypes?.has(canonicalName(context.action.type)) === false || (is === 'unknown' && action !== 'allow');

/** A rule that matches and restricts, and one comparison short of matching what would change the effect. */
function changeOf(
  { policy, rule: name, leaves, is }: ExplainedRule,
  rule: PolicyRule,
  isMatched: boolean,
  { effect, rule: decisive }: Decision,
  { conflict }: Policy,
): string | undefined {
  const strictness = STRICTNESS[rule.action];
  if (strictness === undefined) return undefined;
  const who = `rule "${name}" of policy "${policy}"`;
  if (isMatched) {
    if (strictness === 0 || effect === 'allow') return undefined;
    const missing = leaves.filter((leaf) => leaf.is === 'unknown');
    return missing.length > 0
      ? `If ${shown(missing.map(({ text }) => text).join(' and '))} could be told, ${who} might not apply`
      : `Without what makes ${who} apply${leaves.length === 0 ? '' : `: ${shown(holding(leaves))}`}`;
  }
  if (strictness === EFFECT_STRICTNESS[effect]) return undefined;
  // What a rule denies no other one gives back, where the strictest rule counts.
  if (conflict === 'deny_overrides' && decisive !== null && strictness < EFFECT_STRICTNESS[effect]) return undefined;
  const open = leaves.filter((leaf) => leaf.is !== 'true');
  // With "or" or "not" in it the open ones are not what is wanted; a rule of plain conditions is what people write.
  if (is === 'true' || open.length !== 1 || !isPlain(rule)) return undefined;
  const [{ text, value, because } = { text: '' }] = open;
  const now = because ?? (value === undefined ? 'it is not' : `it is ${shown(JSON.stringify(value))}`);
  return `With ${shown(text)} (${now}), ${who} would apply: ${rule.action}`;
}

/** Conditions and arguments may be long; a sentence is not. */
const SHOWN_MAX = 400;
const LEAF_SHOWN_MAX = 2_000;
const shown = (text: string, max = SHOWN_MAX): string => (text.length > max ? `${text.slice(0, max)}…` : text);

const holding = (leaves: readonly ExplainedLeaf[]): string =>
  leaves
    .filter(({ is }) => is === 'true')
    .map(({ text }) => text)
    .join(' and ');

/** Comparisons joined by "and". */
function isPlain({ condition }: PolicyRule): boolean {
  if (condition === null) return false;
  const { tree } = condition;
  const parts = tree.kind === 'and' ? tree.items : [tree];
  return parts.every(({ kind }) => kind !== 'or' && kind !== 'not' && kind !== 'and');
}

function ofDefault(policies: PolicySet, { rule, effect, policy }: Decision, context: PolicyContext): string[] {
  if (rule !== null) return [];
  const layers = policies.layersOf(context.agent);
  if (layers.length === 0)
    return [
      policies.policies.length === 0
        ? 'With a policy loaded'
        : `With a policy whose "agents" names ${context.agent.name ?? context.agent.did}`,
    ];
  return effect === 'deny' ? [`With a rule of policy "${policy.name}" that allows it`] : [];
}
