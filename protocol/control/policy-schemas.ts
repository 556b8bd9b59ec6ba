/** Policies, decisions and approvals as JSON Schema (SPEC "Control API"). Every object of ours is closed. */
import Type from 'typebox';
import {
  ACTION_TEXT_MAX,
  APPROVAL_QUORUM_MAX,
  APPROVERS_MAX,
  LABEL_TEXT_MAX,
  LABELS_MAX,
  MCP_NAME_TEXT_MAX,
  MCP_TOOLS_MAX,
  OUTCOMES_MAX,
  PATHS_MAX,
  PATH_TEXT_MAX,
  POLICY_BROUGHT_MAX,
  POLICY_FILES_MAX,
  POLICY_NAME_TEXT_MAX,
  POLICY_RULE_NAME_TEXT_MAX,
  POLICY_RULES_MAX,
  POLICY_TEXT_BYTES_MAX,
  REPLAY_DIVERGENCES_MAX,
  REPLAY_SECONDS_MAX,
  SHADOWS_MAX,
  URI_TEXT_MAX,
} from '../limits.ts';
import { OUTPUT_ACTIONS, PIN_ACTIONS, RULE_ACTIONS } from '../policy/decision.ts';
import {
  AudienceDid,
  count,
  Did,
  EntryId,
  ErrorCodeText,
  hexDigest,
  type Json,
  list,
  nullable,
  object,
  Reason,
  Signature,
  Time,
  TraceId,
  treeSize,
} from './schemas.ts';

const optional = Type.Optional;
const sentence = Type.String({ maxLength: 4096 });
const textOf = (maxLength: number, description?: string): Type.TString =>
  Type.String({ minLength: 1, maxLength, ...(description === undefined ? {} : { description }) });

export const ActionText = Type.String({
  pattern: '^[A-Za-z][A-Za-z0-9_.:-]*$',
  maxLength: ACTION_TEXT_MAX,
  description: 'what kind of thing it is, like "tool_call", or a word of the caller\'s own, like "export"',
});
const anyObject = Type.Record(Type.String(), Type.Unknown(), { description: 'any JSON object' });
const mcpName = textOf(MCP_NAME_TEXT_MAX);
const paths = list(textOf(PATH_TEXT_MAX, 'an absolute path'), PATHS_MAX);
const label = textOf(LABEL_TEXT_MAX, 'like "pii.email"');

