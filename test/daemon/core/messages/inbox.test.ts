import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import type { Inbox } from '../../../../daemon/core/messages/inbox.ts';
import { isMeshError, limits, MeshError, toHex } from '../../../../protocol/index.ts';
import { createAgent, createOrganisation } from '../../../builders.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { bot, clerk, gamma, guard, incoming, midOf, openInbox, other } from './boxes.ts';

let store: MemoryStore;
let clock: VirtualClock;
let inbox: Inbox;
beforeEach(async () => {
  [store, clock] = [new MemoryStore(), new VirtualClock()];
  inbox = await openInbox(store, clock);
});
const seqs = async (of = inbox, recipient = clerk, after = 0): Promise<number[]> =>
  (await of.list(recipient, { after })).map(({ row }) => row.message.seq);
const never = new AbortController().signal;
const codeOf = (error: unknown): string => (isMeshError(error) ? error.code : String(error));

it('keeps what it took, in order, and nothing that was acknowledged, when it is opened again', async () => {
  for (const seq of [1, 2, 3]) expect(await inbox.take(incoming(seq))).toBe(true);
  await inbox.acknowledge(clerk, [toHex(midOf(2))]);
  const again = await openInbox(store, clock);
  expect(await seqs(again)).toEqual([1, 3]);
  expect(await again.take(incoming(3))).toBe(false);
  await expect(again.take(incoming(2))).rejects.toMatchObject({ code: 'replay' });
  const [first] = await again.list(clerk);
  expect(first?.row).toEqual({ ...incoming(1), arrivedMs: clock.nowMs() });
});

it('never gives a position again, also where all before were acknowledged and it was opened anew', async () => {
  await inbox.take(incoming(1));
  const [first] = await inbox.list(clerk);
  await inbox.acknowledge(clerk, [toHex(midOf(1))]);
  await clock.advance(1);
  const again = await openInbox(store, clock);
  await again.take(incoming(2));
  expect(await seqs(again, clerk, first?.position)).toEqual([2]);
});

it('acknowledges only what is in the inbox of whoever says so', async () => {
  await inbox.take(incoming(1));
  expect(await inbox.acknowledge(guard, [toHex(midOf(1))])).toBe(0);
  expect(await seqs()).toEqual([1]);
});

it('takes no other message under the id of one that waits: acknowledged with it, nobody would have seen it', async () => {
  const mid = midOf(1);
  const again = (seq: number) => ({ ...incoming(seq), message: { ...incoming(seq).message, mid } });
  const [first, second] = await Promise.allSettled([inbox.take(incoming(1)), inbox.take(again(2))]);
  expect(first).toMatchObject({ value: true });
  expect(second).toMatchObject({ reason: { code: 'conflict' } });
  await expect((await openInbox(store, clock)).take(again(2))).rejects.toMatchObject({ code: 'conflict' });
  expect(await seqs()).toEqual([1]);
  await inbox.acknowledge(clerk, [toHex(mid)]);
  expect(await inbox.take(again(3))).toBe(true);
});

it('says that a message is kept only after the log and a synced write', async () => {
  const steps: string[] = [];
  const watched = new MemoryStore();
  const batch = watched.batch.bind(watched);
  watched.batch = async (writes, options) => {
    steps.push(`${writes.length} rows, ${options.sync ? 'synced' : 'not synced'}`);
    return batch(writes, options);
  };
  const of = await openInbox(
    watched,
    clock,
    {},
    {
      ahead: async () => {
        steps.push('logged');
        return (problem) => void steps.push(problem === undefined ? 'settled' : problem.code);
      },
    },
  );
  await of.take(incoming(1));
  expect(steps).toEqual(['logged', '2 rows, synced', 'settled']);
  await of.acknowledge(clerk, [toHex(midOf(1))]);
  expect(steps.at(-1)).toBe('1 rows, synced');
});

it('takes nothing that the log or the disk does not, and has room for it again', async () => {
  let isFailing = true;
  const of = await openInbox(
    store,
    clock,
    { pairMax: 1 },
    {
      ahead: async () => {
        if (isFailing) throw new MeshError('log_halted', 'Cannot write');
        return () => {};
      },
    },
  );
  await expect(of.take(incoming(1))).rejects.toMatchObject({ code: 'log_halted' });
  expect([await seqs(of), of.size]).toEqual([[], 0]);
  isFailing = false;
  expect(await of.take(incoming(1))).toBe(true);
});

it('shows nothing behind a message that is still being written, so that no reader passes it over', async () => {
  const { promise: gate, resolve } = Promise.withResolvers<void>();
  const of = await openInbox(
    store,
    clock,
    {},
    {
      ahead: async ({ message }) => {
        if (message.iss === bot) await gate;
        return () => {};
      },
    },
  );
  const slow = of.take(incoming(1));
  await of.take(incoming(2, { iss: other }));
  await of.take(incoming(3, { iss: other, aud: guard }));
  expect([await seqs(of), await seqs(of, guard)]).toEqual([[], [3]]);
  resolve();
  await slow;
  expect(await seqs(of)).toEqual([1, 2]);
});

