import { expect, test } from 'vitest';
import { killRepeatedly } from './kill.ts';

const ROUNDS = 20;
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

test(`a daemon killed ${ROUNDS} times while writing loses nothing that it acknowledged or released (seed ${seed})`, {
  timeout: 600_000, // a start takes twelve seconds where twenty other daemons run
}, async () => {
  const report = await killRepeatedly(ROUNDS, seed);
  console.log(`kill, seed ${seed}: ${JSON.stringify(report)}`);
  expect(report.lost).toEqual([]);
  expect(report.lostEntries).toEqual([]);
  expect(report.convictions).toBe(0);
  expect(report.starts).toBe(ROUNDS + 1);
  expect(report.acknowledged).toBeGreaterThan(ROUNDS);
  expect(report.entries).toBeGreaterThan(5 * ROUNDS);
  expect(report.checkpoints).toBeGreaterThan(ROUNDS);
  expect(report.treeSize).toBeGreaterThan(report.entries);
});
