/** What changed between two versions of a policy, and whether it allows more or less, where that is certain. */
import { covers } from './condition/analyse.ts';
import { OUTPUT_ACTIONS, PIN_ACTIONS } from './decision.ts';
import { limitText } from './engine.ts';
import type { Policy, PolicyRule } from './policy.ts';

/** `unclear`: both, or it depends on requests. Of requests whose fields are all there: what is missing is not compared. */
export type Direction = 'same' | 'narrower' | 'wider' | 'unclear';

export interface SettingChange {
  /** As the document calls it: "default", "output.secrets", "limit". */
  readonly setting: string;
  readonly before: string;
  readonly after: string;
  readonly direction: Direction;
}
export interface RuleChange {
  readonly rule: string;
  readonly kind: 'added' | 'removed' | 'changed';
  /** Of a changed one. */
  readonly settings: readonly SettingChange[];
  readonly direction: Direction;
}
export interface PolicyDiff {
  readonly rules: readonly RuleChange[];
  readonly settings: readonly SettingChange[];
  readonly direction: Direction;
}

export function diffPolicies(before: Policy, after: Policy): PolicyDiff {
  const settings = settingsOf(before, after);
  const rules = rulesOf(before, after);
  return { rules, settings, direction: together([...settings, ...rules].map(({ direction }) => direction)) };
}

function together(directions: readonly Direction[]): Direction {
  const told = new Set(directions.filter((direction) => direction !== 'same'));
  const [only] = told;
  return told.size > 1 ? 'unclear' : (only ?? 'same');
}

/** By a number that is higher the stricter it is. */
const byStrictness = (before: number, after: number): Direction =>
  before === after ? 'same' : after > before ? 'narrower' : 'wider';

const text = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'none'));

function change(setting: string, before: unknown, after: unknown, direction: Direction): SettingChange[] {
  return text(before) === text(after) ? [] : [{ setting, before: text(before), after: text(after), direction }];
}

function settingsOf(before: Policy, after: Policy): SettingChange[] {
  const outputs = (['secrets', 'pii', 'phi', 'cards', 'instructions', 'invisible'] as const).flatMap((key) =>
    change(
      `output.${key}`,
      before.output[key],
      after.output[key],
      byStrictness(OUTPUT_ACTIONS.indexOf(before.output[key]), OUTPUT_ACTIONS.indexOf(after.output[key])),
    ),
  );
  const { changes: pinsBefore, approvers: approversBefore } = before.pins;
  const { changes: pinsAfter, approvers: approversAfter } = after.pins;
  return [
    ...change(
      'default',
      before.default,
      after.default,
      byStrictness(Number(before.default === 'deny'), Number(after.default === 'deny')),
    ),
    ...change('conflict', before.conflict, after.conflict, 'unclear'),
    ...change('agents', before.agents ?? '*', after.agents ?? '*', 'unclear'),
    ...outputs,
    ...change(
      'output.max_bytes',
      before.output.bytesMax,
      after.output.bytesMax,
      byStrictness(-before.output.bytesMax, -after.output.bytesMax),
    ),
    ...change(
      'tools.changes',
      pinsBefore,
      pinsAfter,
      byStrictness(PIN_ACTIONS.indexOf(pinsBefore), PIN_ACTIONS.indexOf(pinsAfter)),
    ),
    ...change('tools.approvers', approversBefore, approversAfter, 'unclear'),
    ...change('external', before.external, after.external, 'unclear'),
  ];
}

function rulesOf(before: Policy, after: Policy): RuleChange[] {
  const old = new Map(before.rules.map((rule) => [rule.name, rule]));
  const now = new Map(after.rules.map((rule) => [rule.name, rule]));
  return [
    ...before.rules
      .filter(({ name }) => !now.has(name))
      .map(
        (rule): RuleChange => ({
          rule: rule.name,
          kind: 'removed',
          settings: [],
          direction: opposite(whenAdded(rule, before, after)),
        }),
      ),
    ...after.rules.flatMap((rule): RuleChange[] => {
      const earlier = old.get(rule.name);
      if (earlier === undefined)
        return [{ rule: rule.name, kind: 'added', settings: [], direction: whenAdded(rule, before, after) }];
      const settings = changesOf(earlier, rule, before, after);
      return settings.length === 0
        ? []
        : [
            {
              rule: rule.name,
              kind: 'changed',
              settings,
              direction: together(settings.map(({ direction }) => direction)),
            },
          ];
    }),
  ];
}

const opposite = (direction: Direction): Direction =>
  direction === 'narrower' ? 'wider' : direction === 'wider' ? 'narrower' : direction;

