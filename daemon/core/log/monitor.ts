/**
 * Compares every checkpoint that this daemon sees with those it has seen (SPEC "Monitoring and convictions"). What
 * contradicts itself becomes a fork proof, which needs nobody's word; what cannot be shown to agree is counted and
 * asked about again, and convicts nobody.
 *
 * Of each log the checkpoints that are known to lie on one history are its "branch"; the first one seen begins it. One
 * question shows where another belongs, since agreeing with one of the branch is agreeing with all.
 */
import {
  isMeshError,
  type IsSignatureValid,
  isOfKind,
  limits,
  MeshError,
  type MeshState,
  type Statement,
  toHex,
} from '../../../protocol/index.ts';
import {
  type AddCheckpointRequest,
  type Checkpoint,
  createForkProof,
  examineExtension,
  formatNote,
  formatVkey,
  hashAt,
  logOf,
  type LogName,
  type Note,
  type NoteSignature,
  originOf,
  parseCheckpoint,
  parseLogOrigin,
  parseWitnessName,
  type SignedCheckpoint,
  verifyNote,
  type Vkey,
} from '../../../protocol/log/index.ts';
import type { Clock, Logger, Store, Timer } from '../../ports.ts';
import type { Pipeline, Source } from '../pipeline.ts';
import type { AuditLog } from './audit-log.ts';
import type { Convictions } from './convictions.ts';
import { LeftBindings } from './left-bindings.ts';
import type { LogReader } from './log-read.ts';
import { type Seen, type SeenLog, SeenCheckpoints } from './seen-checkpoints.ts';

type Proof = Statement<'proof/v1'>;

export interface MonitorComponents {
  /** The root store. */
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly state: Pick<
    MeshState,
    'bindingsOf' | 'bindingsOfOrigin' | 'bindingsOfWitness' | 'checkpointOf' | 'convictionsOf'
  >;
  readonly convictions: Pick<Convictions, 'isConvictedAs' | 'convictAgain' | 'listen'>;
  readonly pipeline: Pick<Pipeline, 'listen' | 'submit'>;
  readonly reader: LogReader;
  /** Own organisation, and own log once it is open. */
  readonly organisation: string;
  readonly ownLog: () => Pick<AuditLog, 'origin' | 'treeSize' | 'files' | 'halt'> | undefined;
  readonly peersOf: (organisation: string) => readonly string[];
  readonly boundPeers: () => readonly string[];
  /** What a bound peer's witness shows of a log. Default: witnesses are not asked. Errors: any MeshError. */
  readonly readCosigned?: (peer: string, origin: string, signal: AbortSignal) => Promise<SignedCheckpoint | undefined>;
}

export interface MonitorListener {
  /** A fork that was found here; the statement is held by now. */
  proven?(proof: Proof): void;
}

export interface MonitorOptions {
  /** Logs that are remembered; default MONITOR_ORIGINS_MAX. */
  readonly originsMax?: number;
}

/** A log that did not show that two of its checkpoints agree. Suspicion, no more. */
export interface Withheld {
  readonly origin: string;
  /** Who say that the log is theirs. */
  readonly organisations: readonly string[];
  readonly treeSizes: readonly [number, number];
  /** Wall clock: first and newest refusal. */
  readonly sinceMs: number;
  readonly lastMs: number;
  readonly times: number;
}

export interface MonitorStatus {
  readonly logs: number;
  readonly checkpoints: number;
  /** Since the start: questions asked, checkpoints found to agree, forks proven. */
  readonly asked: number;
  readonly agreed: number;
  readonly proven: number;
  /** Answers that proved nothing, and notes that nobody can be blamed for. */
  readonly garbage: number;
  readonly spoiled: number;
  readonly withheld: readonly Withheld[];
}

/** Where two checkpoints of one log were found to belong. */
type Finding =
  | { readonly verdict: 'agree' }
  | { readonly verdict: 'fork'; readonly rootOfAOnB: Uint8Array; readonly proof: readonly Uint8Array[] }
  | { readonly verdict: 'unknown'; readonly asked: number };

