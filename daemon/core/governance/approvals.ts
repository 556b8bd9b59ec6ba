/**
 * What waits for a person (SPEC "Approvals"). An approval is for exactly what its digest says, by exactly so many of
 * those who may, until its time is over, and once. Each change is on disk before anybody is told of it.
 *
 * Who may approve is asked when they decide and again when the approval is used, of the configuration as it is then.
 * Only persons of did:mesh and did:keys can; an agent never. The person who answers for the agent may, like anybody
 * else whom the names stand for: where no names are given that is any sponsor, and whoever wants four eyes names others.
 */
import {
  fromHex,
  isMeshError,
  type IsSignatureValid,
  type JsonObject,
  keyOfDidKey,
  limits,
  MeshError,
  type MeshState,
  multikeyText,
  toHex,
} from '../../../protocol/index.ts';
import { type PendingApproval, type PolicyRef, verifyApproval } from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Random, Store, StoreWrite, Timer } from '../../ports.ts';
import { afterWritten, type Settle } from '../log/write-ahead.ts';
import { Serial } from '../serial.ts';
import { idOfRow, jsonRow, parseJsonRow, rowKey, rowRange } from './rows.ts';

/** `action`: something that an agent wants to do; `tool`: how a server defines its tools. */
export const APPROVAL_KINDS = ['action', 'tool'] as const;
export type ApprovalKind = (typeof APPROVAL_KINDS)[number];

export type ApprovalState = 'pending' | 'approved' | 'denied' | 'expired' | 'used';

/** What is approved, and by whom it must be: an approval given for less does not count for more. */
export interface ApprovalTerms {
  readonly kind: ApprovalKind;
  /** SHA-256, hex, of exactly what is approved (`approvalDigest`). */
  readonly digest: string;
  readonly agent: string;
  /** Names as the policy has them. Empty: any sponsor. */
  readonly approvers: readonly string[];
  readonly quorum: number;
}

export interface NewApproval extends ApprovalTerms {
  /** What the approver is shown: action, tool, server, arguments. Longer than APPROVAL_REQUEST_BYTES_MAX it is cut. */
  readonly request: JsonObject;
  readonly policy: PolicyRef;
  readonly rule: string | null;
  /** How long it is good for, waiting and approved together. */
  readonly expiresMs: number;
  /** Of the agent, where it is another than this daemon's: all of its agents together wait for as much as one. */
  readonly organisation?: string;
  /** What whoever asks wants back with it. */
  readonly detail?: JsonObject;
}

/** What one person says, with the signature by a key of their DID over `approvalMessage`. */
export interface GivenDecision {
  readonly approver: string;
  readonly decision: 'approve' | 'deny';
  readonly reason: string;
  /** RFC 3339, UTC. */
  readonly at: string;
  /** base64url */
  readonly signature: string;
}
export interface HeldDecision extends GivenDecision {
  /** The key that signed it, as text. */
  readonly key: string;
}

export interface Approval extends Omit<NewApproval, 'expiresMs'> {
  /** 8 random bytes, hex. */
  readonly id: string;
  readonly state: ApprovalState;
  readonly decisions: readonly HeldDecision[];
  readonly createdMs: number;
  readonly untilMs: number;
  /** When it was approved or denied. */
  readonly decidedMs: number | null;
}

/** An approval that nobody else can use any more. */
export interface TakenApproval {
  readonly approval: Approval;
  /** It was not needed after all: it can be taken again. */
  giveBack(): Promise<void>;
}

export interface ApprovalEvents {
  requested(approval: Approval): void;
  /** Waits no longer: approved, denied or expired. */
  decided(approval: Approval): void;
}

export interface ApprovalsComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly state: Pick<MeshState, 'didState' | 'revocationsOf'>;
  /** DIDs that names of a policy stand for in the operator's configuration as it is now; no names: the sponsors. */
  readonly resolveApprovers: (names: readonly string[]) => readonly string[];
  readonly isSignatureValid: IsSignatureValid;
  /** Writes that somebody decides so, and what that makes of the approval, before it counts. Errors: of the log. */
  readonly ahead: (approval: Approval, decision: HeldDecision) => Promise<Settle>;
  readonly events: ApprovalEvents;
}

