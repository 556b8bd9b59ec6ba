/** The process is killed in the middle of it: what was acknowledged is so, and nothing is kept twice. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Inbox } from '../../../../daemon/core/messages/inbox.ts';
import { Outbox } from '../../../../daemon/core/messages/outbox.ts';
import { openLevelStore } from '../../../../daemon/store/level.ts';
import { createSystemClock } from '../../../../daemon/system.ts';
import { fromHex, isMeshError, toHex } from '../../../../protocol/index.ts';
import { quiet } from '../handshake-world.ts';
import { clerk, incoming } from './boxes.ts';

const MAILER = fileURLToPath(new URL('crash-mailer.ts', import.meta.url));
const ROUNDS = 2;
const LINES_A_ROUND = 120;

interface Said {
  readonly state: string;
  readonly mid: string;
  readonly seq: number;
  readonly iss: string;
}

/** What was said of each message last, over one life of the process. */
async function liveAndDie(directory: string, first: number): Promise<Map<string, Said>> {
  const child = spawn(process.execPath, [MAILER, directory, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const said = new Map<string, Said>();
  let lines = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [state = '', mid = '', seq = '', iss = ''] = line.split(' ');
    said.set(mid, { state, mid, seq: Number(seq), iss });
    if (++lines === LINES_A_ROUND) child.kill('SIGKILL'); // the loop goes on to the end of what was said
  }
  return said;
}

it('what was acknowledged before kill -9 is so after it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'agentmesh-messages-'));
  const clock = createSystemClock();
  const all = new Map<string, Said>();
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const said = await liveAndDie(directory, 1 + round * 10_000);
      expect(said.size).toBeGreaterThan(10);
      for (const [mid, one] of said) all.set(mid, one);

      await using store = await openLevelStore(directory);
      const outbox = await Outbox.open({ store, clock, log: quiet });
      await using inbox = await Inbox.open({
        store,
        clock,
        log: quiet,
        ahead: async () => () => {},
        expired: () => {},
      });
      const sent = new Map(outbox.list({ max: 100_000 }).map((each) => [each.mid, each]));
      const kept = (await inbox.list(clerk, { max: 100_000 })).map(({ row }) => toHex(row.message.mid));
      expect(new Set(kept).size).toBe(kept.length);
      for (const { mid, state, seq } of all.values()) {
        expect(sent.get(mid)?.seq, `${mid} after "${state}"`).toBe(seq);
        if (state === 'acknowledged') expect(kept).not.toContain(mid);
        if (state === 'sent') expect(sent.get(mid)?.state).toMatch(/waiting|delivered/);
      }
      // One that was kept and is not there was being acknowledged: of each pair there is at most one.
      const gone = [...all.values()].filter(({ state, mid }) => state === 'kept' && !kept.includes(mid));
      expect(gone.length).toBeLessThanOrEqual(4 * (round + 1));
      // The newest of a pair, sent again since its answer may be lost, is kept once.
      const newest = new Map<string, Said>();
      for (const one of all.values())
        if (one.state !== 'sent' && one.seq > (newest.get(one.iss)?.seq ?? 0)) newest.set(one.iss, one);
      for (const { iss, seq, mid } of newest.values()) {
        const again = incoming(1, {
          iss,
          seq,
          mid: fromHex(mid) as Uint8Array,
          exp: Math.floor(clock.nowMs() / 1000) + 60,
        });
        expect(await inbox.take(again).catch(codeOf)).toSatisfy(isKnown);
      }
      expect(await inbox.list(clerk, { max: 100_000 })).toHaveLength(kept.length);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}, 60_000);

const codeOf = (error: unknown): string => (isMeshError(error) ? error.code : String(error));

/** Known as the newest, or as older than one that was taken and not told of any more. */
const isKnown = (result: unknown): boolean => result === false || result === 'replay';
