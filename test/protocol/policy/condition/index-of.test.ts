import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileCondition } from '../../../../protocol/policy/condition/compile.ts';
import { isCandidate } from '../../../../protocol/policy/condition/index-of.ts';
import { canonicalName } from '../../../../protocol/policy/names.ts';
import { anyCondition, context } from './arbitrary.ts';

const setsOf = (text: string): { actions: string[] | undefined; tools: string[] | undefined } => {
  const { actionTypes, toolNames } = compileCondition(text);
  return { actions: actionTypes && [...actionTypes], tools: toolNames && [...toolNames] };
};

describe('the index of a condition', () => {
  test.each([
    ["action.type == 'Export'", ['export'], undefined],
    ["'export' == action.type", ['export'], undefined],
    ["action.type in ['a', 'B', 'b']", ['a', 'b'], undefined],
    ["action.type == 'a' and tool.name == 'x'", ['a'], ['x']],
    ["action.type == 'a' and facts.missing", ['a'], undefined],
    ["action.type == 'a' or action.type == 'b'", ['a', 'b'], undefined],
    ["action.type == 'a' or facts.x", undefined, undefined],
    ["action.type == 'a' or tool.name == 'x'", undefined, undefined],
    ["(action.type == 'a' or action.type == 'b') and action.type in ['b', 'c']", ['b'], undefined],
    ["action.type == 'a' and action.type == 'b'", [], undefined],
    ["action.type != 'a'", undefined, undefined],
    ["not (action.type == 'a')", undefined, undefined],
    ["action.type not in ['a']", undefined, undefined],
    ["action.type >= 'a'", undefined, undefined],
    ["action.type.startsWith('a')", undefined, undefined],
    ["action.type.lower() == 'a'", undefined, undefined],
    ['action.type == agent.name', undefined, undefined],
    ["tool.name in ['ＲＥＡＤ', 'write']", undefined, ['read', 'write']],
    ['action.type in []', [], undefined],
    ['false', [], []],
    ["true and action.type == 'a'", ['a'], undefined],
    ["data.labels.exists(x, action.type == 'a')", undefined, undefined],
  ])('of %s', (text, actions, tools) => {
    expect(setsOf(text)).toEqual({ actions, tools });
  });

  test('leaves out no request of which the condition is true or unknown', () => {
    let [leftOut, kept] = [0, 0];
    fc.assert(
      fc.property(anyCondition, context, (text, request) => {
        const condition = compileCondition(text);
        const tool = request.tool && canonicalName(request.tool.name);
        if (isCandidate(condition, canonicalName(request.action.type), tool)) {
          kept++;
          return;
        }
        leftOut++;
        expect(condition.evaluate(request)).toBe(false);
      }),
      { numRuns: 4000, seed: 3 },
    );
    expect(leftOut).toBeGreaterThan(100);
    expect(kept).toBeGreaterThan(100);
  });

  test('says nothing of a request without a tool', () => {
    const condition = compileCondition("tool.name == 'x'");
    expect(isCandidate(condition, 'tool_call', undefined)).toBe(true);
    expect(isCandidate(condition, 'tool_call', 'y')).toBe(false);
  });
});
