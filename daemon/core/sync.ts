/**
 * The sync protocol (SPEC "Sync"): who a peer speaks for, and reconciliation of statement sets. Gossip is the fast path,
 * this is the guarantee: at once on connect, then every few seconds with one random bound peer.
 */
import {
  type Answer,
  cidText,
  createReconciler,
  encodeAnswer,
  encodeQuestion,
  type ErrorCode,
  isMeshError,
  isOfKind,
  limits,
  MeshError,
  parseAnswer,
  parseQuestion,
  type Question,
  RangeIndex,
  type Statement,
  toHex,
} from '../../protocol/index.ts';
import type { Clock, FrameStream, Logger, Network, PeerConnection, Random, Timer } from '../ports.ts';
import { didOfOperation, type Outcome, type Pipeline } from './pipeline.ts';
import { Serial } from './serial.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface SyncComponents {
  readonly network: Network;
  readonly pipeline: Pipeline;
  /** The reconciled set: the pipeline's index. */
  readonly index: RangeIndex;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Own organisation. */
  readonly did: string;
  /** A heartbeat of the own organisation made now. */
  readonly heartbeat: (nonce: Uint8Array) => Statement<'heartbeat/v1'>;
  /** Organisations whose newest heartbeat is asked for whenever this reconciles with a neighbour. */
  readonly reliedOn: () => Iterable<string>;
  /** Whose peers are never bound, and whose hello is refused; default: nobody. */
  readonly isRefused?: (organisation: string) => boolean;
  readonly onBound?: (peer: string, organisation: string, connection: PeerConnection) => void;
  readonly onUnbound?: (peer: string, organisation: string) => void;
}

export interface SyncOptions {
  /** Between reconciliations with a random neighbour, milliseconds ± 20 %. Default 5,000. */
  readonly intervalMs?: number;
  /** To answer a question. Default 10,000. */
  readonly answerTimeoutMs?: number;
  /** An id that was refused is not offered or asked for again for so long. Default 10 minutes. */
  readonly restMs?: number;
}

/** What one reconciliation moved, and what it cost without the statements themselves. */
export interface Reconciled {
  readonly got: number;
  readonly gave: number;
  readonly rounds: number;
  readonly rangeBytes: number;
  readonly complete: boolean;
}

const FRAME_ROOM = limits.SYNC_FRAME_BYTES_MAX - 4 * 1024; // for the array around envelopes
const RESTING_MAX = 100_000; // ids a daemon remembers as refused; beyond, the oldest is offered again
const SORTED_MS = 2_000; // an organisation's own set as it was: what came since is found the next time
const SORTED_MAX = 8; // organisations asked about at one time
const QUESTIONS_PER_SECOND = 50; // a reconciliation takes a handful
const QUESTIONS_BURST = 500; // the first one of a newcomer with a full store
const NONCES_PER_SECOND = 20; // a signature each
const HELLOS_PER_SECOND = 1; // one a connection; each may hold hundreds of signatures to verify
const HELLOS_BURST = 16;
const SORTS_PER_SECOND = 2; // of an organisation's own set, which may be 70,000 statements
const SORTS_BURST = 8;
const LOGS_PER_SECOND = 20; // asked of one peer for what waits; what is not asked for reconciliation brings
const LOGS_BURST = 256; // as many as may wait from one peer
const LOGS_UNDER_WAY_MAX = 32; // of a peer that takes its time to answer
const LOG_AGAIN_MS = 30_000; // the same of the same peer
const PEERS_FAULTS: ReadonlySet<ErrorCode> = new Set(['malformed', 'noncanonical', 'schema', 'too_large']); // others are this side's
const IN_STREAMS_MAX = 4; // one for each direction of two connections

