/** Real daemons convict a participant that shows each half of them another history; test/soak has twenty. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ForkCase, refusalsOf, showTwoHistories, verifyProofs } from './fork.ts';
import { ForkMesh } from './fork-mesh.ts';

const DAEMONS = 4;
const SLOW_MS = 120_000; // daemons start beside other tests on two cores
const WITHIN_MS = 2_000;

let mesh: ForkMesh | undefined;
beforeAll(async () => {
  mesh = await ForkMesh.start(DAEMONS, 1);
}, SLOW_MS);
afterAll(() => mesh?.[Symbol.asyncDispose](), SLOW_MS);

const CASES: readonly ForkCase[] = [
  { name: 'unequal sizes', sizes: [200, 300], shared: 150, isInTurn: false },
  { name: 'a power of two', sizes: [256, 300], shared: 200, isInTurn: true },
];

test.each(CASES)('two histories convict their owner on every daemon: $name', { timeout: SLOW_MS }, async (given) => {
  if (mesh === undefined) throw new Error('there is no mesh');
  const { forker, statuses, convictedMs } = await showTwoHistories(mesh, given);
  console.log(`fork, ${given.name}: ${convictedMs.map(Math.round).join(' ')} ms after the second history was cosigned`);
  expect(statuses.flat()).toContain(200);
  for (const member of mesh.members) {
    await verifyProofs(member, forker);
    expect(await refusalsOf(mesh, member, forker), member.name).toEqual(['convicted', 'convicted', 'not bound']);
  }
  await mesh.leave(forker);
  expect(convictedMs).toHaveLength(DAEMONS);
  expect(convictedMs.at(-1)).toBeLessThan(WITHIN_MS);
});
