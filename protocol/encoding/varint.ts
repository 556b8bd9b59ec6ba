import { MeshError } from '../errors.ts';

/** unsigned-varint (multiformats): 7 bits a byte, least significant first, shortest form, at most 2^32 - 1 here. */
const VARINT_BYTES_MAX = 5; // 2^32 - 1; no frame is larger

export function encodeVarint(value: number): Uint8Array {
  const out: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    out.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  out.push(rest);
  return Uint8Array.from(out);
}

/**
 * Reads one at `at`; undefined when the bytes end before it does. Errors: malformed, noncanonical.
 */
export function decodeVarint(bytes: Uint8Array, at = 0): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let i = 0; i < VARINT_BYTES_MAX; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 0x80 ** i;
    if (byte < 0x80) {
      if (byte === 0 && i > 0) throw new MeshError('noncanonical', 'Cannot accept a varint: not in its shortest form');
      if (value > 0xffff_ffff)
        throw new MeshError('malformed', `Cannot read a varint: it is ${value}, want at most 2^32 - 1`);
      return { value, end: at + i + 1 };
    }
  }
  throw new MeshError('malformed', `Cannot read a varint: longer than ${VARINT_BYTES_MAX} bytes`);
}
