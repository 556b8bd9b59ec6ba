/** A candidate beside the live policies, on the same requests: what would be decided otherwise. */
import { REPLAY_DIVERGENCES_MAX } from '../limits.ts';
import type { PolicyContext } from './context.ts';
import type { Decision, Effect } from './decision.ts';
import type { PolicySet } from './engine.ts';

export interface Divergence {
  readonly context: PolicyContext;
  readonly live: Side;
  readonly candidate: Side;
}
export interface Side {
  readonly effect: Effect;
  readonly policy: string;
  /** Null: the default decided. */
  readonly rule: string | null;
}

export interface PolicyComparison {
  readonly compared: number;
  readonly diverged: number;
  /** Allowed by the candidate alone, or with less asked. */
  readonly loosened: number;
  /** Allowed by the live policies alone, or with less asked. */
  readonly tightened: number;
  /** As "allow -> deny", and the rules that decided: the most frequent first. */
  readonly kinds: readonly DivergenceKind[];
  /** The first of them, REPLAY_DIVERGENCES_MAX at most. */
  readonly divergences: readonly Divergence[];
}
export interface DivergenceKind {
  readonly live: Side;
  readonly candidate: Side;
  readonly count: number;
}

const STRICTNESS: Readonly<Record<Effect, number>> = { allow: 0, require_approval: 1, deny: 2 };
const sideOf = ({ effect, policy, rule }: Decision): Side => ({ effect, policy: policy.name, rule });

/** Limits count as free on both sides: of recorded requests nobody knows what was used up. */
export function comparePolicies(
  live: PolicySet,
  candidate: PolicySet,
  contexts: Iterable<PolicyContext>,
): PolicyComparison {
  const comparison = new ComparisonCount();
  for (const context of contexts) comparison.add(live, candidate, context);
  return comparison.result();
}

/** For traffic that comes one by one. */
export class ComparisonCount {
  #compared = 0;
  #loosened = 0;
  #tightened = 0;
  readonly #kinds = new Map<string, DivergenceKind>();
  readonly #divergences: Divergence[] = [];
  readonly #divergencesMax: number;

  /** @param divergencesMax that are kept with their contexts, which may be large. */
  constructor(divergencesMax: number = REPLAY_DIVERGENCES_MAX) {
    this.#divergencesMax = divergencesMax;
  }

  /** The divergence, if there is one. */
  add(live: PolicySet, candidate: PolicySet, context: PolicyContext): Divergence | undefined {
    return this.addTo(sideOf(live.decide(context, { isLimitFree: () => true })), candidate, context);
  }

  /** As add, beside what was decided before. */
  addTo(before: Side, candidate: PolicySet, context: PolicyContext): Divergence | undefined {
    this.#compared++;
    const after = sideOf(candidate.decide(context, { isLimitFree: () => true }));
    const difference = STRICTNESS[after.effect] - STRICTNESS[before.effect];
    if (difference === 0) return undefined;
    if (difference < 0) this.#loosened++;
    else this.#tightened++;
    const key = JSON.stringify([before, after]);
    const divergence = { context, live: before, candidate: after };
    this.#kinds.set(key, { live: before, candidate: after, count: (this.#kinds.get(key)?.count ?? 0) + 1 });
    if (this.#divergences.length < this.#divergencesMax) this.#divergences.push(divergence);
    return divergence;
  }

  result(): PolicyComparison {
    return {
      compared: this.#compared,
      diverged: this.#loosened + this.#tightened,
      loosened: this.#loosened,
      tightened: this.#tightened,
      kinds: [...this.#kinds.values()].sort((a, b) => b.count - a.count),
      divergences: [...this.#divergences],
    };
  }
}
