/**
 * Writes into the daemon's log what the daemon does (SPEC "Audit entries"): entries signed by whoever acts. What grants
 * something is announced and durable before it is done; what is only seen is noted without anybody waiting for it, and
 * bounded, since strangers cause it.
 */
import { type ErrorCode, limits, MeshError } from '../../../protocol/index.ts';
import {
  type CommonData,
  createEntry,
  createUuid7,
  type EntryMembers,
  type EntryTypeName,
  type ParsedEntry,
  wireTypeOf,
} from '../../../protocol/log/index.ts';
import type { Clock, Logger, Random, Signer } from '../../ports.ts';
import { TokenBuckets } from '../token-buckets.ts';
import type { AppendOptions, AuditLog } from './audit-log.ts';
import { problemOf, type Settle } from './write-ahead.ts';

/** Who stands behind entries of this daemon. */
export interface EntryActors {
  /** The key that signs for it: one that the log itself has shown. Errors: key_missing. */
  signer(actor: string): Signer;
  /** The person who answers for it, where it is an agent. */
  principal(actor: string): string | undefined;
}

export interface RecorderComponents {
  readonly auditLog: Pick<AuditLog, 'append' | 'flush' | 'problem'>;
  readonly actors: EntryActors;
  /** Whose log it is. */
  readonly organisation: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Members that entries of every type may have, and where they differ from the usual. */
export type Details = Partial<Omit<CommonData, 'sig' | 'phase' | 'intent'>> & {
  /** What it is about: a DID, an id. */
  readonly subject?: string;
  /** A UUID of version 7; default: a new one. */
  readonly id?: string;
};
/** Of entries that say how something ended. */
export interface OfOutcome {
  readonly phase?: 'intent' | 'outcome';
  /** Id of the entry that announced it. */
  readonly intent?: string | undefined;
}
/** How an entry is written. */
export interface Writing {
  /** Shows who signs the others: does not wait while those are held back. */
  readonly isFirst?: boolean;
  /** Nobody waits for it. */
  readonly isPatient?: boolean;
}

export interface Recorded {
  readonly id: string;
  /** Leaf index. */
  readonly index: number;
}

/** Observations that others cause as often as they like: limited in rate, and what is left out is counted. */
const LIMITED = [
  'handshake.refused',
  'session.ended',
  'statement.rejected',
  'peer.bound',
  'peer.lost',
  'policy.diverged',
  'message.refused',
] as const;
type LimitedName = (typeof LIMITED)[number];
const isLimited = (type: EntryTypeName): type is LimitedName => LIMITED.some((name) => name === type);

export class Recorder {
  readonly #components: RecorderComponents;
  readonly #rates: TokenBuckets;
  /** Left out since the entry of this type before. */
  readonly #omitted = new Map<EntryTypeName, number>();
  /** Not on disk yet. */
  readonly #open = new Set<Promise<unknown>>();
  #notes = 0;
  /** Why notes fail, so that it is said once. */
  #failing: ErrorCode | undefined;
  /** Until this, only the first entries of a log are written. */
  #held: { readonly over: Promise<void>; readonly release: () => void; count: number } | undefined;
  #isClosed = false;

