/**
 * Strict DAG-CBOR: one encoding for each value and nothing else decodes.
 *
 *   major 0, 1  integers in shortest form, |n| <= 2^53 - 1        major 5  maps: text keys, ordered by length, then bytes
 *   major 2, 3  bytes, UTF-8 text, definite length                major 6  tag 42 alone: 00 ‖ CID
 *   major 4     arrays, definite length                           major 7  false, true, null; no floats, no undefined
 *
 * The decoder checks canonical form while it reads, so a value that decodes re-encodes to the same bytes (tested against
 * decode, re-encode, compare with @ipld/dag-cbor). Floats, which DAG-CBOR allows, are refused: nothing signed has one.
 * Source: IPLD DAG-CBOR specification; RFC 8949 section 4.2.
 */
import { MeshError } from '../errors.ts';
import { CBOR_DEPTH_MAX } from '../limits.ts';
import { compareBytes } from './bytes.ts';
import { Link, isCid } from './cid.ts';

export type Cbor = null | boolean | number | string | Uint8Array | Link | readonly Cbor[] | CborMap;
export interface CborMap {
  readonly [key: string]: Cbor | undefined;
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const malformed = (why: string): MeshError => new MeshError('malformed', `Cannot decode DAG-CBOR: ${why}`);
const noncanonical = (why: string): MeshError => new MeshError('noncanonical', `Cannot accept DAG-CBOR: ${why}`);

class Reader {
  readonly bytes: Uint8Array;
  at = 0;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  byte(): number {
    const value = this.bytes[this.at];
    if (value === undefined) throw malformed(`ends at byte ${this.at}, in the middle of an item`);
    this.at++;
    return value;
  }

  /** Where the bytes passed over start. */
  skip(length: number): number {
    const start = this.at;
    if (length > this.bytes.length - start)
      throw malformed(`an item of ${length} bytes starts at byte ${start} of ${this.bytes.length}`);
    this.at = start + length;
    return start;
  }

  take(length: number): Uint8Array {
    const start = this.skip(length);
    return this.bytes.subarray(start, this.at);
  }

  /** The argument of a head: value, length, count or tag number. */
  argument(info: number): number {
    if (info < 24) return info;
    if (info === 24) return this.#shortest(this.byte(), 24);
    if (info === 25) return this.#shortest(this.byte() * 256 + this.byte(), 0x100);
    if (info === 26) return this.#shortest(this.#u32(), 0x10000);
    if (info === 27) {
      const value = this.#u32() * 0x1_0000_0000 + this.#u32();
      if (value > Number.MAX_SAFE_INTEGER) throw malformed('an integer beyond 2^53 - 1');
      return this.#shortest(value, 0x1_0000_0000);
    }
    if (info === 31) throw noncanonical('an item of indefinite length');
    throw malformed(`reserved additional information ${info}`);
  }

  #u32(): number {
    return this.byte() * 0x1000000 + this.byte() * 0x10000 + this.byte() * 0x100 + this.byte();
  }

  #shortest(value: number, least: number): number {
    if (value < least) throw noncanonical(`${value} is not in its shortest form`);
    return value;
  }
}

/** Errors: malformed, noncanonical, too_large (deeper than CBOR_DEPTH_MAX). Byte strings are views of the input. */
export function decodeCbor(bytes: Uint8Array): Cbor {
  const reader = new Reader(bytes);
  const value = readItem(reader, 0);
  if (reader.at !== bytes.length) throw malformed(`${bytes.length - reader.at} bytes follow the item`);
  return value;
}

function readItem(reader: Reader, depth: number): Cbor {
  if (depth > CBOR_DEPTH_MAX) {
    throw new MeshError('too_large', `Cannot decode DAG-CBOR: nested deeper than ${CBOR_DEPTH_MAX} levels`);
  }
  const head = reader.byte();
  const info = head & 31;
  switch (head >> 5) {
    case 0:
      return reader.argument(info);
    case 1: {
      const value = -1 - reader.argument(info);
      if (value < Number.MIN_SAFE_INTEGER) throw malformed('an integer beyond 2^53 - 1');
      return value;
    }
    case 2:
      return reader.take(reader.argument(info));
    case 3:
      return readText(reader, info);
    case 4:
      return readArray(reader, info, depth);
    case 5:
      return readMap(reader, info, depth);
    case 6:
      return readLink(reader, info);
    default:
      return readSimple(info);
  }
}

