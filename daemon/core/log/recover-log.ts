/**
 * The way back for an own log that was rolled back or lost: what is missing comes from those who mirror it (SPEC "Mirrors
 * and recovery"). Only towards a checkpoint that the own key signed, which holds what is here and all that is known to have
 * been released: so nobody is shown two histories. Heads that were never released nobody has seen; what they held beyond it
 * is lost.
 */
import { equalBytes, type IsSignatureValid, isMeshError, MeshError } from '../../../protocol/index.ts';
import {
  type Checkpoint,
  parseCheckpoint,
  type SignedCheckpoint,
  TreeEdge,
  type TreeHasher,
  verifyConsistency,
  verifyNote,
} from '../../../protocol/log/index.ts';
import type { Anchor, Logger, Store, StoreWrite } from '../../ports.ts';
import type { AuditLog } from './audit-log.ts';
import { copyLog, edgeOfRows } from './copy-log.ts';
import { type AnchoredNote, anchoredNotes, generationRow, ownNote } from './generation.ts';
import type { LogReader } from './log-read.ts';
import { LogKeys, ownPrefix } from './log-rows.ts';
import { haltingNote } from './start-up.ts';

export interface RecoverComponents {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly reader: LogReader;
  /** What the set of statements holds of this log. */
  readonly published?: SignedCheckpoint | undefined;
  readonly hasher?: TreeHasher;
}

export interface Recovered {
  /** Entries that were here, and are now. */
  readonly before: number;
  readonly treeSize: number;
  /** Entries that were on disk here, as the anchor says, and that nobody has: at least as many. */
  readonly lost: number;
}

/**
 * Fetches what the log has lost from the first of these bound peers that holds it. The log must be halted, and is closed
 * and opened again by the caller afterwards. Errors: conflict (nothing is wrong), not_found (nobody shows enough of it),
 * bad_proof (what is here is no beginning of what they show), unreachable, read_only.
 */
export async function recoverFromMirrors(
  components: RecoverComponents,
  auditLog: Pick<AuditLog, 'origin' | 'generation' | 'vkey' | 'treeSize' | 'problem'>,
  peers: readonly string[],
  signal: AbortSignal,
): Promise<Recovered> {
  const { origin, problem, treeSize: held } = auditLog;
  if (problem === undefined)
    throw new MeshError('conflict', 'Cannot recover the log: nothing is wrong with it', { id: origin });
  if (peers.length === 0)
    throw new MeshError('unreachable', 'Cannot recover the log: no peer that could have a copy is connected');
  const shown = await shownBy(components, auditLog, peers, signal);
  const anchored = await anchoredHere(components, auditLog);
  const known = [
    ...shown.map(({ signed }) => signed),
    components.published,
    await haltingCheckpoint(components, auditLog),
  ];
  const mayBeSeen = [
    ...mayBeReleased(anchored),
    ...known.flatMap((signed) => (signed === undefined ? [] : [signed.checkpoint])),
  ];
  const atLeast = Math.max(1, held, ...mayBeSeen.map(({ treeSize }) => treeSize));
  const enough = shown.filter(({ signed }) => signed.checkpoint.treeSize >= atLeast);
  if (enough.length === 0) {
    const most = Math.max(0, ...shown.map(({ signed }) => signed.checkpoint.treeSize));
    throw new MeshError(
      'not_found',
      `Cannot recover the log: ${peers.length} peers show ${most} entries of it, want ${atLeast}, which ${atLeast === held ? 'are here' : 'others may have seen'}`,
      { is: most, want: atLeast },
    );
  }
  return fetchFrom(components, auditLog, { enough, anchored, mayBeSeen }, signal);
}

/** The own key signed what halted the log, so it is part of it. Undefined: no note did. */
async function haltingCheckpoint(
  { store, isSignatureValid }: RecoverComponents,
  { origin, generation, vkey }: Pick<AuditLog, 'origin' | 'generation' | 'vkey'>,
): Promise<SignedCheckpoint | undefined> {
  const note = await haltingNote(store, generation);
  if (note === undefined) return undefined;
  const signed = parseCheckpoint(note);
  if (signed.checkpoint.origin !== origin) return undefined;
  verifyNote(signed.note, [vkey], isSignatureValid);
  return signed;
}

interface Shown {
  readonly peer: string;
  readonly signed: SignedCheckpoint;
}

