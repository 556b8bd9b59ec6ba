/**
 * The one way by which a statement becomes held, wherever it comes from: gossip, sync, a handshake or this daemon
 * itself (SPEC "The door"). Accepted ones are stored, indexed for reconciliation, and announced to listeners.
 */
import {
  ERRORS,
  didOfGenesis,
  equalBytes,
  type ErrorCode,
  type IsSignatureValid,
  isMeshError,
  isOfKind,
  kindRow,
  limits,
  MeshError,
  type MeshState,
  parseStatement,
  type RangeIndex,
  type Statement,
  type Topic,
  toHex,
  verifySignatures,
} from '../../protocol/index.ts';
import { openCheckpoint, originOf } from '../../protocol/log/index.ts';
import type { Clock, Logger, Store, StoreWrite } from '../ports.ts';
import { PendingStatements } from './pending.ts';
import { TokenBuckets } from './token-buckets.ts';

/** Where statements came from. Own and pulled ones cost no budget: they were asked for. */
export type Source =
  | { readonly via: 'local' }
  | { readonly via: 'gossip'; readonly peer: string; readonly topic: Topic }
  | { readonly via: 'put' | 'presented'; readonly peer: string }
  /** An answer; what else it holds than was asked for is rejected. */
  | { readonly via: 'pulled'; readonly peer: string; readonly isAsked?: (statement: Statement) => boolean };

export type Outcome =
  | { readonly verdict: 'accept'; readonly statement: Statement }
  | {
      readonly verdict: 'ignore' | 'reject' | 'pending';
      readonly code: ErrorCode;
      readonly message: string;
      readonly statement?: Statement;
      readonly waitsFor?: string;
    };

/** Verifies many signatures at once, for bulk: the daemon spreads them over its cores. One entry a statement: valid or not. */
export type CheckSignatures = (statements: readonly Statement[]) => Promise<readonly boolean[]>;

export interface PipelineComponents {
  readonly state: MeshState;
  readonly index: RangeIndex;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  /** Absent: one after the other by isSignatureValid. */
  readonly checkSignatures?: CheckSignatures;
}

export interface PipelineOptions {
  /** Unasked statements a second from one peer, and how many at once. Default 200 and 5,000. */
  readonly unaskedPerSecond?: number;
  readonly unaskedBurst?: number;
  /** Marks above which only organisations in use are admitted. */
  readonly statementsMax?: number;
  readonly bytesMax?: number;
  /**
   * Awaited by `submit` before anything is admitted: what throws here refuses all of them. What it returns is called
   * with how it ended. Default: nothing is asked.
   */
  readonly beforeKept?: (statements: readonly Statement[]) => Promise<(outcome: MeshError | undefined) => void>;
}

export interface PipelineListener {
  /** After it is held and, for local ones, on disk. */
  accepted?(statement: Statement, source: Source): void;
  /** Left the set: expired, or yielded its place. */
  removed?(statement: Statement): void;
  refused?(outcome: Outcome & { verdict: 'reject' }, source: Source): void;
  /**
   * Every checkpoint whose signature verifies and that is not held already, whatever the door then says of it: one that
   * is superseded may contradict another all the same.
   */
  seen?(statement: Statement<'checkpoint/v1'>, source: Source): void;
  /** Something waits for this DID; `peer` sent it and may hold the log. */
  awaiting?(did: string, peer: string): void;
}

const BULK = 16; // below this, handing signatures to other threads costs more than it saves
const TURN = 64; // statements admitted before other work gets a turn
const GROUP_MS = 50; // remote statements may be lost with at most this much of a crash; neighbours hold them

const LOCAL: Source = { via: 'local' };

/** Rows: `s` epoch32 id → envelope; `v` id → private link; `b` org32 → heartbeat. */
const SET = 0x73;
const PRIVATE = 0x76;

export class Pipeline {
  readonly #components: PipelineComponents;
  readonly #pending: PendingStatements;
  readonly #unasked: TokenBuckets;
  readonly #statementsMax: number;
  readonly #bytesMax: number;
  readonly #beforeKept: PipelineOptions['beforeKept'];
  readonly #listeners: PipelineListener[] = [];
  readonly #inUse = new Set<string>();
  #bytes = 0;
  #isFullKnown = false;
  #unwritten: StoreWrite[] = [];
  #isFlushDue = false;
  /** Never rejects: what went wrong is in #failed. */
  #writing: Promise<void> | undefined;
  #failed: MeshError | undefined;
  #isClosed = false;

