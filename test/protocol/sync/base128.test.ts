import { describe, expect, it } from 'vitest';
import { isMeshError } from '../../../protocol/errors.ts';
import { decodeBase128, encodeBase128 } from '../../../protocol/sync/base128.ts';

const cases: readonly (readonly [value: number, digits: readonly number[]])[] = [
  [0, [0x00]],
  [1, [0x01]],
  [127, [0x7f]],
  [128, [0x81, 0x00]],
  [16_383, [0xff, 0x7f]],
  [16_384, [0x81, 0x80, 0x00]],
  [2 ** 32, [0x90, 0x80, 0x80, 0x80, 0x00]],
];

const codeOf = (bytes: readonly number[]): unknown => {
  try {
    return decodeBase128(Uint8Array.from(bytes), 0);
  } catch (error) {
    return isMeshError(error) ? error.code : error;
  }
};

describe('base-128 numbers', () => {
  it.each(cases)('%i has its most significant digit first', (value, digits) => {
    expect(encodeBase128(value)).toEqual(digits);
    expect(decodeBase128(Uint8Array.from([9, ...digits, 9]), 1)).toEqual({ value, end: 1 + digits.length });
  });

  it('decodeBase128() rejects leading zero digits, missing digits and a sixth digit', () => {
    expect(codeOf([0x80, 0x01])).toBe('malformed');
    expect(codeOf([])).toBe('malformed');
    expect(codeOf([0x81])).toBe('malformed');
    expect(codeOf([0x81, 0x80, 0x80, 0x80, 0x80, 0x00])).toBe('malformed');
  });
});
