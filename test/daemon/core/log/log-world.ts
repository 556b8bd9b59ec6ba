/** An audit log over a store and an anchor that the test holds in its hands. */
import { expect } from 'vitest';
import {
  type AuditLog,
  type AuditLogComponents,
  createGeneration,
  type NewEntry,
  openAuditLog,
} from '../../../../daemon/core/log/audit-log.ts';
import type { Anchor, AnchorNote, Logger, Store, StoreWrite } from '../../../../daemon/ports.ts';
import { MemoryStore } from '../../../../daemon/store/memory.ts';
import { sha256 } from '../../../../daemon/system.ts';
import { concatBytes, equalBytes, toHex, u32be } from '../../../../protocol/index.ts';
import { createSystemClock } from '../../../../daemon/system.ts';
import { leafHash, parseCheckpoint, rootOfHashes, type SignedCheckpoint } from '../../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { keyOf, type TestKey } from '../../../builders.ts';

export const logKey = keyOf('log');

/** Entry `i` of a test: its id, later than that of the one before, and some text. */
export function entryOf(i: number, text = `entry ${i}`): NewEntry {
  const id16 = concatBytes(Uint8Array.of(1, 0x9a), u32be(i), new Uint8Array(10).fill(0x70));
  return { id16, bytes: concatBytes(id16, new TextEncoder().encode(text)) };
}
export const idOf = (entry: Uint8Array): Uint8Array => entry.slice(0, 16);

const hashes: Uint8Array[] = [];
const roots = new Map<number, Uint8Array>();
/** Root over the first so many entries, computed without tiles. */
export function rootOf(treeSize: number): Uint8Array {
  for (let i = hashes.length; i < treeSize; i++) hashes.push(leafHash(entryOf(i).bytes));
  const root = roots.get(treeSize) ?? rootOfHashes(hashes.slice(0, treeSize));
  roots.set(treeSize, root);
  return root;
}

/** Two slots of a kind in memory; what is not synced is lost with a crash, or not, as the test says. */
export class MemoryAnchor implements Anchor {
  slots: readonly AnchorNote[] | undefined;
  #synced: readonly AnchorNote[] | undefined;
  failure: Error | undefined;

  constructor(slots?: readonly AnchorNote[]) {
    this.slots = slots;
    this.#synced = slots;
  }

  read(): Promise<readonly AnchorNote[] | undefined> {
    return Promise.resolve(this.slots);
  }

  write(
    note: Uint8Array,
    { sync, isReleased }: { readonly sync: boolean; readonly isReleased: boolean },
  ): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (note.length > 982) return Promise.reject(new Error('the note fits no slot'));
    const held = this.slots ?? [];
    const others = held.filter((slot) => slot.isReleased !== isReleased);
    const [kept] = held.filter((slot) => slot.isReleased === isReleased).slice(-1);
    this.slots = [...others, ...(kept === undefined ? [] : [kept]), { note, isReleased }];
    if (sync) this.#synced = this.slots;
    return Promise.resolve();
  }

  crashed(keepsUnsynced: boolean): MemoryAnchor {
    return new MemoryAnchor(keepsUnsynced ? this.slots : this.#synced);
  }

  /** Tree sizes of its notes, or of those of one kind. */
  sizes(kind?: { readonly isReleased: boolean }): number[] {
    const slots = (this.slots ?? []).filter(({ isReleased }) => kind === undefined || isReleased === kind.isReleased);
    return slots.map(({ note }) => parseCheckpoint(note).checkpoint.treeSize);
  }
}

export type Rows = readonly (readonly [key: Uint8Array, value: Uint8Array])[];

export async function rowsOf(store: Store): Promise<Rows> {
  const rows: [Uint8Array, Uint8Array][] = [];
  for await (const [key, value] of store.range(new Uint8Array(), Uint8Array.of(0xff))) rows.push([key, value]);
  return rows;
}

export async function storeOf(rows: Rows): Promise<MemoryStore> {
  const store = new MemoryStore();
  await store.batch(
    rows.map(([key, value]) => ({ type: 'put', key, value })),
    { sync: true },
  );
  return store;
}

