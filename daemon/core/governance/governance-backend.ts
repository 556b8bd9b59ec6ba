/** The control API's answers about decisions, approvals and policies. */
import type {
  ApprovalView,
  Caller,
  ControlBackend,
  DivergenceView,
  ExplainAnswer,
  Policies,
} from '../../../protocol/control/index.ts';
import { approvalMessage, isMeshError, limits, MeshError, signedBytes, toBase64url } from '../../../protocol/index.ts';
import type { GateRequest, ToolDefinition } from '../../../protocol/policy/index.ts';
import type { Clock, Signer } from '../../ports.ts';
import type { Approval, Approvals } from './approvals.ts';
import type { Acting, Explained, Governance } from './governance.ts';
import type { PolicyLibrary } from './policy-library.ts';
import type { RequestArchive } from './request-archive.ts';
import type { Comparison, Shadow } from './shadow.ts';

export interface GovernanceBackendComponents {
  readonly governance: Governance;
  readonly approvals: Approvals;
  readonly library: PolicyLibrary;
  readonly shadow: Shadow;
  readonly archive: RequestArchive;
  readonly clock: Clock;
  readonly organisation: string;
  /** As of GovernanceComponents. */
  readonly acting: (did: string) => Acting;
  /** The approver's key, where this daemon holds it. Errors: key_missing, did_unknown. */
  readonly approverSigner: (did: string) => Signer;
}

export type GovernanceOperation =
  | 'decide'
  | 'decisionFilter'
  | 'decisionExplain'
  | 'decisionSettle'
  | 'approvalList'
  | 'approvalShow'
  | 'approvalDecide'
  | 'policyList'
  | 'policyShow'
  | 'policyLoad'
  | 'policyReload'
  | 'policyReplay'
  | 'policyShadow'
  | 'toolCheck';

const WAIT_SECONDS_MAX = 60; // one request; whoever waits longer asks again