function readText(reader: Reader, info: number): string {
  const start = reader.skip(reader.argument(info));
  return textOf(reader.bytes, start, reader.at);
}

/**
 * ASCII texts seen lately, by a hash of their bytes: statements repeat field names, a few words and DIDs, and to find one
 * costs less than to make it, above all for the garbage collector.
 */
const TEXTS_HELD = 1024;
const textsHeld: string[] = Array.from({ length: TEXTS_HELD }, () => '');
const TEXT_HELD_BYTES_MAX = 68; // a DID; what is longer seldom repeats

function textOf(bytes: Uint8Array, from: number, to: number): string {
  const length = to - from;
  if (length > TEXT_HELD_BYTES_MAX) return decodeUtf8(bytes.subarray(from, to));
  let hash = length;
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number;
    if (byte > 0x7f) return decodeUtf8(bytes.subarray(from, to));
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  const slot = (hash ^ (hash >>> 15)) & (TEXTS_HELD - 1);
  const held = textsHeld[slot] as string;
  if (held.length === length && isAsciiAt(held, bytes, from)) return held;
  const text = decodeUtf8(bytes.subarray(from, to));
  textsHeld[slot] = text;
  return text;
}

function isAsciiAt(text: string, bytes: Uint8Array, from: number): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[from + i]) return false;
  return true;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch (cause) {
    throw new MeshError('malformed', 'Cannot decode DAG-CBOR: text that is not UTF-8', {}, { cause });
  }
}

function readArray(reader: Reader, info: number, depth: number): Cbor[] {
  const count = reader.argument(info);
  // Each item takes a byte at least, so a count beyond what is left lies, and nothing is reserved for it.
  if (count > reader.bytes.length - reader.at)
    throw malformed(`an array of ${count} items in ${reader.bytes.length - reader.at} bytes`);
  const item = (): Cbor => readItem(reader, depth + 1);
  // Most are short, and an array that grows from nothing reserves room for 17.
  if (count === 1) return [item()];
  if (count === 2) return [item(), item()];
  if (count === 3) return [item(), item(), item()];
  const out: Cbor[] = [];
  for (let i = 0; i < count; i++) out.push(item());
  return out;
}

function readMap(reader: Reader, info: number, depth: number): CborMap {
  const count = reader.argument(info);
  if (count > (reader.bytes.length - reader.at) / 2)
    throw malformed(`a map of ${count} entries in ${reader.bytes.length - reader.at} bytes`);
  // Without a prototype, so that no name is inherited; set after the fact, as what Object.create(null) makes is a hash
  // table, five times as large and slow.
  const out = Object.setPrototypeOf({}, null) as Record<string, Cbor>;
  const { bytes } = reader;
  let [previous, previousEnd] = [0, -1];
  for (let i = 0; i < count; i++) {
    const head = reader.byte();
    if (head >> 5 !== 3) throw malformed('a map key that is not text');
    const start = reader.skip(reader.argument(head & 31));
    const key = textOf(bytes, start, reader.at);
    if (previousEnd >= 0) {
      const order = keyOrderAt(bytes, previous, previousEnd, start, reader.at);
      if (order === 0) throw malformed(`the key "${key}" twice in one map`);
      if (order > 0) throw noncanonical(`the key "${key}" is out of order`);
    }
    [previous, previousEnd] = [start, reader.at];
    out[key] = readItem(reader, depth + 1);
  }
  return out;
}

