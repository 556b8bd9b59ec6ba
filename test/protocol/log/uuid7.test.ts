import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromHex, toHex } from '../../../protocol/encoding/bytes.ts';
import { createUuid7, isUuid7, parseUuid7 } from '../../../protocol/log/index.ts';
import { suiteSeed } from '../../fuzz/random.ts';
import { codeOf } from './sample.ts';

const random = (hex: string): Uint8Array => fromHex(hex.padStart(32, '0')) as Uint8Array;

test('the example of RFC 9562 appendix A.6 is read and made', () => {
  const text = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f';
  expect(parseUuid7(text)).toEqual({ bytes: fromHex(text.replaceAll('-', '')), timeMs: 1_645_557_742_000 });
  // Its random bits, with others where version and variant go.
  expect(createUuid7(1_645_557_742_000, random('fcc318c4dc0c0c07398f'))).toBe(text);
  expect(createUuid7(1_645_557_742_000, random('0cc3d8c4dc0c0c07398f'))).toBe(text);
});

test('what is made has its time and 74 random bits, whatever the randomness', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 48 - 1 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (timeMs, bytes) => {
        const text = createUuid7(timeMs, bytes);
        expect(isUuid7(text)).toBe(true);
        const parsed = parseUuid7(text);
        expect(parsed.timeMs).toBe(timeMs);
        const wanted = Uint8Array.from(bytes.subarray(6));
        wanted[0] = 0x70 | ((wanted[0] as number) & 0x0f);
        wanted[2] = 0x80 | ((wanted[2] as number) & 0x3f);
        expect(toHex(parsed.bytes.subarray(6))).toBe(toHex(wanted));
      },
    ),
    { seed: suiteSeed(9562), numRuns: 500 },
  );
});

test('texts sort by their time', () => {
  const [early, late] = [createUuid7(1, random('ffffffffffffffffffff')), createUuid7(2, random('0'))];
  expect(early < late).toBe(true);
});

test.each([
  [-1, 16],
  [0.5, 16],
  [2 ** 48, 16],
  [Number.NaN, 16],
  [0, 15],
  [0, 17],
])('of %d ms and %i bytes none is made', (timeMs, length) => {
  expect(codeOf(() => createUuid7(timeMs, new Uint8Array(length)))).toBe('malformed');
});

test.each([
  '',
  '017f22e2-79b0-7cc3-98c4-dc0c0c07398',
  '017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n',
  '017F22E2-79B0-7CC3-98C4-DC0C0C07398F',
  '017f22e279b07cc398c4dc0c0c07398f',
  '017f22e2-79b0-4cc3-98c4-dc0c0c07398f',
  '017f22e2-79b0-7cc3-78c4-dc0c0c07398f',
  '017f22e2-79b0-7cc3-c8c4-dc0c0c07398f',
  '{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}',
  'urn:uuid:017f22e2-79b0-7cc3-98c4-dc0c0c07398f',
])('"%s" is refused', (text) => {
  expect(isUuid7(text)).toBe(false);
  expect(codeOf(() => parseUuid7(text))).toBe('malformed');
});
