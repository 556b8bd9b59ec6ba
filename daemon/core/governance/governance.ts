/**
 * What becomes of something that an agent wants to do: policies, approvals and limits asked in that order, and the
 * answer in the log, on disk, before anybody has it. Whatever cannot be decided or logged is not allowed.
 */
import type { MeshEventInput } from '../../../protocol/control/index.ts';
import { labelsOfRequest, similarNames } from '../../../protocol/detect/index.ts';
import { approvalDigest, approvedFacts, type ErrorCode, limits, MeshError } from '../../../protocol/index.ts';
import { createUuid7, type EntryMembers, parseUuid7 } from '../../../protocol/log/index.ts';
import type {
  ApprovalNeed,
  Decision,
  DecisionPoint,
  ExternalPoint,
  GateRequest,
  LimitUse,
  Outcome,
  PendingApproval,
  PointOutcome,
  PolicyContext,
  PolicySet,
  ToolDefinition,
  ToolState,
  Verdict,
} from '../../../protocol/policy/index.ts';
import {
  contextOf,
  type Detected,
  explainDecision,
  limitText,
  mergePoints,
  NO_POLICY,
  withholding,
} from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Random } from '../../ports.ts';
import { deadline } from '../deadline.ts';
import { type HandshakePolicy, OPEN_POLICY } from '../handshake-ports.ts';
import type { Details, Recorded, Recorder } from '../log/recorder.ts';
import { problemOf, type Settle } from '../log/write-ahead.ts';
import {
  type Approval,
  type Approvals,
  type ApprovalTerms,
  pendingApproval,
  type TakenApproval,
  type WaitOptions,
} from './approvals.ts';
import type { LimitStore } from './limits.ts';
import type { PolicyLibrary } from './policy-library.ts';
import type { RequestArchive } from './request-archive.ts';
import type { Shadow } from './shadow.ts';
import type { ToolPins } from './tool-pins.ts';

/** Who wants to do something: the organisation itself, an agent of it that may act, or somebody of another one. */
export interface Acting {
  readonly did: string;
  /** Where it is another than this daemon's. */
  readonly organisation?: string | undefined;
  /** Own agent or organisation that it is done with, and that signs what is logged of it. Default: whoever acts. */
  readonly actor?: string | undefined;
  readonly name?: string | undefined;
  /** The person who answers for it. */
  readonly principal?: string | undefined;
}

/** What the daemon knows of a request of its own making. */
export type OwnFacts = Pick<PolicyContext, 'peer' | 'trust' | 'delegation'>;

export interface DecideByDaemon {
  readonly signal?: AbortSignal | undefined;
  /** What entries about it say beside who acts and what decided. */
  readonly details?: Pick<Details, 'peer' | 'session' | 'delegation'>;
  /** Beside those of the policies, used up like them. */
  readonly limits?: readonly LimitUse[];
  /** Why it is refused whatever the policies say: it is logged, and nothing is used up or waits. */
  readonly refusal?: Refusal | undefined;
  /**
   * Rows that must be on disk when it goes ahead: written without a sync in the turn in which its entry is, which is
   * synced after them. Told the id of the entry. Where it rejects, the request does not go ahead.
   */
  readonly written?: ((entry: string) => Promise<void>) | undefined;
}

export interface Refusal {
  readonly code: ErrorCode;
  /** A sentence without its stop. */
  readonly reason: string;
}

export interface GovernanceComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly recorder: Pick<Recorder, 'record' | 'announceAs' | 'verifyOpen'>;
  readonly library: PolicyLibrary;
  readonly approvals: Approvals;
  readonly limits: LimitStore;
  readonly archive: RequestArchive;
  readonly pins: ToolPins;
  readonly shadow: Shadow;
  readonly organisation: string;
  /** An agent that may act now, or the organisation. Errors: not_found, suspended, revoked. */
  readonly acting: (did: string) => Acting;
  /** Errors: policy_invalid. */
  readonly pointOf: (external: ExternalPoint) => DecisionPoint;
  readonly emit: (event: MeshEventInput) => void;
}

