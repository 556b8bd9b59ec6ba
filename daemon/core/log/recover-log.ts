/**
 * The way back for an own log that was rolled back or lost: what is missing comes from those who mirror it (SPEC "Mirrors
 * and recovery"). Only towards a checkpoint that the own key signed, which holds what is here and nothing less than the
 * anchor has seen: so nothing is signed twice.
 */
import { type IsSignatureValid, isMeshError, MeshError } from '../../../protocol/index.ts';
import {
  type Checkpoint,
  formatNote,
  parseCheckpoint,
  type SignedCheckpoint,
  TreeEdge,
  type TreeHasher,
  verifyConsistency,
  verifyNote,
} from '../../../protocol/log/index.ts';
import type { Anchor, Logger, Store } from '../../ports.ts';
import type { AuditLog } from './audit-log.ts';
import { copyLog, edgeOfRows } from './copy-log.ts';
import { anchoredNotes, generationRow } from './generation.ts';
import type { LogReader } from './log-read.ts';
import { LogKeys, ownPrefix } from './log-rows.ts';
import { haltingNote } from './start-up.ts';

export interface RecoverComponents {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly reader: LogReader;
  readonly hasher?: TreeHasher;
}

export interface Recovered {
  /** Entries that were here, and are now. */
  readonly before: number;
  readonly treeSize: number;
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
  const { origin, problem } = auditLog;
  if (problem === undefined)
    throw new MeshError('conflict', 'Cannot recover the log: nothing is wrong with it', { id: origin });
  if (peers.length === 0)
    throw new MeshError('unreachable', 'Cannot recover the log: no peer that could have a copy is connected');
  const shown = await shownBy(components, auditLog, peers, signal);
  const halting = await haltingCheckpoint(components, auditLog);
  const signedOnce = [...(halting === undefined ? [] : [halting]), ...shown.map(({ signed }) => signed)];
  const atLeast = Math.max(
    1,
    auditLog.treeSize,
    await anchoredSize(components, auditLog),
    ...signedOnce.map(({ checkpoint }) => checkpoint.treeSize),
  );
  const enough = shown.filter(({ signed }) => signed.checkpoint.treeSize >= atLeast);
  if (enough.length === 0) {
    const most = Math.max(0, ...shown.map(({ signed }) => signed.checkpoint.treeSize));
    throw new MeshError(
      'not_found',
      `Cannot recover the log: ${peers.length} peers show ${most} entries of it, want ${atLeast}, which were signed here`,
      { is: most, want: atLeast },
    );
  }
  return fetchFrom(components, auditLog, { enough, signedOnce }, signal);
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

async function fetchFrom(
  components: RecoverComponents,
  { generation, vkey, treeSize: held }: Pick<AuditLog, 'generation' | 'vkey' | 'treeSize'>,
  { enough, signedOnce }: { readonly enough: readonly Shown[]; readonly signedOnce: readonly SignedCheckpoint[] },
  signal: AbortSignal,
): Promise<Recovered> {
  const { anchor, log } = components;
  const prefix = ownPrefix(generation);
  let failure: unknown;
  for (const { peer, signed } of enough) {
    try {
      for (const { checkpoint } of signedOnce) await verifyHeld(components, { peer, signed, signal }, checkpoint);
      const edge = await readableEdge(components, prefix, held);
      const before = edge.treeSize;
      // What halted it is settled by this, in the same write.
      const last = [{ type: 'del', key: new LogKeys(prefix).problem } as const, generationRow({ generation, vkey })];
      await copyLog(components, { prefix, peer, signed, edge, last, signal });
      await anchor.write(formatNote(signed.note), { sync: true });
      const { treeSize } = signed.checkpoint;
      log.warn({ peer, before, treeSize }, 'the audit log was recovered from a copy');
      return { before, treeSize };
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

async function anchoredSize(
  components: RecoverComponents,
  { generation }: Pick<AuditLog, 'generation'>,
): Promise<number> {
  const notes = (await anchoredNotes(components)) ?? [];
  return notes
    .filter((note) => note.generation === generation)
    .reduce((most, { treeSize }) => Math.max(most, treeSize), 0);
}
