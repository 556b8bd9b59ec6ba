/** Twenty real nodes, of which one shows two histories to two halves. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ForkCase, refusalsOf, showTwoHistories, verifyProofs } from '../e2e/fork.ts';
import { ForkMesh } from '../e2e/fork-mesh.ts';

const DAEMONS = 19;
const START_MS = 300_000;
const WITHIN_MS = 2_000;
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

let mesh: ForkMesh | undefined;
const forkers: string[] = [];

beforeAll(async () => {
  const beganMs = performance.now();
  mesh = await ForkMesh.start(DAEMONS, seed);
  console.log(`fork, seed ${seed}: ${DAEMONS} daemons in ${Math.round(performance.now() - beganMs)} ms`);
}, START_MS);
afterAll(() => mesh?.[Symbol.asyncDispose](), START_MS);

const CASES: readonly ForkCase[] = [
  { name: 'unequal, in turn', sizes: [200, 300], shared: 150, isInTurn: true },
  { name: 'unequal, at once', sizes: [200, 300], shared: 150, isInTurn: false },
  { name: 'the second one smaller', sizes: [300, 200], shared: 150, isInTurn: true },
  { name: 'a power of two', sizes: [256, 300], shared: 200, isInTurn: true },
  { name: 'a power of two, at once', sizes: [256, 512], shared: 255, isInTurn: false },
  { name: 'equal', sizes: [300, 300], shared: 200, isInTurn: true },
  { name: 'equal, at once', sizes: [300, 300], shared: 299, isInTurn: false },
];

test.each(CASES)(
  `two histories are everybody's conviction within ${WITHIN_MS} ms: $name (seed ${seed})`,
  async (given) => {
    if (mesh === undefined) throw new Error('there is no mesh');
    const report = await showTwoHistories(mesh, given);
    const { forker, statuses, convictedMs, sentMs } = report;
    forkers.push(forker.did);
    const ms = (times: readonly number[]): string =>
      [times[0], times[times.length >> 1], times.at(-1)].map((time) => Math.round(time ?? Number.NaN)).join('/');
    console.log(
      `fork, ${given.name} ${given.sizes.join('/')}: first/median/last of ${convictedMs.length} convictions ` +
        `${ms(convictedMs)} ms after the second history was cosigned, ${ms(sentMs)} ms after it was sent; ` +
        `answers ${statuses.map((half) => half.join(' ')).join(' | ')}`,
    );
    expect(statuses[1]).toContain(200);
    for (const member of mesh.members) {
      await verifyProofs(member, forker);
      expect(await refusalsOf(mesh, member, forker), member.name).toEqual(['convicted', 'convicted', 'not bound']);
      const convicted = (await member.mesh.convictions.list()).map(({ did }) => did);
      expect(new Set(convicted), member.name).toEqual(new Set(forkers));
    }
    await mesh.leave(forker);
    expect(convictedMs).toHaveLength(DAEMONS);
    expect(convictedMs.at(-1)).toBeLessThan(WITHIN_MS);
  },
);
