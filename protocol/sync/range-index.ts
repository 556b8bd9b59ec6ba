/**
 * The set that reconciliation compares (SPEC "Sync"): items in the order (epoch, id), with sums of ids at hand.
 *
 * Items lie in blocks of at most 256, packed (36 bytes an item, and what a block has free). A change moves bytes inside
 * one block; finding one is two binary searches. Each block knows the sum of its ids and, brought up to date when first
 * asked after a change, the count and sum of all blocks before it: so the sum of any range costs two look-ups and at
 * most 2 * 128 additions, however many items it spans.
 *
 * An id is a 256-bit little-endian integer, kept in sums as 8 limbs of 32 bits **without** carrying: doubles hold such
 * limb sums exactly up to RANGE_ITEMS_MAX items. So subtraction (a deletion, or the difference of two prefix sums) is
 * exact too and never borrows; the carries, and with them mod 2^256, come once, in the fingerprint.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { compareBytes } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import { RANGE_ITEMS_MAX } from '../limits.ts';
import { encodeBase128 } from './base128.ts';

export const RANGE_ID_BYTES = 32;
export const FINGERPRINT_BYTES = 16;
export const EPOCH_MAX = 2 ** 32 - 1;

const BLOCK_ITEMS = 256;
const LIMBS = 8;
const LIMB_BYTES = 4;
const LIMB = 2 ** 32;
const BLOCK_BYTES = BLOCK_ITEMS * (RANGE_ID_BYTES + 4) + 2 * LIMBS * 8;

export interface RangeItem {
  /** Whole minutes since 1970 (iat div 60), 0..2^32 - 1. */
  readonly epoch: number;
  /** 32 bytes. */
  readonly id: Uint8Array;
}

/** A place between items: before every item >= (epoch, prefix ‖ zero bytes). Epoch Infinity lies behind all items. */
export interface RangeBound {
  readonly epoch: number;
  readonly prefix: Uint8Array;
}

export const compareItems = (a: RangeItem, b: RangeItem): number => a.epoch - b.epoch || compareBytes(a.id, b.id);

/** Up to 256 items in order, their sum, and the count and sum of what lies before them. */
class Block {
  count = 0;
  readonly epochs = new Uint32Array(BLOCK_ITEMS);
  readonly ids = new Uint8Array(BLOCK_ITEMS * RANGE_ID_BYTES);
  readonly sum = new Float64Array(LIMBS);
  rank = 0;
  readonly sumBefore = new Float64Array(LIMBS);
  readonly #words = new DataView(this.ids.buffer);

  idAt(offset: number): Uint8Array {
    return this.ids.slice(offset * RANGE_ID_BYTES, (offset + 1) * RANGE_ID_BYTES);
  }

  itemAt(offset: number): RangeItem {
    return { epoch: this.epochs[offset] as number, id: this.idAt(offset) };
  }

  /** Negative if the item lies before the place, 0 if it begins with the prefix, else positive. */
  compareAt(offset: number, { epoch, prefix }: RangeBound): number {
    const difference = (this.epochs[offset] as number) - epoch;
    if (difference !== 0) return difference;
    for (let i = 0, at = offset * RANGE_ID_BYTES; i < prefix.length; i++, at++) {
      const byte = (this.ids[at] as number) - (prefix[i] as number);
      if (byte !== 0) return byte;
    }
    return 0;
  }

  /** Offset of the first item that is not before the place. */
  lowerBound(place: RangeBound): number {
    return firstWhere(this.count, (offset) => this.compareAt(offset, place) >= 0);
  }

  insert(offset: number, item: RangeItem): void {
    const at = offset * RANGE_ID_BYTES;
    this.ids.copyWithin(at + RANGE_ID_BYTES, at, this.count * RANGE_ID_BYTES);
    this.epochs.copyWithin(offset + 1, offset, this.count);
    this.ids.set(item.id, at);
    this.epochs[offset] = item.epoch;
    this.count += 1;
    this.addTo(this.sum, offset, offset + 1, 1);
  }

  remove(offset: number): void {
    this.addTo(this.sum, offset, offset + 1, -1);
    const next = offset + 1;
    this.ids.copyWithin(offset * RANGE_ID_BYTES, next * RANGE_ID_BYTES, this.count * RANGE_ID_BYTES);
    this.epochs.copyWithin(offset, next, this.count);
    this.count -= 1;
  }