export interface GovernanceOptions {
  /** What policies know as environment.name. */
  readonly environment?: string | undefined;
}

interface OpenDecision {
  readonly agent: string;
  readonly settle: Settle;
}

/** The outcome of asking: what is decided, and what it used up. */
interface Judgement {
  readonly decision: Decision;
  readonly approval?: Approval;
  /** It used up an approval or a limit: undone where it does not go ahead. */
  readonly giveBack: () => Promise<void>;
  /** What must be written before it goes ahead. */
  readonly written: readonly Promise<void>[];
}

const NONE_DETECTED: Detected = {
  labels: [],
  contains_pii: false,
  contains_phi: false,
  contains_card: false,
  contains_secret: false,
};
const NOTHING = async (): Promise<void> => {};

export class Governance {
  readonly #components: GovernanceComponents;
  readonly #environment: PolicyContext['environment'];
  /** Allowed, and not yet told how they ended; the oldest first. */
  readonly #open = new Map<string, OpenDecision>();
  readonly #points = new WeakMap<ExternalPoint, DecisionPoint>();

  constructor(components: GovernanceComponents, { environment }: GovernanceOptions = {}) {
    this.#components = components;
    this.#environment = environment === undefined ? undefined : { name: environment };
  }

  /**
   * Logged before it resolves. Errors: log_halted, busy, not_found (a policy that was named), policy_invalid, and those
   * of Recorder.record: then it is not allowed.
   */
  async decide(
    agent: Acting,
    brought: readonly string[],
    request: GateRequest,
    own: OwnFacts = {},
    by: DecideByDaemon = {},
  ): Promise<Verdict> {
    this.#components.recorder.verifyOpen();
    const policies = this.#components.library.policiesFor(brought);
    const context = this.#contextOf(agent, request, own, labelsOfRequest(request));
    const said = policies.decide(context, { isLimitFree: () => true }); // used up where it goes ahead
    const { withheld } = request;
    const isOver = withheld !== undefined || by.refusal !== undefined;
    const asked = isOver ? said : await this.#askPoints(policies, context, said, by.signal);
    const decided = refusing(withholding(asked, withheld), by.refusal);
    const judged = await this.#judge(agent, request, withLimits(decided, by.limits), by);
    this.#components.shadow.observe(context, said, brought);
    return this.#log(agent, request, { context, said, by }, judged);
  }

  /** An approval once it waits no longer, or as it is when the time is over. Errors: not_found, cancelled, closed. */
  async waitForApproval(id: string, options: WaitOptions): Promise<Approval> {
    return this.#components.approvals.wait(id, options);
  }

