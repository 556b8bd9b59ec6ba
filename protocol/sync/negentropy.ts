/**
 * Range-based set reconciliation: the negentropy protocol v1, byte for byte (SPEC "Sync").
 * Specification: hoytech/negentropy, docs/negentropy-protocol-v1.md.
 *
 * ```
 * message      61 ‖ range …            number = base-128 digits, most significant first (base128.ts)
 * range        bound ‖ mode ‖ payload  from the bound before it (first: epoch 0, id 0) up to, without, its own bound;
 *                                      after the last one to infinity: skip
 * bound        00 00 infinity, else number(1 + epoch - epoch of the bound before it) ‖ number(n) ‖ n bytes of an id,
 *                                      n <= 32, the bytes left out are zero
 * skip         00                      nothing (more) to say about this range
 * fingerprint  01 ‖ 16 bytes           of all ids that the sender has in it (range-index.ts)
 * id list      02 ‖ number(n) ‖ n ids of 32 bytes: all that the sender has in it
 * ```
 *
 * The asker's first message is fingerprints of 16 even parts of its set. Whoever gets a fingerprint that differs from
 * its own answers with 16 of its parts of that range, or with an id list where it has fewer than 32; an asker's id list
 * is answered with an id list. From id lists the asker learns both differences; what it has compared it skips. A sender
 * that runs out of room closes its message with one fingerprint from there to infinity.
 *
 * The answering side keeps nothing between messages, the asker a count of rounds: either set may change meanwhile. A
 * range is only ever judged by what is in it now, so a change costs at most another round or is found the next time.
 *
 * Work for one message of m bytes against n items: ranges do not overlap and take at least 3 bytes each, fingerprints
 * 19; every fingerprint received is compared once, in constant time (at most 256 additions and a hash); no more
 * fingerprints or ids are made than fit into the answer, which is bounded as the message is; and an asker walks over no
 * more items than a message could list (compareIds). So: O(m log n), whatever the message says.
 */
import { compareBytes, equalBytes } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import {
  RANGE_BUCKETS,
  RANGE_IDS_MAX,
  RANGE_MESSAGE_BYTES_MAX,
  RANGE_MESSAGE_BYTES_MIN,
  RANGE_ROUNDS_MAX,
} from '../limits.ts';
import { BASE128_BYTES_MAX, decodeBase128, encodeBase128 } from './base128.ts';
import {
  EPOCH_MAX,
  FINGERPRINT_BYTES,
  RANGE_ID_BYTES,
  type RangeBound,
  type RangeIndex,
  type RangeItem,
} from './range-index.ts';

const VERSION = 0x61;
const VERSION_FIRST = 0x60;
const VERSION_LAST = 0x6f;
const SKIP = 0;
const FINGERPRINT = 1;
const IDS = 2;

const START: RangeBound = { epoch: 0, prefix: new Uint8Array() };
const INFINITY: RangeBound = { epoch: Number.POSITIVE_INFINITY, prefix: new Uint8Array() };

const BOUND_BYTES_MAX = BASE128_BYTES_MAX + 1 + RANGE_ID_BYTES;
const SKIP_BYTES_MAX = BOUND_BYTES_MAX + 1;
const CLOSING_BYTES = 2 + 1 + FINGERPRINT_BYTES;
const IDS_HEAD_BYTES_MAX = BOUND_BYTES_MAX + 1 + BASE128_BYTES_MAX;
const ANSWER_BYTES_MAX = Math.max(
  RANGE_BUCKETS * (BOUND_BYTES_MAX + 1 + FINGERPRINT_BYTES),
  IDS_HEAD_BYTES_MAX + (RANGE_IDS_MAX - 1) * RANGE_ID_BYTES,
);

interface IdRange {
  readonly upper: RangeBound;
  readonly mode: 'ids';
  readonly ids: readonly Uint8Array[];
}

export type Range =
  | { readonly upper: RangeBound; readonly mode: 'skip' }
  | { readonly upper: RangeBound; readonly mode: 'fingerprint'; readonly fingerprint: Uint8Array }
  | IdRange;

