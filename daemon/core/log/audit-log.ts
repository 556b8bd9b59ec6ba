/** The own log: what it holds it never changes, and what it signs it has written before. */
import { type ErrorCode, type IsSignatureValid, limits, MeshError } from '../../../protocol/index.ts';
import {
  createSignatureLine,
  createTreeHasher,
  emptyRoot,
  formatCheckpointText,
  formatNote,
  leafHash,
  nodeHash,
  type NoteSignature,
  noteMessage,
  parseCheckpoint,
  parseUuid7,
  type Sha256,
  type SignedCheckpoint,
  TreeEdge,
  type TreeHasher,
  type Vkey,
} from '../../../protocol/log/index.ts';
import type { Anchor, Clock, Logger, Signer, Store, StoreWrite, Timer } from '../../ports.ts';
import { Serial } from '../serial.ts';
import {
  anchoredNotes,
  findGeneration,
  type Generation,
  generationRow,
  haltedError,
  nextGeneration,
  ownNote,
} from './generation.ts';
import { LogKeys, ownPrefix, u64be } from './log-rows.ts';
import { createLogStore, type LogStore } from './log-store.ts';
import { type IdText, idText, RecentIds } from './recent-ids.ts';
import { formatProblem, type Inspected, inspectLog } from './start-up.ts';

/** Why nothing is signed any more. */
export interface LogProblem {
  readonly code: Extract<ErrorCode, 'log_halted'>;
  /** What was found, what was wanted. */
  readonly message: string;
  /** The row, file or witness that shows it. */
  readonly place?: string;
  /** A checkpoint under the own key that this log does not hold; it is not recovered to what does not hold it either. */
  readonly note?: Uint8Array;
}

/** What is appended; the log keeps these arrays, so nobody changes them any more. */
export interface NewEntry {
  readonly bytes: Uint8Array;
  readonly id16: Uint8Array;
}

export interface AppendOptions {
  /** Nobody waits for it: it goes with the next entry that somebody waits for, at the latest after LOG_GATHER_MS. */
  readonly isPatient?: boolean;
}

export interface AuditLog extends AsyncDisposable {
  readonly origin: string;
  readonly generation: number;
  readonly vkey: Vkey;
  /** Durable leaves. With a problem, those that can still be read. */
  readonly treeSize: number;
  /** Of the durable tree. Errors: log_halted, where no head can be read. */
  readonly root: Uint8Array;
  /** While there is one, `append` and `release` answer log_halted; reads go on. */
  readonly problem: LogProblem | undefined;
  readonly files: LogStore;

  /**
   * The leaf index, once the entry is on disk under a signed head.
   * Errors: busy (the queue is full), conflict (the id is used), too_large, log_halted, read_only (a write failed or the
   * log is closed: then nobody knows whether the entry is in it, until it is opened again).
   */
  append(entry: NewEntry, options?: AppendOptions): Promise<number>;
  /** The signed head of the durable tree; it may not be released. Errors: log_halted, where none can be read. */
  head(): SignedCheckpoint;
  /** The head, from now on for others to see: kept for good, and anchored outside the database. Errors: log_halted, read_only. */
  release(): Promise<SignedCheckpoint>;
  /** The newest released checkpoint, with the cosignatures known. */
  released(): SignedCheckpoint | undefined;
  /** The newest of those released that is known to be cosigned. */
  cosigned(): SignedCheckpoint | undefined;
  /**
   * Adds lines to the checkpoint released at this size, or puts them in place of earlier ones by the same keys; the
   * caller has verified them. Errors: not_found, too_large, log_halted, read_only.
   */
  addCosignatures(treeSize: number, lines: readonly NoteSignature[]): Promise<void>;
  /** Called after every batch that is on disk. */
  onGrown(call: (treeSize: number) => void): void;
  /**
   * Stops signing for good: a witness or peer has shown what contradicts this log. Kept over restarts, with the note of
   * the largest tree that was shown.
   */
  halt(problem: LogProblem): void;
  /** Resolves when all that was asked for before is settled. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface AuditLogComponents {
  readonly store: Store;
  readonly anchor: Anchor;
  /** The key `log`; it signs nothing else. */
  readonly signer: Signer;
  readonly clock: Pick<Clock, 'soon' | 'monotonicMs' | 'after'>;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
}

