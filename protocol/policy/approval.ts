/**
 * What an approval is for, and what an approver signs (SPEC "Policies", approvals). An approval is for one request, to
 * the letter: another argument, another server, another file behind a link need another one.
 *
 *   digest    SHA-256 of canonical JSON of what is asked
 *   signed    "AgentMesh/approval/v1" ‖ 00 ‖ canonical JSON of the decision
 */
import { fromBase64url, toHex } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { encodeJcs, type JsonObject } from '../encoding/jcs.ts';
import { isMultikeyText, parseMultikeyText } from '../encoding/multikey.ts';
import { MeshError } from '../errors.ts';
import { isAudienceDid } from '../identity/did.ts';
import { APPROVAL_REASON_TEXT_MAX, DECISION_JSON_DEPTH_MAX } from '../limits.ts';
import { type IsSignatureValid, verifySignature } from '../signature.ts';
import type { GateRequest } from './gate.ts';

/** Of the agent (DID, or name where there is none) and its request; lower-case hex. Errors: malformed, too_large. */
export const approvalDigest = (agent: string, request: GateRequest): string =>
  toHex(digestOf(encodeJcs(approvedFacts(agent, request), { numbers: 'any', depthMax: DECISION_JSON_DEPTH_MAX })));

/**
 * What the digest covers. Names are as written, not as policies compare them: whoever approves "delete_file" has not
 * seen "Delete_File". Resolved paths are in it, so that a link which is turned elsewhere meanwhile needs a new approval.
 */
export function approvedFacts(agent: string, request: GateRequest): JsonObject {
  const { action, tool, resource, prompt, mcp, facts, exact } = request;
  return present({
    agent,
    action,
    tool: tool && present({ name: tool.name, arguments: tool.arguments, paths: tool.paths }),
    server: tool?.server,
    resource: resource && present({ uri: resource.uri, scheme: resource.scheme, paths: resource.paths }),
    prompt: prompt && present({ name: prompt.name, arguments: prompt.arguments, paths: prompt.paths }),
    mcp: mcp && { method: mcp.method },
    facts,
    exact,
  });
}

const present = (members: Readonly<Record<string, unknown>>): JsonObject =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as JsonObject;

/** What an approver decides. */
export interface ApprovalDecision {
  /** Of the approval that waits. */
  readonly id: string;
  /** `approvalDigest` of the request, hex. */
  readonly digest: string;
  readonly decision: 'approve' | 'deny';
  /** DID of the person: did:mesh, or did:key of whom the configuration names so. */
  readonly approver: string;
  readonly reason: string;
  /** RFC 3339, UTC, to the second or millisecond. */
  readonly at: string;
}

export interface SignedApproval extends ApprovalDecision {
  /** Multikey text of a key of the approver's DID. */
  readonly key: string;
  /** base64url */
  readonly sig: string;
}

/** What is signed, without the context that goes before it. Errors: malformed. */
export function approvalMessage({ id, digest, decision, approver, reason, at }: ApprovalDecision): Uint8Array {
  const check = (isRight: boolean, field: string, is: string, want: string): void => {
    if (!isRight)
      throw new MeshError('malformed', `Cannot accept an approval: ${field} is "${is}", want ${want}`, { field });
  };
  check(/^[!-~]{1,64}$/.test(id), 'id', id, '1 to 64 letters');
  check(/^[0-9a-f]{64}$/.test(digest), 'digest', digest, '64 lower-case hex digits');
  check(decision === 'approve' || decision === 'deny', 'decision', decision, '"approve" or "deny"');
  check(isAudienceDid(approver), 'approver', approver, 'a did:mesh or did:key');
  check(
    reason.length <= APPROVAL_REASON_TEXT_MAX,
    'reason',
    `${reason.slice(0, 20)}…`,
    `at most ${APPROVAL_REASON_TEXT_MAX} letters`,
  );
  check(isUtcTime(at), 'at', at, 'a time as "2026-11-22T10:00:00Z"');
  return encodeJcs({ id, digest, decision, approver, reason, at });
}

const isUtcTime = (text: string): boolean => {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/.test(text)) return false;
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text.slice(0, 19)); // no 30th of February
};

/**
 * That the key which it names signed it. Whether that is a key of the approver's DID now, whether the person may approve,
 * and whether it came in time, is for who holds the DID's log. Errors: malformed, bad_signature.
 */
export function verifyApproval(approval: SignedApproval, isSignatureValid: IsSignatureValid): void {
  if (!isMultikeyText(approval.key))
    throw new MeshError('malformed', `Cannot accept an approval: key is "${approval.key}", want "z6Mk…"`, {
      field: 'key',
    });
  const signature = fromBase64url(approval.sig) ?? new Uint8Array();
  verifySignature(isSignatureValid, 'approval', approvalMessage(approval), signature, parseMultikeyText(approval.key));
}
