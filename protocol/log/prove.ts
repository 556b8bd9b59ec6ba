/**
 * Proofs and roots from the tiles of a log (SPEC "Proofs from tiles"). A proof is a list of ranges of leaves, whose
 * roots are read off tiles: which ranges is arithmetic, so all tiles are asked for at once.
 *
 * Sizes and indices are safe integers; JavaScript's bit operators stop at 2^32, so halving is division.
 */
import { MeshError } from '../errors.ts';
import { malformed } from './text.ts';
import { formatTilePath, TILE_WIDTH, type TilePlace } from './tile.ts';
import { emptyRoot, HASH_BYTES, nodeHash, type TreeHasher } from './tree.ts';

export interface TileReader {
  /**
   * The hashes of a tile, or the entries of a bundle, of exactly the width asked for: of a wider one the first ones,
   * since what a log has appended to a tile does not change what was there. Undefined: not held.
   */
  tile(place: TilePlace): Promise<Uint8Array | undefined>;
  /** Of a reader that remembers tiles: its nodes are computed once instead of for each proof. They may be wider. */
  nodes?(place: TilePlace): Promise<TileNodes | undefined>;
}

/** Tiles of 2^8 hashes: a node at height h lies in a tile of level floor(h / 8). */
const TILE_HEIGHT = 8;

/** The hashes of a tile with all nodes above them, each computed when first asked for, and then kept: 16.5 KiB. */
export class TileNodes {
  readonly width: number;
  /** As in a heap: the root is 1, the children of k are 2k and 2k + 1. */
  readonly #nodes = new Uint8Array(2 * TILE_WIDTH * HASH_BYTES);
  readonly #isKnown = new Uint8Array(2 * TILE_WIDTH);
  readonly #nodeHash: TreeHasher['nodeHash'];

  /** Errors: malformed, unless the bytes are `width` hashes. */
  constructor(bytes: Uint8Array, width: number, hasher: Pick<TreeHasher, 'nodeHash'> = { nodeHash }) {
    if (!Number.isInteger(width) || width < 1 || width > TILE_WIDTH || bytes.length !== width * HASH_BYTES)
      throw malformed('a tile', `it has ${bytes.length} bytes, want ${width * HASH_BYTES} for a width of ${width}`);
    this.width = width;
    this.#nodeHash = hasher.nodeHash;
    this.#nodes.set(bytes, TILE_WIDTH * HASH_BYTES);
    this.#isKnown.fill(1, TILE_WIDTH, TILE_WIDTH + width);
  }

  /** Root over the hashes from index * 2^row on, 2^row of them; row is 0 to 8. Errors: malformed, beyond the width. */
  node(row: number, index: number): Uint8Array {
    if (!(row >= 0 && row <= TILE_HEIGHT && index >= 0 && (index + 1) * 2 ** row <= this.width))
      throw malformed(`node ${index} of row ${row} of a tile`, `its width is ${this.width}`);
    return this.#at(2 ** (TILE_HEIGHT - row) + index).slice();
  }

  #at(k: number): Uint8Array {
    const node = this.#nodes.subarray(k * HASH_BYTES, (k + 1) * HASH_BYTES);
    if (this.#isKnown[k] === 0) {
      node.set(this.#nodeHash(this.#at(2 * k), this.#at(2 * k + 1)));
      this.#isKnown[k] = 1;
    }
    return node;
  }
}

/** Leaves start <= i < end. The start is a multiple of the smallest power of two that is not below the length. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** The largest power of two below n: where RFC 6962 splits a tree of n > 1 leaves. */
function splitOf(n: number): number {
  let k = 1;
  while (2 * k < n) k *= 2;
  return k;
}

/** The siblings on the way to a leaf, from it up. */
function inclusionRanges(leafIndex: number, treeSize: number): Range[] {
  const ranges: Range[] = [];
  let [start, end] = [0, treeSize];
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    const isLeft = leafIndex < middle;
    ranges.push(isLeft ? { start: middle, end } : { start, end: middle });
    [start, end] = isLeft ? [start, middle] : [middle, end];
  }
  return ranges.reverse();
}

/** SUBPROOF of RFC 6962 section 2.1.2, from the last full subtree of the old tree up. */
function consistencyRanges(oldSize: number, newSize: number): Range[] {
  const ranges: Range[] = [];
  let [start, end] = [0, newSize];
  while (oldSize !== end) {
    const middle = start + splitOf(end - start);
    const isLeft = oldSize <= middle;
    ranges.push(isLeft ? { start: middle, end } : { start, end: middle });
    [start, end] = isLeft ? [start, middle] : [middle, end];
  }
  if (start > 0) ranges.push({ start, end }); // else it is the whole old tree, whose root the verifier has
  return ranges.reverse();
}

interface Subtree {
  readonly height: number;
  readonly index: number;
}

/** The full subtrees that a range is made of, from left to right. */
function subtreesOf({ start, end }: Range): Subtree[] {
  const subtrees: Subtree[] = [];
  for (let at = start; at < end; ) {
    let [height, size] = [0, 1];
    for (; 2 * size <= end - at; size *= 2) height++;
    subtrees.push({ height, index: at / size });
    at += size;
  }
  return subtrees;
}