export function createGovernanceBackend(
  components: GovernanceBackendComponents,
): Pick<ControlBackend, GovernanceOperation> {
  const { governance, approvals, library, shadow, archive, clock, organisation, acting, approverSigner } = components;
  const actingFor = (as: string | undefined): Acting => acting(as ?? organisation);
  /** What an agent wants that was stopped is in the log as well. Errors: as of `acting`, and of the log. */
  const actingOrLogged = async (as: string | undefined, request: GateRequest): Promise<Acting> => {
    try {
      return actingFor(as);
    } catch (error) {
      const isStopped = isMeshError(error) && (error.code === 'suspended' || error.code === 'revoked');
      if (isStopped && as !== undefined) await governance.refuse(as, request, error.code);
      throw error;
    }
  };

  const approvalView = (approval: Approval): ApprovalView => ({
    id: approval.id,
    kind: approval.kind,
    state: approval.state,
    agent: approval.agent,
    digest: approval.digest,
    request: approval.request,
    policy: { name: approval.policy.name, digest: approval.policy.digest },
    rule: approval.rule,
    approvers: approval.approvers,
    mayDecide: approvals.mayDecide(approval),
    quorum: approval.quorum,
    decisions: approval.decisions.map(({ approver, decision, reason, at, signature }) => ({
      approver,
      decision,
      reason,
      at,
      signature,
    })),
    createdAt: timeOf(approval.createdMs),
    expiresAt: timeOf(approval.untilMs),
  });
  /** An agent sees what it asked for itself. Errors: not_found. */
  const visible = (id: string, caller: Caller): Approval => {
    const approval = approvals.get(id);
    if (caller.kind === 'operator' || approval.agent === caller.did) return approval;
    throw new MeshError('not_found', `Cannot find approval "${id}": there is none of this agent`, { id });
  };
  const policiesView = (): Policies => {
    const { problem, loadedMs } = library.status();
    return {
      policies: library.list(),
      problem:
        problem === undefined
          ? null
          : { code: problem.error.code, message: problem.error.message, since: timeOf(problem.sinceMs) },
      loadedAt: timeOf(loadedMs),
    };
  };

  return {
    decide: async ({ body: { as, policies = [], request } }, _caller, signal) => {
      const asked = request as GateRequest;
      const agent = await actingOrLogged(as, asked);
      const verdict = await governance.decide(agent, policies, asked, {}, { signal });
      // Whoever asked is gone and never heard that it may be done.
      if (isGone(signal) && verdict.id !== null) governance.settle(agent.did, verdict.id, { code: 'cancelled' });
      return verdict;
    },
    decisionFilter: async ({ body: { as, policies = [], requests } }) => ({
      allowed: await governance.filter(actingFor(as), policies, requests as readonly GateRequest[]),
    }),
    decisionExplain: async ({ body: { as, policies = [], request } }) =>
      explainView(await governance.explain(actingFor(as), policies, request as GateRequest)),
    decisionSettle: async ({ body: { as = organisation, outcomes } }) => ({
      settled: outcomes.filter(({ id, ...outcome }) => governance.settle(as, id, outcome)).length,
    }),

    approvalList: async ({ query: { all } }, caller) => ({
      approvals: approvals
        .list({ all: all === 'true', ...(caller.kind === 'agent' && { agent: caller.did }) })
        .map(approvalView),
    }),
    approvalShow: async ({ params: { id }, query: { wait } }, caller, signal) => {
      const approval = visible(id, caller);
      const waitMs = Math.min(Number(wait ?? 0), WAIT_SECONDS_MAX) * 1000;
      return { approval: approvalView(waitMs === 0 ? approval : await approvals.wait(id, { signal, waitMs })) };
    },
    approvalDecide: async ({ params: { id }, body: { decision, approver, reason, at, signature } }, caller) => {
      if (at !== undefined && !isTimeToMs(at))
        throw new MeshError('bad_request', `Cannot take a decision of "${at}": want a time to the millisecond`, {
          field: 'at',
        });
      if (signature !== undefined && at !== undefined)
        return { approval: approvalView(await approvals.decide(id, { decision, approver, reason, at, signature })) };
      if (signature !== undefined || at !== undefined)
        throw new MeshError('bad_request', 'Cannot take a decision: "at" and "signature" go together', { field: 'at' });
      if (caller.kind !== 'operator')
        throw new MeshError('forbidden', "Cannot decide with an agent's token: want the approver's signature", {
          did: caller.did,
        });
      const now = timeOf(clock.nowMs());
      const { digest } = approvals.get(id);
      const message = approvalMessage({ id, digest, decision, approver, reason, at: now });
      const signed = toBase64url(approverSigner(approver).sign(signedBytes('approval', message)));
      const given = { decision, approver, reason, at: now, signature: signed };
      return { approval: approvalView(await approvals.decide(id, given)) };
    },

    policyList: async () => policiesView(),
    policyShow: async ({ params: { digest } }) => library.show(digest),
    policyLoad: async ({ body: { name, files } }) => ({ policy: await library.load(name, files) }),
    policyReload: async () => {
      await library.reload();
      return policiesView();
    },
    policyReplay: async ({ body: { name, files, sinceSeconds } }, _caller, signal) => ({
      comparison: comparisonView(
        await shadow.replay({ name, files }, archive.since(clock.nowMs() - sinceSeconds * 1000), { signal }),
      ),
    }),
    policyShadow: async () => ({ candidates: shadow.comparisons().map(comparisonView) }),

    toolCheck: async ({ body: { as, policies = [], server, origin, complete, tools } }) => ({
      tools: [
        ...(await governance.checkTools(actingFor(as), policies, server, tools as readonly ToolDefinition[], {
          isComplete: complete,
          ...(origin !== undefined && { origin }),
        })),
      ],
    }),
  };
}

/** A daemon that stops fires it too, and may still be heard. */
const isGone = ({ aborted, reason }: AbortSignal): boolean =>
  aborted && isMeshError(reason) && reason.code === 'cancelled';

const comparisonView = ({ newest, ...comparison }: Comparison) => ({
  ...comparison,
  newest: newest
    .slice(0, limits.REPLAY_DIVERGENCES_MAX)
    .map(({ atMs, ...divergence }): DivergenceView => ({ at: timeOf(atMs), ...divergence })),
});

const explainView = ({ decision, rules, wouldChange }: Explained): ExplainAnswer => {
  const { effect, code, rule, policy, matched, reason } = decision;
  return {
    decision: { effect, ...(code !== undefined && { code }), rule, policy, matched, reason },
    rules,
    wouldChange,
  };
};

const timeOf = (ms: number): string => new Date(ms).toISOString();
const isTimeToMs = (text: string): boolean => {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && timeOf(ms) === text;
};
