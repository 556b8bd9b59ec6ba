import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isMeshError } from '../../../protocol/errors.ts';
import {
  emptyRoot,
  foldConsistency,
  foldInclusion,
  formatTile,
  formatTilePath,
  hashAt,
  leafHash,
  nodeHash,
  parseBundle,
  parseCheckpoint,
  proveConsistency,
  proveInclusion,
  rootFromTiles,
  rootOfHashes,
  TileNodes,
  type TileReader,
  verifyConsistency,
  verifyExtension,
  verifyInclusion,
} from '../../../protocol/log/index.ts';
import { describeWithShared } from '../../shared.ts';
import { naiveConsistency, naiveInclusion, naiveRoot } from './naive-tree.ts';
import { leaves } from './sample.ts';
import { hashRows, readerOf } from './tiled.ts';

const LARGE = 70_000;
const all = leaves(LARGE);
const rows = hashRows(all);
const reader = readerOf(rows);

/** Keeps the nodes of the widest tile at each place. */
const kept = new Map<string, TileNodes>();
const remembering: TileReader = {
  tile: () => Promise.reject(new Error('read')),
  nodes: async ({ level, index }) => {
    const path = `${level}/${index}`;
    const hashes = (rows[Number(level)] ?? []).slice(index * 256, (index + 1) * 256);
    const nodes = kept.get(path) ?? new TileNodes(formatTile(hashes), hashes.length);
    kept.set(path, nodes);
    return nodes;
  },
};

/** The code and message of what a promise is rejected with. */
const refusal = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'accepted',
    (error: unknown) => (isMeshError(error) ? `${error.code}: ${error.message}` : String(error)),
  );

async function checkInclusion(index: number, size: number): Promise<void> {
  const proof = await proveInclusion(index, size, reader);
  expect(proof, `leaf ${index} of ${size}`).toEqual(naiveInclusion(index, all, size));
  verifyInclusion(index, size, all[index] as Uint8Array, proof, naiveRoot(all, size));
}

async function checkConsistency(oldSize: number, newSize: number): Promise<void> {
  const proof = await proveConsistency(oldSize, newSize, reader);
  expect(proof, `${oldSize} to ${newSize}`).toEqual(naiveConsistency(oldSize, all, newSize));
  verifyConsistency(oldSize, newSize, naiveRoot(all, oldSize), naiveRoot(all, newSize), proof);
}

/** Sizes around which tiles and levels begin. */
const EDGES = [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, LARGE];
const size = fc.oneof(fc.constantFrom(...EDGES), fc.integer({ min: 1, max: LARGE }));
const pair = fc.tuple(size, fc.nat(LARGE)).map(([n, i]): [number, number] => [i % n, n]);

describe('proveInclusion()', () => {
  test('gives the proof of RFC 6962 for every leaf of every tree of up to 300', async () => {
    for (let n = 1; n <= 300; n++) {
      const root = naiveRoot(all, n);
      for (let i = 0; i < n; i++) {
        const proof = await proveInclusion(i, n, remembering);
        verifyInclusion(i, n, all[i] as Uint8Array, proof, root);
      }
    }
  });

  test('gives it around the sizes at which tiles and levels begin', async () => {
    for (const n of EDGES)
      for (const i of new Set([0, 1, 254, 255, 256, 511, 512, 65_279, 65_280, 65_535, 65_536, n - 2, n - 1]))
        if (i < n) await checkInclusion(i, n);
  });

  test('gives it for any leaf of any tree', async () => {
    await fc.assert(
      fc.asyncProperty(pair, ([i, n]) => checkInclusion(i, n)),
      { numRuns: 150, seed: 3 },
    );
  });

  test('reads each tile once, and of a tree of 70,000 no more than five', async () => {
    for (const i of [0, 255, 256, 40_000, 65_535, 65_536, 69_999]) {
      const counting = readerOf(rows);
      await proveInclusion(i, LARGE, counting);
      expect(new Set(counting.asked).size).toBe(counting.asked.length);
      expect(counting.asked.length).toBeLessThanOrEqual(5);
    }
  });

  test.each([
    [0, 0],
    [5, 5],
    [6, 5],
    [-1, 5],
    [0.5, 5],
    [Number.NaN, 5],
    [0, -1],
    [0, 2 ** 53],
    [0, Number.POSITIVE_INFINITY],
  ])('refuses leaf %d of a tree of %d', async (i, n) => {
    expect(await refusal(proveInclusion(i, n, reader))).toMatch(/^bad_proof: Cannot prove inclusion of leaf/);
  });
});

