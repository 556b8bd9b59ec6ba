/**
 * What was asked under which idempotency key, and what came of it (SPEC "Serving calls"): so that a caller that lost an
 * answer can ask again without having it done again. A key is its caller's own.
 *
 * That it runs is written in the turn in which the intent is, before the server sees the call, and the intent is synced
 * after it: whatever a crash leaves, what may have been done has a row. A row without an outcome says that nobody
 * knows.
 */
import {
  type Cbor,
  concatBytes,
  digestOf,
  encodeCbor,
  encodeJcs,
  equalBytes,
  fromHex,
  type Json,
  limits,
  MeshError,
  toHex,
  u32be,
} from '../../../protocol/index.ts';
import { exactOf, isObject, type RequestMessage } from '../../../protocol/mcp/index.ts';
import type { Clock, Logger, Store, StoreWrite } from '../../ports.ts';
import { parseU64, u64be } from '../log/log-rows.ts';
import { KeyFilter } from './key-filter.ts';
import { decodeRow, rowKey, rowRange } from './rows.ts';

export interface IdempotencyComponents {
  readonly store: Store;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly log: Logger;
}

export interface IdempotencyOptions {
  /** Of one organisation. Default CALL_KEYS_AN_ORGANISATION_MAX. */
  readonly keysAnOrganisationMax?: number;
  /** Default CALL_KEYS_MAX. */
  readonly keysMax?: number;
}

export interface KeyOwner {
  /** The caller. */
  readonly did: string;
  readonly organisation: string;
}

/** The answer as it was given. */
export interface Recorded {
  /** Of the receipt, with the callee's signature. */
  readonly payload: Uint8Array;
  readonly sig: Uint8Array;
  /** Of the commitment to the result. */
  readonly salt: Uint8Array;
  readonly body: Uint8Array;
}

/** One call under a key; exactly one of `done`, `unknown` and `release` ends it. */
export interface KeyUse {
  /** That it runs. What is written after it and synced makes it durable. Errors: read_only. */
  written(): Promise<void>;
  /** Never throws: what cannot be written reads as not known. */
  done(recorded: Recorded): void;
  /** It may have been done. */
  unknown(): void;
  /** It was not done. */
  release(): void;
}

export type KeyTaken =
  | { readonly state: 'new'; readonly use: KeyUse }
  | { readonly state: 'done'; readonly recorded: Recorded }
  /** `why`: a sentence without its stop. */
  | { readonly state: 'unknown'; readonly why: string };

interface Held {
  keys: number;
  bytes: number;
}

const PORTION_ROWS = 256; // removed at once

export class IdempotencyKeys {
  readonly #components: IdempotencyComponents;
  readonly #keysAnOrganisationMax: number;
  readonly #keysMax: number;
  /** By organisation, as `scopeOf` names it. */
  readonly #held = new Map<string, Held>();
  #keys = 0;
  /** Under way, by key. */
  readonly #running = new Set<string>();
  /** Nearly every key is new, and need not be looked for on disk. */
  readonly #filter = new KeyFilter();

  private constructor(components: IdempotencyComponents, options: IdempotencyOptions) {
    this.#components = components;
    this.#keysAnOrganisationMax = options.keysAnOrganisationMax ?? limits.CALL_KEYS_AN_ORGANISATION_MAX;
    this.#keysMax = options.keysMax ?? limits.CALL_KEYS_MAX;
  }

  /** Errors: store_corrupt. */
  static async open(components: IdempotencyComponents, options: IdempotencyOptions = {}): Promise<IdempotencyKeys> {
    const keys = new IdempotencyKeys(components, options);
    for await (const [key, value] of components.store.range(...rowRange('keyByTime'))) {
      const { scope, id } = placeOf(key);
      keys.#count(scope, 1, bytesIn(value));
      keys.#filter.add(id);
    }
    return keys;
  }

  get size(): number {
    return this.#keys;
  }

