/** What every implementation of the Store port does. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Store, StoreWrite } from '../../../daemon/ports.ts';
import { prefixed, prefixEnd } from '../../../daemon/store/prefixed.ts';
import { compareBytes, toHex } from '../../../protocol/index.ts';

export const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
export const put = (key: Uint8Array, value: Uint8Array): StoreWrite => ({ type: 'put', key, value });
export const del = (key: Uint8Array): StoreWrite => ({ type: 'del', key });

export async function rowsOf(store: Store, gte: Uint8Array, lt: Uint8Array): Promise<string[]> {
  const rows: string[] = [];
  for await (const [key, value] of store.range(gte, lt)) rows.push(`${toHex(key)}=${toHex(value)}`);
  return rows;
}

const ALL = [bytes(), bytes(0xff, 0xff, 0xff, 0xff, 0xff)] as const;
const SYNC = { sync: true } as const;
const LAZY = { sync: false } as const;

export function describeStore(name: string, open: () => Promise<Store>): void {
  describe(`${name} as a Store`, () => {
    const opened: Store[] = [];
    const fresh = async (): Promise<Store> => {
      const store = await open();
      opened.push(store);
      return store;
    };
    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });

    it('answers undefined for a key that was never put, and for one deleted', async () => {
      const store = await fresh();
      expect(await store.get(bytes(1))).toBeUndefined();
      await store.batch([put(bytes(1), bytes(9))], SYNC);
      await store.batch([del(bytes(1)), del(bytes(2))], SYNC);
      expect(await store.get(bytes(1))).toBeUndefined();
      expect(await rowsOf(store, ...ALL)).toEqual([]);
    });

    it('gives back plain byte arrays, empty keys and values among them', async () => {
      const store = await fresh();
      await store.batch([put(bytes(), bytes(1)), put(bytes(7), bytes())], SYNC);
      expect(await store.get(bytes())).toStrictEqual(bytes(1));
      expect(await store.get(bytes(7))).toStrictEqual(bytes());
      for await (const row of store.range(bytes(7), bytes(8))) expect(row).toStrictEqual([bytes(7), bytes()]);
      expect(await rowsOf(store, ...ALL)).toEqual(['=01', '07=']);
    });

    it('applies the writes of one batch in their order', async () => {
      const store = await fresh();
      await store.batch(
        [put(bytes(1), bytes(1)), put(bytes(1), bytes(2)), put(bytes(2), bytes(1)), del(bytes(2))],
        LAZY,
      );
      expect(await rowsOf(store, ...ALL)).toEqual(['01=02']);
    });

    it('applies batches in the order of their calls, synced or not', async () => {
      const store = await fresh();
      const all = [];
      for (let i = 0; i < 100; i++)
        all.push(store.batch([put(bytes(1), bytes(i)), put(bytes(2, i), bytes(i))], i % 3 === 0 ? SYNC : LAZY));
      await Promise.all(all);
      expect(await store.get(bytes(1))).toStrictEqual(bytes(99));
      expect((await rowsOf(store, bytes(2), bytes(3))).length).toBe(100);
    });

    it('lists keys from the lower bound up to, not including, the upper, in byte order', async () => {
      const store = await fresh();
      const keys = [bytes(1), bytes(1, 0), bytes(1, 0xff), bytes(2), bytes(0x80), bytes(0xff)];
      await store.batch(
        keys.toReversed().map((key) => put(key, key)),
        SYNC,
      );
      expect(await rowsOf(store, bytes(1), bytes(0x80))).toEqual(['01=01', '0100=0100', '01ff=01ff', '02=02']);
      expect(await rowsOf(store, bytes(1, 0), bytes(1, 0xff))).toEqual(['0100=0100']);
      expect(await rowsOf(store, bytes(2), bytes(2))).toEqual([]);
      expect(await rowsOf(store, bytes(3), bytes(1))).toEqual([]);
    });

    it('shows an iteration the rows of its start, whatever is written meanwhile', async () => {
      const store = await fresh();
      await store.batch([put(bytes(1), bytes(1)), put(bytes(2), bytes(2)), put(bytes(4), bytes(4))], SYNC);
      const seen: number[] = [];
      for await (const [key, value] of store.range(...ALL)) {
        seen.push(key[0] ?? -1, value[0] ?? -1);
        await store.batch([put(bytes(2), bytes(9)), put(bytes(3), bytes(3)), del(bytes(4))], LAZY);
      }
      expect(seen).toEqual([1, 1, 2, 2, 4, 4]);
      expect(await rowsOf(store, ...ALL)).toEqual(['01=01', '02=09', '03=03']);
    });

    it('lets an iteration end early', async () => {
      const store = await fresh();
      await store.batch([put(bytes(1), bytes(1)), put(bytes(2), bytes(2))], SYNC);
      let rows = 0;
      for await (const _row of store.range(...ALL)) {
        rows++;
        break;
      }
      expect(rows).toBe(1);
    });

    it('keeps what was put apart from the arrays of its callers', async () => {
      const store = await fresh();
      const key = bytes(1);
      const value = bytes(5, 6);
      await store.batch([put(key, value)], SYNC);
      key[0] = 2;
      value[0] = 0;
      const got = await store.get(bytes(1));
      expect(got).toStrictEqual(bytes(5, 6));
      got?.fill(0);
      for await (const [listed] of store.range(...ALL)) listed.fill(0);
      expect(await rowsOf(store, ...ALL)).toEqual(['01=0506']);
    });

    it('answers closed to reads and read_only to writes once closed, and closes twice', async () => {
      const store = await fresh();
      await store.batch([put(bytes(1), bytes(1)), put(bytes(2), bytes(2))], SYNC);
      const iteration = store.range(...ALL)[Symbol.asyncIterator]();
      await iteration.next();
      await store.close();
      await store.close();
      await expect(store.get(bytes(1))).rejects.toMatchObject({ code: 'closed' });
      await expect(rowsOf(store, ...ALL)).rejects.toMatchObject({ code: 'closed' });
      await expect(iteration.next()).rejects.toMatchObject({ code: 'closed' });
      await expect(store.batch([put(bytes(1), bytes(1))], SYNC)).rejects.toMatchObject({ code: 'read_only' });
      await expect(store.batch([del(bytes(1))], LAZY)).rejects.toMatchObject({ code: 'read_only' });
    });

    it('finishes the writes accepted before it is closed', async () => {
      const store = await fresh();
      const writes = Array.from({ length: 50 }, (_, i) => store.batch([put(bytes(i), bytes(i))], SYNC));
      await store.close();
      await Promise.all(writes);
    });

    it('agrees with a sorted list, whatever is written and listed', async () => {
      const key = fc.uint8Array({ minLength: 0, maxLength: 3, max: 3 });
      const write = fc.oneof(
        fc.record({ type: fc.constant('put' as const), key, value: fc.uint8Array({ maxLength: 4 }) }),
        fc.record({ type: fc.constant('del' as const), key }),
      );
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.array(write, { maxLength: 40 }), fc.boolean(), key, key), { maxLength: 8 }),
          async (steps) => {
            const store = await open();
            const model = new Map<string, { key: Uint8Array; value: Uint8Array }>();
            try {
              for (const [writes, sync, gte, lt] of steps) {
                await store.batch(writes, { sync });
                for (const each of writes) {
                  if (each.type === 'put') model.set(toHex(each.key), each);
                  else model.delete(toHex(each.key));
                }
                const listed = [...model.values()]
                  .filter((row) => compareBytes(row.key, gte) >= 0 && compareBytes(row.key, lt) < 0)
                  .toSorted((a, b) => compareBytes(a.key, b.key));
                expect(await rowsOf(store, gte, lt)).toEqual(
                  listed.map((row) => `${toHex(row.key)}=${toHex(row.value)}`),
                );
                expect(await store.get(gte)).toEqual(model.get(toHex(gte))?.value);
              }
            } finally {
              await store.close();
            }
          },
        ),
        { numRuns: 25 },
      );
    });

    it('keeps thousands of rows in order through inserts and deletes in the middle', async () => {
      const store = await fresh();
      const keyOf = (i: number) => bytes(i >> 8, i & 255);
      const order = Array.from({ length: 4096 }, (_, i) => (i * 2053) % 4096); // every number once, far from sorted
      for (let at = 0; at < order.length; at += 128)
        await store.batch(
          order.slice(at, at + 128).map((i) => put(keyOf(i), keyOf(i))),
          LAZY,
        );
      await store.batch(
        order.filter((i) => i % 3 === 0).map((i) => del(keyOf(i))),
        SYNC,
      );
      const kept = order.filter((i) => i % 3 !== 0).toSorted((a, b) => a - b);
      expect(await rowsOf(store, ...ALL)).toEqual(kept.map((i) => `${toHex(keyOf(i))}=${toHex(keyOf(i))}`));
    });

    it("gives parts with prefixes the same answers, out of each other's sight", async () => {
      const root = await fresh();
      const a = prefixed(root, bytes(0x61));
      const b = prefixed(prefixed(root, bytes(0x62)), bytes(0x63));
      await a.batch([put(bytes(1), bytes(1)), put(bytes(2), bytes(2))], SYNC);
      await b.batch([put(bytes(1), bytes(7)), put(bytes(3), bytes(8)), del(bytes(2))], SYNC);
      expect(await rowsOf(a, ...ALL)).toEqual(['01=01', '02=02']);
      expect(await rowsOf(b, ...ALL)).toEqual(['01=07', '03=08']);
      expect(await b.get(bytes(2))).toBeUndefined();
      expect(await rowsOf(root, bytes(0x61), prefixEnd(bytes(0x62)))).toEqual([
        '6101=01',
        '6102=02',
        '626301=07',
        '626303=08',
      ]);
      await a.close();
      expect(await b.get(bytes(3))).toStrictEqual(bytes(8));
    });

    it('writes several parts in one batch', async () => {
      const root = await fresh();
      const a = prefixed(root, bytes(0x61));
      const b = prefixed(root, bytes(0x62));
      expect(a.root).toBe(b.root);
      await root.batch([...a.at([put(bytes(1), bytes(1))]), ...b.at([put(bytes(1), bytes(2)), del(bytes(9))])], SYNC);
      expect(await a.get(bytes(1))).toStrictEqual(bytes(1));
      expect(await b.get(bytes(1))).toStrictEqual(bytes(2));
    });
  });
}
