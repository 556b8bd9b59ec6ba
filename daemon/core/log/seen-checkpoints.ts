/**
 * The checkpoints of others' logs that this daemon has seen, as evidence and to compare with: of each log the newest, and
 * one for each doubling of its size, so that whatever is shown later has a neighbour.
 */
import { concatBytes, equalBytes, isMeshError, limits, MeshError, toHex } from '../../../protocol/index.ts';
import {
  formatNote,
  type Note,
  type NoteSignature,
  originHash,
  parseCheckpoint,
  type SignedCheckpoint,
} from '../../../protocol/log/index.ts';
import type { Logger, Store, StoreWrite } from '../../ports.ts';
import { Serial } from '../serial.ts';

export interface Seen {
  readonly treeSize: number;
  readonly root: Uint8Array;
  /** Known to lie on the one history that this daemon follows. */
  isPlaced: boolean;
  /** Peers that showed it, the last one first. */
  senders: readonly string[];
  /** Questions about it that nobody answered, and when the next may be asked: monotonicMs. */
  tries: number;
  notBeforeMs: number;
}

export interface SeenLog {
  readonly origin: string;
  /** Of the origin: hex. */
  readonly hash: string;
  /** By tree size, in the order in which they were noticed. */
  readonly rows: Map<number, Seen>;
}

/** Rows: `k` hash32 of the origin, size u64be → 1 if placed, else 0; note with the lines that came along. */
const PREFIX = 0x6b;
const HASH_BYTES = 32;

export class SeenCheckpoints {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #originsMax: number;
  readonly #rows = new Serial();
  readonly #logs = new Map<string, SeenLog>();

  private constructor(store: Store, log: Logger, originsMax: number) {
    this.#store = store;
    this.#log = log;
    this.#originsMax = originsMax;
  }

  /** Errors: store_corrupt. */
  static async open(
    { store, log }: { readonly store: Store; readonly log: Logger },
    originsMax: number,
  ): Promise<SeenCheckpoints> {
    const seen = new SeenCheckpoints(store, log, originsMax);
    for await (const [key, value] of store.range(Uint8Array.of(PREFIX), Uint8Array.of(PREFIX + 1)))
      seen.#enter(key, value);
    return seen;
  }

  get logs(): number {
    return this.#logs.size;
  }

  get checkpoints(): number {
    return [...this.#logs.values()].reduce((sum, { rows }) => sum + rows.size, 0);
  }

  byOrigin(origin: string): SeenLog | undefined {
    return this.#logs.get(toHex(originHash(origin)));
  }

  byHash(hash: string): SeenLog | undefined {
    return this.#logs.get(hash);
  }

  /** `contradicted`: another checkpoint of this very size is held, and stays. */
  add({ checkpoint, note }: SignedCheckpoint, sender: string | undefined) {
    const log = this.#touch(checkpoint.origin);
    const { treeSize, root } = checkpoint;
    const held = log.rows.get(treeSize);
    if (held !== undefined && !equalBytes(held.root, root)) return { log, contradicted: held };
    const seen = held ?? { treeSize, root, isPlaced: false, senders: [], tries: 0, notBeforeMs: 0 };
    if (sender !== undefined)
      seen.senders = [...new Set([sender, ...seen.senders])].slice(0, limits.MONITOR_SENDERS_MAX);
    if (held !== undefined) {
      if (note.signatures.length > 1) this.#merge(log, held, note.signatures);
      return { log, contradicted: undefined };
    }
    seen.isPlaced = log.rows.size === 0; // what is seen first is believed until it is contradicted
    log.rows.set(treeSize, seen);
    this.#write([{ type: 'put', key: keyOf(log, treeSize), value: valueOf(seen, formatNote(cut(log.origin, note))) }]);
    this.#prune(log);
    return { log, contradicted: undefined };
  }

  /** Those of which it is not known whether they agree, newest first. */
  unplaced({ rows }: SeenLog): Seen[] {
    return [...rows.values()].filter(({ isPlaced }) => !isPlaced).reverse();
  }

  /** To compare with: the next larger one that is placed, else the largest. */
  nearestOnBranch({ rows }: SeenLog, treeSize: number): Seen | undefined {
    const placed = [...rows.values()].filter((one) => one.isPlaced && one.treeSize !== treeSize);
    const above = placed.filter((one) => one.treeSize > treeSize);
    return above.length > 0
      ? above.reduce((least, one) => (one.treeSize < least.treeSize ? one : least))
      : placed.reduce<Seen | undefined>(
          (most, one) => (most === undefined || one.treeSize > most.treeSize ? one : most),
          undefined,
        );
  }

  place(log: SeenLog, seen: Seen): void {
    seen.isPlaced = true;
    this.#change(log, seen, (note) => note);
    this.#prune(log);
  }

  /** What was never placed is forgotten, as if it had not been seen. */
  forgetUnplaced(log: SeenLog): void {
    this.#remove(log, this.unplaced(log));
  }

  /** As it came, with the lines of all who showed it. */
  noteOf(log: SeenLog, { treeSize }: Seen): Promise<Uint8Array | undefined> {
    return this.#rows.run(async () => (await this.#store.get(keyOf(log, treeSize)))?.slice(1));
  }

  async notes(log: SeenLog): Promise<Uint8Array[]> {
    const notes = await Promise.all([...log.rows.values()].map((seen) => this.noteOf(log, seen)));
    return notes.filter((note) => note !== undefined);
  }

  /** Of the largest tree. */
  async newestNote(log: SeenLog): Promise<Uint8Array | undefined> {
    const sizes = [...log.rows.keys()];
    const newest = log.rows.get(Math.max(...sizes));
    return newest === undefined ? undefined : this.noteOf(log, newest);
  }

  /** Resolves when all is written that was added before. */
  async close(): Promise<void> {
    await this.#rows.run(async () => {});
  }

  #enter(key: Uint8Array, value: Uint8Array): void {
    try {
      const { checkpoint } = parseCheckpoint(value.subarray(1));
      const { origin, treeSize, root } = checkpoint;
      const log = this.#touch(origin);
      if (!equalBytes(keyOf(log, treeSize), key))
        throw new MeshError('malformed', 'Cannot place the row: it is elsewhere');
      log.rows.set(treeSize, { treeSize, root, isPlaced: value[0] === 1, senders: [], tries: 0, notBeforeMs: 0 });
    } catch (cause) {
      if (!isMeshError(cause)) throw cause;
      const id = toHex(key);
      const message = `Cannot read row "${id}" of seen checkpoints: it holds none, or another`;
      throw new MeshError('store_corrupt', message, { id }, { cause });
    }
  }

