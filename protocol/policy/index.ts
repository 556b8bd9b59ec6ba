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
  ShadowedTool,
  ToolDefinition,
  ToolState,
  Verdict,
} from './gate.ts';
export { decideHeld, type Holding } from './hold.ts';
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
export { contextOf, type Detected, type RequestFacts, timeOf, withholding } from './request.ts';
export {
  CONFLICTS,
  type Conflict,
  type ExternalPoint,
  type PinRules,
  type PolicyDocument,
  type Rule,
  SCOPES,
  type Scope,
} from './document.ts';
export { compilePolicies, type DecideByOptions, limitText, NO_POLICY, type PolicySet } from './engine.ts';
export { type DecisionPoint, mergePoints, type PointAnswer, type PointOutcome } from './external.ts';
export { canonicalName } from './names.ts';
export {
  digestOfTexts,
  OPEN_OUTPUT,
  type ParsePolicyOptions,
  parsePolicy,
  type Policy,
  type PolicyRule,
  type ResolvePolicy,
  strictestOutput,
} from './policy.ts';
export { isPresetName, type PresetName, PRESETS, presetSource } from './presets.ts';
export type { Place } from './yaml.ts';
export { type ExplainedLeaf, type ExplainedRule, explainDecision, type Explanation } from './explain.ts';
export {
  ComparisonCount,
  comparePolicies,
  type Divergence,
  type DivergenceKind,
  type PolicyComparison,
  type Side,
} from './shadow.ts';
export { type CaseResult, runPolicyTests } from './cases.ts';
export { diffPolicies, type Direction, type PolicyDiff, type RuleChange, type SettingChange } from './diff.ts';
export { type Finding, type Lint, LINTS, lintPolicy } from './lint.ts';
export { collectPolicy, parseSource, type PolicyFile, type PolicySource } from './source.ts';
