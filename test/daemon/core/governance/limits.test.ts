import { describe, expect, it } from 'vitest';
import { LimitStore, type TakenLimits } from '../../../../daemon/core/governance/limits.ts';
import type { Store, StoreWrite } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import type { LimitUse } from '../../../../protocol/policy/index.ts';
import { FragileStore, quiet, rowsOf, storeOf } from '../log/log-world.ts';
import { settle, VirtualClock } from '../virtual-clock.ts';

const HOUR = 3_600_000;
const hourly: LimitUse = { policy: 'p', rule: 'r', count: 3, windowMs: HOUR };
const other: LimitUse = { policy: 'p', rule: 's', count: 1, windowMs: HOUR };

/** Shows a write only once it is over, as a store on a disk does. */
class SlowStore extends MemoryStore {
  rangeEnds: Promise<void> = Promise.resolve();

  override async batch(writes: readonly StoreWrite[], options: { readonly sync: boolean }): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await super.batch(writes, options);
  }

  override async *range(gte: Uint8Array, lt: Uint8Array): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    yield* super.range(gte, lt);
    await this.rangeEnds;
  }
}

const open = (store: Store, clock: VirtualClock, cachedMax?: number): LimitStore =>
  new LimitStore({ store, clock, log: quiet }, cachedMax === undefined ? {} : { cachedMax });

async function taken(
  limits: LimitStore,
  agent: string,
  uses: readonly LimitUse[],
): Promise<Extract<TakenLimits, { isTaken: true }>> {
  const answer = await limits.take(agent, uses);
  if (!answer.isTaken) throw new Error(`"${answer.use.rule}" is used up`);
  return answer;
}

describe('take()', () => {
  it('allows as many as the rule says to each agent, and more once the window is over', async () => {
    const clock = new VirtualClock();
    const limits = open(new MemoryStore(), clock);
    for (let i = 0; i < 3; i++) await taken(limits, 'a', [hourly]);
    expect(await limits.isFree('a', hourly)).toBe(false);
    const refused = await limits.take('a', [hourly]);
    expect(refused).toMatchObject({ isTaken: false, use: hourly });
    expect(await limits.isFree('b', hourly)).toBe(true);
    expect(await limits.isFree('a', { ...hourly, rule: 'another' })).toBe(true);
    expect(await limits.isFree('a', { ...hourly, policy: 'another' })).toBe(true);
    if (refused.isTaken) throw new Error('it was taken');
    await clock.advance(refused.freeAtMs - clock.nowMs() - 1);
    expect(await limits.isFree('a', hourly)).toBe(false);
    await clock.advance(1);
    expect(await limits.isFree('a', hourly)).toBe(true);
  });

  it('takes all of several, or none', async () => {
    const limits = open(new MemoryStore(), new VirtualClock());
    await taken(limits, 'a', [hourly, other]);
    expect(await limits.take('a', [hourly, other])).toMatchObject({ isTaken: false, use: other });
    expect(await limits.take('a', [other, hourly])).toMatchObject({ isTaken: false, use: other });
    await taken(limits, 'a', [hourly]);
    await taken(limits, 'a', [hourly]);
    expect(await limits.isFree('a', hourly)).toBe(false);
  });

  it('counts a rule that is named twice twice', async () => {
    const limits = open(new MemoryStore(), new VirtualClock());
    await taken(limits, 'a', [hourly, hourly]);
    expect(await limits.take('a', [hourly, hourly])).toMatchObject({ isTaken: false });
    await taken(limits, 'a', [hourly]);
  });

  it('never gives more than there are, at once or in turn, whatever is in memory', async () => {
    const clock = new VirtualClock();
    for (const cachedMax of [0, 1, 100]) {
      const limits = open(new SlowStore(), clock, cachedMax);
      const asked = Array.from({ length: 40 }, (_, i) =>
        limits.take(`agent ${i % 4}`, [hourly, { ...hourly, rule: `${i % 3}`, count: 100 }]),
      );
      const answers = await Promise.all(asked);
      expect(answers.filter(({ isTaken }) => isTaken)).toHaveLength(4 * 3);

      let inTurn = 0; // while the writes of those before are on their way
      for (let i = 0; i < 20; i++) if ((await limits.take(`other ${i % 2}`, [hourly])).isTaken) inTurn += 1;
      expect(inTurn).toBe(2 * 3);
    }
  });

  it('gives back what did not go ahead, once', async () => {
    const store = new MemoryStore();
    const clock = new VirtualClock();
    const limits = open(store, clock);
    const first = await taken(limits, 'a', [hourly, other]);
    await taken(limits, 'a', [hourly]);
    await taken(limits, 'a', [hourly]);
    first.giveBack();
    first.giveBack();
    await settle();
    for (const each of [limits, open(store, clock)]) {
      expect(await each.isFree('a', other)).toBe(true);
      expect(await each.isFree('a', hourly)).toBe(true);
    }
    await taken(limits, 'a', [hourly]);
    expect(await limits.isFree('a', hourly)).toBe(false);
  });
});

