/** What the same entries are appended to: the audit log, bare LevelDB with the same rows, and two other kinds of log. */
import { hash, randomBytes } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Level } from 'level';
import { type AuditLog, createGeneration, openAuditLog } from '../daemon/core/log/audit-log.ts';
import { LogKeys, ownPrefix, u64be } from '../daemon/core/log/log-rows.ts';
import { createFileAnchor, type FileAnchor } from '../daemon/store/anchor.ts';
import { type LevelStore, openLevelStore } from '../daemon/store/level.ts';
import { createSystemClock, sha256 } from '../daemon/system.ts';
import { digestOf } from '../protocol/index.ts';
import { type Entry, TILE_WIDTH } from '../protocol/log/index.ts';
import { isSignatureValidSodium, SecretKey } from '../protocol/sodium.ts';

export interface SignedEntry {
  readonly entry: Entry;
  readonly id16: Uint8Array;
}

/** Keys are in canonical order already, so this is what was signed; every side does it for each of its entries. */
export const serialise = ({ entry }: SignedEntry): Uint8Array => Buffer.from(JSON.stringify(entry));

export interface Side extends AsyncDisposable {
  readonly name: string;
  /** So many appenders, each of which waits until its entry is durable before its next; the milliseconds that each took. */
  append(entries: readonly SignedEntry[], appenders: number): Promise<number[]>;
}

/** Runs `append` for each entry, so many at a time. */
async function concurrently(
  entries: readonly SignedEntry[],
  appenders: number,
  append: (entry: SignedEntry) => Promise<unknown>,
): Promise<number[]> {
  const tookMs: number[] = [];
  let next = 0;
  const appender = async (): Promise<void> => {
    for (let entry = entries[next++]; entry !== undefined; entry = entries[next++]) {
      const start = performance.now();
      await append(entry);
      tookMs.push(performance.now() - start);
    }
  };
  await Promise.all(Array.from({ length: appenders }, appender));
  return tookMs;
}

/** The same, where whoever appends has to make the batches himself. */
async function inBatches(
  entries: readonly SignedEntry[],
  size: number,
  append: (batch: readonly SignedEntry[]) => Promise<unknown>,
): Promise<number[]> {
  const tookMs: number[] = [];
  for (let at = 0; at < entries.length; at += size) {
    const start = performance.now();
    await append(entries.slice(at, at + size));
    tookMs.push(performance.now() - start);
  }
  return tookMs;
}

const quiet = (): void => undefined;

/** The audit log of a daemon, with its store and its anchor. */
export class OwnLog implements Side {
  readonly name = 'audit log';
  readonly log: AuditLog;
  readonly #store: LevelStore;
  readonly #anchor: FileAnchor;

  private constructor(log: AuditLog, store: LevelStore, anchor: FileAnchor) {
    this.log = log;
    this.#store = store;
    this.#anchor = anchor;
  }

  /** `first` starts a new one. */
  static async open(directory: string, first?: SignedEntry): Promise<OwnLog> {
    const store = await openLevelStore(join(directory, 'db'));
    const anchor = createFileAnchor(join(directory, 'log.anchor'));
    const components = {
      store,
      anchor,
      signer: new SecretKey(digestOf(new TextEncoder().encode('log key'))),
      clock: createSystemClock(),
      log: { debug: quiet, info: quiet, warn: console.warn, error: console.error },
      isSignatureValid: isSignatureValidSodium,
    };
    const log =
      first === undefined
        ? await openAuditLog(components, { sha256 })
        : await createGeneration(components, () => ({ bytes: serialise(first), id16: first.id16 }), { sha256 });
    if (log === undefined || log.problem !== undefined)
      throw new Error(`Cannot measure: ${log?.problem?.message ?? 'there is no log'}`);
    return new OwnLog(log, store, anchor);
  }

