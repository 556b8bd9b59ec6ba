/**
 * The daemon's core put together: everything that decides, over the ports. What it believes is a function of the
 * statements it holds, its own observations and its configuration.
 */
import {
  cascadeOf,
  DEFAULT_NETWORK,
  protocolId,
  equalBytes,
  genesisIdOf,
  type IsSignatureValid,
  isMeshError,
  isOfKind,
  kindRow,
  limits,
  MeshError,
  MeshState,
  RangeIndex,
  STALENESS_POLICY,
  type StalenessPolicy,
  type Statement,
  targetKeyOf,
  toHex,
  TOPICS,
} from '../../protocol/index.ts';
import type {
  Anchor,
  Clock,
  Keys,
  Logger,
  McpServers,
  Network,
  PeerConnection,
  Random,
  Signer,
  Store,
  Timer,
} from '../ports.ts';
import { Agents } from './agents.ts';
import { CallerSessions } from './calls/caller-sessions.ts';
import type { ExposuresBackendComponents } from './calls/exposures-backend.ts';
import { NodeCalls } from './calls/node-calls.ts';
import { askServices, serviceAnswers } from './calls/services.ts';
import { Chains } from './chains.ts';
import { deadline } from './deadline.ts';
import { Delegations } from './delegations.ts';
import { EventBus } from './events.ts';
import { Freshness } from './freshness.ts';
import { NodeGovernance, type NodeGovernanceOptions } from './governance/node-governance.ts';
import { createHandshakes, type Handshakes } from './handshake.ts';
import { Convictions } from './log/convictions.ts';
import type { Decisions } from './log/decisions.ts';
import { NodeLog, type NodeLogOptions } from './log/node-log.ts';
import type { WitnessEndpoint } from './log/witness-stream.ts';
import { NodeMessages, type NodeMessagesOptions } from './messages/node-messages.ts';
import { Organisation } from './organisation.ts';
import { OwnSigners } from './own-signers.ts';
import { type CheckSignatures, Pipeline, type Source } from './pipeline.ts';
import { Registry } from './registry.ts';
import { presenterFor } from './presenter.ts';
import { Resolver } from './resolver.ts';
import { type Session, Sessions } from './sessions.ts';
import type { HandshakeBody } from '../../protocol/control/index.ts';
import type { ExposureInput } from '../../protocol/call/index.ts';
import type { Sha256 } from '../../protocol/log/index.ts';
import { Sync } from './sync.ts';
import { TokenBuckets } from './token-buckets.ts';
import { capabilitiesFrom, targetView } from './views.ts';

export interface NodeComponents {
  readonly network: Network;
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly checkSignatures?: CheckSignatures;
  /** The node key, whose PeerId the network has. */
  readonly nodeSigner: Signer;
  readonly ephemeralSigner: () => Signer;
  /** See OrganisationComponents. */
  readonly makeRecoveryKeys: (count: number) => Promise<readonly Uint8Array[]>;
  /** Where the audit log shows, outside the store, how far it had come. */
  readonly anchor: Anchor;
  /** A faster SHA-256 than the pure one, for the audit log. */
  readonly sha256?: Sha256;
  /** Asks a foreign witness; absent: none are asked. */
  readonly witnessAtUrl?: (url: string) => WitnessEndpoint;
  /** Starts exposed MCP servers; absent: nothing can be exposed. */
  readonly mcpServers?: McpServers;
}