  constructor(components: PipelineComponents, options: PipelineOptions = {}) {
    this.#components = components;
    this.#pending = new PendingStatements(components.clock);
    this.#unasked = new TokenBuckets(components.clock, {
      perSecond: options.unaskedPerSecond ?? 200,
      burst: options.unaskedBurst ?? 5_000,
    });
    this.#statementsMax = options.statementsMax ?? limits.STORE_STATEMENTS_MAX;
    this.#bytesMax = options.bytesMax ?? limits.STORE_BYTES_MAX;
    this.#beforeKept = options.beforeKept;
  }

  get state(): MeshState {
    return this.#components.state;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  listen(listener: PipelineListener): void {
    this.#listeners.push(listener);
  }

  /** Organisations whose statements are admitted above the marks too: one's own, and those relied on. */
  setInUse(organisation: string, inUse: boolean): void {
    if (inUse) this.#inUse.add(organisation);
    else this.#inUse.delete(organisation);
  }

  /**
   * Reads the store into memory, in whatever order its rows build on each other. What has expired or lost its place
   * leaves it; `unplaced` rows stay there, for when what they build on comes again. Errors: store_corrupt, naming the
   * row; read_only.
   */
  async open(): Promise<{ readonly statements: number; readonly unplaced: number }> {
    const { store, state, clock } = this.#components;
    const statements: Statement[] = [];
    for (const prefix of [SET, PRIVATE]) {
      for await (const [key, value] of store.range(Uint8Array.of(prefix), Uint8Array.of(prefix + 1)))
        statements.push(readRow(key, value));
    }
    const successors = Map.groupBy(statements, ({ payload }) => ('prv' in payload ? payload.prv?.text : undefined));
    const waiting = new Map<string, Statement[]>();
    // Which logs have a place is known once all bindings are held: until then a checkpoint might lose its row.
    const isLast = (statement: Statement): boolean => isOfKind(statement, 'checkpoint/v1');
    const open = [...statements.filter((each) => !isLast(each)), ...statements.filter(isLast)].reverse();
    for (let statement = open.pop(); statement !== undefined; statement = open.pop()) {
      // A clock that was set back since makes nothing of what is held too early.
      const nowMs = Math.max(clock.nowMs(), statement.payload.iat * 1000);
      const admission = state.admit(statement, nowMs, { awaiting: (id) => successors.get(id) ?? [] });
      if (admission.verdict === 'pending') {
        addTo(waiting, admission.waitsFor, statement);
      } else if (admission.verdict === 'accept') {
        this.#enter(statement);
        for (const evicted of admission.evicted) this.#leave(evicted);
        for (const awaited of awaitedAs(statement)) {
          for (const freed of waiting.get(awaited) ?? []) open.push(freed);
          waiting.delete(awaited);
        }
      } else {
        this.#unwritten.push({ type: 'del', key: rowKey(statement) });
      }
    }
    await this.flush();
    return { statements: state.size, unplaced: [...waiting.values()].flat().length };
  }

  /**
   * Statements that this daemon makes: all are held and on disk when the promise resolves, or an error says why not and
   * whatever was not admitted is not held. `verifyStill` throws where what they build on has changed while they waited
   * for `beforeKept`. Errors: the door's codes, read_only, of beforeKept, of verifyStill.
   */
  async submit(statements: readonly Statement[], verifyStill?: () => void): Promise<void> {
    for (const statement of statements) verifySignatures(statement, this.#components.isSignatureValid);
    if (this.#beforeKept === undefined) return this.#submit(statements);
    const ended = await this.#beforeKept(statements);
    try {
      verifyStill?.();
      await this.#submit(statements);
    } catch (error) {
      ended(isMeshError(error) ? error : new MeshError('internal', 'Cannot keep own statements', {}, { cause: error }));
      throw error;
    }
    ended(undefined);
  }

  async #submit(statements: readonly Statement[]): Promise<void> {
    const accepted: Statement[] = [];
    let refusal: MeshError | undefined;
    for (const statement of statements) {
      this.#see(statement, LOCAL);
      const outcome = this.#admit(statement, LOCAL);
      if (outcome.verdict === 'accept') accepted.push(statement);
      if (outcome.verdict === 'accept' || outcome.code === 'duplicate') continue;
      refusal = new MeshError(outcome.code, `Cannot keep an own statement: ${outcome.message}`, { id: statement.id });
      break;
    }
    await this.flush();
    for (const statement of accepted) this.#announce(statement, LOCAL);
    if (refusal !== undefined) throw refusal;
  }

  /** One envelope from a peer, with its verdict. Never throws for what the bytes say. */
  receive(envelope: Uint8Array, source: Source): Outcome {
    const parsed = this.#open(envelope, source);
    if ('verdict' in parsed) return this.#refuse(parsed, source);
    try {
      verifySignatures(parsed, this.#components.isSignatureValid);
    } catch (error) {
      return this.#refuse(outcomeOf(error, parsed), source);
    }
    this.#see(parsed, source);
    return this.#enterRemote(parsed, source);
  }

  /** Many envelopes from a peer; signatures are checked together. Outcomes in the same order. */
  async receiveMany(envelopes: readonly Uint8Array[], source: Source): Promise<Outcome[]> {
    const { checkSignatures } = this.#components;
    if (checkSignatures === undefined || envelopes.length < BULK)
      return envelopes.map((envelope) => this.receive(envelope, source));
    const opened = envelopes.map((envelope) => this.#open(envelope, source));
    const valid = await checkSignatures(opened.filter((entry): entry is Statement => !('verdict' in entry)));
    const outcomes: Outcome[] = [];
    let checked = 0;
    for (const entry of opened) {
      if (outcomes.length > 0 && outcomes.length % TURN === 0) await this.#components.clock.soon();
      if ('verdict' in entry) {
        outcomes.push(this.#refuse(entry, source));
      } else if (valid[checked++] === true) {
        this.#see(entry, source);
        outcomes.push(this.#enterRemote(entry, source));
      } else {
        outcomes.push(this.#refuse(this.#badSignature(entry), source));
      }
    }
    return outcomes;
  }

  /** A heartbeat that answers an own nonce asked at `askedMs`. Errors: the door's codes, replay (another nonce). */
  receiveAnswer(
    envelope: Uint8Array,
    nonce: Uint8Array,
    askedMs: number,
    source: Source = LOCAL,
  ): Statement<'heartbeat/v1'> {
    const statement = parseStatement(envelope);
    if (!isOfKind(statement, 'heartbeat/v1'))
      throw new MeshError('schema', `Cannot accept a "${statement.t}" as an answer: want a heartbeat`);
    const { non } = statement.payload;
    if (non === undefined || !equalBytes(non, nonce))
      throw new MeshError('replay', 'Cannot accept a heartbeat as an answer: it answers another nonce');
    verifySignatures(statement, this.#components.isSignatureValid);
    const admission = this.state.admit(statement, this.#components.clock.nowMs(), { askedMs });
    if (admission.verdict === 'accept') {
      this.#keep(statement);
      this.#announce(statement, source);
    } else if (admission.verdict !== 'ignore') {
      const code = admission.verdict === 'pending' ? 'pending' : admission.code;
      throw new MeshError(code, "Cannot accept the heartbeat: its organisation's log does not list the key");
    }
    return statement;
  }

  /** Takes out what has expired, and what waited too long. */
  sweep(): void {
    const { clock } = this.#components;
    for (const statement of this.state.expire(clock.nowMs())) this.#leave(statement);
    this.#pending.expire();
    this.#unasked.forgetIdle();
    this.#soon();
  }

  /** Whatever was admitted before the call is on disk when it resolves. Errors: read_only. */
  async flush(): Promise<void> {
    while (this.#failed === undefined && (this.#writing !== undefined || this.#unwritten.length > 0)) {
      this.#writing ??= this.#write();
      await this.#writing;
    }
    if (this.#failed !== undefined) throw this.#failed;
  }

  /** Admits nothing more, and writes what was admitted. Errors: read_only. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
  }

  #open(envelope: Uint8Array, source: Source): Statement | (Outcome & { verdict: 'ignore' | 'reject' | 'pending' }) {
    let statement: Statement;
    try {
      statement = parseStatement(ownBytes(envelope));
    } catch (error) {
      return outcomeOf(error);
    }
    if (source.via === 'pulled' && source.isAsked?.(statement) === false)
      return { verdict: 'reject', code: 'malformed', message: `an answer holds a "${statement.t}" not asked for` };
    const { topic } = kindRow(statement.t);
    if (source.via === 'gossip' && topic !== source.topic) {
      return {
        verdict: 'reject',
        code: 'topic',
        message: `a "${statement.t}" does not belong on topic "${source.topic}"`,
        statement,
      };
    }
    const early = this.state.precheck(statement, this.#components.clock.nowMs());
    if (early?.verdict === 'ignore')
      return { verdict: 'ignore', code: early.code, message: ERRORS[early.code], statement };
    if ((source.via === 'gossip' || source.via === 'put') && !this.#unasked.take(source.peer)) {
      return { verdict: 'ignore', code: 'busy', message: 'too many unasked statements', statement };
    }
    if (kindRow(statement.t).isOfTwo === true)
      return { verdict: 'reject', code: 'private', message: `a "${statement.t}" is of two alone`, statement };
    if (isPrivate(statement) && source.via !== 'local' && source.via !== 'presented')
      return { verdict: 'reject', code: 'private', message: 'a private link outside a handshake', statement };
    return statement;
  }

  #see(statement: Statement, source: Source): void {
    if (!isOfKind(statement, 'checkpoint/v1') || this.state.inSet(statement.id) !== undefined) return;
    for (const listener of this.#listeners) listener.seen?.(statement, source);
  }

  /** What did not verify together with others; with the reason, where it is not the signature. */
  #badSignature(statement: Statement): Outcome & { verdict: 'ignore' | 'reject' } {
    try {
      if (isOfKind(statement, 'proof/v1')) verifySignatures(statement, this.#components.isSignatureValid);
    } catch (error) {
      return outcomeOf(error, statement);
    }
    return { verdict: 'reject', code: 'bad_signature', message: 'a signature does not verify', statement };
  }

  /** The door after the signatures. */
  #enterRemote(statement: Statement, source: Source): Outcome {
    const outcome = this.#admit(statement, source);
    if (outcome.verdict === 'accept') this.#soon();
    else if (outcome.verdict === 'pending') this.#wait(statement, outcome.waitsFor as string, source);
    else this.#refuse(outcome, source);
    return outcome;
  }

  #admit(statement: Statement, source: Source): Outcome {
    // Before the state changes: it never holds what will not be written.
    if (this.#isClosed || this.#failed !== undefined)
      return { verdict: 'ignore', code: 'read_only', message: 'nothing more is admitted', statement };
    if (this.#isFull(statement))
      return { verdict: 'ignore', code: 'full', message: 'the store is at its mark', statement };
    const admission = this.state.admit(statement, this.#components.clock.nowMs(), {
      awaiting: (id) => this.#pending.waitingFor(id),
    });
    switch (admission.verdict) {
      case 'accept':
        this.#keep(statement);
        for (const evicted of admission.evicted) this.#leave(evicted);
        if (source.via !== 'local') this.#announce(statement, source); // a local one is not on disk yet
        this.#retry(statement);
        return { verdict: 'accept', statement };
      case 'pending':
        return {
          verdict: 'pending',
          code: 'pending',
          message: `waits for "${admission.waitsFor}"`,
          waitsFor: admission.waitsFor,
          statement,
        };
      case 'ignore':
        return { verdict: 'ignore', code: admission.code, message: ERRORS[admission.code], statement };
      case 'reject':
        return { verdict: 'reject', code: admission.code, message: admission.message, statement };
    }
  }

  #wait(statement: Statement, waitsFor: string, source: Source): void {
    if (source.via === 'local') return;
    const did = waitsFor.startsWith('did:') ? waitsFor : 'iss' in statement.payload ? statement.payload.iss : undefined;
    const isNew = this.#pending.add(statement, waitsFor, source);
    if (isNew && did !== undefined) for (const listener of this.#listeners) listener.awaiting?.(did, source.peer);
  }

  /** Runs the door again for what waits for this statement. What still does keeps its place and its time. */
  #retry(arrived: Statement): void {
    for (const entry of this.#pending.entriesFor(...awaitedAs(arrived))) {
      if (!this.#pending.has(entry)) continue; // judged with another of them
      const outcome = this.#enterRemote(entry.statement, entry.source);
      if (outcome.verdict !== 'pending') this.#pending.remove(entry);
    }
  }

  /** Heartbeats take no place in the store. */
  #isFull(statement: Statement): boolean {
    if (this.state.size < this.#statementsMax && this.#bytes < this.#bytesMax) {
      this.#isFullKnown = false;
      return false;
    }
    if (isOfKind(statement, 'heartbeat/v1')) return false;
    if (!this.#isFullKnown) {
      const facts = { statements: this.state.size, bytes: this.#bytes };
      this.#components.log.warn(facts, 'the statement store is at its mark: only organisations in use are admitted');
    }
    this.#isFullKnown = true;
    return !this.#organisationsOf(statement).some((organisation) => this.#inUse.has(organisation));
  }

  #organisationsOf(statement: Statement): string[] {
    if (isOfKind(statement, 'checkpoint/v1')) {
      const { origin } = openCheckpoint(statement.payload);
      return this.state.bindingsOfOrigin(origin).map(({ payload }) => payload.iss);
    }
    const { id, payload } = statement;
    if ('who' in payload) return [payload.who];
    if ('op' in payload && payload.op === 'genesis') return [payload.ctl ?? didOfGenesis(id)];
    return 'iss' in payload ? [this.state.didState(payload.iss)?.organisation ?? payload.iss] : [];
  }

  #enter(statement: Statement): void {
    this.#bytes += statement.envelope.length;
    if (isInSet(statement)) this.#components.index.insert(itemOf(statement));
  }

  #keep(statement: Statement): void {
    if (isOfKind(statement, 'heartbeat/v1')) return; // pulled again after a restart, when its age starts anew
    this.#enter(statement);
    this.#unwritten.push({ type: 'put', key: rowKey(statement), value: statement.envelope });
  }

  #leave(statement: Statement): void {
    this.#bytes -= statement.envelope.length;
    if (isInSet(statement)) this.#components.index.delete(itemOf(statement));
    this.#unwritten.push({ type: 'del', key: rowKey(statement) });
    for (const listener of this.#listeners) listener.removed?.(statement);
  }

  #announce(statement: Statement, source: Source): void {
    for (const listener of this.#listeners) listener.accepted?.(statement, source);
  }

  #refuse<O extends Outcome & { verdict: 'ignore' | 'reject' | 'pending' }>(outcome: O, source: Source): O {
    if (outcome.verdict === 'reject') {
      for (const listener of this.#listeners) listener.refused?.(outcome as Outcome & { verdict: 'reject' }, source);
    }
    return outcome;
  }

  #soon(): void {
    if (this.#isFlushDue || this.#unwritten.length === 0) return;
    this.#isFlushDue = true;
    this.#components.clock.after(GROUP_MS, () => {
      this.#isFlushDue = false;
      this.flush().catch((error: unknown) => this.#components.log.error({ error }, 'statements cannot be written'));
    });
  }

  async #write(): Promise<void> {
    const writes = this.#unwritten;
    this.#unwritten = [];
    try {
      await this.#components.store.batch(writes, { sync: true });
    } catch (cause) {
      this.#failed = new MeshError(
        'read_only',
        'Cannot acknowledge statements: a write failed, restart the daemon',
        {},
        { cause },
      );
    }
    this.#writing = undefined;
  }
}

export const didOfOperation = ({ id, payload }: Statement<'didop/v1'>): string =>
  payload.op === 'genesis' ? didOfGenesis(id) : payload.iss;

/** What others may wait for that comes with this statement. */
function awaitedAs(statement: Statement): string[] {
  if (isOfKind(statement, 'didop/v1')) return [statement.id, didOfOperation(statement)];
  return isOfKind(statement, 'binding/v1') ? [originOf(statement.payload)] : [];
}

const isPrivate = (statement: Statement): boolean =>
  isOfKind(statement, 'delegation/v1') && statement.payload.pri === true;

const isInSet = (statement: Statement): boolean => kindRow(statement.t).topic !== undefined && !isPrivate(statement);

const itemOf = ({ epoch, digest }: Statement): { epoch: number; id: Uint8Array } => ({ epoch, id: digest });

function rowKey(statement: Statement): Uint8Array {
  if (!isInSet(statement)) return Uint8Array.of(PRIVATE, ...statement.digest);
  const key = new Uint8Array(1 + 4 + 32);
  key[0] = SET;
  new DataView(key.buffer).setUint32(1, statement.epoch);
  key.set(statement.digest, 5);
  return key;
}

function readRow(key: Uint8Array, value: Uint8Array): Statement {
  const row = toHex(key);
  try {
    const statement = parseStatement(ownBytes(value));
    if (equalBytes(rowKey(statement), key) && !isOfKind(statement, 'heartbeat/v1')) return statement;
  } catch (cause) {
    throw new MeshError(
      'store_corrupt',
      `Cannot read row "${row}" of the statement store: it holds no statement`,
      { id: row },
      { cause },
    );
  }
  throw new MeshError('store_corrupt', `Cannot read row "${row}" of the statement store: it holds another statement`, {
    id: row,
  });
}

/**
 * Bytes that nothing else shares: the parts of a statement are views, and a view keeps alive whatever it lies in, be it
 * a frame with hundreds of others that were refused.
 */
const ownBytes = (bytes: Uint8Array): Uint8Array =>
  bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);

function addTo<T>(lists: Map<string, T[]>, name: string, item: T): void {
  const list = lists.get(name);
  if (list === undefined) lists.set(name, [item]);
  else list.push(item);
}

function outcomeOf(error: unknown, statement?: Statement): Outcome & { verdict: 'ignore' | 'reject' } {
  if (!isMeshError(error)) throw error;
  const verdict = error.code === 'unknown_kind' ? 'ignore' : 'reject';
  return { verdict, code: error.code, message: error.message, ...(statement === undefined ? {} : { statement }) };
}
