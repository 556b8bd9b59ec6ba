/** What an agent of ours, or the organisation, shows of itself in a handshake (SPEC "Handshake"). */
import { isMeshDid, linksTo, MeshError, type MeshState, type Statement } from '../../protocol/index.ts';
import type { Clock } from '../ports.ts';
import type { Agents } from './agents.ts';
import type { Presenter } from './handshake.ts';
import type { Organisation } from './organisation.ts';

type Link = Statement<'delegation/v1'>;

export interface PresenterComponents {
  readonly state: MeshState;
  readonly organisation: Organisation;
  readonly agents: Agents;
  readonly clock: Clock;
}

/** Errors: not_found, suspended, revoked, conflict, key_missing, holder_mismatch. */
export async function presenterFor(
  components: PresenterComponents,
  did: string,
  grant: string | undefined,
): Promise<Presenter> {
  const { state, organisation } = components;
  const chain = grant === undefined ? [] : grantChain(state, did, grant);
  if (did === organisation.did) {
    return {
      did,
      signer: organisation.signer('auth'),
      envelopes: statementsFor(components, [did], chain),
      ...(grant !== undefined && { grant }),
    };
  }
  return agentPresenter(components, did, chain);
}

async function agentPresenter(
  components: PresenterComponents,
  did: string,
  chain: readonly Link[],
): Promise<Presenter> {
  const { state, agents } = components;
  const agent = agents.agent(did);
  agents.requireActive(agent);
  const credential = agents.credential(did);
  if (credential === undefined) {
    const who = agent.keyHeldBy === 'agent' ? 'its SDK has to be connected to renew it' : 'it is being renewed';
    throw new MeshError('key_missing', `Cannot present agent "${agent.name}": it has no credential in force; ${who}`, {
      did,
    });
  }
  const over = chain.length === 0 ? undefined : await agents.credentialOver(did, chain);
  const ident = linksTo(state, credential.link.id);
  const bound = over === undefined ? [credential.link] : [credential.link, over];
  const links = [...ident, ...chain].filter((link) => !bound.includes(link));
  return {
    did,
    signer: credential.signer,
    ident: credential.link.id,
    ...(over !== undefined && { grant: over.id }),
    envelopes: [...bound.map(({ envelope }) => envelope), ...statementsFor(components, [did], links)],
  };
}

/** The chain that was given to an agent or the organisation. Errors: not_found, holder_mismatch. */
export function grantChain(state: MeshState, did: string, grant: string): Link[] {
  const leaf = state.link(grant);
  if (leaf === undefined)
    throw new MeshError('not_found', `Cannot present link "${grant}": it is not held here`, { id: grant });
  if (leaf.payload.aud !== did) {
    throw new MeshError(
      'holder_mismatch',
      `Cannot present link "${grant}" as "${did}": it was given to "${leaf.payload.aud}"`,
      { is: did, want: leaf.payload.aud },
    );
  }
  return linksTo(state, grant);
}

/** The most needed first: heartbeats, which nobody floods, then links, then the logs of everyone named. */
function statementsFor(
  { state, organisation, clock }: PresenterComponents,
  dids: readonly string[],
  links: readonly Link[],
): Uint8Array[] {
  const named = new Set(dids);
  for (const { payload } of links)
    for (const did of [payload.sub, payload.spo, payload.iss, payload.aud]) if (isMeshDid(did)) named.add(did);
  const organisations = new Set([...named].flatMap((did) => state.didState(did)?.organisation ?? []));
  const heartbeats = [...organisations]
    .filter((did) => did !== organisation.did)
    .flatMap((did) => state.heartbeatsOf(did, clock.nowMs()).map(({ statement }) => statement))
    .sort((a, b) => b.payload.iat - a.payload.iat);
  const logs = [...new Set([...organisations, ...named])].flatMap((did) => state.operationsOf(did));
  return [organisation.heartbeat(), ...heartbeats, ...links, ...logs].map(({ envelope }) => envelope);
}