/** What peers show of it under the own key, the most first. */
async function shownBy(
  { reader, isSignatureValid, log }: RecoverComponents,
  { origin, vkey }: Pick<AuditLog, 'origin' | 'vkey'>,
  peers: readonly string[],
  signal: AbortSignal,
): Promise<Shown[]> {
  const shown: Shown[] = [];
  for (const peer of peers) {
    try {
      const signed = await reader.readCheckpoint(peer, origin, { signal });
      if (signed === undefined) continue;
      verifyNote(signed.note, [vkey], isSignatureValid);
      shown.push({ peer, signed });
    } catch (error) {
      if (!isMeshError(error) || signal.aborted) throw error;
      log.debug({ peer, code: error.code, reason: error.message }, 'a peer shows no copy of the own log');
    }
  }
  return shown.sort((a, b) => b.signed.checkpoint.treeSize - a.signed.checkpoint.treeSize);
}

interface Known {
  /** Whoever shows as much as is wanted, the most first. */
  readonly enough: readonly Shown[];
  readonly anchored: readonly AnchoredNote[];
  readonly mayBeSeen: readonly Checkpoint[];
}

async function fetchFrom(
  components: RecoverComponents,
  { generation, vkey, treeSize: held }: Pick<AuditLog, 'generation' | 'vkey' | 'treeSize'>,
  { enough, anchored, mayBeSeen }: Known,
  signal: AbortSignal,
): Promise<Recovered> {
  const { log } = components;
  const prefix = ownPrefix(generation);
  let failure: unknown;
  for (const { peer, signed } of enough) {
    try {
      const { treeSize } = signed.checkpoint;
      const beginnings = [...mayBeSeen, ...anchored.filter((note) => note.treeSize <= treeSize)];
      for (const checkpoint of distinct(beginnings)) await verifyHeld(components, { peer, signed, signal }, checkpoint);
      const edge = await readableEdge(components, prefix, held);
      const before = edge.treeSize;
      const keys = new LogKeys(prefix);
      const last: StoreWrite[] = [
        { type: 'put', key: keys.head, value: ownNote(signed) },
        { type: 'del', key: keys.problem }, // what halted it is settled by this, in the same write
        generationRow({ generation, vkey }),
      ];
      await copyLog(components, { prefix, peer, signed, edge, last, signal });
      await anchorRecovered(components.anchor, signed);
      const lost = Math.max(0, ...anchored.map((note) => note.treeSize - treeSize));
      log.warn({ peer, before, treeSize, lost }, 'the audit log was recovered from a copy');
      return { before, treeSize, lost };
    } catch (error) {
      if (!isMeshError(error) || signal.aborted) throw error;
      log.warn({ peer, code: error.code, reason: error.message }, 'a copy of the own log was not fetched');
      failure = error;
    }
  }
  throw failure;
}

/** That the tree of the checkpoint begins with this one. Errors: bad_proof, not_found, those of reading. */
async function verifyHeld(
  { reader }: RecoverComponents,
  { peer, signed, signal }: Shown & { readonly signal: AbortSignal },
  { origin, treeSize, root }: Checkpoint,
): Promise<void> {
  const { treeSize: newSize, root: newRoot } = signed.checkpoint;
  if (treeSize === 0) return;
  const proof = treeSize === newSize ? [] : await reader.readConsistency(peer, origin, treeSize, newSize, { signal });
  if (proof === undefined)
    throw new MeshError('not_found', `Cannot recover the log: ${peer} does not lead from ${treeSize} to ${newSize}`);
  verifyConsistency(treeSize, newSize, root, newRoot, proof);
}

/** Of what is here; of nothing, where the rows are damaged: then all is fetched and written over. */
async function readableEdge(components: RecoverComponents, prefix: Uint8Array, treeSize: number): Promise<TreeEdge> {
  try {
    return await edgeOfRows(components, prefix, treeSize);
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'malformed') throw error;
    return new TreeEdge(components.hasher);
  }
}

async function anchoredHere(
  components: RecoverComponents,
  { generation }: Pick<AuditLog, 'generation'>,
): Promise<AnchoredNote[]> {
  const notes = (await anchoredNotes(components)) ?? [];
  return notes.filter((note) => note.generation === generation);
}

/** Where no slot tells what was released, any head may have been. */
function mayBeReleased(anchored: readonly AnchoredNote[]): readonly AnchoredNote[] {
  const released = anchored.filter(({ isReleased }) => isReleased);
  return released.length > 0 ? released : anchored;
}

const distinct = (checkpoints: readonly Checkpoint[]): Checkpoint[] =>
  checkpoints.filter(
    ({ treeSize, root }, i) =>
      checkpoints.findIndex((other) => other.treeSize === treeSize && equalBytes(other.root, root)) === i,
  );

/** In both slots of heads: one may hold what nobody has any more, which the next start would miss. That puts it in one of released ones too. */
async function anchorRecovered(anchor: Anchor, signed: SignedCheckpoint): Promise<void> {
  const note = ownNote(signed);
  for (let slot = 0; slot < 2; slot++) await anchor.write(note, { sync: true, isReleased: false });
}