export interface NodeOptions {
  /** Name of the network, part of protocol ids. Default "agentmesh". */
  readonly networkName?: string;
  readonly organisationName?: string | null;
  /** Further organisations trusted as roots of chains; the own one always is. */
  readonly roots?: readonly string[];
  readonly staleness?: StalenessPolicy;
  readonly agentsPerSponsorMax?: number;
  readonly credentialSeconds?: number;
  readonly heartbeatMs?: number;
  readonly syncMs?: number;
  /** Of the audit log and the witness. Default: the program is "unversioned", witnesses are chosen, nobody reads entries. */
  readonly audit?: NodeLogOptions;
  /** Policies and who approves. Default: there is no policy, so that nothing is allowed that needs one. */
  readonly governance?: NodeGovernanceOptions;
  /** Servers that the configuration exposes, with absolute paths. Default none. */
  readonly exposed?: readonly ExposureInput[];
  /** Bounds of the outbox and the inbox. */
  readonly messages?: Omit<NodeMessagesOptions, 'networkName'>;
}

const SWEEP_MS = 5_000; // expired statements leave within this
const PROVIDE_MS = 12 * 3_600_000; // provider records live for 48 h
const PROVIDE_FIRST_MS = 2_000; // once there are peers to tell
const PROVIDE_TIMEOUT_MS = 30_000;
const FORWARD_PER_SECOND = 50; // revocations that sync brought and gossip may not have: not a storm after a partition
const LEARN_OWN_MS = 3_000; // to ask neighbours for one's own newest revocation before numbering the next
const RELIED_ON_MS = 10 * 60_000; // an accepted chain is kept fresh for this long after its last use

/** Everything the daemon's parts share; made by openNode, ended by close. */
export class MeshNode {
  readonly components: NodeComponents;
  readonly options: NodeOptions;
  readonly state: MeshState;
  readonly index: RangeIndex;
  readonly pipeline: Pipeline;
  readonly events: EventBus;
  readonly registry: Registry;
  readonly signers: OwnSigners;
  readonly organisation: Organisation;
  readonly agents: Agents;
  readonly delegations: Delegations;
  readonly sync: Sync;
  readonly resolver: Resolver;
  readonly freshness: Freshness;
  readonly chains: Chains;
  readonly convictions: Convictions;
  readonly sessions: Sessions;
  readonly handshakes: Handshakes;
  readonly audit: NodeLog;
  readonly governance: NodeGovernance;
  readonly calls: NodeCalls;
  readonly messages: NodeMessages;
  /** Sessions in which others are asked what they expose. */
  readonly #lines: CallerSessions;
  readonly #forward: TokenBuckets;
  readonly #reliedOn = new Map<string, { staleAfterSeconds: number; atMs: number }>();
  readonly #timers = new Set<Timer>();
  readonly #stop = new AbortController();
  #validating: Uint8Array | undefined;

