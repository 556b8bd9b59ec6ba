/**
 * Has the own log watched: releases checkpoints and gets them cosigned (SPEC "Witness protocol over libp2p").
 *
 * Releasing is what cannot be taken back: whoever has seen two released checkpoints that contradict each other holds a
 * proof against this organisation. A database that was restored from an old copy would make them, so before the first
 * release of a run the witnesses are asked what they have cosigned, and what they show stops the log.
 */
import { equalBytes, type IsSignatureValid, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import {
  type Checkpoint,
  formatAddCheckpoint,
  formatNote,
  formatVkey,
  type Note,
  type NoteSignature,
  parseCheckpoint,
  parseCosignatures,
  parseTreeSize,
  type Policy,
  type SignedCheckpoint,
  TREE_SIZE_CONTENT_TYPE,
  type VerifiedSignature,
  verifyNote,
  type Vkey,
} from '../../../protocol/log/index.ts';
import type { Clock, Logger, Timer } from '../../ports.ts';
import type { AuditLog } from './audit-log.ts';
import type { TlogAnswer } from './tlog-stream.ts';
import { defaultPolicy, type OperatedWitness, quorumSize, type WitnessOperator } from './witness-policy.ts';
import type { WitnessEndpoint } from './witness-stream.ts';

export interface CosigningComponents {
  readonly auditLog: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  /** Who witnesses this log. Asked again only after `changed()`. */
  readonly operators: () => readonly WitnessOperator[];
  /** Undefined: it cannot be reached now. */
  readonly endpointOf: (witness: OperatedWitness, operator: WitnessOperator) => WitnessEndpoint | undefined;
  /** A checkpoint was released. */
  readonly onReleased?: (signed: SignedCheckpoint) => void;
}

export interface CosigningOptions {
  /** Operators whose cosignatures make a quorum. Default: quorumSize of those known. */
  readonly quorum?: number;
  /** Between releases that nobody waits for, while the log grows. Default COSIGNING_RELEASE_MS. */
  readonly releaseMs?: number;
  /** Between cosignatures of a log that does not grow. Default COSIGNING_REFRESH_MS. */
  readonly refreshMs?: number;
  /** For one witness's answer. Default TLOG_ANSWER_MS. */
  readonly answerMs?: number;
  /** How long to wait for a witness that cosigned before, until any other will do. Default COSIGNING_CONFIRM_MS. */
  readonly confirmMs?: number;
}

export interface WitnessStatusRow {
  /** Null: configured by its key. */
  readonly did: string | null;
  readonly name: string;
  /** Largest tree that it is known to have cosigned; null: not known yet. */
  readonly treeSize: number | null;
  /** When it says that it did so last, by its own clock. */
  readonly timeSeconds: number | null;
  readonly isReachable: boolean;
  /** Why the last try failed. */
  readonly error: string | null;
}

export interface CosigningStatus {
  /** False: nothing is released before a witness has shown what it knows. */
  readonly isConfirmed: boolean;
  readonly operators: number;
  /** Undefined: more are asked for than there are operators. */
  readonly quorum: number | undefined;
  /** Newest checkpoint with a quorum in this run. */
  readonly witnessed: { readonly treeSize: number; readonly operators: number } | null;
  readonly witnesses: readonly WitnessStatusRow[];
}

interface Watcher {
  readonly key: string;
  readonly did: string | null;
  readonly vkey: Vkey;
  /** What it cosigned last, as it said; undefined: not asked yet in this run. */
  treeSize: number | undefined;
  timeSeconds: number | undefined;
  error: string | undefined;
  isBusy: boolean;
  /** The pass that it is busy with, and the last that it has finished. */
  askedPass: number;
  donePass: number;
  failures: number;
  retryMs: number;
}

interface Waiter {
  readonly treeSize: number;
  readonly count: number;
  readonly resolve: (signed: SignedCheckpoint) => void;
  readonly reject: (error: Error) => void;
}

interface Witnessed {
  readonly signed: SignedCheckpoint;
  readonly lines: Map<string, VerifiedSignature>;
}

const RECENT_MAX = 8; // released checkpoints whose cosignatures still come in
const RETRY_MS = 1_000; // doubled with each failure
const RETRY_MS_MAX = 60_000; // a witness that is back is asked within a minute
const CHANGED_MS = 200; // many bindings come at once

export class Cosigning implements AsyncDisposable {
  readonly #components: CosigningComponents;
  readonly #options: Required<Omit<CosigningOptions, 'quorum'>> & { readonly quorum: number | undefined };
  readonly #watchers = new Map<string, Watcher>();
  readonly #recent = new Map<number, Witnessed>();
  readonly #waiters = new Set<Waiter>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  /** Keys that cosigned what was released before this run. */
  #earlier = new Set<string>();
  #isConfirmed = false;
  #hasAnswer = false;
  #startedMs: number | undefined;
  #operators: readonly WitnessOperator[] | undefined;
  #target: SignedCheckpoint | undefined;
  #pass = 0;
  #passMs = 0;
  #releaseMs = Number.NEGATIVE_INFINITY;
  #isReleasing = false;
  #isReleaseScheduled = false;
  #isDue = false;
  #timer: Timer | undefined;
  #changed: Timer | undefined;

  constructor(components: CosigningComponents, options: CosigningOptions = {}) {
    this.#components = components;
    this.#options = {
      releaseMs: limits.COSIGNING_RELEASE_MS,
      refreshMs: limits.COSIGNING_REFRESH_MS,
      answerMs: limits.TLOG_ANSWER_MS,
      confirmMs: limits.COSIGNING_CONFIRM_MS,
      quorum: undefined,
      ...options,
    };
  }

  /** Begins to release. Call once handlers and peers are there. */
  start(): void {
    const { auditLog, clock } = this.#components;
    const before = auditLog.released();
    // What was released last may not have been cosigned any more, or have come back from a copy without these lines.
    const lines = [before, auditLog.cosigned()].flatMap((signed) => signed?.note.signatures ?? []);
    this.#earlier = new Set(lines.map(({ name }) => name).filter((name) => name !== auditLog.vkey.name));
    // A later log may have been begun before, in a copy of this home: then witnesses know that one.
    const isFirst = before === undefined && auditLog.generation === 0;
    this.#isConfirmed = isFirst || (this.#earlier.size === 0 && this.#known().length === 0);
    this.#startedMs = clock.monotonicMs();
    auditLog.onGrown(() => {
      // Where a release is due already there is nothing to look for: a log may grow by hundreds of batches a second.
      if (!this.#isReleaseScheduled || this.#waiters.size > 0) this.#soon();
    });
    this.#soon();
  }

  async close(): Promise<void> {
    this.#stop.abort(stopped());
    this.#timer?.cancel();
    this.#changed?.cancel();
    for (const { reject } of this.#waiters) reject(stopped());
    this.#waiters.clear();
    await Promise.all(this.#underWay);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Bindings, convictions or connections changed: other witnesses may be asked. */
  changed(): void {
    this.#operators = undefined;
    if (this.#stop.signal.aborted) return;
    this.#changed ??= this.#components.clock.after(CHANGED_MS, () => {
      this.#changed = undefined;
      this.#consider();
    });
  }

  /**
   * A released checkpoint of at least `treeSize` that at least `count` operators (default: the quorum) cosigned, with
   * their lines. Releases one at once if need be. Errors: quorum (not as many operators are known), busy, log_halted,
   * read_only, cancelled.
   */
  async witnessed(
    treeSize: number,
    count?: number,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<SignedCheckpoint> {
    const want = count ?? this.#options.quorum ?? quorumSize(this.#known().length);
    this.#verifyMayWait(treeSize, want, signal);
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#waiters.delete(waiter);
        signal?.removeEventListener('abort', cancel);
      };
      const waiter: Waiter = {
        treeSize,
        count: want,
        resolve: (signed) => {
          settle();
          resolve(signed);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const cancel = (): void => waiter.reject(cancelled());
      signal?.addEventListener('abort', cancel, { once: true });
      this.#waiters.add(waiter);
      this.#soon();
    });
  }

  /** Of the operators that are known now. Errors: quorum. */
  policy(): Policy {
    return defaultPolicy(this.#components.auditLog.vkey, this.#known(), this.#options.quorum);
  }

  /** False: nothing is released before a witness has shown what it knows. */
  get isConfirmed(): boolean {
    return this.#isConfirmed;
  }

  /** Whether all that is held here may be an older copy of what was: nobody has been asked yet, or has answered in time. */
  get mayBeOld(): boolean {
    return !this.#isConfirmed && this.#waitedMs() < this.#options.confirmMs;
  }

  status(): CosigningStatus {
    const quorum = this.#quorum();
    const rows = this.#known().flatMap((operator) =>
      operator.witnesses.map((witness): WitnessStatusRow => {
        const watcher = this.#watchers.get(formatVkey(witness.vkey));
        return {
          did: operator.did,
          name: witness.vkey.name,
          treeSize: watcher?.treeSize ?? null,
          timeSeconds: watcher?.timeSeconds ?? null,
          isReachable: this.#components.endpointOf(witness, operator) !== undefined,
          error: watcher?.error ?? null,
        };
      }),
    );
    const met = [...this.#recent.values()]
      .filter((each) => quorum !== undefined && this.#countOf(each) >= quorum)
      .at(-1);
    return {
      isConfirmed: this.#isConfirmed,
      operators: this.#known().length,
      quorum,
      witnessed: met === undefined ? null : { treeSize: met.signed.checkpoint.treeSize, operators: this.#countOf(met) },
      witnesses: rows,
    };
  }

  // Who

  #known(): readonly WitnessOperator[] {
    this.#operators ??= this.#components.operators();
    return this.#operators;
  }

  /** Undefined: it cannot be met. */
  #quorum(): number | undefined {
    const known = this.#known().length;
    const want = this.#options.quorum ?? quorumSize(known);
    return want > known ? undefined : want;
  }

  #verifyMayWait(treeSize: number, count: number, signal: AbortSignal | undefined): void {
    const { auditLog } = this.#components;
    if (signal?.aborted === true || this.#stop.signal.aborted) throw cancelled();
    if (auditLog.problem !== undefined) throw halted(auditLog.problem.message);
    const known = this.#known().length;
    if (count > known)
      throw new MeshError(
        'quorum',
        `Cannot have a checkpoint witnessed by ${count}: operators of witnesses known are ${known}`,
        { is: known, want: count },
      );
    if (treeSize > auditLog.treeSize)
      throw new MeshError(
        'not_found',
        `Cannot have a checkpoint of ${treeSize} witnessed: the log has ${auditLog.treeSize} entries`,
        { is: auditLog.treeSize, want: treeSize },
      );
    if (this.#waiters.size >= limits.COSIGNING_WAITERS_MAX)
      throw new MeshError('busy', `Cannot wait for witnesses: ${this.#waiters.size} others do`);
  }

  #countOf({ lines }: Witnessed): number {
    return this.#known().filter(({ witnesses }) => witnesses.some(({ vkey }) => lines.has(formatVkey(vkey)))).length;
  }

  // When

  /** Once for all that happens in one turn. */
  #soon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#consider();
    });
  }

  /** Does what is due now, and sets the timer for what is due next. */
  #consider(): void {
    const { auditLog, clock } = this.#components;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isReleaseScheduled = false;
    if (this.#stop.signal.aborted || this.#startedMs === undefined) return;
    if (auditLog.problem !== undefined) return this.#rejectAll(halted(auditLog.problem.message));
    this.#resolveMet();
    this.#confirmLate();
    const nowMs = clock.monotonicMs();
    if (this.#isConfirmed && !this.#isInFlight() && auditLog.treeSize > 0 && this.#dueMs(nowMs) <= nowMs)
      return this.#background(this.#startPass());
    this.#askAll(nowMs);
    this.#schedule(nowMs);
  }

  #schedule(nowMs: number): void {
    const retries = [...this.#reachable()].filter(({ watcher }) => !watcher.isBusy && this.#wants(watcher));
    const times = retries.map(({ watcher }) => watcher.retryMs);
    if (!this.#isConfirmed) times.push(nowMs - this.#waitedMs() + this.#options.confirmMs);
    else if (!this.#isInFlight()) times.push(this.#dueMs(nowMs));
    this.#isReleaseScheduled = this.#isConfirmed && !this.#isInFlight() && this.#isGrown();
    const nextMs = Math.min(...times.filter((ms) => ms > nowMs));
    if (Number.isFinite(nextMs)) this.#timer = this.#components.clock.after(nextMs - nowMs, () => this.#consider());
  }

  /** When the next pass begins, if none is in flight. */
  #dueMs(nowMs: number): number {
    const size = this.#target?.checkpoint.treeSize;
    if (size === undefined || [...this.#waiters].some((waiter) => waiter.treeSize > size)) return nowMs;
    return this.#isGrown() ? this.#releaseMs + this.#options.releaseMs : this.#passMs + this.#options.refreshMs;
  }

  #isGrown(): boolean {
    return this.#components.auditLog.treeSize > (this.#target?.checkpoint.treeSize ?? 0);
  }

  /** A pass is over when all who were asked have answered, or enough have. */
  #isInFlight(): boolean {
    if (this.#isReleasing) return true;
    const isAwaited = [...this.#watchers.values()].some(({ isBusy, askedPass }) => isBusy && askedPass === this.#pass);
    if (!isAwaited || this.#target === undefined) return false;
    const { treeSize } = this.#target.checkpoint;
    const wanted = [...this.#waiters].filter((waiter) => waiter.treeSize <= treeSize).map(({ count }) => count);
    const record = this.#recent.get(treeSize);
    return record === undefined || this.#countOf(record) < Math.max(this.#quorum() ?? 0, ...wanted);
  }

  async #startPass(): Promise<void> {
    const { auditLog, clock, onReleased, log } = this.#components;
    this.#isReleasing = true;
    try {
      const held = auditLog.released();
      const isNew = held === undefined || auditLog.treeSize > held.checkpoint.treeSize;
      const signed = isNew ? await auditLog.release() : held;
      this.#target = withoutCosignatures(signed, auditLog.vkey);
      this.#pass += 1;
      this.#passMs = clock.monotonicMs();
      if (isNew) this.#releaseMs = this.#passMs;
      this.#record(this.#target);
      this.#forgetWatchers();
      onReleased?.(this.#target);
    } catch (error) {
      // A log that cannot release says why itself; whoever waits is told.
      if (!isMeshError(error)) log.error({ error }, 'a checkpoint could not be released');
      this.#rejectAll(error instanceof Error ? error : faulty(error));
      this.#releaseMs = this.#passMs = clock.monotonicMs();
      this.#target ??= auditLog.released();
      if (this.#target === undefined) return; // asked again when the log grows
    } finally {
      this.#isReleasing = false;
    }
    this.#consider();
  }

  #record(signed: SignedCheckpoint): Witnessed {
    const { treeSize } = signed.checkpoint;
    const record = this.#recent.get(treeSize) ?? { signed, lines: new Map<string, VerifiedSignature>() };
    this.#recent.set(treeSize, record);
    for (const size of this.#recent.keys()) {
      if (this.#recent.size <= RECENT_MAX) break;
      this.#recent.delete(size);
    }
    return record;
  }

  // Asking

  *#reachable(): Generator<{ readonly watcher: Watcher; readonly endpoint: WitnessEndpoint }> {
    for (const operator of this.#known()) {
      for (const witness of operator.witnesses) {
        const endpoint = this.#components.endpointOf(witness, operator);
        if (endpoint !== undefined) yield { watcher: this.#watcherOf(witness, operator), endpoint };
      }
    }
  }

  #watcherOf({ vkey }: OperatedWitness, { did }: WitnessOperator): Watcher {
    const key = formatVkey(vkey);
    const held = this.#watchers.get(key);
    if (held !== undefined) return held;
    const watcher: Watcher = {
      key,
      did,
      vkey,
      treeSize: undefined,
      timeSeconds: undefined,
      error: undefined,
      isBusy: false,
      askedPass: 0,
      donePass: 0,
      failures: 0,
      retryMs: 0,
    };
    this.#watchers.set(key, watcher);
    return watcher;
  }

  #forgetWatchers(): void {
    const known = new Set(this.#known().flatMap(({ witnesses }) => witnesses.map(({ vkey }) => formatVkey(vkey))));
    for (const [key, { isBusy }] of this.#watchers) if (!isBusy && !known.has(key)) this.#watchers.delete(key);
  }

  /** Whether there is something to ask of it. */
  #wants({ treeSize, donePass }: Watcher): boolean {
    return this.#isConfirmed ? donePass < this.#pass : treeSize === undefined;
  }

  #askAll(nowMs: number): void {
    for (const { watcher, endpoint } of this.#reachable()) {
      if (watcher.isBusy || !this.#wants(watcher) || watcher.retryMs > nowMs) continue;
      watcher.isBusy = true;
      watcher.askedPass = this.#pass;
      this.#background(this.#ask(watcher, endpoint));
    }
  }

  async #ask(watcher: Watcher, endpoint: WitnessEndpoint): Promise<void> {
    const { clock, log } = this.#components;
    try {
      if (watcher.treeSize === undefined) await this.#meet(watcher, endpoint);
      if (this.#isConfirmed && this.#target !== undefined) {
        watcher.askedPass = this.#pass; // another may have begun meanwhile
        await this.#submit(watcher, endpoint, this.#target);
        watcher.donePass = watcher.askedPass;
      }
      watcher.failures = 0;
      watcher.error = undefined;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const cause = isMeshError(error) ? error : faulty(error);
      watcher.failures += 1;
      watcher.retryMs = clock.monotonicMs() + Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (watcher.failures - 1));
      watcher.error = cause.message;
      const facts = { witness: watcher.vkey.name, did: watcher.did, code: cause.code, reason: cause.message };
      if (cause.code === 'internal') log.error({ ...facts, error }, 'a witness was not asked');
      else log.debug(facts, 'a witness did not cosign');
    } finally {
      watcher.isBusy = false;
    }
    this.#consider();
  }

  /** The first contact of a run: what it has cosigned must be what is held here. */
  async #meet(watcher: Watcher, endpoint: WitnessEndpoint): Promise<void> {
    const shown = await this.#shownBy(watcher, endpoint);
    if (shown === 'contradiction') throw halted(this.#components.auditLog.problem?.message ?? '');
    this.#hasAnswer = true;
    watcher.treeSize = shown?.treeSize ?? 0;
    const knows = shown !== undefined && this.#earlier.has(watcher.vkey.name);
    if (knows || this.#earlier.size === 0) this.#isConfirmed = true;
    this.#confirmLate();
  }

  /** Whoever cosigned before may be gone for good: then anybody's answer is better than none for ever. */
  #confirmLate(): void {
    const mayBeAlone = this.#earlier.size === 0; // nobody ever cosigned it: there may be nobody to ask
    if (this.#waitedMs() >= this.#options.confirmMs && (this.#hasAnswer || mayBeAlone)) this.#isConfirmed = true;
  }

  #waitedMs(): number {
    return this.#startedMs === undefined ? 0 : this.#components.clock.monotonicMs() - this.#startedMs;
  }

  /**
   * What it shows of this log, compared with what is held here; undefined: nothing. A checkpoint that this log's key
   * signed and that is not in this tree stops the log: signing on would be the second history.
   */
  async #shownBy(watcher: Watcher, endpoint: WitnessEndpoint): Promise<Checkpoint | 'contradiction' | undefined> {
    const { auditLog, isSignatureValid } = this.#components;
    const answer = await this.#within((signal) => endpoint.readCheckpoint(auditLog.origin, signal));
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw unexpected(watcher, answer);
    const { checkpoint, note } = parseCheckpoint(answer.body);
    // Without this key's signature it is the witness's word alone, and stops nothing.
    verifyNote(note, [auditLog.vkey], isSignatureValid);
    if (checkpoint.origin !== auditLog.origin) throw unexpected(watcher, answer);
    const { treeSize, root } = checkpoint;
    if (treeSize > auditLog.treeSize) {
      this.#halt(watcher, note, `it cosigned a tree of ${treeSize} entries, and ${auditLog.treeSize} are held here`);
      return 'contradiction';
    }
    if (!equalBytes(await auditLog.files.rootAt(treeSize), root)) {
      this.#halt(watcher, note, `it cosigned another tree of ${treeSize} entries than the one held here`);
      return 'contradiction';
    }
    return checkpoint;
  }

  #halt(watcher: Watcher, shown: Note, why: string): void {
    const { auditLog, log } = this.#components;
    const message = `Cannot go on with log "${auditLog.origin}": of witness "${watcher.vkey.name}": ${why}`;
    log.error({ witness: watcher.vkey.name, did: watcher.did, reason: why }, 'the audit log is halted');
    const signatures = shown.signatures.filter(({ name }) => name === auditLog.vkey.name);
    const note = formatNote({ ...shown, signatures });
    auditLog.halt({ code: 'log_halted', message, place: `witness ${watcher.vkey.name}`, note });
    this.#rejectAll(halted(message));
  }

  async #submit(watcher: Watcher, endpoint: WitnessEndpoint, signed: SignedCheckpoint): Promise<void> {
    const { treeSize } = signed.checkpoint;
    const first = await this.#offer(watcher, endpoint, signed);
    const told = sizeTold(first);
    // Once more from where it says that it is; what it then answers is final.
    const answer =
      told === undefined || !(await this.#isAcceptable(watcher, endpoint, told, treeSize))
        ? first
        : await this.#offer(watcher, endpoint, signed);
    if (answer.status === 200) return this.#take(watcher, answer, signed);
    if (answer === first && told !== undefined) return; // it has cosigned a later one already
    if (answer.status === 409 || answer.status === 422) {
      watcher.treeSize = undefined; // compared again before it is asked again
      if ((await this.#shownBy(watcher, endpoint)) === 'contradiction')
        throw halted(this.#components.auditLog.problem?.message ?? '');
    }
    throw unexpected(watcher, answer);
  }

  async #offer(watcher: Watcher, endpoint: WitnessEndpoint, signed: SignedCheckpoint): Promise<TlogAnswer> {
    const { auditLog } = this.#components;
    const { treeSize } = signed.checkpoint;
    const oldSize = Math.min(watcher.treeSize ?? 0, treeSize);
    const proof = oldSize === 0 || oldSize === treeSize ? [] : await auditLog.files.proveConsistency(oldSize, treeSize);
    const body = formatAddCheckpoint({ oldSize, proof, signed });
    return this.#within((signal) => endpoint.addCheckpoint(body, signal));
  }

  /** Whether to offer the checkpoint again from the size that it said; no: it has a later one. */
  async #isAcceptable(watcher: Watcher, endpoint: WitnessEndpoint, told: number, treeSize: number): Promise<boolean> {
    const { auditLog } = this.#components;
    if (told > auditLog.treeSize) {
      // Its word alone stops nothing, whoever it is: it may lie, or be asked about another log of that name.
      if ((await this.#shownBy(watcher, endpoint)) !== 'contradiction') throw claimed(watcher, told, auditLog.treeSize);
      throw halted(auditLog.problem?.message ?? '');
    }
    watcher.treeSize = told;
    return told <= treeSize;
  }

  /** Only lines by this witness that verify; others may come along and are none of its business. */
  async #take(watcher: Watcher, answer: TlogAnswer, signed: SignedCheckpoint): Promise<void> {
    const { auditLog, isSignatureValid } = this.#components;
    const note = { text: signed.note.text, signatures: parseCosignatures(answer.body) };
    const [verified] = verifyNote(note, [watcher.vkey], isSignatureValid);
    if (verified === undefined) throw unexpected(watcher, answer);
    const { treeSize } = signed.checkpoint;
    watcher.treeSize = treeSize;
    watcher.timeSeconds = verified.timeSeconds;
    await auditLog.addCosignatures(treeSize, [verified.line]);
    this.#recent.get(treeSize)?.lines.set(watcher.key, verified);
  }

  // Waiting

  #resolveMet(): void {
    if (this.#waiters.size === 0) return;
    const counted = [...this.#recent.values()].map((record) => ({ record, count: this.#countOf(record) }));
    for (const waiter of this.#waiters) {
      const met = counted.find(
        ({ record, count }) => record.signed.checkpoint.treeSize >= waiter.treeSize && count >= waiter.count,
      );
      if (met !== undefined) waiter.resolve(withLines(met.record));
    }
  }

  #rejectAll(error: Error): void {
    for (const { reject } of this.#waiters) reject(error);
  }

  /** Errors: timeout, cancelled, and those of the work. */
  async #within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { answerMs } = this.#options;
    const late = new AbortController();
    const timer = this.#components.clock.after(answerMs, () =>
      late.abort(new MeshError('timeout', `Cannot have a checkpoint cosigned: no answer within ${answerMs} ms`)),
    );
    try {
      return await work(AbortSignal.any([late.signal, this.#stop.signal]));
    } catch (error) {
      throw late.signal.aborted ? late.signal.reason : error;
    } finally {
      timer.cancel();
    }
  }

  #background(work: Promise<void>): void {
    const guarded = work.catch((error: unknown) => {
      this.#components.log.error({ error }, 'cosigning failed by a fault of this program');
    });
    this.#underWay.add(guarded);
    void guarded.finally(() => this.#underWay.delete(guarded));
  }
}

/** As it is submitted: no witness needs the others' lines, and each costs it a look. */
function withoutCosignatures({ checkpoint, note }: SignedCheckpoint, log: Vkey): SignedCheckpoint {
  return { checkpoint, note: { text: note.text, signatures: note.signatures.filter(({ name }) => name === log.name) } };
}

function withLines({ signed, lines }: Witnessed): SignedCheckpoint {
  const added: NoteSignature[] = [...lines.values()].map(({ line }) => line);
  return { ...signed, note: { text: signed.note.text, signatures: [...signed.note.signatures, ...added] } };
}

/** Of a 409 with a size; one without is how older witnesses say 422. Errors: malformed. */
function sizeTold({ status, contentType, body }: TlogAnswer): number | undefined {
  return status === 409 && contentType.split(';')[0] === TREE_SIZE_CONTENT_TYPE ? parseTreeSize(body) : undefined;
}

function unexpected({ vkey }: Watcher, { status, body }: TlogAnswer): MeshError {
  const said = new TextDecoder().decode(body.subarray(0, 200)).trim();
  const code = status === 429 ? 'busy' : status === 403 || status === 404 ? 'forbidden' : 'conflict';
  return new MeshError(code, `Cannot have a checkpoint cosigned by "${vkey.name}": it answered ${status} "${said}"`, {
    is: status,
    want: 200,
  });
}

const claimed = ({ vkey }: Watcher, told: number, held: number): MeshError =>
  new MeshError(
    'conflict',
    `Cannot have a checkpoint cosigned by "${vkey.name}": it says that it cosigned ${told} entries, of which ${held} are held, and shows nothing`,
    { is: told, want: held },
  );
const faulty = (cause: unknown): MeshError =>
  new MeshError('internal', 'Cannot have a checkpoint cosigned: a fault of this program', {}, { cause });
const halted = (message: string): MeshError => new MeshError('log_halted', message);
const stopped = (): MeshError => new MeshError('cancelled', 'Cannot wait for witnesses: the daemon is stopping');
const cancelled = (): MeshError => new MeshError('cancelled', 'Cannot wait for witnesses: cancelled');
