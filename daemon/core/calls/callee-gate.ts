/**
 * Where what another organisation asks of an exposed server is decided (SPEC "Serving calls"): by the chain under the
 * session, link by link; by what is known of revocations now, where it is critical; by the rates of the links; by the
 * policies of the configuration and of the exposure. What is decided is in the log before the server sees the request,
 * with the organisation that asked, the session and the chain.
 */
import { needOf, type Need, isPossiblyCovered, verifyCovered } from '../../../protocol/call/index.ts';
import {
  type Capability,
  freshnessOf,
  isMeshError,
  MeshError,
  type MeshView,
  stalenessOf,
  type StalenessPolicy,
} from '../../../protocol/index.ts';
import type { DecideOptions, Gate, GateRequest, PendingApproval, Verdict } from '../../../protocol/policy/index.ts';
import type { Clock } from '../../ports.ts';
import type { Acting, Governance, Refusal } from '../governance/governance.ts';
import type { Freshness } from '../freshness.ts';
import type { Session, Sessions } from '../sessions.ts';
import type { Exposure } from './exposures.ts';
import { holdDecision } from './held-gate.ts';
import { linkUses } from './link-rates.ts';
import { detailsOf, factsOf } from './session-facts.ts';

/** A call, as far as its gate tells it something. */
export interface GatedCall {
  /** Of its request. */
  readonly method: string;
  /** Rows that are durable when it goes ahead. */
  written(): Promise<void>;
  /** What was decided of it; asked about more than once, each is told. */
  decided(verdict: Verdict, request: GateRequest, isRefused: boolean): void;
  /** It waits for an approval. */
  waits(): void;
}

export interface CalleeGateComponents {
  readonly governance: Pick<Governance, 'decide' | 'filter' | 'settle' | 'checkTools' | 'waitForApproval' | 'explain'>;
  readonly clock: Pick<Clock, 'monotonicMs' | 'nowMs'>;
  readonly sessions: Pick<Sessions, 'get' | 'verify'>;
  readonly freshen: Freshness['freshen'];
  readonly view: MeshView;
  readonly staleness: StalenessPolicy;
  /** Own agents, as long as they may act. Errors: not_found, suspended, revoked. */
  readonly acting: (did: string) => Acting;
  /** This side's own. */
  readonly organisation: string;
  readonly exposure: Exposure;
  /** Digest of the policy that the exposure brings, as it is now. */
  readonly policy: () => string;
  /** The newest under the link; it may be over. */
  readonly session: () => Session;
}

export interface CalleeGate extends Omit<Gate, 'close' | typeof Symbol.asyncDispose> {
  /** What keeps something from being done whoever asks what of the policies. Errors: closed, and those of the chain. */
  verify(request: GateRequest): void;
  /** Whether policies would refuse it now; nothing is logged or used up. */
  isDenied(request: GateRequest): Promise<boolean>;
  /** Logs that it is refused for this reason. Errors: of the log. */
  refuse(request: GateRequest, refusal: Refusal): Promise<Verdict>;
}

export const createCalleeGate = (components: CalleeGateComponents): CalleeGate => new OwnGate(components);

class OwnGate implements CalleeGate {
  readonly #components: CalleeGateComponents;
  constructor(components: CalleeGateComponents) {
    this.#components = components;
  }

  get #brought(): readonly string[] {
    return [this.#components.policy()];
  }

