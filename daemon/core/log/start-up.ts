/**
 * What is looked at before a log goes on: that the rows which it builds on are the ones that were written, that there
 * are no others beyond them, and that the anchor has seen nothing newer. The first thing that is wrong is named; then
 * nothing is signed, and what can be read still is.
 */
import {
  compareBytes,
  equalBytes,
  fromBase64url,
  type IsSignatureValid,
  isMeshError,
  MeshError,
  toBase64url,
} from '../../../protocol/index.ts';
import {
  HASH_BYTES,
  parseCheckpoint,
  type SignedCheckpoint,
  TILE_WIDTH,
  TileNodes,
  TreeEdge,
  type TreeHasher,
  verifyNote,
} from '../../../protocol/log/index.ts';
import type { Anchor, Store } from '../../ports.ts';
import type { LogProblem } from './audit-log.ts';
import { anchoredNotes, firstKey, type Generation, haltedError, problemOf } from './generation.ts';
import { LogKeys, ownPrefix, parseU64 } from './log-rows.ts';
import { createLogStore, type LogStore } from './log-store.ts';

export interface StartUpComponents {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly isSignatureValid: IsSignatureValid;
  readonly hasher: TreeHasher;
  /** The id (16 bytes) of an entry. */
  readonly idOf: (entry: Uint8Array) => Uint8Array;
}

export interface Inspected {
  /** Leaves that can be read; without a readable head, as many entries as there are in a row. */
  readonly treeSize: number;
  /** Its signature verifies. */
  readonly head: SignedCheckpoint | undefined;
  readonly released: SignedCheckpoint | undefined;
  /** The newest released one that a witness cosigned. */
  readonly cosigned: SignedCheckpoint | undefined;
  /** Absent with a problem. */
  readonly edge: TreeEdge | undefined;
  /** Greater ids are unused; undefined: nothing is known. */
  readonly idMax: Uint8Array | undefined;
  readonly problem: LogProblem | undefined;
}

const LATER_IDS_MAX = 4_096; // index rows read past the newest bundle's; clocks that differ leave a few

/** Errors: closed, permissions (of the anchor). */
export async function inspectLog(components: StartUpComponents, generation: Generation): Promise<Inspected> {
  const inspection = new Inspection(components, generation);
  const problem = await inspection.run();
  return {
    treeSize: inspection.head?.checkpoint.treeSize ?? (await inspection.countEntries()),
    head: inspection.head,
    released: inspection.released ?? (problem === undefined ? undefined : await inspection.releasedThere()),
    cosigned: inspection.cosigned,
    edge: problem === undefined ? inspection.edge : undefined,
    idMax: inspection.idMax,
    problem,
  };
}

/** Codes of what is found wrong with the rows; others are of the store and the file system as such. */
const CONTRADICTIONS = new Set(['log_halted', 'store_corrupt', 'malformed', 'noncanonical', 'schema', 'too_large']);

class Inspection {
  readonly #store: Store;
  readonly #keys: LogKeys;
  readonly #components: StartUpComponents;
  readonly #generation: Generation;
  head: SignedCheckpoint | undefined;
  released: SignedCheckpoint | undefined;
  cosigned: SignedCheckpoint | undefined;
  edge: TreeEdge | undefined;
  idMax: Uint8Array | undefined;

  constructor(components: StartUpComponents, generation: Generation) {
    this.#components = components;
    this.#store = components.store;
    this.#keys = new LogKeys(ownPrefix(generation.generation));
    this.#generation = generation;
  }

  async run(): Promise<LogProblem | undefined> {
    try {
      await this.#inspect();
      return undefined;
    } catch (error) {
      if (!isMeshError(error) || !CONTRADICTIONS.has(error.code)) throw error;
      const { place } = error.data;
      return problemOf(error.message, typeof place === 'string' ? place : 'database');
    }
  }