  private constructor(parts: {
    readonly components: NodeComponents;
    readonly options: NodeOptions;
    readonly pipeline: Pipeline;
    readonly index: RangeIndex;
    readonly registry: Registry;
    readonly signers: OwnSigners;
    readonly organisation: Organisation;
    readonly convictions: Convictions;
    readonly audit: NodeLog;
    readonly governance: NodeGovernance;
    readonly calls: NodeCalls;
    readonly messages: NodeMessages;
    readonly late: Late;
  }) {
    const { components, options, pipeline, index, registry, signers, organisation, convictions, audit, governance } =
      parts;
    const { clock, random, log, network, isSignatureValid, ephemeralSigner } = components;
    parts.late.learnOwn = () => this.#learnOwn();
    this.components = components;
    this.options = options;
    this.pipeline = pipeline;
    this.state = pipeline.state;
    this.index = index;
    this.registry = registry;
    this.signers = signers;
    this.organisation = organisation;
    this.convictions = convictions;
    this.events = new EventBus(clock, { run: toHex(random.bytes(8)) });
    this.audit = audit;
    this.governance = governance;
    this.calls = parts.calls;
    this.messages = parts.messages;
    const ahead = audit.decisions;
    this.sessions = new Sessions({
      clock,
      log,
      view: this.state,
      emit: (event) => this.events.emit(event),
      ended: (session, code, use) => ahead.sessionEnded(session, code, use),
    });
    this.#forward = new TokenBuckets(clock, { perSecond: FORWARD_PER_SECOND, burst: FORWARD_PER_SECOND });
    this.agents = new Agents(
      {
        organisation,
        pipeline,
        registry,
        signers,
        clock,
        random,
        log,
        isSignatureValid,
        ephemeralSigner,
        events: this.#agentEvents(),
        ahead,
      },
      {
        ...(options.agentsPerSponsorMax !== undefined && { agentsPerSponsorMax: options.agentsPerSponsorMax }),
        ...(options.credentialSeconds !== undefined && { credentialSeconds: options.credentialSeconds }),
      },
    );
    this.delegations = new Delegations({
      organisation,
      agents: this.agents,
      pipeline,
      signers,
      clock,
      random,
      isSignatureValid,
    });
    this.sync = new Sync(
      {
        network,
        pipeline,
        index,
        clock,
        random,
        log,
        did: organisation.did,
        heartbeat: (nonce) => organisation.heartbeat(nonce),
        reliedOn: () => this.reliedOn().keys(),
        isRefused: (did) => convictions.isRefused(did),
        onBound: (peer, did, { address }) => {
          this.events.emit({ type: 'peer.bound', data: { peerId: peer, did, address } });
          audit.peerBound(peer, did);
          this.messages.organisationSeen(did);
        },
        onUnbound: (peer, did) => {
          this.events.emit({ type: 'peer.lost', data: { peerId: peer, did } });
          this.sessions.peerUnbound(peer);
          audit.peerUnbound();
        },
      },
      { ...(options.syncMs !== undefined && { intervalMs: options.syncMs }) },
    );
    audit.attach({
      agents: this.agents,
      sync: this.sync,
      connect: (did, signal) => this.resolver.connect(did, signal),
      emit: (event) => this.events.emit(event),
      learnOwn: () => this.#learnOwn(),
    });
    governance.attach({
      agents: this.agents,
      emit: (event) => this.events.emit(event),
      policiesChanged: () => {
        this.sessions.trustChanged();
        this.calls.callee.policiesChanged();
      },
    });
    this.resolver = new Resolver({ network, pipeline, sync: this.sync, clock, log });
    this.freshness = new Freshness(
      {
        pipeline,
        sync: this.sync,
        resolver: this.resolver,
        organisation,
        clock,
        random,
        log,
        reliedOn: () => this.reliedOn(),
      },
      { ...(options.heartbeatMs !== undefined && { beatMs: options.heartbeatMs }) },
    );
    this.chains = new Chains(this);
    this.handshakes = createHandshakes(
      {
        network,
        sessions: this.sessions,
        clock,
        random,
        log,
        view: this.state,
        isSignatureValid,
        emit: (event) => this.events.emit(event),
        organisation: organisation.did,
        presenterFor: async (did, grant) =>
          presenterFor({ state: this.state, organisation, agents: this.agents, clock }, did, grant),
        reach: (did, signal) => this.#reach(did, signal),
        admit: async (envelopes, peer) => {
          await pipeline.receiveMany(envelopes, { via: 'presented', peer });
        },
        pull: async (dids, peer, signal) => {
          for (const did of dids) await this.sync.learnLog(did, peer, signal);
        },
        freshen: (did, how) => this.freshness.freshen(did, how),
        ahead,
        scoreOf: () => ({ score: limits.NETWORK_SCORE_NEUTRAL, basis: 'neutral default: no evidence is kept yet' }),
        verifyNoneRefused: (dids, attempted) => convictions.verifyNoneRefused(dids, attempted),
        roots: () => this.roots,
        policy: governance.governance.handshakePolicy(),
      },
      { staleness: this.staleness, ...(options.networkName !== undefined && { network: options.networkName }) },
    );
    const { agents, sessions, handshakes, resolver, chains } = this;
    this.messages.attach({ agents, sessions, handshakes, resolver, chains });
    this.calls.attach({
      sessions,
      freshen: (did, how) => this.freshness.freshen(did, how),
      staleness: this.staleness,
      handshakes: this.handshakes,
      chains: this.chains,
      resolver: this.resolver,
    });
    this.calls.onAsk('mail', this.messages.serve);
    this.#lines = new CallerSessions({ clock, handshakes, sessions });
    this.calls.onAsk('services', serviceAnswers(this.calls.exposures));
  }

