import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../protocol/encoding/bytes.ts';
import {
  emptyRoot,
  foldConsistency,
  foldInclusion,
  isPowerOfTwo,
  leafHash,
  nodeHash,
  rootOfHashes,
  verifyConsistency,
  verifyExtension,
  verifyInclusion,
} from '../../../protocol/log/index.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { describeWithShared } from '../../shared.ts';
import { naiveConsistency, naiveInclusion, naiveRoot } from './naive-tree.ts';
import { codeOf, leaves } from './sample.ts';

const SEED = suiteSeed(6962);
const ALL = leaves(70);
const roots = Array.from({ length: 71 }, (_, size) => naiveRoot(ALL, size));
const rootAt = (size: number): Uint8Array => roots[size] as Uint8Array;
const flipped = (bytes: Uint8Array, bit: number): Uint8Array => {
  const out = Uint8Array.from(bytes);
  out[bit >> 3] = (out[bit >> 3] as number) ^ (1 << (bit & 7));
  return out;
};
const spoil = (list: readonly Uint8Array[], at: number, bit: number): Uint8Array[] =>
  list.map((hash, i) => (i === at ? flipped(hash, bit) : hash));

describe('hashes', () => {
  test('are those of RFC 6962', () => {
    expect(toHex(emptyRoot())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    // The one-leaf tree over the empty entry, of RFC 6962's reference implementation.
    expect(toHex(leafHash(new Uint8Array()))).toBe('6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d');
    const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    expect(nodeHash(a, b)).not.toEqual(nodeHash(b, a));
    expect(nodeHash(a, b)).not.toEqual(leafHash(Uint8Array.from([...a, ...b])));
  });

  test('of leaves give the root that the recursive definition gives, for every size up to 70', () => {
    for (let size = 0; size <= 70; size++) expect(toHex(rootOfHashes(ALL.slice(0, size)))).toBe(toHex(rootAt(size)));
  });

  test('of no leaves cannot be spoiled by who was given them', () => {
    emptyRoot().fill(0);
    expect(toHex(emptyRoot())).toMatch(/^e3b0/);
  });
});

describe('inclusion', () => {
  test('every leaf of every tree up to 70 folds to its root, and no longer once a bit changes', () => {
    const random = seededRandom(SEED);
    let count = 0;
    for (let size = 1; size <= 70; size++) {
      for (let index = 0; index < size; index++) {
        const [proof, leaf, root] = [naiveInclusion(index, ALL, size), ALL[index] as Uint8Array, rootAt(size)];
        expect(toHex(foldInclusion(index, size, leaf, proof))).toBe(toHex(root));
        verifyInclusion(index, size, leaf, proof, root);
        for (let at = 0; at < proof.length; at++)
          expect(codeOf(() => verifyInclusion(index, size, leaf, spoil(proof, at, random.below(256)), root))).toBe(
            'bad_proof',
          );
        expect(codeOf(() => verifyInclusion(index, size, flipped(leaf, random.below(256)), proof, root))).toBe(
          'bad_proof',
        );
        expect(codeOf(() => foldInclusion(index, size, leaf, [...proof, root]))).toBe('bad_proof');
        if (proof.length > 0) expect(codeOf(() => foldInclusion(index, size, leaf, proof.slice(1)))).toBe('bad_proof');
        const other = random.below(size);
        if (other !== index) expect(codeOf(() => verifyInclusion(other, size, leaf, proof, root))).toBe('bad_proof');
        count++;
      }
    }
    expect(count).toBe((70 * 71) / 2);
  });

  test('in larger trees, at random', () => {
    const random = seededRandom(SEED + 1);
    const many = leaves(3000);
    for (let i = 0; i < 40; i++) {
      const size = 71 + random.below(many.length - 70);
      const index = random.below(size);
      const proof = naiveInclusion(index, many, size);
      const [leaf, root] = [many[index] as Uint8Array, naiveRoot(many, size)];
      verifyInclusion(index, size, leaf, proof, root);
      const bad = spoil(proof, random.below(proof.length), random.below(256));
      expect(codeOf(() => verifyInclusion(index, size, leaf, bad, root))).toBe('bad_proof');
    }
  });

  test('has the length that size and index fix, beyond 2^32 too, where bit operators would wrap', () => {
    const size = 2 ** 53 - 1;
    const hashes = (count: number): Uint8Array[] => Array.from({ length: count }, () => emptyRoot());
    for (const [index, length] of [
      [0, 53],
      [2 ** 52 - 1, 53],
      [2 ** 40, 53],
      [size - 1, 52], // all bits but the lowest are ones: one hash for each, none to the right
    ] as const) {
      expect(foldInclusion(index, size, emptyRoot(), hashes(length))).toHaveLength(32);
      expect(codeOf(() => foldInclusion(index, size, emptyRoot(), hashes(length - 1)))).toBe('bad_proof');
      expect(codeOf(() => foldInclusion(index, size, emptyRoot(), hashes(length + 1)))).toBe('bad_proof');
    }
    const [left, right] = [leafHash(Uint8Array.of(1)), leafHash(Uint8Array.of(2))];
    const [low, high] = [0, 2 ** 32].map((index) => toHex(foldInclusion(index, 2 ** 33, left, Array(33).fill(right))));
    expect(low).not.toBe(high);
  });

  test.each([
    ['an index equal to the tree size', 1, 1],
    ['an empty tree', 0, 0],
    ['a negative index', -1, 1],
    ['a fraction', 0.5, 1],
    ['an unsafe size', 0, 2 ** 53],
    ['NaN', Number.NaN, 1],
  ])('refuses %s', (_, index, size) => {
    expect(codeOf(() => foldInclusion(index, size, emptyRoot(), []))).toBe('bad_proof');
  });

  test('refuses hashes of another length', () => {
    expect(codeOf(() => foldInclusion(0, 2, emptyRoot(), [new Uint8Array(31)]))).toBe('bad_proof');
    expect(codeOf(() => foldInclusion(0, 1, new Uint8Array(33), []))).toBe('bad_proof');
  });
});

describe('consistency', () => {
  test('every pair of sizes up to 70 folds to both roots, and no longer once a bit changes', () => {
    const random = seededRandom(SEED + 2);
    let count = 0;
    for (let newSize = 1; newSize <= 70; newSize++) {
      for (let oldSize = 1; oldSize <= newSize; oldSize++) {
        const proof = naiveConsistency(oldSize, ALL, newSize);
        const [old, next] = [rootAt(oldSize), rootAt(newSize)];
        expect(foldConsistency(oldSize, newSize, proof, old)).toEqual({ oldRoot: old, newRoot: next });
        verifyConsistency(oldSize, newSize, old, next, proof);
        verifyExtension(oldSize, newSize, old, next, proof);
        const refuses = (m: number, n: number, a: Uint8Array, b: Uint8Array, p: readonly Uint8Array[]): void =>
          expect(
            codeOf(() => verifyConsistency(m, n, a, b, p)),
            `${oldSize} of ${newSize}`,
          ).toBe('bad_proof');
        for (let at = 0; at < proof.length; at++)
          refuses(oldSize, newSize, old, next, spoil(proof, at, random.below(256)));
        refuses(oldSize, newSize, flipped(old, random.below(256)), next, proof);
        refuses(oldSize, newSize, old, flipped(next, random.below(256)), proof);
        refuses(oldSize, newSize, old, next, [...proof, old]);
        if (proof.length > 0) {
          refuses(oldSize, newSize, old, next, proof.slice(0, -1));
          refuses(oldSize, newSize, old, next, [old, ...proof]);
          refuses(oldSize, newSize, old, next, []);
          refuses(oldSize, newSize, next, old, proof);
        }
        count++;
      }
    }
    expect(count).toBe((70 * 71) / 2);
  });

  test('in larger trees, at random', () => {
    const random = seededRandom(SEED + 3);
    const many = leaves(3000);
    for (let i = 0; i < 40; i++) {
      const newSize = 71 + random.below(many.length - 70);
      const oldSize = 1 + random.below(newSize);
      const [old, next] = [naiveRoot(many, oldSize), naiveRoot(many, newSize)];
      verifyConsistency(oldSize, newSize, old, next, naiveConsistency(oldSize, many, newSize));
    }
  });

  test('folds a fork to the root of the branch and not to the root that is believed', () => {
    for (const oldSize of [3, 5, 6, 7, 33, 69]) {
      const branch = [...leaves(oldSize, 'other'), ...ALL.slice(oldSize)];
      const proof = naiveConsistency(oldSize, branch);
      const folded = foldConsistency(oldSize, 70, proof, rootAt(oldSize));
      expect(folded.newRoot).toEqual(naiveRoot(branch));
      expect(folded.oldRoot).toEqual(naiveRoot(branch.slice(0, oldSize)));
      expect(folded.oldRoot).not.toEqual(rootAt(oldSize));
    }
  });

  test.each([
    ['an old size of 0', 0, 1],
    ['an old size above the new one', 2, 1],
    ['an unsafe size', 1, 2 ** 53],
    ['a fraction', 1.5, 2],
  ])('refuses %s', (_, oldSize, newSize) => {
    expect(codeOf(() => foldConsistency(oldSize, newSize, [], emptyRoot()))).toBe('bad_proof');
  });

  test("of the tree without leaves is a witness's rule of its own: every tree, by an empty proof", () => {
    verifyExtension(0, 5, emptyRoot(), rootAt(5), []);
    verifyExtension(0, 0, emptyRoot(), emptyRoot(), []);
    expect(codeOf(() => verifyExtension(0, 5, emptyRoot(), rootAt(5), [rootAt(1)]))).toBe('bad_proof');
    expect(codeOf(() => verifyExtension(0, 0, emptyRoot(), rootAt(1), []))).toBe('bad_proof');
    expect(codeOf(() => verifyExtension(0, 5, rootAt(1), rootAt(5), []))).toBe('bad_proof');
    expect(codeOf(() => verifyConsistency(0, 5, emptyRoot(), rootAt(5), []))).toBe('bad_proof');
  });

  test('knows powers of two beyond 2^32', () => {
    for (let k = 0; k <= 52; k++) {
      expect(isPowerOfTwo(2 ** k)).toBe(true);
      if (k > 1) expect([2 ** k - 1, 2 ** k + 1].map(isPowerOfTwo)).toEqual([false, false]);
    }
    expect(isPowerOfTwo(0)).toBe(false);
  });
});

describeWithShared('vectors/tlog', 'the published vectors', (folder) => {
  // JSON.parse rounds 2^64 - 1 to 2^64; the rounded number is as unsafe as the true one.
  const read = <T>(name: string): T => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
  const base64 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));
  interface Row {
    readonly file: string;
    readonly proof: readonly string[] | null;
    readonly wantErr: boolean;
  }
  const proofOf = ({ proof }: Row): Uint8Array[] => (proof ?? []).map(base64);

  test('of inclusion', () => {
    const rows =
      read<(Row & { leafIdx: number; treeSize: number; root: string; leafHash: string })[]>('merkle-inclusion.json');
    expect(rows).toHaveLength(45);
    for (const row of rows) {
      const { leafIdx, treeSize, root, wantErr } = row;
      const verdict = codeOf(() =>
        verifyInclusion(leafIdx, treeSize, base64(row.leafHash), proofOf(row), base64(root)),
      );
      expect(verdict, row.file).toBe(wantErr ? 'bad_proof' : 'accepted');
    }
    expect(rows.some(({ leafIdx }) => !Number.isSafeInteger(leafIdx))).toBe(true);
  });

  test('of consistency', () => {
    const rows =
      read<(Row & { size1: number; size2: number; root1: string; root2: string })[]>('merkle-consistency.json');
    expect(rows).toHaveLength(48);
    const otherwise: string[] = [];
    for (const row of rows) {
      const verdict = codeOf(() =>
        verifyConsistency(row.size1, row.size2, base64(row.root1), base64(row.root2), proofOf(row)),
      );
      if (verdict !== (row.wantErr ? 'bad_proof' : 'accepted')) otherwise.push(row.file);
    }
    // Its roots have 12 bytes: no hash is that short.
    expect(otherwise).toEqual(['consistency/additional/sizes-are-equal-one-and-proof-is-empty.json']);
  });

  test('of a real fork: the proof leads to the second root, and to another first one', () => {
    const fork = read<
      Record<'root1' | 'root2' | 'rootOfSize1OnBranch2', string> & { size1: number; size2: number; proof: string[] }
    >('fork-venafi-2017.json');
    const folded = foldConsistency(fork.size1, fork.size2, fork.proof.map(base64), base64(fork.root1));
    expect(folded).toEqual({ oldRoot: base64(fork.rootOfSize1OnBranch2), newRoot: base64(fork.root2) });
    expect(toHex(folded.oldRoot)).not.toBe(toHex(base64(fork.root1)));
  });

  test('of Rekor: folded from the index in the checkpoint', () => {
    const { cases } = read<{
      cases: {
        name: string;
        leafHash: string;
        index: number;
        size: number;
        hashes: string[];
        checkpoint: string;
        expect: { rootFromProofEqualsCheckpoint: boolean };
      }[];
    }>('rekor-entries.json');
    expect(cases).toHaveLength(28);
    for (const each of cases) {
      const root = foldInclusion(each.index, each.size, base64(each.leafHash), each.hashes.map(base64));
      const isEqual = toHex(root) === toHex(base64(each.checkpoint.split('\n')[2] ?? ''));
      expect(isEqual, each.name).toBe(each.expect.rootFromProofEqualsCheckpoint);
    }
  });
});
