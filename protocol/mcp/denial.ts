/** How a refused request is answered (SPEC "MCP as governed"): so that a model can read it, and a program too. */
import type { JsonObject } from '../encoding/jcs.ts';
import type { ErrorCode } from '../errors.ts';
import type { PendingApproval, Verdict } from '../policy/gate.ts';
import { approvalStep } from './approval-questions.ts';
import type { Era } from './era.ts';
import { errorResponse, type RequestMessage, resultResponse, RPC_CODES } from './messages.ts';

/** Key of `_meta` for what was decided. */
export const META_DECISION = 'agentmesh/decision';

export interface Denial {
  readonly message: RequestMessage;
  readonly verdict: Verdict;
  readonly era: Era;
  /** What it waits for; default the verdict's own. */
  readonly waiting?: PendingApproval | undefined;
  /** As of SessionOptions. */
  readonly approvedBy?: string | undefined;
}

/** The answer to a request that the gate did not let through. */
export function denialOf({ message, verdict, era, waiting = verdict.approval, approvedBy }: Denial): Uint8Array {
  const { effect, code = 'policy_denied', rule, policy, id, index } = verdict;
  const decision: JsonObject = {
    effect,
    code: waiting === undefined ? code : 'approval_pending',
    rule,
    policy: { name: policy.name, digest: policy.digest },
    ...(id === null ? {} : { id }),
    ...(index === null ? {} : { index }),
    ...(waiting === undefined ? {} : { approval: approvalJson(waiting) }),
  };
  return refusalOf({ message, text: denialText(verdict, waiting, approvedBy), decision, era });
}

export interface Failed {
  readonly message: RequestMessage;
  readonly code: ErrorCode;
  /** A sentence without its stop. */
  readonly reason: string;
  readonly era: Era;
  readonly facts?: JsonObject | undefined;
  /** The server had it already. */
  readonly isBegun?: boolean | undefined;
}

/** The answer to a request that could not be decided, was cut off, or whose result may not be shown. */
export const failureOf = ({ message, code, reason, era, facts = {}, isBegun = false }: Failed): Uint8Array =>
  refusalOf({
    message,
    text: `${WHAT_BECAME[code] ?? (isBegun ? CUT_OFF : HELD_BACK)}: ${withoutStop(reason)}.`,
    decision: { ...facts, effect: 'deny', code },
    era,
  });

const HELD_BACK = 'AgentMesh did not let this through';
const CUT_OFF = 'AgentMesh ended this while it was under way';

/** Where it did not end before the server: whoever reads it must not take it for not done. */
const WHAT_BECAME: Readonly<Partial<Record<ErrorCode, string>>> = {
  outcome_unknown: 'AgentMesh does not know whether this was done',
  bad_proof: 'AgentMesh does not show what came back, whatever was done',
};

/** A call that a model makes is answered by a result that it reads; all else by an error that its program reads. */
function refusalOf(parts: {
  readonly message: RequestMessage;
  readonly text: string;
  readonly decision: JsonObject;
  readonly era: Era;
}): Uint8Array {
  const { message, text, decision, era } = parts;
  if (message.method !== 'tools/call') return errorResponse(message.id, RPC_CODES.denied, text, decision);
  return resultResponse(message.id, {
    ...(era === '2026-07-28' ? { resultType: 'complete' } : {}),
    content: [{ type: 'text', text }],
    isError: true,
    _meta: { [META_DECISION]: decision },
  });
}

/** Which rule of which policy, and what to do; never what its condition is. */
export function denialText(
  verdict: Verdict,
  waiting: PendingApproval | undefined = verdict.approval,
  approvedBy?: string,
): string {
  const parts = [`${HELD_BACK}: ${withoutStop(verdict.reason)}.`];
  const { rule, policy, reason } = verdict;
  // No rule: a default, which names its policy itself, a decision point or a limit.
  if (rule !== null && !reason.includes(`"${policy.name}"`))
    parts.push(`Decided by rule "${rule}" of policy "${policy.name}".`);
  if (waiting !== undefined)
    parts.push(
      `Until ${waiting.expiresAt} ${approvalStep(waiting.id, approvedBy)} lets it through; then ask again with the same arguments.`,
    );
  return parts.join(' ');
}

const withoutStop = (text: string): string => text.replace(/\.$/, '');

export const approvalJson = ({ id, approvers, quorum, expiresAt }: PendingApproval): JsonObject => ({
  id,
  approvers,
  quorum,
  expiresAt,
});