  /** Opens the store and the organisation. Nothing is heard or sent before start. Errors: store_corrupt, the door's codes. */
  static async open(components: NodeComponents, options: NodeOptions = {}): Promise<MeshNode> {
    const { store, keys, clock, random, log, isSignatureValid, checkSignatures, nodeSigner, makeRecoveryKeys } =
      components;
    const index = new RangeIndex();
    const late: Late = { learnOwn: async () => {}, decisions: undefined };
    const pipeline = new Pipeline(
      {
        state: new MeshState(),
        index,
        store,
        clock,
        log,
        isSignatureValid,
        ...(checkSignatures !== undefined && { checkSignatures }),
      },
      // The organisation's own genesis comes before there is a log, and takes effect when the network starts.
      { beforeKept: async (statements) => late.decisions?.beforeKept(statements) ?? (() => {}) },
    );
    const { statements, unplaced } = await pipeline.open();
    if (unplaced > 0)
      log.warn({ unplaced }, 'statements in the store have lost what they build on; sync will bring it');
    log.debug({ statements }, 'statements read');
    const registry = new Registry(store);
    await registry.open();
    const signers = new OwnSigners(keys);
    const organisation = await Organisation.open(
      {
        pipeline,
        signers,
        registry,
        clock,
        random,
        node: nodeSigner,
        makeRecoveryKeys,
        learnOwn: () => late.learnOwn(),
      },
      { name: options.organisationName ?? null },
    );
    const convictions = await Convictions.open({
      state: pipeline.state,
      pipeline,
      store,
      clock,
      log,
      organisation: organisation.did,
    });
    const audit = await NodeLog.open(
      { ...components, pipeline, registry, signers, organisation, convictions },
      options.audit ?? { version: 'unversioned' },
    );
    late.decisions = audit.decisions;
    const governance = await NodeGovernance.open(
      {
        ...components,
        state: pipeline.state,
        registry,
        signers,
        recorder: audit.recorder,
        organisation: organisation.did,
      },
      options.governance,
    );
    const calls = await NodeCalls.open(
      { ...components, governance, audit, state: pipeline.state, organisation: organisation.did },
      { networkName: options.networkName ?? DEFAULT_NETWORK, exposed: options.exposed },
    );
    const messages = await NodeMessages.open(
      {
        ...components,
        state: pipeline.state,
        recorder: audit.recorder,
        governance: governance.governance,
        acting: (did) => governance.acting(did),
        organisation: organisation.did,
      },
      { ...options.messages, networkName: options.networkName ?? DEFAULT_NETWORK },
    );
    return new MeshNode({
      components,
      options,
      pipeline,
      index,
      registry,
      signers,
      organisation,
      convictions,
      audit,
      governance,
      calls,
      messages,
      late,
    });
  }

