/** What is held of one log: the own one, or a copy of another's. */
import type { SignedCheckpoint, TilePlace } from '../../../protocol/log/index.ts';

/** Reads of what is on disk; nothing beyond `treeSize` shows. Errors of every read: store_corrupt, closed. */
export interface LogStore {
  /** Durable leaves. */
  readonly treeSize: number;
  /** Undefined from `treeSize` on. */
  entry(index: number): Promise<Uint8Array | undefined>;
  /** Entries with from <= index < to, in order, as far as there are any. */
  entries(from: number, to: number): AsyncIterable<Uint8Array>;
  /** Leaf index of the entry with this id (16 bytes). */
  indexOf(id16: Uint8Array): Promise<number | undefined>;
  /** Hashes, or for level `entries` a bundle, of exactly this width; undefined where the tree is not as wide. */
  tile(place: TilePlace): Promise<Uint8Array | undefined>;
  /** In the tree of this size; default: of `treeSize`. Errors: bad_proof, for what is not in it. */
  proveInclusion(leafIndex: number, treeSize?: number): Promise<Uint8Array[]>;
  /** Errors: bad_proof. */
  proveConsistency(oldSize: number, newSize?: number): Promise<Uint8Array[]>;
  /** Errors: bad_proof, beyond `treeSize`. */
  rootAt(treeSize: number): Promise<Uint8Array>;
  /** As it was released at exactly this size, with the cosignatures known. */
  checkpointAt(treeSize: number): Promise<SignedCheckpoint | undefined>;
}
