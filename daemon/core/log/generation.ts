/**
 * Which log is the own one. A log whose history is lost, or whose key is, goes on as the next generation:
 *
 *   A   {"generation", "vkey"}   of the log that is written now
 */
import { equalBytes, type IsSignatureValid, isMeshError, MeshError, rawKeyOf } from '../../../protocol/index.ts';
import {
  type Checkpoint,
  formatNote,
  formatVkey,
  logVkey,
  parseCheckpoint,
  parseLogOrigin,
  type SignedCheckpoint,
  type Vkey,
  verifyNote,
} from '../../../protocol/log/index.ts';
import type { Anchor, AnchorNote, Signer, Store, StoreWrite } from '../../ports.ts';
import type { LogProblem } from './audit-log.ts';
import { generationOf, LogKeys, OWN_ROWS, ownPrefix } from './log-rows.ts';

const ROW = Uint8Array.of(0x41); // "A"

export interface Generation {
  readonly generation: number;
  readonly vkey: Vkey;
}

interface Components {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly signer: Signer;
  readonly isSignatureValid: IsSignatureValid;
}

export const generationRow = ({ generation, vkey }: Generation): StoreWrite => ({
  type: 'put',
  key: ROW,
  value: new TextEncoder().encode(JSON.stringify({ generation, vkey: formatVkey(vkey) })),
});

/** Undefined: there never was a log here, nor a note of one in the anchor. Errors: permissions, closed. */
export async function findGeneration(
  components: Components,
): Promise<(Generation & { readonly problem?: LogProblem }) | undefined> {
  const { store, signer } = components;
  const row = await store.get(ROW);
  const newest = await newestWithRows(store);
  if (row === undefined && newest === undefined) {
    const lost = (await anchoredNotes(components))?.findLast(({ treeSize }) => treeSize > 0);
    if (lost === undefined) return undefined;
    const message = `Cannot go on with the log: the anchor holds a checkpoint of ${lost.treeSize} leaves, the database has no log`;
    return { generation: lost.generation, vkey: lost.vkey, problem: problemOf(message, 'anchor') };
  }
  const named = row === undefined ? undefined : parseRow(row);
  const generation = newest ?? named?.generation ?? 0;
  const vkey = named?.generation === generation ? named.vkey : await vkeyOf(components, generation);
  const wrong = (is: string, want: string, place = 'generation') => ({
    generation,
    vkey,
    problem: problemOf(`Cannot go on with the log: ${is}, want ${want}`, place),
  });
  if (named === undefined) return wrong('its generation row is missing or is not what was written', 'a generation');
  if (named.generation !== newest)
    return wrong(`rows are of generation ${newest ?? 'none'}`, `${named.generation}, which is the one written last`);
  if (!equalBytes(named.vkey.publicKey, rawKeyOf(signer.publicKey)))
    return wrong('it was signed with another key', "the key ring's", 'key');
  return { generation, vkey };
}

/**
 * What the next log is called. A number is used again only where no tree was signed under it; `usedMax` is the greatest
 * that is known to be used from elsewhere, since rows and anchor may both be those of an older copy.
 */
export async function nextGeneration(components: Components, usedMax = -1): Promise<Generation> {
  const row = await components.store.get(ROW);
  const used = [
    usedMax,
    (row === undefined ? undefined : parseRow(row))?.generation,
    await newestWithRows(components.store),
    ...((await anchoredNotes(components)) ?? []).map((note) =>
      note.treeSize > 0 ? note.generation : note.generation - 1,
    ),
  ];
  const generation = 1 + used.reduce<number>((most, each) => Math.max(most, each ?? -1), -1);
  return { generation, vkey: logVkey(rawKeyOf(components.signer.publicKey), generation) };
}

export interface AnchoredNote extends Checkpoint, Generation {
  readonly isReleased: boolean;
}

/** Notes of logs of ours whose signature verifies; what was cut short is left out. Undefined: there is no anchor. */
export async function anchoredNotes({
  anchor,
  isSignatureValid,
}: Pick<Components, 'anchor' | 'isSignatureValid'>): Promise<AnchoredNote[] | undefined> {
  const notes = await anchor.read();
  return notes
    ?.map((note) => verified(note, isSignatureValid))
    .filter((note) => note !== undefined)
    .sort((a, b) => a.generation - b.generation || a.treeSize - b.treeSize);
}

/** As it is anchored: with the log's line alone, so that it fits a slot. */
export const ownNote = ({ checkpoint: { origin }, note }: SignedCheckpoint): Uint8Array =>
  formatNote({ ...note, signatures: note.signatures.filter(({ name }) => name === origin) });

function verified(anchored: AnchorNote, isSignatureValid: IsSignatureValid): AnchoredNote | undefined {
  try {
    const { checkpoint, note } = parseCheckpoint(anchored.note);
    const name = parseLogOrigin(checkpoint.origin);
    if (name === undefined) return undefined;
    verifyNote(note, [name.vkey], isSignatureValid);
    const { generation, vkey } = name;
    return { ...checkpoint, generation, vkey, isReleased: anchored.isReleased };
  } catch (error) {
    if (isMeshError(error)) return undefined; // not what a log of ours signs: it says nothing about one
    throw error;
  }
}

async function newestWithRows(store: Store): Promise<number | undefined> {
  let newest: number | undefined;
  for (;;) {
    const [start, end] = OWN_ROWS;
    const next = await firstKey(store, newest === undefined ? start : ownPrefix(newest + 1), end);
    if (next === undefined) return newest;
    newest = generationOf(next);
  }
}

/** Errors: closed. */
export async function firstKey(store: Store, gte: Uint8Array, lt: Uint8Array): Promise<Uint8Array | undefined> {
  for await (const [key] of store.range(gte, lt)) return key;
  return undefined;
}

/** Undefined unless it is what `generationRow` writes. */
function parseRow(row: Uint8Array): Generation | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(row));
  } catch {
    return undefined; // the row is damaged: the caller says so
  }
  if (typeof value !== 'object' || value === null || !('vkey' in value) || typeof value.vkey !== 'string')
    return undefined;
  const name = parseLogOrigin(value.vkey.split('+', 1)[0] ?? '');
  if (name === undefined) return undefined;
  const { generation, vkey } = name;
  const again = generationRow({ generation, vkey });
  return again.type === 'put' && equalBytes(again.value, row) ? { generation, vkey } : undefined;
}

/** By the head, if there is one to read; otherwise by the key ring. */
async function vkeyOf({ store, signer }: Components, generation: number): Promise<Vkey> {
  const head = await store.get(new LogKeys(ownPrefix(generation)).head);
  try {
    const name = head === undefined ? undefined : parseLogOrigin(parseCheckpoint(head).checkpoint.origin);
    if (name?.generation === generation) return name.vkey;
  } catch (error) {
    if (!isMeshError(error)) throw error; // an unreadable head names nobody
  }
  return logVkey(rawKeyOf(signer.publicKey), generation);
}

export const problemOf = (message: string, place: string): LogProblem => ({ code: 'log_halted', message, place });

export const haltedError = ({ code, message, place }: LogProblem): MeshError =>
  new MeshError(code, message, place === undefined ? {} : { place });