const SAME_SIZE: Finding & { verdict: 'fork' } = { verdict: 'fork', rootOfAOnB: new Uint8Array(32), proof: [] };
const LOG_PEERS_MAX = 4; // organisations that claim one log; honestly there is one
const AGAIN_MS = 1_000; // before the same question is asked again, twice as long each time
const WITNESSES_EXAMINED_MAX = 64; // keys with lines on one forked log: more than any quorum

export class Monitor {
  readonly #components: MonitorComponents;
  readonly #seen: SeenCheckpoints;
  readonly #left: LeftBindings;
  readonly #listeners: MonitorListener[] = [];
  readonly #busy = new Map<string, Promise<void>>();
  readonly #again = new Map<string, Timer>();
  readonly #reading = new Set<string>();
  readonly #withheld = new Map<string, Withheld>();
  /** Cosigned notes of the other histories, by origin, for as long as this runs. */
  readonly #others = new Map<string, SignedCheckpoint[]>();
  /** Key and organisation of proofs that are being kept. */
  readonly #proving = new Set<string>();
  readonly #working = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #counts = { asked: 0, agreed: 0, proven: 0, garbage: 0, spoiled: 0 };

  private constructor(components: MonitorComponents, seen: SeenCheckpoints, left: LeftBindings) {
    const { state } = components;
    this.#components = {
      ...components,
      state: {
        bindingsOf: (did) => state.bindingsOf(did),
        checkpointOf: (origin) => state.checkpointOf(origin),
        convictionsOf: (did) => state.convictionsOf(did),
        bindingsOfOrigin: (origin) => left.bindingsOfOrigin(state, origin),
        bindingsOfWitness: (vkey) => left.bindingsOfWitness(state, vkey),
      },
    };
    this.#seen = seen;
    this.#left = left;
  }

  /** Reads what was seen before. Errors: store_corrupt. */
  static async open(components: MonitorComponents, options: MonitorOptions = {}): Promise<Monitor> {
    const seen = await SeenCheckpoints.open(components, options.originsMax ?? limits.MONITOR_ORIGINS_MAX);
    return new Monitor(components, seen, await LeftBindings.open(components));
  }

  /** Looks at everything that passes the door from now on. */
  start(): void {
    this.#components.pipeline.listen({
      seen: (statement, source) => this.#heard(statement, source, true),
      accepted: (statement, source) => {
        // Seen before, unless it waited for the binding of its log: then it was nobody's.
        if (isOfKind(statement, 'checkpoint/v1')) this.#heard(statement, source, false);
        else if (isOfKind(statement, 'binding/v1')) this.#bound(statement);
        else if (isOfKind(statement, 'proof/v1')) this.#work(this.#examineWitnesses(statement));
      },
      removed: (statement) => {
        if (isOfKind(statement, 'binding/v1') && this.#seen.byOrigin(originOf(statement.payload)) !== undefined)
          this.#left.keep(statement);
      },
    });
    // Forgiven with what was proven: else the same notes would convict again by other pairs.
    this.#components.convictions.listen({ lifted: (organisation) => this.#forget(organisation) });
  }

  listen(listener: MonitorListener): void {
    this.#listeners.push(listener);
  }

  /** The peer is bound: what its organisation's logs show to us is compared with what they show to others. */
  peerBound(peer: string, organisation: string): void {
    const logs = this.#components.state.bindingsOf(organisation).map(({ payload }) => logOf(payload));
    const newest = logs.sort((a, b) => b.generation - a.generation).slice(0, limits.ORIGINS_PER_ORGANISATION_MAX);
    for (const { vkey } of newest) this.#work(this.#read(peer, vkey.name));
  }

  /** A witness refused a checkpoint beside the one that it had cosigned; both are signed by the log. */
  conflict(held: SignedCheckpoint, { signed, proof, oldSize }: AddCheckpointRequest, sender?: string): void {
    this.noticed(held);
    this.noticed(signed, sender);
    // Of the proof that came along: it goes from what the log holds to be our size, or says nothing.
    if (oldSize !== held.checkpoint.treeSize) return;
    const extension = examineExtension(held.checkpoint, signed.checkpoint, proof);
    if (extension.verdict === 'fork')
      this.#work(this.#proveLog(held, signed, { rootOfAOnB: extension.rootOfOldOnNew, proof, verdict: 'fork' }));
  }

  /** A checkpoint with a line by its log that verifies; `sender` showed it, and may be asked about it. */
  noticed(shown: SignedCheckpoint, sender?: string): void {
    const signed = this.#cleaned(shown);
    const { checkpoint } = signed;
    // Of a log that nobody can be named for, or of nothing.
    if (parseLogOrigin(checkpoint.origin) === undefined || checkpoint.treeSize === 0) return;
    if (this.#isOwn(checkpoint.origin)) return this.#work(this.#verifyOwn(signed, sender));
    const { state, organisation } = this.#components;
    // Without a binding: it comes again with it. Of an earlier generation of the own log: nobody watches himself.
    if (state.bindingsOfOrigin(checkpoint.origin).every(({ payload }) => payload.iss === organisation)) return;
    this.#recall(checkpoint.origin);
    const { log, contradicted } = this.#seen.add(signed, sender);
    if (contradicted !== undefined && !this.#isOver(log)) {
      this.#rememberOther(signed);
      this.#work(this.#contradiction(log, contradicted, signed));
    }
    this.#lookAt(log);
  }

  /** Of a log that had to make room: what the set holds of it is older evidence than what is shown now. */
  #recall(origin: string): void {
    if (this.#seen.byOrigin(origin) !== undefined) return;
    const held = this.#components.state.checkpointOf(origin);
    const signed = held === undefined ? undefined : parseCheckpoint(held.payload.note);
    if (signed !== undefined && signed.checkpoint.treeSize > 0) this.#seen.add(signed, undefined);
  }

  /** The newest note seen of a log (hex of its origin's hash), with the lines that came along: for whoever reads here. */
  async newest(hash: string): Promise<Uint8Array | undefined> {
    const log = this.#seen.byHash(hash);
    return log === undefined ? undefined : this.#seen.newestNote(log);
  }

  status(): MonitorStatus {
    return { logs: this.#seen.logs, checkpoints: this.#seen.checkpoints, ...this.#counts, withheld: this.withheld() };
  }

  /** What is held against logs now: each for MONITOR_WITHHELD_MS after the newest refusal. */
  withheld(): Withheld[] {
    const nowMs = this.#components.clock.nowMs();
    for (const [origin, { lastMs }] of this.#withheld)
      if (nowMs - lastMs >= limits.MONITOR_WITHHELD_MS || lastMs > nowMs) this.#withheld.delete(origin);
    return [...this.#withheld.values()];
  }

  /** Resolves when nothing that was noticed before is under way. */
  async settled(): Promise<void> {
    while (this.#working.size > 0) await Promise.all(this.#working);
  }

  async close(): Promise<void> {
    this.#stop.abort(new MeshError('cancelled', 'Cannot monitor: this side is stopping'));
    for (const timer of this.#again.values()) timer.cancel();
    this.#again.clear();
    await this.settled();
    await this.#seen.close();
    await this.#left.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // What is heard

  #heard({ payload: { note } }: Statement<'checkpoint/v1'>, source: Source, isFirst: boolean): void {
    if (source.via === 'local') return;
    const signed = parseCheckpoint(note);
    if (isFirst || !this.#isOwn(signed.checkpoint.origin)) this.noticed(signed, source.peer);
  }

  #bound({ payload }: Statement<'binding/v1'>): void {
    const { name } = logOf(payload).vkey;
    for (const peer of this.#components.peersOf(payload.iss)) this.#work(this.#read(peer, name));
  }

  #forget(organisation: string): void {
    for (const { payload } of this.#components.state.bindingsOf(organisation)) {
      const log = this.#seen.byOrigin(originOf(payload));
      if (log !== undefined) this.#seen.forgetUnplaced(log);
      this.#others.delete(originOf(payload));
    }
  }

  async #read(peer: string, origin: string): Promise<void> {
    const key = `${peer} ${origin}`;
    if (this.#reading.has(key) || this.#isOwn(origin)) return;
    this.#reading.add(key);
    try {
      const signed = await this.#readSigned(peer, origin);
      if (signed !== undefined) this.noticed(signed, peer);
    } finally {
      this.#reading.delete(key);
    }
  }

  async #readSigned(peer: string, origin: string): Promise<SignedCheckpoint | undefined> {
    const signed = await this.#tried(peer, () =>
      this.#components.reader.readCheckpoint(peer, origin, { signal: this.#stop.signal }),
    );
    return signed !== undefined && this.#isSigned(signed) ? signed : undefined;
  }

  /** A line that spoils a note may be the relay's: then nobody is blamed. */
  #isSigned({ note, checkpoint }: SignedCheckpoint): boolean {
    const log = parseLogOrigin(checkpoint.origin);
    try {
      if (log === undefined) return false;
      verifyNote(note, [log.vkey], this.#components.isSignatureValid);
      return true;
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#counts.spoiled += 1;
      return false;
    }
  }

  /**
   * The log's line, and those of witnesses that verify: what somebody added beneath takes no room, and hides nobody's
   * cosignature behind one in its name that does not. Of those that somebody binds none is left out for others.
   */
  #cleaned(signed: SignedCheckpoint): SignedCheckpoint {
    const { note, checkpoint } = signed;
    const { text, signatures } = note;
    if (signatures.length === 1) return signed;
    const { state, isSignatureValid } = this.#components;
    const own = signatures.filter(({ name }) => name === checkpoint.origin);
    const cosigned = new Map<string, { readonly line: NoteSignature; readonly isBound: boolean }>();
    for (const line of signatures) {
      const vkey = parseWitnessName(line.name);
      if (vkey === undefined || !isCosigned({ text, signatures: [line] }, vkey, isSignatureValid)) continue;
      cosigned.set(line.name, { line, isBound: state.bindingsOfWitness(formatVkey(vkey)).length > 0 });
    }
    const lines = [...cosigned.values()].toSorted((a, b) => Number(b.isBound) - Number(a.isBound));
    return { checkpoint, note: { text, signatures: [...own.slice(0, 1), ...lines.map(({ line }) => line)] } };
  }

  // The own log

  #isOwn(origin: string): boolean {
    return this.#components.ownLog()?.origin === origin;
  }

  /** A note by the own log key that the own tree does not have: somebody else signs, or this tree was rolled back. */
  async #verifyOwn({ checkpoint, note }: SignedCheckpoint, sender: string | undefined): Promise<void> {
    const own = this.#components.ownLog();
    if (own === undefined) return;
    const { origin, treeSize, root } = checkpoint;
    const isHere = treeSize <= own.treeSize && toHex(await own.files.rootAt(treeSize)) === toHex(root);
    if (isHere || !this.#isOwn(origin)) return; // another generation may have begun meanwhile
    const why =
      treeSize > own.treeSize
        ? `its key signed a tree of ${treeSize} entries, and ${own.treeSize} are held here`
        : `its key signed another tree of ${treeSize} entries than the one held here`;
    const message = `Cannot go on with log "${own.origin}": ${why}`;
    this.#components.log.error({ treeSize, own: own.treeSize, peer: sender ?? null }, message);
    own.halt({
      code: 'log_halted',
      message,
      ...(sender !== undefined && { place: `a checkpoint shown by ${sender}` }),
      note: formatNote({ ...note, signatures: note.signatures.filter(({ name }) => name === origin) }),
    });
  }

  // Comparing

  /** Begins to place what is not known to be on the branch, unless that is under way. */
  #lookAt(log: SeenLog): void {
    if (this.#busy.has(log.origin) || this.#isOver(log)) return;
    if (!this.#seen.unplaced(log).some((one) => this.#isDue(one))) return;
    const work = this.#place(log).finally(() => this.#busy.delete(log.origin));
    this.#busy.set(log.origin, work);
    this.#work(work);
  }

  /** Every organisation that claims it is convicted as a log: nothing more is to be found. */
  #isOver({ origin }: SeenLog): boolean {
    const { state, convictions } = this.#components;
    return state.bindingsOfOrigin(origin).every(({ payload: { iss } }) => convictions.isConvictedAs('log', iss));
  }

  #isDue({ notBeforeMs }: Seen): boolean {
    return notBeforeMs <= this.#components.clock.monotonicMs();
  }

  /** One question at a time, newest first. */
  async #place(log: SeenLog): Promise<void> {
    for (;;) {
      const seen = this.#stop.signal.aborted || this.#isOver(log) ? undefined : this.#nextDue(log);
      if (seen === undefined) return;
      const anchor = this.#seen.nearestOnBranch(log, seen.treeSize);
      if (anchor === undefined) return this.#seen.place(log, seen); // the branch begins here
      const [old, next] = anchor.treeSize < seen.treeSize ? [anchor, seen] : [seen, anchor];
      const sources = this.#sourcesOf(log.origin, [...seen.senders, ...anchor.senders]);
      const finding = await this.#compare(checkpointOf(log, old), checkpointOf(log, next), sources);
      if (this.#stop.signal.aborted) return;
      if (finding.verdict === 'agree') this.#agreed(log, seen);
      else if (finding.verdict === 'fork') await this.#proveSeen(log, old, next, finding);
      else this.#unknown(log, seen, [old.treeSize, next.treeSize], finding.asked);
    }
  }

  #nextDue(log: SeenLog): Seen | undefined {
    return this.#seen.unplaced(log).find((one) => this.#isDue(one));
  }

  #agreed(log: SeenLog, seen: Seen): void {
    this.#counts.agreed += 1;
    this.#seen.place(log, seen);
    if (this.#seen.unplaced(log).length === 0) this.#withheld.delete(log.origin);
  }

  /** Asked again when further notes of the log come, not before, and each time later. */
  #unknown(log: SeenLog, seen: Seen, treeSizes: readonly [number, number], asked: number): void {
    const { clock, state } = this.#components;
    seen.tries += 1;
    const waitMs = Math.min(AGAIN_MS * 2 ** (seen.tries - 1), limits.MONITOR_WITHHELD_MS);
    seen.notBeforeMs = clock.monotonicMs() + waitMs;
    this.#lookAgain(log, waitMs);
    if (asked === 0) return; // nobody could be asked: nobody refused
    const nowMs = clock.nowMs();
    const before = this.#withheld.get(log.origin);
    this.#withheld.set(log.origin, {
      origin: log.origin,
      organisations: [...new Set(state.bindingsOfOrigin(log.origin).map(({ payload }) => payload.iss))],
      treeSizes,
      sinceMs: before?.sinceMs ?? nowMs,
      lastMs: nowMs,
      times: (before?.times ?? 0) + 1,
    });
    if (before === undefined)
      this.#components.log.warn({ origin: log.origin, treeSizes }, 'a log does not show that its checkpoints agree');
  }

  #lookAgain(log: SeenLog, waitMs: number): void {
    if (this.#again.has(log.origin) || this.#stop.signal.aborted) return;
    const timer = this.#components.clock.after(waitMs, () => {
      this.#again.delete(log.origin);
      if (this.#seen.unplaced(log).length > 0) this.#lookAt(log);
    });
    this.#again.set(log.origin, timer);
  }

  /** The log first, then who showed the notes: he can ask the log on our behalf. */
  #sourcesOf(origin: string, senders: readonly string[]): string[] {
    const { state, peersOf, boundPeers } = this.#components;
    const owners = new Set(state.bindingsOfOrigin(origin).map(({ payload }) => payload.iss));
    const logs = [...owners].flatMap((owner) => peersOf(owner).slice(0, 1)).slice(0, LOG_PEERS_MAX);
    const bound = new Set(boundPeers());
    return [...new Set([...logs, ...senders.filter((peer) => bound.has(peer))])].slice(
      0,
      LOG_PEERS_MAX + limits.MONITOR_SENDERS_MAX,
    );
  }

  /** Asks one after the other, and the next beside one that is slow, until an answer says where they belong. */
  async #compare(old: Checkpoint, next: Checkpoint, sources: readonly string[]): Promise<Finding> {
    if (old.treeSize === next.treeSize) return toHex(old.root) === toHex(next.root) ? { verdict: 'agree' } : SAME_SIZE;
    const { clock } = this.#components;
    const ended = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, ended.signal]);
    const found = Promise.withResolvers<Finding>();
    let [begun, open] = [0, 0];
    let timer: Timer | undefined;
    const begin = (): void => {
      timer?.cancel();
      const source = sources[begun];
      if (source === undefined || signal.aborted) {
        if (open === 0) found.resolve({ verdict: 'unknown', asked: begun });
        return;
      }
      begun += 1;
      open += 1;
      timer = clock.after(limits.MONITOR_STAGGER_MS, begin);
      void this.#ask(source, old, next, signal).then((finding) => {
        open -= 1;
        if (finding === undefined) begin();
        else found.resolve(finding);
      });
    };
    begin();
    try {
      return await found.promise;
    } finally {
      timer?.cancel();
      ended.abort();
    }
  }

  /** What one peer's answer shows; undefined: nothing. Never rejects. */
  async #ask(peer: string, old: Checkpoint, next: Checkpoint, signal: AbortSignal): Promise<Finding | undefined> {
    const { reader } = this.#components;
    const { origin } = old;
    this.#counts.asked += 1;
    return this.#tried(peer, async () => {
      const proof = await reader.readConsistency(peer, origin, old.treeSize, next.treeSize, { signal });
      if (proof === undefined) return undefined;
      let extension = examineExtension(old, next, proof);
      if (extension.verdict === 'ask') {
        const root = await hashAt(extension.level, 0, next.treeSize, {
          tile: async ({ level, ...place }) =>
            level === 'entries' ? undefined : reader.readTile(peer, origin, { level, ...place }, { signal }),
        });
        extension = examineExtension(old, next, proof, root);
      }
      if (extension.verdict === 'consistent') return { verdict: 'agree' };
      if (extension.verdict === 'fork') return { verdict: 'fork', rootOfAOnB: extension.rootOfOldOnNew, proof };
      this.#counts.garbage += 1;
      return undefined;
    });
  }

  /** Undefined where the peer is at fault, or gone. */
  async #tried<T>(peer: string, work: () => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (isMeshError(error))
        this.#components.log.debug({ peer, code: error.code, reason: error.message }, 'a log was not read');
      else if (!this.#stop.signal.aborted) this.#components.log.error({ peer, error }, 'a log could not be read');
      return undefined;
    }
  }

  // Proving

  async #contradiction(log: SeenLog, seen: Seen, other: SignedCheckpoint): Promise<void> {
    const note = await this.#seen.noteOf(log, seen);
    if (note !== undefined) await this.#proveLog(parseCheckpoint(note), other, SAME_SIZE);
  }

  async #proveSeen(log: SeenLog, old: Seen, next: Seen, finding: Finding & { verdict: 'fork' }): Promise<void> {
    const [a, b] = [await this.#seen.noteOf(log, old), await this.#seen.noteOf(log, next)];
    for (const seen of [old, next]) {
      seen.tries += 1; // once is enough: should nobody be convicted by it, further notes will say so
      seen.notBeforeMs = this.#components.clock.monotonicMs() + limits.MONITOR_WITHHELD_MS;
    }
    if (a !== undefined && b !== undefined) await this.#proveLog(parseCheckpoint(a), parseCheckpoint(b), finding);
  }

  async #proveLog(a: SignedCheckpoint, b: SignedCheckpoint, finding: Finding & { verdict: 'fork' }): Promise<void> {
    const { vkey } = parseLogOrigin(a.checkpoint.origin) as LogName;
    await this.#prove('log', vkey, this.#components.state.bindingsOfOrigin(vkey.name), { a, b, finding });
  }

  /** One proof for each organisation that says the key is its own. */
  async #prove(
    of: 'log' | 'witness',
    vkey: Vkey,
    bindings: readonly Statement<'binding/v1'>[],
    { a, b, finding }: { a: SignedCheckpoint; b: SignedCheckpoint; finding: Finding & { verdict: 'fork' } },
  ): Promise<void> {
    const { log, organisation, convictions, state } = this.#components;
    const owners = new Map(bindings.toReversed().map((binding) => [binding.payload.iss, binding]));
    for (const [who, binding] of owners) {
      if (who === organisation) {
        log.error(
          { of, key: vkey.name },
          'THE OWN KEY SIGNED TWO HISTORIES, and others will find it: no proof is made',
        );
        continue;
      }
      const offence = `${of} ${vkey.name} ${who}`;
      if (convictions.isConvictedAs(of, who) || this.#proving.has(offence)) continue;
      if (state.convictionsOf(who).some(({ payload }) => payload.of === of && isOfPair(payload, a, b))) continue; // lifted
      const { rootOfAOnB, proof } = finding;
      const notes = { a: formatNote(a.note), b: formatNote(b.note) };
      this.#proving.add(offence);
      try {
        const statement = createForkProof({ of, who, vkey, ...notes, rootOfAOnB, proof, binding });
        await this.#submit(statement);
        this.#counts.proven += 1;
        log.warn({ did: who, of, id: statement.id }, 'two histories under one key: proven from signatures');
        for (const listener of this.#listeners) listener.proven?.(statement);
      } catch (error) {
        if (!isMeshError(error)) throw error;
        log.warn({ did: who, of, code: error.code, reason: error.message }, 'a fork proof was not kept');
      } finally {
        this.#proving.delete(offence);
      }
    }
  }

  /** Another proof may fill the place; whom a human forgave that one is convicted by this one all the same. */
  async #submit(statement: Proof): Promise<void> {
    const { pipeline, convictions } = this.#components;
    try {
      await pipeline.submit([statement]);
    } catch (error) {
      if (!isMeshError(error) || error.code !== 'superseded') throw error;
      await convictions.convictAgain(statement);
    }
  }

  // Witnesses

  #rememberOther(signed: SignedCheckpoint): void {
    const { origin } = signed.checkpoint;
    const others = this.#others.get(origin) ?? [];
    if (others.length < limits.MONITOR_UNPROVEN_MAX) this.#others.set(origin, [...others, signed]);
    if (this.#others.size > limits.MONITOR_ORIGINS_MAX) this.#others.delete(this.#others.keys().next().value as string);
  }

  /** A log has signed two histories: whoever cosigned both is guilty of the same. */
  async #examineWitnesses({ payload }: Proof): Promise<void> {
    const { origin } = parseCheckpoint(payload.a).checkpoint;
    if (payload.of !== 'log' || this.#isOwn(origin)) return;
    const log = this.#seen.byOrigin(origin);
    const held = log === undefined ? [] : await this.#seen.notes(log);
    const shown = await this.#collect(origin, payload.who);
    const notes = [
      ...held.map(parseCheckpoint),
      ...(this.#others.get(origin) ?? []),
      ...shown.map(({ signed }) => signed),
    ];
    const senders = shown.map(({ peer }) => peer);
    for (const [vkey, cosigned] of this.#cosignedBy(notes))
      await this.#examineWitness(vkey, cosigned, payload, senders);
  }

  /** What the peers asked have seen of the log, and what their witnesses cosigned. */
  async #collect(origin: string, organisation: string) {
    const { boundPeers, peersOf, readCosigned } = this.#components;
    const peers = [...new Set([...peersOf(organisation), ...boundPeers()])].slice(0, limits.MONITOR_ASKED_PEERS_MAX);
    const shown = await Promise.all(
      peers.map(async (peer) => {
        const signal = this.#stop.signal;
        const signed = [
          await this.#readSigned(peer, origin),
          await this.#tried(peer, async () => readCosigned?.(peer, origin, signal)),
        ];
        return signed.flatMap((one) =>
          one !== undefined && one.checkpoint.origin === origin && this.#isSigned(one)
            ? [{ peer, signed: this.#cleaned(one) }]
            : [],
        );
      }),
    );
    return shown.flat();
  }

  /** Checkpoints by the witness keys of organisations that cosigned them, each once. */
  #cosignedBy(notes: readonly SignedCheckpoint[]): Map<Vkey, SignedCheckpoint[]> {
    const { state, isSignatureValid } = this.#components;
    const vkeys = new Map<string, Vkey>();
    const cosigned = new Map<Vkey, SignedCheckpoint[]>();
    for (const signed of notes) {
      for (const vkey of witnessKeysIn(signed.note)) {
        const text = formatVkey(vkey);
        if (state.bindingsOfWitness(text).length === 0) continue;
        const known = vkeys.get(text) ?? vkey;
        if (!vkeys.has(text) && vkeys.size >= WITNESSES_EXAMINED_MAX) continue;
        if (!isCosigned(signed.note, vkey, isSignatureValid)) continue;
        vkeys.set(text, known);
        const own = cosigned.get(known) ?? [];
        if (!own.some(({ checkpoint }) => isSame(checkpoint, signed.checkpoint))) cosigned.set(known, [...own, signed]);
      }
    }
    return cosigned;
  }

  /** The pair that the log's proof is about needs no question; else neighbours in size: if all agree, it is one history. */
  async #examineWitness(
    vkey: Vkey,
    cosigned: readonly SignedCheckpoint[],
    { a: older, b: newer, rootOfAOnB, proof }: Proof['payload'],
    senders: readonly string[],
  ): Promise<void> {
    const bindings = this.#components.state.bindingsOfWitness(formatVkey(vkey));
    const [a, b] = [older, newer].map((bytes) =>
      cosigned.find(({ note }) => note.text === parseCheckpoint(bytes).note.text),
    );
    if (a !== undefined && b !== undefined)
      return this.#prove('witness', vkey, bindings, { a, b, finding: { verdict: 'fork', rootOfAOnB, proof } });
    const bySize = cosigned.toSorted((one, other) => one.checkpoint.treeSize - other.checkpoint.treeSize);
    for (const [i, next] of bySize.entries()) {
      const old = bySize[i - 1];
      if (old === undefined || this.#stop.signal.aborted) continue;
      const sources = this.#sourcesOf(old.checkpoint.origin, senders);
      const finding = await this.#compare(old.checkpoint, next.checkpoint, sources);
      if (finding.verdict === 'fork') return this.#prove('witness', vkey, bindings, { a: old, b: next, finding });
    }
  }

  #work(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#components.log.error({ error }, 'a checkpoint could not be examined');
      })
      .finally(() => this.#working.delete(tracked));
    this.#working.add(tracked);
  }
}

const checkpointOf = ({ origin }: SeenLog, { treeSize, root }: Seen): Checkpoint => ({ origin, treeSize, root });

const isSame = (a: Checkpoint, b: Checkpoint): boolean => a.treeSize === b.treeSize && toHex(a.root) === toHex(b.root);

function isOfPair(payload: Proof['payload'], ...pair: readonly SignedCheckpoint[]): boolean {
  const proven = [payload.a, payload.b].map((note) => parseCheckpoint(note).note.text);
  return pair.every(({ note }) => proven.includes(note.text));
}

/** Keys of witnesses of this network that the lines of a note name. */
function witnessKeysIn({ signatures }: Note): Vkey[] {
  return signatures.flatMap(({ name }) => parseWitnessName(name) ?? []);
}

function isCosigned({ text, signatures }: Note, vkey: Vkey, isSignatureValid: IsSignatureValid): boolean {
  const lines = signatures.filter(({ name }) => name === vkey.name);
  try {
    verifyNote({ text, signatures: lines }, [vkey], isSignatureValid);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false; // a line that somebody added: it accuses nobody
    throw error;
  }
}
