/**
 * Two histories under one key. A verdict here needs nobody's word: the notes are signed by the one whom they convict,
 * and a consistency proof that leads to the newer root shows what that history has at the older size.
 */
import { equalBytes } from '../encoding/bytes.ts';
import { isMeshError } from '../errors.ts';
import type { IsSignatureValid } from '../signature.ts';
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts';
import { verifyNote } from './note.ts';
import { foldConsistency, type FoldedRoots, isPowerOfTwo } from './tree.ts';
import type { Vkey } from './vkey.ts';

/** What a failed or successful extension shows about its signer. */
export type Extension =
  | { readonly verdict: 'consistent' }
  /** The newer tree has this other root at the older size: with the two notes, a fork proof. */
  | { readonly verdict: 'fork'; readonly rootOfOldOnNew: Uint8Array }
  /**
   * The old size is a power of two: the proof leaves out the newer tree's root at that size, so a fork and a proof of
   * nothing look alike. Ask for that root (one hash of a tile) and look again.
   */
  | { readonly verdict: 'ask'; readonly level: number }
  /** The proof leads nowhere: it accuses nobody. */
  | { readonly verdict: 'garbage' };

/**
 * Looks at two checkpoints of one origin, old size first, that were signed under one key, and at a consistency proof
 * between them. `rootOfOldOnNew` is what was answered to an earlier `ask`; whether it is true shows in the proof.
 */
export function examineExtension(
  old: Checkpoint,
  next: Checkpoint,
  proof: readonly Uint8Array[],
  rootOfOldOnNew?: Uint8Array,
): Extension {
  if (old.origin !== next.origin || old.treeSize > next.treeSize) return { verdict: 'garbage' };
  if (old.treeSize === next.treeSize) {
    return equalBytes(old.root, next.root) ? { verdict: 'consistent' } : { verdict: 'fork', rootOfOldOnNew: next.root };
  }
  if (old.treeSize === 0) return { verdict: proof.length === 0 ? 'consistent' : 'garbage' };
  const folded = foldOrNothing(old.treeSize, next.treeSize, proof, rootOfOldOnNew ?? old.root);
  if (folded === undefined) return { verdict: 'garbage' };
  if (!equalBytes(folded.newRoot, next.root)) {
    const asks = rootOfOldOnNew === undefined && isPowerOfTwo(old.treeSize);
    return asks ? { verdict: 'ask', level: Math.log2(old.treeSize) } : { verdict: 'garbage' };
  }
  return equalBytes(folded.oldRoot, old.root)
    ? { verdict: 'consistent' }
    : { verdict: 'fork', rootOfOldOnNew: folded.oldRoot };
}

function foldOrNothing(
  oldSize: number,
  newSize: number,
  proof: readonly Uint8Array[],
  oldRoot: Uint8Array,
): FoldedRoots | undefined {
  try {
    return foldConsistency(oldSize, newSize, proof, oldRoot);
  } catch (error) {
    if (isMeshError(error)) return undefined; // a wrong length: the caller's verdict says so
    throw error;
  }
}

/** Evidence that whoever holds the key signed two histories of one log. */
export interface ForkEvidence {
  /** Of a log (0x01) or a witness (0x04). */
  readonly vkey: Vkey;
  /** The note of the smaller tree, or at equal sizes either, as it was signed. */
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  /** B's root at A's size. At equal sizes B's root. */
  readonly rootOfAOnB: Uint8Array;
  /** From A's size to B's; none at equal sizes. */
  readonly proof: readonly Uint8Array[];
}

export type ForkVerdict =
  | { readonly proven: true; readonly origin: string; readonly sizes: readonly [number, number] }
  | { readonly proven: false; readonly reason: ForkDoubt };

/** Why evidence proves nothing; in the order in which it is looked for. */
export const FORK_DOUBTS = {
  signature: 'one of the notes is no checkpoint, has no line by the key, or one that does not verify',
  origin: 'the notes are of different logs',
  order: 'the first note is of a larger tree, or of the empty one',
  same: 'the trees agree: the root at the older size is that of the first note',
  proof: 'the proof does not lead from the named root to that of the second note',
} as const;
export type ForkDoubt = keyof typeof FORK_DOUBTS;

/** Decides from the bytes alone, so that everyone decides alike. */
export function evaluateFork(
  { vkey, a, b, rootOfAOnB, proof }: ForkEvidence,
  isSignatureValid: IsSignatureValid,
): ForkVerdict {
  const doubt = (reason: ForkDoubt): ForkVerdict => ({ proven: false, reason });
  const [older, newer] = [signedBy(vkey, a, isSignatureValid), signedBy(vkey, b, isSignatureValid)];
  if (older === undefined || newer === undefined) return doubt('signature');
  if (older.origin !== newer.origin) return doubt('origin');
  if (older.treeSize > newer.treeSize || older.treeSize === 0) return doubt('order');
  if (equalBytes(rootOfAOnB, older.root)) return doubt('same');
  // At equal sizes the fold is the named root itself, which then must be the second note's.
  const folded = foldOrNothing(older.treeSize, newer.treeSize, proof, rootOfAOnB);
  if (folded === undefined || !equalBytes(folded.oldRoot, rootOfAOnB) || !equalBytes(folded.newRoot, newer.root))
    return doubt('proof');
  return { proven: true, origin: older.origin, sizes: [older.treeSize, newer.treeSize] };
}

/** The checkpoint, if the key signed it. */
function signedBy(vkey: Vkey, bytes: Uint8Array, isSignatureValid: IsSignatureValid): Checkpoint | undefined {
  try {
    const { checkpoint, note } = parseCheckpoint(bytes);
    verifyNote(note, [vkey], isSignatureValid);
    return checkpoint;
  } catch (error) {
    if (isMeshError(error)) return undefined; // malformed, not signed or not validly: the verdict says so
    throw error;
  }
}
