/** RFC 6962 section 2.1 as it is written: recursive, over leaf hashes [start, end). */
import { emptyRoot, nodeHash } from '../../../protocol/log/index.ts';

type Leaves = readonly Uint8Array[];

/** The largest power of two below n. */
const split = (n: number): number => {
  let k = 1;
  while (2 * k < n) k *= 2;
  return k;
};

/** Roots of ranges of a list that was asked about before; lists are not changed. */
const known = new WeakMap<Leaves, Map<string, Uint8Array>>();

export function naiveRoot(leaves: Leaves, end: number = leaves.length, start = 0): Uint8Array {
  if (start === end) return emptyRoot();
  if (start + 1 === end) return leaves[start] as Uint8Array;
  const roots = known.get(leaves) ?? new Map<string, Uint8Array>();
  known.set(leaves, roots);
  const range = `${start}-${end}`;
  const middle = start + split(end - start);
  const root = roots.get(range) ?? nodeHash(naiveRoot(leaves, middle, start), naiveRoot(leaves, end, middle));
  roots.set(range, root);
  return root;
}

export function naiveInclusion(index: number, leaves: Leaves, end: number = leaves.length, start = 0): Uint8Array[] {
  if (start + 1 === end) return [];
  const middle = start + split(end - start);
  return index < middle
    ? [...naiveInclusion(index, leaves, middle, start), naiveRoot(leaves, end, middle)]
    : [...naiveInclusion(index, leaves, end, middle), naiveRoot(leaves, middle, start)];
}

export function naiveConsistency(oldSize: number, leaves: Leaves, end: number = leaves.length): Uint8Array[] {
  const subproof = (from: number, to: number, whole: boolean): Uint8Array[] => {
    if (oldSize === to) return whole ? [] : [naiveRoot(leaves, to, from)];
    const middle = from + split(to - from);
    return oldSize <= middle
      ? [...subproof(from, middle, whole), naiveRoot(leaves, to, middle)]
      : [...subproof(middle, to, false), naiveRoot(leaves, middle, from)];
  };
  return subproof(0, end, true);
}