  async #inspect(): Promise<void> {
    const head = await this.#readHead();
    this.head = head;
    const { treeSize, root } = head.checkpoint;
    const tiles = await this.#readLastTiles(treeSize);
    const partial = tiles.map((bytes) => (bytes.length < TILE_WIDTH * HASH_BYTES ? bytes : undefined));
    const edge = TreeEdge.resume(treeSize, partial, this.#components.hasher);
    if (!equalBytes(edge.root(), root)) throw halted('tiles', 'the last tiles lead to another root', "the head's");
    await this.#verifyNothingBeyond(treeSize, tiles.length);
    await this.#verifyLastBundle(treeSize, tiles[0] ?? new Uint8Array());
    const files = createLogStore({
      store: this.#store,
      prefix: ownPrefix(this.#generation.generation),
      treeSize: () => treeSize,
    });
    this.released = await this.#readReleased(files);
    this.cosigned = await this.#checkpointNamedBy(this.#keys.cosigned); // only says whom to ask: nothing rests on it
    await this.#verifyAnchor(files);
    await this.#verifyUnhalted();
    this.edge = edge;
  }

  async #readHead(): Promise<SignedCheckpoint> {
    const bytes = await this.#store.get(this.#keys.head);
    if (bytes === undefined) throw halted('head', 'it is missing', 'the signed head');
    return this.#parse(bytes, 'head');
  }

  #parse(bytes: Uint8Array, place: string): SignedCheckpoint {
    const { vkey } = this.#generation;
    try {
      const signed = parseCheckpoint(bytes);
      verifyNote(signed.note, [vkey], this.#components.isSignatureValid);
      if (signed.checkpoint.origin === vkey.name) return signed;
    } catch (cause) {
      if (!isMeshError(cause)) throw cause;
      throw halted(place, 'it is not what the log signed', 'a checkpoint under its key', cause);
    }
    throw halted(place, 'it is of another log', `"${vkey.name}"`);
  }

