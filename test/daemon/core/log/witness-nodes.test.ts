/** Whole nodes that watch each other's logs. */
import { afterEach, expect, test } from 'vitest';
import type { MeshState } from '../../../../protocol/index.ts';
import { formatNote, parseCheckpoint, verifyCheckpoint } from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { type Member, NodeWorld } from '../node-world.ts';

const SETTLED_MS = 70_000; // whoever is no neighbour is dialled within 32 s, twice that where an address was not known yet

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

const sizeIn = (state: MeshState, origin: string): number | undefined => {
  const held = state.checkpointOf(origin);
  return held === undefined ? undefined : parseCheckpoint(held.payload.note).checkpoint.treeSize;
};

test('four organisations cosign each other, and each shows its log to all', async () => {
  world = new NodeWorld();
  const members: Member[] = [];
  for (const name of ['acme', 'beta', 'gamma', 'delta']) members.push(await world.open(name));
  const [first, ...others] = members as [Member, ...Member[]];
  for (const { network } of others) world.mesh.connect(first.network, network); // a star: most are no neighbours
  await world.clock.advance(SETTLED_MS);
  for (const { node, name } of members) {
    const log = node.audit;
    expect(log.cosigning.status(), name).toMatchObject({ isConfirmed: true, operators: 3, quorum: 2 });
    const released = log.auditLog.released();
    expect(released, name).toBeDefined();
    if (released === undefined) continue;
    verifyCheckpoint(released.note, log.cosigning.policy(), isSignatureValidSodium);
    expect(parseCheckpoint(formatNote(released.note)).checkpoint.treeSize, name).toBe(log.auditLog.treeSize);
    for (const member of members)
      expect(sizeIn(member.node.state, log.auditLog.origin), `${name} at ${member.name}`).toBe(log.auditLog.treeSize);
    expect(log.auditLog.problem, name).toBeUndefined();
  }
});
