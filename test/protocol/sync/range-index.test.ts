import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RANGE_ITEMS_MAX } from '../../../protocol/limits.ts';
import { RangeIndex, type RangeItem, compareItems } from '../../../protocol/sync/range-index.ts';
import { type SeededRandom, seededRandom } from '../../fuzz/random.ts';
import { hash, hashId, hex, idOf, naiveFingerprint } from './sets.ts';

const textOf = ({ epoch, id }: RangeItem): string => `${epoch}/${hex(id)}`;
const none = new Uint8Array();

/** Few epochs and long common prefixes, so that insertions collide and deletions hit. */
function drawItem(random: SeededRandom): RangeItem {
  const id = idOf();
  id.fill(random.below(2) * 0xff, 0, 20);
  id[29] = random.below(40);
  id[31] = random.below(256);
  return { epoch: random.pick([0, 1, 7, 2 ** 32 - 1]), id };
}

/** The index and a sorted array, given the same changes. */
class Twins {
  readonly index = new RangeIndex();
  readonly sorted: RangeItem[] = [];

  insert(item: RangeItem): void {
    const at = this.sorted.findIndex((other) => compareItems(other, item) >= 0);
    const isNew = at < 0 || textOf(this.sorted[at] as RangeItem) !== textOf(item);
    if (isNew) this.sorted.splice(at < 0 ? this.sorted.length : at, 0, item);
    expect(this.index.insert(item)).toBe(isNew);
    this.compareLast();
  }

  delete(item: RangeItem): void {
    const at = this.sorted.findIndex((other) => textOf(other) === textOf(item));
    if (at >= 0) this.sorted.splice(at, 1);
    expect(this.index.delete(item)).toBe(at >= 0);
    this.compareLast();
  }

  /** The last rank counts all blocks: it shows at once if any of them does not know what lies before it. */
  compareLast(): void {
    const last = this.sorted.at(-1);
    if (last === undefined) expect(this.index.size).toBe(0);
    else expect(this.index.lowerBound({ epoch: last.epoch, prefix: last.id })).toBe(this.sorted.length - 1);
  }

  compare(random: SeededRandom): void {
    const { index, sorted } = this;
    expect(index.size).toBe(sorted.length);
    expect([...index.items()].map(textOf)).toEqual(sorted.map(textOf));
    for (let i = 0; i < 8; i++) {
      const [a, b] = [random.below(sorted.length + 1), random.below(sorted.length + 1)];
      const [lower, upper] = [Math.min(a, b), Math.max(a, b)];
      expect(hex(index.fingerprint(lower, upper))).toBe(hex(naiveFingerprint(sorted.slice(lower, upper))));
      expect([...index.items(lower, upper)].length).toBe(upper - lower);
      const place = drawItem(random);
      const prefix = place.id.subarray(0, random.below(33));
      const padded = { epoch: place.epoch, id: idOf(...prefix) };
      const rank = sorted.filter((item) => compareItems(item, padded) < 0).length;
      expect(index.lowerBound({ epoch: place.epoch, prefix })).toBe(rank);
      expect(index.has(place)).toBe(sorted.some((item) => textOf(item) === textOf(place)));
      if (lower < sorted.length) expect(textOf(index.at(lower))).toBe(textOf(sorted[lower] as RangeItem));
    }
  }
}

