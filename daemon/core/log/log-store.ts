/** What is held of one log: the own one, or a copy of another's. */
import { limits, MeshError } from '../../../protocol/index.ts';
import {
  formatBundle,
  formatTilePath,
  HASH_BYTES,
  parseCheckpoint,
  proveConsistency,
  proveInclusion,
  rootFromTiles,
  type SignedCheckpoint,
  TILE_WIDTH,
  TileNodes,
  type TilePlace,
  type TileReader,
} from '../../../protocol/log/index.ts';
import type { Store } from '../../ports.ts';
import { LogKeys, parseU64 } from './log-rows.ts';

/** Reads of what is on disk; nothing beyond `treeSize` shows. Errors of every read: store_corrupt, closed. */
export interface LogStore extends TileReader {
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
  /** The first ones released from this size on, smallest first, at most `count`. */
  checkpoints(from: number, count: number): Promise<SignedCheckpoint[]>;
}

export interface LogStoreComponents {
  readonly store: Store;
  /** Below which the rows of this log lie. */
  readonly prefix: Uint8Array;
  /** How many leaves of what the rows hold show. */
  readonly treeSize: () => number;
}

export interface LogStoreOptions {
  /** Tiles kept in memory with their nodes, 16.5 KiB each. Default LOG_TILES_CACHED_MAX. */
  readonly tilesCachedMax?: number;
}

export const createLogStore = (components: LogStoreComponents, options: LogStoreOptions = {}): LogStore =>
  new StoredLog(components, options);

class StoredLog implements LogStore {
  readonly #store: Store;
  readonly #keys: LogKeys;
  readonly #treeSize: () => number;
  readonly #tilesCachedMax: number;
  /** By level and index; the one asked for last is last. */
  readonly #tiles = new Map<string, TileNodes>();

  constructor(
    { store, prefix, treeSize }: LogStoreComponents,
    { tilesCachedMax = limits.LOG_TILES_CACHED_MAX }: LogStoreOptions,
  ) {
    this.#store = store;
    this.#keys = new LogKeys(prefix);
    this.#treeSize = treeSize;
    this.#tilesCachedMax = tilesCachedMax;
  }

  get treeSize(): number {
    return this.#treeSize();
  }

  async entry(index: number): Promise<Uint8Array | undefined> {
    if (!(Number.isSafeInteger(index) && index >= 0 && index < this.treeSize)) return undefined;
    const bytes = await this.#store.get(this.#keys.entry(index));
    if (bytes === undefined) throw missing(`entry ${index}`);
    return bytes;
  }

