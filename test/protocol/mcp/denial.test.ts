import { describe, expect, test } from 'vitest';
import { denialOf, denialText, failureOf } from '../../../protocol/mcp/index.ts';
import { approval, jsonOf, request, verdict } from './sample.ts';

const call = request('tools/call', { name: 'write_file' }, 'x');

describe('denialOf()', () => {
  test('answers a tool call with a result that a model can read', () => {
    expect(jsonOf(denialOf({ message: call, verdict, era: '2025-11-25' }))).toEqual({
      jsonrpc: '2.0',
      id: 'x',
      result: {
        content: [
          {
            type: 'text',
            text: 'AgentMesh did not let this through: writing is not allowed here. Decided by rule "no-writes" of policy "acme-baseline".',
          },
        ],
        isError: true,
        _meta: {
          'agentmesh/decision': {
            effect: 'deny',
            code: 'policy_denied',
            rule: 'no-writes',
            policy: { name: 'acme-baseline', digest: 'ab'.repeat(32) },
            id: 'v1',
            index: 41,
          },
        },
      },
    });
  });

  test('says in the stateless era that the result is complete', () => {
    expect(jsonOf(denialOf({ message: call, verdict, era: '2026-07-28' }))).toMatchObject({
      result: { resultType: 'complete', isError: true },
    });
  });

  test('answers everything else with -32001 and what a program needs', () => {
    const message = request('resources/read', { uri: 'file:///a' });
    expect(
      jsonOf(denialOf({ message, verdict: { ...verdict, rule: null, id: null, index: null }, era: '2025-11-25' })),
    ).toEqual({
      jsonrpc: '2.0',
      id: 1,
      error: {
        code: -32001,
        message: 'AgentMesh did not let this through: writing is not allowed here.',
        data: {
          effect: 'deny',
          code: 'policy_denied',
          rule: null,
          policy: { name: 'acme-baseline', digest: 'ab'.repeat(32) },
        },
      },
    });
  });

  test('does not name rule and policy twice', () => {
    const reason = 'Rule "no-writes" of policy "acme-baseline" denies it';
    expect(denialText({ ...verdict, reason })).toBe(`AgentMesh did not let this through: ${reason}.`);
  });

  test('says which command approves what waits', () => {
    const waiting = { ...verdict, effect: 'require_approval' as const, approval };
    const answer = jsonOf(denialOf({ message: call, verdict: waiting, era: '2025-11-25' })) as {
      result: { content: [{ text: string }]; _meta: Record<string, unknown> };
    };
    expect(answer.result.content[0].text).toContain('"agentmesh approvals approve ap-1 --reason WHY"');
    expect(answer.result._meta['agentmesh/decision']).toMatchObject({
      effect: 'require_approval',
      code: 'approval_pending',
      approval,
    });
  });
});

test('failureOf() says why, in the shape of a denial', () => {
  expect(
    jsonOf(failureOf({ message: call, code: 'not_running', reason: 'no daemon answers.', era: '2025-11-25' })),
  ).toEqual({
    jsonrpc: '2.0',
    id: 'x',
    result: {
      content: [{ type: 'text', text: 'AgentMesh did not let this through: no daemon answers.' }],
      isError: true,
      _meta: { 'agentmesh/decision': { effect: 'deny', code: 'not_running' } },
    },
  });
});

const failed = (code: 'outcome_unknown' | 'bad_proof' | 'timeout', method = 'tools/call'): string => {
  const message = request(method, { name: 'pay' }, 7);
  const facts = { key: 'k', code: 'x' };
  return JSON.stringify(jsonOf(failureOf({ message, code, reason: 'it broke', era: '2025-11-25', facts })));
};

test('what may have been done is not said to be held back', () => {
  expect(failed('outcome_unknown')).toContain('"AgentMesh does not know whether this was done: it broke."');
  expect(failed('bad_proof')).toContain('whatever was done');
  expect(failed('timeout')).toContain('did not let this through');
});

test('what was begun is not said to be held back either', () => {
  const ended = { message: call, code: 'revoked', reason: 'the session ended (revoked)', era: '2025-11-25' } as const;
  const text = (isBegun: boolean): string => JSON.stringify(jsonOf(failureOf({ ...ended, isBegun })));
  expect(text(true)).toContain('"AgentMesh ended this while it was under way: the session ended (revoked)."');
  expect(text(false)).toContain('"AgentMesh did not let this through: the session ended (revoked)."');
});

test('facts stand beside the code and never in its place', () => {
  const decision = '{"key":"k","code":"outcome_unknown","effect":"deny"}';
  expect(failed('outcome_unknown')).toContain(`"_meta":{"agentmesh/decision":${decision}}`);
  expect(failed('outcome_unknown', 'prompts/get')).toContain(`"data":${decision}`);
});
