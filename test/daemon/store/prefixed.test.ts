import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { prefixEnd } from '../../../daemon/store/prefixed.ts';
import { compareBytes, concatBytes } from '../../../protocol/index.ts';

describe('prefixEnd()', () => {
  it('comes after every key that begins with the prefix and not after others', () => {
    const prefixes = fc
      .uint8Array({ minLength: 1, maxLength: 4 })
      .filter((prefix) => prefix.some((byte) => byte < 255));
    fc.assert(
      fc.property(prefixes, fc.uint8Array({ maxLength: 4 }), fc.uint8Array({ maxLength: 5 }), (prefix, rest, other) => {
        const end = prefixEnd(prefix);
        expect(compareBytes(concatBytes(prefix, rest), end)).toBeLessThan(0);
        const isWithin = compareBytes(other, prefix) >= 0 && compareBytes(other, end) < 0;
        expect(isWithin).toBe(compareBytes(other.subarray(0, prefix.length), prefix) === 0);
      }),
    );
  });

  it('refuses a prefix of 255s only, which has none', () => {
    expect(() => prefixEnd(Uint8Array.of(255, 255))).toThrow(/no key comes after/);
    expect(() => prefixEnd(Uint8Array.of())).toThrow(/no key comes after/);
  });
});
