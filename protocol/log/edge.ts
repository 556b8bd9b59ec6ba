/**
 * The right edge of a tree that grows: roots of its full subtrees, one a height, and the partial tile of each level
 * (SPEC "Transparency log formats", Tiles). Appending costs one hash of a node an entry on average, and each tile is
 * handed out once when it is full, and in between as far as it goes.
 */
import { MeshError } from '../errors.ts';
import { TILE_WIDTH, tileLevels, type TilePlace } from './tile.ts';
import { emptyRoot, HASH_BYTES, nodeHash, type TreeHasher } from './tree.ts';

/** Tiles of 2^8 hashes: the roots of full tiles are nodes of every eighth height. */
const TILE_HEIGHT = 8;

export interface EdgeTile {
  readonly place: TilePlace & { readonly level: number };
  /** `width` hashes */
  readonly bytes: Uint8Array;
}

interface GrowingTile {
  readonly index: number;
  readonly bytes: Uint8Array;
  width: number;
  isChanged: boolean;
}

const growingTile = (index: number): GrowingTile => ({
  index,
  bytes: new Uint8Array(TILE_WIDTH * HASH_BYTES),
  width: 0,
  isChanged: false,
});

export class TreeEdge {
  readonly #nodeHash: TreeHasher['nodeHash'];
  /** By height: the root of the full subtree of 2^height leaves that ends the tree so far, where there is one. */
  readonly #roots: (Uint8Array | undefined)[] = [];
  readonly #growing: GrowingTile[] = [];
  #filled: EdgeTile[] = [];
  #treeSize = 0;

  /** Of the tree without leaves. */
  constructor(hasher: Pick<TreeHasher, 'nodeHash'> = { nodeHash }) {
    this.#nodeHash = hasher.nodeHash;
  }

  /**
   * Goes on where a tree of this size ended. `partial` holds the hashes of the partial tile of each level, from level 0
   * up; nothing where a level has none. Errors: malformed, unless they are as wide as the size says.
   */
  static resume(
    treeSize: number,
    partial: readonly (Uint8Array | undefined)[],
    hasher?: Pick<TreeHasher, 'nodeHash'>,
  ): TreeEdge {
    const edge = new TreeEdge(hasher);
    const levels = tileLevels(treeSize);
    for (const { level, full, partialWidth } of levels.toReversed()) {
      const bytes = partial[level] ?? new Uint8Array();
      if (bytes.length !== partialWidth * HASH_BYTES)
        throw new MeshError(
          'malformed',
          `Cannot go on with a tree of ${treeSize}: its last tile of level ${level} has ${bytes.length} bytes, want ${partialWidth * HASH_BYTES}`,
        );
      edge.#growing[level] = growingTile(full);
      for (let at = 0; at < bytes.length; at += HASH_BYTES)
        edge.#add(level * TILE_HEIGHT, bytes.slice(at, at + HASH_BYTES));
    }
    for (const tile of edge.#growing) tile.isChanged = false;
    edge.#treeSize = treeSize;
    return edge;
  }

  get treeSize(): number {
    return this.#treeSize;
  }

  append(leafHash: Uint8Array): void {
    this.#add(0, leafHash);
    this.#treeSize++;
  }

  root(): Uint8Array {
    let root: Uint8Array | undefined;
    for (const left of this.#roots) {
      if (left === undefined) continue;
      root = root === undefined ? left : this.#nodeHash(left, root);
    }
    return root === undefined ? emptyRoot() : new Uint8Array(root);
  }

  /** What was filled, and is partial and grew, since this was asked before; the bytes are the caller's. */
  takeTiles(): EdgeTile[] {
    const tiles = this.#filled;
    this.#filled = [];
    for (const [level, tile] of this.#growing.entries()) {
      if (!tile.isChanged) continue;
      tile.isChanged = false;
      const { index, width, bytes } = tile;
      tiles.push({ place: { level, index, width }, bytes: bytes.slice(0, width * HASH_BYTES) });
    }
    return tiles;
  }

  /** The root of a full subtree at this height joins those to its left. */
  #add(start: number, hash: Uint8Array): void {
    let height = start;
    let root = hash;
    this.#put(height / TILE_HEIGHT, root);
    for (let left = this.#roots[height]; left !== undefined; left = this.#roots[height]) {
      root = this.#nodeHash(left, root);
      this.#roots[height] = undefined;
      height++;
      if (height % TILE_HEIGHT === 0) this.#put(height / TILE_HEIGHT, root);
    }
    this.#roots[height] = root;
  }

  #put(level: number, hash: Uint8Array): void {
    const tile = (this.#growing[level] ??= growingTile(0));
    tile.bytes.set(hash, tile.width * HASH_BYTES);
    tile.width++;
    tile.isChanged = true;
    if (tile.width < TILE_WIDTH) return;
    this.#filled.push({ place: { level, index: tile.index, width: TILE_WIDTH }, bytes: tile.bytes });
    this.#growing[level] = growingTile(tile.index + 1);
  }
}
