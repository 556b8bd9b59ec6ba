import { beforeEach, expect, it } from 'vitest';
import type { Outbox } from '../../../../daemon/core/messages/outbox.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { limits, MeshError, toHex } from '../../../../protocol/index.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { bot, clerk, guard, INTENT, messageOf, midOf, openOutbox, other, unnumbered } from './boxes.ts';

let store: MemoryStore;
let clock: VirtualClock;
let outbox: Outbox;
beforeEach(async () => {
  [store, clock] = [new MemoryStore(), new VirtualClock()];
  outbox = await openOutbox(store, clock);
});
const logged = async (): Promise<string> => INTENT;
const add = (n: number, change: Parameters<typeof unnumbered>[1] = {}, of = outbox) =>
  of.add({ message: unnumbered(n, change), grant: null }, logged);
const pair = { sender: bot, recipient: clerk };
const heads = (of = outbox) => of.head(pair)?.mid;

it('numbers messages upwards, gives them in order, and again after it was opened anew', async () => {
  const sent = [await add(1), await add(2), await add(3, { aud: guard })];
  const seqs = sent.map(({ seq }) => seq);
  expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
  expect(new Set(seqs).size).toBe(3);
  const again = await openOutbox(store, clock);
  expect([heads(again), again.pairs()]).toEqual([toHex(midOf(1)), expect.arrayContaining([pair])]);
  await again.settle(toHex(midOf(1)), null);
  expect(heads(again)).toBe(toHex(midOf(2)));
  const { message, intent } = await again.content(toHex(midOf(2)));
  expect([message, intent]).toEqual([{ ...messageOf(2), seq: seqs[1] }, INTENT]);
});

it('gives no number twice, where the clock was set back, the rows are gone, or the store is an older copy', async () => {
  const { seq: first } = await add(1);
  clock.step(-86_400_000);
  const { seq: second } = await (await openOutbox(store, clock)).add({ message: unnumbered(2), grant: null }, logged);
  expect(second).toBeGreaterThan(first);
  clock.step(86_400_000);
  await clock.advance(1_000);
  const restored = await openOutbox(new MemoryStore(), clock);
  const { seq: third } = await restored.add({ message: unnumbered(3), grant: null }, logged);
  expect(third).toBeGreaterThan(second);
});

it('answers after the log and a synced write, and keeps nothing that the log refused', async () => {
  const steps: string[] = [];
  const batch = store.batch.bind(store);
  store.batch = async (writes, options) => {
    steps.push(options.sync ? 'synced' : 'not synced');
    return batch(writes, options);
  };
  await outbox.add({ message: unnumbered(1), grant: null }, async ({ seq }) => {
    steps.push(seq > 0 ? 'logged' : 'logged without number');
    return INTENT;
  });
  expect(steps).toEqual(['logged', 'synced']);
  const refused = outbox.add({ message: unnumbered(2), grant: null }, async () => {
    throw new MeshError('log_halted', 'Cannot write');
  });
  await expect(refused).rejects.toMatchObject({ code: 'log_halted' });
  expect(outbox.list().map(({ mid }) => mid)).toEqual([toHex(midOf(1))]);
});

it('puts messages that are sent at once into the queue in the order of their numbers', async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const adding = [1, 2].map((n, i) =>
    outbox.add({ message: unnumbered(n), grant: null }, async () => {
      await gates[i]?.promise;
      return INTENT;
    }),
  );
  gates[1]?.resolve();
  await clock.advance(10);
  expect(heads()).toBeUndefined();
  gates[0]?.resolve();
  const [first, second] = await Promise.all(adding);
  expect(first?.seq).toBeLessThan(second?.seq ?? 0);
  expect(heads()).toBe(toHex(midOf(1)));
});

it.each([
  ['a pair', { pairMax: 2 }, { aud: guard }],
  ['a sender', { senderMax: 2 }, { iss: other }],
])('refuses what goes beyond the bound of %s, and nothing of others', async (_, options, change) => {
  const of = await openOutbox(store, clock, options);
  for (const n of [1, 2]) await add(n, {}, of);
  await expect(add(3, {}, of)).rejects.toMatchObject({ code: 'full' });
  await add(4, change, of);
  await of.settle(toHex(midOf(1)), null);
  await add(3, {}, of);
});

it.each([
  ['messages', { max: 2 }],
  ['bytes', { bytesMax: 25 }],
])('refuses what goes beyond the bound of %s in all, also of those being written', async (_, options) => {
  const of = await openOutbox(store, clock, options);
  const adding = [1, 2].map((n) => add(n, {}, of));
  await expect(add(3, { iss: other, aud: guard }, of)).rejects.toMatchObject({ code: 'full' });
  await Promise.all(adding);
  await expect(add(3, { iss: other, aud: guard }, of)).rejects.toMatchObject({ code: 'full' });
  await expect(openOutbox(store, clock, options).then((again) => add(3, {}, again))).rejects.toMatchObject({
    code: 'full',
  });
});

it('lets the body of a message go once it is over, and remembers so many of what is', async () => {
  const of = await openOutbox(store, clock, { keptMax: 2 });
  for (const n of [1, 2, 3]) {
    await add(n, {}, of);
    await of.settle(toHex(midOf(n)), n === 2 ? 'policy_denied' : null);
  }
  expect(of.list().map(({ mid, state, code }) => [mid, state, code])).toEqual([
    [toHex(midOf(3)), 'delivered', null],
    [toHex(midOf(2)), 'failed', 'policy_denied'],
  ]);
  await expect(of.content(toHex(midOf(3)))).rejects.toMatchObject({ code: 'store_corrupt' });
  await clock.advance(limits.OUTBOX_KEPT_MS);
  await add(4, { exp: Math.floor(clock.nowMs() / 1000) + 60 }, of);
  await of.settle(toHex(midOf(4)), null);
  expect(of.list()).toHaveLength(1);
});

it('tells what expired from what was refused because something else had', async () => {
  const { exp } = messageOf(1);
  await add(1);
  await add(2);
  await outbox.settle(toHex(midOf(1)), 'expired'); // the grant
  expect(outbox.expired()).toEqual([]);
  await clock.advance(exp * 1000 - clock.nowMs());
  expect(outbox.expired().map(({ mid }) => mid)).toEqual([toHex(midOf(2))]);
  await outbox.settle(toHex(midOf(2)), 'expired');
  expect(outbox.list().map(({ state, tries }) => [state, tries])).toEqual([
    ['expired', 0],
    ['failed', 1],
  ]);
});