export class Sync {
  readonly #components: SyncComponents;
  readonly #intervalMs: number;
  readonly #answerTimeoutMs: number;
  readonly #restMs: number;
  readonly #askers = new Map<string, Asker>();
  readonly #organisations = new Map<string, string>();
  readonly #resting = new Map<string, number>();
  readonly #questions: TokenBuckets;
  readonly #nonces: TokenBuckets;
  readonly #hellos: TokenBuckets;
  readonly #sorts: TokenBuckets;
  readonly #logs: TokenBuckets;
  readonly #logsAsked = new Map<string, number>();
  readonly #logsUnderWay = new Map<string, number>();
  readonly #underWay = new Map<string, Promise<Reconciled>>();
  readonly #awaitingBound = new Map<string, Set<(isBound: boolean) => void>>();
  readonly #sorted = new Map<string, { readonly index: RangeIndex; readonly builtMs: number }>();
  readonly #stop = new AbortController();
  #timer: Timer | undefined;

  constructor(components: SyncComponents, options: SyncOptions = {}) {
    this.#components = components;
    this.#intervalMs = options.intervalMs ?? 5_000;
    this.#answerTimeoutMs = options.answerTimeoutMs ?? 10_000;
    this.#restMs = options.restMs ?? 10 * 60_000;
    this.#questions = new TokenBuckets(components.clock, { perSecond: QUESTIONS_PER_SECOND, burst: QUESTIONS_BURST });
    this.#nonces = new TokenBuckets(components.clock, { perSecond: NONCES_PER_SECOND, burst: NONCES_PER_SECOND });
    this.#hellos = new TokenBuckets(components.clock, { perSecond: HELLOS_PER_SECOND, burst: HELLOS_BURST });
    this.#sorts = new TokenBuckets(components.clock, { perSecond: SORTS_PER_SECOND, burst: SORTS_BURST });
    this.#logs = new TokenBuckets(components.clock, { perSecond: LOGS_PER_SECOND, burst: LOGS_BURST });
  }

