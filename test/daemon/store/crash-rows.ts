import { createHash } from 'node:crypto';
import type { StoreWrite } from '../../../daemon/ports.ts';
import { concatBytes, u32be } from '../../../protocol/index.ts';

export const ROWS_A_BATCH = 3;
export const keyOf = (batch: number, row: number): Uint8Array => concatBytes(u32be(batch), Uint8Array.of(row));

/** 32 to 352 bytes that only this batch and row have. */
export function valueOf(batch: number, row: number): Uint8Array {
  const digest = createHash('sha256').update(keyOf(batch, row)).digest();
  return concatBytes(...Array.from({ length: 1 + (batch % 11) }, () => digest));
}

export const batchOf = (batch: number): StoreWrite[] =>
  Array.from({ length: ROWS_A_BATCH }, (_, row) => ({
    type: 'put',
    key: keyOf(batch, row),
    value: valueOf(batch, row),
  }));
