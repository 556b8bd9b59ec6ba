import { setImmediate } from 'node:timers/promises';
import { limits, MeshError } from '../../protocol/index.ts';
import type { StoreWrite } from '../ports.ts';

interface Waiting {
  readonly writes: readonly StoreWrite[];
  readonly sync: boolean;
  readonly resolve: () => void;
  readonly reject: (cause: MeshError) => void;
}

export type WriteBatch = (writes: readonly StoreWrite[], options: { readonly sync: boolean }) => Promise<void>;

/**
 * Group commit: while one batch is on its way to the disk, the next ones gather and then go together, with one sync.
 * Nothing waits for a timer: alone, a batch that is to be synced goes at once, and takes along what came in the same turn
 * of the event loop; what needs no sync waits until the turn is over, so that one write is enough for both. All batches
 * keep their order, synced or not, and each stays atomic. Those who write await their promises; that bounds the queue.
 *
 * After a failed write nobody knows what is on disk, so none is acknowledged any more until the store is opened anew.
 */
export class GroupCommit {
  readonly #write: WriteBatch;
  readonly #queue: Waiting[] = [];
  #draining: Promise<void> | undefined;
  /** Ends the wait for the end of the turn. */
  #hurry: (() => void) | undefined;
  #refusal: MeshError | undefined;

  constructor(write: WriteBatch) {
    this.#write = write;
  }

  get isReadOnly(): boolean {
    return this.#refusal !== undefined;
  }

  /** Resolves when written, and with `sync` when on disk. Errors: read_only. */
  batch(writes: readonly StoreWrite[], { sync }: { readonly sync: boolean }): Promise<void> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    return new Promise((resolve, reject) => {
      this.#queue.push({ writes, sync, resolve, reject });
      if (sync) this.#hurry?.();
      this.#draining ??= this.#drain();
    });
  }

  /** Refuses further batches; resolves when those accepted before are settled. */
  async close(): Promise<void> {
    this.#refusal ??= new MeshError('read_only', 'Cannot write: the store is closed');
    await this.#draining;
  }

  async #drain(): Promise<void> {
    await Promise.resolve(); // batches of the same tick go together
    while (this.#queue.length > 0) {
      if (!this.#queue.some(({ sync }) => sync)) await this.#turn();
      const group = this.#takeGroup();
      try {
        await this.#write(writesOf(group), { sync: group.some(({ sync }) => sync) });
        for (const { resolve } of group) resolve();
      } catch (cause) {
        this.#fail(group, cause);
      }
    }
    this.#draining = undefined;
  }

  /** Resolves when the turn is over, or sooner when something is to be synced. */
  async #turn(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#hurry = resolve;
    await Promise.race([promise, setImmediate()]);
    this.#hurry = undefined;
  }

  #takeGroup(): Waiting[] {
    if (this.#queue.length === 1) return this.#queue.splice(0);
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      bytes += bytesOf(waiting.writes);
      if (count > 0 && bytes > limits.STORE_GROUP_BYTES_MAX) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  #fail(group: readonly Waiting[], cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const refusal = new MeshError(
      'read_only',
      `Cannot write: ${reason}; nothing is acknowledged until the store is opened again`,
      {},
      { cause },
    );
    this.#refusal = refusal;
    for (const { reject } of [...group, ...this.#queue.splice(0)]) reject(refusal);
  }
}

const writesOf = (group: readonly Waiting[]): readonly StoreWrite[] =>
  group.length === 1 ? (group[0]?.writes ?? []) : group.flatMap(({ writes }) => writes);

function bytesOf(writes: readonly StoreWrite[]): number {
  let bytes = 0;
  for (const write of writes) bytes += write.key.length + (write.type === 'put' ? write.value.length : 0);
  return bytes;
}