export interface ApprovalsOptions {
  /** Default APPROVALS_PENDING_MAX. */
  readonly pendingMax?: number;
  /** Default APPROVALS_PENDING_AN_AGENT_MAX. */
  readonly pendingAnAgentMax?: number;
  /** Decided, used and expired ones that are remembered. Default APPROVALS_KEPT_MAX. */
  readonly keptMax?: number;
  /** After their end. Default APPROVALS_KEPT_MS. */
  readonly keepMs?: number;
}

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: until it is decided or expired. */
  readonly waitMs?: number | undefined;
}

interface Held {
  approval: Approval;
  /** One change after the other. */
  readonly changes: Serial;
  readonly waiting: Set<() => void>;
  timer: Timer | undefined;
}

export class Approvals {
  readonly #components: ApprovalsComponents;
  readonly #pendingMax: number;
  readonly #pendingAnAgentMax: number;
  readonly #keptMax: number;
  readonly #keepMs: number;
  /** In the order in which they were asked for. */
  readonly #held = new Map<string, Held>();
  /** The newest of the same terms. */
  readonly #byTerms = new Map<string, Held>();
  readonly #making = new Map<string, { readonly of: string; readonly made: Promise<Approval> }>();
  #isClosed = false;

  private constructor(components: ApprovalsComponents, options: ApprovalsOptions) {
    this.#components = components;
    this.#pendingMax = options.pendingMax ?? limits.APPROVALS_PENDING_MAX;
    this.#pendingAnAgentMax = options.pendingAnAgentMax ?? limits.APPROVALS_PENDING_AN_AGENT_MAX;
    this.#keptMax = options.keptMax ?? limits.APPROVALS_KEPT_MAX;
    this.#keepMs = options.keepMs ?? limits.APPROVALS_KEPT_MS;
  }

  /** With what waited when the daemon ended. Errors: store_corrupt. */
  static async open(components: ApprovalsComponents, options: ApprovalsOptions = {}): Promise<Approvals> {
    const approvals = new Approvals(components, options);
    const rows: Approval[] = [];
    for await (const [key, value] of components.store.range(...rowRange('approval'))) rows.push(readRow(key, value));
    rows.sort((a, b) => a.createdMs - b.createdMs);
    for (const approval of rows) approvals.#hold(approval);
    approvals.#prune();
    return approvals;
  }

