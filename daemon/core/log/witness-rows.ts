/**
 * What this witness cosigned last of each log: `w` ‖ SHA-256(origin) → the whole note, with the log's line and the own
 * one. The whole note and not its size and root: with it a later contradiction is evidence, without it a complaint.
 */
import { concatBytes, fromHex, MeshError, toHex } from '../../../protocol/index.ts';
import { originHash } from '../../../protocol/log/index.ts';
import type { Store } from '../../ports.ts';
import { Serial } from '../serial.ts';

const PREFIX = Uint8Array.of(0x77);
const END = Uint8Array.of(0x78);

export class WitnessRows {
  readonly #store: Store;
  readonly #underWay = new Map<string, { readonly serial: Serial; users: number }>();
  #count: Promise<number> | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The note; `hash` is the lower-case hex of the origin's. Undefined: nothing of it was ever cosigned. */
  async read(hash: string): Promise<Uint8Array | undefined> {
    const bytes = fromHex(hash);
    return bytes === undefined ? undefined : this.#store.get(concatBytes(PREFIX, bytes));
  }

  /**
   * Replaces the note of a log by what `change` makes of the one that is held: one change of an origin at a time, so
   * that none is decided on what another has replaced. On disk when it resolves. `change` answers without a note to
   * leave things as they are. Errors: read_only, and those of `change`.
   */
  update<T>(
    origin: string,
    change: (
      held: Uint8Array | undefined,
    ) =>
      | Promise<{ readonly answer: T; readonly note?: Uint8Array }>
      | { readonly answer: T; readonly note?: Uint8Array },
  ): Promise<T> {
    const hash = toHex(originHash(origin));
    return this.#alone(hash, async () => {
      const held = await this.read(hash);
      const { answer, note } = await change(held);
      if (note === undefined) return answer;
      const key = concatBytes(PREFIX, originHash(origin));
      await this.#store.batch([{ type: 'put', key, value: note }], { sync: true });
      if (held === undefined) this.#count = this.count().then((count) => count + 1);
      return answer;
    });
  }

  /** What was cosigned last of every log, in the order of their hashes. */
  async *notes(): AsyncIterable<Uint8Array> {
    for await (const [, note] of this.#store.range(PREFIX, END)) yield note;
  }

  /** Logs of which something was cosigned. */
  count(): Promise<number> {
    this.#count ??= this.#read();
    return this.#count;
  }

  async #read(): Promise<number> {
    let count = 0;
    for await (const [key] of this.#store.range(PREFIX, END)) {
      if (key.length !== 33)
        throw new MeshError('store_corrupt', 'Cannot read a witness row: its key has another length');
      count += 1;
    }
    return count;
  }

  async #alone<T>(hash: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#underWay.get(hash) ?? { serial: new Serial(), users: 0 };
    this.#underWay.set(hash, entry);
    entry.users += 1;
    try {
      return await entry.serial.run(work);
    } finally {
      entry.users -= 1;
      if (entry.users === 0) this.#underWay.delete(hash);
    }
  }
}