describe('proveConsistency()', () => {
  test('gives the proof of RFC 6962 between all trees of up to 200', async () => {
    const roots = Array.from({ length: 201 }, (_, n) => naiveRoot(all, n));
    for (let n = 1; n <= 200; n++)
      for (let m = 1; m <= n; m++) {
        const proof = await proveConsistency(m, n, remembering);
        verifyConsistency(m, n, roots[m] as Uint8Array, roots[n] as Uint8Array, proof);
      }
  });

  test('gives it between every tree of up to 300 and those around the sizes at which tiles and levels begin', async () => {
    for (const n of [257, 300]) for (let m = 1; m <= n; m++) await checkConsistency(m, n);
    for (const m of EDGES) for (const n of EDGES) if (m <= n) await checkConsistency(m, n);
  });

  test('gives it between any two trees', async () => {
    await fc.assert(
      fc.asyncProperty(pair, ([m, n]) => checkConsistency(m + 1, n)),
      { numRuns: 150, seed: 4 },
    );
  });

  test('needs no hashes from the tree without leaves, nor between equal sizes', async () => {
    const none: TileReader = { tile: () => Promise.reject(new Error('read')) };
    for (const n of [0, 1, 255, 256, 70_000]) {
      expect(await proveConsistency(0, n, none)).toEqual([]);
      expect(await proveConsistency(n, n, none)).toEqual([]);
      verifyExtension(0, n, emptyRoot(), naiveRoot(all, n), []);
    }
  });

  test.each([
    [6, 5],
    [-1, 5],
    [1.5, 5],
    [1, 2 ** 53],
    [Number.NaN, Number.NaN],
  ])('refuses %d to %d', async (m, n) => {
    expect(await refusal(proveConsistency(m, n, reader))).toMatch(/^bad_proof: Cannot prove consistency/);
  });
});

describe('rootFromTiles() and hashAt()', () => {
  test('give the root of every tree of up to 600, and around where tiles and levels begin', async () => {
    for (let n = 0; n <= 600; n++) expect(await rootFromTiles(n, remembering), `${n}`).toEqual(naiveRoot(all, n));
    for (const n of EDGES) expect(await rootFromTiles(n, reader), `${n}`).toEqual(rootOfHashes(all.slice(0, n)));
    for (const n of [-1, 0.5, 2 ** 53]) expect(await refusal(rootFromTiles(n, reader))).toMatch(/^bad_proof: /);
  });

  test('give every full subtree, at index 0 the root at that power of two', async () => {
    for (let height = 0; 2 ** height <= LARGE; height++) {
      const count = Math.floor(LARGE / 2 ** height);
      expect(await hashAt(height, 0, LARGE, reader)).toEqual(naiveRoot(all, 2 ** height));
      for (const index of [Math.floor(count / 2), count - 1])
        expect(await hashAt(height, index, LARGE, reader), `${height}/${index}`).toEqual(
          naiveRoot(all, (index + 1) * 2 ** height, index * 2 ** height),
        );
      expect(await refusal(hashAt(height, count, LARGE, reader))).toMatch(/^bad_proof: .*no such full subtree/);
    }
    for (const height of [17, 53, 1023, 1024, -1, 0.5])
      expect(await refusal(hashAt(height, 0, LARGE, reader))).toMatch(/^bad_proof: /);
  });

  test('give what a fork proof lacks where the old size is a power of two', async () => {
    for (const m of [1, 2, 256, 512, 65_536]) {
      const proof = await proveConsistency(m, LARGE, reader);
      const h = await hashAt(Math.log2(m), 0, LARGE, reader);
      expect(foldConsistency(m, LARGE, proof, h)).toEqual({ oldRoot: h, newRoot: naiveRoot(all, LARGE) });
    }
  });
});

describe('sizes beyond 2^32', () => {
  /** A tree of equal leaves: all full subtrees of a height are equal, so its tiles need not be held. */
  const leaf = leafHash(new Uint8Array());
  const byHeight = [leaf];
  for (let h = 1; h <= 53; h++) byHeight.push(nodeHash(byHeight[h - 1] as Uint8Array, byHeight[h - 1] as Uint8Array));
  const equal: TileReader = {
    tile: async ({ level, width }) =>
      formatTile(Array.from({ length: width }, () => byHeight[8 * Number(level)] as Uint8Array)),
  };
  const rootAt = (n: bigint): Uint8Array => {
    const parts = byHeight.filter((_, h) => ((n >> BigInt(h)) & 1n) === 1n);
    return parts.reduce((right, left) => nodeHash(left, right));
  };
  const huge = fc.bigInt({ min: 1n, max: 2n ** 53n - 1n });

  test('fold to the root, at any of them', async () => {
    await fc.assert(
      fc.asyncProperty(huge, huge, async (a, b) => {
        const [m, n] = a < b ? [a, b] : [b, a];
        const [oldRoot, newRoot] = [rootAt(m), rootAt(n)];
        expect(await rootFromTiles(Number(n), equal)).toEqual(newRoot);
        const inclusion = await proveInclusion(Number(m) - 1, Number(n), equal);
        expect(foldInclusion(Number(m) - 1, Number(n), leaf, inclusion)).toEqual(newRoot);
        const consistency = await proveConsistency(Number(m), Number(n), equal);
        verifyConsistency(Number(m), Number(n), oldRoot, newRoot, consistency);
      }),
      {
        numRuns: 60,
        seed: 5,
        examples: [
          [2n ** 53n - 1n, 2n ** 52n],
          [2n ** 32n, 2n ** 32n + 1n],
          [2n ** 31n, 2n ** 31n],
        ],
      },
    );
  });
});