export interface ReconcilerOptions {
  /** Bytes of a message, written or read. Default RANGE_MESSAGE_BYTES_MAX, at least RANGE_MESSAGE_BYTES_MIN. */
  readonly messageBytesMax?: number;
  /** Questions asked by `initiate` and `reconcile` together. Default RANGE_ROUNDS_MAX. */
  readonly roundsMax?: number;
}

export interface Reconciliation {
  /** The next question; absent when there is none, or no more may be asked. */
  readonly reply?: Uint8Array;
  /** Everything was compared. False without a reply: the rounds ran out, the rest is left to the next time. */
  readonly complete: boolean;
  /** Ids that this side has and the other one lacks; at most a message's worth at a time. */
  readonly have: readonly Uint8Array[];
  /** Ids that the other side says it has; an id may be named again in a later round. */
  readonly need: readonly Uint8Array[];
}

export interface Reconciler {
  /** The asker's first question. */
  initiate(): Uint8Array;
  /** The asker reads an answer. Errors: too_large, version, malformed. */
  reconcile(message: Uint8Array): Reconciliation;
  /** The other side's answer to a question. Errors: too_large, version, malformed. */
  respond(message: Uint8Array): Uint8Array;
}

export function createReconciler(index: RangeIndex, options: ReconcilerOptions = {}): Reconciler {
  const { messageBytesMax = RANGE_MESSAGE_BYTES_MAX, roundsMax = RANGE_ROUNDS_MAX } = options;
  if (!(messageBytesMax >= RANGE_MESSAGE_BYTES_MIN)) {
    throw new MeshError(
      'internal',
      `Cannot reconcile: messageBytesMax is ${messageBytesMax}, want >= ${RANGE_MESSAGE_BYTES_MIN}`,
    );
  }
  let rounds = 0;
  return {
    initiate() {
      rounds = 1;
      const out = new MessageWriter(messageBytesMax);
      split(out, index, 0, index.size, INFINITY);
      return out.bytes();
    },
    reconcile(message) {
      const have: Uint8Array[] = [];
      const need: Uint8Array[] = [];
      const haveMax = Math.floor(messageBytesMax / RANGE_ID_BYTES);
      const reply = answer(index, message, messageBytesMax, { have, need, haveMax });
      if (reply.length === 1) return { complete: true, have, need };
      if (rounds >= roundsMax) return { complete: false, have, need };
      rounds += 1;
      return { reply, complete: false, have, need };
    },
    respond: (message) => answer(index, message, messageBytesMax),
  };
}

interface Differences {
  readonly have: Uint8Array[];
  readonly need: Uint8Array[];
  readonly haveMax: number;
}

/** Both sides' answer to a message; only the asker has `found`. */
function answer(index: RangeIndex, message: Uint8Array, bytesMax: number, found?: Differences): Uint8Array {
  const out = new MessageWriter(bytesMax);
  let lower = 0;
  for (const range of parseMessage(message, bytesMax)) {
    const upper = index.lowerBound(range.upper);
    if (isSettled(index, range, lower, upper)) {
      out.skip(range.upper);
    } else {
      if (out.room < ANSWER_BYTES_MAX) return out.close(index, lower);
      const reached = answerRange(out, index, range, lower, upper, found);
      if (reached < upper) return out.close(index, reached);
    }
    lower = upper;
  }
  return out.bytes();
}

/** Writes what we say of one range. Returns the rank up to which it was said: less than `upper` if the rest has to wait. */
function answerRange(
  out: MessageWriter,
  index: RangeIndex,
  range: Range,
  lower: number,
  upper: number,
  found?: Differences,
): number {
  if (range.mode !== 'ids') return split(out, index, lower, upper, range.upper);
  return found === undefined
    ? list(out, index, lower, upper, range.upper)
    : compareIds(out, index, range, lower, upper, found);
}

const isSettled = (index: RangeIndex, range: Range, lower: number, upper: number): boolean =>
  range.mode === 'skip' ||
  (range.mode === 'fingerprint' && equalBytes(range.fingerprint, index.fingerprint(lower, upper)));

