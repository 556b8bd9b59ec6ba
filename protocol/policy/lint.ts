/** What is probably not meant, of a policy that can be loaded. Each finding is certain; what nobody can tell is not said. */
import { nearest } from '../control/nearest.ts';
import { POLICY_LINT_PAIRS_MAX } from '../limits.ts';
import { covers, isAlwaysTrue, isNeverTrue } from './condition/analyse.ts';
import { ACTION_TYPES } from './context.ts';
import { SCOPES } from './document.ts';
import type { Policy, PolicyRule } from './policy.ts';
import type { Place } from './yaml.ts';

/** What each says, for people: `agentmesh policy lint`. */
export const LINTS = {
  disabled: 'a rule is switched off',
  never_matches: 'a condition contradicts itself',
  always_matches: 'a condition is true of everything, so that it could as well be left out',
  shadowed: 'another rule decides whatever this one would decide',
  unreachable_approval: 'another rule denies whatever would wait for an approval',
  duplicate: 'two rules do the same about the same',
  quorum: 'more approvals are wanted than there are approvers',
  limit_without_allow: 'nothing allows what is limited',
  nothing_allowed: 'no rule can allow anything, and the default is to deny',
  action_type: 'an action type is nearly one that there is',
  incomplete: 'there are too many rules to hold each against each',
} as const;
export type Lint = keyof typeof LINTS;

export interface Finding {
  readonly lint: Lint;
  /** Null: of the policy as a whole. */
  readonly rule: string | null;
  /** One sentence. */
  readonly message: string;
  readonly file: string;
  readonly place: Place;
}

export function lintPolicy(policy: Policy): Finding[] {
  const findings: Finding[] = [];
  const say = (lint: Lint, rule: PolicyRule, message: string): void => {
    findings.push({ lint, rule: rule.name, message, file: rule.document.file, place: rule.place });
  };
  for (const rule of policy.rules) lintAlone(rule, policy, say);
  const live = policy.rules.filter((rule) => rule.isEnabled && !isNever(rule));
  const isComplete = lintPairs(live, policy, say);
  const whole = (lint: Lint, message: string): void => {
    findings.push({ lint, rule: null, message, file: policy.file, place: { line: 1, column: 1 } });
  };
  const overruled = new Set(
    findings.filter(({ lint }) => lint === 'shadowed' || lint === 'unreachable_approval').map(({ rule }) => rule),
  );
  const opening = live.filter(
    ({ action, name }) => (action === 'allow' || action === 'require_approval') && !overruled.has(name),
  );
  if (policy.default === 'deny' && opening.length === 0)
    whole('nothing_allowed', `Policy "${policy.name}" denies everything: no rule can allow anything`);
  if (!isComplete) whole('incomplete', `Policy "${policy.name}" has too many rules: not all were compared`);
  return findings.sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column);
}

type Say = (lint: Lint, rule: PolicyRule, message: string) => void;

const isNever = ({ condition }: PolicyRule): boolean => condition !== null && isNeverTrue(condition) !== undefined;

function lintAlone(rule: PolicyRule, policy: Policy, say: Say): void {
  const { name, condition, approval } = rule;
  if (!rule.isEnabled) {
    say('disabled', rule, `Rule "${name}" is switched off`);
    return;
  }
  if (condition !== null) {
    const because = isNeverTrue(condition);
    if (because !== undefined) say('never_matches', rule, `Rule "${name}" never applies: ${because}`);
    else if (isAlwaysTrue(condition)) say('always_matches', rule, `Rule "${name}" always applies`);
    for (const type of condition.actionTypes ?? []) {
      const near = (ACTION_TYPES as readonly string[]).includes(type) ? undefined : nearest(type, ACTION_TYPES);
      if (near !== undefined)
        say('action_type', rule, `Rule "${name}" is about action type "${type}"; perhaps "${near}" is meant`);
    }
  }
  if (approval !== undefined) {
    const isEachOne = approval.approvers.every((approver) => approver.startsWith('did:') || approver.includes('@'));
    if (approval.approvers.length > 0 && isEachOne && approval.quorum > approval.approvers.length)
      say(
        'quorum',
        rule,
        `Rule "${name}" wants ${approval.quorum} approvals and names ${approval.approvers.length} who could give one`,
      );
  }
  if (rule.action === 'limit' && policy.default === 'deny' && !policy.rules.some((each) => isOpenFor(each, rule)))
    say('limit_without_allow', rule, `Rule "${name}" limits what no rule allows: a limit alone allows nothing`);
}

