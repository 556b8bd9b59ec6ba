/** UUIDs of version 7 (RFC 9562 section 5.7): 48 bits of unix time in ms, then randomness. Lower case only. */
import { fromHex, toHex } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';

export interface Uuid7 {
  readonly timeMs: number;
  /** The 16 bytes, in the order of the text. */
  readonly bytes: Uint8Array;
}

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const RANDOM_BYTES = 16;
const TIME_MS_MAX = 2 ** 48 - 1; // 48 bits, until the year 10889

export const isUuid7 = (text: string): boolean => UUID7.test(text);

/** @param random 16 bytes, of which 74 bits are used. Errors: malformed. */
export function createUuid7(nowMs: number, random: Uint8Array): string {
  if (!Number.isInteger(nowMs) || nowMs < 0 || nowMs > TIME_MS_MAX || random.length !== RANDOM_BYTES)
    throw new MeshError(
      'malformed',
      `Cannot make a UUID at ${nowMs} ms from ${random.length} random bytes: want 0 to ${TIME_MS_MAX} ms and ${RANDOM_BYTES} bytes`,
    );
  const hex = nowMs.toString(16).padStart(12, '0') + toHex(random.subarray(6));
  const variant = ((random[8] as number) & 0x3f) | 0x80;
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-${variant.toString(16)}${hex.slice(18, 20)}-${hex.slice(20)}`;
}

/** Errors: malformed. */
export function parseUuid7(text: string): Uuid7 {
  const bytes = isUuid7(text) ? fromHex(text.replaceAll('-', '')) : undefined;
  if (bytes === undefined)
    throw new MeshError('malformed', `Cannot read UUID "${text.slice(0, 64)}": want version 7, in lower case`);
  return { bytes, timeMs: Number.parseInt(text.slice(0, 8) + text.slice(9, 13), 16) };
}