export interface AuditLogOptions {
  /** A faster SHA-256 than the pure one. */
  readonly sha256?: Sha256;
  /** How the id of an entry is read from its bytes. Default: as that of an audit entry. */
  readonly idOf?: (entry: Uint8Array) => Uint8Array;
}

export interface NewGenerationOptions {
  /** The greatest generation that others know under this key; default: none. */
  readonly generationUsedMax?: number;
}

/**
 * Looks the log over and goes on with it. What does not agree is its `problem`: then it is opened for reading alone.
 * Undefined: there is none yet, see `createGeneration`. Errors: permissions (of the anchor), closed.
 */
export async function openAuditLog(
  components: AuditLogComponents,
  options: AuditLogOptions = {},
): Promise<AuditLog | undefined> {
  const found = await findGeneration(components);
  if (found === undefined) return undefined;
  const hasher = hasherOf(options);
  const idOf = options.idOf ?? idOfEntry;
  const inspected = await inspectLog({ ...components, hasher, idOf }, found);
  const problem = found.problem ?? inspected.problem;
  if (problem !== undefined) components.log.error({ place: problem.place }, problem.message);
  else if (inspected.released !== undefined) await anchorReleased(components, inspected.released);
  return new OpenLog(components, hasher, found, { ...inspected, problem });
}

/**
 * Starts a log, the first one or the next generation after one that cannot go on, and opens it. Leaf 0 is what `first`
 * answers, which is told how the log is called; where there was another it should say so. That one is left as it is.
 * Errors: read_only, permissions, and those of `first`.
 */
export async function createGeneration(
  components: AuditLogComponents,
  first: (log: Generation) => NewEntry | Promise<NewEntry>,
  options: AuditLogOptions & NewGenerationOptions = {},
): Promise<AuditLog> {
  const { store, anchor, signer } = components;
  const generation = await nextGeneration(components, options.generationUsedMax);
  const { bytes, id16 } = await first(generation);
  const hasher = hasherOf(options);
  const edge = new TreeEdge(hasher);
  // Of no leaves: from now on a database without this log is one that has lost it, once there is more in it.
  const nothing = signHead(generation.vkey, signer, 0, emptyRoot());
  await anchor.write(formatNote(nothing.note), { sync: true, isReleased: false });
  const keys = new LogKeys(ownPrefix(generation.generation));
  const writes = [...rowsOf(keys, [{ bytes, id16, leafHash: hasher.leafHash(bytes) }], edge)];
  const head = signHead(generation.vkey, signer, edge.treeSize, edge.root());
  writes.push({ type: 'put', key: keys.head, value: formatNote(head.note) }, generationRow(generation));
  await store.batch(writes, { sync: true });
  await anchor.write(formatNote(head.note), { sync: true, isReleased: false });
  const log = await openAuditLog(components, options);
  if (log === undefined) throw new MeshError('internal', 'Cannot open a log that was just written: it is not there');
  return log;
}

/** Where a crash came between the row and the anchor, or tore its slot: whoever reads the log is shown it from now on. */
async function anchorReleased(components: AuditLogComponents, released: SignedCheckpoint): Promise<void> {
  const { origin, treeSize } = released.checkpoint;
  const anchored = (await anchoredNotes(components)) ?? [];
  if (anchored.some((each) => each.isReleased && each.origin === origin && each.treeSize === treeSize)) return;
  await components.anchor.write(ownNote(released), { sync: true, isReleased: true });
}

/** No more than the id: what is in the log was checked before, maybe by a build with other types. Errors: malformed. */
function idOfEntry(bytes: Uint8Array): Uint8Array {
  const { id } = JSON.parse(new TextDecoder().decode(bytes)) as { readonly id: string };
  return parseUuid7(id).bytes;
}

const hasherOf = ({ sha256 }: AuditLogOptions): TreeHasher =>
  sha256 === undefined ? { leafHash, nodeHash } : createTreeHasher(sha256);

