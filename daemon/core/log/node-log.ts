/**
 * The audit log put together with all that watches it and that it lets this daemon watch: opened before anything may be
 * granted, started with the network, closed last.
 */
import type { MeshEventInput } from '../../../protocol/control/index.ts';
import {
  equalBytes,
  type IsSignatureValid,
  isMeshError,
  MeshError,
  rawKeyOf,
  toBase64url,
} from '../../../protocol/index.ts';
import {
  createEntry,
  createTreeHasher,
  createUuid7,
  formatNote,
  logOf,
  type ParsedEntry,
  parseCheckpoint,
  parseLogOrigin,
  type Sha256,
  type SignedCheckpoint,
  type Vkey,
  wireTypeOf,
  witnessVkey,
} from '../../../protocol/log/index.ts';
import type { Anchor, Clock, Logger, Network, Random, Signer, Store, Timer } from '../../ports.ts';
import type { Agents } from '../agents.ts';
import { deadline } from '../deadline.ts';
import type { Organisation } from '../organisation.ts';
import type { OwnSigners } from '../own-signers.ts';
import type { Pipeline } from '../pipeline.ts';
import type { Registry } from '../registry.ts';
import type { Sync } from '../sync.ts';
import { createEntryActors } from './actors.ts';
import { type AuditLog, createGeneration, type LogProblem, openAuditLog } from './audit-log.ts';
import { CheckpointGossip } from './checkpoint-gossip.ts';
import type { Convictions } from './convictions.ts';
import { Cosigning } from './cosigning.ts';
import { Decisions } from './decisions.ts';
import type { Generation } from './generation.ts';
import { LogReader, LogReadServer } from './log-read.ts';
import { Mirrors } from './mirrors.ts';
import { Monitor } from './monitor.ts';
import { ensureBinding } from './own-binding.ts';
import { type EntryActors, Recorder } from './recorder.ts';
import { type Recovered, recoverFromMirrors } from './recover-log.ts';
import { TlogAsker } from './tlog-stream.ts';
import { createWitness, type Witness } from './witness.ts';
import { boundWitnesses, type OperatedWitness, type WitnessOperator, witnessOperators } from './witness-policy.ts';
import { serveWitness, WITNESS_FRAME_BYTES_MAX, type WitnessEndpoint, witnessOfPeer } from './witness-stream.ts';

const LOG_KEY = 'log';
const WITNESS_KEY = 'witness';
const MIRRORS_ASKED_MAX = 32; // bound peers asked for a copy of the own log
const GROWN_MS = 250; // between events that the log grew
const REACH_FIRST_MS = 2_000; // after a start or a binding: what dials by itself goes first
const REACH_MS = 30_000; // between tries to reach witnesses that are not connected
const REACH_TIMEOUT_MS = 20_000; // for one of them: its addresses, then those that the DHT has

export interface NodeLogOptions {
  /** Of this program, as its log names it. */
  readonly version: string;
  /** Foreign logs that the witness admits, beside those that organisations have bound. */
  readonly witnessLogs?: readonly Vkey[];
  /** DIDs whose witnesses shall watch this log; none: some are chosen. */
  readonly witnesses?: readonly string[];
  /** Foreign witnesses, by key and URL. */
  readonly witnessUrls?: readonly { readonly vkey: Vkey; readonly url: string }[];
  readonly witnessQuorum?: number;
  /** Organisations that may read the entries of this log. */
  readonly logReaders?: readonly string[];
  /** Organisations of whose logs this daemon keeps copies. */
  readonly logMirrors?: readonly string[];
}

/** What is there before anything can be granted. */
export interface NodeLogComponents {
  /** The root store. */
  readonly store: Store;
  readonly anchor: Anchor;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  /** A faster SHA-256 than the pure one. */
  readonly sha256?: Sha256;
  /** Asks a foreign witness; absent: none are asked. */
  readonly witnessAtUrl?: (url: string) => WitnessEndpoint;
  readonly pipeline: Pipeline;
  readonly registry: Registry;
  readonly signers: OwnSigners;
  readonly organisation: Organisation;
  readonly convictions: Convictions;
}