export const GateRequestBody = object(
  {
    action: ActionText,
    tool: optional(
      object({ name: mcpName, server: optional(mcpName), arguments: optional(anyObject), paths: optional(paths) }),
    ),
    resource: optional(object({ uri: textOf(URI_TEXT_MAX), scheme: optional(mcpName), paths: optional(paths) })),
    prompt: optional(object({ name: mcpName, arguments: optional(anyObject), paths: optional(paths) })),
    mcp: optional(object({ method: mcpName })),
    facts: optional(anyObject),
    labels: optional(list(label, LABELS_MAX)),
    exact: optional(hexDigest),
    trace: optional(TraceId),
    withheld: optional(ErrorCodeText),
  },
  'One thing that an agent wants to do',
);
export const PolicyRefView = object({ name: textOf(POLICY_NAME_TEXT_MAX), digest: hexDigest });
const brought = list(hexDigest, POLICY_BROUGHT_MAX);
const rule = nullable(textOf(POLICY_RULE_NAME_TEXT_MAX, 'null: the default decided'));
export const MatchedRuleView = object({
  policy: textOf(POLICY_NAME_TEXT_MAX),
  rule: textOf(POLICY_RULE_NAME_TEXT_MAX),
  action: Type.Enum(RULE_ACTIONS),
  certain: Type.Boolean({ description: 'false: it could not be told, and the rule restricts' }),
  because: optional(sentence),
});
const outputAction = Type.Enum(OUTPUT_ACTIONS);
export const OutputRulesView = object({
  secrets: outputAction,
  pii: outputAction,
  phi: outputAction,
  cards: outputAction,
  instructions: outputAction,
  invisible: outputAction,
  bytesMax: count(),
});
export const ApprovalId = Type.String({
  pattern: '^[0-9a-f]{16}$',
  maxLength: 16,
  description: '8 random bytes as lower-case hex',
});
const approverName = textOf(256, 'a DID, the contact of a sponsor, or a group of the configuration');
export const PendingApprovalView = object({
  id: ApprovalId,
  approvers: list(approverName, APPROVERS_MAX),
  quorum: Type.Integer({ minimum: 1, maximum: APPROVAL_QUORUM_MAX }),
  expiresAt: Time,
});
const effect = Type.Enum(['allow', 'deny', 'require_approval']);
export const DecideBody = object({
  as: optional(Did),
  policies: optional(brought),
  request: GateRequestBody,
});
export const VerdictView = object({
  id: nullable(EntryId),
  index: nullable(treeSize('leaf index of the entry that says it')),
  effect,
  code: optional(ErrorCodeText),
  rule,
  policy: PolicyRefView,
  matched: Type.Array(MatchedRuleView),
  approval: optional(PendingApprovalView),
  output: OutputRulesView,
  reason: sentence,
});
export const FilterBody = object({
  as: optional(Did),
  policies: optional(brought),
  requests: list(GateRequestBody, MCP_TOOLS_MAX, 1),
});
export const FilterAnswer = object({ allowed: Type.Array(Type.Boolean()) });
export const OutcomesBody = object(
  {
    as: optional(Did),
    outcomes: list(
      object({
        id: EntryId,
        code: Type.Union([Type.Literal('ok'), ErrorCodeText]),
        labels: optional(list(label, LABELS_MAX)),
      }),
      OUTCOMES_MAX,
      1,
    ),
  },
  'How what was allowed ended; several at once, since nobody waits for them',
);
export const OutcomesAnswer = object({ settled: count('those that were open, and of this agent') });

// Approvals
export const ApprovalKind = Type.Enum(['action', 'tool']);
export const ApprovalState = Type.Enum(['pending', 'approved', 'denied', 'expired', 'used']);
export const ApprovalDecisionView = object({
  approver: AudienceDid,
  decision: Type.Enum(['approve', 'deny']),
  reason: Reason,
  at: Time,
  signature: Signature,
});
export const ApprovalView = object(
  {
    id: ApprovalId,
    kind: ApprovalKind,
    state: ApprovalState,
    agent: Did,
    digest: hexDigest,
    request: anyObject,
    policy: PolicyRefView,
    rule,
    approvers: list(approverName, APPROVERS_MAX),
    mayDecide: Type.Array(AudienceDid, { description: 'whom the names stand for now' }),
    quorum: Type.Integer({ minimum: 1, maximum: APPROVAL_QUORUM_MAX }),
    decisions: Type.Array(ApprovalDecisionView),
    createdAt: Time,
    expiresAt: Time,
  },
  'Something that waits, or waited, for the approval of a person: for exactly this, once',
);
export const Approvals = object({ approvals: Type.Array(ApprovalView) });
export const ApprovalAnswer = object({ approval: ApprovalView });
export const ApprovalDecisionBody = object(
  {
    decision: Type.Enum(['approve', 'deny']),
    approver: AudienceDid,
    reason: Reason,
    at: optional(Time),
    signature: optional(Signature),
  },
  "Without signature the operator asks the daemon to sign with the approver's key, where it holds it",
);