function signHead(vkey: Vkey, signer: Signer, treeSize: number, root: Uint8Array): SignedCheckpoint {
  const checkpoint = { origin: vkey.name, treeSize, root };
  const text = formatCheckpointText(checkpoint);
  const line = createSignatureLine(vkey, signer.sign(noteMessage(text)));
  return { checkpoint, note: { text, signatures: [line] } };
}

interface Leaf extends NewEntry {
  readonly leafHash: Uint8Array;
}

/** Entries, their ids and the tiles that they change; the edge has grown by them then. */
function rowsOf(keys: LogKeys, leaves: readonly Leaf[], edge: TreeEdge): StoreWrite[] {
  const writes: StoreWrite[] = [];
  for (const { bytes, id16, leafHash: hash } of leaves) {
    const index = edge.treeSize;
    edge.append(hash);
    writes.push(
      { type: 'put', key: keys.entry(index), value: bytes },
      { type: 'put', key: keys.id(id16), value: u64be(index) },
    );
  }
  for (const { place, bytes } of edge.takeTiles())
    writes.push({ type: 'put', key: keys.tile(place.level, place.index), value: bytes });
  return writes;
}

interface Waiting extends Leaf {
  readonly isPatient: boolean;
  readonly resolve: (index: number) => void;
  readonly reject: (cause: MeshError) => void;
}

