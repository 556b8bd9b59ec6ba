/** What a policy answers (SPEC "Policies"). */
import type { ErrorCode } from '../errors.ts';

export const RULE_ACTIONS = ['allow', 'deny', 'warn', 'log', 'require_approval', 'limit'] as const;
export type RuleAction = (typeof RULE_ACTIONS)[number];

/** What becomes of a request. */
export type Effect = 'allow' | 'deny' | 'require_approval';

/** A rule whose condition held, or could not be told and counts by the rule of failing closed. */
export interface MatchedRule {
  /** Name of the policy that has the rule. */
  readonly policy: string;
  readonly rule: string;
  readonly action: RuleAction;
  /** False: a field was missing or an operation failed; the rule restricts, so it counts. */
  readonly certain: boolean;
  /** What was missing or failed, where it is not certain. */
  readonly because?: string;
}

/** A limit that the request falls under; consumed when it goes ahead, and only then. */
export interface LimitUse {
  /** Whose uses are counted; default the agent's. Of a link of a delegation chain: its id, so that siblings share it. */
  readonly of?: string;
  /** Of the policy's name and the rule: with the agent it names a counter. */
  readonly policy: string;
  readonly rule: string;
  readonly count: number;
  readonly windowMs: number;
}

export interface ApprovalNeed {
  readonly policy: string;
  readonly rule: string;
  /** Names as the policy has them: DIDs, contacts of sponsors, or groups of the configuration. Empty: any sponsor. */
  readonly approvers: readonly string[];
  /** How many of them. */
  readonly quorum: number;
  readonly expiresMs: number;
}

export const OUTPUT_ACTIONS = ['allow', 'mark', 'redact', 'refuse'] as const;
export type OutputAction = (typeof OUTPUT_ACTIONS)[number];
/** What may come back; the stricter of all policies. */
export interface OutputRules {
  readonly secrets: OutputAction;
  readonly pii: OutputAction;
  readonly phi: OutputAction;
  readonly cards: OutputAction;
  /** Text that speaks to the model. */
  readonly instructions: OutputAction;
  /** Characters that a person does not see. */
  readonly invisible: OutputAction;
  /** Of one result, as JSON; more is refused. */
  readonly bytesMax: number;
}

/** What is done about the definitions of a server's tools when they are not those that were seen first. */
export const PIN_ACTIONS = ['ignore', 'warn', 'approve', 'deny'] as const;
export type PinAction = (typeof PIN_ACTIONS)[number];

export interface PolicyRef {
  readonly name: string;
  /** SHA-256 of the policy with everything that it extends, lower-case hex. */
  readonly digest: string;
}

/** Pure: before limits are taken and approvals looked up. */
export interface Decision {
  readonly effect: Effect;
  /** Why not, where it is not allowed. */
  readonly code?: ErrorCode;
  /** The rule that decided; null: the default did. */
  readonly rule: string | null;
  /** The policy that decided. */
  readonly policy: PolicyRef;
  readonly matched: readonly MatchedRule[];
  readonly limits: readonly LimitUse[];
  readonly approval?: ApprovalNeed;
  readonly output: OutputRules;
  /** One sentence for people and models: what decided, and what to do. */
  readonly reason: string;
}
