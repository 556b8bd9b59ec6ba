import { beforeEach, describe, expect, test } from 'vitest';
import { Offences } from '../../../daemon/libp2p/offences.ts';
import { limits } from '../../../protocol/index.ts';
import { VirtualClock } from '../core/virtual-clock.ts';

describe('Offences', () => {
  let clock: VirtualClock;
  let offences: Offences;
  beforeEach(() => {
    clock = new VirtualClock();
    offences = new Offences(clock);
  });

  test('the third within seconds denies the peer for five minutes', async () => {
    expect(offences.add('peer')).toBe(false);
    await clock.advance(1_000);
    expect(offences.add('peer')).toBe(false);
    expect(offences.isDenied('peer')).toBe(false);
    await clock.advance(1_000);
    expect(offences.add('peer')).toBe(true);
    expect(offences.isDenied('peer')).toBe(true);
    await clock.advance(limits.DENIED_MS - 1);
    expect(offences.isDenied('peer')).toBe(true);
    await clock.advance(2);
    expect(offences.isDenied('peer')).toBe(false);
  });

  test('the score falls with the square, and recovers', async () => {
    expect(offences.score('peer')).toBe(0);
    offences.add('peer');
    expect(offences.score('peer')).toBe(-10);
    offences.add('peer');
    expect(offences.score('peer')).toBe(-40);
    await clock.advance(69_000); // 0.99^69 is a half
    expect(offences.score('peer')).toBeCloseTo(-10, 0);
    await clock.advance(600_000);
    expect(offences.score('peer')).toBe(0);
  });

  test('single offences far apart deny nobody', async () => {
    for (let i = 0; i < 20; i++) {
      expect(offences.add('peer')).toBe(false);
      await clock.advance(180_000);
    }
  });

  test('one peer’s are not another’s', () => {
    for (let i = 0; i < 3; i++) offences.add('peer');
    expect(offences.isDenied('other')).toBe(false);
    expect(offences.score('other')).toBe(0);
  });

  test('keeps a bounded number of peers, the latest', () => {
    for (let i = 0; i <= limits.DENIED_PEERS_MAX; i++) offences.add(`peer-${i}`, 3);
    expect(offences.isDenied('peer-0')).toBe(false);
    expect(offences.isDenied('peer-1')).toBe(true);
    expect(offences.isDenied(`peer-${limits.DENIED_PEERS_MAX}`)).toBe(true);
  });
});
