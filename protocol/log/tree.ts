/**
 * The Merkle tree of RFC 6962 / RFC 9162 section 2.1 and its proofs. Proofs are folded into the roots that they lead
 * to: whoever compares them learns not only that a proof fails, but at which end, and that is what convicts a log that
 * signed two histories (SPEC "Transparency log formats").
 *
 * Sizes and indices are safe integers; JavaScript's bit operators stop at 2^32, so halving is division.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { LEAF_HASH_PREFIX, NODE_HASH_PREFIX } from '../domains.ts';
import { equalBytes } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';

export const HASH_BYTES = 32;

/** SHA-256 of the bytes. Whoever hashes in bulk hands in a faster one than the pure one that is the default. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** Root of the tree without leaves. A new one each time: arrays can be written to. */
export const emptyRoot = (): Uint8Array => sha256(new Uint8Array());

/** The two hashes of a tree. */
export interface TreeHasher {
  readonly leafHash: (entry: Uint8Array) => Uint8Array;
  readonly nodeHash: (left: Uint8Array, right: Uint8Array) => Uint8Array;
}

export function createTreeHasher(hash: Sha256): TreeHasher {
  // Arrays of this size are dear to make; these are written anew for each hash.
  let leaf = new Uint8Array(1024);
  const node = new Uint8Array(1 + 2 * HASH_BYTES);
  leaf[0] = LEAF_HASH_PREFIX;
  node[0] = NODE_HASH_PREFIX;
  return {
    leafHash: (entry) => {
      if (entry.length >= leaf.length) {
        leaf = new Uint8Array(2 * entry.length + 1);
        leaf[0] = LEAF_HASH_PREFIX;
      }
      leaf.set(entry, 1);
      return hash(leaf.subarray(0, 1 + entry.length));
    },
    nodeHash: (left, right) => {
      node.set(left, 1);
      node.set(right, 1 + HASH_BYTES);
      return hash(node);
    },
  };
}

const PURE = createTreeHasher(sha256);
export const leafHash: TreeHasher['leafHash'] = PURE.leafHash;
export const nodeHash: TreeHasher['nodeHash'] = PURE.nodeHash;

/** Root over leaf hashes in order; also of a full tile's hashes. Holds one hash a level. */
export function rootOfHashes(hashes: Iterable<Uint8Array>): Uint8Array {
  const edge: Uint8Array[] = []; // roots of the full subtrees from left to right, as the bits of the count
  let count = 0;
  for (const hash of hashes) {
    let root = hash;
    for (let rest = count; rest % 2 === 1; rest = half(rest)) root = nodeHash(edge.pop() as Uint8Array, root);
    edge.push(root);
    count++;
  }
  let root = edge.pop();
  if (root === undefined) return emptyRoot();
  for (let left = edge.pop(); left !== undefined; left = edge.pop()) root = nodeHash(left, root);
  return root;
}

const half = (n: number): number => Math.floor(n / 2);

