/**
 * Sends messages, takes them into an inbox and acknowledges half of them for ever, for four pairs at a time; says what is
 * acknowledged. Ends by being killed.
 */
import { writeSync } from 'node:fs';
import { Inbox } from '../../../../daemon/core/messages/inbox.ts';
import { Outbox } from '../../../../daemon/core/messages/outbox.ts';
import { openLevelStore } from '../../../../daemon/store/level.ts';
import { createSystemClock } from '../../../../daemon/system.ts';
import { toHex } from '../../../../protocol/index.ts';
import { createAgent } from '../../../builders.ts';
import { quiet } from '../handshake-world.ts';
import { gamma, incoming, INTENT, unnumbered } from './boxes.ts';

const [directory, first] = process.argv.slice(2);
if (directory === undefined || first === undefined) throw new Error('usage: crash-mailer.ts DIRECTORY FIRST');
const store = await openLevelStore(directory);
const clock = createSystemClock();
const outbox = await Outbox.open({ store, clock, log: quiet });
const inbox = await Inbox.open({ store, clock, log: quiet, ahead: async () => () => {}, expired: () => {} });
let next = Number(first);

const exp = Math.floor(clock.nowMs() / 1000) + 3_600;

async function work(iss: string): Promise<void> {
  for (;;) {
    const n = next++;
    const { mid, seq } = await outbox.add({ message: unnumbered(n, { iss, exp }), grant: null }, async () => INTENT);
    writeSync(1, `sent ${mid} ${seq} ${iss}\n`);
    const message = incoming(n, { iss, seq, exp });
    await inbox.take(message);
    writeSync(1, `kept ${mid} ${seq} ${iss}\n`);
    await outbox.settle(mid, null);
    if (n % 2 === 0) continue;
    await inbox.acknowledge(message.message.aud, [toHex(message.message.mid)]);
    writeSync(1, `acknowledged ${mid} ${seq} ${iss}\n`);
  }
}

await Promise.all([1, 2, 3, 4].map((n) => work(createAgent(gamma, `writer ${n}`).did)));
