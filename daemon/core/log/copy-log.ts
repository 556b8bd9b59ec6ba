/**
 * A log fetched from whoever keeps it, entry by entry, into rows of the own log's form (SPEC "Mirrors and recovery").
 * Nothing is written that the checkpoint does not hold: each portion's root is the checkpoint's, or is shown to be that of
 * its tree at this size.
 */
import { equalBytes, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import {
  foldConsistency,
  formatNote,
  HASH_BYTES,
  leafHash,
  nodeHash,
  parseUuid7,
  type SignedCheckpoint,
  TILE_WIDTH,
  tileLevels,
  TreeEdge,
  type TreeHasher,
} from '../../../protocol/log/index.ts';
import type { Store, StoreWrite } from '../../ports.ts';
import type { LogReader } from './log-read.ts';
import { LogKeys, u64be } from './log-rows.ts';

export interface CopyComponents {
  readonly store: Store;
  readonly reader: LogReader;
  /** Default: pure SHA-256. */
  readonly hasher?: TreeHasher;
}

/** The edge of what the rows below a prefix hold, if they are those of a tree of this size. Errors: malformed. */
export async function edgeOfRows(
  { store, hasher = { leafHash, nodeHash } }: Pick<CopyComponents, 'store' | 'hasher'>,
  prefix: Uint8Array,
  treeSize: number,
): Promise<TreeEdge> {
  const keys = new LogKeys(prefix);
  const partial: (Uint8Array | undefined)[] = [];
  for (const { level, full, partialWidth } of tileLevels(treeSize)) {
    // Written over since, it is wider: what was there before is still its beginning.
    const row = partialWidth === 0 ? undefined : await store.get(keys.tile(level, full));
    partial[level] = row?.slice(0, partialWidth * HASH_BYTES);
  }
  return TreeEdge.resume(treeSize, partial, hasher);
}

export interface CopyRequest {
  /** Below which the rows lie. */
  readonly prefix: Uint8Array;
  /** Who keeps the log, or a copy. */
  readonly peer: string;
  /** What is to be held; its signature was verified. */
  readonly signed: SignedCheckpoint;
  /** Of what is held; grows with what is written, and is of no use after an error. */
  readonly edge: TreeEdge;
  /** Written together with the last portion. */
  readonly last: readonly StoreWrite[];
  readonly signal: AbortSignal;
}

/**
 * Fetches what is missing up to the checkpoint, and makes that the head. Errors: bad_proof (what is held is no beginning
 * of it, or what came is not of it), not_found (the peer does not hold as much), malformed, those of reading, of the store.
 */
export async function copyLog(components: CopyComponents, request: CopyRequest): Promise<void> {
  const { store, hasher = { leafHash, nodeHash } } = components;
  const { prefix, signed, edge, last } = request;
  const { treeSize } = signed.checkpoint;
  const keys = new LogKeys(prefix);
  const writes: StoreWrite[] = [];
  await verifyBeginning(components, request);
  while (edge.treeSize < treeSize) {
    let count = 0;
    while (edge.treeSize < treeSize && count < limits.MIRROR_PORTION_ENTRIES) {
      for (const bytes of await nextEntries(components, request)) {
        writes.push(
          { type: 'put', key: keys.entry(edge.treeSize), value: bytes },
          { type: 'put', key: keys.id(idOf(bytes)), value: u64be(edge.treeSize) },
        );
        edge.append(hasher.leafHash(bytes));
        count++;
      }
    }
    await verifyBeginning(components, request);
    for (const { place, bytes } of edge.takeTiles())
      writes.push({ type: 'put', key: keys.tile(place.level, place.index), value: bytes });
    if (edge.treeSize < treeSize) await store.batch(writes.splice(0), { sync: true });
  }
  const note = formatNote(signed.note);
  writes.push(
    { type: 'put', key: keys.checkpoint(treeSize), value: note },
    { type: 'put', key: keys.released, value: u64be(treeSize) },
    { type: 'put', key: keys.head, value: note },
  );
  await store.batch([...writes, ...last], { sync: true });
}

/** The rest of the bundle that begins before it, or the next one. */
async function nextEntries({ reader }: CopyComponents, request: CopyRequest): Promise<readonly Uint8Array[]> {
  const { peer, signed, edge, signal } = request;
  const { origin, treeSize } = signed.checkpoint;
  const index = Math.floor(edge.treeSize / TILE_WIDTH);
  const start = index * TILE_WIDTH;
  const width = Math.min(TILE_WIDTH, treeSize - start);
  const entries = await reader.readBundle(peer, origin, { index, width }, { signal });
  if (entries === undefined)
    throw new MeshError('not_found', `Cannot copy "${origin}": ${peer} has no entries from ${start} on`, {
      id: origin,
    });
  return entries.slice(edge.treeSize - start);
}

/** What the edge has is the tree of the checkpoint, as far as it goes. Errors: bad_proof, not_found, those of reading. */
async function verifyBeginning({ reader }: CopyComponents, { peer, signed, edge, signal }: CopyRequest): Promise<void> {
  const { origin, treeSize, root } = signed.checkpoint;
  const size = edge.treeSize;
  if (size === 0) return;
  const own = edge.root();
  if (size === treeSize) {
    if (!equalBytes(own, root)) throw other(origin, size);
    return;
  }
  const proof = size > treeSize ? undefined : await reader.readConsistency(peer, origin, size, treeSize, { signal });
  if (proof === undefined)
    throw new MeshError('not_found', `Cannot copy "${origin}": ${peer} does not lead from ${size} to ${treeSize}`);
  const folded = foldConsistency(size, treeSize, proof, own);
  if (!equalBytes(folded.oldRoot, own) || !equalBytes(folded.newRoot, root)) throw other(origin, size);
}

const other = (origin: string, size: number): MeshError =>
  new MeshError('bad_proof', `Cannot copy "${origin}": its first ${size} entries are others than those here`, {
    id: origin,
    is: size,
  });

/** Of an audit entry; what else it says is for whoever reads the copy. Errors: malformed. */
function idOf(bytes: Uint8Array): Uint8Array {
  let id: unknown;
  try {
    id = (JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as { readonly id?: unknown }).id;
  } catch (cause) {
    if (isMeshError(cause)) throw cause;
    throw new MeshError('malformed', 'Cannot copy a log: an entry is no JSON', {}, { cause });
  }
  if (typeof id !== 'string') throw new MeshError('malformed', 'Cannot copy a log: an entry has no id');
  return parseUuid7(id).bytes;
}
