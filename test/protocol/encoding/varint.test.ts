import fc from 'fast-check';
import { varint } from 'multiformats';
import { describe, expect, test } from 'vitest';
import { concatBytes, toHex } from '../../../protocol/encoding/bytes.ts';
import { decodeVarint, encodeVarint } from '../../../protocol/encoding/varint.ts';

const anyLength = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.constantFrom(0, 127, 128, 16_383, 16_384, 2 ** 21, 2 ** 28, 0xffff_ffff),
);

describe('varint', () => {
  test('is the bytes that multiformats writes, and reads back', () => {
    fc.assert(
      fc.property(anyLength, fc.uint8Array({ maxLength: 3 }), (value, before) => {
        const encoded = encodeVarint(value);
        expect(toHex(encoded)).toBe(toHex(varint.encodeTo(value, new Uint8Array(varint.encodingLength(value)))));
        const read = decodeVarint(concatBytes(before, encoded, Uint8Array.of(0xff)), before.length);
        expect(read).toEqual({ value, end: before.length + encoded.length });
      }),
      { numRuns: 2000 },
    );
  });

  test('that has not ended yet is neither a number nor an error', () => {
    for (const bytes of [[], [0x80], [0xff, 0xff, 0xff, 0xff]])
      expect(decodeVarint(Uint8Array.from(bytes))).toBeUndefined();
  });

  test.each([
    ['with a needless zero', [0x80, 0x00], 'noncanonical'],
    ['with a needless zero at the end', [0xff, 0x80, 0x00], 'noncanonical'],
    ['of six bytes', [0x80, 0x80, 0x80, 0x80, 0x80, 0x01], 'malformed'],
    ['of ten bytes', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 'malformed'],
    ['of 2^32', [0x80, 0x80, 0x80, 0x80, 0x10], 'malformed'],
  ])('%s is refused', (_, bytes, code) => {
    expect(() => decodeVarint(Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code }));
  });
});
