/** What a session says to policies, and in the log, of what is done in it: the same on either side. */
import type { OwnFacts } from '../governance/governance.ts';
import { chainOf } from '../log/decisions.ts';
import type { Details } from '../log/recorder.ts';
import type { Session } from '../sessions.ts';

/** Who is at the other end, and by which chain. */
export function factsOf({ did, organisation, score, granted, agreed: { chain } }: Session): OwnFacts {
  const leaf = chain.at(-1);
  return {
    peer: { did, organisation },
    trust: { score },
    delegation: {
      ...(leaf !== undefined && { leaf: leaf.id, depth: chain.length }),
      capabilities: granted.map(({ can }) => can),
    },
  };
}

export const detailsOf = ({
  did,
  sid,
  agreed: { chain },
}: Session): Pick<Details, 'peer' | 'session' | 'delegation'> => ({
  peer: did,
  session: sid,
  ...chainOf(chain),
});