/** For a range that differs: fingerprints of 16 parts of it, or its ids where they are few. */
function split(out: MessageWriter, index: RangeIndex, lower: number, upper: number, bound: RangeBound): number {
  const count = upper - lower;
  if (count < RANGE_IDS_MAX) return list(out, index, lower, upper, bound);
  const least = Math.floor(count / RANGE_BUCKETS);
  const larger = count % RANGE_BUCKETS;
  let from = lower;
  for (let bucket = 0; bucket < RANGE_BUCKETS; bucket++) {
    const to = from + least + (bucket < larger ? 1 : 0);
    out.fingerprint(to === upper ? bound : boundAt(index, to), index.fingerprint(from, to));
    from = to;
  }
  return upper;
}

/** As many ids as there is room for. */
function list(out: MessageWriter, index: RangeIndex, lower: number, upper: number, bound: RangeBound): number {
  const reached = Math.min(upper, lower + Math.floor((out.room - IDS_HEAD_BYTES_MAX) / RANGE_ID_BYTES));
  out.ids(reached < upper ? boundAt(index, reached) : bound, index, lower, reached);
  return reached;
}

/**
 * The asker compares its items in a range with the list of theirs.
 *
 * A peer that lists a few ids for a range in which the asker has a million must not make it walk and copy them all: no
 * more is reported at once than a message could list. If their list is empty, the first part of the range is reported.
 * Otherwise nobody knows which of their ids belong to which part, and the range is asked for again in parts.
 */
function compareIds(
  out: MessageWriter,
  index: RangeIndex,
  range: IdRange,
  lower: number,
  upper: number,
  found: Differences,
): number {
  const { have, need, haveMax } = found;
  const reached = Math.min(upper, lower + haveMax - have.length);
  if (reached < upper && range.ids.length > 0) return split(out, index, lower, upper, range.upper);
  const theirs = new Map(range.ids.map((id) => [textOf(id), id]));
  for (const { id } of index.items(lower, reached)) if (!theirs.delete(textOf(id))) have.push(id);
  for (const id of theirs.values()) need.push(new Uint8Array(id)); // a copy: the message need not stay
  if (reached === upper) out.skip(range.upper);
  else if (reached > lower) out.skip(boundAt(index, reached));
  return reached;
}

/** Equal for equal ids; a Map compares arrays by identity. */
const textOf = (id: Uint8Array): string => String.fromCharCode(...id);

/** The shortest bound between the item of this rank and the one before it. */
const boundAt = (index: RangeIndex, rank: number): RangeBound => shortestBound(index.at(rank - 1), index.at(rank));

export function shortestBound(previous: RangeItem, next: RangeItem): RangeBound {
  if (previous.epoch !== next.epoch) return { epoch: next.epoch, prefix: new Uint8Array() };
  let shared = 0;
  while (shared < RANGE_ID_BYTES - 1 && previous.id[shared] === next.id[shared]) shared += 1;
  return { epoch: next.epoch, prefix: next.id.subarray(0, shared + 1) };
}

class MessageWriter {
  readonly #bytesMax: number;
  #bytes = new Uint8Array(1024);
  #length = 0;
  #epoch = 0;
  /** A skip is written only before something else: neighbouring ones become one, and the last is left out. */
  #skipTo: RangeBound | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#put([VERSION]);
  }

  /** Bytes for one more range, with the skip before it and a closing fingerprint after it accounted for. */
  get room(): number {
    return this.#bytesMax - this.#length - SKIP_BYTES_MAX - CLOSING_BYTES;
  }

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  skip(upper: RangeBound): void {
    this.#skipTo = upper;
  }

  fingerprint(upper: RangeBound, fingerprint: Uint8Array): void {
    this.#range(upper, FINGERPRINT);
    this.#put(fingerprint);
  }

  ids(upper: RangeBound, index: RangeIndex, from: number, to: number): void {
    this.#range(upper, IDS);
    this.#put(encodeBase128(to - from));
    for (const { id } of index.items(from, to)) this.#put(id);
  }

  /** Ends the message with a fingerprint of all from `rank` on, which it does not get to. */
  close(index: RangeIndex, rank: number): Uint8Array {
    this.fingerprint(INFINITY, index.fingerprint(rank, index.size));
    return this.bytes();
  }

  #range(upper: RangeBound, mode: number): void {
    if (this.#skipTo !== undefined) {
      this.#bound(this.#skipTo);
      this.#put([SKIP]);
      this.#skipTo = undefined;
    }
    this.#bound(upper);
    this.#put([mode]);
  }

  #bound({ epoch, prefix }: RangeBound): void {
    this.#put(epoch === Number.POSITIVE_INFINITY ? [0] : encodeBase128(1 + epoch - this.#epoch));
    this.#epoch = epoch;
    this.#put(encodeBase128(prefix.length));
    this.#put(prefix);
  }

  #put(bytes: ArrayLike<number>): void {
    const length = this.#length + bytes.length;
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = length;
  }
}

