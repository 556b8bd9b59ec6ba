/**
 * What was decided, with its arguments: kept outside the log, which holds a commitment to it, so that it can be erased
 * while the log stays as it is (SPEC "Audit entries", commitments). Rows are ordered by the time in the id of their entry.
 *
 *   value   salt (LOG_SALT_BYTES) ‖ canonical JSON; of what is larger than REQUEST_KEPT_BYTES_MAX the salt alone
 *
 * A row is written without a sync of its own, before the entry that commits to it: what makes that durable takes it along.
 */
import { concatBytes, encodeJcs, limits, MeshError, toHex } from '../../../protocol/index.ts';
import { commitmentOf } from '../../../protocol/log/index.ts';
import type { Decision, PolicyContext } from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Random, Store, StoreWrite } from '../../ports.ts';
import { Serial } from '../serial.ts';
import { idOfRow, jsonRow, parseJsonRow, rowKey, rowRange } from './rows.ts';

/** All that a policy needs to decide it again, and what was decided. */
export interface KeptRequest {
  readonly context: PolicyContext;
  readonly decided: Pick<Decision, 'effect' | 'rule'>;
}

export interface ArchivedRequest {
  /** Of the entry: 16 bytes. */
  readonly id: Uint8Array;
  readonly timeMs: number;
  readonly salt: Uint8Array;
  /** What was committed to, behind the salt; undefined where it was too large to keep. */
  readonly bytes: Uint8Array | undefined;
  readonly kept: KeptRequest | undefined;
}

export interface RequestArchiveComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Pick<Random, 'bytes'>;
  readonly log: Logger;
}

export interface RequestArchiveOptions {
  /** Of all rows together; beyond it the oldest go. Default REQUESTS_KEPT_BYTES_MAX. */
  readonly bytesMax?: number;
  /** Of one request. Default REQUEST_KEPT_BYTES_MAX. */
  readonly requestBytesMax?: number;
  /** How long they are kept. Default REQUESTS_KEPT_MS. */
  readonly keepMs?: number;
}

export interface PutRequest {
  /** As the entry has it in `in`. */
  readonly commitment: string;
  /** Resolves once it is written; what is written after it and synced makes it durable. Errors: read_only. */
  readonly written: Promise<void>;
}

interface Totals {
  readonly count: number;
  readonly bytes: number;
}

const PORTION_ROWS = 256; // removed at once
const ROOM = 1 / 16; // of the bound is made free at a time, so that not every request removes one
const DEPTH_MAX = limits.DECISION_JSON_DEPTH_MAX + 8; // arguments, inside of what is kept

export class RequestArchive {
  readonly #components: RequestArchiveComponents;
  readonly #bytesMax: number;
  readonly #requestBytesMax: number;
  readonly #keepMs: number;
  readonly #removals = new Serial();
  #totals: Totals;
  #isMakingRoom = false;

  private constructor(components: RequestArchiveComponents, options: RequestArchiveOptions, totals: Totals) {
    this.#components = components;
    this.#bytesMax = options.bytesMax ?? limits.REQUESTS_KEPT_BYTES_MAX;
    this.#requestBytesMax = options.requestBytesMax ?? limits.REQUEST_KEPT_BYTES_MAX;
    this.#keepMs = options.keepMs ?? limits.REQUESTS_KEPT_MS;
    this.#totals = totals;
  }

  /** Errors: store_corrupt. */
  static async open(
    components: RequestArchiveComponents,
    options: RequestArchiveOptions = {},
  ): Promise<RequestArchive> {
    const value = await components.store.get(rowKey('requestTotals'));
    const totals = value === undefined ? { count: 0, bytes: 0 } : (parseJsonRow('requestTotals', value) as Totals);
    return new RequestArchive(components, options, totals);
  }

  get count(): number {
    return this.#totals.count;
  }

  get bytes(): number {
    return this.#totals.bytes;
  }

