/** Holding a request until somebody approved it: one rule for every gate that can wait. */
import { APPROVAL_SIGN_OF_LIFE_MS } from '../limits.ts';
import type { DecideOptions, Verdict } from './gate.ts';

export interface Holding {
  readonly decide: () => Promise<Verdict>;
  /** The state of an approval once it waits no longer, or after so many milliseconds. */
  readonly wait: (approval: string, waitMs: number) => Promise<string>;
  /** Never goes back. */
  readonly nowMs: () => number;
}

/** Decides, and once more when what it waited for was approved. Errors: those of `decide` and `wait`. */
export async function decideHeld({ decide, wait, nowMs }: Holding, options: DecideOptions): Promise<Verdict> {
  const { holdMs = 0, onWaiting } = options;
  const first = await decide();
  if (first.effect !== 'require_approval' || first.approval === undefined || holdMs <= 0) return first;
  const untilMs = nowMs() + holdMs;
  for (;;) {
    onWaiting?.(first.approval);
    const waitMs = Math.min(APPROVAL_SIGN_OF_LIFE_MS, untilMs - nowMs());
    if (waitMs <= 0) return first;
    const state = await wait(first.approval.id, waitMs);
    if (state === 'pending') continue;
    // What was approved is taken by asking again; where another call of the same took it, one more is asked for.
    return state === 'approved' || state === 'used' ? decide() : unapproved(first, state);
  }
}

function unapproved(verdict: Verdict, state: string): Verdict {
  const { approval: _waitsNoMore, ...rest } = verdict;
  const ended = state === 'expired' ? 'nobody approved it in time' : 'it was denied';
  return { ...rest, effect: 'deny', code: 'approval_denied', reason: `${verdict.reason}: ${ended}` };
}
