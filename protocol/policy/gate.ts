/**
 * Where a request is decided, as whoever holds it up sees it: the local daemon, or a policy beside it. Whatever
 * cannot be decided is not done.
 */
import type { JsonObject } from '../encoding/jcs.ts';
import type { ErrorCode } from '../errors.ts';
import type { PolicyContext } from './context.ts';
import type { Effect, MatchedRule, OutputRules, PinAction, PolicyRef } from './decision.ts';

/** One thing that an agent wants to do. The gate adds agent, time, labels and trust. */
export interface GateRequest extends Pick<PolicyContext, 'tool' | 'resource' | 'prompt' | 'mcp' | 'facts'> {
  readonly action: string;
  /** What the caller knows of the data, beside what the detectors find. */
  readonly labels?: readonly string[];
  /** SHA-256, hex, of what was said in letters, where parsing loses some of it (numbers beyond 2^53): an approval is for this too. */
  readonly exact?: string;
  /** W3C trace id. */
  readonly trace?: string;
  /** Why whoever asks does not do it, whatever the policies say: it is refused, so that the refusal is logged. */
  readonly withheld?: ErrorCode;
}

export interface PendingApproval {
  readonly id: string;
  readonly approvers: readonly string[];
  readonly quorum: number;
  /** RFC 3339. */
  readonly expiresAt: string;
}

export interface Verdict {
  /** Names it in `settle`; null where nothing is logged. */
  readonly id: string | null;
  readonly effect: Effect;
  readonly code?: ErrorCode;
  readonly rule: string | null;
  readonly policy: PolicyRef;
  readonly matched: readonly MatchedRule[];
  /** With effect `require_approval`: what waits. */
  readonly approval?: PendingApproval;
  readonly output: OutputRules;
  readonly reason: string;
  /** Leaf index in the audit log. */
  readonly index: number | null;
}

export interface DecideOptions {
  readonly signal?: AbortSignal | undefined;
  /** What the transport said of the exchange that it belongs to, for gates that stand behind one of their own. */
  readonly origin?: unknown;
  /** How long to hold the request for an approval; 0 (default): not. */
  readonly holdMs?: number | undefined;
  /** Told once when it waits, then about every 5 s: a moment to tell the client that it goes on. */
  readonly onWaiting?: ((approval: PendingApproval) => void) | undefined;
}

/** How an allowed request ended. */
export interface Outcome {
  readonly code: 'ok' | ErrorCode;
  /** Found in the result. */
  readonly labels?: readonly string[];
}

/** A tool as its server defines it: the object of tools/list. */
export type ToolDefinition = JsonObject;

export interface ToolState {
  readonly name: string;
  readonly state: 'pinned' | 'changed' | 'new';
  /** What is done about it: by policy, `ignore` for what is pinned. */
  readonly action: PinAction;
  /** Where it waits for one. */
  readonly approval?: PendingApproval;
  /** What changed, a line a change, for people. */
  readonly diff?: string;
  /** Tools of other servers that people or models may take for it. */
  readonly shadows?: readonly ShadowedTool[];
}
export interface ShadowedTool {
  readonly server: string;
  readonly tool: string;
}

export interface GateDescription {
  readonly mode: 'daemon' | 'local';
  /** DID, or a name where there is no daemon. */
  readonly agent: string;
  readonly organisation: string | null;
  readonly policies: readonly PolicyRef[];
  /** What is not to be had this way, a sentence each: to be told to people at the start. */
  readonly missing: readonly string[];
}

export interface Gate extends AsyncDisposable {
  readonly description: GateDescription;
  /**
   * What the log must hold before an allowed request goes on is on disk when this resolves. A request that cannot be
   * decided rejects: not_running, busy, log_halted, policy_invalid, timeout, cancelled; the caller then refuses it.
   */
  decide(request: GateRequest, options?: DecideOptions): Promise<Verdict>;
  /** Which of these may be done with some arguments: for lists. Nothing is consumed or logged one by one. */
  filter(
    requests: readonly GateRequest[],
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<readonly boolean[]>;
  /** Never waits, never throws. Without effect for what was not allowed. */
  settle(verdict: Verdict, outcome: Outcome): void;
  /** Compares with what was seen first, and keeps what is seen first. `isComplete`: the server has no other tools;
   * `origin`: how it is started or reached. */
  checkTools(
    server: string,
    tools: readonly ToolDefinition[],
    options: { readonly isComplete: boolean; readonly origin?: string | undefined },
  ): Promise<readonly ToolState[]>;
  close(): Promise<void>;
}
