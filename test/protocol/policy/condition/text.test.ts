import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareTexts, isInside, textSize } from '../../../../protocol/policy/condition/text.ts';

const text = fc.string({
  unit: fc.constantFrom('a', 'b', '\uffff', '\ue000', '\u{10000}', '\u{1f600}'),
  maxLength: 12,
});
const points = (of: string): number[] => Array.from(of, (letter) => letter.codePointAt(0) ?? 0);

describe('compareTexts()', () => {
  test('orders as code points do', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        const [x, y] = [points(a), points(b)];
        const at = x.findIndex((point, i) => point !== y[i]);
        const want = at < 0 ? x.length - y.length : y[at] === undefined ? 1 : (x[at] ?? 0) - y[at];
        expect(Math.sign(compareTexts(a, b))).toBe(Math.sign(want));
      }),
      { seed: 1 },
    );
  });
});

describe('textSize()', () => {
  test('counts code points', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '\ud83d', '\ude00', '\u{1f600}') }), (of) => {
        expect(textSize(of)).toBe(Array.from(of).length);
      }),
      { seed: 2 },
    );
  });
});

describe('isInside()', () => {
  test('finds what the platform finds, in short texts and long ones', () => {
    let found = 0;
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 4, maxLength: 24 });
    fc.assert(
      fc.property(letters, letters, fc.constantFrom(1, 2_000), fc.nat(20), (part, filler, times, cut) => {
        const long = part.repeat(times);
        const inside = `${filler.repeat(times)}${long.slice(0, -cut)}${filler}${long.slice(cut)}`;
        const is = inside.includes(long);
        if (is) found++;
        expect(isInside(inside, long)).toBe(is);
      }),
      { numRuns: 300, seed: 3 },
    );
    expect(found).toBeGreaterThan(10);
    expect(found).toBeLessThan(290);
  });
});