  /** Registers handlers and begins all periodic work; call before the network starts. */
  async start(): Promise<void> {
    const { network, log } = this.components;
    this.events.subscribe(undefined, (event) => {
      this.audit.decisions.observe(event);
      if (event.type === 'agent.changed') this.calls.callee.agentChanged(event.data.did);
    });
    this.pipeline.listen({
      accepted: (statement, source) => {
        this.sessions.statementChanged(statement);
        this.#accepted(statement, source);
      },
      removed: (statement) => this.sessions.statementChanged(statement),
      refused: (outcome, source) => {
        const peerId = source.via === 'local' ? null : source.peer;
        log.debug({ code: outcome.code, reason: outcome.message, source: source.via, peerId }, 'statement rejected');
        this.events.emit({
          type: 'statement.rejected',
          data: { id: outcome.statement?.id ?? null, code: outcome.code, source: sourceName(source), peerId },
        });
      },
    });
    this.convictions.listen({
      convicted: (organisation, { id, payload }) => {
        this.events.emit({ type: 'conviction.made', data: { did: organisation, of: payload.of, proof: id } });
        if (organisation === this.organisation.did) return;
        this.sessions.convicted(organisation);
        this.sync.recheck(organisation);
      },
      lifted: (did, reason) => this.events.emit({ type: 'conviction.lifted', data: { did, reason } }),
    });
    for (const topic of TOPICS) {
      network.validate(topic, (message, peer) => {
        this.#validating = message;
        const { verdict } = this.pipeline.receive(message, { via: 'gossip', peer, topic });
        this.#validating = undefined;
        return verdict === 'pending' ? 'ignore' : verdict;
      });
    }
    await this.audit.start();
    this.governance.start();
    await this.handshakes.start();
    await this.calls.start();
    await this.sync.start();
    await this.agents.start();
    this.freshness.start();
    this.messages.start();
    this.#every(SWEEP_MS, SWEEP_MS, () => this.pipeline.sweep());
    this.#every(PROVIDE_FIRST_MS, PROVIDE_MS, () => this.#provideAll());
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const timer of this.#timers) timer.cancel();
    this.freshness.close();
    await this.audit.cosigning.close(); // what is released from now on would be seen by nobody, and be wanted back
    this.sync.close();
    await this.agents.close();
    await this.messages.close();
    this.#lines.close();
    await this.calls.close();
    await this.handshakes.close();
    await this.sessions.close();
    await this.governance.close();
    await this.pipeline.close();
    await this.audit.close();
  }

  /** What this side exposes, and how it learns what others do. */
  exposing(): ExposuresBackendComponents {
    const { network, clock, random, log, mcpServers } = this.components;
    const { state, chains, sessions, resolver } = this;
    const acting = (did: string): unknown => this.governance.acting(did);
    const organisation = this.organisation.did;
    const components = {
      network,
      clock,
      random,
      log,
      state,
      chains,
      acting,
      organisation,
      lines: this.#lines,
      protocolId: protocolId(this.options.networkName ?? DEFAULT_NETWORK, 'call'),
      organisationOf: async (did: string, signal: AbortSignal) =>
        (await resolver.resolve(did, { signal })).state.organisation,
    };
    return {
      exposures: this.calls.exposures,
      clock,
      servers: mcpServers,
      sessions,
      organisation,
      acting,
      ask: (wanted, signal) => askServices(components, wanted, AbortSignal.any([signal, this.#stop.signal])),
    };
  }

  /** Errors: the handshake's codes. */
  async handshake(
    { did, as, minScore, capabilities, purpose, grant }: HandshakeBody,
    signal: AbortSignal,
  ): Promise<Session> {
    return this.handshakes.shake({
      did,
      as: as ?? this.organisation.did,
      signal,
      ...(minScore !== undefined && { minScore }),
      ...(capabilities !== undefined && { capabilities: capabilitiesFrom(capabilities) }),
      ...(purpose !== undefined && { purpose }),
      ...(grant !== undefined && { grant }),
    });
  }

  get roots(): ReadonlySet<string> {
    return new Set([this.organisation.did, ...(this.options.roots ?? [])]);
  }

  get staleness(): StalenessPolicy {
    return this.options.staleness ?? STALENESS_POLICY;
  }

  /** Keeps what is known of these organisations fresh for a while, and their statements welcome in a full store. */
  relyOn(organisations: Iterable<string>, staleAfterSeconds: number): void {
    const atMs = this.components.clock.monotonicMs();
    for (const organisation of organisations) {
      if (organisation === this.organisation.did) continue;
      const known = this.#reliedOn.get(organisation);
      this.#reliedOn.set(organisation, {
        staleAfterSeconds: Math.min(staleAfterSeconds, known?.staleAfterSeconds ?? staleAfterSeconds),
        atMs,
      });
      this.pipeline.setInUse(organisation, true);
    }
  }

  /** Organisations with the tolerated staleness, seconds. */
  reliedOn(): ReadonlyMap<string, number> {
    const nowMs = this.components.clock.monotonicMs();
    for (const [organisation, { atMs }] of this.#reliedOn) {
      if (nowMs - atMs < RELIED_ON_MS) continue;
      this.#reliedOn.delete(organisation);
      this.pipeline.setInUse(organisation, false);
    }
    const all = new Map(
      [...this.#reliedOn].map(([organisation, { staleAfterSeconds }]) => [organisation, staleAfterSeconds]),
    );
    for (const [organisation, staleAfterSeconds] of this.sessions.organisationsReliedOn()) {
      all.set(organisation, Math.min(staleAfterSeconds, all.get(organisation) ?? staleAfterSeconds));
    }
    return all;
  }

  #accepted(statement: Statement, source: Source): void {
    this.#publish(statement, source);
    const { payload } = statement;
    this.events.emit({
      type: 'statement.accepted',
      data: {
        id: statement.id,
        kind: statement.t,
        issuer: 'iss' in payload ? payload.iss : null,
        source: sourceName(source),
      },
    });
    if (isOfKind(statement, 'didop/v1')) this.#didChanged(statement);
    else if (isOfKind(statement, 'revocation/v1')) this.#revoked(statement);
    else if (isOfKind(statement, 'heartbeat/v1')) this.#beat(statement);
  }

  #didChanged({ id, payload }: Statement<'didop/v1'>): void {
    const state = this.state.didState(payload.op === 'genesis' ? `did:mesh:${id}` : payload.iss);
    if (state === undefined) return;
    const { did, organisation, status, seq, head } = state;
    this.events.emit({ type: 'did.changed', data: { did, organisation, status, seq, head } });
    // A heartbeat signed with a key that is dead now proves nothing: own chains would read as stale until the next one.
    if (did === this.organisation.did && status === 'active') this.freshness.beat();
  }