/**
 * Reads a message whole before anything is done about it. The arrays inside are views of it.
 * Equal bounds in a row (an empty range) are allowed, a second infinity too: the reference implementation, out of room
 * at the very end, writes one. Errors: too_large, version, malformed.
 */
export function parseMessage(message: Uint8Array, bytesMax = RANGE_MESSAGE_BYTES_MAX): Range[] {
  if (message.length > bytesMax) {
    throw new MeshError(
      'too_large',
      `Cannot accept range message: it has ${message.length} bytes, want <= ${bytesMax}`,
    );
  }
  const reader = new MessageReader(message);
  const version = reader.take(1)[0] as number;
  if (version < VERSION_FIRST || version > VERSION_LAST) throw malformed(`first byte is ${version}, want ${VERSION}`);
  if (version !== VERSION) {
    throw new MeshError('version', `Cannot accept range message: version byte is ${version}, want ${VERSION}`);
  }
  const ranges: Range[] = [];
  let lower = START;
  while (!reader.ended) {
    const upper = readBound(reader, lower.epoch);
    if (compareBounds(upper, lower) < 0) throw malformed(`bound ${ranges.length} is below the bound before it`);
    ranges.push(readRange(reader, upper));
    lower = upper;
  }
  return ranges;
}

function readBound(reader: MessageReader, previousEpoch: number): RangeBound {
  const step = reader.number();
  const epoch = step === 0 ? Number.POSITIVE_INFINITY : previousEpoch + step - 1;
  if (step !== 0 && epoch > EPOCH_MAX) throw malformed(`epoch is ${epoch}, want <= ${EPOCH_MAX}`);
  const length = reader.number();
  const lengthMax = step === 0 ? 0 : RANGE_ID_BYTES;
  if (length > lengthMax) throw malformed(`id prefix has ${length} bytes, want <= ${lengthMax}`);
  return { epoch, prefix: reader.take(length) };
}

function readRange(reader: MessageReader, upper: RangeBound): Range {
  const mode = reader.number();
  switch (mode) {
    case SKIP:
      return { upper, mode: 'skip' };
    case FINGERPRINT:
      return { upper, mode: 'fingerprint', fingerprint: reader.take(FINGERPRINT_BYTES) };
    case IDS: {
      const count = reader.number();
      const packed = reader.take(count * RANGE_ID_BYTES);
      const ids = Array.from({ length: count }, (_, i) =>
        packed.subarray(i * RANGE_ID_BYTES, (i + 1) * RANGE_ID_BYTES),
      );
      return { upper, mode: 'ids', ids };
    }
    default:
      throw malformed(`mode is ${mode}, want 0, 1 or 2`);
  }
}

function compareBounds(a: RangeBound, b: RangeBound): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  return compareBytes(padded(a.prefix), padded(b.prefix));
}

function padded(prefix: Uint8Array): Uint8Array {
  const id = new Uint8Array(RANGE_ID_BYTES);
  id.set(prefix);
  return id;
}

class MessageReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get ended(): boolean {
    return this.#at === this.#bytes.length;
  }

  number(): number {
    const { value, end } = decodeBase128(this.#bytes, this.#at);
    this.#at = end;
    return value;
  }

  take(count: number): Uint8Array {
    const end = this.#at + count;
    if (end > this.#bytes.length) throw malformed(`${this.#bytes.length - this.#at} bytes are left, want >= ${count}`);
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}

const malformed = (what: string): MeshError => new MeshError('malformed', `Cannot accept range message: ${what}`);