/** What its node gives it, once there is one. */
export interface NodeLogSurroundings {
  readonly agents: Agents;
  readonly sync: Pick<Sync, 'boundPeers' | 'organisationOf' | 'peersOf'>;
  /** Tries to have a bound connection to the organisation. */
  readonly connect: (did: string, signal: AbortSignal) => Promise<void>;
  readonly emit: (event: MeshEventInput) => void;
  /** Asks neighbours for statements of the own organisation. */
  readonly learnOwn: () => Promise<void>;
}

export class NodeLog {
  readonly recorder: Recorder;
  readonly decisions: Decisions;
  readonly actors: EntryActors;
  readonly witness: Witness;
  readonly #components: NodeLogComponents;
  readonly #options: NodeLogOptions;
  readonly #monitor: Monitor;
  readonly #mirrors: Mirrors;
  readonly #reader: LogReader;
  readonly #readServer: LogReadServer;
  readonly #gossip: CheckpointGossip;
  readonly #asker: TlogAsker;
  readonly #stop = new AbortController();
  #surroundings: NodeLogSurroundings | undefined;
  #auditLog: AuditLog;
  #cosigning: Cosigning;
  #grown: Timer | undefined;
  #reach: Timer | undefined;

  private constructor(components: NodeLogComponents, options: NodeLogOptions, opened: Opened) {
    const { network, clock, log, random, pipeline, registry, signers, organisation, isSignatureValid } = components;
    const { state } = pipeline;
    this.#components = components;
    this.#options = options;
    this.#auditLog = opened.auditLog;
    this.#monitor = opened.monitor;
    this.#mirrors = opened.mirrors;
    this.#reader = opened.reader;
    this.#asker = new TlogAsker({ network, clock }, 'tlog/witness', { frameBytesMax: WITNESS_FRAME_BYTES_MAX });
    this.actors = createEntryActors({
      organisation: organisation.did,
      state,
      signers,
      credential: (did) => this.#surroundings?.agents.credential(did),
      sponsor: (did) => registry.agent(did)?.sponsor,
    });
    this.recorder = new Recorder({
      auditLog: this.#current,
      actors: this.actors,
      organisation: organisation.did,
      clock,
      random,
      log,
    });
    this.decisions = new Decisions({
      recorder: this.recorder,
      state,
      files: {
        indexOf: (id16) => this.#auditLog.files.indexOf(id16),
        entry: (index) => this.#auditLog.files.entry(index),
      },
      agent: (did) => registry.agent(did),
      credentials: () => this.#surroundings?.agents.credentials() ?? [],
      version: options.version,
      log,
    });
    this.#gossip = new CheckpointGossip({
      pipeline,
      state,
      clock,
      log,
      organisations: () => new Set([...state.bindings()].map(({ payload }) => payload.iss)).size,
    });
    this.witness = createWitness({
      store: components.store,
      signer: opened.witnessSigner,
      clock,
      isSignatureValid,
      admits: (origin) => this.#admits(origin),
      // Rows of the witness and of the log are of one database: one that was rolled back would cosign a second history.
      mayCosign: () => this.#auditLog.problem === undefined && !this.#cosigning.mayBeOld,
      onConflict: (held, request) => this.#monitor.conflict(held, request),
      onCosigned: (signed) => {
        this.#monitor.noticed(signed);
        this.#gossip.put(signed);
      },
    });
    this.#readServer = new LogReadServer(
      {
        network,
        clock,
        log,
        state,
        reader: this.#reader,
        organisationOf: (peer) => this.#around.sync.organisationOf(peer),
        peersOf: (did) => this.#around.sync.peersOf(did),
        logs: () => [this.#auditLog, ...this.#mirrors.copies()],
        seen: (hash) => this.#monitor.newest(hash),
      },
      { isReader: (did) => did === organisation.did || (options.logReaders ?? []).includes(did) },
    );
    this.#cosigning = this.#createCosigning();
  }

  /**
   * The log is there when it resolves, with leaf 0 in it if it is new. One that does not agree with what it released is
   * open for reading alone. Errors: store_corrupt, read_only, permissions, key_missing.
   */
  static async open(components: NodeLogComponents, options: NodeLogOptions): Promise<NodeLog> {
    const { network, clock, store, log, isSignatureValid, pipeline, convictions, organisation, signers } = components;
    const witnessSigner = await signers.obtain(WITNESS_KEY);
    const auditLog =
      (await openAuditLog(await auditParts(components), auditOptions(components))) ??
      (await beginLog(components, { witness: witnessVkey(rawKeyOf(witnessSigner.publicKey)) }));
    const reader = new LogReader({ network, clock });
    const late: { self: NodeLog | undefined } = { self: undefined };
    const around = (): NodeLogSurroundings | undefined =>
      late.self === undefined ? undefined : late.self.#surroundings;
    const monitor = await Monitor.open({
      store,
      clock,
      log,
      isSignatureValid,
      state: pipeline.state,
      convictions,
      pipeline,
      reader,
      organisation: organisation.did,
      ownLog: () => (late.self === undefined ? undefined : late.self.#current),
      peersOf: (did) => around()?.sync.peersOf(did) ?? [],
      boundPeers: () => around()?.sync.boundPeers() ?? [],
      readCosigned: async (peer, origin, signal) =>
        late.self === undefined ? undefined : late.self.#readCosigned(peer, origin, signal),
    });
    const mirrors = await Mirrors.open(
      {
        store,
        clock,
        log,
        isSignatureValid,
        state: pipeline.state,
        pipeline,
        reader,
        peersOf: (did) => around()?.sync.peersOf(did) ?? [],
        noticed: (signed, peer) => monitor.noticed(signed, peer),
        ...hasherOf(components),
      },
      options.logMirrors ?? [],
    );
    late.self = new NodeLog(components, options, { auditLog, witnessSigner, monitor, mirrors, reader });
    return late.self;
  }

  /** Called once, before start. */
  attach(surroundings: NodeLogSurroundings): void {
    this.#surroundings = surroundings;
  }

  /** The log as it is now: recovery begins another. */
  get auditLog(): AuditLog {
    return this.#auditLog;
  }

  get monitor(): Monitor {
    return this.#monitor;
  }

  get mirrors(): Mirrors {
    return this.#mirrors;
  }

  get cosigning(): Cosigning {
    return this.#cosigning;
  }

  /** Records what the log must show of itself, then watches and is watched. Errors: those of ensureBinding. */
  async start(): Promise<void> {
    const { network, log, pipeline, convictions } = this.#components;
    this.#monitor.listen({
      proven: ({ id, payload: { who, of } }) =>
        this.recorder.note('fork.proven', { proof: id, who, of }, { peer: who, subject: who }),
    });
    convictions.listen({
      convicted: () => this.#cosigning.changed(),
      lifted: () => this.#cosigning.changed(),
    });
    pipeline.listen(this.decisions.listener);
    pipeline.listen({
      accepted: (statement) => {
        if (statement.t !== 'binding/v1') return;
        this.#cosigning.changed();
        this.#reachLater(REACH_FIRST_MS);
      },
    });
    await this.#verifyPublished();
    await this.#begin();
    this.#monitor.start();
    this.#mirrors.start();
    await serveWitness({ network, log, witness: this.witness }, { signal: this.#stop.signal });
    await this.#readServer.start();
    this.#cosigning.start();
    this.#reachLater(REACH_FIRST_MS);
  }

  /** A peer has shown for which organisation it speaks. */
  peerBound(peer: string, organisation: string): void {
    this.#monitor.peerBound(peer, organisation);
    this.#mirrors.peerBound(peer, organisation);
    this.#cosigning.changed();
  }

  peerUnbound(): void {
    this.#cosigning.changed();
  }

  /**
   * Goes on after a halt, in a new generation that names the one that is left. Errors: conflict (nothing is wrong), those
   * of createGeneration.
   */
  async beginGeneration(reason: string): Promise<void> {
    const { log } = this.#components;
    const left = this.#auditLog;
    const { problem } = left;
    if (problem === undefined)
      throw new MeshError('conflict', 'Cannot begin a new generation of the log: nothing is wrong with this one');
    const released = left.released();
    const checkpoint = released === undefined ? null : new TextDecoder().decode(formatNote(released.note));
    await this.#cosigning.close();
    await this.#around.learnOwn(); // of an older copy of this home others know later generations
    if (this.#auditLog !== left)
      throw new MeshError('conflict', 'Cannot begin a new generation of the log: one was begun');
    await this.recorder.hold(async () => {
      this.#auditLog = await beginLog(this.#components, {
        witness: this.witness.vkey,
        previous: { origin: left.origin, checkpoint, reason },
      });
      await left.close();
      this.#cosigning = this.#createCosigning();
      await this.#begin();
    });
    log.warn({ left: left.origin, origin: this.#auditLog.origin, reason }, 'the audit log goes on in a new generation');
    const { code, message, place } = problem;
    await this.recorder.record('log.halted', { code, message, ...(place !== undefined && { place }) });
    await this.recorder.record('log.recovered', { how: 'generation', reason });
    this.#cosigning.start();
  }

  /**
   * Goes on after a halt, with what peers have kept of this log. Errors: conflict (nothing is wrong), unreachable,
   * not_found, bad_proof, those of reading, read_only; log_halted, if something is wrong even so.
   */
  async recoverFromMirrors(reason: string, signal: AbortSignal): Promise<Recovered> {
    const components = this.#components;
    const left = this.#auditLog;
    const { problem } = left;
    const peers = this.#around.sync.boundPeers().slice(0, MIRRORS_ASKED_MAX);
    const { store, anchor, log, isSignatureValid } = components;
    const parts = {
      store,
      anchor,
      log,
      isSignatureValid,
      reader: this.#reader,
      published: this.#published(),
      ...hasherOf(components),
    };
    const recovered = await recoverFromMirrors(parts, left, peers, signal);
    await this.#cosigning.close();
    await this.recorder.hold(async () => {
      await left.close();
      const opened = await openAuditLog(await auditParts(components), auditOptions(components));
      if (opened === undefined)
        throw new MeshError('internal', 'Cannot open the log that was recovered: it is not there');
      this.#auditLog = opened;
      this.#cosigning = this.#createCosigning();
      await this.#begin();
    });
    this.#cosigning.start();
    const wrong = this.#auditLog.problem;
    if (wrong !== undefined) throw new MeshError(wrong.code, wrong.message);
    const { lost } = recovered;
    log.warn({ ...recovered, reason }, 'the audit log goes on with what was kept of it elsewhere');
    if (problem !== undefined) {
      const { code, message, place } = problem;
      await this.recorder.record('log.halted', { code, message, ...(place !== undefined && { place }) });
    }
    await this.recorder.record('log.recovered', { how: 'mirror', reason, lost });
    return recovered;
  }

  /** What is recorded goes to the disk; the last thing that the log says is that the daemon stopped. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#grown?.cancel();
    this.#reach?.cancel();
    this.#gossip.close();
    await this.#cosigning.close();
    this.#readServer.close();
    await this.#mirrors.close();
    await this.#monitor.close();
    this.#reader.close();
    this.#asker.close();
    await this.recorder.close();
    await this.#auditLog.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** With whatever log is the own one now, and heard when it halts, grows or is cosigned. */
  readonly #current: AuditLog = currentOf(() => this.#auditLog, {
    halted: (problem) => this.#halted(problem),
    cosigned: (treeSize, names) => this.#cosigned(treeSize, names),
  });

  get #around(): NodeLogSurroundings {
    if (this.#surroundings === undefined)
      throw new MeshError('internal', 'Cannot ask the network for a log: the node is not there yet');
    return this.#surroundings;
  }

  /** The set keeps what the own key has shown to everybody, also where rows and anchor have lost it. */
  async #verifyPublished(): Promise<void> {
    const published = this.#published();
    if (published === undefined) return;
    this.#monitor.noticed(published);
    await this.#monitor.settled();
  }

  #published(): SignedCheckpoint | undefined {
    const held = this.#components.pipeline.state.checkpointOf(this.#auditLog.origin);
    return held === undefined ? undefined : parseCheckpoint(held.payload.note);
  }

  async #begin(): Promise<void> {
    this.#auditLog.onGrown((treeSize) => this.#tellGrown(treeSize));
    if (this.#auditLog.problem === undefined) await this.#bind();
    await this.decisions.start();
  }

  /** The binding is part of leaf 0; another is made where the witness key or the PeerId is a new one since. */
  async #bind(): Promise<void> {
    const { organisation, pipeline, clock, network, log } = this.#components;
    try {
      await ensureBinding(
        { pipeline, clock, did: organisation.did, signers: await bindingSigners(this.#components) },
        { log: this.#auditLog.vkey, witness: this.witness.vkey, peer: network.peer },
      );
    } catch (error) {
      if (!isMeshError(error)) throw error;
      log.warn({ code: error.code, reason: error.message }, 'nobody can know whose log this is: no binding');
    }
  }

  #createCosigning(): Cosigning {
    const { clock, log, isSignatureValid } = this.#components;
    const { witnessQuorum } = this.#options;
    return new Cosigning(
      {
        auditLog: this.#current,
        clock,
        log,
        isSignatureValid,
        operators: () => this.#operators(),
        endpointOf: (witness, operator) => this.#endpointOf(witness, operator),
        onReleased: (signed) => this.#gossip.put(signed),
      },
      witnessQuorum === undefined ? {} : { quorum: witnessQuorum },
    );
  }

  #operators(): WitnessOperator[] {
    const { pipeline, organisation, convictions } = this.#components;
    const { state } = pipeline;
    const { witnesses, witnessUrls } = this.#options;
    return witnessOperators({
      origin: this.#auditLog.origin,
      owner: organisation.did,
      bound: boundWitnesses(state),
      mayWitness: (did) => state.didState(did)?.status === 'active' && !convictions.isRefused(did),
      ...(witnesses !== undefined && { chosen: witnesses }),
      ...(witnessUrls !== undefined && { configured: witnessUrls }),
    });
  }

  #endpointOf({ peer, url }: OperatedWitness, { did }: WitnessOperator): WitnessEndpoint | undefined {
    if (url !== undefined) return this.#components.witnessAtUrl?.(url);
    const peers = did === null ? [] : (this.#surroundings?.sync.peersOf(did) ?? []);
    return peer !== null && peers.includes(peer) ? witnessOfPeer(this.#asker, peer) : undefined;
  }

  #reachLater(delayMs: number): void {
    this.#reach?.cancel();
    if (this.#stop.signal.aborted) return;
    this.#reach = this.#components.clock.after(delayMs, () => {
      void this.#reachWitnesses().then(() => this.#reachLater(REACH_MS));
    });
  }

  /** Who watches this log need not be a neighbour: it is dialled. Never rejects. */
  async #reachWitnesses(): Promise<void> {
    const { clock, log } = this.#components;
    const { sync, connect } = this.#around;
    const dids = this.#operators().flatMap(({ did }) => (did === null || sync.peersOf(did).length > 0 ? [] : [did]));
    const tries = dids.map((did) => connect(did, deadline(clock, REACH_TIMEOUT_MS, this.#stop.signal)));
    for (const [i, { status, ...result }] of (await Promise.allSettled(tries)).entries())
      if (status === 'rejected') log.debug({ did: dids[i], ...result }, 'a witness could not be reached');
  }

  /** Whose checkpoints the own witness cosigns: of organisations' logs, and of those that are configured. */
  #admits(origin: string): readonly Vkey[] | undefined {
    const { pipeline, organisation, convictions } = this.#components;
    const foreign = (this.#options.witnessLogs ?? []).filter(({ name }) => name === origin);
    if (foreign.length > 0) return foreign;
    const name = parseLogOrigin(origin);
    const owners = pipeline.state.bindingsOfOrigin(origin).map(({ payload }) => payload.iss);
    if (name === undefined || owners.length === 0 || owners.includes(organisation.did)) return undefined;
    return owners.every((did) => convictions.isRefused(did)) ? [] : [name.vkey];
  }

  async #readCosigned(peer: string, origin: string, signal: AbortSignal): Promise<SignedCheckpoint | undefined> {
    const { status, body } = await witnessOfPeer(this.#asker, peer).readCheckpoint(origin, signal);
    return status === 200 ? parseCheckpoint(body) : undefined;
  }

  #halted({ code, message }: LogProblem): void {
    this.#cosigning.changed(); // whoever waits for cosignatures is told
    this.#surroundings?.emit({ type: 'log.halted', data: { code, message } });
  }

  #cosigned(treeSize: number, names: readonly string[]): void {
    const owners = new Map(
      [...boundWitnesses(this.#components.pipeline.state)].map(({ vkey, did }) => [vkey.name, did]),
    );
    for (const witness of names) {
      const did = owners.get(witness) ?? null;
      this.#surroundings?.emit({ type: 'checkpoint.cosigned', data: { treeSize, witness, did } });
    }
  }

  #tellGrown(treeSize: number): void {
    const { clock } = this.#components;
    this.#grown ??= clock.after(GROWN_MS, () => {
      this.#grown = undefined;
      this.#surroundings?.emit({ type: 'log.grown', data: { treeSize: Math.max(treeSize, this.#auditLog.treeSize) } });
    });
  }
}