describe('bounds', () => {
  const beta = createOrganisation('beta');
  const stranger = createAgent(beta, 'stranger').did;
  it.each([
    ['a pair', { pairMax: 2 }, { iss: other }],
    ['an organisation', { organisationMax: 2 }, { iss: stranger }],
    ['bytes of an organisation', { organisationBytesMax: 25 }, { iss: stranger }],
  ])('%s that reaches its bound is refused, and nobody else', async (_, options, change) => {
    const of = await openInbox(store, clock, options);
    for (const seq of [1, 2]) await of.take(incoming(seq));
    await expect(of.take(incoming(3))).rejects.toMatchObject({ code: 'full' });
    const organisation = change.iss === stranger ? beta.did : gamma.did;
    expect(await of.take(incoming(4, change, organisation))).toBe(true);
    await of.acknowledge(clerk, [toHex(midOf(1))]);
    expect(await of.take(incoming(3))).toBe(true);
  });

  it.each([
    ['messages', { max: 2 }],
    ['bytes', { bytesMax: 25 }],
  ])('of %s in all hold for everybody', async (_, options) => {
    const of = await openInbox(store, clock, options);
    for (const seq of [1, 2]) await of.take(incoming(seq));
    await expect(of.take(incoming(4, { iss: stranger }, beta.did))).rejects.toMatchObject({ code: 'full' });
  });

  it('of senders are of those that are remembered, and end with their messages', async () => {
    const of = await openInbox(store, clock, { sendersMax: 1 });
    of.start();
    await of.take(incoming(1));
    await of.acknowledge(clerk, [toHex(midOf(1))]);
    await expect(of.take(incoming(2, { iss: other }))).rejects.toMatchObject({ code: 'full' });
    await clock.advance(3_700_000);
    const exp = Math.floor(clock.nowMs() / 1000) + 60;
    expect(await of.take(incoming(2, { iss: other, exp }))).toBe(true);
    await of.close();
    const rows = [];
    for await (const row of store.range(Uint8Array.of(0x63, 0x71), Uint8Array.of(0x63, 0x72))) rows.push(row);
    expect(rows).toHaveLength(1);
  });

  it('count what is on its way to the disk', async () => {
    const { promise: gate, resolve } = Promise.withResolvers<void>();
    const of = await openInbox(
      store,
      clock,
      { organisationMax: 1 },
      {
        ahead: async () => {
          await gate;
          return () => {};
        },
      },
    );
    const first = of.take(incoming(1));
    await expect(of.take(incoming(2, { iss: other }))).rejects.toMatchObject({ code: 'full' });
    resolve();
    expect(await first).toBe(true);
  });
});

describe('wait()', () => {
  it('resolves with the first message, after its time, or with the signal', async () => {
    const waiting = inbox.wait(clerk, 0, { waitMs: 10_000, signal: never });
    await inbox.take(incoming(1));
    await waiting;
    const position = (await inbox.list(clerk))[0]?.position ?? 0;
    const late = inbox.wait(clerk, position, { waitMs: 10_000, signal: never });
    await clock.advance(10_000);
    await late;
    const controller = new AbortController();
    const cancelled = inbox.wait(clerk, position, { waitMs: 10_000, signal: controller.signal });
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
    expect(clock.timers).toBe(0);
  });

  it('ends with the daemon, and holds no more than its bound', async () => {
    const waiting = Array.from({ length: limits.INBOX_WAITING_MAX }, () =>
      inbox.wait(clerk, 0, { waitMs: 10_000, signal: never }).catch(codeOf),
    );
    await expect(inbox.wait(clerk, 0, { waitMs: 10_000, signal: never })).rejects.toMatchObject({ code: 'busy' });
    await inbox.close();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['closed']));
    await expect(inbox.take(incoming(1))).rejects.toMatchObject({ code: 'closed' });
  });
});

it('lets go of what expired, tells of each once, and refuses what is over', async () => {
  const expired: number[] = [];
  const of = await openInbox(store, clock, {}, { expired: ({ seq }) => expired.push(seq) });
  of.start();
  const soon = Math.floor(clock.nowMs() / 1000) + 10;
  await of.take(incoming(1, { exp: soon }));
  await of.take(incoming(2));
  await clock.advance(10_000);
  expect(await seqs(of)).toEqual([2]);
  await clock.advance(60_000);
  expect([expired, of.size]).toEqual([[1], 1]);
  await expect(of.take(incoming(3, { exp: soon }))).rejects.toMatchObject({ code: 'expired' });
  await of.close();
  expect(await seqs(await openInbox(store, clock))).toEqual([2]);
});