  /** Writes that somebody who may not act, for this reason, wanted to. Errors: those of Recorder.record. */
  async refuse(actor: string, request: GateRequest, code: ErrorCode): Promise<void> {
    const { action, tool, trace } = request;
    const members = { action, code, ...(tool?.server !== undefined && { server: tool.server }) };
    await this.#components.recorder.record('action.refused', members, {
      actor,
      ...(tool !== undefined && { op: 'execute_tool', tool: tool.name }),
      ...(trace !== undefined && { trace }),
    });
    this.#components.emit({
      type: 'action.refused',
      data: { as: actor, action, tool: tool?.name ?? null, code, rule: null },
    });
  }

  /** Of several, which may be done with some arguments or other. Errors: not_found, policy_invalid. */
  async filter(
    agent: Acting,
    brought: readonly string[],
    requests: readonly GateRequest[],
    own: OwnFacts = {},
  ): Promise<boolean[]> {
    const policies = this.#components.library.policiesFor(brought);
    return requests.map((request) => {
      const context = this.#contextOf(agent, request, own, undefined);
      return policies.decide(context, { mode: 'possible', isLimitFree: () => true }).effect !== 'deny';
    });
  }

  /** What would be decided, and why; nothing is logged or used up. */
  async explain(
    agent: Acting,
    brought: readonly string[],
    request: GateRequest,
    own: OwnFacts = {},
  ): Promise<Explained> {
    const policies = this.#components.library.policiesFor(brought);
    return explainDecision(policies, this.#contextOf(agent, request, own, labelsOfRequest(request)));
  }

  /** How something that was allowed ended. False: it is not open, or of another agent. */
  settle(agent: string, id: string, { code, labels }: Outcome): boolean {
    const open = this.#open.get(id);
    if (open === undefined || open.agent !== agent) return false;
    this.#open.delete(id);
    const problem = code === 'ok' ? undefined : new MeshError(code, 'Cannot go on: it failed where it was to be done');
    open.settle(problem, labels);
    return true;
  }

  /** Compares with the definitions that were seen first. Errors: busy, log_halted, those of ToolPins.check. */
  async checkTools(
    agent: Acting,
    brought: readonly string[],
    server: string,
    tools: readonly ToolDefinition[],
    options: { readonly isComplete: boolean; readonly origin?: string | undefined },
  ): Promise<readonly ToolState[]> {
    this.#components.recorder.verifyOpen();
    const policies = this.#components.library.policiesFor(brought);
    const facts = this.#facts(agent);
    const { name, digest } = policies.layersOf(facts)[0] ?? NO_POLICY;
    const terms = { agent: actorOf(agent), policy: { name, digest }, ...policies.pins(facts) };
    const states = await this.#components.pins.check({ server, tools, ...options }, terms);
    return this.#withShadows(server, states);
  }

  /** A tool that has the name of another server's, or looks like it, may be called in its place. */
  async #withShadows(server: string, states: readonly ToolState[]): Promise<readonly ToolState[]> {
    const others = (await this.#components.pins.servers()).filter((other) => other.server !== server);
    const names = states.map(({ name }) => name);
    const found = others.flatMap((other) =>
      similarNames(names, Object.keys(other.tools)).map(({ a, b }) => ({ name: a, server: other.server, tool: b })),
    );
    const byName = Map.groupBy(found, ({ name }) => name);
    return states.map((state) => {
      const shadows = byName.get(state.name)?.map(({ server: of, tool }) => ({ server: of, tool }));
      return shadows === undefined ? state : { ...state, shadows: shadows.slice(0, limits.SHADOWS_MAX) };
    });
  }

  /**
   * For what the daemon does itself, by the configured policies alone; where none concerns the agent, nothing is asked.
   * Resolves with what says how it ended. Errors: policy_denied, limit_exceeded, approval_pending, approval_denied, those
   * of decide.
   */
  async require(agent: Acting, request: GateRequest, own: OwnFacts, attempted: string): Promise<Settle> {
    if (this.#components.library.configured.layersOf(this.#facts(agent)).length === 0) return () => {};
    const { id, effect, code, rule, reason, approval, policy } = await this.decide(agent, [], request, own);
    if (effect === 'allow' && id !== null)
      return (problem) => void this.settle(agent.did, id, { code: problem?.code ?? 'ok' });
    const facts = { policy: policy.name, ...(rule !== null && { rule }), ...(approval && { id: approval.id }) };
    throw new MeshError(code ?? 'policy_denied', `Cannot ${attempted}: ${reason}`, facts);
  }

  /** Handshakes cannot wait: an approval is a denial to them, no decision point is asked, and no limit is used up. */
  handshakePolicy(): HandshakePolicy {
    const { library, acting } = this.#components;
    return {
      get name() {
        const { policies } = library.configured;
        if (policies.length === 0) return OPEN_POLICY.name;
        return {
          version: policies
            .map(({ name }) => name)
            .join(' ')
            .slice(0, limits.LOG_TEXT_MAX),
          text: policies.map(({ digest }) => digest).join('\n'),
        };
      },
      need: (facts) => OPEN_POLICY.need(facts),
      verify: ({ as, did, direction }, { organisation, score }) => {
        const agent = acting(as);
        if (library.configured.layersOf(this.#facts(agent)).length === 0) return;
        const own = { peer: { did, organisation }, trust: { score } };
        const context = this.#contextOf(agent, { action: 'handshake', facts: { direction } }, own, NONE_DETECTED);
        const { effect, reason, rule } = library.configured.decide(context, { isLimitFree: () => true });
        if (effect === 'allow') return;
        const data = { did, ...(rule !== null && { rule }) };
        throw new MeshError('policy_denied', `Cannot shake hands with "${did}": ${reason}`, data);
      },
    };
  }

  // Judging

  /** Approvals and limits are used up by what goes ahead. */
  async #judge(agent: Acting, request: GateRequest, decision: Decision, by: DecideByDaemon): Promise<Judgement> {
    if (decision.effect === 'require_approval' && decision.approval !== undefined)
      return this.#judgeApproval(agent, request, { decision, need: decision.approval, by });
    return decision.effect === 'allow'
      ? this.#take(agent, decision, NOTHING)
      : { decision, giveBack: NOTHING, written: [] };
  }

  /** After the policies, the decision points outside that they name. */
  async #askPoints(
    policies: PolicySet,
    context: PolicyContext,
    decision: Decision,
    signal: AbortSignal | undefined,
  ): Promise<Decision> {
    const points = policies.layersOf(context.agent).flatMap(({ external }) => external);
    if (points.length === 0 || decision.effect === 'deny') return decision;
    const outcomes = await Promise.all(points.map((point) => this.#ask(point, context, signal)));
    return mergePoints(decision, outcomes, limits.APPROVAL_MS_DEFAULT);
  }

  async #ask(external: ExternalPoint, context: PolicyContext, signal: AbortSignal | undefined): Promise<PointOutcome> {
    const { clock, pointOf } = this.#components;
    try {
      const point = this.#points.get(external) ?? pointOf(external);
      this.#points.set(external, point);
      const until = deadline(clock, external.timeoutMs, signal);
      return { point: external.name, answer: await Promise.race([point.decide(context, until), abortOf(until)]) };
    } catch (error) {
      const failure = error instanceof Error ? error.message : String(error);
      this.#components.log.warn({ point: external.name, reason: failure }, 'a decision point did not answer');
      return { point: external.name, failure };
    }
  }

  async #judgeApproval(
    agent: Acting,
    request: GateRequest,
    of: { readonly decision: Decision; readonly need: ApprovalNeed; readonly by: DecideByDaemon },
  ): Promise<Judgement> {
    const { decision, need, by } = of;
    const { approvals } = this.#components;
    const terms = this.#termsOf(agent, request, need);
    const taken = await approvals.take(terms);
    if (taken !== undefined)
      return this.#take(agent, allowedBy(decision, taken), () => taken.giveBack(), taken.approval);
    const { approval, isNew } = await approvals.request({
      ...terms,
      ...(agent.organisation !== undefined && { organisation: agent.organisation }),
      request: approvedFacts(agent.did, request),
      policy: decision.policy,
      rule: decision.rule,
      expiresMs: need.expiresMs,
    });
    if (isNew) await this.#recordRequested(agent, approval, request, by.details);
    return { decision: waitingFor(decision, approval), approval, giveBack: NOTHING, written: [] };
  }

  #termsOf(agent: Acting, request: GateRequest, { approvers, quorum }: ApprovalNeed): ApprovalTerms {
    return { kind: 'action', digest: approvalDigest(agent.did, request), agent: agent.did, approvers, quorum };
  }

  /** Uses the limits up, or refuses. */
  async #take(
    agent: Acting,
    decision: Decision,
    giveBack: () => Promise<void>,
    approval?: Approval,
  ): Promise<Judgement> {
    const of = approval === undefined ? {} : { approval };
    if (decision.limits.length === 0) return { decision, giveBack, written: [], ...of };
    const taken = await this.#components.limits.take(agent.did, decision.limits);
    if (taken.isTaken) {
      const undo = async (): Promise<void> => {
        taken.giveBack();
        await giveBack();
      };
      return { decision, giveBack: undo, written: [taken.written], ...of };
    }
    await giveBack();
    return {
      decision: usedUp(decision, taken.use, taken.freeAtMs - this.#components.clock.nowMs()),
      giveBack: NOTHING,
      written: [],
    };
  }

  #facts({ did, name, organisation = this.#components.organisation }: Acting): PolicyContext['agent'] {
    return { did, organisation, ...(name !== undefined && { name }) };
  }

  #contextOf(agent: Acting, request: GateRequest, own: OwnFacts, detected: Detected | undefined): PolicyContext {
    const { clock } = this.#components;
    return contextOf(request, {
      agent: this.#facts(agent),
      nowMs: Math.floor(clock.nowMs()),
      ...(agent.principal !== undefined && { principal: { did: agent.principal } }),
      ...(this.#environment !== undefined && { environment: this.#environment }),
      ...(detected !== undefined && { detected }),
      ...own,
    });
  }

  // Logging

  async #log(
    agent: Acting,
    request: GateRequest,
    { context, said, by }: { readonly context: PolicyContext; readonly said: Decision; readonly by: DecideByDaemon },
    judged: Judgement,
  ): Promise<Verdict> {
    const { decision, approval, giveBack } = judged;
    const { clock, random, archive, recorder, emit } = this.#components;
    const id = createUuid7(Math.floor(clock.nowMs()), random.bytes(16));
    const { effect, code, rule } = decision;
    try {
      const { commitment, written } = archive.put(parseUuid7(id).bytes, {
        context,
        decided: { effect: said.effect, rule: said.rule }, // by the policies: what replay compares with
      });
      const details = detailsOf(agent, request, decision, { ...by.details, id, in: commitment });
      const labels = context.data?.labels ?? [];
      const members = {
        action: request.action,
        ...(request.tool?.server !== undefined && { server: request.tool.server }),
        ...(labels.length > 0 && { labels: labels.slice(0, limits.LABELS_MAX) }),
        ...(approval !== undefined && { approval: approval.id }),
      };
      if (effect === 'allow') {
        const rows = by.written?.(id);
        const before = [written, ...judged.written, ...(rows === undefined ? [] : [rows])];
        const { index, settle } = await this.#announce(members, details, before);
        this.#remember(id, { agent: agent.did, settle });
        return verdictOf(decision, { id, index });
      }
      const refusal: ErrorCode = code ?? 'policy_denied';
      const [{ index }] = await Promise.all([
        recorder.record('action.refused', { ...members, code: refusal }, details),
        written,
      ]);
      const tool = request.tool?.name ?? null;
      emit({ type: 'action.refused', data: { as: actorOf(agent), action: request.action, tool, code: refusal, rule } });
      const waits = effect === 'require_approval' && approval !== undefined;
      return verdictOf(decision, { id, index, ...(waits && { approval: pendingApproval(approval) }) });
    } catch (error) {
      await giveBack();
      throw error;
    }
  }

  /** The entry, which is synced, after what it rests on. Errors: those of both; then the log says that it came to nothing. */
  async #announce(
    members: EntryMembers<'action.allowed'>,
    details: Details,
    before: readonly Promise<void>[],
  ): Promise<Recorded & { readonly settle: Settle }> {
    const announcing = this.#components.recorder.announceAs('action.allowed', members, details);
    try {
      await Promise.all(before);
    } catch (error) {
      const [announced] = await Promise.allSettled([announcing]);
      if (announced.status === 'fulfilled') announced.value.settle(problemOf(error));
      throw error;
    }
    return announcing;
  }

  #remember(id: string, open: OpenDecision): void {
    this.#open.set(id, open);
    if (this.#open.size <= limits.DECISIONS_OPEN_MAX) return;
    const [oldest] = this.#open.keys();
    if (oldest !== undefined) this.#open.delete(oldest); // its intent stays without an end
  }

  async #recordRequested(
    agent: Acting,
    approval: Approval,
    { action, tool }: GateRequest,
    details: DecideByDaemon['details'],
  ): Promise<void> {
    const { id, kind, digest, approvers, quorum, untilMs } = approval;
    const members = { id, kind, digest, approvers, quorum, until: new Date(untilMs).toISOString(), action };
    const server = tool?.server === undefined ? {} : { server: tool.server };
    await this.#components.recorder.record(
      'approval.requested',
      { ...members, ...server },
      { ...details, actor: actorOf(agent), subject: id, ...(tool !== undefined && { tool: tool.name }) },
    );
  }
}

