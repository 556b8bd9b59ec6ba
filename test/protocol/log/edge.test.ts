import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createTreeHasher,
  emptyRoot,
  formatTilePath,
  leafHash,
  nodeHash,
  rootOfHashes,
  TILE_WIDTH,
  TreeEdge,
  tileLevels,
} from '../../../protocol/log/index.ts';
import { toHex } from '../../../protocol/index.ts';
import { hashRows } from './tiled.ts';

const leaf = (i: number): Uint8Array => leafHash(new TextEncoder().encode(`entry ${i}`));
const all = Array.from({ length: 1030 }, (_, i) => leaf(i));

/** Tiles as they were handed out last, by path without the width. */
class Kept {
  readonly tiles = new Map<string, Uint8Array>();
  take(edge: TreeEdge): string[] {
    return edge.takeTiles().map(({ place, bytes }) => {
      expect(bytes.length).toBe(place.width * 32);
      this.tiles.set(`${place.level}/${place.index}`, bytes);
      return formatTilePath(place);
    });
  }
  partial(treeSize: number): (Uint8Array | undefined)[] {
    return tileLevels(treeSize).map(({ level, full }) => this.tiles.get(`${level}/${full}`));
  }
}

const grow = (edge: TreeEdge, hashes: readonly Uint8Array[]): TreeEdge => {
  for (const hash of hashes) edge.append(hash);
  return edge;
};

describe('the edge of a growing tree', () => {
  test('has the root of its leaves at every size', () => {
    const edge = new TreeEdge();
    expect(edge.root()).toEqual(emptyRoot());
    for (const [i, hash] of all.entries()) {
      edge.append(hash);
      expect(edge.treeSize).toBe(i + 1);
      if (i < 520 || i > 1020) expect(edge.root(), `${i + 1}`).toEqual(rootOfHashes(all.slice(0, i + 1)));
    }
  });

  test('hands out the tiles that were filled and those that grew, and nothing twice', () => {
    const kept = new Kept();
    const edge = new TreeEdge();
    expect(kept.take(edge)).toEqual([]);
    expect(kept.take(grow(edge, all.slice(0, 3)))).toEqual(['tile/0/000.p/3']);
    expect(kept.take(edge)).toEqual([]);
    expect(kept.take(grow(edge, all.slice(3, 256)))).toEqual(['tile/0/000', 'tile/1/000.p/1']);
    expect(kept.take(edge)).toEqual([]);
    expect(kept.take(grow(edge, all.slice(256, 257)))).toEqual(['tile/0/001.p/1']);
    expect(kept.take(grow(edge, all.slice(257, 800)))).toEqual([
      'tile/0/001',
      'tile/0/002',
      'tile/0/003.p/32',
      'tile/1/000.p/3',
    ]);
  });

  test('fills tiles of the levels above, with the roots of those below', () => {
    const size = 70_000;
    const hashes = Array.from({ length: size }, (_, i) => leaf(i));
    const kept = new Kept();
    const edge = new TreeEdge();
    for (let at = 0; at < size; at += 100) kept.take(grow(edge, hashes.slice(at, at + 100)));
    const rows = hashRows(hashes);
    expect(rows.map(({ length }) => length)).toEqual([70_000, 273, 1]);
    const wanted = new Map(
      rows.flatMap((row, level) =>
        Array.from({ length: Math.ceil(row.length / TILE_WIDTH) }, (_, i) => {
          const tile = row.slice(i * TILE_WIDTH, (i + 1) * TILE_WIDTH);
          return [`${level}/${i}`, toHex(Buffer.concat(tile))] as const;
        }),
      ),
    );
    expect(new Map([...kept.tiles].map(([name, bytes]) => [name, toHex(bytes)]))).toEqual(wanted);
    expect(edge.root()).toEqual(rootOfHashes(hashes));
  });

  test('goes on from its partial tiles, wherever it ended', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 300 })), { maxLength: 6 }),
        (steps) => {
          const kept = new Kept();
          let edge = new TreeEdge();
          for (const step of steps) {
            const from = edge.treeSize;
            grow(edge, all.slice(from, from + step));
            kept.take(edge);
            const { treeSize } = edge;
            expect(edge.root()).toEqual(rootOfHashes(all.slice(0, treeSize)));
            edge = TreeEdge.resume(treeSize, kept.partial(treeSize));
            expect(edge.treeSize).toBe(treeSize);
            expect(edge.root()).toEqual(rootOfHashes(all.slice(0, treeSize)));
            expect(edge.takeTiles()).toEqual([]);
          }
        },
      ),
    );
  });

  test('goes on only from tiles as wide as the tree has them', () => {
    const kept = new Kept();
    kept.take(grow(new TreeEdge(), all.slice(0, 300)));
    const partial = kept.partial(300);
    expect(TreeEdge.resume(300, partial).root()).toEqual(rootOfHashes(all.slice(0, 300)));
    for (const [size, tiles] of [
      [300, [partial[0]?.slice(32), partial[1]]],
      [300, [partial[0]]],
      [301, partial],
      [256, partial],
      [1, [new Uint8Array(31)]],
    ] as const) {
      expect(() => TreeEdge.resume(size, tiles), `${size}`).toThrow(expect.objectContaining({ code: 'malformed' }));
    }
    expect(TreeEdge.resume(0, []).root()).toEqual(emptyRoot());
  });

  test('has the same root whoever computes its hashes, and asks him for every one', () => {
    let asked = 0;
    const hasher = createTreeHasher((bytes) => {
      asked++;
      return createHash('sha256').update(bytes).digest();
    });
    const edge = grow(new TreeEdge(hasher), all.slice(0, 512));
    expect(asked).toBe(511);
    expect(toHex(edge.root())).toBe(toHex(rootOfHashes(all.slice(0, 512))));
    expect(toHex(hasher.leafHash(Uint8Array.of(1)))).toBe(toHex(leafHash(Uint8Array.of(1))));
    expect(toHex(hasher.nodeHash(leaf(1), leaf(2)))).toBe(toHex(nodeHash(leaf(1), leaf(2))));
  });

  test('gives away bytes that its growth does not change', () => {
    const edge = grow(new TreeEdge(), all.slice(0, 1));
    const root = edge.root();
    root.fill(0);
    const [tile] = edge.takeTiles();
    tile?.bytes.fill(0);
    grow(edge, all.slice(1, 256));
    expect(edge.root()).toEqual(rootOfHashes(all.slice(0, 256)));
    expect(edge.takeTiles()[0]?.bytes).toEqual(new Uint8Array(Buffer.concat(all.slice(0, 256))));
  });
});
