import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createSystemClock, createSystemRandom } from '../../daemon/system.ts';

describe('createSystemClock()', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('calls once after the delay', () => {
    const call = vi.fn();
    createSystemClock().after(1_000, call);
    vi.advanceTimersByTime(999);
    expect(call).not.toHaveBeenCalled();
    vi.advanceTimersByTime(10_000);
    expect(call).toHaveBeenCalledTimes(1);
  });

  test('does not call when cancelled', () => {
    const call = vi.fn();
    createSystemClock().after(1_000, call).cancel();
    vi.advanceTimersByTime(2_000);
    expect(call).not.toHaveBeenCalled();
  });

  test('waits for delays longer than a timer of Node, and can still be cancelled', () => {
    const [call, cancelled] = [vi.fn(), vi.fn()];
    const fortyDaysMs = 40 * 86_400_000;
    createSystemClock().after(fortyDaysMs, call);
    const timer = createSystemClock().after(fortyDaysMs, cancelled);
    vi.advanceTimersByTime(fortyDaysMs - 1);
    expect(call).not.toHaveBeenCalled();
    timer.cancel();
    vi.advanceTimersByTime(1);
    expect(call).toHaveBeenCalledTimes(1);
    expect(cancelled).not.toHaveBeenCalled();
  });

  test('tells the wall clock and a monotonic one', () => {
    vi.setSystemTime(1_795_000_000_000);
    const clock = createSystemClock();
    const beforeMs = clock.monotonicMs();
    vi.setSystemTime(1_794_000_000_000);
    expect(clock.nowMs()).toBe(1_794_000_000_000);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(beforeMs);
  });
});

describe('createSystemRandom()', () => {
  test('gives as many bytes as asked for, different ones each time', () => {
    const random = createSystemRandom();
    expect(random.bytes(0)).toHaveLength(0);
    expect(random.bytes(32)).toHaveLength(32);
    expect(random.bytes(32)).not.toEqual(random.bytes(32));
  });

  test('gives fractions from 0 to below 1', () => {
    const random = createSystemRandom();
    for (let i = 0; i < 1_000; i++) {
      const fraction = random.fraction();
      expect(fraction).toBeGreaterThanOrEqual(0);
      expect(fraction).toBeLessThan(1);
    }
  });
});