  /** The last tile of each level, full or not, each the one that the level above names. */
  async #readLastTiles(treeSize: number): Promise<Uint8Array[]> {
    const tiles: Uint8Array[] = [];
    for (let hashes = treeSize; hashes > 0; hashes = Math.floor(hashes / TILE_WIDTH)) {
      const level = tiles.length;
      const index = Math.floor((hashes - 1) / TILE_WIDTH);
      const want = (hashes - index * TILE_WIDTH) * HASH_BYTES;
      const bytes = await this.#store.get(this.#keys.tile(level, index));
      if (bytes?.length !== want)
        throw halted(
          `tile/${level}/${index}`,
          bytes === undefined ? 'it is missing' : `it has ${bytes.length} bytes`,
          want,
        );
      tiles.push(bytes);
    }
    for (const [level, bytes] of tiles.entries()) {
      if (bytes.length < TILE_WIDTH * HASH_BYTES) continue;
      const named = tiles[level + 1]?.subarray(-HASH_BYTES) ?? new Uint8Array();
      if (!equalBytes(new TileNodes(bytes, TILE_WIDTH).node(8, 0), named))
        throw halted(
          `tile/${level}/${Math.floor(treeSize / TILE_WIDTH ** (level + 1)) - 1}`,
          'it has another root',
          'the one in the level above',
        );
    }
    return tiles;
  }

  /** What a head older than the rows leaves behind: a batch is written whole or not at all. */
  async #verifyNothingBeyond(treeSize: number, levels: number): Promise<void> {
    const entry = await firstKey(this.#store, this.#keys.entry(treeSize), this.#keys.end('entry'));
    const tile = await this.#firstTileBeyond(treeSize, levels);
    if (entry !== undefined)
      throw halted(
        `entry ${parseU64(this.#keys.rest(entry), 'the index of an entry')}`,
        `the head is of ${treeSize} leaves`,
        'one of all entries',
      );
    if (tile !== undefined) throw halted(tile, `the head is of ${treeSize} leaves`, 'one of all tiles');
  }

  async #firstTileBeyond(treeSize: number, levels: number): Promise<string | undefined> {
    for (let level = 0; level <= levels; level++) {
      const used = level === levels ? 0 : Math.ceil(Math.floor(treeSize / TILE_WIDTH ** level) / TILE_WIDTH);
      const lt = level === levels ? this.#keys.end('tile') : this.#keys.tile(level + 1, 0);
      if ((await firstKey(this.#store, this.#keys.tile(level, used), lt)) !== undefined) return `tile/${level}/${used}`;
    }
    return undefined;
  }

  async #verifyLastBundle(treeSize: number, tile: Uint8Array): Promise<void> {
    const { hasher, idOf } = this.#components;
    const first = treeSize - tile.length / HASH_BYTES;
    let newest = new Uint8Array();
    for (let index = first; index < treeSize; index++) {
      const entry = await this.#store.get(this.#keys.entry(index));
      if (entry === undefined) throw halted(`entry ${index}`, 'it is missing', `${treeSize} entries`);
      const hash = tile.subarray((index - first) * HASH_BYTES, (index - first + 1) * HASH_BYTES);
      if (!equalBytes(hasher.leafHash(entry), hash))
        throw halted(`entry ${index}`, 'it has another hash', "the tree's");
      const id = readId(idOf, entry, index);
      const row = await this.#store.get(this.#keys.id(id));
      if (row === undefined || parseU64(row, `the index of the id of entry ${index}`) !== index)
        throw halted(`id of entry ${index}`, 'it is missing or leads elsewhere', `${index}`);
      if (compareBytes(id, newest) > 0) newest = Uint8Array.from(id);
    }
    await this.#readLaterIds(treeSize, newest);
  }

  /** Ids carry their time, so those of rows beyond the head come last. */
  async #readLaterIds(treeSize: number, from: Uint8Array): Promise<void> {
    let idMax = from;
    let count = 0;
    for await (const [key, value] of this.#store.range(this.#keys.id(from), this.#keys.end('id'))) {
      if (parseU64(value, 'the index of an id') >= treeSize)
        throw halted('ids', `one is of leaf ${parseU64(value, 'the index of an id')}`, `leaves below ${treeSize}`);
      idMax = this.#keys.rest(key);
      if (++count > LATER_IDS_MAX) return;
    }
    this.idMax = Uint8Array.from(idMax);
  }

  async #readReleased(files: LogStore): Promise<SignedCheckpoint | undefined> {
    const row = await this.#store.get(this.#keys.released);
    const treeSize = row === undefined ? -1 : parseU64(row, 'the size of the newest released checkpoint');
    const beyond = await firstKey(this.#store, this.#keys.checkpoint(treeSize + 1), this.#keys.end('checkpoint'));
    if (beyond !== undefined || treeSize > files.treeSize)
      throw halted(
        `checkpoint ${beyond === undefined ? treeSize : parseU64(this.#keys.rest(beyond), 'the size of a checkpoint')}`,
        'it was released, and the log names another as the newest',
        `one of at most ${files.treeSize} leaves`,
      );
    if (row === undefined) return undefined;
    const place = `checkpoint ${treeSize}`;
    const note = await this.#store.get(this.#keys.checkpoint(treeSize));
    if (note === undefined) throw halted(place, 'it is missing', 'the newest released one');
    const signed = this.#parse(note, place);
    if (signed.checkpoint.treeSize !== treeSize)
      throw halted(place, `it is of ${signed.checkpoint.treeSize} leaves`, treeSize);
    await this.#verifyRoot(files, treeSize, signed.checkpoint.root, place);
    return signed;
  }

  /** With a problem: what was released stays so, whatever else is wrong. Undefined: it cannot be read either. */
  releasedThere(): Promise<SignedCheckpoint | undefined> {
    return this.#checkpointNamedBy(this.#keys.released);
  }

  /** Undefined also where either row cannot be read. */
  async #checkpointNamedBy(key: Uint8Array): Promise<SignedCheckpoint | undefined> {
    try {
      const row = await this.#store.get(key);
      if (row === undefined) return undefined;
      const treeSize = parseU64(row, 'the size of a checkpoint');
      const note = await this.#store.get(this.#keys.checkpoint(treeSize));
      return note === undefined ? undefined : this.#parse(note, `checkpoint ${treeSize}`);
    } catch (error) {
      if (isMeshError(error) && CONTRADICTIONS.has(error.code)) return undefined;
      throw error;
    }
  }

  async #verifyAnchor(files: LogStore): Promise<void> {
    const { generation, vkey } = this.#generation;
    const notes = await anchoredNotes(this.#components);
    if (notes === undefined) throw halted('anchor', 'it is missing', 'the file beside the database');
    const newer = notes.find((note) => note.generation > generation && note.treeSize > 0);
    if (newer !== undefined)
      throw halted(
        'anchor',
        `it holds a checkpoint of generation ${newer.generation}`,
        `${generation}, as in the database`,
      );
    const own = notes.filter((note) => note.generation === generation);
    if (own.length === 0) throw halted('anchor', 'it holds no checkpoint of this log', 'one');
    for (const { treeSize, root, origin } of own.toReversed()) {
      if (origin !== vkey.name) throw halted('anchor', `it holds a checkpoint of "${origin}"`, `"${vkey.name}"`);
      if (treeSize > files.treeSize)
        throw halted(
          'anchor',
          `it holds a checkpoint of ${treeSize} leaves, the database has ${files.treeSize} and is an older copy`,
          'the newer one',
        );
      await this.#verifyRoot(files, treeSize, root, 'anchor');
    }
  }

  async #verifyRoot(files: LogStore, treeSize: number, root: Uint8Array, place: string): Promise<void> {
    if (!equalBytes(await files.rootAt(treeSize), root))
      throw halted(place, `it signs another root for ${treeSize} leaves`, "the tree's");
  }

  async #verifyUnhalted(): Promise<void> {
    const row = await this.#store.get(this.#keys.problem);
    if (row !== undefined) throw haltedError(parseProblem(row));
  }

  /** Entries without a gap from the first on. */
  async countEntries(): Promise<number> {
    const has = async (index: number): Promise<boolean> =>
      (await firstKey(this.#store, this.#keys.entry(index), this.#keys.entry(index + 1))) !== undefined;
    let [low, high] = [0, 1];
    while (await has(high - 1)) [low, high] = [high, 2 * high];
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (await has(middle - 1)) low = middle;
      else high = middle;
    }
    return low;
  }
}