class OpenLog implements AuditLog {
  readonly vkey: Vkey;
  readonly generation: number;
  readonly files: LogStore;
  readonly #components: AuditLogComponents;
  readonly #hasher: TreeHasher;
  readonly #keys: LogKeys;
  readonly #ids: RecentIds;
  readonly #listeners: ((treeSize: number) => void)[] = [];
  /** Of the batch under way, if there is one: ahead of what is durable. */
  readonly #edge: TreeEdge | undefined;
  #treeSize: number;
  #head: SignedCheckpoint | undefined;
  #released: SignedCheckpoint | undefined;
  #cosigned: SignedCheckpoint | undefined;
  #problem: LogProblem | undefined;
  /** After a failed write, and once closed. */
  #refusal: MeshError | undefined;
  #hasFailed = false;
  readonly #queue: Waiting[] = [];
  /** In the queue, or on their way to it. */
  #queued = { entries: 0, bytes: 0 };
  readonly #lookups = new Set<Promise<void>>();
  #draining: Promise<void> | undefined;
  /** Of those in the queue that somebody waits for. */
  #urgent = 0;
  /** While only patient ones wait. */
  #gathering: Timer | undefined;
  /** Changes of released checkpoints, one after the other. */
  readonly #releases = new Serial();
  readonly #anchoring = new Serial();
  #isAnchoring = false;
  #anchoredMs = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor(
    components: AuditLogComponents,
    hasher: TreeHasher,
    { vkey, generation }: Generation,
    { treeSize, head, released, cosigned, edge, idMax, problem }: Inspected,
  ) {
    this.vkey = vkey;
    this.generation = generation;
    this.#components = components;
    this.#hasher = hasher;
    const prefix = ownPrefix(generation);
    this.#keys = new LogKeys(prefix);
    this.files = createLogStore({ store: components.store, prefix, treeSize: () => this.#treeSize });
    this.#ids = new RecentIds(idMax);
    this.#edge = edge;
    this.#treeSize = treeSize;
    this.#head = head;
    this.#released = released;
    this.#cosigned = cosigned;
    this.#problem = problem;
  }

  get origin(): string {
    return this.vkey.name;
  }

  get treeSize(): number {
    return this.#treeSize;
  }

  get root(): Uint8Array {
    return this.head().checkpoint.root;
  }

  get problem(): LogProblem | undefined {
    return this.#problem;
  }

  append(entry: NewEntry, { isPatient = false }: AppendOptions = {}): Promise<number> {
    const { bytes, id16 } = entry;
    const id = idText(id16);
    const refusal = this.#stopped() ?? this.#refusalOf(entry);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (!this.#ids.add(id)) return Promise.reject(usedId());
    this.#count(1, bytes.length);
    return new Promise((resolve, reject) => {
      const waiting = { bytes, id16, leafHash: this.#hasher.leafHash(bytes), isPatient, resolve, reject };
      if (this.#ids.isOld(id)) this.#enqueueUnused(waiting, id);
      else this.#enqueue(waiting);
    });
  }

  head(): SignedCheckpoint {
    if (this.#head === undefined)
      throw this.#stopped() ?? new MeshError('internal', 'Cannot name a head: there is none');
    return this.#head;
  }

  release(): Promise<SignedCheckpoint> {
    return this.#releases.run(async () => {
      this.#verifyGoing();
      const head = this.head();
      const { treeSize } = head.checkpoint;
      if (this.#released?.checkpoint.treeSize === treeSize) return this.#released;
      const note = formatNote(head.note);
      await this.#write([
        { type: 'put', key: this.#keys.checkpoint(treeSize), value: note },
        { type: 'put', key: this.#keys.released, value: u64be(treeSize) },
      ]);
      await this.#anchor(note, { sync: true, isReleased: true });
      this.#verifyGoing(); // what was found meanwhile is in time: nobody has seen the note
      this.#released = head;
      return head;
    });
  }

  released(): SignedCheckpoint | undefined {
    return this.#released;
  }

  cosigned(): SignedCheckpoint | undefined {
    return this.#cosigned;
  }

  addCosignatures(treeSize: number, lines: readonly NoteSignature[]): Promise<void> {
    return this.#releases.run(async () => {
      this.#verifyGoing();
      const held = await this.files.checkpointAt(treeSize);
      if (held === undefined || treeSize > (this.#released?.checkpoint.treeSize ?? -1))
        throw new MeshError('not_found', `Cannot add cosignatures: no checkpoint of ${treeSize} leaves was released`, {
          is: treeSize,
        });
      const { checkpoint, note } = held;
      const signatures = merged(note.signatures, lines, this.origin);
      const signed = { checkpoint, note: { text: note.text, signatures } };
      const isNewest = signatures.length > 1 && treeSize >= (this.#cosigned?.checkpoint.treeSize ?? 0);
      await this.#write([
        { type: 'put', key: this.#keys.checkpoint(treeSize), value: formatNote(signed.note) },
        ...(isNewest ? [{ type: 'put', key: this.#keys.cosigned, value: u64be(treeSize) } as const] : []),
      ]);
      if (isNewest) this.#cosigned = signed;
      if (this.#released?.checkpoint.treeSize === treeSize) this.#released = signed;
    });
  }

  onGrown(call: (treeSize: number) => void): void {
    this.#listeners.push(call);
  }

  halt(problem: LogProblem): void {
    const { store, log } = this.#components;
    if (this.#problem !== undefined) {
      if (sizeIn(problem) <= sizeIn(this.#problem)) return;
      this.#problem = { ...this.#problem, ...(problem.note !== undefined && { note: problem.note }) };
    } else {
      this.#problem = problem;
      log.error({ place: problem.place }, problem.message);
    }
    for (const { reject } of this.#takeQueue()) reject(haltedError(problem));
    const row: StoreWrite = { type: 'put', key: this.#keys.problem, value: formatProblem(this.#problem) };
    const written = store.batch([row], { sync: true }).catch((cause: unknown) => {
      log.error({ cause }, 'the reason for which the audit log was halted is not on disk');
    });
    this.#track(written);
  }

  async flush(): Promise<void> {
    await Promise.all(this.#lookups);
    while (this.#queue.length > 0 || this.#draining !== undefined) {
      this.#startDraining();
      await this.#draining;
    }
    await this.#releases.run(() => Promise.resolve());
    await this.#anchoring.run(() => Promise.resolve());
  }

  /** Finishes what was accepted; the store stays open. */
  close(): Promise<void> {
    this.#refusal ??= new MeshError('read_only', 'Cannot append: the audit log is closed');
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.flush();
    if (this.#hasFailed || this.#problem !== undefined || this.#head === undefined) return;
    await this.#anchor(formatNote(this.#head.note), { sync: true, isReleased: false });
  }

  #stopped(): MeshError | undefined {
    return this.#problem === undefined ? this.#refusal : haltedError(this.#problem);
  }

  #verifyGoing(): void {
    const refusal = this.#stopped();
    if (refusal !== undefined) throw refusal;
  }

  #refusalOf({ bytes: { length }, id16 }: NewEntry): MeshError | undefined {
    if (id16.length !== ID_BYTES)
      return new MeshError('malformed', `Cannot append an entry: its id has ${id16.length} bytes, want ${ID_BYTES}`);
    if (length > limits.LOG_ENTRY_BYTES_MAX)
      return new MeshError(
        'too_large',
        `Cannot append an entry: it has ${length} bytes, want at most ${limits.LOG_ENTRY_BYTES_MAX}`,
        { is: length, want: limits.LOG_ENTRY_BYTES_MAX },
      );
    const { entries, bytes } = this.#queued;
    if (entries >= limits.LOG_QUEUE_ENTRIES_MAX || bytes + length > limits.LOG_QUEUE_BYTES_MAX)
      return new MeshError('busy', `Cannot append an entry: ${entries} wait to be written`, { is: entries });
    return undefined;
  }

  #count(entries: number, bytes: number): void {
    this.#queued.entries += entries;
    this.#queued.bytes += bytes;
  }

  /** Asks the database about an id first. */
  #enqueueUnused(waiting: Waiting, id: IdText): void {
    const refuse = (cause: MeshError): void => {
      this.#count(-1, -waiting.bytes.length);
      waiting.reject(cause);
    };
    const looked = this.files.indexOf(waiting.id16).then(
      (index) => {
        const stopped = this.#problem === undefined && !this.#hasFailed ? undefined : this.#stopped();
        if (index !== undefined) refuse(usedId());
        else if (stopped !== undefined) refuse(stopped);
        else this.#enqueue(waiting);
      },
      (cause: unknown) => {
        this.#ids.remove(id);
        refuse(new MeshError('read_only', 'Cannot append an entry: its id cannot be looked up', {}, { cause }));
      },
    );
    this.#track(looked);
  }

  #track(work: Promise<void>): void {
    this.#lookups.add(work);
    void work.finally(() => this.#lookups.delete(work));
  }

  #enqueue(waiting: Waiting): void {
    this.#queue.push(waiting);
    if (!waiting.isPatient) this.#urgent += 1;
    if (this.#isUrgent) this.#startDraining();
    else if (this.#draining === undefined) this.#gather();
  }

  get #isUrgent(): boolean {
    return this.#urgent > 0 || this.#queue.length >= limits.LOG_BATCH_ENTRIES_MAX;
  }

  #gather(): void {
    this.#gathering ??= this.#components.clock.after(limits.LOG_GATHER_MS, () => this.#startDraining());
  }

  #startDraining(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    if (this.#queue.length > 0) this.#draining ??= this.#drain();
  }

  /** What somebody waits for waits for no timer: alone, it goes at once; what comes while a batch syncs is the next one. */
  async #drain(): Promise<void> {
    await Promise.resolve(); // entries of the same turn go together
    let acknowledge: (() => void) | undefined;
    do {
      const batch = this.#takeBatch();
      const written = this.#append(batch);
      acknowledge?.(); // of the batch before: its appenders go on while this one syncs
      acknowledge = await written;
      if (this.#isUrgent) continue;
      acknowledge?.();
      acknowledge = undefined;
      // Whoever waited for it may go on with the next entry: those of one turn again go together.
      if (batch.length > 1) await this.#components.clock.soon();
    } while (this.#isUrgent);
    this.#draining = undefined;
    if (this.#queue.length > 0) this.#gather();
  }

  #takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      bytes += waiting.bytes.length;
      if (count === limits.LOG_BATCH_ENTRIES_MAX || (count > 0 && bytes > limits.STORE_GROUP_BYTES_MAX)) break;
      count++;
    }
    return this.#takeQueue(count);
  }

  #takeQueue(count = this.#queue.length): Waiting[] {
    const taken = this.#queue.splice(0, count);
    for (const { bytes, isPatient } of taken) {
      this.#count(-1, -bytes.length);
      if (!isPatient) this.#urgent -= 1;
    }
    return taken;
  }

  /** Resolves when it is on disk, or has failed, with what tells the appenders so. */
  async #append(batch: readonly Waiting[]): Promise<() => void> {
    const first = this.#treeSize;
    let head: SignedCheckpoint;
    let note: Uint8Array;
    try {
      if (this.#edge === undefined) throw new MeshError('internal', 'Cannot append: the tree is unknown');
      const writes = rowsOf(this.#keys, batch, this.#edge);
      head = signHead(this.vkey, this.#components.signer, this.#edge.treeSize, this.#edge.root());
      note = formatNote(head.note);
      writes.push({ type: 'put', key: this.#keys.head, value: note });
      await this.#components.store.batch(writes, { sync: true });
    } catch (cause) {
      const refusal = this.#fail(cause);
      return () => {
        for (const { reject } of batch) reject(refusal);
      };
    }
    this.#head = head;
    this.#treeSize = head.checkpoint.treeSize;
    return () => {
      for (const [i, { resolve }] of batch.entries()) resolve(first + i);
      this.#anchorSometimes(note);
      this.#tell();
    };
  }

  #tell(): void {
    for (const call of this.#listeners) {
      try {
        call(this.#treeSize);
      } catch (cause) {
        this.#components.log.error({ cause }, 'a listener to the audit log failed');
      }
    }
  }

  /** Of the rows of checkpoints. Errors: read_only. */
  async #write(writes: readonly StoreWrite[]): Promise<void> {
    try {
      await this.#components.store.batch(writes, { sync: true });
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  /** Nobody knows what is on disk: nothing is signed, and nothing acknowledged, until the log is opened again. */
  #fail(cause: unknown): MeshError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const refusal = new MeshError(
      'read_only',
      `Cannot write the audit log: ${reason}; nothing is acknowledged until it is opened again`,
      {},
      { cause },
    );
    if (!this.#hasFailed) this.#components.log.error({ cause }, refusal.message);
    this.#hasFailed = true;
    this.#refusal = refusal;
    for (const { reject } of this.#takeQueue()) reject(refusal);
    return refusal;
  }

  /** Unsynced, and not for each of many batches: what it is for is an older copy of the database. */
  #anchorSometimes(note: Uint8Array): void {
    const { anchor, clock, log } = this.#components;
    if (this.#isAnchoring || clock.monotonicMs() - this.#anchoredMs < ANCHOR_MS) return;
    this.#isAnchoring = true;
    void this.#anchoring.run(async () => {
      try {
        await anchor.write(note, { sync: false, isReleased: false });
      } catch (cause) {
        log.warn({ cause }, 'the anchor of the audit log is not up to date');
      }
      this.#isAnchoring = false;
      this.#anchoredMs = clock.monotonicMs();
    });
  }

  /** Errors: read_only. */
  #anchor(note: Uint8Array, options: { readonly sync: boolean; readonly isReleased: boolean }): Promise<void> {
    return this.#anchoring.run(async () => {
      try {
        await this.#components.anchor.write(note, options);
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new MeshError('read_only', `Cannot write the anchor of the audit log: ${reason}`, {}, { cause });
      }
    });
  }
}

const ID_BYTES = 16;
const ANCHOR_MS = 100; // a write costs half as much as a batch of one entry; released checkpoints are anchored by themselves

/** Of the tree that halted it; -1 where none was shown. */
const sizeIn = ({ note }: LogProblem): number => (note === undefined ? -1 : parseCheckpoint(note).checkpoint.treeSize);

const usedId = (): MeshError => new MeshError('conflict', 'Cannot append an entry: one with its id is in the log');

/** The log's own line stays as it was signed. */
function merged(held: readonly NoteSignature[], lines: readonly NoteSignature[], origin: string): NoteSignature[] {
  const keyOf = ({ name, keyId }: NoteSignature): string => `${keyId.join('.')} ${name}`;
  const byKey = new Map(held.map((line) => [keyOf(line), line]));
  for (const line of lines) if (line.name !== origin) byKey.set(keyOf(line), line);
  return [...byKey.values()];
}
