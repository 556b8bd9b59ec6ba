/**
 * The anchor of the audit log: one file of two slots for heads and two for released checkpoints, of LOG_ANCHOR_SLOT_BYTES
 * each. Those of a kind are written in turn and in place, so that whatever cuts a write short leaves the note before it.
 * Which is the newer one its counter says:
 *
 *   u64be counter ‖ u16be length ‖ note ‖ zeros ‖ SHA-256 of all before (32 bytes)
 */
import { hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { limits, MeshError } from '../../protocol/index.ts';
import type { Anchor, AnchorNote } from '../ports.ts';
import { openPrivateFile, writePrivateFile } from './private-file.ts';

const SLOT_BYTES = limits.LOG_ANCHOR_SLOT_BYTES;
const SLOTS_OF_A_KIND = 2;
const FILE_BYTES = 2 * SLOTS_OF_A_KIND * SLOT_BYTES;
const HEAD_BYTES = 10;
const DIGEST_BYTES = 32;
const NOTE_BYTES_MAX = SLOT_BYTES - HEAD_BYTES - DIGEST_BYTES;

export interface FileAnchor extends Anchor, AsyncDisposable {
  close(): Promise<void>;
}

/** The file is made, 0600, by the first write. Errors of reads and writes: permissions, closed. */
export const createFileAnchor = (path: string): FileAnchor => new SlotFile(path);

interface Slot {
  readonly counter: bigint;
  readonly note: Uint8Array;
}

/** Of a write. */
interface Place {
  readonly slot: number;
  readonly counter: bigint;
}

class SlotFile implements FileAnchor {
  readonly #path: string;
  #handle: FileHandle | undefined;
  /** Of the writes that are next, of a head and of a released one; known once the file was read. */
  #next: [head: Place, released: Place] | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(path: string) {
    this.#path = path;
  }

  read(): Promise<readonly AnchorNote[] | undefined> {
    return this.#alone(() => this.#read());
  }

  write(
    note: Uint8Array,
    { sync, isReleased }: { readonly sync: boolean; readonly isReleased: boolean },
  ): Promise<void> {
    return this.#alone(async () => {
      if (note.length > NOTE_BYTES_MAX)
        throw new MeshError('too_large', `Cannot anchor a note of ${note.length} bytes: want <= ${NOTE_BYTES_MAX}`, {
          is: note.length,
          want: NOTE_BYTES_MAX,
        });
      if (this.#next === undefined && (await this.#read()) === undefined) await this.#create();
      this.#next ??= [nextOf([]), nextOf([])];
      const kind = isReleased ? 1 : 0;
      const { slot, counter } = this.#next[kind];
      const handle = await this.#open();
      if (handle === undefined) throw new MeshError('not_found', `Cannot anchor a note: "${this.#path}" is gone`);
      const position = (kind * SLOTS_OF_A_KIND + slot) * SLOT_BYTES;
      await handle.write(formatSlot({ counter, note }), 0, SLOT_BYTES, position);
      if (sync) await handle.datasync();
      this.#next[kind] = { slot: (slot + 1) % SLOTS_OF_A_KIND, counter: counter + 1n };
    });
  }

  close(): Promise<void> {
    return this.#alone(async () => {
      this.#isClosed = true;
      const handle = this.#handle;
      this.#handle = undefined;
      await handle?.close();
    }, 'closing');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #read(): Promise<AnchorNote[] | undefined> {
    const handle = await this.#open();
    if (handle === undefined) return undefined;
    const bytes = new Uint8Array(FILE_BYTES);
    await handle.read(bytes, 0, bytes.length, 0); // what is missing at the end stays zero, which is no slot
    const slots = Array.from({ length: 2 * SLOTS_OF_A_KIND }, (_, i) =>
      parseSlot(bytes.subarray(i * SLOT_BYTES, (i + 1) * SLOT_BYTES)),
    );
    this.#next = [nextOf(slots.slice(0, SLOTS_OF_A_KIND)), nextOf(slots.slice(SLOTS_OF_A_KIND))];
    return slots.flatMap((slot, i) =>
      slot === undefined ? [] : [{ note: slot.note, isReleased: i >= SLOTS_OF_A_KIND }],
    );
  }

  async #open(): Promise<FileHandle | undefined> {
    this.#handle ??= await openPrivateFile(this.#path);
    return this.#handle;
  }

  async #create(): Promise<void> {
    await writePrivateFile(this.#path, new Uint8Array(FILE_BYTES), { replace: false });
  }

  /** One thing after the other. */
  #alone<T>(work: () => Promise<T>, why?: 'closing'): Promise<T> {
    const result = this.#last.then(() => {
      if (this.#isClosed && why === undefined)
        throw new MeshError('closed', `Cannot use "${this.#path}": the anchor is closed`);
      return work();
    });
    this.#last = result.catch(() => undefined); // whoever asked has the error
    return result;
  }
}

/** The slot that is not whole, or else the older one. */
function nextOf(slots: readonly (Slot | undefined)[]): Place {
  const counters = slots.map((slot) => slot?.counter ?? 0n);
  const [first = 0n, second = 0n] = counters;
  return { slot: first <= second ? 0 : 1, counter: (first > second ? first : second) + 1n };
}

function formatSlot({ counter, note }: Slot): Uint8Array {
  const bytes = new Uint8Array(SLOT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, counter);
  view.setUint16(8, note.length);
  bytes.set(note, HEAD_BYTES);
  bytes.set(digestOf(bytes), SLOT_BYTES - DIGEST_BYTES);
  return bytes;
}

/** Undefined unless it was written whole. */
function parseSlot(bytes: Uint8Array): Slot | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SLOT_BYTES);
  const [counter, length] = [view.getBigUint64(0), view.getUint16(8)];
  if (length === 0 || length > NOTE_BYTES_MAX) return undefined;
  if (!digestOf(bytes).equals(bytes.subarray(SLOT_BYTES - DIGEST_BYTES))) return undefined;
  return { counter, note: bytes.slice(HEAD_BYTES, HEAD_BYTES + length) };
}

const digestOf = (slot: Uint8Array): Buffer => hash('sha256', slot.subarray(0, SLOT_BYTES - DIGEST_BYTES), 'buffer');
