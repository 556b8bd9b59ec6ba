import { expect, test } from 'vitest';
import { killRepeatedly } from '../e2e/kill.ts';

const HOMES = 10;
const KILLS = 20; // of one home: what it writes meanwhile stays below an organisation's quota of links
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

test.each(Array.from({ length: HOMES }, (_, i) => seed + i))(
  `a daemon killed ${KILLS} times while writing loses nothing that it acknowledged or released (seed %i)`,
  { timeout: 1_200_000 },
  async (own) => {
    const report = await killRepeatedly(KILLS, own);
    console.log(`kill, seed ${own}: ${JSON.stringify(report)}`);
    expect(report.lost).toEqual([]);
    expect(report.lostEntries).toEqual([]);
    expect(report.convictions).toBe(0);
    expect(report.starts).toBe(KILLS + 1);
    expect(report.acknowledged).toBeGreaterThan(KILLS);
    expect(report.entries).toBeGreaterThan(5 * KILLS);
    expect(report.checkpoints).toBeGreaterThan(KILLS);
    expect(report.treeSize).toBeGreaterThan(report.entries);
  },
);