describe('RangeIndex', () => {
  it('agrees with a sorted array after any insertions and deletions', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 9 }), (seed, tenthsInserted) => {
        const random = seededRandom(seed);
        const twins = new Twins();
        for (let i = 0; i < 600; i++) twins.insert(drawItem(random));
        for (let i = 0; i < 900; i++) {
          // Half of the deletions are of what is there: chance alone seldom hits.
          const held = twins.sorted[random.below(twins.sorted.length + 1)];
          if (random.below(10) < tenthsInserted) twins.insert(drawItem(random));
          else twins.delete(held !== undefined && random.below(2) === 0 ? held : drawItem(random));
          if (i % 150 === 0) twins.compare(random);
        }
        twins.compare(random);
        while (twins.sorted.length > 0) {
          twins.delete(twins.sorted[random.below(twins.sorted.length)] as RangeItem);
          if (twins.sorted.length % 128 === 0) twins.compare(random);
        }
      }),
      { numRuns: 8 },
    );
  });

  it('agrees with a sorted array however many blocks lie before a change', () => {
    const random = seededRandom(7);
    const items = Array.from({ length: 5_000 }, (_, i) => ({ epoch: Math.floor(i / 3), id: hashId(`${i}`) }));
    const index = RangeIndex.of(items);
    const sorted = [...items].sort(compareItems);
    for (let i = 0; i < 60; i++) {
      const [gone] = sorted.splice(random.below(sorted.length), 1);
      if (gone === undefined) throw new Error('the array is empty');
      expect(index.delete(gone)).toBe(true);
      const cut = random.below(sorted.length);
      expect(hex(index.fingerprint(cut, sorted.length))).toBe(hex(naiveFingerprint(sorted.slice(cut))));
    }
  });

  it('has every order of insertion in one order', () => {
    const items = Array.from({ length: 700 }, (_, i) => ({ epoch: i % 5, id: hashId(`${i}`) }));
    const forward = RangeIndex.of(items);
    const backward = new RangeIndex();
    for (const item of [...forward.items()].reverse()) backward.insert(item);
    expect([...backward.items()].map(textOf)).toEqual([...forward.items()].map(textOf));
    expect(hex(backward.fingerprint(0, 700))).toBe(hex(forward.fingerprint(0, 700)));
  });

  it('fingerprints sums modulo 2^256', () => {
    // (2^256 - 1) + 1 = 0: SHA-256(32 zero bytes ‖ 02)
    const index = RangeIndex.of([
      { epoch: 1, id: idOf(1) },
      { epoch: 2, id: new Uint8Array(32).fill(0xff) },
    ]);
    expect(hex(index.fingerprint(0, 2))).toBe('58cc2f44d3a27866874701fbad573da9');
    expect(hex(index.fingerprint(0, 1))).toBe('2e255099d6d6bee307c8e7075acc78f9');
    expect(hex(index.fingerprint(1, 1))).toBe('7f9c9e31ac8256ca2f258583df262dbc');
    index.delete({ epoch: 2, id: new Uint8Array(32).fill(0xff) });
    expect(hex(index.fingerprint(0, 1))).toBe('2e255099d6d6bee307c8e7075acc78f9');
  });

  it('finds bounds before, between and behind all items', () => {
    const index = RangeIndex.of([0, 0, 4, 2 ** 32 - 1].map((epoch, i) => ({ epoch, id: idOf(0xaa, i) })));
    expect(index.lowerBound({ epoch: 0, prefix: none })).toBe(0);
    expect(index.lowerBound({ epoch: 0, prefix: Uint8Array.of(0xaa, 1) })).toBe(1);
    expect(index.lowerBound({ epoch: 0, prefix: Uint8Array.of(0xab) })).toBe(2);
    expect(index.lowerBound({ epoch: 4, prefix: none })).toBe(2);
    expect(index.lowerBound({ epoch: 2 ** 32 - 1, prefix: new Uint8Array(32).fill(0xff) })).toBe(4);
    expect(index.lowerBound({ epoch: Number.POSITIVE_INFINITY, prefix: none })).toBe(4);
    expect(new RangeIndex().lowerBound({ epoch: 0, prefix: none })).toBe(0);
  });

  it('gives back the memory of what is deleted, however scattered', () => {
    const items = Array.from({ length: 20_000 }, (_, i) => ({ epoch: i, id: hashId(`${i}`) }));
    const index = RangeIndex.of(items);
    expect(index.bytes / index.size).toBeLessThan(40);
    for (const item of items) if (item.epoch % 100 !== 0) index.delete(item);
    expect(index.size).toBe(200);
    expect(index.bytes / index.size).toBeLessThan(200);
    for (const item of items) index.delete(item);
    expect(index.bytes).toBe(0);
  });

  it('hands out copies', () => {
    const index = RangeIndex.of([{ epoch: 1, id: idOf(1) }]);
    index.at(0).id.fill(9);
    for (const { id } of index.items()) id.fill(9);
    expect(hex(index.fingerprint(0, 1))).toBe('2e255099d6d6bee307c8e7075acc78f9');
    expect(hex(index.at(0).id)).toBe(hex(idOf(1)));
  });

  it('refuses ids and epochs that it cannot order', () => {
    const index = new RangeIndex();
    for (const [epoch, length] of [
      [0, 31],
      [0, 33],
      [-1, 32],
      [0.5, 32],
      [2 ** 32, 32],
      [Number.NaN, 32],
    ] as const) {
      expect(() => index.insert({ epoch, id: new Uint8Array(length) })).toThrow(/Cannot index statement/);
    }
    expect(index.size).toBe(0);
  });

  it('is exact at its largest size, and full there', () => {
    const index = new RangeIndex();
    const id = new Uint8Array(32).fill(0xff);
    for (let epoch = 0; epoch < RANGE_ITEMS_MAX; epoch++) index.insert({ epoch, id });
    expect(() => index.insert({ epoch: RANGE_ITEMS_MAX, id })).toThrow(expect.objectContaining({ code: 'full' }));
    expect(index.insert({ epoch: 5, id })).toBe(false);
    // The sum is -2^21 mod 2^256: bytes 00 00 e0 ff … ff. The count 2^21 is 128^3: 81 80 80 00.
    const expected = hash(Uint8Array.from([0, 0, 0xe0, ...new Uint8Array(29).fill(0xff), 0x81, 0x80, 0x80, 0]));
    expect(hex(index.fingerprint(0, RANGE_ITEMS_MAX))).toBe(hex(expected.subarray(0, 16)));
  });
});
