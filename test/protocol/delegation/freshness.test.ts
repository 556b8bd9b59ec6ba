import { describe, expect, test } from 'vitest';
import { freshnessOf, STALENESS_POLICY, stalenessOf } from '../../../protocol/delegation/freshness.ts';
import type { HeldHeartbeat, MeshView } from '../../../protocol/state/view.ts';
import { createHeartbeat, NOW_MS, NOW_SECONDS } from '../../builders.ts';
import { acme, knowing } from './world.ts';

describe('tolerated staleness', () => {
  test.each<[readonly string[], number | null, number]>([
    [[], null, 300],
    [['read:a'], null, 300],
    [['write:a'], null, 60],
    [['readings:a'], null, 60],
    [['mcp:fs/read'], null, 60],
    [['read:a', 'write:a'], null, 60],
    [['write:a', 'read:a'], null, 60],
    [['admin:a'], null, 0],
    [['pay:a', 'read:a'], null, 0],
    [['secrets:a'], 300, 0],
    [['read:a'], 5, 5],
    [['write:a'], 300, 60],
    [[], 0, 0],
  ])('for %j under stl %s is %i s', (cans, stl, seconds) => {
    expect(
      stalenessOf(
        cans.map((can) => ({ can })),
        stl,
      ),
    ).toBe(seconds);
  });

  test('follows the verifier, critical domains before all', () => {
    const policy = { ...STALENESS_POLICY, readSeconds: 10, criticalDomains: ['read'] };
    expect(stalenessOf([{ can: 'read:a' }], null, policy)).toBe(0);
    expect(stalenessOf([{ can: 'pay:a' }], null, policy)).toBe(60);
    expect(stalenessOf([], null, policy)).toBe(10);
  });
});

describe('of several heartbeats', () => {
  const answered = (secondsAgo: number): HeldHeartbeat => ({
    statement: createHeartbeat(acme, { nonce: new Uint8Array(16) }),
    askedMs: NOW_MS - secondsAgo * 1000,
  });
  const stapled = (secondsAgo: number): HeldHeartbeat => ({
    statement: createHeartbeat(acme, { iat: NOW_SECONDS - secondsAgo }),
    askedMs: undefined,
  });
  const state = knowing();
  const freshness = (held: readonly HeldHeartbeat[], staleAfterSeconds: number, askedSinceMs?: number) => {
    const view: Pick<MeshView, 'heartbeatsOf' | 'holdsOperation' | 'holdsRevocations'> = {
      heartbeatsOf: () => held,
      holdsOperation: (...all) => state.holdsOperation(...all),
      holdsRevocations: (...all) => state.holdsRevocations(...all),
    };
    return freshnessOf(view, acme.did, NOW_MS, { staleAfterSeconds, askedSinceMs });
  };

  test.each([
    ['an answer and an older stapled one', [answered(5), stapled(50)], 5, true],
    ['a stapled one and an older answer', [stapled(5), answered(50)], 5, false],
  ])('%s, in either order, the youngest counts', (_, held, ageSeconds, isAnswer) => {
    for (const order of [held, held.toReversed()]) {
      expect(freshness(order, 60)).toMatchObject({ stale: undefined, through: { ageSeconds, answered: isAnswer } });
    }
  });

  test('an answer asked for this decision goes before a younger one that was stapled', () => {
    const held = [stapled(0), answered(3)];
    for (const order of [held, held.toReversed()]) {
      expect(freshness(order, 0, NOW_MS - 4_000)).toMatchObject({
        stale: undefined,
        through: { ageSeconds: 3, answered: true },
      });
      expect(freshness(order, 0, NOW_MS - 2_000)).toMatchObject({ stale: 'not_asked' });
      expect(freshness(order, 0)).toMatchObject({ stale: 'not_asked' });
    }
  });

  test('one that names what is not held spoils the others', () => {
    const ahead: HeldHeartbeat = {
      ...stapled(5),
      statement: createHeartbeat(acme, { head: { ...acme.genesis, digest: new Uint8Array(32) } }),
    };
    for (const order of [
      [answered(1), ahead],
      [ahead, answered(1)],
    ]) {
      expect(freshness(order, 60)).toMatchObject({ stale: 'incomplete', through: { ageSeconds: null, rseq: null } });
    }
  });
});