/** By length, then bytes: of two keys that lie in the same bytes. */
function keyOrderAt(bytes: Uint8Array, a: number, aEnd: number, b: number, bEnd: number): number {
  const length = aEnd - a;
  if (length !== bEnd - b) return length - (bEnd - b);
  for (let i = 0; i < length; i++) {
    const difference = (bytes[a + i] as number) - (bytes[b + i] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

const keyOrder = (a: Uint8Array, b: Uint8Array): number =>
  a.length === b.length ? compareBytes(a, b) : a.length - b.length;

function readLink(reader: Reader, info: number): Link {
  const tag = reader.argument(info);
  if (tag !== 42) throw malformed(`tag ${tag}; only 42 is known`);
  const head = reader.byte();
  if (head >> 5 !== 2) throw malformed('tag 42 on something that is not bytes');
  const bytes = reader.take(reader.argument(head & 31));
  if (bytes[0] !== 0 || !isCid(bytes.subarray(1))) throw malformed('tag 42 without a binary CID');
  return new Link(bytes.subarray(1));
}

function readSimple(info: number): Cbor {
  if (info === 20) return false;
  if (info === 21) return true;
  if (info === 22) return null;
  if (info >= 25 && info <= 27) throw malformed('a floating-point number');
  throw malformed(`simple value ${info}`);
}

class Writer {
  bytes = new Uint8Array(512);
  at = 0;

  reserve(length: number): void {
    if (this.at + length <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + length));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
  }

  head(major: number, value: number): void {
    this.reserve(9);
    const top = major << 5;
    if (value < 24) this.bytes[this.at++] = top | value;
    else if (value < 0x100) this.#write(top | 24, value, 1);
    else if (value < 0x10000) this.#write(top | 25, value, 2);
    else if (value < 0x1_0000_0000) this.#write(top | 26, value, 4);
    else this.#write(top | 27, value, 8);
  }

  #write(head: number, value: number, length: number): void {
    this.bytes[this.at++] = head;
    for (let i = length - 1, rest = value; i >= 0; i--, rest = Math.floor(rest / 256))
      this.bytes[this.at + i] = rest % 256;
    this.at += length;
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }
}

/** The one encoding of a value. Absent (undefined) map entries are left out. Errors: malformed, for what has no encoding. */
export function encodeCbor(value: Cbor): Uint8Array {
  const writer = new Writer();
  writeItem(writer, value);
  return writer.bytes.slice(0, writer.at);
}

function writeItem(writer: Writer, value: Cbor): void {
  if (typeof value === 'string') {
    const bytes = utf8Of(value);
    writer.head(3, bytes.length);
    writer.raw(bytes);
  } else if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || Object.is(value, -0))
      throw malformed(`${value} is not an integer of at most 2^53 - 1`);
    if (value >= 0) writer.head(0, value);
    else writer.head(1, -1 - value);
  } else if (value instanceof Uint8Array) {
    writer.head(2, value.length);
    writer.raw(value);
  } else if (value === null || typeof value === 'boolean') {
    writer.reserve(1);
    writer.bytes[writer.at++] = value === null ? 0xf6 : value ? 0xf5 : 0xf4;
  } else if (value instanceof Link) {
    writer.raw(Uint8Array.of(0xd8, 0x2a));
    writer.head(2, value.bytes.length + 1);
    writer.raw(Uint8Array.of(0));
    writer.raw(value.bytes);
  } else if (isArray(value)) {
    writer.head(4, value.length);
    for (const item of value) writeItem(writer, item);
  } else if (typeof value === 'object') {
    writeMap(writer, value);
  } else {
    throw malformed(`a ${typeof value} has no encoding`);
  }
}

function utf8Of(text: string): Uint8Array {
  if (!text.isWellFormed()) throw malformed('text with a lone surrogate');
  return utf8Encoder.encode(text);
}

const isArray = (value: Cbor): value is readonly Cbor[] => Array.isArray(value);

function writeMap(writer: Writer, map: CborMap): void {
  const entries: [Uint8Array, Cbor][] = [];
  for (const key of Object.keys(map)) {
    const value = map[key];
    if (value !== undefined) entries.push([utf8Of(key), value]);
  }
  entries.sort(([a], [b]) => keyOrder(a, b));
  writer.head(5, entries.length);
  for (const [key, value] of entries) {
    writer.head(3, key.length);
    writer.raw(key);
    writeItem(writer, value);
  }
}
