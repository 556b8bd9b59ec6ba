import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeLimitState,
  encodeLimitState,
  freeAtMs,
  giveBack,
  isFree,
  type LimitState,
  take,
} from '../../../protocol/policy/index.ts';
import { NOW_MS } from './sample.ts';

const HOUR_MS = 3_600_000;
const hourly = (count: number) => ({ count, windowMs: HOUR_MS });

/** Takes at each of these times what is free; the times at which it was. */
function takenAt(times: readonly number[], count: number, windowMs = HOUR_MS): number[] {
  let state: LimitState | undefined;
  return times.filter((ms) => {
    if (!isFree(state, ms, { count, windowMs })) return false;
    state = take(state, ms, { count, windowMs });
    return true;
  });
}

const windows = fc.constantFrom(1_000, 60_000, 3_600_000, 86_400_000);

test('no window of any length-W interval ever holds more than the limit', () => {
  fc.assert(
    fc.property(
      windows,
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.integer({ min: 0, max: 1_000 }), { minLength: 1, maxLength: 80 }),
      (windowMs, count, steps) => {
        let now = NOW_MS;
        const times = steps.map((step) => (now += Math.floor((step * windowMs) / 2_000)));
        const taken = takenAt(times, count, windowMs);
        for (const [i, first] of taken.entries()) {
          const inWindow = taken.slice(i).filter((ms) => ms - first < windowMs).length;
          expect(inWindow).toBeLessThanOrEqual(count);
        }
      },
    ),
  );
});

test('a use is free again at most one sixty-fourth of the window after the window', () => {
  fc.assert(
    fc.property(windows, fc.integer({ min: 0, max: 86_400_000 }), (windowMs, offset) => {
      const start = NOW_MS + offset;
      const state = take(undefined, start, { count: 1, windowMs });
      expect(isFree(state, start + windowMs - 1, { count: 1, windowMs })).toBe(false);
      expect(isFree(state, start + windowMs + Math.ceil(windowMs / 64), { count: 1, windowMs })).toBe(true);
      const freeMs = freeAtMs(state, start, { count: 1, windowMs });
      expect(isFree(state, freeMs, { count: 1, windowMs })).toBe(true);
      expect(isFree(state, freeMs - 1, { count: 1, windowMs })).toBe(false);
    }),
  );
});

describe('take()', () => {
  test('refuses with limit_exceeded what is used up, and changes no state in place', () => {
    const one = take(undefined, NOW_MS, hourly(2));
    const before = JSON.stringify(one);
    const two = take(one, NOW_MS, hourly(2));
    expect(JSON.stringify(one)).toBe(before);
    expect(() => take(two, NOW_MS, hourly(2))).toThrow(expect.objectContaining({ code: 'limit_exceeded' }));
  });

  test('frees nothing for a clock that goes back', () => {
    const state = take(undefined, NOW_MS, hourly(1));
    for (const back of [1, HOUR_MS, 100 * HOUR_MS]) expect(isFree(state, NOW_MS - back, hourly(1))).toBe(false);
    const two = take(state, NOW_MS - 10 * HOUR_MS, hourly(2)); // counted where the newest is
    expect(two.slices).toEqual([{ at: state.slices[0]?.at, uses: 2 }]);
    expect(isFree(two, NOW_MS, hourly(2))).toBe(false);
    expect(isFree(two, NOW_MS + HOUR_MS - 60_000, hourly(2))).toBe(false);
  });

  test('keeps counting when a policy changes the window', () => {
    fc.assert(
      fc.property(windows, windows, fc.integer({ min: 0, max: 500 }), (before, after, share) => {
        const state = take(undefined, NOW_MS, { count: 1, windowMs: before });
        const later = NOW_MS + Math.floor((share * Math.min(before, after)) / 1_000); // within half of either
        expect(isFree(state, later, { count: 1, windowMs: after })).toBe(false);
      }),
    );
  });
});

test('what is given back is free at once', () => {
  const two = take(take(undefined, NOW_MS, hourly(2)), NOW_MS + 60_000 * 10, hourly(2));
  const back = giveBack(two, NOW_MS, hourly(2));
  expect(isFree(back, NOW_MS + 60_000 * 10, hourly(2))).toBe(true);
  expect(isFree(take(back, NOW_MS + 60_000 * 10, hourly(2)), NOW_MS + 60_000 * 10, hourly(2))).toBe(false);
  expect(giveBack(giveBack(back, NOW_MS + 60_000 * 10, hourly(2)), NOW_MS, hourly(2)).slices).toEqual([]);
});

describe('the state of a limit', () => {
  test('survives encoding', () => {
    fc.assert(
      fc.property(
        windows,
        fc.array(fc.integer({ min: 0, max: 1_000 }), { minLength: 1, maxLength: 100 }),
        (windowMs, steps) => {
          let now = NOW_MS;
          let state: LimitState | undefined;
          for (const step of steps)
            state = take(state, (now += Math.floor((step * windowMs) / 10_000)), { count: 1_000, windowMs });
          if (state === undefined) throw new Error('nothing was taken');
          const bytes = encodeLimitState(state);
          expect(decodeLimitState(bytes)).toEqual(state);
          expect(bytes.length).toBeLessThan(10 + 65 * 9);
          expect(() => decodeLimitState(bytes.subarray(0, -1))).toThrow(/Cannot read/);
          expect(() => decodeLimitState(Uint8Array.from([...bytes, 0]))).toThrow(
            expect.objectContaining({ code: 'noncanonical' }),
          );
        },
      ),
    );
  });

  test('of another version, or with an empty slice, is refused', () => {
    const bytes = encodeLimitState(take(undefined, NOW_MS, hourly(1)));
    expect(() => decodeLimitState(Uint8Array.from([2, ...bytes.subarray(1)]))).toThrow(
      expect.objectContaining({ code: 'malformed' }),
    );
    expect(() => decodeLimitState(Uint8Array.from([...bytes.subarray(0, -1), 0]))).toThrow(
      expect.objectContaining({ code: 'malformed' }),
    );
    expect(() => decodeLimitState(new Uint8Array())).toThrow(expect.objectContaining({ code: 'malformed' }));
  });
});