  /** Becomes the one noticed last; beyond the bound the one noticed longest ago is forgotten. */
  #touch(origin: string): SeenLog {
    const hash = toHex(originHash(origin));
    const log = this.#logs.get(hash) ?? { origin, hash, rows: new Map<number, Seen>() };
    this.#logs.delete(hash);
    this.#logs.set(hash, log);
    if (this.#logs.size > this.#originsMax) {
      const [oldest] = this.#logs.values();
      if (oldest !== undefined) {
        this.#logs.delete(oldest.hash);
        this.#remove(oldest, [...oldest.rows.values()]);
      }
    }
    return log;
  }

  /** Keeps the largest, and below them of each doubling the smallest; of those not placed the ones noticed last. */
  #prune(log: SeenLog): void {
    const placed = [...log.rows.values()].filter(({ isPlaced }) => isPlaced).sort((a, b) => b.treeSize - a.treeSize);
    const smallest = new Map<number, Seen>();
    for (const seen of placed) smallest.set(Math.floor(Math.log2(seen.treeSize)), seen);
    const kept = new Set([...placed.slice(0, limits.MONITOR_NEWEST_MAX), ...smallest.values()]);
    this.#remove(log, [
      ...placed.filter((seen) => !kept.has(seen)),
      ...this.unplaced(log).slice(limits.MONITOR_UNPROVEN_MAX),
    ]);
  }

  #remove(log: SeenLog, gone: readonly Seen[]): void {
    if (gone.length === 0) return;
    for (const { treeSize } of gone) log.rows.delete(treeSize);
    this.#write(gone.map(({ treeSize }) => ({ type: 'del', key: keyOf(log, treeSize) })));
  }

  #merge(log: SeenLog, seen: Seen, lines: readonly NoteSignature[]): void {
    this.#change(log, seen, (bytes) => {
      const { note } = parseCheckpoint(bytes);
      // One of each witness: it may cosign the same again every few minutes.
      const known = new Set(note.signatures.map(({ name }) => name));
      const fresh = lines.filter(({ name }) => !known.has(name));
      return fresh.length === 0
        ? bytes
        : formatNote(cut(log.origin, { ...note, signatures: [...note.signatures, ...fresh] }));
    });
  }

  #change(log: SeenLog, seen: Seen, change: (note: Uint8Array) => Uint8Array): void {
    const key = keyOf(log, seen.treeSize);
    this.#run(async () => {
      const value = await this.#store.get(key);
      if (value === undefined) return; // forgotten meanwhile
      const changed = valueOf(seen, change(value.slice(1)));
      if (!equalBytes(changed, value)) await this.#store.batch([{ type: 'put', key, value: changed }], { sync: false });
    });
  }

  #write(writes: readonly StoreWrite[]): void {
    this.#run(() => this.#store.batch(writes, { sync: false }));
  }

  /** What is lost by a crash is shown again by others. */
  #run(work: () => Promise<void>): void {
    this.#rows.run(work).catch((error: unknown) => this.#log.error({ error }, 'a seen checkpoint cannot be written'));
  }
}

function keyOf({ hash, origin }: SeenLog, treeSize: number): Uint8Array {
  const key = new Uint8Array(1 + HASH_BYTES + 8);
  key[0] = PREFIX;
  key.set(originHash(origin), 1);
  new DataView(key.buffer).setBigUint64(1 + HASH_BYTES, BigInt(treeSize));
  if (hash.length !== 2 * HASH_BYTES) throw new MeshError('internal', `Cannot name a row: "${hash}" is no hash`);
  return key;
}

const valueOf = ({ isPlaced }: Seen, note: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(isPlaced ? 1 : 0), note);

/** The log's own line first, since that is what counts; of the others as many as a witness's row keeps. */
function cut(origin: string, { text, signatures }: Note): Note {
  const [own, others] = [true, false].map((isOwn) => signatures.filter(({ name }) => (name === origin) === isOwn));
  return { text, signatures: [...(own ?? []), ...(others ?? [])].slice(0, limits.WITNESS_NOTE_SIGNATURES_MAX) };
}