/** A rule that allows or asks, of some of what the other one is about. */
const isOpenFor = (rule: PolicyRule, other: PolicyRule): boolean =>
  rule.isEnabled &&
  (rule.action === 'allow' || rule.action === 'require_approval') &&
  isCommon(rule.condition?.actionTypes, other.condition?.actionTypes) &&
  isCommon(rule.condition?.toolNames, other.condition?.toolNames);

type Names = ReadonlySet<string> | undefined;
const isCommon = (a: Names, b: Names): boolean =>
  a === undefined || b === undefined || [...a].some((name) => b.has(name));
const isAmong = (a: Names, b: Names): boolean =>
  b === undefined || (a !== undefined && [...a].every((name) => b.has(name)));

/** Each against each that could cover it. False: there are more pairs than are looked at. */
function lintPairs(rules: readonly PolicyRule[], policy: Policy, say: Say): boolean {
  let pairsLeft = POLICY_LINT_PAIRS_MAX;
  const inOrder = new Map(rules.map((rule, i) => [rule, i]));
  for (const rule of rules) {
    if (rule.action === 'warn' || rule.action === 'log') continue;
    for (const other of rules) {
      if (other === rule || other.action === 'warn' || other.action === 'log') continue;
      if (!isAmong(rule.condition?.actionTypes, other.condition?.actionTypes)) continue;
      if (!isAmong(rule.condition?.toolNames, other.condition?.toolNames)) continue;
      if (--pairsLeft < 0) return false;
      const found = pairFinding(rule, other, policy, (inOrder.get(other) ?? 0) < (inOrder.get(rule) ?? 0));
      if (found === undefined) continue;
      say(found.lint, rule, found.message);
      break;
    }
  }
  return true;
}

function pairFinding(
  rule: PolicyRule,
  other: PolicyRule,
  policy: Policy,
  isBefore: boolean,
): { readonly lint: Lint; readonly message: string } | undefined {
  // A rule of a parent that names agents applies to those only.
  if (other.isInherited && other.document.agents !== null) return undefined;
  if (!includes(other, rule)) return undefined;
  const [line, what] = [other.place.line, `rule "${other.name}"`];
  if (rule.action === other.action && isBefore && includes(rule, other) && isSameOtherwise(rule, other))
    return { lint: 'duplicate', message: `Rule "${rule.name}" does what ${what} on line ${line} does` };
  if (rule.action === 'limit' || other.action === 'limit' || !overrules(other, rule, policy)) return undefined;
  const verb = other.action === 'deny' ? 'denies' : other.action === 'allow' ? 'allows' : 'wants an approval for';
  return rule.action === 'require_approval' && other.action === 'deny'
    ? {
        lint: 'unreachable_approval',
        message: `Nobody is asked by rule "${rule.name}": ${what} on line ${line} denies all that it is about`,
      }
    : {
        lint: 'shadowed',
        message: `Rule "${rule.name}" decides nothing: ${what} on line ${line} ${verb} all that it is about`,
      };
}

/** Certain that `a` applies whenever `b` does. */
const includes = (a: PolicyRule, b: PolicyRule): boolean =>
  a.condition === null || (b.condition === null ? isAlwaysTrue(a.condition) : covers(a.condition, b.condition));

const isSameOtherwise = (a: PolicyRule, b: PolicyRule): boolean =>
  JSON.stringify([a.limit, a.approval, a.priority, a.scope]) ===
  JSON.stringify([b.limit, b.approval, b.priority, b.scope]);

const STRICTNESS = { allow: 0, require_approval: 1, deny: 2, limit: -1, warn: -1, log: -1 } as const;

/** Where both apply the first decides, and to another effect. */
function overrules(first: PolicyRule, second: PolicyRule, { conflict }: Policy): boolean {
  const difference = STRICTNESS[first.action] - STRICTNESS[second.action];
  if (difference === 0) return false;
  if (second.isInherited && second.action === 'deny') return false;
  if (first.isInherited && first.action === 'deny') return true;
  switch (conflict) {
    case 'deny_overrides':
      return difference > 0;
    case 'allow_overrides':
      return difference < 0;
    case 'priority_first_match':
      return first.priority > second.priority || (first.priority === second.priority && difference > 0);
    case 'most_specific_wins': {
      const specificity = SCOPES.indexOf(first.scope) - SCOPES.indexOf(second.scope);
      return specificity > 0 || (specificity === 0 && difference > 0);
    }
  }
}
