/** Vectors of approvals: what a request's digest covers, and what an approver signs. */
import { encodeJcs, isMeshError, limits, signedBytes, toBase64url, toHex } from '../../protocol/index.ts';
import {
  type ApprovalDecision,
  approvalDigest,
  approvalMessage,
  approvedFacts,
  type GateRequest,
  type SignedApproval,
  verifyApproval,
} from '../../protocol/policy/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { createAgent, createOrganisation, createPerson } from '../builders.ts';
import type { InvalidVector, ValidVector, VectorSet } from './vectors.ts';

const SOURCE = 'Approvals';
const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const bob = createPerson(acme, 'bob');
const agent = createAgent(acme, 'agent').did;

/** The code with which an approval is refused. */
export function refusalOfApproval(approval: SignedApproval): string | undefined {
  try {
    verifyApproval(approval, isSignatureValidSodium);
    return undefined;
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
}

const call: GateRequest = {
  action: 'tool_call',
  tool: { name: 'delete_file', server: 'files', arguments: { path: '/srv/a.txt' }, paths: ['/srv/a.txt'] },
};
const decisionOf = (request: GateRequest, change: Partial<ApprovalDecision> = {}): ApprovalDecision => ({
  id: '0123456789abcdef',
  digest: approvalDigest(agent, request),
  decision: 'approve',
  approver: alice.did,
  reason: 'as agreed',
  at: '2026-01-05T12:00:00.000Z',
  ...change,
});
const sign = (decision: ApprovalDecision, key = alice.keys.sign): SignedApproval => ({
  ...decision,
  key: key.text,
  sig: toBase64url(key.sign(signedBytes('approval', approvalMessage(decision)))),
});

function valid(request: GateRequest, change: Partial<ApprovalDecision> = {}): ValidVector {
  const decision = decisionOf(request, change);
  const canonical = encodeJcs(approvedFacts(agent, request), {
    numbers: 'any',
    depthMax: limits.DECISION_JSON_DEPTH_MAX,
  });
  return {
    source: SOURCE,
    agent,
    request,
    canonical: new TextDecoder().decode(canonical),
    digest: decision.digest,
    signedBytes: toHex(signedBytes('approval', approvalMessage(decision))),
    approval: sign(decision),
  };
}
const invalid = (code: string, change: Partial<SignedApproval>): InvalidVector => ({
  source: SOURCE,
  code,
  approval: { ...sign(decisionOf(call)), ...change },
});

export const approvalVectors: VectorSet = {
  valid: {
    'tool-call': valid(call),
    'denied-without-reason': valid(call, { decision: 'deny', reason: '' }),
    'time-to-the-second': valid(call, { at: '2026-01-05T12:00:00Z' }),
    'tool-of-another-case': valid({ ...call, tool: { ...call.tool, name: 'Delete_File' } }),
    'fractions-and-large-numbers': valid({
      action: 'tool_call',
      tool: { name: 'pay', arguments: { amount: 0.1, rate: 1e21, small: 1e-7, zero: -0, big: 2 ** 60 } },
    }),
    'members-out-of-order': valid({
      action: 'export',
      facts: { b: [true, null], a: { z: 'ü', '€': 1, '\u{1f600}': 2 } },
    }),
    'number-by-its-letters': valid({ ...call, exact: '5c'.repeat(32) }),
    resource: valid({
      action: 'resource_read',
      resource: { uri: 'file:///srv/a%2Etxt', scheme: 'file', paths: ['/srv/a.txt'] },
    }),
    prompt: valid({ action: 'prompt_get', prompt: { name: 'review', arguments: { language: 'en' }, paths: [] } }),
    message: valid({ action: 'mcp_request', mcp: { method: 'x/y' } }),
  },
  invalid: {
    'another-digest': invalid('bad_signature', { digest: approvalDigest(agent, { ...call, action: 'other' }) }),
    'another-id': invalid('bad_signature', { id: '0123456789abcdee' }),
    'a-denial-made-an-approval': {
      source: SOURCE,
      code: 'bad_signature',
      approval: { ...sign(decisionOf(call, { decision: 'deny' })), decision: 'approve' },
    },
    'another-approver': invalid('bad_signature', { approver: bob.did }),
    'key-of-another': invalid('bad_signature', { key: bob.keys.sign.text }),
    'signed-as-a-login': invalid('bad_signature', {
      sig: toBase64url(alice.keys.sign.sign(signedBytes('login', approvalMessage(decisionOf(call))))),
    }),
    'no-signature': invalid('bad_signature', { sig: '' }),
    'approver-that-is-a-name': invalid('malformed', { approver: 'alice' }),
    'digest-in-capitals': invalid('malformed', { digest: approvalDigest(agent, call).toUpperCase() }),
    'unknown-decision': invalid('malformed', { decision: 'maybe' as 'deny' }),
    'time-with-an-offset': invalid('malformed', { at: '2026-01-05T13:00:00+01:00' }),
    'reason-too-long': invalid('malformed', { reason: 'x'.repeat(limits.APPROVAL_REASON_TEXT_MAX + 1) }),
    'key-that-is-no-multikey': invalid('malformed', { key: 'alice' }),
  },
};
