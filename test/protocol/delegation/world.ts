/** Three organisations with a sponsor and agents, a chain between them, and what a verifier may know of them. */
import { isMeshError, type MeshError } from '../../../protocol/errors.ts';
import type { ChainCheck } from '../../../protocol/delegation/verify.ts';
import type { ChainReport } from '../../../protocol/delegation/report.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { admitAll, MeshState } from '../../../protocol/state/mesh-state.ts';
import type { Statement } from '../../../protocol/statement/statement.ts';
import {
  createAgent,
  createChildLink,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRootLink,
  type Identity,
  NOW_MS,
} from '../../builders.ts';

export type Link = Statement<'delegation/v1'>;

export const acme: Identity = createOrganisation('acme');
export const alice: Identity = createPerson(acme, 'alice');
export const beta: Identity = createOrganisation('beta');
export const bob: Identity = createAgent(beta, 'bob');
export const gamma: Identity = createOrganisation('gamma');
export const grace: Identity = createAgent(gamma, 'grace');
/** Somebody who has nothing to do with any of it. */
export const stranger: Identity = createOrganisation('stranger');
export const strangeAgent: Identity = createAgent(stranger, 'strange agent');

export const organisations: readonly Identity[] = [acme, beta, gamma, stranger];
export const everyone: readonly Identity[] = [...organisations, alice, bob, grace, strangeAgent];
export const genesisOf = (identities: readonly Identity[]): Statement[] => identities.map(({ genesis }) => genesis);

/** acme, sponsored by alice → beta → bob → grace */
export const root: Link = createRootLink(acme, alice, { aud: beta.did, cap: [{ can: 'read:*' }, { can: 'write:*' }] });
export const first: Link = createChildLink(root, beta, { aud: bob.did, cap: [{ can: 'read:reports/*' }] });
export const leaf: Link = createChildLink(first, bob, { aud: grace.did, cap: [{ can: 'read:reports/q3' }] });
export const chain: readonly Link[] = [root, first, leaf];

export const viewOf = (statements: readonly Statement[], nowMs: number = NOW_MS): MeshState => {
  const view = new MeshState();
  admitAll(view, statements, nowMs);
  return view;
};

/** Everyone's genesis and a heartbeat of each organisation, and more; `extra` may replace heartbeats by newer ones. */
export const knowing = (extra: readonly Statement[] = [], nowMs: number = NOW_MS): MeshState =>
  viewOf([...genesisOf(everyone), ...organisations.map((one) => createHeartbeat(one)), ...extra], nowMs);

export const checkOf = (view: MeshState, more: Partial<ChainCheck> = {}): ChainCheck => ({
  view,
  roots: new Set([acme.did]),
  nowMs: NOW_MS,
  isSignatureValid: isSignatureValidSodium,
  ...more,
});

/** The error that it throws; whatever else it throws, or nothing, fails the test. */
export function refusalOf(run: () => unknown): MeshError {
  try {
    run();
  } catch (error) {
    if (isMeshError(error)) return error;
    throw error;
  }
  throw new Error('Cannot test a refusal: nothing was refused');
}

export const reportIn = (error: MeshError): ChainReport => error.data.report as ChainReport;