  async *entries(from: number, to: number): AsyncGenerator<Uint8Array, void, undefined> {
    let index = Math.max(0, from);
    const end = Math.min(to, this.treeSize);
    if (!(index < end)) return;
    for await (const [key, value] of this.#store.range(this.#keys.entry(index), this.#keys.entry(end))) {
      if (parseU64(this.#keys.rest(key), 'the index of an entry') !== index) break;
      yield value;
      index++;
    }
    if (index < end) throw missing(`entry ${index}`);
  }

  async indexOf(id16: Uint8Array): Promise<number | undefined> {
    const value = await this.#store.get(this.#keys.id(id16));
    if (value === undefined) return undefined;
    const index = parseU64(value, 'the index of an id');
    return index < this.treeSize ? index : undefined; // written with entries that are about to show
  }

  async tile(place: TilePlace): Promise<Uint8Array | undefined> {
    formatTilePath(place); // refuses what is no place of a tile
    const { level, index, width } = place;
    if (width > this.#widthOf(place)) return undefined;
    if (level !== 'entries') return (await this.#row(level, index, width)).subarray(0, width * HASH_BYTES);
    const entries: Uint8Array[] = [];
    for await (const entry of this.entries(index * TILE_WIDTH, index * TILE_WIDTH + width)) entries.push(entry);
    return formatBundle(entries);
  }

  async nodes(place: TilePlace): Promise<TileNodes | undefined> {
    const { level, index, width } = place;
    if (level === 'entries' || width > this.#widthOf(place)) return undefined;
    const name = `${level}/${index}`;
    const held = this.#tiles.get(name);
    const isWideEnough = held !== undefined && held.width >= width; // what was there stays as it is when a tile grows
    const nodes = isWideEnough ? held : nodesOf(await this.#row(level, index, width));
    this.#tiles.delete(name);
    this.#tiles.set(name, nodes);
    for (const oldest of this.#tiles.keys()) {
      if (this.#tiles.size <= this.#tilesCachedMax) break;
      this.#tiles.delete(oldest);
    }
    return nodes;
  }

  async proveInclusion(leafIndex: number, treeSize = this.treeSize): Promise<Uint8Array[]> {
    this.#verifySize(treeSize);
    return proveInclusion(leafIndex, treeSize, this);
  }

  async proveConsistency(oldSize: number, newSize = this.treeSize): Promise<Uint8Array[]> {
    this.#verifySize(newSize);
    return proveConsistency(oldSize, newSize, this);
  }

  async rootAt(treeSize: number): Promise<Uint8Array> {
    this.#verifySize(treeSize);
    return rootFromTiles(treeSize, this);
  }

  async checkpointAt(treeSize: number): Promise<SignedCheckpoint | undefined> {
    if (!(Number.isSafeInteger(treeSize) && treeSize >= 0 && treeSize <= this.treeSize)) return undefined;
    const note = await this.#store.get(this.#keys.checkpoint(treeSize));
    return note === undefined ? undefined : parseRow(note, treeSize);
  }

  async checkpoints(from: number, count: number): Promise<SignedCheckpoint[]> {
    const found: SignedCheckpoint[] = [];
    for await (const [key, note] of this.#store.range(this.#keys.checkpoint(from), this.#keys.end('checkpoint'))) {
      if (found.length === count) break;
      found.push(parseRow(note, parseU64(this.#keys.rest(key), 'the size of a checkpoint')));
    }
    return found;
  }

  /** At least as many hashes as that; a tile that has grown since shows more. */
  async #row(level: number, index: number, width: number): Promise<Uint8Array> {
    const bytes = await this.#store.get(this.#keys.tile(level, index));
    const name = `tile/${level}/${index}`;
    if (bytes === undefined) throw missing(name);
    if (bytes.length % HASH_BYTES !== 0 || bytes.length < width * HASH_BYTES || bytes.length > TILE_WIDTH * HASH_BYTES)
      throw new MeshError(
        'store_corrupt',
        `Cannot read ${name}: it has ${bytes.length} bytes, want ${width * HASH_BYTES}`,
        { place: name },
      );
    return bytes;
  }

  #widthOf({ level, index }: TilePlace): number {
    const hashes = Math.floor(this.treeSize / (level === 'entries' ? 1 : TILE_WIDTH ** level));
    return Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH);
  }

  #verifySize(treeSize: number): void {
    if (!(Number.isSafeInteger(treeSize) && treeSize >= 0 && treeSize <= this.treeSize))
      throw new MeshError('bad_proof', `Cannot prove anything in a tree of ${treeSize}: the log has ${this.treeSize}`, {
        is: treeSize,
        want: this.treeSize,
      });
  }
}

const nodesOf = (bytes: Uint8Array): TileNodes => new TileNodes(bytes, bytes.length / HASH_BYTES);

function parseRow(note: Uint8Array, treeSize: number): SignedCheckpoint {
  const place = `checkpoint ${treeSize}`;
  try {
    const signed = parseCheckpoint(note);
    if (signed.checkpoint.treeSize === treeSize) return signed;
  } catch (cause) {
    throw new MeshError('store_corrupt', `Cannot read ${place}: it is no checkpoint`, { place }, { cause });
  }
  throw new MeshError('store_corrupt', `Cannot read ${place}: it is of another size`, { place });
}

const missing = (place: string): MeshError =>
  new MeshError('store_corrupt', `Cannot read ${place}: it is missing`, { place });
