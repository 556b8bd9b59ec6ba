import { expect, test } from 'vitest';
import { decideHeld, type PendingApproval, type Verdict } from '../../../protocol/policy/index.ts';

const approval: PendingApproval = {
  id: '00112233445566ff',
  approvers: [],
  quorum: 1,
  expiresAt: '2026-01-01T00:00:00Z',
};
const output = { bytesMax: 1 } as unknown as Verdict['output'];
const base = {
  id: 'x',
  rule: null,
  policy: { name: 'p', digest: 'd' },
  matched: [],
  output,
  reason: 'It waits',
  index: 1,
};
const waiting: Verdict = { ...base, effect: 'require_approval', code: 'approval_pending', approval };
const allowed: Verdict = { ...base, effect: 'allow' };

function holding(answers: Verdict[], states: string[]) {
  let nowMs = 0;
  const waits: number[] = [];
  return {
    waits,
    decide: async () => answers.shift() ?? allowed,
    wait: async (_id: string, waitMs: number) => {
      waits.push(waitMs);
      nowMs += waitMs;
      return states.shift() ?? 'pending';
    },
    nowMs: () => nowMs,
  };
}

test('what was approved is decided once more', async () => {
  const told: string[] = [];
  const held = holding([waiting, allowed], ['pending', 'approved']);
  const verdict = await decideHeld(held, { holdMs: 60_000, onWaiting: ({ id }) => told.push(id) });
  expect(verdict.effect).toBe('allow');
  expect(told).toEqual([approval.id, approval.id]);
});

test('what another call took meanwhile is asked for again', async () => {
  const verdict = await decideHeld(holding([waiting, waiting], ['used']), { holdMs: 60_000 });
  expect(verdict).toBe(waiting);
});

test('denied and expired are denials without an approval to wait for', async () => {
  for (const [state, why] of [
    ['denied', 'It waits: it was denied'],
    ['expired', 'It waits: nobody approved it in time'],
  ] as const) {
    const verdict = await decideHeld(holding([waiting], [state]), { holdMs: 60_000 });
    expect(verdict).toMatchObject({ effect: 'deny', code: 'approval_denied', reason: why });
    expect(verdict.approval).toBeUndefined();
  }
});

test('no longer than it was to be held, with a sign of life every few seconds', async () => {
  const held = holding([waiting], []);
  expect(await decideHeld(held, { holdMs: 12_000 })).toBe(waiting);
  expect(held.waits).toEqual([5_000, 5_000, 2_000]);
});

test('what need not be held is not', async () => {
  const held = holding([waiting, allowed], ['approved']);
  expect(await decideHeld(held, {})).toBe(waiting);
  expect(await decideHeld(held, { holdMs: 1_000 })).toBe(allowed);
  expect(held.waits).toEqual([]);
});
