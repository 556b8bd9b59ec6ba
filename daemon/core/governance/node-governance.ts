/** Policies, approvals and what they decide, put together for one node. */
import type { ControlBackend, MeshEventInput } from '../../../protocol/control/index.ts';
import {
  digestOf,
  encodeJcs,
  isAudienceDid,
  type IsSignatureValid,
  MeshError,
  type MeshState,
  toHex,
} from '../../../protocol/index.ts';
import type { DecisionPoint, ExternalPoint } from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Random, Store, Timer } from '../../ports.ts';
import type { Agents } from '../agents.ts';
import type { Recorder } from '../log/recorder.ts';
import type { Settle } from '../log/write-ahead.ts';
import type { OwnSigners } from '../own-signers.ts';
import type { Registry } from '../registry.ts';
import { requireState } from '../views.ts';
import { type Approval, Approvals, type HeldDecision } from './approvals.ts';
import { type Acting, Governance } from './governance.ts';
import { createGovernanceBackend, type GovernanceOperation } from './governance-backend.ts';
import { LimitStore } from './limits.ts';
import { type ListedPolicy, type LoadPolicies, PolicyLibrary } from './policy-library.ts';
import { RequestArchive } from './request-archive.ts';
import { Shadow } from './shadow.ts';
import { type ToolChange, ToolPins } from './tool-pins.ts';

export interface NodeGovernanceOptions {
  /** Reads the configured policies and candidates, each with all that it names. Default: there are none. */
  readonly load?: LoadPolicies;
  /** Default: policies that ask one cannot be used. Errors: policy_invalid. */
  readonly pointOf?: (external: ExternalPoint) => DecisionPoint;
  /** What policies know as environment.name. */
  readonly environment?: string | undefined;
  /** Members of the groups that policies name: DIDs, or contacts of sponsors. */
  readonly approvers?: readonly { readonly group: string; readonly who: string }[];
  /** How long the requests behind decisions are kept. */
  readonly requestsKeptMs?: number;
}

export interface NodeGovernanceComponents {
  /** The root store. */
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly state: MeshState;
  readonly registry: Registry;
  readonly signers: OwnSigners;
  readonly recorder: Recorder;
  readonly organisation: string;
}

export interface NodeGovernanceSurroundings {
  readonly agents: Agents;
  readonly emit: (event: MeshEventInput) => void;
  /** Other policies are in force than before. */
  readonly policiesChanged: () => void;
}

const PRUNE_MS = 600_000; // counters and requests that are over

export class NodeGovernance {
  readonly governance: Governance;
  readonly library: PolicyLibrary;
  readonly operations: Pick<ControlBackend, GovernanceOperation>;
  readonly #components: NodeGovernanceComponents;
  readonly #parts: Parts;
  readonly #late: Late;
  #timer: Timer | undefined;

  private constructor(components: NodeGovernanceComponents, options: NodeGovernanceOptions, parts: Parts, late: Late) {
    const { clock, random, log, recorder, organisation, signers, state } = components;
    const { approvals, library, shadow, archive } = parts;
    const acting = (did: string): Acting => this.acting(did);
    this.#components = components;
    this.#parts = parts;
    this.#late = late;
    this.library = library;
    this.governance = new Governance(
      {
        ...parts,
        clock,
        random,
        log,
        recorder,
        organisation,
        acting,
        pointOf: (external) => (options.pointOf ?? noPoint)(external),
        emit: (event) => late.surroundings?.emit(event),
      },
      { environment: options.environment },
    );
    this.operations = createGovernanceBackend({
      governance: this.governance,
      approvals,
      library,
      shadow,
      archive,
      clock,
      organisation,
      acting,
      approverSigner: (did) => signers.signerFor(requireState(state, did), did, 'sign'),
    });
  }

  /** Errors: store_corrupt; policy_invalid, where the configured policies cannot be used. */
  static async open(
    components: NodeGovernanceComponents,
    options: NodeGovernanceOptions = {},
  ): Promise<NodeGovernance> {
    const late: Late = { surroundings: undefined };
    return new NodeGovernance(components, options, await openParts(components, options, late), late);
  }

  /** Called once, before start. */
  attach(surroundings: NodeGovernanceSurroundings): void {
    this.#late.surroundings = surroundings;
  }

