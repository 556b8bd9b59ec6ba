import { sha256 } from '@noble/hashes/sha2.js';
import { CID } from 'multiformats/cid';
import { MeshError } from '../errors.ts';
import { equalBytes } from './bytes.ts';

/**
 * Every id is CIDv1, dag-cbor, sha2-256:
 *
 *   01      71        12        20      32 bytes
 *   version dag-cbor  sha2-256  length  digest          text: "b" ‖ base32(36 bytes), 59 characters
 */
const CID_PREFIX = Uint8Array.of(0x01, 0x71, 0x12, 0x20);
const CID_BYTES = 36;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const BASE32_VALUE = new Map([...BASE32].map((letter, value) => [letter, value]));

export const digestOf = (bytes: Uint8Array): Uint8Array => sha256(bytes);

const CID_TEXT_LENGTH = 59;
const CID_LETTERS = Uint8Array.from(BASE32, (letter) => letter.charCodeAt(0));
const asciiDecoder = new TextDecoder();

/** Text of the id with this digest. */
export function cidText(digest: Uint8Array): string {
  // Decoded in one piece: a text put together letter by letter stays a tree of as many strings.
  const letters = new Uint8Array(CID_TEXT_LENGTH);
  letters[0] = 0x62; // "b"
  let at = 1;
  let buffer = 0;
  let bits = 0;
  for (let i = 0; i < CID_BYTES; i++) {
    const byte = (i < CID_PREFIX.length ? CID_PREFIX[i] : digest[i - CID_PREFIX.length]) as number;
    buffer = ((buffer << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      letters[at++] = CID_LETTERS[(buffer >> bits) & 31] as number;
    }
  }
  letters[at] = CID_LETTERS[(buffer << (5 - bits)) & 31] as number;
  return asciiDecoder.decode(letters);
}

/** The 32-byte digest of an id text, or undefined if it is not the one text of such an id. */
export function digestOfCid(text: string): Uint8Array | undefined {
  if (text.length !== 59 || !text.startsWith('bafyrei')) return undefined;
  const bytes = new Uint8Array(CID_BYTES);
  let buffer = 0;
  let bits = 0;
  let at = 0;
  for (let i = 1; i < text.length; i++) {
    const value = BASE32_VALUE.get(text.charAt(i));
    if (value === undefined) return undefined;
    buffer = ((buffer << 5) | value) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (buffer >> bits) & 255;
    }
  }
  if (at !== CID_BYTES || (buffer & ((1 << bits) - 1)) !== 0) return undefined;
  return equalBytes(bytes.subarray(0, 4), CID_PREFIX) ? bytes.subarray(4) : undefined;
}

/** A DAG-CBOR link (tag 42). In statements only ids as above pass their schema; others occur in foreign fixtures. */
export class Link {
  readonly bytes: Uint8Array;
  #text: string | undefined;

  /** @param bytes the binary CID, without the 0x00 that DAG-CBOR puts in front. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  static ofDigest(digest: Uint8Array): Link {
    const bytes = new Uint8Array(CID_BYTES);
    bytes.set(CID_PREFIX, 0);
    bytes.set(digest, CID_PREFIX.length);
    return new Link(bytes);
  }

  /** Errors: malformed. */
  static parse(text: string): Link {
    const digest = digestOfCid(text);
    if (digest === undefined)
      throw new MeshError('malformed', `Cannot read id "${text}": want a CIDv1 like "bafyrei…"`);
    return Link.ofDigest(digest);
  }

  /** Whether this is a CIDv1, dag-cbor, sha2-256 id. */
  get isId(): boolean {
    return this.bytes.length === CID_BYTES && equalBytes(this.bytes.subarray(0, 4), CID_PREFIX);
  }

  get digest(): Uint8Array {
    return this.bytes.subarray(CID_PREFIX.length);
  }

  get text(): string {
    this.#text ??= this.isId ? cidText(this.digest) : CID.decode(this.bytes).toString();
    return this.#text;
  }

  toJSON(): { '/': string } {
    return { '/': this.text };
  }
}

/** Whether the bytes are a well-formed binary CID of any kind. */
export function isCid(bytes: Uint8Array): boolean {
  if (bytes.length === CID_BYTES && equalBytes(bytes.subarray(0, 4), CID_PREFIX)) return true;
  try {
    return equalBytes(CID.decode(bytes).bytes, bytes);
  } catch {
    return false; // CID.decode throws on whatever is not one: that is the answer
  }
}
