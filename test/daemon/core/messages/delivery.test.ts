import { beforeEach, expect, it } from 'vitest';
import { Delivery, type DeliveryComponents, Refusal } from '../../../../daemon/core/messages/delivery.ts';
import type { Outbox } from '../../../../daemon/core/messages/outbox.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { limits, MeshError } from '../../../../protocol/index.ts';
import { createAgent } from '../../../builders.ts';
import { seededRandom } from '../../../random.ts';
import { quiet } from '../handshake-world.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { acme, bot, clerk, guard, INTENT, openOutbox, other, unnumbered } from './boxes.ts';

let clock: VirtualClock;
let outbox: Outbox;
let n: number;
let settled: string[];
beforeEach(async () => {
  [clock, n, settled] = [new VirtualClock(), 0, []];
  outbox = await openOutbox(new MemoryStore(), clock);
});
const send = async (iss = bot, aud = clerk): Promise<void> => {
  await outbox.add({ message: unnumbered(++n, { iss, aud, exp: 1_795_900_000 }), grant: null }, async () => INTENT);
};
const problem = (code: 'busy' | 'full' | 'closed' | 'policy_denied'): MeshError => new MeshError(code, 'Cannot');

/** `say` answers for each message, and `reach` for each line. */
function deliveryWith(
  { say = async () => {}, reach = async () => {} }: { say?: () => Promise<void>; reach?: () => Promise<void> },
  more: Partial<DeliveryComponents> = {},
): Delivery {
  const random = seededRandom(7);
  return new Delivery({
    outbox,
    clock,
    random: { bytes: (count) => new Uint8Array(count), fraction: random },
    log: quiet,
    open: async () => {
      await reach();
      return { deliver: async () => say(), close: () => {} };
    },
    organisationOf: () => acme.did,
    settled: ({ code }) => void settled.push(code ?? 'ok'),
    ...more,
  });
}

it('rests longer after each failure, from half to all of a bound that doubles, and no longer than the longest', async () => {
  const tries: number[] = [];
  await using delivery = deliveryWith({
    reach: async () => {
      tries.push(clock.monotonicMs());
      throw problem('busy');
    },
  });
  await send();
  delivery.start();
  await clock.advance(3_600_000);
  const rests = tries.slice(1).map((at, i) => at - (tries[i] ?? 0));
  expect(rests.length).toBeGreaterThan(12);
  rests.forEach((rest, i) => {
    const longest = Math.min(limits.MESSAGE_RETRY_MS * 2 ** i, limits.MESSAGE_RETRY_MS_MAX);
    expect(rest).toBeGreaterThanOrEqual(longest / 2);
    expect(rest).toBeLessThanOrEqual(longest);
  });
  expect(new Set(rests.slice(10)).size).toBeGreaterThan(1);
});

it('tries the next message when one is refused for good, and the same when it is refused for now', async () => {
  const answers = ['policy_denied', 'full', undefined, undefined] as const;
  let asked = 0;
  await using delivery = deliveryWith({
    say: async () => {
      const code = answers[asked++];
      if (code !== undefined) throw new Refusal(problem(code));
    },
  });
  for (let i = 0; i < 3; i++) await send();
  delivery.start();
  await clock.advance(0);
  expect([settled, outbox.list()[1]?.code]).toEqual([['policy_denied'], 'full']);
  await clock.advance(1_000);
  expect([settled, asked]).toEqual([['policy_denied', 'ok', 'ok'], 4]);
});

it('takes a line for the next message, and at once another where it ended without a word', async () => {
  let [opened, isBroken] = [0, false];
  await using delivery = deliveryWith({
    reach: async () => void opened++,
    say: async () => {
      if (!isBroken) return;
      isBroken = false;
      throw problem('closed');
    },
  });
  await send();
  delivery.start();
  await clock.advance(100);
  await send();
  delivery.wake({ sender: bot, recipient: clerk });
  await clock.advance(100);
  expect([opened, settled.length]).toEqual([1, 2]);
  isBroken = true;
  await send();
  delivery.wake({ sender: bot, recipient: clerk });
  await clock.advance(100);
  expect([opened, settled.length]).toEqual([2, 3]);
  await clock.advance(limits.MAIL_LINGER_MS);
  await send();
  delivery.wake({ sender: bot, recipient: clerk });
  await clock.advance(100);
  expect(opened).toBe(3);
});

it('does not let pairs that fail hold up others', async () => {
  await using delivery = deliveryWith(
    {},
    {
      open: async ({ recipient }) => {
        if (recipient === guard) throw problem('busy');
        return { deliver: async () => {}, close: () => {} };
      },
    },
  );
  await send(bot, guard);
  await send(bot, clerk);
  await send(other, clerk);
  delivery.start();
  await clock.advance(10);
  expect(settled).toEqual(['ok', 'ok']);
});

it('delivers to one organisation over so many lines at a time, and to all in the end', async () => {
  let [under, most] = [0, 0];
  await using delivery = deliveryWith({
    say: async () => {
      most = Math.max(most, ++under);
      await new Promise<void>((resolve) => void clock.after(100, resolve));
      under -= 1;
    },
  });
  for (let i = 0; i < 20; i++) await send(createAgent(acme, `writer ${i}`).did);
  delivery.start();
  await clock.advance(2_000);
  expect([settled.length, most]).toEqual([20, limits.DELIVERIES_AN_ORGANISATION_MAX]);
});

it('stops with what is under way, and leaves what is not answered in the outbox', async () => {
  const delivery = deliveryWith(
    {},
    {
      open: async (_pair, _grant, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(problem('closed')));
        }),
    },
  );
  await send();
  delivery.start();
  await clock.advance(10);
  await delivery.close();
  expect([settled, outbox.pairs()]).toEqual([[], [{ sender: bot, recipient: clerk }]]);
});
