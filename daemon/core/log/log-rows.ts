/**
 * Rows of one log, below a prefix of its own; numbers are big-endian:
 *
 *   e ‖ u64 index              entry, as it was hashed
 *   t ‖ u8 level ‖ u64 index   tile: a partial one is written over until it is full
 *   i ‖ id (16 bytes)          u64 leaf index of the entry with this id
 *   h                          signed head, a note; the tree is what it says and no more
 *   c ‖ u64 tree size          checkpoint as it was released, with the cosignatures known
 *   r                          u64 tree size of the newest of these
 *   w                          u64 tree size of the newest of these that a witness cosigned
 *   x                          why nothing is signed any more (JSON)
 */
import { concatBytes, MeshError, u32be } from '../../../protocol/index.ts';
import { originHash } from '../../../protocol/log/index.ts';

const OWN = 0x61; // "a"
const MIRROR = 0x6d; // "m"

/** Below which the rows of the own log lie, by generation. */
export const ownPrefix = (generation: number): Uint8Array => concatBytes(Uint8Array.of(OWN), u32be(generation));
/** All generations: keys from here on, below the second. */
export const OWN_ROWS: readonly [Uint8Array, Uint8Array] = [Uint8Array.of(OWN), Uint8Array.of(OWN + 1)];

/** Below which the rows of a copy of another's log lie. */
export const mirrorPrefix = (origin: string): Uint8Array => concatBytes(Uint8Array.of(MIRROR), originHash(origin));

/** The generation that a key of the own log belongs to. Errors: store_corrupt. */
export function generationOf(key: Uint8Array): number {
  if (key.length < 6) throw new MeshError('store_corrupt', `Cannot read a log row: its key has ${key.length} bytes`);
  return new DataView(key.buffer, key.byteOffset).getUint32(1);
}

const U32 = 2 ** 32;

// Small arrays of their own are dear to make, and once more to hand to LevelDB: they are parts of larger ones.
const SLAB_BYTES = 8_192;
let slab = new Uint8Array(SLAB_BYTES);
let slabUsed = 0;

function smallBytes(length: number): Uint8Array {
  if (slabUsed + length > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  return slab.subarray(slabUsed, (slabUsed += length));
}

export function u64be(value: number): Uint8Array {
  const bytes = smallBytes(8);
  putU64(bytes, 0, value);
  return bytes;
}

/** Errors: store_corrupt, for what is no number of eight bytes up to 2^53 - 1. */
export function parseU64(bytes: Uint8Array, what: string): number {
  const value =
    bytes.length === 8
      ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) * U32 +
        new DataView(bytes.buffer, bytes.byteOffset).getUint32(4)
      : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw new MeshError('store_corrupt', `Cannot read ${what}: it is no number of eight bytes up to 2^53 - 1`);
  return value;
}

function putU64(bytes: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / U32);
  bytes[at] = high >>> 24;
  bytes[at + 1] = high >>> 16;
  bytes[at + 2] = high >>> 8;
  bytes[at + 3] = high;
  bytes[at + 4] = value >>> 24; // of the low 32 bits: the shift takes the value modulo 2^32
  bytes[at + 5] = value >>> 16;
  bytes[at + 6] = value >>> 8;
  bytes[at + 7] = value;
}

export type RowKind = 'entry' | 'tile' | 'id' | 'head' | 'checkpoint' | 'released' | 'cosigned' | 'problem';
const LETTERS: Record<RowKind, number> = {
  entry: 0x65,
  tile: 0x74,
  id: 0x69,
  head: 0x68,
  checkpoint: 0x63,
  released: 0x72,
  cosigned: 0x77,
  problem: 0x78,
};

/** The keys of one log. */
export class LogKeys {
  readonly #prefix: Uint8Array;
  readonly head: Uint8Array;
  readonly released: Uint8Array;
  readonly cosigned: Uint8Array;
  readonly problem: Uint8Array;

  constructor(prefix: Uint8Array) {
    this.#prefix = prefix;
    this.head = this.#key('head', 0);
    this.released = this.#key('released', 0);
    this.cosigned = this.#key('cosigned', 0);
    this.problem = this.#key('problem', 0);
  }

  entry(index: number): Uint8Array {
    return this.#numbered('entry', index);
  }

  tile(level: number, index: number): Uint8Array {
    const key = this.#key('tile', 9);
    const at = this.#prefix.length + 1;
    key[at] = level;
    putU64(key, at + 1, index);
    return key;
  }

  id(id16: Uint8Array): Uint8Array {
    const key = this.#key('id', id16.length);
    key.set(id16, this.#prefix.length + 1);
    return key;
  }

  checkpoint(treeSize: number): Uint8Array {
    return this.#numbered('checkpoint', treeSize);
  }

  /** After every row of a kind. */
  end(kind: RowKind): Uint8Array {
    const key = this.#key(kind, 0);
    key[this.#prefix.length] = LETTERS[kind] + 1;
    return key;
  }

  /** What of a key follows the prefix and the letter of its kind. */
  rest(key: Uint8Array): Uint8Array {
    return key.subarray(this.#prefix.length + 1);
  }

  #numbered(kind: RowKind, value: number): Uint8Array {
    const key = this.#key(kind, 8);
    putU64(key, this.#prefix.length + 1, value);
    return key;
  }

  #key(kind: RowKind, more: number): Uint8Array {
    const length = this.#prefix.length;
    const key = smallBytes(length + 1 + more);
    key.set(this.#prefix);
    key[length] = LETTERS[kind];
    return key;
  }
}