function readId(idOf: StartUpComponents['idOf'], entry: Uint8Array, index: number): Uint8Array {
  try {
    return idOf(entry);
  } catch (cause) {
    throw halted(`entry ${index}`, 'its id cannot be read', 'an audit entry', cause);
  }
}

const halted = (place: string, is: string, want: number | string, cause?: unknown): MeshError =>
  new MeshError('log_halted', `Cannot go on with the log at "${place}": ${is}, want ${want}`, { place }, { cause });

export const formatProblem = ({ message, place, note }: LogProblem): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ message, place, ...(note !== undefined && { note: toBase64url(note) }) }));

/** The note for which a log was halted, if there was one, whatever else is wrong with it. */
export async function haltingNote(store: Store, generation: number): Promise<Uint8Array | undefined> {
  const row = await store.get(new LogKeys(ownPrefix(generation)).problem);
  return row === undefined ? undefined : parseProblem(row).note;
}

/** A row that cannot be read halts as well: it is there. */
function parseProblem(row: Uint8Array): LogProblem {
  const unreadable = problemOf('Cannot go on with the log: it was halted, and the reason cannot be read', 'problem');
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(row));
    if (typeof value !== 'object' || value === null || !('message' in value) || typeof value.message !== 'string')
      return unreadable;
    const place = 'place' in value && typeof value.place === 'string' ? value.place : 'problem';
    const note = 'note' in value && typeof value.note === 'string' ? fromBase64url(value.note) : undefined;
    return { ...problemOf(value.message, place), ...(note !== undefined && { note }) };
  } catch {
    return unreadable; // not JSON
  }
}
