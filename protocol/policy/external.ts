/**
 * Decision points outside: Cedar, OPA and whatever else answers (SPEC "Policies", external points). They can only narrow
 * what the policies decided. Whatever goes wrong with one denies.
 */
import type { PolicyContext } from './context.ts';
import type { Decision, Effect } from './decision.ts';

export interface PointAnswer {
  readonly effect: Effect;
  /** A sentence for people, without final stop. */
  readonly reason: string;
}

export interface DecisionPoint {
  readonly name: string;
  /** Rejects, or does not answer until the signal fires: then it denies. */
  decide(context: PolicyContext, signal: AbortSignal): Promise<PointAnswer>;
}

/** What came of asking one. */
export type PointOutcome =
  | { readonly point: string; readonly answer: unknown }
  | { readonly point: string; readonly failure: string };

const RANK = { allow: 0, require_approval: 1, deny: 2 } as const;
const isEffect = (value: unknown): value is Effect => typeof value === 'string' && Object.hasOwn(RANK, value);

/** An answer that is none of those that there are counts as a failure. */
function answerOf(outcome: PointOutcome): PointAnswer {
  if ('failure' in outcome) return { effect: 'deny', reason: `it did not answer: ${outcome.failure}` };
  const { answer } = outcome;
  if (typeof answer === 'object' && answer !== null && 'effect' in answer && isEffect(answer.effect))
    return { effect: answer.effect, reason: 'reason' in answer ? String(answer.reason) : '' };
  return { effect: 'deny', reason: 'its answer is none that there is' };
}

/**
 * The strictest of them all. An approval that a point wants and no rule does is given by any sponsor, `approvalMs` long.
 */
export function mergePoints(decision: Decision, outcomes: readonly PointOutcome[], approvalMs: number): Decision {
  let merged = decision;
  for (const outcome of outcomes) {
    const { effect, reason } = answerOf(outcome);
    if (RANK[effect] <= RANK[merged.effect]) continue;
    const { approval, code: _, ...rest } = merged;
    const why = `Decision point "${outcome.point}" ${effect === 'deny' ? 'denies it' : 'wants an approval'}${reason === '' ? '' : `: ${reason}`}`;
    merged =
      effect === 'deny'
        ? { ...rest, effect, code: 'policy_denied', rule: null, limits: [], reason: why }
        : {
            ...rest,
            effect,
            code: 'approval_pending',
            rule: null,
            approval: approval ?? {
              policy: merged.policy.name,
              rule: outcome.point,
              approvers: [],
              quorum: 1,
              expiresMs: approvalMs,
            },
            reason: why,
          };
  }
  return merged;
}
