/** How often the links of a chain allow something (SPEC "Serving calls"): each counts under its own id, whoever uses it. */
import { isCovered, MeshError } from '../../../protocol/index.ts';
import type { LimitUse } from '../../../protocol/policy/index.ts';
import type { Session } from '../sessions.ts';

/**
 * What a call that needs this uses up. Siblings below one link take from the same count, since it is of their chains
 * too. Errors: internal (the session is of the side that does not know the links).
 */
export function linkUses(need: string, { rates, sid }: Pick<Session, 'rates' | 'sid'>): readonly LimitUse[] {
  return rates
    .filter(({ can }) => isCovered(need, can))
    .map(({ link, can, n, per }) => {
      if (link === null)
        throw new MeshError('internal', `Cannot count a call of session "${sid}": a link of it is not known`, {
          id: sid,
        });
      // Two rates of a link for one capability are two counts.
      return { of: link, policy: `link ${n}/${per}`, rule: can, count: n, windowMs: per * 1000 };
    });
}