  async start(): Promise<void> {
    const { network, pipeline } = this.#components;
    await network.handle(
      'sync',
      { frameBytesMax: limits.SYNC_FRAME_BYTES_MAX, inboundStreamsMax: IN_STREAMS_MAX, unbound: true },
      (stream) => this.#serve(stream),
    );
    network.onConnect((connection) => {
      if (connection.direction === 'outbound')
        this.#background(this.#greet(connection), 'hello failed', connection.peer);
    });
    network.onDisconnect((connection) => this.#disconnected(connection));
    pipeline.listen({
      accepted: (statement) => {
        if (isOfKind(statement, 'didop/v1') && statement.payload.op !== 'genesis') this.recheck(statement.payload.iss);
        else if (isOfKind(statement, 'revocation/v1')) this.recheck(statement.payload.org);
      },
      awaiting: (did, peer) => this.#background(this.#askLogOnce(did, peer), 'log not learnt', peer),
    });
    for (const connection of network.connections()) {
      if (connection.direction === 'outbound')
        this.#background(this.#greet(connection), 'hello failed', connection.peer);
    }
    this.#schedule();
  }

  close(): void {
    this.#stop.abort();
    this.#timer?.cancel();
    for (const asker of this.#askers.values()) asker.close();
    this.#askers.clear();
  }

  /** The organisation that a connected peer has proved to speak for. */
  organisationOf(peer: string): string | undefined {
    return this.#organisations.get(peer);
  }

  /** Connected peers that speak for the organisation. */
  peersOf(organisation: string): string[] {
    return [...this.#organisations].filter(([, did]) => did === organisation).map(([peer]) => peer);
  }

  boundPeers(): string[] {
    return [...this.#organisations.keys()];
  }

  /** Whether the peer is bound, now or before the signal fires. */
  async untilBound(peer: string, signal: AbortSignal): Promise<boolean> {
    if (this.#organisations.has(peer)) return true;
    return new Promise((resolve) => {
      const waiting = this.#awaitingBound.get(peer) ?? new Set();
      this.#awaitingBound.set(peer, waiting);
      waiting.add(resolve);
      const stop = (): void => {
        waiting.delete(resolve);
        if (waiting.size === 0 && this.#awaitingBound.get(peer) === waiting) this.#awaitingBound.delete(peer);
        resolve(false);
      };
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
  }

  /** Learns a DID's log from a peer, and that of its organisation. Errors: unreachable, timeout, cancelled, the peer's refusal. */
  async learnLog(did: string, peer: string, signal?: AbortSignal): Promise<void> {
    const controller = await this.#learnOneLog(did, peer, signal);
    if (controller !== undefined) await this.#learnOneLog(controller, peer, signal); // which has none itself
  }

  /** Returns the DID that an agent's or person's genesis waits for. */
  async #learnOneLog(did: string, peer: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    const known = new Set<string>();
    let controller: string | undefined;
    for (let from = 0; ; ) {
      const envelopes = await this.#askHave(peer, ['log', did, from], signal);
      const outcomes = await this.#receive(peer, envelopes, isOperationOf(did));
      controller ??= outcomes.find(
        ({ waitsFor }) => waitsFor?.startsWith('did:') === true && waitsFor !== did,
      )?.waitsFor;
      const fresh = outcomes.flatMap((outcome) =>
        outcome.statement !== undefined && !known.has(outcome.statement.id) ? [outcome.statement] : [],
      );
      for (const { id } of fresh) known.add(id);
      const last = fresh.reduce(
        (seq, { payload }) => ('op' in payload && payload.op !== 'genesis' ? Math.max(seq, payload.seq) : seq),
        from,
      );
      if (fresh.length === 0 || last >= limits.DID_SEQ_MAX) return controller;
      from = last === from && from > 0 ? from + 1 : Math.max(1, last);
    }
  }

  /**
   * Pulls heartbeats. With a nonce the peer answers for its own organisation, and the answer's age counts from now.
   * Errors: unreachable, timeout, cancelled, the door's codes, the peer's refusal.
   */
  async pullHeartbeats(
    dids: readonly string[],
    peer: string,
    { nonce, signal }: { readonly nonce?: Uint8Array; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const askedMs = this.#components.clock.nowMs();
    const envelopes = await this.#askHave(peer, ['beat', dids, nonce ?? null], signal);
    if (nonce === undefined) {
      await this.#receive(peer, envelopes, (it) => isOfKind(it, 'heartbeat/v1') && dids.includes(it.payload.iss));
      return;
    }
    for (const envelope of envelopes.slice(0, dids.length)) {
      const heartbeat = this.#components.pipeline.receiveAnswer(envelope, nonce, askedMs, { via: 'pulled', peer });
      if (!dids.includes(heartbeat.payload.iss))
        throw new MeshError('malformed', `Cannot accept a heartbeat of "${heartbeat.payload.iss}": not asked for`);
    }
  }

  /** Reconciles with a peer, all statements or those of one organisation. One at a time with each peer. */
  async reconcile(peer: string, organisation: string | null = null, signal?: AbortSignal): Promise<Reconciled> {
    const key = `${peer} ${organisation}`;
    const running = this.#underWay.get(key);
    if (running !== undefined) return running;
    const work = this.#reconcile(peer, organisation, signal).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, work);
    return work;
  }

  /** Judges anew whether the peers of an organisation may still speak for it. */
  recheck(organisation: string): void {
    for (const peer of this.peersOf(organisation)) {
      if (!this.#speaksFor(peer, organisation)) this.#unbind(peer);
    }
  }

  // Asking

  async #greet(connection: PeerConnection): Promise<void> {
    const answer = await this.#ask(connection.peer, this.#hello()).catch(async (error: unknown) => {
      // He refuses everybody of the organisation, and says why: its own statements hold the proof.
      if (isMeshError(error) && error.code === 'convicted') await this.reconcile(connection.peer, this.#components.did);
      throw error;
    });
    if (answer[0] !== 'hello') throw unexpected(answer, 'hello');
    await this.#welcome(connection, answer[1], answer[2]);
    if (this.#organisations.has(connection.peer)) await this.#meet(connection.peer);
  }

  /** What neighbours do when they connect and every few seconds: sets first, then the newest heartbeats. */
  async #meet(peer: string): Promise<void> {
    await this.reconcile(peer);
    const wanted = new Set([
      ...(this.#organisations.get(peer) === undefined ? [] : [this.#organisations.get(peer) as string]),
      ...this.#components.reliedOn(),
    ]);
    wanted.delete(this.#components.did);
    if (wanted.size > 0) await this.pullHeartbeats([...wanted].slice(0, limits.BEATS_MAX), peer);
  }

  #hello(): ['hello', string, Uint8Array[]] {
    const { pipeline, did } = this.#components;
    return ['hello', did, asManyAsFit(pipeline.state.operationsOf(did))];
  }

  /** What a peer showed of its organisation: bound if its log, in good standing here, lists the PeerId. */
  async #welcome(connection: PeerConnection, did: string, envelopes: readonly Uint8Array[]): Promise<void> {
    const { network, log, onBound } = this.#components;
    await this.#receive(connection.peer, envelopes, isOperationOf(did));
    if (this.#components.isRefused?.(did) === true)
      throw new MeshError('convicted', `Cannot welcome a peer of "${did}": it is convicted by its own signatures`, {
        did,
      });
    if (!network.connections().some(({ id }) => id === connection.id)) return; // gone meanwhile
    if (!this.#speaksFor(connection.peer, did)) {
      log.info({ peer: connection.peer, did }, 'a peer could not show that it speaks for its organisation');
      return;
    }
    const before = this.#organisations.get(connection.peer);
    if (before === did) return;
    if (before !== undefined) this.#components.onUnbound?.(connection.peer, before);
    this.#organisations.set(connection.peer, did);
    network.setBound(connection.peer, true);
    for (const resolve of this.#awaitingBound.get(connection.peer) ?? []) resolve(true);
    this.#awaitingBound.delete(connection.peer);
    onBound?.(connection.peer, did, connection);
  }

  #speaksFor(peer: string, did: string): boolean {
    if (this.#components.isRefused?.(did) === true) return false;
    const state = this.#components.pipeline.state.didState(did);
    return state?.kind === 'org' && state.status === 'active' && state.peers.includes(peer);
  }

  #unbind(peer: string): void {
    const organisation = this.#organisations.get(peer);
    if (organisation === undefined) return;
    this.#organisations.delete(peer);
    this.#components.network.setBound(peer, false);
    this.#components.onUnbound?.(peer, organisation);
  }

  #disconnected(connection: PeerConnection): void {
    const { network } = this.#components;
    if (network.connections().some(({ peer, id }) => peer === connection.peer && id !== connection.id)) return;
    this.#askers.get(connection.peer)?.close();
    this.#askers.delete(connection.peer);
    const organisation = this.#organisations.get(connection.peer);
    this.#organisations.delete(connection.peer);
    if (organisation !== undefined) {
      network.setBound(connection.peer, false);
      this.#components.onUnbound?.(connection.peer, organisation);
    }
  }

  async #askLogOnce(did: string, peer: string): Promise<void> {
    const key = `${did} ${peer}`;
    const nowMs = this.#components.clock.monotonicMs();
    for (const [old, atMs] of this.#logsAsked) {
      if (nowMs - atMs < LOG_AGAIN_MS) break; // in the order in which they were asked
      this.#logsAsked.delete(old);
    }
    const underWay = this.#logsUnderWay.get(peer) ?? 0;
    if (this.#logsAsked.has(key) || underWay >= LOGS_UNDER_WAY_MAX || !this.#logs.take(peer)) return;
    this.#logsAsked.set(key, nowMs);
    this.#logsUnderWay.set(peer, underWay + 1);
    try {
      await this.learnLog(did, peer);
    } finally {
      const left = (this.#logsUnderWay.get(peer) ?? 1) - 1;
      if (left === 0) this.#logsUnderWay.delete(peer);
      else this.#logsUnderWay.set(peer, left);
    }
  }

  /** What a peer answered. An honest one sends nothing that the door rejects. */
  async #receive(
    peer: string,
    envelopes: readonly Uint8Array[],
    isAsked: (statement: Statement) => boolean,
  ): Promise<Heard[]> {
    const { pipeline, network } = this.#components;
    const outcomes = await pipeline.receiveMany(envelopes, { via: 'pulled', peer, isAsked });
    if (outcomes.some(({ verdict }) => verdict === 'reject')) network.penalise(peer, 'sync: rejected statements');
    return outcomes;
  }

  async #reconcile(peer: string, organisation: string | null, signal: AbortSignal | undefined): Promise<Reconciled> {
    const reconciler = createReconciler(this.#indexFor(organisation));
    const need = new Map<string, Uint8Array>();
    const have = new Map<string, Uint8Array>();
    let message: Uint8Array | undefined = reconciler.initiate();
    let [rounds, rangeBytes, complete] = [0, 0, false];
    while (message !== undefined) {
      const answer = await this.#ask(peer, ['range', message, organisation], signal);
      if (answer[0] !== 'range') throw unexpected(answer, 'range');
      rounds += 1;
      rangeBytes += message.length + answer[1].length;
      const result = reconciler.reconcile(answer[1]);
      for (const id of result.need) need.set(toHex(id), id);
      for (const id of result.have) have.set(toHex(id), id);
      complete = result.complete;
      message = result.reply;
    }
    const got = await this.#get(peer, [...need.values()], signal);
    const gave = await this.#put(peer, [...have.values()], signal);
    return { got, gave, rounds, rangeBytes, complete };
  }

  /**
   * The set of one organisation is sorted once for all rounds of whoever asks, and for others who ask just then.
   * Errors: busy.
   */
  #answeringIndex(organisation: string | null, peer: string): RangeIndex {
    if (organisation === null) return this.#components.index;
    const nowMs = this.#components.clock.monotonicMs();
    for (const [did, { builtMs }] of this.#sorted) if (nowMs - builtMs > SORTED_MS) this.#sorted.delete(did);
    const known = this.#sorted.get(organisation);
    if (known !== undefined) return known.index;
    if (!this.#sorts.take(peer)) throw new MeshError('busy', 'Cannot sort another set: this peer asked for too many');
    const index = this.#indexFor(organisation);
    if (this.#sorted.size >= SORTED_MAX) this.#sorted.delete(this.#sorted.keys().next().value as string);
    this.#sorted.set(organisation, { index, builtMs: nowMs });
    return index;
  }

  #indexFor(organisation: string | null): RangeIndex {
    if (organisation === null) return this.#components.index;
    const own = this.#components.pipeline.state.statementsOf(organisation);
    return RangeIndex.of(own.map(({ epoch, digest }) => ({ epoch, id: digest })));
  }

  async #get(peer: string, ids: readonly Uint8Array[], signal: AbortSignal | undefined): Promise<number> {
    let open = ids.filter((id) => !this.#rests('', id) && !this.#rests(`from ${peer}`, id));
    let got = 0;
    while (open.length > 0) {
      const asked = open.slice(0, limits.GET_IDS_MAX);
      const wanted = new Set(asked.map(toHex));
      const envelopes = await this.#askHave(peer, ['get', asked], signal);
      const outcomes = await this.#receive(peer, envelopes, ({ digest }) => wanted.has(toHex(digest)));
      const arrived = new Set<string>();
      for (const outcome of outcomes) {
        if (outcome.statement !== undefined) arrived.add(toHex(outcome.statement.digest));
        if (outcome.verdict === 'accept') got += 1;
        else if (outcome.statement !== undefined && isFinal(outcome))
          // Another's copy may be signed as it should be: one peer must not keep out what it spoils.
          this.#rest(outcome.code === 'bad_signature' ? `from ${peer}` : '', outcome.statement.digest);
      }
      // What did not come is not asked for again this time: it left that set, or its sender cannot send it.
      open =
        arrived.size === 0
          ? open.slice(asked.length)
          : open.filter((id, i) => !arrived.has(toHex(id)) && (i >= asked.length || outcomes.length < asked.length));
    }
    return got;
  }

  async #put(peer: string, ids: readonly Uint8Array[], signal: AbortSignal | undefined): Promise<number> {
    const { pipeline } = this.#components;
    const statements = ids
      .filter((id) => !this.#rests(peer, id))
      .flatMap((id) => pipeline.state.inSet(cidText(id)) ?? []);
    let gave = 0;
    for (let at = 0; at < statements.length; ) {
      const envelopes = asManyAsFit(statements.slice(at, at + limits.GET_IDS_MAX));
      const answer = await this.#ask(peer, ['put', envelopes], signal);
      if (answer[0] !== 'took') throw unexpected(answer, 'took');
      for (const [i, [verdict, code]] of answer[1].entries()) {
        const statement = statements[at + i];
        if (statement === undefined) break;
        if (verdict === 'accept') gave += 1;
        else if (verdict !== 'pending' && !isPassing(code)) this.#rest(peer, statement.digest);
        if (code === 'busy') return gave;
      }
      at += envelopes.length;
    }
    return gave;
  }

  /** `peer` empty: refused here, whoever offers it; "from" a peer: his copy is. */
  #rest(peer: string, id: Uint8Array): void {
    if (this.#resting.size >= RESTING_MAX) this.#resting.delete(this.#resting.keys().next().value as string);
    this.#resting.set(`${peer} ${toHex(id)}`, this.#components.clock.monotonicMs() + this.#restMs);
  }

  #rests(peer: string, id: Uint8Array): boolean {
    const key = `${peer} ${toHex(id)}`;
    const untilMs = this.#resting.get(key);
    if (untilMs === undefined) return false;
    if (untilMs > this.#components.clock.monotonicMs()) return true;
    this.#resting.delete(key);
    return false;
  }

  async #askHave(peer: string, question: Question, signal: AbortSignal | undefined): Promise<readonly Uint8Array[]> {
    const answer = await this.#ask(peer, question, signal);
    if (answer[0] !== 'have') throw unexpected(answer, 'have');
    return answer[1];
  }

  async #ask(peer: string, question: Question, signal?: AbortSignal): Promise<Answer> {
    let asker = this.#askers.get(peer);
    if (asker === undefined) {
      asker = new Asker(this.#components.network, peer, this.#answerTimeoutMs);
      this.#askers.set(peer, asker);
    }
    const answer = await asker.ask(
      question,
      signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]),
    );
    if (answer[0] === 'no') throw new MeshError(answer[1], `Cannot sync: the peer answered "${answer[1]}"`, { peer });
    return answer;
  }

  #schedule(): void {
    const delayMs = this.#intervalMs * (0.8 + 0.4 * this.#components.random.fraction());
    this.#timer = this.#components.clock.after(delayMs, () => {
      const peers = this.boundPeers();
      const peer = peers[Math.floor(this.#components.random.fraction() * peers.length)];
      if (peer !== undefined) this.#background(this.#meet(peer), 'reconciliation failed', peer);
      if (!this.#stop.signal.aborted) this.#schedule();
    });
  }

  #background(work: Promise<unknown>, what: string, peer: string): void {
    work.catch((error: unknown) => {
      if (this.#stop.signal.aborted) return;
      if (isMeshError(error)) this.#components.log.debug({ code: error.code, reason: error.message, peer }, what);
      else this.#components.log.error({ error, peer }, what);
    });
  }

  // Answering

  async #serve(stream: FrameStream): Promise<void> {
    for (;;) {
      const frame = await stream.receive({ signal: this.#stop.signal });
      if (frame === undefined) return stream.close();
      await stream.send(encodeAnswer(await this.#answer(frame, stream.connection)));
    }
  }

  async #answer(frame: Uint8Array, connection: PeerConnection): Promise<Answer> {
    if (!this.#questions.take(connection.peer)) return ['no', 'busy'];
    try {
      return await this.#answerTo(parseQuestion(frame), connection);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      if (PEERS_FAULTS.has(error.code)) this.#components.network.penalise(connection.peer, `sync: ${error.code}`);
      return ['no', error.code];
    }
  }

  async #answerTo(question: Question, connection: PeerConnection): Promise<Answer> {
    const { pipeline } = this.#components;
    switch (question[0]) {
      case 'hello':
        if (!this.#hellos.take(connection.peer)) return ['no', 'busy'];
        await this.#welcome(connection, question[1], question[2]);
        return this.#hello();
      case 'range':
        return ['range', createReconciler(this.#answeringIndex(question[2], connection.peer)).respond(question[1])];
      case 'get':
        return ['have', asManyAsFit(question[1].flatMap((id) => pipeline.state.inSet(cidText(id)) ?? []))];
      case 'log': {
        const [, did, from] = question;
        const operations = pipeline.state.operationsOf(did);
        if (operations.length === 0) return ['no', 'did_unknown'];
        return [
          'have',
          asManyAsFit(operations.filter(({ payload }) => (payload.op === 'genesis' ? 0 : payload.seq) >= from)),
        ];
      }
      case 'put':
        return this.#take(question[1], connection);
      case 'beat':
        return this.#beats(question[1], question[2], connection);
    }
  }

  async #take(envelopes: readonly Uint8Array[], { peer }: PeerConnection): Promise<Answer> {
    if (!this.#organisations.has(peer)) return ['no', 'peer_not_bound'];
    const outcomes = await this.#components.pipeline.receiveMany(envelopes, { via: 'put', peer });
    if (outcomes.some(({ verdict }) => verdict === 'reject'))
      this.#components.network.penalise(peer, 'sync: rejected statements');
    return ['took', outcomes.map((outcome) => tookOf(outcome))];
  }

  #beats(dids: readonly string[], nonce: Uint8Array | null, { peer }: PeerConnection): Answer {
    const { pipeline, clock, did: own, heartbeat } = this.#components;
    if (!this.#organisations.has(peer)) return ['no', 'peer_not_bound'];
    if (nonce !== null) {
      if (!dids.includes(own)) return ['have', []];
      return this.#nonces.take(peer) ? ['have', [heartbeat(nonce).envelope]] : ['no', 'busy'];
    }
    const held = dids.flatMap((did) => {
      const newest = pipeline.state.heartbeatsOf(did, clock.nowMs()).map(({ statement }) => statement);
      return newest.sort((a, b) => b.payload.iat - a.payload.iat).slice(0, 1);
    });
    return ['have', asManyAsFit(held)];
  }
}

/** One stream for own questions to a peer, opened when needed; one question at a time. */
class Asker {
  readonly #network: Network;
  readonly #peer: string;
  readonly #timeoutMs: number;
  readonly #serial = new Serial();
  #stream: FrameStream | undefined;

  constructor(network: Network, peer: string, timeoutMs: number) {
    this.#network = network;
    this.#peer = peer;
    this.#timeoutMs = timeoutMs;
  }

  ask(question: Question, signal: AbortSignal): Promise<Answer> {
    return this.#serial.run(async () => {
      signal.throwIfAborted();
      this.#stream ??= await this.#network.openStream(this.#peer, 'sync', {
        frameBytesMax: limits.SYNC_FRAME_BYTES_MAX,
        signal,
      });
      const stream = this.#stream;
      try {
        await stream.send(encodeQuestion(question));
        const frame = await stream.receive({ timeoutMs: this.#timeoutMs, signal });
        if (frame === undefined) throw new MeshError('closed', `Cannot sync with "${this.#peer}": it ended the stream`);
        return parseAnswer(frame);
      } catch (error) {
        // Whatever is still under way on it would answer the wrong question.
        stream.abort('question failed');
        this.#stream = undefined;
        throw error;
      }
    });
  }

  close(): void {
    this.#stream?.abort('closed');
    this.#stream = undefined;
  }
}

function asManyAsFit(statements: readonly Statement[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  let room = FRAME_ROOM;
  for (const { envelope } of statements) {
    room -= envelope.length + 5;
    if (room < 0) break;
    out.push(envelope);
  }
  return out;
}

type Heard = Outcome & { readonly code?: ErrorCode; readonly waitsFor?: string };

const isOperationOf =
  (did: string) =>
  (statement: Statement): boolean =>
    isOfKind(statement, 'didop/v1') && didOfOperation(statement) === did;

/** What may be otherwise at the next offer. */
const isPassing = (code: ErrorCode | null | undefined): boolean =>
  code === 'duplicate' || code === 'busy' || code === 'too_early';

const isFinal = ({ verdict, code }: Heard): boolean =>
  verdict === 'reject' || (verdict === 'ignore' && !isPassing(code));

const tookOf = (
  outcome: Outcome,
): readonly ['accept' | 'ignore' | 'reject' | 'pending', ErrorCode | null, string | null] =>
  outcome.verdict === 'accept' ? ['accept', null, null] : [outcome.verdict, outcome.code, outcome.waitsFor ?? null];

const unexpected = (answer: Answer, want: string): MeshError =>
  new MeshError('malformed', `Cannot sync: the peer answered "${answer[0]}", want "${want}"`, { is: answer[0], want });