  /** Newest first. Of one agent, if named; those that wait, unless all are asked for. */
  list({ agent, all = false }: { readonly agent?: string; readonly all?: boolean } = {}): Approval[] {
    return [...this.#held.values()]
      .map(({ approval }) => this.#asOfNow(approval))
      .filter((approval) => (all || approval.state === 'pending') && (agent === undefined || approval.agent === agent))
      .reverse();
  }

  /** Errors: not_found. */
  get(id: string): Approval {
    return this.#asOfNow(this.#find(id).approval);
  }

  /** Whom its names stand for now. */
  mayDecide({ approvers }: ApprovalTerms): readonly string[] {
    return this.#components.resolveApprovers(approvers).filter((did) => this.#keysOf(did).length > 0);
  }

  /**
   * Asks for an approval; on disk when it resolves. The same thing asked again while it waits, while an approval of it
   * is unused, or for a while after it was denied, is the same approval, so that nobody is worn down by asking.
   * Errors: busy, read_only, closed.
   */
  async request(wanted: NewApproval): Promise<{ readonly approval: Approval; readonly isNew: boolean }> {
    this.#verifyOpen();
    const terms = termsOf(wanted);
    const standing = this.#standing(terms);
    if (standing !== undefined) return { approval: standing, isNew: false };
    const making = this.#making.get(terms);
    if (making !== undefined) return { approval: await making.made, isNew: false };
    this.#verifyRoom(wanted);
    const made = this.#make(wanted);
    this.#making.set(terms, { of: askerOf(wanted), made });
    try {
      const approval = await made;
      this.#components.events.requested(approval);
      return { approval, isNew: true };
    } finally {
      this.#making.delete(terms);
    }
  }

  /** Resolves when it no longer waits, or as it is when the time is over. Errors: not_found, cancelled, closed. */
  async wait(id: string, { signal, waitMs }: WaitOptions = {}): Promise<Approval> {
    const held = this.#find(id);
    const { promise: over, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (this.#isClosed) reject(closed());
      else if (this.#asOfNow(held.approval).state !== 'pending') resolve();
    };
    const cancel = (): void =>
      reject(new MeshError('cancelled', `Cannot wait for approval "${id}": cancelled`, { id }));
    const timer = waitMs === undefined ? undefined : this.#components.clock.after(waitMs, resolve);
    signal?.addEventListener('abort', cancel);
    held.waiting.add(look);
    try {
      if (signal?.aborted === true) cancel();
      look();
      await over;
      return this.#asOfNow(held.approval);
    } finally {
      held.waiting.delete(look);
      signal?.removeEventListener('abort', cancel);
      timer?.cancel();
    }
  }

  /**
   * Takes one person's decision. One denial ends it; approvals count until there are enough of different people. In the
   * log and on disk when it resolves. Errors: not_found, conflict (it does not wait any more), expired, too_early,
   * forbidden, did_unknown, revoked, bad_signature, those of the log.
   */
  async decide(id: string, given: GivenDecision): Promise<Approval> {
    this.#verifyOpen();
    const held = this.#find(id);
    return held.changes.run(async () => {
      const before = this.#asOfNow(held.approval);
      if (before.decisions.some((one) => isSame(one, given))) return before; // whoever did not hear the answer asks again
      this.#verifyPending(before);
      const decision = this.#verify(before, given);
      const approval = this.#decided(before, decision);
      await afterWritten(this.#components.ahead(approval, decision), () => this.#write(held, approval));
      if (approval.state !== 'pending') this.#ended(held);
      return approval;
    });
  }

  /**
   * Uses up an approval of exactly these terms, where there is one: nobody gets it twice, not even after a crash. Those
   * who gave it must still be entitled. `also`: rows that are written with it, or not at all. Errors: read_only, closed.
   */
  async take(terms: ApprovalTerms, also: readonly StoreWrite[] = []): Promise<TakenApproval | undefined> {
    this.#verifyOpen();
    const held = this.#byTerms.get(termsOf(terms));
    if (held === undefined || held.approval.state !== 'approved') return undefined;
    return held.changes.run(async () => {
      const before = this.#asOfNow(held.approval);
      if (before.state !== 'approved' || !this.#isEnough(before)) return undefined;
      const approval: Approval = { ...before, state: 'used' };
      await this.#write(held, approval, also);
      return { approval, giveBack: () => this.#giveBack(held) };
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const held of this.#held.values()) {
      held.timer?.cancel();
      for (const look of held.waiting) look();
    }
    await Promise.all([...this.#held.values()].map(({ changes }) => changes.run(async () => {})));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Making

  async #make({ expiresMs, ...wanted }: NewApproval): Promise<Approval> {
    const { clock, random, store } = this.#components;
    const createdMs = Math.floor(clock.nowMs());
    const approval: Approval = {
      ...wanted,
      request: boundedRequest(wanted.request, limits.APPROVAL_REQUEST_BYTES_MAX),
      id: toHex(random.bytes(limits.APPROVAL_ID_BYTES)),
      state: 'pending',
      decisions: [],
      createdMs,
      untilMs: createdMs + expiresMs,
      decidedMs: null,
    };
    if (this.#held.has(approval.id))
      throw new MeshError('internal', `Cannot ask for an approval: id "${approval.id}" was drawn twice`);
    await store.batch([putRow(approval)], { sync: true });
    this.#hold(approval);
    this.#prune();
    return approval;
  }

  #hold(approval: Approval): void {
    const held: Held = { approval, changes: new Serial(), waiting: new Set(), timer: undefined };
    this.#held.set(approval.id, held);
    this.#byTerms.set(termsOf(approval), held);
    this.#arm(held);
  }

  /** What the same thing, asked again, joins. */
  #standing(terms: string): Approval | undefined {
    const held = this.#byTerms.get(terms);
    if (held === undefined) return undefined;
    const approval = this.#asOfNow(held.approval);
    if (approval.state === 'pending') return approval;
    if (approval.state === 'approved') return this.#isEnough(approval) ? approval : undefined;
    const isFresh = this.#components.clock.nowMs() < (approval.decidedMs ?? 0) + DENIED_STANDS_MS;
    return approval.state === 'denied' && isFresh ? approval : undefined;
  }

  /** Errors: busy. */
  #verifyRoom(wanted: NewApproval): void {
    const asker = askerOf(wanted);
    const pending = [...this.list().map(askerOf), ...[...this.#making.values()].map(({ of }) => of)];
    const own = pending.filter((did) => did === asker).length;
    const [is, want] =
      own >= this.#pendingAnAgentMax ? [own, this.#pendingAnAgentMax] : [pending.length, this.#pendingMax];
    if (is >= want)
      throw new MeshError('busy', `Cannot ask for an approval: ${is} wait already, want fewer than ${want}`, {
        did: asker,
        is,
        want,
      });
  }

  // Deciding

  /** Errors: conflict, expired. */
  #verifyPending({ id, state }: Approval): void {
    if (state === 'pending') return;
    throw new MeshError(
      state === 'expired' ? 'expired' : 'conflict',
      `Cannot decide approval "${id}": it is ${state} already`,
      { id, is: state, want: 'pending' },
    );
  }

  /** Errors: forbidden, did_unknown, revoked, too_early, bad_signature, malformed. */
  #verify(approval: Approval, given: GivenDecision): HeldDecision {
    const { id, approvers } = approval;
    const { approver, at } = given;
    if (!this.#components.resolveApprovers(approvers).includes(approver)) {
      const whom = approvers.length === 0 ? 'a sponsor' : `one of "${approvers.join('", "')}"`;
      throw new MeshError('forbidden', `Cannot decide approval "${id}" as "${approver}": want ${whom}`, {
        id,
        did: approver,
      });
    }
    const keys = this.#requireKeys(approver);
    if (Date.parse(at) > this.#components.clock.nowMs() + limits.SKEW_SECONDS * 1000)
      throw new MeshError('too_early', `Cannot decide approval "${id}": "${at}", when it is decided, is yet to come`, {
        id,
        at,
      });
    return { ...given, key: this.#signedBy(approval, given, keys) };
  }

  /** Errors: bad_signature, malformed. */
  #signedBy({ id, digest }: Approval, given: GivenDecision, keys: readonly Uint8Array[]): string {
    const { signature: sig, ...said } = given;
    for (const key of keys.map(multikeyText)) {
      try {
        verifyApproval({ id, digest, ...said, key, sig }, this.#components.isSignatureValid);
        return key;
      } catch (error) {
        if (!isMeshError(error) || error.code !== 'bad_signature') throw error; // another key may have signed it
      }
    }
    const did = given.approver;
    const message = `Cannot decide approval "${id}": no key of use "sign" that "${did}" has now signed this`;
    throw new MeshError('bad_signature', message, { id, did });
  }

  #decided(approval: Approval, decision: HeldDecision): Approval {
    const others = approval.decisions.filter(({ approver }) => approver !== decision.approver);
    const voted = { ...approval, decisions: [...others, decision] };
    const decided = { ...voted, decidedMs: Math.floor(this.#components.clock.nowMs()) };
    if (decision.decision === 'deny') return { ...decided, state: 'denied' };
    return this.#isEnough(voted) ? { ...decided, state: 'approved' } : voted;
  }

  /** Of those who approved, as many as it wants may still. */
  #isEnough(approval: Approval): boolean {
    const may = new Set(this.mayDecide(approval));
    const counted = approval.decisions.filter(({ approver, decision }) => decision === 'approve' && may.has(approver));
    return counted.length >= approval.quorum;
  }

  /** Keys with which this DID decides now: of a person those of use "sign" that are not revoked. */
  #keysOf(did: string): readonly Uint8Array[] {
    try {
      return this.#requireKeys(did);
    } catch (error) {
      if (isMeshError(error)) return []; // why not is for whoever tries to decide
      throw error;
    }
  }

  /** Errors: did_unknown, forbidden, revoked. */
  #requireKeys(did: string): readonly Uint8Array[] {
    const own = keyOfDidKey(did);
    if (own !== undefined) return [own];
    const { state } = this.#components;
    const person = state.didState(did);
    if (person === undefined)
      throw new MeshError('did_unknown', `Cannot let "${did}" approve: its log is not held`, { did });
    if (person.kind !== 'person')
      throw new MeshError('forbidden', `Cannot let "${did}" approve: it is no person`, { did, is: person.kind });
    const isRevokedBy = (target: { did: string; key?: Uint8Array }, issuers: readonly string[]): boolean =>
      state
        .revocationsOf(target.key === undefined ? { did } : { did, key: target.key }, issuers)
        .some(({ payload }) => issuers.includes(payload.iss));
    if (person.status !== 'active' || isRevokedBy({ did }, [person.organisation]))
      throw new MeshError('revoked', `Cannot let "${did}" approve: it is revoked or not active`, { did });
    return person.keys
      .filter(([key, uses]) => uses.includes('sign') && !isRevokedBy({ did, key }, [person.organisation, did]))
      .map(([key]) => key);
  }

  async #giveBack(held: Held): Promise<void> {
    await held.changes.run(async () => {
      if (held.approval.state === 'used') await this.#write(held, { ...held.approval, state: 'approved' });
    });
  }

  // Time and rows

  /** Shows only what is on disk. */
  async #write(held: Held, approval: Approval, also: readonly StoreWrite[] = []): Promise<void> {
    await this.#components.store.batch([putRow(approval), ...also], { sync: true });
    held.approval = approval;
    for (const look of held.waiting) look();
  }

  #asOfNow(approval: Approval): Approval {
    const isOver = this.#components.clock.nowMs() >= approval.untilMs;
    return isOver && isOpen(approval) ? { ...approval, state: 'expired' } : approval;
  }

  #arm(held: Held): void {
    if (!isOpen(held.approval) || this.#isClosed) return;
    const { clock, log } = this.#components;
    held.timer = clock.after(Math.max(0, held.approval.untilMs - clock.nowMs()), () => {
      this.#expire(held).catch((error: unknown) => log.error({ error }, 'an approval that expired cannot be written'));
    });
  }

  /** Whether its time is over is looked at whenever it matters; the row is for telling of it once. */
  async #expire(held: Held): Promise<void> {
    for (const look of held.waiting) look();
    await held.changes.run(async () => {
      if (this.#isClosed || !isOpen(held.approval)) return;
      const expired = this.#asOfNow(held.approval);
      if (expired.state !== 'expired') return this.#arm(held); // the wall clock was set back
      const wasPending = held.approval.state === 'pending';
      await this.#write(held, expired);
      if (wasPending) this.#ended(held); // of one that was approved and never used it is known
    });
  }

  #ended(held: Held): void {
    if (held.approval.state !== 'approved') held.timer?.cancel();
    this.#components.events.decided(held.approval);
    this.#prune();
  }

  /** Forgets what ended long ago, and of what ended the oldest beyond the bound. */
  #prune(): void {
    const nowMs = this.#components.clock.nowMs();
    const ended = [...this.#held.values()].filter(({ approval }) => !isOpen(this.#asOfNow(approval)));
    const tooMany = ended.slice(0, Math.max(0, ended.length - this.#keptMax));
    const tooOld = ended.filter(({ approval }) => approval.untilMs + this.#keepMs <= nowMs);
    const gone = new Set([...tooMany, ...tooOld]);
    if (gone.size === 0) return;
    for (const held of gone) this.#forget(held);
    const writes = [...gone].map(({ approval }): StoreWrite => ({ type: 'del', key: keyOf(approval) }));
    const { store, log } = this.#components;
    store
      .batch(writes, { sync: false })
      .catch((error: unknown) => log.warn({ error }, 'old approvals cannot be removed'));
  }

  #forget(held: Held): void {
    held.timer?.cancel();
    this.#held.delete(held.approval.id);
    const terms = termsOf(held.approval);
    if (this.#byTerms.get(terms) === held) this.#byTerms.delete(terms);
  }

  #find(id: string): Held {
    const held = this.#held.get(id);
    if (held !== undefined) return held;
    throw new MeshError('not_found', `Cannot find approval "${id}": there is none, or it was long ago`, { id });
  }

  #verifyOpen(): void {
    if (this.#isClosed) throw closed();
  }
}

/** As whoever waits for it is told. */
export const pendingApproval = ({ id, approvers, quorum, untilMs }: Approval): PendingApproval => ({
  id,
  approvers,
  quorum,
  expiresAt: new Date(untilMs).toISOString(),
});

/**
 * What an approver reads, in at most so many bytes of JSON. Long texts in it are cut first, since they seldom tell what
 * is done; where that does not suffice the whole is shown as the beginning of its JSON.
 */
export function boundedRequest(request: JsonObject, bytesMax: number): JsonObject {
  const bytes = bytesOf(request);
  if (bytes <= bytesMax) return request;
  const short = JSON.parse(JSON.stringify(request, cutText)) as JsonObject;
  if (bytesOf(short) <= bytesMax) return short;
  const text = JSON.stringify(short);
  let shown = text.slice(0, bytesMax / 2); // quoted once more, a letter takes two bytes as a rule
  while (bytesOf({ cut: shown, bytes }) > bytesMax) shown = shown.slice(0, Math.floor(shown.length * 0.75));
  return { cut: shown.toWellFormed(), bytes };
}

const CUT_TEXT_MAX = 512; // a path, a command, a sentence

function cutText(_name: string, value: unknown): unknown {
  if (typeof value !== 'string' || value.length <= CUT_TEXT_MAX) return value;
  const half = CUT_TEXT_MAX / 2;
  const left = value.length - CUT_TEXT_MAX;
  return `${value.slice(0, half)}… (${left} characters are not shown) …${value.slice(-half)}`.toWellFormed();
}

const bytesOf = (value: object): number => jsonRow(value).length;

const isOpen = ({ state }: Approval): boolean => state === 'pending' || state === 'approved';

const DENIED_STANDS_MS = 60_000; // a model tries again within seconds; a person who thinks again waits no longer

const isSame = (a: GivenDecision, b: GivenDecision): boolean =>
  a.approver === b.approver && a.decision === b.decision && a.at === b.at && a.signature === b.signature;

const termsOf = ({ kind, digest, agent, approvers, quorum }: ApprovalTerms): string =>
  JSON.stringify([kind, digest, agent, [...approvers].sort(), quorum]);

/** Whose waiting approvals are counted together. */
const askerOf = ({ agent, organisation = agent }: Pick<NewApproval, 'agent' | 'organisation'>): string => organisation;

const putRow = (approval: Approval): StoreWrite => ({ type: 'put', key: keyOf(approval), value: jsonRow(approval) });

function keyOf({ id }: Approval): Uint8Array {
  const bytes = fromHex(id);
  if (bytes === undefined) throw new MeshError('internal', `Cannot name a row: "${id}" is no id`);
  return rowKey('approval', bytes);
}

function readRow(key: Uint8Array, value: Uint8Array): Approval {
  const row = parseJsonRow('approval', value) as Approval;
  const id = toHex(idOfRow(key));
  if (row.id !== id)
    throw new MeshError('store_corrupt', `Cannot read approval "${id}": its row is of another`, { id });
  return row;
}

const closed = (): MeshError => new MeshError('closed', 'Cannot take approvals any more: the daemon is stopping');
