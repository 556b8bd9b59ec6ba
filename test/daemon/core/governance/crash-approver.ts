/**
 * Asks for approvals, has them approved and uses them up for ever, four at a time, and uses a limit before each synced
 * write; says what is acknowledged. Ends by being killed.
 */
import { writeSync } from 'node:fs';
import { LimitStore } from '../../../../daemon/core/governance/limits.ts';
import { openLevelStore } from '../../../../daemon/store/level.ts';
import { toHex, u32be } from '../../../../protocol/index.ts';
import { quiet } from '../log/log-world.ts';
import { agent, CRASH_USE, GovernanceWorld, randomFrom, wanted } from './governance-world.ts';

const [directory, first] = process.argv.slice(2);
if (directory === undefined || first === undefined) throw new Error('usage: crash-approver.ts DIRECTORY FIRST');
const store = await openLevelStore(directory);
const world = new GovernanceWorld(randomFrom(Number(first)));
const approvals = await world.open(store, { pendingAnAgentMax: 64 });
const uses = new LimitStore({ store, clock: world.clock, log: quiet });
let next = Number(first);

async function work(): Promise<void> {
  for (;;) {
    const terms = wanted({ digest: toHex(u32be(next++)).padStart(64, '0') });
    const { approval } = await approvals.request(terms);
    writeSync(1, `pending ${approval.id}\n`);
    const denies = next % 3 === 0;
    const { state } = await approvals.decide(
      approval.id,
      world.given(approval, { decision: denies ? 'deny' : 'approve' }),
    );
    writeSync(1, `${state} ${approval.id}\n`);
    if (denies) continue;
    const taken = await uses.take(agent.did, [CRASH_USE]);
    if (!taken.isTaken) throw new Error('the limit is used up');
    await approvals.take(approval); // synced, after the use
    writeSync(1, `used ${approval.id}\n`);
  }
}

await Promise.all([1, 2, 3, 4].map(work));
