import { MeshError } from '../errors.ts';

/**
 * Numbers as negentropy v1 writes them: base-128 digits, **most** significant first, as few as possible, the high bit on
 * all but the last. (The unsigned-varint of multiformats in encoding/varint.ts runs the other way.)
 */
export const BASE128_BYTES_MAX = 5; // 2^35 - 1; the largest number in a message is 1 + the largest epoch = 2^32

export function encodeBase128(value: number): number[] {
  const digits = [value % 0x80];
  for (let rest = Math.floor(value / 0x80); rest > 0; rest = Math.floor(rest / 0x80)) digits.push((rest % 0x80) | 0x80);
  return digits.reverse();
}

/** Reads one at `at`. Errors: malformed. */
export function decodeBase128(bytes: Uint8Array, at: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let i = 0; i < BASE128_BYTES_MAX; i++) {
    const byte = bytes[at + i];
    if (byte === undefined)
      throw new MeshError('malformed', 'Cannot read number in range message: the bytes end inside it');
    if (i === 0 && byte === 0x80)
      throw new MeshError('malformed', 'Cannot read number in range message: not in its shortest form');
    value = value * 0x80 + (byte & 0x7f);
    if (byte < 0x80) return { value, end: at + i + 1 };
  }
  throw new MeshError('malformed', `Cannot read number in range message: more than ${BASE128_BYTES_MAX} digits`);
}
