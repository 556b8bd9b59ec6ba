import { expect, test } from 'vitest';
import { contradictionsIn, mailProblemsIn } from '../e2e/calls-evidence.ts';
import { killCalls } from '../e2e/calls-kill.ts';

const WORLDS = 4;
const KILLS = 50; // of one pair of daemons
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);

test.each(Array.from({ length: WORLDS }, (_, i) => seed + i))(
  `after ${KILLS} times kill -9 of either side of calls, nothing is contradicted, done twice or lost (seed %i)`,
  { timeout: 30 * 60_000 },
  async (own) => {
    const { evidence, kills, mail, figures } = await killCalls(KILLS, own);
    console.log(`calls killed, seed ${own}: ${JSON.stringify([kills, figures])}`);
    expect(contradictionsIn(evidence)).toEqual([]);
    expect(mail.flatMap(mailProblemsIn)).toEqual([]);
    expect(Object.values(kills).reduce((sum, count) => sum + count)).toBe(KILLS);
    expect(figures['answered']).toBeGreaterThan(2 * KILLS);
    for (const { sent } of mail) expect(sent.length).toBeGreaterThan(KILLS);
  },
);
