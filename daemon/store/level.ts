import { Level } from 'level';
import { MeshError } from '../../protocol/index.ts';
import type { Store, StoreWrite } from '../ports.ts';
import { GroupCommit } from './group-commit.ts';

/** The one database of a home. */
export interface LevelStore extends Store, AsyncDisposable {
  readonly directory: string;
  /** True after a failed write or `close()`: `batch` answers read_only. */
  readonly isReadOnly: boolean;
}

type Database = Level<Uint8Array, Uint8Array>;

/**
 * Opens (or creates) the LevelDB in this directory and holds its lock until closed or until the process ends.
 * Errors: already_running (the lock is held), store_corrupt.
 */
export async function openLevelStore(directory: string): Promise<LevelStore> {
  const database: Database = new Level(directory, { keyEncoding: 'view', valueEncoding: 'view' });
  try {
    await database.open();
  } catch (cause) {
    throw openError(directory, cause);
  }
  return new OpenLevelStore(directory, database);
}

class OpenLevelStore implements LevelStore {
  readonly directory: string;
  readonly #database: Database;
  readonly #commits: GroupCommit;

  constructor(directory: string, database: Database) {
    this.directory = directory;
    this.#database = database;
    this.#commits = new GroupCommit((writes, options) => writeChained(database, writes, options));
  }

  get isReadOnly(): boolean {
    return this.#commits.isReadOnly;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      const value: Uint8Array | undefined = await this.#database.get(key);
      return value === undefined ? undefined : plain(value);
    } catch (cause) {
      throw this.#readError(cause);
    }
  }

  async *range(gte: Uint8Array, lt: Uint8Array): AsyncGenerator<readonly [Uint8Array, Uint8Array], void, undefined> {
    try {
      for await (const [key, value] of this.#database.iterator({ gte, lt })) yield [plain(key), plain(value)];
    } catch (cause) {
      throw this.#readError(cause);
    }
  }

  batch(writes: readonly StoreWrite[], options: { readonly sync: boolean }): Promise<void> {
    return this.#commits.batch(writes, options);
  }

  /** Finishes the writes accepted so far, then gives the lock back. */
  async close(): Promise<void> {
    await this.#commits.close();
    await this.#database.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #readError(cause: unknown): unknown {
    const code = codeOf(cause);
    if (code === 'LEVEL_DATABASE_NOT_OPEN' || code === 'LEVEL_ITERATOR_NOT_OPEN') {
      return new MeshError('closed', `Cannot read from "${this.directory}": the store is closed`, {}, { cause });
    }
    return code === 'LEVEL_CORRUPTION' ? corrupt(this.directory, cause) : cause;
  }
}

/** Row by row: of an array each row is cloned first, and read through Node-API, which takes a large batch twice as long. */
function writeChained(
  database: Database,
  writes: readonly StoreWrite[],
  options: { readonly sync: boolean },
): Promise<void> {
  const batch = database.batch();
  for (const write of writes) {
    if (write.type === 'put') batch.put(write.key, write.value);
    else batch.del(write.key);
  }
  return batch.write(options);
}

function openError(directory: string, cause: unknown): unknown {
  // abstract-level wraps what LevelDB said: LEVEL_DATABASE_NOT_OPEN with LEVEL_LOCKED as its cause.
  const code = codeOf(cause instanceof Error ? cause.cause : undefined);
  if (code === 'LEVEL_LOCKED') {
    return new MeshError(
      'already_running',
      `Cannot open "${directory}": another process holds it`,
      { path: directory },
      { cause },
    );
  }
  return code === 'LEVEL_CORRUPTION' ? corrupt(directory, cause) : cause;
}

const corrupt = (directory: string, cause: unknown): MeshError => {
  const reason =
    cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : String(cause);
  return new MeshError('store_corrupt', `Cannot read "${directory}": ${reason}`, { path: directory }, { cause });
};

const codeOf = (cause: unknown): unknown => (cause instanceof Error && 'code' in cause ? cause.code : undefined);

/** LevelDB hands out Buffers, whose `slice` shares memory where Uint8Array's copies. */
const plain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