/** The root that the proof leads to (RFC 9162 section 2.1.3.2). Errors: bad_proof, unless the length is right. */
export function foldInclusion(
  leafIndex: number,
  treeSize: number,
  hash: Uint8Array,
  proof: readonly Uint8Array[],
): Uint8Array {
  const what = `inclusion of leaf ${leafIndex} in a tree of ${treeSize}`;
  checkSizes(what, leafIndex, treeSize);
  if (leafIndex >= treeSize) throw refused(what, 'the tree has no such leaf');
  checkHashes(what, [hash, ...proof]);
  let [fn, sn, root] = [leafIndex, treeSize - 1, hash];
  for (const sibling of proof) {
    if (sn === 0) throw refused(what, 'it goes on above the root');
    if (fn % 2 === 1 || fn === sn) {
      root = nodeHash(sibling, root);
      for (; fn % 2 === 0 && fn !== 0; sn = half(sn)) fn = half(fn);
    } else {
      root = nodeHash(root, sibling);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0) throw refused(what, 'it ends below the root');
  return root;
}

/** Errors: bad_proof. */
export function verifyInclusion(
  leafIndex: number,
  treeSize: number,
  hash: Uint8Array,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): void {
  if (!equalBytes(foldInclusion(leafIndex, treeSize, hash, proof), root))
    throw refused(`inclusion of leaf ${leafIndex} in a tree of ${treeSize}`, 'it leads to another root');
}

export interface FoldedRoots {
  readonly oldRoot: Uint8Array;
  readonly newRoot: Uint8Array;
}

/** Of such a size the old tree is one full subtree, which a proof leaves out: its root is the reader's to supply. */
export function isPowerOfTwo(size: number): boolean {
  let rest = size;
  while (rest > 1 && rest % 2 === 0) rest = half(rest);
  return rest === 1;
}

/**
 * The two roots that the proof leads to (RFC 9162 section 2.1.4.2), for 0 < oldSize <= newSize. `oldRoot` is used only
 * where the proof leaves it out: at equal sizes, and where the old size is a power of two; there it comes back as it is.
 * Errors: bad_proof, unless the length is right.
 */
export function foldConsistency(
  oldSize: number,
  newSize: number,
  proof: readonly Uint8Array[],
  oldRoot: Uint8Array,
): FoldedRoots {
  const what = `consistency of a tree of ${newSize} with one of ${oldSize}`;
  checkSizes(what, oldSize, newSize);
  if (oldSize === 0 || oldSize > newSize) throw refused(what, 'want 0 < old size <= new size');
  checkHashes(what, [oldRoot, ...proof]);
  if (oldSize === newSize) {
    if (proof.length > 0) throw refused(what, 'equal sizes need no hashes');
    return { oldRoot, newRoot: oldRoot };
  }
  if (proof.length === 0) throw refused(what, 'it is empty');
  const [first, ...rest] = isPowerOfTwo(oldSize) ? [oldRoot, ...proof] : proof;
  let [fn, sn] = [oldSize - 1, newSize - 1];
  for (; fn % 2 === 1; sn = half(sn)) fn = half(fn);
  let [fr, sr] = [first as Uint8Array, first as Uint8Array];
  for (const hash of rest) {
    if (sn === 0) throw refused(what, 'it goes on above the root');
    if (fn % 2 === 1 || fn === sn) {
      [fr, sr] = [nodeHash(hash, fr), nodeHash(hash, sr)];
      for (; fn % 2 === 0 && fn !== 0; sn = half(sn)) fn = half(fn);
    } else {
      sr = nodeHash(sr, hash);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  if (sn !== 0) throw refused(what, 'it ends below the root');
  return { oldRoot: fr, newRoot: sr };
}

/** For 0 < oldSize, as RFC 9162 has it. Errors: bad_proof. */
export function verifyConsistency(
  oldSize: number,
  newSize: number,
  oldRoot: Uint8Array,
  newRoot: Uint8Array,
  proof: readonly Uint8Array[],
): void {
  const folded = foldConsistency(oldSize, newSize, proof, oldRoot);
  const what = `consistency of a tree of ${newSize} with one of ${oldSize}`;
  if (!equalBytes(folded.newRoot, newRoot)) throw refused(what, 'it leads to another new root');
  if (!equalBytes(folded.oldRoot, oldRoot)) throw refused(what, 'it leads to another old root');
}

/** As a witness checks it: of the tree without leaves, every tree is an extension, by an empty proof. Errors: bad_proof. */
export function verifyExtension(
  oldSize: number,
  newSize: number,
  oldRoot: Uint8Array,
  newRoot: Uint8Array,
  proof: readonly Uint8Array[],
): void {
  if (oldSize !== 0) return verifyConsistency(oldSize, newSize, oldRoot, newRoot, proof);
  const what = `consistency of a tree of ${newSize} with the empty one`;
  checkSizes(what, oldSize, newSize);
  checkHashes(what, [oldRoot, newRoot]);
  if (proof.length > 0) throw refused(what, 'it needs no hashes');
  if (!equalBytes(oldRoot, emptyRoot())) throw refused(what, 'the old root is not that of no leaves');
  if (newSize === 0 && !equalBytes(newRoot, oldRoot)) throw refused(what, 'the new root is not that of no leaves');
}

const refused = (what: string, why: string): MeshError =>
  new MeshError('bad_proof', `Cannot accept a proof of ${what}: ${why}`);

function checkSizes(what: string, ...sizes: number[]): void {
  if (!sizes.every((size) => Number.isSafeInteger(size) && size >= 0))
    throw refused(what, 'want integers from 0 to 2^53 - 1');
}

function checkHashes(what: string, hashes: readonly Uint8Array[]): void {
  if (!hashes.every(({ length }) => length === HASH_BYTES)) throw refused(what, `want hashes of ${HASH_BYTES} bytes`);
}