  /** Errors: conflict (another request has this key), busy, store_corrupt. */
  async take(owner: KeyOwner, key: Uint8Array, request: Uint8Array): Promise<KeyTaken> {
    const id = idOf(owner, key);
    const name = toHex(id);
    if (this.#running.has(name)) return { state: 'unknown', why: 'it is under way' };
    this.#running.add(name);
    let isNew = false;
    try {
      const value = this.#filter.mayHave(id) ? await this.#components.store.get(rowKey('key', id)) : undefined;
      if (value !== undefined) return known(decodeRow('key', value), request);
      const scope = scopeOf(owner.organisation);
      await this.#makeRoom(scope);
      isNew = true;
      return { state: 'new', use: this.#use(id, scope, request) };
    } finally {
      if (!isNew) this.#running.delete(name);
    }
  }

  /** Removes what is older than CALL_KEY_MS. */
  async prune(): Promise<number> {
    let removed = 0;
    const beforeMs = this.#components.clock.nowMs() - limits.CALL_KEY_MS;
    for (const scope of this.#held.keys()) removed += await this.#forget(scope, beforeMs, Number.POSITIVE_INFINITY);
    return removed;
  }

  #use(id: Uint8Array, scope: string, request: Uint8Array): KeyUse {
    const { store, clock, log } = this.#components;
    const atMs = Math.floor(clock.nowMs());
    const rows = (recorded: Recorded | undefined, isDone: boolean): StoreWrite[] => {
      const value = encodeCbor(rowOf(request, recorded, isDone));
      return [
        { type: 'put', key: rowKey('key', id), value },
        { type: 'put', key: timeKey(scope, atMs, id), value: u32be(value.length) },
      ];
    };
    let bytes: number | undefined;
    const note = (writes: readonly StoreWrite[]): Promise<void> => {
      const value = writes[0]?.type === 'put' ? writes[0].value.length : 0;
      this.#count(scope, bytes === undefined ? 1 : 0, value - (bytes ?? 0));
      if (bytes === undefined) this.#filter.add(id);
      bytes = value;
      return store.batch(writes, { sync: false });
    };
    const later = (written: Promise<void>): void => {
      written.catch((error: unknown) => log.warn({ error }, 'what came of a call cannot be kept under its key'));
    };
    const over = (): boolean => this.#running.delete(toHex(id));
    return {
      written: () => note(rows(undefined, false)),
      done: (recorded) => {
        if (over()) later(note(rows(this.#hasRoomFor(scope, recorded) ? recorded : undefined, true)));
      },
      unknown: () => void over(),
      release: () => {
        if (!over() || bytes === undefined) return;
        this.#count(scope, -1, -bytes);
        this.#filter.remove(id);
        const gone = [rowKey('key', id), timeKey(scope, atMs, id)];
        later(
          store.batch(
            gone.map((key): StoreWrite => ({ type: 'del', key })),
            { sync: false },
          ),
        );
      },
    };
  }

  #hasRoomFor(scope: string, { body }: Recorded): boolean {
    if (body.length > limits.CALL_KEY_RESULT_BYTES_MAX) return false;
    return (this.#held.get(scope)?.bytes ?? 0) + body.length <= limits.CALL_KEYS_BYTES_AN_ORGANISATION_MAX;
  }

  /** What a caller was promised to be remembered is not forgotten for the sake of another call. Errors: busy. */
  async #makeRoom(scope: string): Promise<void> {
    const isFull = (): boolean =>
      (this.#held.get(scope)?.keys ?? 0) >= this.#keysAnOrganisationMax || this.#keys >= this.#keysMax;
    if (!isFull()) return;
    await this.#forget(scope, this.#components.clock.nowMs() - limits.CALL_KEY_SURE_MS, PORTION_ROWS);
    if (isFull())
      throw new MeshError('busy', 'Cannot take the call: too many idempotency keys are remembered; try again later', {
        is: this.#held.get(scope)?.keys ?? 0,
        want: this.#keysAnOrganisationMax,
      });
  }

  /** The oldest, up to so many. */
  async #forget(scope: string, beforeMs: number, countMax: number): Promise<number> {
    const { store } = this.#components;
    const gone: (readonly [key: Uint8Array, bytes: number])[] = [];
    for await (const [key, value] of store.range(...rowRange('keyByTime', scopeBytes(scope)))) {
      const { id, atMs } = placeOf(key);
      if (atMs >= beforeMs || gone.length >= countMax) break;
      if (!this.#running.has(toHex(id))) gone.push([key, bytesIn(value)]);
    }
    for (let at = 0; at < gone.length; at += PORTION_ROWS) {
      const portion = gone.slice(at, at + PORTION_ROWS);
      for (const [key, bytes] of portion) {
        this.#count(scope, -1, -bytes);
        this.#filter.remove(placeOf(key).id);
      }
      const keys = portion.flatMap(([key]) => [key, rowKey('key', placeOf(key).id)]);
      await store.batch(
        keys.map((key): StoreWrite => ({ type: 'del', key })),
        { sync: false },
      );
    }
    return gone.length;
  }

  #count(scope: string, keys: number, bytes: number): void {
    const held = this.#held.get(scope) ?? { keys: 0, bytes: 0 };
    held.keys += keys;
    held.bytes += bytes;
    this.#keys += keys;
    if (held.keys === 0) this.#held.delete(scope);
    else this.#held.set(scope, held);
  }
}

/** Of whom something is asked. */
export interface AskedOf {
  /** Own agent or organisation. */
  readonly as: string;
  /** Name of the exposed server. */
  readonly server: string;
}

/**
 * What makes two calls the same: of whom and which server, method and parameters, whatever the client's id for it, and
 * without `_meta`, which says how to answer and not what to do. Errors: malformed.
 */
export function requestDigest(message: RequestMessage, { as, server }: AskedOf): Uint8Array {
  const { method, params } = message;
  const what: Json = isObject(params)
    ? Object.fromEntries(Object.entries(params).filter(([member]) => member !== '_meta'))
    : (params ?? null);
  const exact = exactOf(message) ?? null;
  return digestOf(encodeJcs([as, server, method, what, exact], { numbers: 'any', depthMax: limits.MCP_DEPTH_MAX + 2 }));
}

const SCOPE_BYTES = 16;
const encoder = new TextEncoder();

const idOf = ({ did }: KeyOwner, key: Uint8Array): Uint8Array => {
  const caller = encoder.encode(did);
  return digestOf(concatBytes(u32be(caller.length), caller, key));
};

/** By which an organisation is known in rows: hex. */
const scopeOf = (organisation: string): string =>
  toHex(digestOf(encoder.encode(organisation)).subarray(0, SCOPE_BYTES));

const scopeBytes = (scope: string): Uint8Array => {
  const bytes = fromHex(scope);
  if (bytes === undefined) throw new MeshError('internal', `Cannot name rows: "${scope}" is no hex`);
  return bytes;
};

const timeKey = (scope: string, atMs: number, id: Uint8Array): Uint8Array =>
  rowKey('keyByTime', concatBytes(scopeBytes(scope), u64be(atMs), id));

/** Errors: store_corrupt. */
function placeOf(key: Uint8Array): { readonly scope: string; readonly atMs: number; readonly id: Uint8Array } {
  const place = key.subarray(2);
  const [scope, time] = [place.subarray(0, SCOPE_BYTES), place.subarray(SCOPE_BYTES, SCOPE_BYTES + 8)];
  return { scope: toHex(scope), atMs: parseU64(time, 'the time of a key'), id: place.subarray(SCOPE_BYTES + 8) };
}

const bytesIn = (value: Uint8Array): number => {
  if (value.length !== 4) throw corrupt();
  return new DataView(value.buffer, value.byteOffset, 4).getUint32(0);
};

interface KeyRow {
  readonly req: Uint8Array;
  readonly done?: boolean;
  readonly payload?: Uint8Array;
  readonly sig?: Uint8Array;
  readonly salt?: Uint8Array;
  readonly body?: Uint8Array;
}

const rowOf = (req: Uint8Array, recorded: Recorded | undefined, isDone: boolean): Cbor => ({
  req,
  done: isDone,
  ...(recorded !== undefined && {
    payload: recorded.payload,
    sig: recorded.sig,
    salt: recorded.salt,
    body: recorded.body,
  }),
});

/** Errors: conflict, store_corrupt. */
function known(row: Cbor, request: Uint8Array): KeyTaken {
  const { req, done, payload, sig, salt, body } = row as unknown as KeyRow;
  if (!(req instanceof Uint8Array)) throw corrupt();
  if (!equalBytes(req, request))
    throw new MeshError('conflict', 'Cannot take the call: another request was made under this idempotency key');
  if (done !== true) return { state: 'unknown', why: 'it was begun, and nothing tells how it ended' };
  if (payload === undefined || sig === undefined || salt === undefined || body === undefined)
    return { state: 'unknown', why: 'it was done before, and its result is not kept' };
  return { state: 'done', recorded: { payload, sig, salt, body } };
}

const corrupt = (): MeshError =>
  new MeshError('store_corrupt', 'Cannot read what is known of an idempotency key: it is not what was written');