  get description(): Gate['description'] {
    const { organisation } = this.#components;
    return { mode: 'daemon', agent: this.#session().as, organisation, policies: [], missing: [] };
  }

  async decide(request: GateRequest, options: DecideOptions = {}): Promise<Verdict> {
    const { governance, clock } = this.#components;
    const call = options.origin as GatedCall | undefined;
    const approvals = { wait: governance.waitForApproval.bind(governance) };
    const once = (): Promise<Verdict> => this.#decide(request, call, options.signal);
    const verdict = await holdDecision({ clock, approvals }, once, {
      ...options,
      ...(options.onWaiting !== undefined && {
        onWaiting: (approval: PendingApproval) => {
          call?.waits();
          options.onWaiting?.(unnamed(approval));
        },
      }),
    });
    return toldOutside(verdict);
  }

  async filter(requests: readonly GateRequest[]): Promise<readonly boolean[]> {
    const session = this.#session();
    const allowed = await this.#components.governance.filter(
      actingFor(session),
      this.#brought,
      requests,
      factsOf(session),
    );
    return requests.map((request, i) => allowed[i] === true && this.#isPossible(request, session));
  }

  settle({ id, effect }: Verdict, outcome: Parameters<Gate['settle']>[1]): void {
    const { governance, session } = this.#components;
    if (id !== null && effect === 'allow') governance.settle(session().did, id, outcome);
  }

  async checkTools(
    server: string,
    tools: Parameters<Gate['checkTools']>[1],
    options: Parameters<Gate['checkTools']>[2],
  ): ReturnType<Gate['checkTools']> {
    // Beside a server of this name that own agents use, which may be another one.
    const pinned = `exposed/${server}`;
    const session = this.#session();
    return this.#components.governance.checkTools(actingFor(session), this.#brought, pinned, tools, options);
  }

  verify(request: GateRequest): void {
    const session = this.#session();
    this.#verifyActing(session);
    const need = needOf(request, this.#components.exposure);
    if (need !== undefined) this.#verifyChain(need, session);
  }

  async isDenied(request: GateRequest): Promise<boolean> {
    const session = this.#session();
    const { decision } = await this.#components.governance.explain(
      actingFor(session),
      this.#brought,
      request,
      factsOf(session),
    );
    return decision.effect === 'deny';
  }

  refuse(request: GateRequest, refusal: Refusal): Promise<Verdict> {
    const { governance, session: sessionOf } = this.#components;
    const session = sessionOf();
    return refuseIn(session, { governance, policies: this.#brought, request, refusal });
  }

  /** Errors: closed. */
  #session(): Session {
    const { sessions, session } = this.#components;
    const { sid } = session();
    const open = sessions.get(sid);
    if (open === undefined) throw gone(sid);
    return open;
  }

  /** That the own side, for which it is done, may act. Errors: not_found, suspended, revoked. */
  #verifyActing({ as }: Session): void {
    try {
      this.#components.acting(as);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      throw new MeshError(error.code, `Cannot go ahead: "${as}" may not act now`, { did: as }, { cause: error });
    }
  }

  async #decide(request: GateRequest, call: GatedCall | undefined, signal: AbortSignal | undefined): Promise<Verdict> {
    const { governance, exposure } = this.#components;
    const session = this.#session();
    // Of what a server asks, the authority is its own organisation's.
    const isServers = request.mcp !== undefined && request.mcp.method !== call?.method;
    let refusal: Refusal | undefined;
    let need: Need | undefined;
    try {
      this.#verifyActing(session);
      need = isServers ? undefined : needOf(request, exposure);
      if (need !== undefined) await this.#verifyNeed(need, session, signal);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      refusal = { code: error.code, reason: error.message };
    }
    const verdict = await governance.decide(actingFor(session), this.#brought, request, factsOf(session), {
      signal,
      refusal,
      details: detailsOf(session),
      ...(need !== undefined && call !== undefined && { limits: linkUses(need.can, session) }),
      ...(call !== undefined && { written: () => call.written() }),
    });
    call?.decided(verdict, request, refusal !== undefined || isOfLink(verdict));
    return verdict;
  }

  /** Errors: caps_insufficient, unknown_root, status_stale, closed, and why the session does not hold any more. */
  async #verifyNeed(need: Need, session: Session, signal: AbortSignal | undefined): Promise<void> {
    this.#verifyChain(need, session);
    const { staleness, freshen, sessions, view, clock } = this.#components;
    if (stalenessOf([{ can: need.can }], strictestOf(session), staleness) > 0) return;
    const askedSinceMs = clock.nowMs();
    const organisations = [...session.organisations.keys()];
    const how = { maxAgeSeconds: 0, peer: session.peer, ...(signal !== undefined && { signal }) };
    await Promise.all(organisations.map((did) => freshen(did, how)));
    sessions.verify(session.sid);
    for (const did of organisations) {
      const { stale } = freshnessOf(view, did, clock.nowMs(), { staleAfterSeconds: 0, askedSinceMs });
      if (stale !== undefined)
        throw new MeshError(
          'status_stale',
          `Cannot go ahead: "${need.can}" needs to know now what "${did}" revoked, and it did not answer`,
          { did, reason: stale },
        );
    }
  }

  /** By the capabilities of the session, and by each link: one that names no resources has those of its parent. */
  #verifyChain(need: Need, { granted, agreed: { chain } }: Session): void {
    const [root] = chain;
    if (root === undefined)
      throw new MeshError('caps_insufficient', `Cannot go ahead: no chain grants "${need.can}" in this session`, {
        field: 'can',
        want: need.can,
      });
    if (root.payload.iss !== this.#components.organisation)
      throw new MeshError('unknown_root', `Cannot go ahead: link "${root.id}" is not of this organisation`, {
        id: root.id,
        did: root.payload.iss,
      });
    for (const { id, payload } of chain) verifyLink(need, id, payload.cap);
    verifyCovered(need, granted);
  }

  #isPossible(request: GateRequest, { granted, agreed: { chain } }: Session): boolean {
    try {
      const need = needOf(request, this.#components.exposure);
      if (need === undefined) return true;
      return [granted, ...chain.map(({ payload }) => payload.cap)].every((each) => isPossiblyCovered(need, each));
    } catch (error) {
      if (isMeshError(error)) return false; // nothing could be granted for it, so it may never be called
      throw error;
    }
  }
}