interface Opened {
  readonly auditLog: AuditLog;
  readonly witnessSigner: Signer;
  readonly monitor: Monitor;
  readonly mirrors: Mirrors;
  readonly reader: LogReader;
}

interface CurrentHearer {
  readonly halted: (problem: LogProblem) => void;
  readonly cosigned: (treeSize: number, witnesses: readonly string[]) => void;
}

/** For parts that outlive a generation. */
function currentOf(log: () => AuditLog, { halted, cosigned }: CurrentHearer): AuditLog {
  return {
    get origin() {
      return log().origin;
    },
    get generation() {
      return log().generation;
    },
    get vkey() {
      return log().vkey;
    },
    get treeSize() {
      return log().treeSize;
    },
    get root() {
      return log().root;
    },
    get problem() {
      return log().problem;
    },
    get files() {
      return log().files;
    },
    append: (entry, appendOptions) => log().append(entry, appendOptions),
    head: () => log().head(),
    release: () => log().release(),
    released: () => log().released(),
    cosigned: () => log().cosigned(),
    addCosignatures: async (treeSize, lines) => {
      await log().addCosignatures(treeSize, lines);
      cosigned(
        treeSize,
        lines.map(({ name }) => name),
      );
    },
    onGrown: (call) => log().onGrown(call),
    halt: (problem) => {
      const isFirst = log().problem === undefined;
      log().halt(problem);
      if (isFirst) halted(problem);
    },
    flush: () => log().flush(),
    close: () => log().close(),
    [Symbol.asyncDispose]: () => log().close(),
  };
}