  /** Called once the log is open. */
  start(): void {
    notePolicies(this.#components.recorder, this.library);
    this.#pruneLater();
  }

  /** Errors: not_found, suspended, revoked. */
  acting(did: string): Acting {
    if (did === this.#components.organisation) return { did };
    const { agents } = this.#late.surroundings ?? {};
    if (agents === undefined)
      throw new MeshError('internal', `Cannot tell whether "${did}" may act: the node is not put together yet`);
    const agent = agents.agent(did);
    agents.requireActive(agent);
    return { did, name: agent.name, principal: agent.sponsor };
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#parts.approvals.close();
    await this.library.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #pruneLater(): void {
    const { clock, log } = this.#components;
    this.#timer = clock.after(PRUNE_MS, () => {
      Promise.all([this.#parts.limits.prune(), this.#parts.archive.prune()])
        .catch((error: unknown) => log.warn({ error }, 'old requests and counters cannot be removed'))
        .finally(() => this.#pruneLater());
    });
  }
}

interface Parts {
  readonly approvals: Approvals;
  readonly library: PolicyLibrary;
  readonly shadow: Shadow;
  readonly archive: RequestArchive;
  readonly limits: LimitStore;
  readonly pins: ToolPins;
}

interface Late {
  surroundings: NodeGovernanceSurroundings | undefined;
}

async function openParts(
  components: NodeGovernanceComponents,
  { load, requestsKeptMs, approvers = [] }: NodeGovernanceOptions,
  late: Late,
): Promise<Parts> {
  const { store, clock, random, log, state, isSignatureValid, recorder, registry, organisation } = components;
  const emit = (event: MeshEventInput): void => late.surroundings?.emit(event);
  const opened: { pins: ToolPins | undefined } = { pins: undefined };

  const approvals = await Approvals.open({
    store,
    clock,
    random,
    log,
    state,
    isSignatureValid,
    resolveApprovers: (names) => approversOf(names, { registry, approvers }),
    ahead: (approval, decision) => recordDecided(recorder, approval, decision),
    events: {
      requested: ({ id, agent, kind, untilMs }) =>
        emit({ type: 'approval.requested', data: { id, as: agent, kind, expiresAt: timeOf(untilMs) } }),
      decided: (approval) => {
        const { id, agent, state: now } = approval;
        emit({ type: 'approval.decided', data: { id, as: agent, state: now } });
        if (now !== 'approved') return;
        opened.pins
          ?.approved(approval)
          .catch((error: unknown) => log.error({ id, error }, 'approved tools cannot be pinned'));
      },
    },
  });
  const pins = await ToolPins.open({
    store,
    clock,
    log,
    approvals,
    events: {
      pinned: (server, hashes) => {
        const digest = toHex(digestOf(encodeJcs(hashes)));
        recorder.note('tool.pinned', { server, count: Object.keys(hashes).length, digest }, { subject: server });
      },
      changed: (change) => noteChanged(recorder, emit, change),
    },
  });
  opened.pins = pins;
  const library = await PolicyLibrary.open({
    store,
    clock,
    log,
    load: load ?? (async () => []),
    onBrought: ({ name, digest }) =>
      recorder.note('policy.loaded', { name, digest, source: 'caller' }, { subject: digest }),
  });
  library.onChange(() => {
    const { problem } = library.status();
    if (problem === undefined) notePolicies(recorder, library);
    const policies = inForce(library).length;
    emit({ type: 'policy.changed', data: { policies, problem: problem?.error.code ?? null } });
    late.surroundings?.policiesChanged();
  });
  const shadow = new Shadow({
    clock,
    library,
    diverged: ({ digest }, { action, live, candidate }) =>
      recorder.note('policy.diverged', { candidate: digest, action, live, other: candidate }),
  });
  const archive = await RequestArchive.open(
    { store, clock, random, log },
    requestsKeptMs === undefined ? {} : { keepMs: requestsKeptMs },
  );
  return { approvals, library, shadow, archive, limits: new LimitStore({ store, clock, log }), pins };

  function recordDecided(to: Recorder, approval: Approval, decision: HeldDecision): Promise<Settle> {
    const { approver, decision: said, reason, at, signature } = decision;
    const members = { id: approval.id, digest: approval.digest, decision: said, approver, reason, at, signature };
    return to.announce('approval.decided', members, { actor: organisation, subject: approval.id });
  }
}

const inForce = (library: PolicyLibrary): ListedPolicy[] => library.list().filter(({ source }) => source !== 'caller');

/** Which policies of the configuration are in force from now on. */
function notePolicies(recorder: Recorder, library: PolicyLibrary): void {
  for (const { name, digest, source } of inForce(library))
    recorder.note('policy.loaded', { name, digest, source }, { subject: digest });
}

function noteChanged(
  recorder: Recorder,
  emit: (event: MeshEventInput) => void,
  { server, agent, states }: ToolChange,
): void {
  for (const { name, state, approval } of states) {
    if (state === 'pinned') continue;
    const of = approval === undefined ? {} : { approval: approval.id };
    recorder.note('tool.changed', { server, state, ...of }, { actor: agent, tool: name, subject: server });
    emit({ type: 'tool.changed', data: { as: agent, server, tool: name } });
  }
}

interface ApproverSources {
  readonly registry: Registry;
  readonly approvers: readonly { readonly group: string; readonly who: string }[];
}

/**
 * Whom names of a policy stand for: sponsors of this organisation, and whomever the configuration names. Whoever brings
 * a policy cannot make anybody else an approver. No names: every sponsor.
 */
function approversOf(names: readonly string[], { registry, approvers }: ApproverSources): string[] {
  const sponsors = registry.sponsors();
  if (names.length === 0) return sponsors.map(({ did }) => did);
  const members = names.flatMap((name) => [
    name,
    ...approvers.filter(({ group }) => group === name).map(({ who }) => who),
  ]);
  const named = new Set(approvers.map(({ who }) => who));
  const dids = members.flatMap((member) => {
    const sponsor = sponsors.find(
      ({ did, contact }) => did === member || contact.toLowerCase() === member.toLowerCase(),
    );
    if (sponsor !== undefined) return [sponsor.did];
    return named.has(member) && isAudienceDid(member) ? [member] : [];
  });
  return [...new Set(dids)];
}

const timeOf = (ms: number): string => new Date(ms).toISOString();

function noPoint({ name }: ExternalPoint): never {
  throw new MeshError('policy_invalid', `Cannot ask decision point "${name}": none can be asked here`, { field: name });
}
