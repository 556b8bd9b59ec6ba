import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareBytes, concatBytes, equalBytes, fromHex, toHex, u32be } from '../../../protocol/encoding/bytes.ts';

test('hex goes there and back, and other spellings are refused', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => equalBytes(fromHex(toHex(bytes)) ?? new Uint8Array(1), bytes)));
  expect(toHex(Uint8Array.of(0, 1, 0xab, 0xff))).toBe('0001abff');
  for (const text of ['0', 'AB', '0x00', '0g', ' 00', '00 ']) expect(fromHex(text), text).toBeUndefined();
});

test('compareBytes() is the order of Buffer.compare()', () => {
  const few = fc.uint8Array({ maxLength: 4, max: 2 });
  fc.assert(fc.property(few, few, (a, b) => Math.sign(compareBytes(a, b)) === Buffer.compare(a, b)));
  fc.assert(fc.property(few, few, (a, b) => equalBytes(a, b) === (Buffer.compare(a, b) === 0)));
});

test('concatBytes() and u32be() write what Buffer writes', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), (parts) =>
      equalBytes(concatBytes(...parts), Uint8Array.from(Buffer.concat(parts))),
    ),
  );
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (value) => {
      const buffer = Buffer.alloc(4);
      buffer.writeUInt32BE(value);
      return equalBytes(u32be(value), Uint8Array.from(buffer));
    }),
  );
});
