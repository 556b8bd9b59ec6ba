import { createHash } from 'node:crypto';
import type { RangeItem } from '../../../protocol/sync/range-index.ts';

export const hash = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());
export const hashId = (text: string): Uint8Array => hash(new TextEncoder().encode(text));

/** 32 bytes that are zero but for those given, at the front. */
export function idOf(...bytes: number[]): Uint8Array {
  const id = new Uint8Array(32);
  id.set(bytes);
  return id;
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));

/** The specification's sentence, done the slow way; counts below 128 are one digit, below 16,384 two. */
export function naiveFingerprint(items: readonly RangeItem[]): Uint8Array {
  let sum = 0n;
  for (const { id } of items) sum += BigInt(`0x${hex(Uint8Array.from(id).reverse())}`);
  const text = (sum % 2n ** 256n).toString(16).padStart(64, '0');
  const count = items.length < 0x80 ? [items.length] : [0x80 | (items.length >> 7), items.length & 0x7f];
  const little = Uint8Array.from(Buffer.from(text, 'hex')).reverse();
  return hash(Uint8Array.from([...little, ...count])).subarray(0, 16);
}
