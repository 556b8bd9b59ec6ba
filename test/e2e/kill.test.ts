import { expect, test } from 'vitest';
import { killRepeatedly } from './kill.ts';

const ROUNDS = 20;
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

test(`a daemon killed ${ROUNDS} times while writing loses nothing that it acknowledged (seed ${seed})`, {
  timeout: 180_000,
}, async () => {
  const report = await killRepeatedly(ROUNDS, seed);
  expect(report.lost).toEqual([]);
  expect(report.starts).toBe(ROUNDS + 1);
  expect(report.acknowledged).toBeGreaterThan(ROUNDS);
});
