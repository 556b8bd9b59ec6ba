import { describe, expect, test } from 'vitest';
import { isSignatureValidPure, limits, signedBytes, toBase64url } from '../../../protocol/index.ts';
import {
  type ApprovalDecision,
  approvalDigest,
  approvalMessage,
  approvedFacts,
  type GateRequest,
  verifyApproval,
} from '../../../protocol/policy/index.ts';
import { createOrganisation, createPerson } from '../../builders.ts';

const AGENT = 'did:mesh:agent';
const REQUEST: GateRequest = {
  action: 'tool_call',
  tool: {
    name: 'delete_file',
    server: 'files',
    arguments: { path: '/a', size: 1.5, deep: [{ x: null }] },
    paths: ['/a'],
  },
  resource: { uri: 'file:///a', scheme: 'file', paths: ['/a'] },
  prompt: { name: 'p', arguments: { q: 'x' }, paths: [] },
  mcp: { method: 'm' },
  facts: { order: 7 },
  exact: 'ab'.repeat(32),
};

describe('approvalDigest()', () => {
  test('is another one for any other agent, action, tool, server, argument, path, resource, prompt, method or fact', () => {
    const { tool, resource, prompt } = REQUEST as Required<GateRequest>;
    const others: [string, string, GateRequest][] = [
      ['agent', 'did:mesh:other', REQUEST],
      ['action', AGENT, { ...REQUEST, action: 'tool_cal' }],
      ['tool', AGENT, { ...REQUEST, tool: { ...tool, name: 'Delete_file' } }],
      ['server', AGENT, { ...REQUEST, tool: { ...tool, server: 'Files' } }],
      ['argument', AGENT, { ...REQUEST, tool: { ...tool, arguments: { ...tool.arguments, size: 1.25 } } }],
      ['argument more', AGENT, { ...REQUEST, tool: { ...tool, arguments: { ...tool.arguments, more: false } } }],
      ['path', AGENT, { ...REQUEST, tool: { ...tool, paths: ['/b'] } }],
      ['resource', AGENT, { ...REQUEST, resource: { ...resource, uri: 'file:///b' } }],
      ['path of a resource', AGENT, { ...REQUEST, resource: { ...resource, paths: [] } }],
      ['prompt', AGENT, { ...REQUEST, prompt: { ...prompt, arguments: { q: 'y' } } }],
      ['method', AGENT, { ...REQUEST, mcp: { method: 'n' } }],
      ['fact', AGENT, { ...REQUEST, facts: { order: 8 } }],
      ['letters', AGENT, { ...REQUEST, exact: 'cd'.repeat(32) }],
      ['nothing', AGENT, { action: 'tool_call' }],
    ];
    const digests = others.map(([, agent, request]) => approvalDigest(agent, request));
    expect(new Set([approvalDigest(AGENT, REQUEST), ...digests]).size).toBe(others.length + 1);
  });

  test('is the same whatever the order of members, and whatever is no part of what is asked', () => {
    const reversed = Object.fromEntries(Object.entries(REQUEST).reverse()) as unknown as GateRequest;
    expect(approvalDigest(AGENT, { ...reversed, labels: ['pii'], trace: 'x' })).toBe(approvalDigest(AGENT, REQUEST));
  });

  test('takes arguments as deep as requests are read, and none deeper', () => {
    const nested = (depth: number): GateRequest => {
      let value: object = {};
      for (let i = 1; i < depth; i++) value = { a: value };
      return { action: 'x', facts: value as never };
    };
    expect(approvalDigest(AGENT, nested(limits.DECISION_JSON_DEPTH_MAX - 1))).toMatch(/^[0-9a-f]{64}$/);
    expect(() => approvalDigest(AGENT, nested(limits.DECISION_JSON_DEPTH_MAX))).toThrow(
      expect.objectContaining({ code: 'too_large' }),
    );
  });

  test('leaves out what is absent', () => {
    expect(approvedFacts('a', { action: 'x' })).toEqual({ agent: 'a', action: 'x' });
  });
});

describe('verifyApproval()', () => {
  const alice = createPerson(createOrganisation('acme'), 'alice');
  const key = alice.keys.sign;
  const decision: ApprovalDecision = {
    id: '0123456789abcdef',
    digest: approvalDigest(AGENT, REQUEST),
    decision: 'approve',
    approver: alice.did,
    reason: 'as agreed',
    at: '2026-01-05T12:00:00.000Z',
  };
  const signed = (of: ApprovalDecision) => ({
    ...of,
    key: key.text,
    sig: toBase64url(key.sign(signedBytes('approval', approvalMessage(of)))),
  });
  const verify = (approval: ReturnType<typeof signed>): void => verifyApproval(approval, isSignatureValidPure);
  const code = (of: string) => expect.objectContaining({ code: of });

  test('accepts what the key signed, and denials too', () => {
    verify(signed(decision));
    verify(signed({ ...decision, decision: 'deny', reason: '' }));
  });

  test.each([
    ['id', { id: '0123456789abcdee' }],
    ['digest', { digest: 'ab'.repeat(32) }],
    ['decision', { decision: 'deny' as const }],
    ['approver', { approver: createPerson(createOrganisation('acme'), 'bob').did }],
    ['reason', { reason: 'as agree' }],
    ['time', { at: '2026-01-05T12:00:00.001Z' }],
  ])('refuses another %s', (_, change) => {
    expect(() => verify({ ...signed(decision), ...change })).toThrow(code('bad_signature'));
  });

  test('refuses another key, and a signature made for something else', () => {
    const other = createPerson(createOrganisation('acme'), 'bob').keys.sign;
    expect(() => verify({ ...signed(decision), key: other.text })).toThrow(code('bad_signature'));
    const sig = toBase64url(key.sign(signedBytes('login', approvalMessage(decision))));
    expect(() => verify({ ...signed(decision), sig })).toThrow(code('bad_signature'));
    expect(() => verify({ ...signed(decision), sig: '!' })).toThrow(code('bad_signature'));
    expect(() => verify({ ...signed(decision), key: 'z6MkNo' })).toThrow(code('malformed'));
  });

  test.each([
    ['id', { id: '' }],
    ['id', { id: 'a b' }],
    ['digest', { digest: 'AB'.repeat(32) }],
    ['decision', { decision: 'approved' as 'approve' }],
    ['approver', { approver: 'alice' }],
    ['reason', { reason: 'x'.repeat(limits.APPROVAL_REASON_TEXT_MAX + 1) }],
    ['at', { at: '2026-02-30T12:00:00Z' }],
    ['at', { at: '2026-01-05T12:00:00+01:00' }],
  ])('has nothing to be signed for a wrong %s: %j', (field, change) => {
    expect(() => approvalMessage({ ...decision, ...change })).toThrow(
      expect.objectContaining({ code: 'malformed', data: { field } }),
    );
  });
});
