/** What gates inside the daemon have in common: holding a request until somebody approved it. */
import type { DecideOptions, Verdict } from '../../../protocol/policy/index.ts';
import { decideHeld } from '../../../protocol/policy/index.ts';
import type { Clock } from '../../ports.ts';
import type { Approvals } from '../governance/approvals.ts';

export interface HoldComponents {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly approvals: Pick<Approvals, 'wait'>;
}

/** Errors: those of `decide`; cancelled, closed, not_found (nobody knows the approval any more). */
export const holdDecision = (
  { clock, approvals }: HoldComponents,
  decide: () => Promise<Verdict>,
  options: DecideOptions = {},
): Promise<Verdict> =>
  decideHeld(
    {
      decide,
      wait: async (id, waitMs) => (await approvals.wait(id, { signal: options.signal, waitMs })).state,
      nowMs: () => clock.monotonicMs(),
    },
    options,
  );