/** The tile that holds a hash of a tile level, in a tree of this size. */
export function tileOf(level: number, hashIndex: number, treeSize: number): TilePlace {
  const index = Math.floor(hashIndex / TILE_WIDTH);
  const hashes = Math.floor(treeSize / TILE_WIDTH ** level);
  return { level, index, width: Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH) };
}

/** One tree for one question: each tile is read once, however many of its nodes are needed. */
class Tree {
  readonly #treeSize: number;
  readonly #reader: TileReader;
  readonly #tiles = new Map<string, Promise<TileNodes>>();

  constructor(treeSize: number, reader: TileReader) {
    this.#treeSize = treeSize;
    this.#reader = reader;
  }

  async rootsOf(ranges: readonly Range[]): Promise<Uint8Array[]> {
    return Promise.all(ranges.map((range) => this.rootOf(range)));
  }

  async rootOf(range: Range): Promise<Uint8Array> {
    const roots = await Promise.all(subtreesOf(range).map((subtree) => this.hashAt(subtree)));
    return roots.reduceRight((right, left) => nodeHash(left, right));
  }

  async hashAt({ height, index }: Subtree): Promise<Uint8Array> {
    const level = Math.floor(height / TILE_HEIGHT);
    const row = height % TILE_HEIGHT;
    const place = tileOf(level, index * 2 ** row, this.#treeSize);
    const path = formatTilePath(place);
    const tile = this.#tiles.get(path) ?? this.#read(place, path);
    this.#tiles.set(path, tile);
    return (await tile).node(row, index - place.index * 2 ** (TILE_HEIGHT - row));
  }

  async #read(place: TilePlace, path: string): Promise<TileNodes> {
    const known = await this.#reader.nodes?.(place);
    if (known !== undefined && known.width >= place.width) return known;
    const bytes = await this.#reader.tile(place);
    if (bytes === undefined)
      throw new MeshError('not_found', `Cannot read "${path}": it is missing`, { path, treeSize: this.#treeSize });
    if (bytes.length !== place.width * HASH_BYTES)
      throw new MeshError(
        'malformed',
        `Cannot read "${path}": it has ${bytes.length} bytes, want ${place.width * HASH_BYTES}`,
        { path, is: bytes.length, want: place.width * HASH_BYTES },
      );
    return new TileNodes(bytes, place.width);
  }
}

const isSize = (size: number): boolean => Number.isSafeInteger(size) && size >= 0;

const refused = (what: string, why: string): MeshError => new MeshError('bad_proof', `Cannot prove ${what}: ${why}`);

/**
 * From the leaf's sibling up, as `verifyInclusion` takes it.
 * Errors: bad_proof, unless 0 <= leafIndex < treeSize; not_found, malformed, naming the tile that is missing or no tile.
 */
export async function proveInclusion(leafIndex: number, treeSize: number, reader: TileReader): Promise<Uint8Array[]> {
  if (!isSize(treeSize) || !isSize(leafIndex) || leafIndex >= treeSize)
    throw refused(`inclusion of leaf ${leafIndex} in a tree of ${treeSize}`, 'the tree has no such leaf');
  return new Tree(treeSize, reader).rootsOf(inclusionRanges(leafIndex, treeSize));
}

/**
 * As `verifyConsistency` takes it, and for old size 0, where no hashes are needed, `verifyExtension`.
 * Errors: bad_proof, unless 0 <= oldSize <= newSize; not_found, malformed, naming the tile that is missing or no tile.
 */
export async function proveConsistency(oldSize: number, newSize: number, reader: TileReader): Promise<Uint8Array[]> {
  if (!isSize(newSize) || !isSize(oldSize) || oldSize > newSize)
    throw refused(`consistency of a tree of ${newSize} with one of ${oldSize}`, 'want 0 <= old size <= new size');
  return oldSize === 0 ? [] : new Tree(newSize, reader).rootsOf(consistencyRanges(oldSize, newSize));
}

/** Errors: bad_proof, for what is no size; not_found, malformed, naming the tile that is missing or no tile. */
export async function rootFromTiles(treeSize: number, reader: TileReader): Promise<Uint8Array> {
  if (!isSize(treeSize)) throw refused(`the root of a tree of ${treeSize}`, 'want an integer from 0 to 2^53 - 1');
  return treeSize === 0 ? emptyRoot() : new Tree(treeSize, reader).rootOf({ start: 0, end: treeSize });
}

/**
 * Root of the full subtree over the 2^height leaves from index * 2^height on. At index 0 it is the log's root when it
 * had as many leaves: what a consistency proof from that size leaves out (SPEC "Transparency log formats", Forks).
 * Errors: bad_proof, unless the tree holds all of them; not_found, malformed, naming the tile that is missing or no tile.
 */
export async function hashAt(height: number, index: number, treeSize: number, reader: TileReader): Promise<Uint8Array> {
  if (!isSize(treeSize) || !isSize(height) || !isSize(index) || (index + 1) * 2 ** height > treeSize)
    throw refused(`node ${index} at height ${height} of a tree of ${treeSize}`, 'the tree has no such full subtree');
  return new Tree(treeSize, reader).hashAt({ height, index });
}
