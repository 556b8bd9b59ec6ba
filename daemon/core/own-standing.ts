import {
  didsIn,
  type IsSignatureValid,
  isMeshError,
  linksTo,
  MeshError,
  type MeshView,
  openPresentation,
  overlayView,
  type Presentation,
  type Statement,
  verifyChain,
} from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';

export interface OwnStanding {
  readonly links: readonly string[];
  readonly dids: readonly string[];
  /** From the root to the leaf that was shown for what is asked: the grant's, else the agent's own. Empty for an organisation by itself. */
  readonly chain: readonly Statement<'delegation/v1'>[];
  /** Null: nothing of it ends by itself. */
  readonly validUntilSeconds: number | null;
  /** Whether what this side showed of itself still holds, whatever its age. Errors: did_unknown, did_forked, did_deactivated, chain. */
  verify(): void;
}

/** What this side stands on in a handshake, so that a session ends here too when it is revoked. Errors: broken_link, budget. */
export function createOwnStanding(
  {
    view: held,
    isSignatureValid,
    clock,
  }: { readonly view: MeshView; readonly isSignatureValid: IsSignatureValid; readonly clock: Clock },
  did: string,
  shown: Presentation,
): OwnStanding {
  const opened = openPresentation(shown);
  const view = overlayView(held, opened.private);
  const chains = [opened.ident, opened.grant].filter((id) => id !== undefined).map((id) => linksTo(view, id));
  const links = [...new Set(chains.flat().map(({ id }) => id))];
  const ends = chains.flat().map(({ payload }) => payload.exp);
  return {
    links,
    dids: didsIn(view, links, [did]),
    chain: chains.at(-1) ?? [],
    validUntilSeconds: ends.length === 0 ? null : Math.min(...ends),
    verify: () => {
      verifyActive(view, did);
      for (const chain of chains) verifyOwnChain(chain);
    },
  };

  function verifyOwnChain(chain: readonly Statement<'delegation/v1'>[]): void {
    const roots = new Set(chain.map(({ payload }) => payload.sub));
    try {
      verifyChain(chain, {
        view,
        roots,
        nowMs: clock.nowMs(),
        isSignatureValid,
        isVerified: (link) => held.link(link.id) === link,
      });
    } catch (error) {
      if (!isMeshError(error)) throw error;
      if (error.code !== 'status_stale')
        throw new MeshError('chain', error.message, { ...error.data, reason: error.code }, { cause: error });
    }
  }
}

function verifyActive(view: MeshView, did: string): void {
  const state = view.didState(did);
  if (state === undefined) throw new MeshError('did_unknown', `Cannot act as "${did}": its log is not held`, { did });
  if (state.status !== 'active') {
    throw new MeshError(
      state.status === 'frozen' ? 'did_forked' : 'did_deactivated',
      `Cannot act as "${did}": it is ${state.status}`,
      { did },
    );
  }
  if (state.ctl !== undefined) verifyActive(view, state.ctl);
}