/** Only where the strictest rule counts on both sides, a rule more has one direction. */
function whenAdded({ action, isEnabled, isInherited }: PolicyRule, before: Policy, after: Policy): Direction {
  if (!isEnabled || action === 'warn' || action === 'log') return 'same';
  if (action === 'limit' || (action === 'deny' && isInherited)) return 'narrower';
  if ([before, after].some(({ conflict }) => conflict !== 'deny_overrides')) return 'unclear';
  if (action === 'deny') return 'narrower';
  if (action === 'allow') return after.default === 'allow' ? 'same' : 'wider';
  return after.default === 'allow' ? 'narrower' : 'unclear'; // it asks where something was allowed, or denied
}

function changesOf(old: PolicyRule, now: PolicyRule, before: Policy, after: Policy): SettingChange[] {
  const added = whenAdded({ ...now, isEnabled: true }, before, after);
  const isOrdered = before.conflict !== 'deny_overrides' || after.conflict !== 'deny_overrides';
  return [
    ...change('enabled', old.isEnabled, now.isEnabled, now.isEnabled ? added : opposite(added)),
    ...change('action', old.action, now.action, actionDirection(old, now, before, after)),
    ...change(
      'condition',
      old.conditionText ?? 'always',
      now.conditionText ?? 'always',
      conditionDirection(old, now, added),
    ),
    ...change('limit', old.limit && limitText(old.limit), now.limit && limitText(now.limit), limitDirection(old, now)),
    ...change(
      'approvers',
      old.approval?.approvers,
      now.approval?.approvers,
      old.action === now.action ? 'unclear' : 'same',
    ),
    ...change(
      'quorum',
      old.approval?.quorum,
      now.approval?.quorum,
      bothNumbers(old.approval?.quorum, now.approval?.quorum, 1),
    ),
    ...change(
      'expires',
      secondsText(old.approval?.expiresMs),
      secondsText(now.approval?.expiresMs),
      bothNumbers(old.approval?.expiresMs, now.approval?.expiresMs, -1),
    ),
    ...change('priority', old.priority, now.priority, isOrdered ? 'unclear' : 'same'),
    ...change('scope', old.scope, now.scope, isOrdered ? 'unclear' : 'same'),
    ...change('description', old.description, now.description, 'same'),
  ];
}

const secondsText = (ms: number | undefined): string | undefined => (ms === undefined ? undefined : `${ms / 1000}s`);

const bothNumbers = (before: number | undefined, after: number | undefined, sign: number): Direction =>
  before === undefined || after === undefined ? 'same' : byStrictness(sign * before, sign * after);

const ACTION_STRICTNESS = { allow: 0, limit: 0, warn: 0, log: 0, require_approval: 1, deny: 2 } as const;

function actionDirection(old: PolicyRule, now: PolicyRule, before: Policy, after: Policy): Direction {
  if ([before, after].some(({ conflict }) => conflict !== 'deny_overrides')) return 'unclear';
  const notes = (rule: PolicyRule): boolean => rule.action === 'warn' || rule.action === 'log';
  if (notes(old) && notes(now)) return 'same';
  if (notes(old)) return whenAdded(now, before, after);
  if (notes(now)) return opposite(whenAdded(old, before, after));
  if (old.action === 'limit' || now.action === 'limit') return 'unclear';
  return byStrictness(ACTION_STRICTNESS[old.action], ACTION_STRICTNESS[now.action]);
}

/** A rule that applies to more does more of what one more such rule does. */
function conditionDirection(old: PolicyRule, now: PolicyRule, added: Direction): Direction {
  const includes = (a: PolicyRule, b: PolicyRule): boolean =>
    a.condition === null || (b.condition !== null && covers(a.condition, b.condition));
  const [isMore, isLess] = [includes(now, old), includes(old, now)];
  if (isMore && isLess) return 'same';
  if (added === 'same') return 'same';
  return isMore ? added : isLess ? opposite(added) : 'unclear';
}

function limitDirection(old: PolicyRule, now: PolicyRule): Direction {
  if (old.limit === undefined) return 'narrower';
  if (now.limit === undefined) return 'wider';
  // As many in a longer time are less, and fewer in as long a time.
  const isNarrower = now.limit.count <= old.limit.count && now.limit.windowMs >= old.limit.windowMs;
  const isWider = now.limit.count >= old.limit.count && now.limit.windowMs <= old.limit.windowMs;
  return isNarrower ? 'narrower' : isWider ? 'wider' : 'unclear';
}
