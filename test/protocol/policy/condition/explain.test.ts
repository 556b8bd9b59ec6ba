import { describe, expect, test } from 'vitest';
import { compileCondition } from '../../../../protocol/policy/condition/compile.ts';
import { explainCondition } from '../../../../protocol/policy/condition/explain.ts';
import type { PolicyContext } from '../../../../protocol/policy/context.ts';

const request: PolicyContext = {
  action: { type: 'tool_call' },
  agent: { did: 'did:mesh:a', organisation: 'did:mesh:o' },
  time: { iso: '2026-01-01T02:00:00Z', unix: 1_767_232_800, hour: 2, weekday: 4 },
  tool: { name: 'Send', arguments: { amount: 12, to: ['a', 'b'] }, paths: [] },
};

describe('explainCondition()', () => {
  test('says of each comparison what it found, and why it cannot tell', () => {
    const text =
      "tool.name == 'send' and not (tool.arguments.amount < 10 or 'c' in tool.arguments.to) and\n trust.score > 3 and has(peer) and size(tool.arguments.to) == 2";
    expect(explainCondition(compileCondition(text), request)).toEqual([
      { text: "tool.name == 'send'", is: true, value: 'Send' },
      { text: 'tool.arguments.amount < 10', is: false, value: 12 },
      { text: "'c' in tool.arguments.to", is: false, value: ['a', 'b'] },
      { text: 'trust.score > 3', is: 'unknown', because: '"trust.score" is missing' },
      { text: 'has(peer)', is: false },
      { text: 'size(tool.arguments.to) == 2', is: true, value: 2 },
    ]);
  });

  test('takes a macro as one, and names no value of two', () => {
    const text = "tool.arguments.to.exists(x, x == 'b') or tool.name == agent.name or tool.arguments.amount or true";
    expect(explainCondition(compileCondition(text), request)).toEqual([
      { text: "tool.arguments.to.exists(x, x == 'b')", is: true, value: ['a', 'b'] },
      { text: 'tool.name == agent.name', is: 'unknown', because: '"agent.name" is missing' },
      {
        text: 'tool.arguments.amount',
        is: 'unknown',
        value: 12,
        because: '"tool.arguments.amount" is a number, want a boolean',
      },
      { text: 'true', is: true },
    ]);
  });
});