  constructor(components: RecorderComponents) {
    this.#components = components;
    this.#rates = new TokenBuckets(components.clock, {
      perSecond: limits.LOG_NOTES_PER_SECOND,
      burst: limits.LOG_NOTES_BURST,
    });
  }

  get organisation(): string {
    return this.#components.organisation;
  }

  /** Errors: log_halted, read_only. */
  verifyOpen(): void {
    const { problem } = this.#components.auditLog;
    if (problem !== undefined)
      throw new MeshError('log_halted', `Cannot grant anything: the audit log is halted, ${problem.message}`);
    if (this.#isClosed) throw closed();
  }

  /** Resolves once it is durable. Errors: log_halted, read_only, busy, conflict (the id is used), key_missing, schema. */
  async record<N extends EntryTypeName>(
    type: N,
    members: EntryMembers<N>,
    { phase = 'outcome', intent, isFirst, isPatient = false, ...details }: Details & Writing & OfOutcome = {},
  ): Promise<Recorded> {
    if (isFirst !== true && this.#held !== undefined) await this.#released();
    if (this.#isClosed) throw closed();
    const made = this.#create(type, members, { ...details, phase, ...(intent !== undefined && { intent }) });
    return { id: made.entry.id, index: await this.#append(made, { isPatient }) };
  }

  /** Writes that something is about to be done; whoever does it then says how it ended. Errors: as record. */
  async announce<N extends EntryTypeName>(type: N, members: EntryMembers<N>, details: Details = {}): Promise<Settle> {
    return (await this.announceAs(type, members, details)).settle;
  }

  /** As announce, and says which entry it is. */
  async announceAs<N extends EntryTypeName>(
    type: N,
    members: EntryMembers<N>,
    details: Details = {},
  ): Promise<Recorded & { readonly settle: Settle }> {
    const { id, index } = await this.record(type, members, { ...details, phase: 'intent' });
    const { actor, peer, session, subject } = details;
    const about = {
      ...(actor !== undefined && { actor }),
      ...(peer !== undefined && { peer }),
      ...(session !== undefined && { session }),
      ...(subject !== undefined && { subject }),
    };
    return { id, index, settle: (problem, found) => this.settle(id, about, problem, found) };
  }

  /**
   * Says how something ended that an entry announced, also one of an earlier run: `about` as it was announced. Sometime
   * soon; never throws.
   */
  settle(intent: string, about: Details, problem: MeshError | undefined, found: readonly string[] = []): void {
    const result = { code: problem?.code ?? ('ok' as const) }; // the sentence may quote what must be erasable
    const details = { ...about, phase: 'outcome', intent, result } as const;
    const members = found.length === 0 ? {} : { labels: found };
    this.#follow(this.#noted(() => this.#create('intent.settled', members, details)));
  }

  /** Writes what was seen, sometime soon, or counts it. Never throws. */
  note<N extends EntryTypeName>(type: N, members: EntryMembers<N>, details: Details = {}): void {
    if (this.#isClosed) return;
    if (this.#notes >= limits.LOG_NOTES_WAITING_MAX || (isLimited(type) && !this.#rates.take(type))) {
      this.#omit(type, 1);
      return;
    }
    const omitted = this.#omitted.get(type) ?? 0;
    this.#omitted.delete(type);
    const counted = isLimited(type) && omitted > 0 ? { ...members, omitted } : members;
    this.#notes += 1;
    const written = this.#noted(() => this.#create(type, counted, { ...details, phase: 'outcome' }))
      .then((isWritten) => {
        if (!isWritten || !isLimited(type)) this.#omit(type, isWritten ? omitted : omitted + 1);
      })
      .finally(() => {
        this.#notes -= 1;
      });
    this.#follow(written);
  }

  /** An entry that somebody else signed, whose key this log has shown. Errors: as record. */
  async append(entry: ParsedEntry): Promise<number> {
    if (this.#held !== undefined) await this.#released();
    if (this.#isClosed) throw closed();
    return this.#append(entry);
  }

  /**
   * Holds entries back while a new log is begun: before its first ones show whose keys sign the others, nobody could
   * verify those. Errors: of the work.
   */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    const { promise: over, resolve: release } = Promise.withResolvers<void>();
    const held = this.#held ?? { over, release, count: 0 };
    this.#held = held;
    held.count += 1;
    try {
      return await work();
    } finally {
      held.count -= 1;
      if (held.count === 0) {
        this.#held = undefined;
        held.release();
      }
    }
  }

  /** Writes that the daemon stops, with what no entry has counted yet; resolves when nothing is under way any more. */
  async close(reason?: string): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    while (this.#open.size > 0) {
      await this.#components.auditLog.flush();
      await Promise.all(this.#open);
    }
    const omitted = [...this.#omitted.values()].reduce((sum, count) => sum + count, 0);
    const members = { ...(reason !== undefined && { reason }), ...(omitted > 0 && { omitted }) };
    await this.#noted(() => this.#create('daemon.stopped', members, { phase: 'outcome' }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #create<N extends EntryTypeName>(
    type: N,
    members: object,
    { id, subject, actor = this.organisation, ...common }: Details & Pick<CommonData, 'phase' | 'intent'>,
  ): ParsedEntry {
    const { actors, clock, random } = this.#components;
    const timeMs = Math.floor(clock.nowMs());
    const principal = actors.principal(actor);
    return createEntry<string>(
      {
        id: id ?? createUuid7(timeMs, random.bytes(16)),
        source: this.organisation,
        timeMs,
        type: wireTypeOf(type),
        ...(subject !== undefined && { subject }),
        data: { actor, ...(principal !== undefined && { principal }), ...common, ...members },
      },
      actors.signer(actor),
    );
  }

  async #released(): Promise<void> {
    while (this.#held !== undefined) await this.#held.over;
  }

  async #append(entry: ParsedEntry, options?: AppendOptions): Promise<number> {
    const appended = this.#components.auditLog.append(entry, options);
    this.#follow(appended);
    return appended;
  }

  /** Whether it was written; why not is in the daemon's log, once for each reason in a row. */
  async #noted(make: () => ParsedEntry): Promise<boolean> {
    try {
      if (this.#held !== undefined) await this.#released();
      await this.#append(make(), { isPatient: !this.#isClosed });
      this.#failing = undefined;
      return true;
    } catch (error) {
      const { code, message } = problemOf(error);
      if (this.#failing !== code)
        this.#components.log.warn({ code, reason: message }, 'what was seen is not in the audit log');
      this.#failing = code;
      return false;
    }
  }

  #omit(type: EntryTypeName, count: number): void {
    if (count > 0) this.#omitted.set(type, (this.#omitted.get(type) ?? 0) + count);
  }

  #follow(work: Promise<unknown>): void {
    const over = work.then(
      () => {},
      () => {}, // whoever asked for it is told
    );
    this.#open.add(over);
    void over.then(() => this.#open.delete(over));
  }
}

const closed = (): MeshError =>
  new MeshError('read_only', 'Cannot record anything more: the daemon is stopping, and grants nothing');