/** Rejects when it fires. */
function abortOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fire = (): void => reject(signal.reason as Error); // what deadline() gives, or who cancelled it
    if (signal.aborted) fire();
    else signal.addEventListener('abort', fire, { once: true });
  });
}

export type Explained = ReturnType<typeof explainDecision>;

const allowedBy = (decision: Decision, { approval }: TakenApproval): Decision => {
  const { code: _code, approval: _need, ...rest } = decision;
  return { ...rest, effect: 'allow', reason: `${decision.reason}; approved as "${approval.id}"` };
};

function waitingFor(decision: Decision, { id, state }: Approval): Decision {
  if (state === 'denied')
    return {
      ...decision,
      effect: 'deny',
      code: 'approval_denied',
      reason: `${decision.reason}; approval "${id}" was denied`,
    };
  return { ...decision, code: 'approval_pending', reason: `${decision.reason}; it waits for approval "${id}"` };
}

/** Whoever stands for it in the log. */
const actorOf = ({ did, actor = did }: Acting): string => actor;

const refusing = (decision: Decision, refusal: Refusal | undefined): Decision => {
  if (refusal === undefined) return decision;
  const { approval: _, ...rest } = decision;
  return { ...rest, ...refusal, effect: 'deny', rule: null, limits: [] };
};