  append(entries: readonly SignedEntry[], appenders: number): Promise<number[]> {
    return concurrently(entries, appenders, (entry) => this.log.append({ bytes: serialise(entry), id16: entry.id16 }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log.close();
    await this.#anchor.close();
    await this.#store.close();
  }
}

type Database = Level<Uint8Array, Uint8Array>;

/** classic-level alone, which is given the rows that the log would write: entries, ids, tiles and a head a batch. */
export class BareLevel implements Side {
  readonly name: string = 'bare LevelDB';
  readonly #database: Database;
  readonly #keys = new LogKeys(ownPrefix(0));
  readonly #hashes = randomBytes(TILE_WIDTH * 32); // as little to be compressed as real ones
  readonly #head = Buffer.from(randomBytes(250).toString('base64'));
  #treeSize = 0;

  constructor(directory: string) {
    this.#database = new Level(join(directory, 'db'), { keyEncoding: 'view', valueEncoding: 'view' });
  }

  append(entries: readonly SignedEntry[], appenders: number): Promise<number[]> {
    return inBatches(entries, Math.min(appenders, 256), (batch) => {
      const writes = [];
      const keys = this.#keys;
      const from = this.#treeSize;
      for (const entry of batch) {
        const index = this.#treeSize++;
        writes.push({ type: 'put' as const, key: keys.entry(index), value: serialise(entry) });
        writes.push({ type: 'put' as const, key: keys.id(entry.id16), value: u64be(index) });
      }
      for (let [level, before, after] = [0, from, this.#treeSize]; after > before; level++) {
        for (let tile = Math.floor(before / TILE_WIDTH); tile * TILE_WIDTH < after; tile++) {
          const width = Math.min(TILE_WIDTH, after - tile * TILE_WIDTH);
          writes.push({
            type: 'put' as const,
            key: keys.tile(level, tile),
            value: this.#hashes.subarray(0, width * 32),
          });
        }
        [before, after] = [Math.floor(before / TILE_WIDTH), Math.floor(after / TILE_WIDTH)];
      }
      writes.push({ type: 'put' as const, key: keys.head, value: this.#head });
      return this.#database.batch(writes, { sync: true });
    });
  }

  /** One synced row an entry: the least that is durable. */
  put(entries: readonly SignedEntry[]): Promise<number[]> {
    return inBatches(entries, 1, async ([entry]) => {
      if (entry === undefined) return;
      await this.#database.put(this.#keys.entry(this.#treeSize++), serialise(entry), { sync: true });
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#database.close();
  }
}

/** Lines of JSON, each with the hash of the line before, and an fsync for each batch. */
export class ChainedFile implements Side {
  readonly name = 'hash-chained JSONL';
  readonly #handle: FileHandle;
  #last = '';

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async open(directory: string): Promise<ChainedFile> {
    return new ChainedFile(await open(join(directory, 'chain.jsonl'), 'a'));
  }

  append(entries: readonly SignedEntry[], appenders: number): Promise<number[]> {
    return inBatches(entries, appenders, async (batch) => {
      let lines = '';
      for (const { entry } of batch) {
        const line = JSON.stringify({ prev: this.#last, entry });
        this.#last = hash('sha256', line, 'hex');
        lines += `${line}\n`;
      }
      await this.#handle.write(lines);
      await this.#handle.datasync();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close();
  }
}

interface Hypercore {
  ready(): Promise<void>;
  append(blocks: readonly Uint8Array[]): Promise<unknown>;
  close(): Promise<void>;
}

/** Not a dependency (64 packages with a RocksDB): where it is installed is named on the command line. */
export class HypercoreLog implements Side {
  readonly name = 'hypercore (not synced)';
  readonly #core: Hypercore;

  private constructor(core: Hypercore) {
    this.#core = core;
  }

  static async open(installedIn: string, directory: string): Promise<HypercoreLog> {
    const require = createRequire(pathToFileURL(join(installedIn, 'package.json')));
    const Core = require('hypercore') as new (storage: string) => Hypercore;
    const core = new Core(join(directory, 'core'));
    await core.ready();
    return new HypercoreLog(core);
  }

  append(entries: readonly SignedEntry[], appenders: number): Promise<number[]> {
    return inBatches(entries, appenders, (batch) => this.#core.append(batch.map(serialise)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#core.close();
  }
}
