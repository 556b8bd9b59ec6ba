import { describe, expect, test } from 'vitest';
import { admitAll, MeshState } from '../../../protocol/state/mesh-state.ts';
import { overlayView } from '../../../protocol/state/overlay.ts';
import {
  createAgent,
  createCredential,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRevocation,
  createRootLink,
  keyOf,
  NOW_MS,
} from '../../builders.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const agent = createAgent(acme, 'agent');
const root = createRootLink(acme, alice, { aud: agent.did });
const credential = createCredential(root, agent, keyOf('ephemeral'));

describe('overlayView()', () => {
  test('shows further links and leaves what lies under it as it is', () => {
    const state = new MeshState();
    admitAll(state, [acme.genesis, alice.genesis, agent.genesis, root], NOW_MS);
    const view = overlayView(state, [credential]);
    expect(view.link(credential.id)).toBe(credential);
    expect(view.link(root.id)).toBe(root);
    expect(state.link(credential.id)).toBeUndefined();
    expect([...state.links()]).toEqual([root]);
  });

  test('shows what the view holds where both have the link', () => {
    const state = new MeshState();
    admitAll(state, [acme.genesis, alice.genesis, agent.genesis, root], NOW_MS);
    const copy = { ...root };
    expect(overlayView(state, [copy]).link(root.id)).toBe(root);
  });

  test('shows everything else as it is now', () => {
    const state = new MeshState();
    admitAll(state, [acme.genesis, alice.genesis, agent.genesis], NOW_MS);
    const view = overlayView(state, []);
    const before = view.revision;
    const revocation = createRevocation(acme, agent);
    admitAll(state, [revocation, createHeartbeat(acme, { rhead: revocation })], NOW_MS);
    expect(view.revision).toBeGreaterThan(before);
    expect(view.revocationsOf({ did: agent.did })).toEqual([revocation]);
    expect(view.heartbeatsOf(acme.did, NOW_MS)).toHaveLength(1);
    expect(view.didState(acme.did)).toBe(state.didState(acme.did));
    expect(view.holdsRevocations(acme.did, 1, revocation.id)).toBe(true);
    expect(view.holdsOperation(acme.did, 0, acme.genesis.id)).toBe(true);
  });
});