describe('a reader', () => {
  const without = (path: string, instead?: Uint8Array): TileReader => ({
    tile: async (place) => (formatTilePath(place) === path ? instead : reader.tile(place)),
  });

  test.each(['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1'])(
    'that lacks %s, or has more or less of it, is told the path',
    async (path) => {
      const calls = [
        (from: TileReader) => proveInclusion(69_999, LARGE, from),
        (from: TileReader) => proveConsistency(69_999, LARGE, from),
        (from: TileReader) => rootFromTiles(LARGE, from),
      ];
      for (const call of calls) {
        expect(await refusal(call(without(path)))).toBe(`not_found: Cannot read "${path}": it is missing`);
        for (const bytes of [new Uint8Array(), new Uint8Array(31), new Uint8Array(8192 + 32)])
          expect(await refusal(call(without(path, bytes)))).toMatch(`malformed: Cannot read "${path}": it has `);
      }
    },
  );

  test('that remembers nodes is asked for no tile', async () => {
    for (const [i, n] of [
      [69_999, LARGE],
      [300, 70_000],
      [0, 300],
      [299, 65_537],
    ] as const)
      expect(await proveInclusion(i, n, remembering)).toEqual(naiveInclusion(i, all, n));
    const proof = await proveInclusion(300, LARGE, remembering);
    for (const hash of proof) hash.fill(0);
    expect(await proveInclusion(300, LARGE, remembering)).toEqual(naiveInclusion(300, all, LARGE));
  });

  test('whose nodes are narrower than asked for is asked for the tile', async () => {
    const narrow = new TileNodes(formatTile(all.slice(0, 3)), 3);
    const growing: TileReader = { tile: (place) => reader.tile(place), nodes: async () => narrow };
    expect(await proveInclusion(2, 9, growing)).toEqual(naiveInclusion(2, all, 9));
  });
});

describe('the nodes of a tile', () => {
  test('are those of the tree over its hashes, as far as it goes', () => {
    const nodes = new TileNodes(formatTile(all.slice(0, 100)), 100);
    for (let row = 0; row <= 8; row++)
      for (let index = 0; index < 2 ** (8 - row); index++) {
        const [from, to] = [index * 2 ** row, (index + 1) * 2 ** row];
        if (to <= 100) expect(nodes.node(row, index)).toEqual(naiveRoot(all, to, from));
        else expect(() => nodes.node(row, index)).toThrow('its width is 100');
      }
    for (const [row, index] of [
      [9, 0],
      [-1, 0],
      [0, -1],
    ] as const)
      expect(() => nodes.node(row, index)).toThrow('Cannot read node');
  });

  test('are refused unless it holds as many hashes as its width', () => {
    for (const [length, width] of [
      [31, 1],
      [0, 0],
      [64, 1],
      [257 * 32, 257],
    ] as const)
      expect(() => new TileNodes(new Uint8Array(length), width)).toThrow(`it has ${length} bytes`);
  });
});

describeWithShared('vectors/tlog/tessera-log-15', 'a log of Tessera', (folder) => {
  const read = (path: string): Uint8Array => Uint8Array.from(readFileSync(join(folder, path)));
  const tiles: TileReader = { tile: async (place) => read(formatTilePath(place)) };
  const rootAt = (n: number): Uint8Array => parseCheckpoint(read(`checkpoint.${n}`)).checkpoint.root;
  const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 15];
  const hashes = parseBundle(read('tile/entries/000.p/15'), 15).map(leafHash);

  test('has proofs, made from its tiles, between all of its checkpoints and of all of its leaves', async () => {
    let proofs = 0;
    for (const n of sizes) {
      expect(await rootFromTiles(n, tiles)).toEqual(rootAt(n));
      for (const m of sizes.filter((each) => each <= n)) {
        verifyConsistency(m, n, rootAt(m), rootAt(n), await proveConsistency(m, n, tiles));
        proofs += 1;
      }
      for (let i = 0; i < n; i++, proofs++)
        verifyInclusion(i, n, hashes[i] as Uint8Array, await proveInclusion(i, n, tiles), rootAt(n));
    }
    expect(proofs).toBe(45 + 51);
  });
});