export const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export interface World {
  readonly store: Store;
  readonly anchor: Anchor;
  readonly signer?: Pick<TestKey, 'publicKey' | 'sign'>;
  readonly log?: Logger;
}

const componentsOf = ({ store, anchor, signer = logKey, log = quiet }: World): AuditLogComponents => ({
  store,
  anchor,
  signer,
  log,
  clock: createSystemClock(),
  isSignatureValid: isSignatureValidSodium,
});

export const OPTIONS = { sha256, idOf };

/** The first generation, or the next one. */
export const create = (world: World, first: NewEntry = entryOf(0)): Promise<AuditLog> =>
  createGeneration(componentsOf(world), () => first, OPTIONS);

export async function open(world: World): Promise<AuditLog> {
  const log = await openAuditLog(componentsOf(world), OPTIONS);
  if (log === undefined) throw new Error('there is no log');
  return log;
}

export const isAbsent = async (world: World): Promise<boolean> =>
  (await openAuditLog(componentsOf(world), OPTIONS)) === undefined;

/** Appends entries up to this size, in groups as the queue takes them. */
export async function growTo(log: AuditLog, treeSize: number): Promise<void> {
  while (log.treeSize < treeSize) {
    const from = log.treeSize;
    const count = Math.min(treeSize - from, 4096);
    await Promise.all(Array.from({ length: count }, (_, i) => log.append(entryOf(from + i))));
  }
}

/** All that a log says of itself agrees with the entries of these tests. */
export async function expectWhole(log: AuditLog, treeSize: number): Promise<void> {
  expect(log.problem).toBeUndefined();
  expect(log.treeSize).toBe(treeSize);
  expect(toHex(log.root)).toBe(toHex(rootOf(treeSize)));
  expect(log.head().checkpoint).toMatchObject({ origin: log.origin, treeSize });
  expect(equalBytes((await log.files.entry(treeSize - 1)) ?? new Uint8Array(), entryOf(treeSize - 1).bytes)).toBe(true);
  expect(await log.files.entry(treeSize)).toBeUndefined();
}

/**
 * A database whose machine may lose power: batches that were not synced may be gone, and one that was under way may be
 * there or not, but whole.
 */
export class FragileStore implements Store {
  readonly #disk: MemoryStore;
  #unsynced: (readonly StoreWrite[])[] = [];
  /** Batches from this one on (from 1) fail; the one itself is on the disk all the same if so said. */
  failsAt = Number.POSITIVE_INFINITY;
  writesWhatFails = false;
  batches = 0;
  #isDead = false;
  readonly #live: MemoryStore;

  private constructor(disk: MemoryStore, live: MemoryStore) {
    this.#disk = disk;
    this.#live = live;
  }

  static async of(rows: Rows): Promise<FragileStore> {
    return new FragileStore(await storeOf(rows), await storeOf(rows));
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#live.get(key);
  }

  range(gte: Uint8Array, lt: Uint8Array): AsyncIterable<readonly [Uint8Array, Uint8Array]> {
    return this.#live.range(gte, lt);
  }

  async batch(writes: readonly StoreWrite[], { sync }: { readonly sync: boolean }): Promise<void> {
    this.batches++;
    const fails = this.batches >= this.failsAt;
    if (this.#isDead || (fails && !this.writesWhatFails)) throw new Error('no space left on device');
    this.#isDead = fails;
    await this.#live.batch(writes, { sync });
    this.#unsynced.push(writes);
    if (sync) await this.#flush();
    await new Promise((resolve) => setImmediate(resolve));
    if (fails) throw new Error('input/output error');
    if (this.#isDead) throw new Error('the machine is off');
  }

  async #flush(): Promise<void> {
    for (const writes of this.#unsynced) await this.#disk.batch(writes, { sync: true });
    this.#unsynced = [];
  }

  /** The rows that are there after the power was cut now. */
  async cutPower(): Promise<Rows> {
    this.#isDead = true;
    return rowsOf(this.#disk);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export const textOf = ({ note }: SignedCheckpoint): string => note.text;