  /** Takes the items from `offset` on out of `source`, behind its own. */
  takeFrom(source: Block, offset: number): void {
    const count = source.count - offset;
    source.addTo(this.sum, offset, source.count, 1);
    source.addTo(source.sum, offset, source.count, -1);
    this.ids.set(
      source.ids.subarray(offset * RANGE_ID_BYTES, source.count * RANGE_ID_BYTES),
      this.count * RANGE_ID_BYTES,
    );
    this.epochs.set(source.epochs.subarray(offset, source.count), this.count);
    this.count += count;
    source.count = offset;
  }

  addTo(sum: Float64Array, from: number, to: number, sign: 1 | -1): void {
    for (let offset = from; offset < to; offset++) {
      const at = offset * RANGE_ID_BYTES;
      for (let limb = 0; limb < LIMBS; limb++) {
        sum[limb] = (sum[limb] as number) + sign * this.#words.getUint32(at + limb * LIMB_BYTES, true);
      }
    }
  }
}

/** An ordered set of (epoch, id). Positions in the order are ranks, from 0; a range of ranks excludes its upper end. */
export class RangeIndex {
  readonly #blocks: Block[] = [];
  #size = 0;
  /** How many blocks, from the first, know what lies before them. */
  #settled = 0;

  static of(items: Iterable<RangeItem>): RangeIndex {
    const index = new RangeIndex();
    // In order, so that every block is filled.
    for (const item of [...items].sort(compareItems)) index.insert(item);
    return index;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes of memory that the packed items and their sums take. */
  get bytes(): number {
    return this.#blocks.length * BLOCK_BYTES;
  }

  /** SHA-256 over all ids in order: equal on two that hold the same set. 32 bytes. */
  root(): Uint8Array {
    const hash = sha256.create();
    for (const block of this.#blocks) hash.update(block.ids.subarray(0, block.count * RANGE_ID_BYTES));
    return hash.digest();
  }

  has(item: RangeItem): boolean {
    return this.#find(item) !== undefined;
  }

  /** False if it is there already. Errors: full. */
  insert(item: RangeItem): boolean {
    checkItem(item);
    if (this.#find(item) !== undefined) return false;
    if (this.#size >= RANGE_ITEMS_MAX) {
      throw new MeshError('full', `Cannot index statement: ${this.#size} are held, want < ${RANGE_ITEMS_MAX}`);
    }
    const place = { epoch: item.epoch, prefix: item.id };
    const at = this.#blockWithRoom(place);
    const block = this.#block(at);
    block.insert(block.lowerBound(place), item);
    this.#size += 1;
    this.#changed(at);
    return true;
  }

  /** False if it is not there. */
  delete(item: RangeItem): boolean {
    const found = this.#find(item);
    if (found === undefined) return false;
    const block = this.#block(found.at);
    block.remove(found.offset);
    this.#size -= 1;
    this.#changed(found.at);
    if (block.count === 0) this.#removeBlock(found.at);
    else this.#mergeAt(found.at);
    return true;
  }

  /** Rank of the first item that is not before the place; `size` if there is none. */
  lowerBound(place: RangeBound): number {
    this.#settle();
    const at = this.#blockFor(place);
    const block = this.#blocks[at];
    return block === undefined ? this.#size : block.rank + block.lowerBound(place);
  }

  at(rank: number): RangeItem {
    const block = this.#block(this.#blockOfRank(rank));
    return block.itemAt(rank - block.rank);
  }

  /** Copies, in order. The index must not change while this is read. */
  *items(lower = 0, upper = this.#size): Generator<RangeItem, void, undefined> {
    if (lower >= upper) return;
    let rank = lower;
    for (let at = this.#blockOfRank(lower); rank < upper; at++) {
      const block = this.#block(at);
      for (let offset = rank - block.rank; offset < block.count && rank < upper; offset++, rank++)
        yield block.itemAt(offset);
    }
  }

  /** First 16 bytes of SHA-256(sum of the ids mod 2^256 as 32 little-endian bytes ‖ their number in base 128). */
  fingerprint(lower: number, upper: number): Uint8Array {
    const sum = new Float64Array(LIMBS);
    const below = new Float64Array(LIMBS);
    this.#sumBefore(upper, sum);
    this.#sumBefore(lower, below);
    const count = encodeBase128(upper - lower);
    const input = new Uint8Array(RANGE_ID_BYTES + count.length);
    const words = new DataView(input.buffer);
    let carry = 0;
    for (let limb = 0; limb < LIMBS; limb++) {
      const value = (sum[limb] as number) - (below[limb] as number) + carry;
      words.setUint32(limb * LIMB_BYTES, value % LIMB, true);
      carry = Math.floor(value / LIMB);
    }
    input.set(count, RANGE_ID_BYTES);
    return sha256(input).subarray(0, FINGERPRINT_BYTES);
  }

  /** The sum of all ids of lower rank, into `sum`, which is zero. */
  #sumBefore(rank: number, sum: Float64Array): void {
    if (rank === 0) return;
    const block = this.#block(this.#blockOfRank(rank - 1));
    const offset = rank - block.rank;
    addLimbs(sum, block.sumBefore);
    if (offset <= block.count / 2) {
      block.addTo(sum, 0, offset, 1);
    } else {
      addLimbs(sum, block.sum);
      block.addTo(sum, offset, block.count, -1);
    }
  }

  #find({ epoch, id }: RangeItem): { readonly at: number; readonly offset: number } | undefined {
    const place = { epoch, prefix: id };
    const at = this.#blockFor(place);
    const block = this.#blocks[at];
    if (block === undefined) return undefined;
    const offset = block.lowerBound(place);
    return block.compareAt(offset, place) === 0 ? { at, offset } : undefined;
  }

  /** The first block whose last item is not before the place; the number of blocks if there is none. */
  #blockFor(place: RangeBound): number {
    return firstWhere(this.#blocks.length, (at) => {
      const block = this.#block(at);
      return block.compareAt(block.count - 1, place) >= 0;
    });
  }

  #blockOfRank(rank: number): number {
    this.#settle();
    return firstWhere(this.#blocks.length, (at) => this.#block(at).rank > rank) - 1;
  }

  /**
   * Where to insert. New statements come at or near the end: a full last block keeps all that lies before the place, so
   * that blocks stay nearly full; any other full block is split in half.
   */
  #blockWithRoom(place: RangeBound): number {
    const last = this.#blocks.at(-1);
    const at = this.#blockFor(place);
    if (at === this.#blocks.length) {
      if (last === undefined || last.count === BLOCK_ITEMS) this.#blocks.push(new Block());
      return this.#blocks.length - 1;
    }
    const block = this.#block(at);
    if (block.count < BLOCK_ITEMS) return at;
    const right = new Block();
    right.takeFrom(block, block === last ? Math.max(block.lowerBound(place), BLOCK_ITEMS / 2) : BLOCK_ITEMS / 2);
    this.#blocks.splice(at + 1, 0, right);
    this.#changed(at);
    return block.compareAt(block.count - 1, place) >= 0 ? at : at + 1;
  }

  /** Joins neighbours that fill half a block together, so that deletions cannot leave a crowd of near-empty blocks. */
  #mergeAt(at: number): void {
    for (const left of [at - 1, at]) {
      const block = this.#blocks[left];
      const next = this.#blocks[left + 1];
      if (block === undefined || next === undefined || block.count + next.count > BLOCK_ITEMS / 2) continue;
      block.takeFrom(next, 0);
      this.#removeBlock(left + 1);
      return;
    }
  }

  #removeBlock(at: number): void {
    this.#blocks.splice(at, 1);
    this.#changed(at - 1);
  }

  /** What lies before the blocks after `at` is no longer what they say. */
  #changed(at: number): void {
    this.#settled = Math.min(this.#settled, at + 1);
  }

  #settle(): void {
    for (let at = this.#settled; at < this.#blocks.length; at++) {
      const block = this.#block(at);
      const previous = this.#blocks[at - 1];
      block.rank = previous === undefined ? 0 : previous.rank + previous.count;
      block.sumBefore.fill(0);
      if (previous === undefined) continue;
      addLimbs(block.sumBefore, previous.sumBefore);
      addLimbs(block.sumBefore, previous.sum);
    }
    this.#settled = this.#blocks.length;
  }

  #block(at: number): Block {
    const block = this.#blocks[at];
    if (block === undefined)
      throw new MeshError('internal', `Cannot read range index: block is ${at}, want < ${this.#blocks.length}`);
    return block;
  }
}

function checkItem({ epoch, id }: RangeItem): void {
  if (id.length !== RANGE_ID_BYTES) {
    throw new MeshError('internal', `Cannot index statement: id has ${id.length} bytes, want ${RANGE_ID_BYTES}`);
  }
  if (!Number.isInteger(epoch) || epoch < 0 || epoch > EPOCH_MAX) {
    throw new MeshError('internal', `Cannot index statement: epoch is ${epoch}, want an integer of 0..${EPOCH_MAX}`);
  }
}

/** The least of 0..count - 1 for which `holds`, which must hold for all above it; else count. */
function firstWhere(count: number, holds: (position: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function addLimbs(sum: Float64Array, more: Float64Array): void {
  for (let limb = 0; limb < LIMBS; limb++) sum[limb] = (sum[limb] as number) + (more[limb] as number);
}