const withLimits = (decision: Decision, more: readonly LimitUse[] = []): Decision =>
  more.length === 0 || decision.effect === 'deny' ? decision : { ...decision, limits: [...decision.limits, ...more] };

const usedUp = (decision: Decision, use: LimitUse, freeInMs: number): Decision =>
  use.of === undefined ? ruleUsedUp(decision, use, freeInMs) : linkUsedUp(decision, use, freeInMs);

/** It is the link that refuses, whatever the rule that allowed it. */
const linkUsedUp = (decision: Decision, { of, rule, count, windowMs }: LimitUse, freeInMs: number): Decision => ({
  ...decision,
  effect: 'deny',
  code: 'limit_exceeded',
  rule: null,
  reason: `Link "${of}" allows ${limitText({ count, windowMs })} of "${rule}", and they are used up: try again in ${Math.ceil(Math.max(0, freeInMs) / 1000)} s`,
});

const ruleUsedUp = (decision: Decision, { policy, rule, count, windowMs }: LimitUse, freeInMs: number): Decision => ({
  ...decision,
  effect: 'deny',
  code: 'limit_exceeded',
  rule,
  policy: decision.policy.name === policy ? decision.policy : { ...decision.policy, name: policy },
  reason: Number.isFinite(freeInMs)
    ? `Rule "${rule}" of policy "${policy}" allows ${limitText({ count, windowMs })}, and they are used up: try again in ${Math.ceil(Math.max(0, freeInMs) / 1000)} s`
    : `Rule "${rule}" of policy "${policy}" allows none`,
});

const verdictOf = (
  { effect, code, rule, policy, matched, output, reason }: Decision,
  { id, index, approval }: { readonly id: string; readonly index: number; readonly approval?: PendingApproval },
): Verdict => ({
  id,
  index,
  effect,
  ...(code !== undefined && { code }),
  rule,
  policy,
  matched,
  ...(approval !== undefined && { approval }),
  output,
  reason,
});

function detailsOf(agent: Acting, request: GateRequest, decision: Decision, more: Details): Details {
  const { policy, rule, effect } = decision;
  return {
    ...more,
    actor: actorOf(agent),
    ...(request.tool !== undefined && { op: 'execute_tool', tool: request.tool.name }),
    ...(request.trace !== undefined && { trace: request.trace }),
    policy: { hash: policy.digest, version: policy.name, rule, decision: effect },
  };
}
