import { evaluate as evaluateCel } from '@marcbachmann/cel-js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileCondition, isUnknown } from '../../../../protocol/policy/condition/compile.ts';
import type { PolicyContext } from '../../../../protocol/policy/context.ts';
import { celCondition, context } from './arbitrary.ts';

/** CEL throws what we call unknown. */
function celTruth(text: string, request: PolicyContext): unknown {
  try {
    return evaluateCel(text, request);
  } catch {
    return 'unknown'; // a missing key, and nothing beside it that decides
  }
}
const truthOf = (text: string, request: PolicyContext): boolean | 'unknown' => {
  const truth = compileCondition(text).evaluate(request);
  return isUnknown(truth) ? 'unknown' : truth;
};

describe('beside @marcbachmann/cel-js, on what both can say', () => {
  test('conditions are true, false and in error of the same requests', () => {
    const seen = new Map<unknown, number>();
    fc.assert(
      fc.property(celCondition, context, (text, request) => {
        const cel = celTruth(text, request);
        seen.set(cel, (seen.get(cel) ?? 0) + 1);
        expect(truthOf(text, request)).toBe(cel);
      }),
      { numRuns: 3000, seed: 20_261_122 },
    );
    for (const truth of [true, false, 'unknown']) expect(seen.get(truth), String(truth)).toBeGreaterThan(100);
  });
});
