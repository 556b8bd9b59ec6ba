/** Writes batches of three rows for ever, eight at a time, and says which are acknowledged. Ends by being killed, or by a failed write. */
import { writeSync } from 'node:fs';
import { openLevelStore } from '../../../daemon/store/level.ts';
import { batchOf } from './crash-rows.ts';

const [directory, first] = process.argv.slice(2);
if (directory === undefined || first === undefined) throw new Error('usage: crash-writer.ts DIRECTORY FIRST');
const store = await openLevelStore(directory);
let next = Number(first);

async function write(): Promise<void> {
  for (;;) {
    const batch = next++;
    await store.batch(batchOf(batch), { sync: true });
    writeSync(1, `${batch}\n`);
  }
}

const outcomes = await Promise.allSettled(Array.from({ length: 8 }, write));
const reasons = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason : undefined));
writeSync(1, `refused ${[...new Set(reasons.map((reason) => reason?.code))].join(' ')}\n`);
