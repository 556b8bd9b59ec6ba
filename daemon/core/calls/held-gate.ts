/** Holding a request until somebody approved it, for gates inside the daemon. */
import type { DecideOptions, Verdict } from '../../../protocol/policy/index.ts';
import type { Clock } from '../../ports.ts';
import type { Approvals } from '../governance/approvals.ts';

export interface HoldComponents {
  readonly clock: Clock;
  readonly approvals: Pick<Approvals, 'wait'>;
}

const SIGN_OF_LIFE_MS = 5_000; // between two to a client that waits for an approval

/**
 * Decides, and once more when an approval that it waits for was given. Errors: those of `decide`, cancelled, closed,
 * not_found (nobody knows the approval any more).
 */
export async function decideHeld(
  { clock, approvals }: HoldComponents,
  decide: () => Promise<Verdict>,
  { holdMs = 0, signal, onWaiting }: DecideOptions = {},
): Promise<Verdict> {
  const first = await decide();
  if (first.effect !== 'require_approval' || first.approval === undefined || holdMs <= 0) return first;
  const untilMs = clock.monotonicMs() + holdMs;
  for (;;) {
    onWaiting?.(first.approval);
    const waitMs = Math.min(SIGN_OF_LIFE_MS, untilMs - clock.monotonicMs());
    if (waitMs <= 0) return first;
    const { state } = await approvals.wait(first.approval.id, { signal, waitMs });
    if (state === 'pending') continue;
    // What was approved is taken by asking again; where another call of the same took it, one more is asked for.
    return isToBeAskedAgain(state) ? decide() : unapproved(first, state);
  }
}

/** Whether an approval in this state may let the same request through now. */
export const isToBeAskedAgain = (state: string): boolean => state === 'approved' || state === 'used';

/** The answer to what waited for an approval that was denied or came too late. */
export function unapproved(verdict: Verdict, state: string): Verdict {
  const { approval: _waitsNoMore, ...rest } = verdict;
  const ended = state === 'expired' ? 'nobody approved it in time' : 'it was denied';
  return { ...rest, effect: 'deny', code: 'approval_denied', reason: `${verdict.reason}: ${ended}` };
}