export interface Refused {
  readonly governance: Pick<Governance, 'decide'>;
  /** Digests of those brought. */
  readonly policies: readonly string[];
  readonly request: GateRequest;
  readonly refusal: Refusal;
}

/** Logs that something asked for in this session, which may be over, is refused. Errors: of the log. */
export const refuseIn = (session: Session, { governance, policies, request, refusal }: Refused): Promise<Verdict> =>
  governance.decide(actingFor(session), policies, request, factsOf(session), { details: detailsOf(session), refusal });

/** Errors: caps_insufficient, naming the link. */
function verifyLink(need: Need, id: string, granted: readonly Capability[]): void {
  try {
    verifyCovered(need, granted);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    throw new MeshError(error.code, `Link "${id}" does not cover "${need.can}"${asNamed(error)}`, {
      ...error.data,
      id,
    });
  }
}

const asNamed = ({ data: { field } }: MeshError): string =>
  field === 'res' ? ' for the resources that the request names' : '';

/** What the links of the chain want known at most so many seconds ago; null: none says. */
function strictestOf({ agreed: { chain } }: Session): number | null {
  const said = chain.flatMap(({ payload: { stl } }) => stl ?? []);
  return said.length === 0 ? null : Math.min(...said);
}

/** A rate that is used up is the link's refusal, not a policy's. */
const isOfLink = ({ effect, code, rule }: Verdict): boolean =>
  effect === 'deny' && code === 'limit_exceeded' && rule === null;

/** What names people of this organisation stays here. */
const unnamed = (approval: PendingApproval): PendingApproval => ({ ...approval, approvers: [] });

function toldOutside(verdict: Verdict): Verdict {
  const { effect, code, rule, policy, approval, reason } = verdict;
  const isAbout = effect === 'require_approval' || code === 'approval_denied';
  const who = rule === null ? 'It' : `Rule "${rule}" of policy "${policy.name}"`;
  const ended = code === 'approval_denied' ? ', which nobody gave' : '';
  return {
    ...verdict,
    matched: [],
    ...(approval !== undefined && { approval: unnamed(approval) }),
    reason: isAbout ? `${who} wants an approval${ended}` : reason,
  };
}

const actingFor = ({ did, organisation, sponsor, as }: Session): Acting => ({
  did,
  organisation,
  actor: as,
  ...(sponsor !== null && { principal: sponsor }),
});

const gone = (sid: string): MeshError => new MeshError('closed', `Cannot go on: session "${sid}" is over`, { id: sid });