// Policies
const policyText = Type.String({ maxLength: POLICY_TEXT_BYTES_MAX });
const policyPath = textOf(PATH_TEXT_MAX, 'as other files of the policy refer to it');
export const PolicyFile = object({ path: policyPath, text: policyText });
export const PolicyLoadBody = object(
  {
    as: optional(Did),
    name: textOf(POLICY_NAME_TEXT_MAX, 'where the document has no name of its own'),
    files: list(PolicyFile, POLICY_FILES_MAX, 1),
  },
  'A policy with all that it extends; the first file is the policy',
);
export const PolicyLoaded = object({ policy: PolicyRefView });
export const PolicyListed = object({
  name: textOf(POLICY_NAME_TEXT_MAX),
  digest: hexDigest,
  source: Type.Enum(['configuration', 'shadow', 'exposed', 'caller']),
  file: nullable(Type.String({ maxLength: 4096 })),
  agents: list(textOf(256), 64),
  rules: count(),
});
export const Policies = object({
  policies: Type.Array(PolicyListed),
  problem: nullable(
    object(
      { code: ErrorCodeText, message: sentence, since: Time },
      'Why the newest files are not in force; the last good ones are',
    ),
  ),
  loadedAt: Time,
});
export const PolicyAnswer = object({ policy: PolicyRefView, files: list(PolicyFile, POLICY_FILES_MAX) });
export const ExplainBody = object({ as: optional(Did), policies: optional(brought), request: GateRequestBody });
export const ExplainedRule = object({
  policy: textOf(POLICY_NAME_TEXT_MAX),
  rule: textOf(POLICY_RULE_NAME_TEXT_MAX),
  action: Type.Enum(RULE_ACTIONS),
  is: Type.Enum(['true', 'false', 'unknown']),
  leaves: Type.Array(
    object({
      text: sentence,
      is: Type.Enum(['true', 'false', 'unknown']),
      value: optional(Type.Unknown()),
      because: optional(sentence),
    }),
  ),
});
export const ExplainAnswer = object({
  decision: object({
    effect,
    code: optional(ErrorCodeText),
    rule,
    policy: PolicyRefView,
    matched: Type.Array(MatchedRuleView),
    reason: sentence,
  }),
  rules: list(ExplainedRule, POLICY_RULES_MAX),
  wouldChange: Type.Array(sentence),
});
export const ReplayBody = object({
  name: textOf(POLICY_NAME_TEXT_MAX),
  files: list(PolicyFile, POLICY_FILES_MAX, 1),
  sinceSeconds: Type.Integer({ minimum: 1, maximum: REPLAY_SECONDS_MAX }),
});
export const DivergenceView = object({
  at: Time,
  agent: Did,
  action: ActionText,
  tool: nullable(mcpName),
  live: effect,
  liveRule: rule,
  candidate: effect,
  candidateRule: rule,
});
export const ComparisonView = object({
  policy: PolicyRefView,
  compared: count(),
  diverged: count(),
  loosened: count('allowed by the candidate alone'),
  tightened: count('allowed by the live policies alone'),
  newest: list(DivergenceView, REPLAY_DIVERGENCES_MAX),
});
export const Comparison = object({ comparison: ComparisonView });
export const ShadowAnswer = object({ candidates: Type.Array(ComparisonView) });

// Tools
export const ToolCheckBody = object({
  as: optional(Did),
  policies: optional(brought),
  server: mcpName,
  origin: optional(Type.String({ maxLength: 4096, description: 'how the server is started or reached' })),
  complete: Type.Boolean({ description: 'the server has no other tools' }),
  tools: list(anyObject, MCP_TOOLS_MAX),
});
export const ToolStateView = object({
  name: mcpName,
  state: Type.Enum(['pinned', 'changed', 'new']),
  action: Type.Enum(PIN_ACTIONS),
  approval: optional(PendingApprovalView),
  diff: optional(Type.String({ maxLength: 65_536 })),
  shadows: optional(list(object({ server: mcpName, tool: mcpName }), SHADOWS_MAX, 1)),
});
export const ToolCheckAnswer = object({ tools: Type.Array(ToolStateView) });

export type GateRequestBody = Json<typeof GateRequestBody>;
export type VerdictView = Json<typeof VerdictView>;
export type ApprovalView = Json<typeof ApprovalView>;
export type ApprovalDecisionBody = Json<typeof ApprovalDecisionBody>;
export type PolicyFile = Json<typeof PolicyFile>;
export type PolicyLoadBody = Json<typeof PolicyLoadBody>;
export type Policies = Json<typeof Policies>;
export type PolicyListed = Json<typeof PolicyListed>;
export type ExplainAnswer = Json<typeof ExplainAnswer>;
export type ComparisonView = Json<typeof ComparisonView>;
export type DivergenceView = Json<typeof DivergenceView>;
