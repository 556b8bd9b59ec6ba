/** Policies: what an agent may do (SPEC "Policies"). Loads yaml; whoever needs only the types imports only those. */
export { ACTION_TYPES, type PolicyContext } from './context.ts';
export {
  type ApprovalNeed,
  type Decision,
  type Effect,
  type LimitUse,
  type MatchedRule,
  OUTPUT_ACTIONS,
  type OutputAction,
  type OutputRules,
  PIN_ACTIONS,
  type PinAction,
  type PolicyRef,
  RULE_ACTIONS,
  type RuleAction,
} from './decision.ts';
export type {
  DecideOptions,
  Gate,
  GateDescription,
  GateRequest,
  Outcome,
  PendingApproval,
  ToolDefinition,
  ToolState,
  Verdict,
} from './gate.ts';
export {
  type ApprovalDecision,
  approvalDigest,
  approvalMessage,
  approvedFacts,
  type SignedApproval,
  verifyApproval,
} from './approval.ts';
export {
  decodeLimitState,
  encodeLimitState,
  freeAtMs,
  giveBack,
  isFree,
  type LimitSlice,
  type LimitState,
  take,
} from './limit.ts';
export { contextOf, type Detected, type RequestFacts, timeOf } from './request.ts';