  #revoked(revocation: Statement<'revocation/v1'>): void {
    const links = this.cascadeOf(revocation);
    if (links.length === 0) return;
    const { iss, tgt } = revocation.payload;
    this.events.emit({
      type: 'link.revoked',
      data: {
        revocation: revocation.id,
        issuer: iss,
        target: targetView(tgt),
        links: links.slice(0, limits.EVENT_LINKS_MAX),
        total: links.length,
      },
    });
  }

  #beat({ payload }: Statement<'heartbeat/v1'>): void {
    if (payload.iss === this.organisation.did) return;
    this.events.emit({
      type: 'heartbeat',
      data: {
        organisation: payload.iss,
        at: `${new Date(payload.iat * 1000).toISOString().slice(0, 19)}Z`,
        revocations: payload.rseq,
      },
    });
  }

  /**
   * Gossip forwards by itself what its validator accepts. Published here: what this daemon makes, what waited for
   * something and is accepted only now, and revocations that sync brought.
   */
  #publish(statement: Statement, source: Source): void {
    const { topic } = kindRow(statement.t);
    if (topic === undefined || (isOfKind(statement, 'delegation/v1') && statement.payload.pri === true)) return;
    const isForwarded =
      source.via === 'gossip' && this.#validating !== undefined && equalBytes(statement.envelope, this.#validating);
    const isOld = source.via !== 'local' && source.via !== 'gossip' && (topic !== 'rev' || !this.#forward.take('rev'));
    if (isForwarded || isOld) return;
    this.components.network.publish(topic, statement.envelope).catch((error: unknown) => {
      // Before the network starts and once it stops there is nobody to tell.
      const level = isMeshError(error) && error.code === 'closed' ? 'debug' : 'warn';
      this.components.log[level]({ error, id: statement.id, topic }, 'not published by gossip; sync will carry it');
    });
  }

  /** Ids of held links that no longer verify because of a revocation. */
  cascadeOf(revocation: Statement<'revocation/v1'>): string[] {
    const target = revocation.payload.tgt;
    return cascadeOf(this.state.linksAround(targetKeyOf(target)), revocation.payload, this.state);
  }

  #agentEvents() {
    return {
      registered: ({ did, sponsor }: { did: string; sponsor: string }): void => {
        this.events.emit({ type: 'agent.registered', data: { did, sponsor } });
        this.#provide([did]);
      },
      changed: (agent: Parameters<Agents['status']>[0]): void =>
        this.events.emit({ type: 'agent.changed', data: { did: agent.did, status: this.agents.status(agent) } }),
      credentialRotated: (did: string, { id, payload }: Statement<'delegation/v1'>): void =>
        this.events.emit({
          type: 'credential.rotated',
          data: { did, id, expiresAt: `${new Date(payload.exp * 1000).toISOString().slice(0, 19)}Z` },
        }),
      credentialLapsed: (did: string, { id }: Statement<'delegation/v1'>): void =>
        this.events.emit({ type: 'credential.lapsed', data: { did, id } }),
    };
  }

  /** A connection to a peer that speaks for the DID's organisation. Errors: did_unknown, unreachable, cancelled. */
  async #reach(did: string, signal: AbortSignal): Promise<PeerConnection> {
    const { state } = await this.resolver.resolve(did, { signal });
    if (this.sync.peersOf(state.organisation).length === 0) await this.resolver.connect(state.organisation, signal);
    const peers = new Set(this.sync.peersOf(state.organisation));
    const connection = this.components.network.connections().find(({ peer }) => peers.has(peer));
    if (connection !== undefined) return connection;
    throw new MeshError(
      'unreachable',
      `Cannot reach "${did}": no peer of its organisation "${state.organisation}" is connected or can be dialled`,
      { did },
    );
  }

  /** Asks neighbours for statements of the own organisation: a restored backup must not number a revocation twice. */
  async #learnOwn(): Promise<void> {
    const { clock, log } = this.components;
    for (const peer of this.sync.boundPeers().slice(0, 3)) {
      try {
        await this.sync.reconcile(peer, this.organisation.did, deadline(clock, LEARN_OWN_MS, this.#stop.signal));
      } catch (error) {
        if (!isMeshError(error)) throw error;
        log.warn({ peer, code: error.code }, 'a neighbour could not be asked for own statements');
      }
    }
  }

  #provideAll(): void {
    this.#provide([
      this.organisation.did,
      ...this.agents
        .agents()
        .filter((agent) => agent.isRegistered)
        .map(({ did }) => did),
    ]);
  }

  #provide(dids: readonly string[]): void {
    const { network, clock, log } = this.components;
    const work = async (): Promise<void> => {
      for (const did of dids) {
        if (this.#stop.signal.aborted) return;
        await network.provide(genesisIdOf(did), { signal: deadline(clock, PROVIDE_TIMEOUT_MS, this.#stop.signal) });
      }
    };
    work().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) log.debug({ error }, 'not announced in the DHT');
    });
  }

  #every(firstMs: number, everyMs: number, work: () => void): void {
    const arm = (delayMs: number): void => {
      const timer = this.components.clock.after(delayMs, () => {
        this.#timers.delete(timer);
        work();
        if (!this.#stop.signal.aborted) arm(everyMs);
      });
      this.#timers.add(timer);
    };
    arm(firstMs);
  }
}

/** What is there only once its node is. */
interface Late {
  learnOwn: () => Promise<void>;
  decisions: Decisions | undefined;
}

const SOURCES = { local: 'local', gossip: 'gossip', put: 'sync', pulled: 'sync', presented: 'handshake' } as const;
const sourceName = (source: Source): (typeof SOURCES)[Source['via']] => SOURCES[source.via];