describe('on disk', () => {
  it('is what was used before a restart', async () => {
    const store = new MemoryStore();
    const clock = new VirtualClock();
    const before = open(store, clock);
    for (let i = 0; i < 3; i++) await (await taken(before, 'a', [hourly])).written;
    expect(await open(store, clock).isFree('a', hourly)).toBe(false);
    await clock.advance(2 * HOUR);
    expect(await open(store, clock).isFree('a', hourly)).toBe(true);
  });

  it('is, where the power went, every use before which something later was synced, and no later one', async () => {
    const store = await FragileStore.of([]);
    const clock = new VirtualClock();
    const limits = open(store, clock);
    await taken(limits, 'a', [hourly]);
    const use = await taken(limits, 'a', [hourly]);
    // As the entry that lets a request go ahead: written after the use, without waiting for it, and synced.
    const entry = store.batch([{ type: 'put', key: Uint8Array.of(1), value: Uint8Array.of(1) }], { sync: true });
    await Promise.all([use.written, entry]);
    await (await taken(limits, 'a', [hourly])).written;
    expect(await usesLeft(limits)).toBe(0);
    const after = open(await storeOf(await store.cutPower()), clock);
    expect(await usesLeft(after)).toBe(1);
  });

  it('gives the error of a failed write to whoever waits for it', async () => {
    const store = await FragileStore.of([]);
    const limits = open(store, new VirtualClock());
    store.failsAt = 1;
    await expect((await taken(limits, 'a', [hourly])).written).rejects.toThrow('no space left');
  });

  it('answers store_corrupt for a row that it did not write, and again when asked again', async () => {
    const store = new MemoryStore();
    const clock = new VirtualClock();
    const limits = open(store, clock);
    await (await taken(limits, 'a', [hourly])).written;
    const [[key]] = (await rowsOf(store)) as [[Uint8Array, Uint8Array]];
    await store.batch([{ type: 'put', key, value: Uint8Array.of(9) }], { sync: true });
    const later = open(store, clock);
    for (let i = 0; i < 2; i++)
      await expect(later.take('a', [other, hourly])).rejects.toMatchObject({ code: 'store_corrupt' });
  });
});

describe('prune()', () => {
  it('removes counters without a use in their window, and no other', async () => {
    const store = new MemoryStore();
    const clock = new VirtualClock();
    const limits = open(store, clock);
    await (await taken(limits, 'a', [hourly])).written;
    await clock.advance(HOUR);
    await (await taken(limits, 'b', [hourly])).written;
    expect(await limits.prune()).toBe(0); // of the slice that is not over
    await clock.advance(HOUR / 2);
    expect(await limits.prune()).toBe(1);
    expect(await rowsOf(store)).toHaveLength(1);
    expect(await usesLeft(limits, 'a')).toBe(3);
    expect(await usesLeft(limits, 'b')).toBe(2);
  });

  it('keeps what is used while it looks', async () => {
    const store = new SlowStore();
    const clock = new VirtualClock();
    const limits = open(store, clock);
    await (await taken(limits, 'a', [hourly])).written;
    await clock.advance(2 * HOUR);
    const { promise, resolve } = Promise.withResolvers<void>();
    store.rangeEnds = promise;
    const pruned = limits.prune();
    await settle();
    await (await taken(limits, 'a', [hourly])).written;
    resolve();
    expect(await pruned).toBe(0);
    expect(await usesLeft(open(store, clock))).toBe(2);
  });
});

async function usesLeft(limits: LimitStore, agent = 'a'): Promise<number> {
  for (let left = 0; ; left++) if (!(await limits.take(agent, [hourly])).isTaken) return left;
}
