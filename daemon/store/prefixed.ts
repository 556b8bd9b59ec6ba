import { concatBytes, MeshError } from '../../protocol/index.ts';
import type { Store, StoreWrite } from '../ports.ts';

/**
 * One part of a shared database: all its keys carry a prefix. No part's prefix may begin with another's.
 * A batch over several parts stays atomic: each part translates its writes with `at`, and their root writes them.
 *
 *   root.batch([...statements.at(a), ...registry.at(b)], { sync: true })
 */
export interface PrefixedStore extends Store {
  /** The store that all parts share. */
  readonly root: Store;
  readonly prefix: Uint8Array;
  /** The same writes, with keys as the root has them. */
  at(writes: readonly StoreWrite[]): StoreWrite[];
}

/** A part of a store, or of another part. Closing it does nothing: whoever opened the root closes that. */
export function prefixed(store: Store | PrefixedStore, prefix: Uint8Array): PrefixedStore {
  if ('root' in store) return prefixed(store.root, concatBytes(store.prefix, prefix));
  const root = store;
  const keyAt = (key: Uint8Array): Uint8Array => concatBytes(prefix, key);
  const at = (writes: readonly StoreWrite[]): StoreWrite[] =>
    writes.map((write) => ({ ...write, key: keyAt(write.key) }));
  return {
    root,
    prefix,
    at,
    get: (key) => root.get(keyAt(key)),
    async *range(gte, lt) {
      for await (const [key, value] of root.range(keyAt(gte), keyAt(lt))) yield [key.subarray(prefix.length), value];
    },
    batch: (writes, options) => root.batch(at(writes), options),
    close: () => Promise.resolve(),
  };
}

/** The first key after all that begin with this prefix: `range(prefix, prefixEnd(prefix))` is everything below it. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) throw new MeshError('internal', 'Cannot end a prefix: no key comes after bytes of 255 only');
  const end = prefix.slice(0, length);
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}
