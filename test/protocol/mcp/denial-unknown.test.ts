import { expect, test } from 'vitest';
import { failureOf, parseMessage, type RequestMessage } from '../../../protocol/mcp/index.ts';

const request = (method: string): RequestMessage =>
  parseMessage(
    new TextEncoder().encode(JSON.stringify({ jsonrpc: '2.0', id: 7, method, params: { name: 'pay' } })),
    'client',
  ) as RequestMessage;
const answer = (code: 'outcome_unknown' | 'bad_proof' | 'timeout', method = 'tools/call') =>
  JSON.parse(
    new TextDecoder().decode(
      failureOf({
        message: request(method),
        code,
        reason: 'it broke',
        era: '2025-11-25',
        facts: { key: 'k', code: 'x' },
      }),
    ),
  );

test('what may have been done is not said to be held back', () => {
  expect(answer('outcome_unknown').result.content[0].text).toBe(
    'AgentMesh does not know whether this was done: it broke.',
  );
  expect(answer('bad_proof').result.content[0].text).toContain('whatever was done');
  expect(answer('timeout').result.content[0].text).toContain('did not let this through');
});

test('facts stand beside the code and never in its place', () => {
  expect(answer('outcome_unknown').result._meta['agentmesh/decision']).toEqual({
    key: 'k',
    effect: 'deny',
    code: 'outcome_unknown',
  });
  expect(answer('outcome_unknown', 'prompts/get').error.data).toMatchObject({ key: 'k', code: 'outcome_unknown' });
});
