import { expect, test } from 'vitest';
import { killRepeatedly } from '../e2e/kill.ts';

const HOMES = 10;
const KILLS = 20; // of one home: what it writes meanwhile stays below an organisation's quota of links
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

test.each(Array.from({ length: HOMES }, (_, i) => seed + i))(
  `a daemon killed ${KILLS} times while writing loses nothing that it acknowledged (seed %i)`,
  { timeout: 600_000 },
  async (own) => {
    const report = await killRepeatedly(KILLS, own);
    expect(report.lost).toEqual([]);
    expect(report.starts).toBe(KILLS + 1);
    expect(report.acknowledged).toBeGreaterThan(KILLS);
  },
);
