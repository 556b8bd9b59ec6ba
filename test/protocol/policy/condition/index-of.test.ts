import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileCondition, isUnknown } from '../../../../protocol/policy/condition/compile.ts';
import type { IndexedSets } from '../../../../protocol/policy/condition/index-of.ts';
import type { PolicyContext } from '../../../../protocol/policy/context.ts';
import { canonicalName } from '../../../../protocol/policy/names.ts';
import { anyCondition, context } from './arbitrary.ts';

/** As whoever evaluates rules may skip them: by canonical names, and never by a name that is missing. */
const isCandidate = (
  { actionTypes, toolNames }: IndexedSets,
  actionType: string,
  toolName: string | undefined,
): boolean =>
  (actionTypes === undefined || actionTypes.has(actionType)) &&
  (toolNames === undefined || toolName === undefined || toolNames.has(toolName));

const setsOf = (text: string): { actions: string[] | undefined; tools: string[] | undefined } => {
  const { actionTypes, toolNames } = compileCondition(text);
  return { actions: actionTypes && [...actionTypes], tools: toolNames && [...toolNames] };
};

const WITHOUT_TOOL: PolicyContext = {
  action: { type: 'tool_call' },
  agent: { did: 'did:mesh:a', organisation: 'did:mesh:o' },
  time: { iso: '2026-01-01T02:00:00Z', unix: 1_767_232_800, hour: 2, weekday: 4 },
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

  test('says nothing of a request without a tool, of which a condition about tools is unknown', () => {
    const condition = compileCondition("tool.name == 'x'");
    expect(isCandidate(condition, 'tool_call', undefined)).toBe(true);
    expect(isUnknown(condition.evaluate(WITHOUT_TOOL))).toBe(true);
  });
});
