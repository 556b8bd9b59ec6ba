import { describe, expect, test } from 'vitest';
import { createSystemClock, createSystemRandom } from '../../daemon/system.ts';

describe('the system clock', () => {
  const clock = createSystemClock();

  test('soon() lets work that is ready go first, and does not wait for a timer', async () => {
    const order: string[] = [];
    setImmediate(() => order.push('ready'));
    const timer = clock.after(1_000, () => order.push('timer'));
    await clock.soon().then(() => order.push('soon'));
    timer.cancel();
    expect(order).toEqual(['ready', 'soon']);
  });

  test('after() calls once the time has passed, unless it was cancelled', async () => {
    const called: string[] = [];
    const beganMs = clock.monotonicMs();
    clock.after(5, () => called.push('cancelled')).cancel();
    await new Promise<void>((resolve) => clock.after(20, resolve));
    expect(called).toEqual([]);
    expect(clock.monotonicMs() - beganMs).toBeGreaterThan(18); // timers are cut to whole milliseconds
  });

  test('after() takes longer than Node can wait at a stretch', async () => {
    let called = false;
    const timer = clock.after(2 ** 31 + 1_000, () => {
      called = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    timer.cancel();
    expect(called).toBe(false);
  });

  test('tells the time of day', () => {
    expect(Math.abs(clock.nowMs() - Date.now())).toBeLessThan(1_000);
  });
});

test('system randomness has the length asked for and does not repeat', () => {
  const random = createSystemRandom();
  expect(random.bytes(32)).toHaveLength(32);
  expect(random.bytes(32)).not.toEqual(random.bytes(32));
  expect(random.bytes(0)).toHaveLength(0);
  const fraction = random.fraction();
  expect(fraction >= 0 && fraction < 1).toBe(true);
});
