/**
 * The way back for an own log that was rolled back or lost: what is missing comes from those who mirror it (SPEC "Mirrors
 * and recovery"). Only towards a checkpoint that the own key signed, which holds what is here and nothing less than the
 * anchor has seen: so nothing is signed twice.
 */
import { type IsSignatureValid, isMeshError, MeshError } from '../../../protocol/index.ts';
import {
  formatNote,
  type SignedCheckpoint,
  TreeEdge,
  type TreeHasher,
  verifyNote,
} from '../../../protocol/log/index.ts';
import type { Anchor, Logger, Store } from '../../ports.ts';
import type { AuditLog } from './audit-log.ts';
import { copyLog, edgeOfRows } from './copy-log.ts';
import { anchoredNotes, generationRow } from './generation.ts';
import type { LogReader } from './log-read.ts';
import { LogKeys, ownPrefix } from './log-rows.ts';

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
  const atLeast = Math.max(1, auditLog.treeSize, await anchoredSize(components, auditLog));
  const shown = await shownBy(components, auditLog, peers, signal);
  const enough = shown.filter(({ signed }) => signed.checkpoint.treeSize >= atLeast);
  if (enough.length === 0) {
    const most = Math.max(0, ...shown.map(({ signed }) => signed.checkpoint.treeSize));
    throw new MeshError(
      'not_found',
      `Cannot recover the log: ${peers.length} peers show ${most} entries of it, want ${atLeast}, which were signed here`,
      { is: most, want: atLeast },
    );
  }
  return fetchFrom(components, auditLog, enough, signal);
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
  shown: readonly Shown[],
  signal: AbortSignal,
): Promise<Recovered> {
  const { anchor, log } = components;
  const prefix = ownPrefix(generation);
  let failure: unknown;
  for (const { peer, signed } of shown) {
    try {
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