async function auditParts({ store, anchor, signers, clock, log, isSignatureValid }: NodeLogComponents) {
  return { store, anchor, signer: await signers.obtain(LOG_KEY), clock, log, isSignatureValid };
}

const hasherOf = ({ sha256 }: NodeLogComponents) => (sha256 === undefined ? {} : { hasher: createTreeHasher(sha256) });

const auditOptions = ({ sha256 }: NodeLogComponents) => (sha256 === undefined ? {} : { sha256 });

const bindingSigners = async ({ organisation, signers }: NodeLogComponents) => ({
  organisation: organisation.signer('sign'),
  log: await signers.obtain(LOG_KEY),
  witness: await signers.obtain(WITNESS_KEY),
});

interface Beginning {
  readonly witness: Vkey;
  readonly previous?: { readonly origin: string; readonly checkpoint: string | null; readonly reason: string };
}

/** Leaf 0 carries the binding, so that a log shows by itself for whom it speaks. */
async function beginLog(components: NodeLogComponents, { witness, previous }: Beginning): Promise<AuditLog> {
  const { organisation, pipeline, clock, network, random } = components;
  const leafZero = async ({ vkey }: Generation): Promise<ParsedEntry> => {
    const { did } = organisation;
    const signers = await bindingSigners(components);
    const binding = await ensureBinding({ pipeline, clock, did, signers }, { log: vkey, witness, peer: network.peer });
    const timeMs = Math.floor(clock.nowMs());
    const members = { binding: toBase64url(binding.envelope), ...(previous !== undefined && { previous }) };
    return createEntry<string>(
      {
        id: createUuid7(timeMs, random.bytes(16)),
        source: did,
        timeMs,
        type: wireTypeOf('log.opened'),
        data: { actor: did, phase: 'outcome', ...members },
      },
      signers.organisation,
    );
  };
  const parts = await auditParts(components);
  const bound = pipeline.state.bindingsOf(organisation.did).map(({ payload }) => logOf(payload));
  const used = bound.filter(({ publicKey }) => equalBytes(publicKey, rawKeyOf(parts.signer.publicKey)));
  const generationUsedMax = Math.max(-1, ...used.map(({ generation }) => generation));
  return createGeneration(parts, leafZero, { ...auditOptions(components), generationUsedMax });
}
