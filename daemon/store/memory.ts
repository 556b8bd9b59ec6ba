import { compareBytes, MeshError } from '../../protocol/index.ts';
import type { Store, StoreWrite } from '../ports.ts';

const BLOCK_ROWS_MAX = 256; // a block is split beyond this: inserting moves at most as many references

interface Row {
  readonly key: Uint8Array;
  value: Uint8Array;
}

/**
 * A store that forgets, for simulations and tests: same answers as LevelDB's, nothing on disk.
 * Rows are kept in sorted blocks of references.
 */
export class MemoryStore implements Store, AsyncDisposable {
  readonly #blocks: Row[][] = [[]];
  #open = true;

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    if (!this.#open) return Promise.reject(closed());
    const block = this.#blockFor(key);
    const row = block[lowerBound(block, key)];
    return Promise.resolve(row !== undefined && compareBytes(row.key, key) === 0 ? row.value.slice() : undefined);
  }

  async *range(gte: Uint8Array, lt: Uint8Array): AsyncGenerator<readonly [Uint8Array, Uint8Array], void, undefined> {
    if (!this.#open) throw closed();
    for (const [key, value] of this.#rowsBetween(gte, lt)) {
      if (!this.#open) throw closed();
      yield [key.slice(), value.slice()];
    }
  }

  batch(writes: readonly StoreWrite[], _options: { readonly sync: boolean }): Promise<void> {
    if (!this.#open) return Promise.reject(new MeshError('read_only', 'Cannot write: the store is closed'));
    for (const write of writes) {
      if (write.type === 'put') this.#put(write.key, write.value);
      else this.#delete(write.key);
    }
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#open = false;
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** As it is now: what is written while a caller iterates does not show, as with LevelDB's snapshots. */
  #rowsBetween(gte: Uint8Array, lt: Uint8Array): (readonly [Uint8Array, Uint8Array])[] {
    const rows: (readonly [Uint8Array, Uint8Array])[] = [];
    for (let b = this.#blockIndexFor(gte); b < this.#blocks.length; b++) {
      const block = this.#blocks[b] ?? [];
      for (let i = lowerBound(block, gte); i < block.length; i++) {
        const row = block[i];
        if (row === undefined || compareBytes(row.key, lt) >= 0) return rows;
        rows.push([row.key, row.value]);
      }
    }
    return rows;
  }

  #put(key: Uint8Array, value: Uint8Array): void {
    const index = this.#blockIndexFor(key);
    const block = this.#blockFor(key);
    const at = lowerBound(block, key);
    const row = block[at];
    if (row !== undefined && compareBytes(row.key, key) === 0) {
      row.value = value.slice();
      return;
    }
    block.splice(at, 0, { key: key.slice(), value: value.slice() });
    if (block.length > BLOCK_ROWS_MAX) this.#blocks.splice(index + 1, 0, block.splice(BLOCK_ROWS_MAX / 2));
  }

  #delete(key: Uint8Array): void {
    const index = this.#blockIndexFor(key);
    const block = this.#blockFor(key);
    const at = lowerBound(block, key);
    const row = block[at];
    if (row === undefined || compareBytes(row.key, key) !== 0) return;
    block.splice(at, 1);
    if (block.length === 0 && this.#blocks.length > 1) this.#blocks.splice(index, 1);
  }

  #blockFor(key: Uint8Array): Row[] {
    const block = this.#blocks[this.#blockIndexFor(key)];
    if (block === undefined) throw new MeshError('internal', 'Cannot find a block: there is always one');
    return block;
  }

  /** The last block whose first key is not above this key, or the first block. */
  #blockIndexFor(key: Uint8Array): number {
    let low = 0;
    let high = this.#blocks.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      const first = this.#blocks[middle]?.[0];
      if (first !== undefined && compareBytes(first.key, key) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Position of the first row whose key is not below. */
function lowerBound(block: readonly Row[], key: Uint8Array): number {
  let low = 0;
  let high = block.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const row = block[middle];
    if (row !== undefined && compareBytes(row.key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

const closed = (): MeshError => new MeshError('closed', 'Cannot read: the store is closed');
