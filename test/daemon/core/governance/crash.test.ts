/** The process is killed in the middle of it, again and again: what was acknowledged is so, and nothing is used twice. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import type { ApprovalState } from '../../../../daemon/core/governance/approvals.ts';
import { rowRange } from '../../../../daemon/core/governance/rows.ts';
import { openLevelStore } from '../../../../daemon/store/level.ts';
import { decodeLimitState } from '../../../../protocol/policy/index.ts';
import { GovernanceWorld, randomFrom } from './governance-world.ts';

const APPROVER = fileURLToPath(new URL('crash-approver.ts', import.meta.url));
const ROUNDS = 2;
const LINES_A_ROUND = 120;
/** States that may follow on one that was acknowledged. */
const LATER: Readonly<Record<string, readonly ApprovalState[]>> = {
  pending: ['pending', 'approved', 'denied', 'used'],
  approved: ['approved', 'used'],
  denied: ['denied'],
  used: ['used'],
};

async function kill(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close'); // after the last line is read
  child.kill('SIGKILL');
  await closed;
}

/** What was said of each approval last, over one life of the process. */
async function liveAndDie(directory: string, first: number): Promise<Map<string, string>> {
  const child = spawn(process.execPath, [APPROVER, directory, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = new Map<string, string>();
  let lines = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [state = '', id = ''] = line.split(' ');
    said.set(id, state);
    if (++lines === LINES_A_ROUND) void kill(child); // the loop goes on to the end of what was said
  }
  return said;
}

it('what was acknowledged before kill -9 is so after it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'agentmesh-governance-'));
  try {
    let used = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const said = await liveAndDie(directory, round * 100_000);
      expect(said.size).toBeGreaterThan(10);
      used += [...said.values()].filter((state) => state === 'used').length;

      await using store = await openLevelStore(directory);
      await using approvals = await new GovernanceWorld(randomFrom(round)).open(store);
      const wrong = [...said].filter(([id, state]) => !(LATER[state] ?? []).includes(approvals.get(id).state));
      expect(wrong).toEqual([]);
      for (const [id, state] of said)
        if (state === 'used') expect(await approvals.take(approvals.get(id))).toBeUndefined();

      const counters: number[] = [];
      for await (const [, value] of store.range(...rowRange('limit')))
        counters.push(decodeLimitState(value).slices.reduce((sum, slice) => sum + slice.uses, 0));
      expect(counters).toHaveLength(1);
      expect(counters[0]).toBeGreaterThanOrEqual(used);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}, 60_000);