  /** @param id of the entry: 16 bytes of a UUID of version 7. Errors: malformed, too_large (what JSON cannot hold). */
  put(id: Uint8Array, kept: KeptRequest): PutRequest {
    const { store, random } = this.#components;
    const bytes = encodeJcs(kept, { numbers: 'any', depthMax: DEPTH_MAX });
    const salt = random.bytes(limits.LOG_SALT_BYTES);
    const value = bytes.length > this.#requestBytesMax ? salt : concatBytes(salt, bytes);
    const put: StoreWrite = { type: 'put', key: rowKey('request', id), value };
    const written = store.batch([put, this.#count(1, bytesOf(put.key, value))], { sync: false });
    written.catch(() => {}); // whoever waits for it has the error
    if (this.#totals.bytes > this.#bytesMax) this.#makeRoom();
    return { commitment: commitmentOf(salt, bytes), written };
  }

  /** Errors: store_corrupt. */
  async get(id: Uint8Array): Promise<ArchivedRequest | undefined> {
    const value = await this.#components.store.get(rowKey('request', id));
    return value === undefined ? undefined : archivedOf(id, value);
  }

  /** From this time on, oldest first, as it is now. Errors: store_corrupt. */
  async *since(ms: number): AsyncGenerator<ArchivedRequest, void, undefined> {
    for await (const [key, value] of this.#components.store.range(...rowRange('request', timeBytes(ms))))
      yield archivedOf(idOfRow(key), value);
  }

  /** On disk when it resolves; nobody can tell then what the log's commitment was to. False: it is not there. */
  erase(id: Uint8Array): Promise<boolean> {
    return this.#removals.run(async () => {
      const key = rowKey('request', id);
      const value = await this.#components.store.get(key);
      if (value === undefined) return false;
      await this.#remove([[key, bytesOf(key, value)]], { sync: true });
      return true;
    });
  }

  /** Removes what is older than it is kept for (or than `beforeMs`), and the oldest of what is too much. Returns how many. */
  prune(beforeMs: number = this.#components.clock.nowMs() - this.#keepMs): Promise<number> {
    return this.#removals.run(() => this.#prune(beforeMs, this.#bytesMax));
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    await this.#removals.run(async () => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #makeRoom(): void {
    if (this.#isMakingRoom) return;
    this.#isMakingRoom = true;
    this.#removals
      .run(() => this.#prune(0, Math.floor(this.#bytesMax * (1 - ROOM))))
      .catch((error: unknown) => this.#components.log.warn({ error }, 'old requests cannot be removed'))
      .finally(() => {
        this.#isMakingRoom = false;
      });
  }

  async #prune(beforeMs: number, bytesMax: number): Promise<number> {
    let removed = 0;
    for (;;) {
      const gone: [key: Uint8Array, bytes: number][] = [];
      let { bytes } = this.#totals;
      for await (const [key, value] of this.#components.store.range(...rowRange('request'))) {
        const isOver = timeOfId(idOfRow(key)) < beforeMs || bytes > bytesMax;
        if (!isOver || gone.length === PORTION_ROWS) break;
        gone.push([key, bytesOf(key, value)]);
        bytes -= bytesOf(key, value);
      }
      if (gone.length === 0) return removed;
      await this.#remove(gone, { sync: false });
      removed += gone.length;
    }
  }

  async #remove(
    rows: readonly (readonly [key: Uint8Array, bytes: number])[],
    options: { readonly sync: boolean },
  ): Promise<void> {
    const gone = rows.reduce((sum, [, bytes]) => sum + bytes, 0);
    const writes = rows.map(([key]): StoreWrite => ({ type: 'del', key }));
    await this.#components.store.batch([...writes, this.#count(-rows.length, -gone)], options);
  }

  /** In the batch of the rows that it counts: so it is never off. */
  #count(rows: number, bytes: number): StoreWrite {
    const totals = { count: this.#totals.count + rows, bytes: this.#totals.bytes + bytes };
    this.#totals = totals;
    return { type: 'put', key: rowKey('requestTotals'), value: jsonRow(totals) };
  }
}

const bytesOf = (key: Uint8Array, value: Uint8Array): number => key.length + value.length;

const TIME_BYTES = 6;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The least id of a time: UUIDs of version 7 begin with milliseconds in 48 bits. */
function timeBytes(ms: number): Uint8Array {
  const bytes = new Uint8Array(TIME_BYTES);
  const view = new DataView(bytes.buffer);
  const whole = Math.max(0, Math.ceil(ms));
  view.setUint16(0, Math.floor(whole / 2 ** 32));
  view.setUint32(2, whole % 2 ** 32);
  return bytes;
}

function timeOfId(id: Uint8Array): number {
  const view = new DataView(id.buffer, id.byteOffset, id.byteLength);
  return view.getUint16(0) * 2 ** 32 + view.getUint32(2);
}

/** Errors: store_corrupt. */
function archivedOf(id: Uint8Array, value: Uint8Array): ArchivedRequest {
  const salt = value.subarray(0, limits.LOG_SALT_BYTES);
  const bytes = value.length === salt.length ? undefined : value.subarray(salt.length);
  try {
    if (salt.length < limits.LOG_SALT_BYTES || id.length !== 16)
      throw new MeshError('malformed', `Cannot read it: it has ${value.length} bytes`);
    const kept = bytes === undefined ? undefined : (JSON.parse(decoder.decode(bytes)) as KeptRequest);
    return { id, timeMs: timeOfId(id), salt, bytes, kept };
  } catch (cause) {
    const name = toHex(id);
    throw new MeshError(
      'store_corrupt',
      `Cannot read request "${name}": it is not what was kept`,
      { id: name },
      { cause },
    );
  }
}
