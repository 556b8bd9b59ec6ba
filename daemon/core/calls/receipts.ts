/**
 * Receipts of calls, each side's own copy (SPEC "Receipts"): what was signed, the salts of its commitments, and what
 * shows others whose keys signed. The log has an entry for each, which holds the receipt itself; so what is dropped here
 * to make room is not lost, only harder to show.
 *
 * A row is written without a sync of its own, before the entry: what makes that durable takes it along.
 */
import {
  type Cbor,
  concatBytes,
  digestOf,
  digestOfCid,
  encodeCbor,
  equalBytes,
  type IsSignatureValid,
  isMeshDid,
  isMeshError,
  isOfKind,
  limits,
  MeshError,
  type MeshState,
  parseHandshakeFrame,
  parseStatement,
  parseStatementOf,
  type Presentation,
  type Statement,
  toBase64url,
  toHex,
  type Transcript,
} from '../../../protocol/index.ts';
import { createUuid7, formatProofFile, parseUuid7 } from '../../../protocol/log/index.ts';
import {
  type CallRole,
  examineReceiptFile,
  formatReceiptFile,
  type OrderStatement,
  type ReceiptFile,
  type ReceiptParty,
  type ReceiptStatement,
  type TakingStatement,
} from '../../../protocol/receipt/index.ts';
import type { Clock, Logger, Random, Store, StoreWrite } from '../../ports.ts';
import type { AuditLog } from '../log/audit-log.ts';
import type { Cosigning } from '../log/cosigning.ts';
import { parseU64, u64be } from '../log/log-rows.ts';
import type { Recorder } from '../log/recorder.ts';
import { problemOf } from '../log/write-ahead.ts';
import { Serial } from '../serial.ts';
import type { Session } from '../sessions.ts';
import { decodeRow, rowKey, rowRange } from './rows.ts';

/** Of a call that is over, to be kept. */
export interface NewReceipt {
  readonly receipt: ReceiptStatement;
  readonly order: OrderStatement;
  /** That the callee took the order, where it said so. */
  readonly taking?: TakingStatement | undefined;
  /** Of the commitments of the receipt, 16 bytes each. */
  readonly salts: { readonly req?: Uint8Array | undefined; readonly res?: Uint8Array | undefined };
  readonly role: CallRole;
  /** Name of the exposed server. */
  readonly server: string;
  /** Of the server, where it was a call of one. */
  readonly tool?: string | undefined;
  /** Id of the entry that allowed or refused it. */
  readonly intent?: string | undefined;
  /** Under which it was made; it may be over. */
  readonly session: Session;
}

export interface ReceiptsComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Pick<Random, 'bytes'>;
  readonly log: Logger;
  readonly recorder: Pick<Recorder, 'record' | 'organisation'>;
  readonly state: Pick<
    MeshState,
    | 'didState'
    | 'operationsOf'
    | 'revocationsBy'
    | 'heartbeatsOf'
    | 'bindingsOf'
    | 'holdsOperation'
    | 'holdsRevocations'
  >;
  /** The log as it is now. */
  readonly auditLog: () => Pick<AuditLog, 'released'> & {
    readonly files: Pick<AuditLog['files'], 'indexOf' | 'entry' | 'proveInclusion'>;
  };
  readonly cosigning: () => Pick<Cosigning, 'witnessed'>;
  readonly isSignatureValid: IsSignatureValid;
}

export interface ReceiptsOptions {
  /** Kept at most; the oldest go. Default RECEIPTS_KEPT_MAX. */
  readonly receiptsMax?: number;
}

/** A receipt as it is kept. */
export interface KeptReceipt {
  readonly number: number;
  readonly receipt: ReceiptStatement;
  readonly order: OrderStatement;
  readonly taking: TakingStatement | undefined;
  readonly salts: { readonly req?: Uint8Array; readonly res?: Uint8Array };
  readonly role: CallRole;
  readonly server: string;
  readonly tool: string | null;
  /** Ids of entries: what allowed or refused it, and what says that it is kept. */
  readonly intent: string | null;
  readonly entry: string;
  /** Own agent or organisation; the other side, and its organisation. */
  readonly as: string;
  readonly did: string;
  readonly organisation: string;
}

export interface ReceiptQuery {
  /** Numbers below this one; default: from the newest on. */
  readonly before?: number | undefined;
  readonly limit?: number | undefined;
  readonly as?: string | undefined;
  readonly did?: string | undefined;
}

/** What the other side of a receipt is shown, and shows: its own receipt and that its log holds it. */
export interface ReceiptEvidence {
  readonly entry: Uint8Array;
  readonly proof: Uint8Array;
}

/** Asks the other side for what its log has of an order. Undefined: it cannot be asked now. */
export type AskEvidence = (kept: KeptReceipt, signal: AbortSignal) => Promise<ReceiptEvidence | undefined>;

const SCANNED_MAX = 10_000; // rows looked at for one page of a list
const PRUNED_AT_ONCE = 64;

export class Receipts {
  readonly #components: ReceiptsComponents;
  readonly #receiptsMax: number;
  readonly #open = new Set<Promise<void>>();
  /** By the ids of receipt and order: whoever asks for one at once gets it whole. */
  readonly #keeping = new Map<string, Promise<void>>();
  readonly #removals = new Serial();
  /** Handshakes whose row is written, or was just now. */
  readonly #shown = new Set<string>();
  #first: number;
  #next: number;
  #isMakingRoom = false;
  #ask: AskEvidence = async () => undefined;

  private constructor(components: ReceiptsComponents, receiptsMax: number, { first, next }: Numbers) {
    this.#components = components;
    this.#receiptsMax = receiptsMax;
    this.#first = first;
    this.#next = next;
  }

  /** Errors: store_corrupt. */
  static async open(
    components: ReceiptsComponents,
    { receiptsMax = limits.RECEIPTS_KEPT_MAX }: ReceiptsOptions = {},
  ): Promise<Receipts> {
    const value = await components.store.get(rowKey('receiptNumbers'));
    const numbers =
      value === undefined ? { first: 1, next: 1 } : (decodeRow('receiptNumbers', value) as unknown as Numbers);
    return new Receipts(components, receiptsMax, numbers);
  }

  get count(): number {
    return this.#next - this.#first;
  }

  /** By whom the other side is asked for files; until then nobody is. */
  askBy(ask: AskEvidence): void {
    this.#ask = ask;
  }

  /**
   * The row first, then the entry. Resolves when both are on disk. Never rejects: what went wrong is in the daemon's log,
   * since whoever did the call has nothing left to undo.
   */
  keep(made: NewReceipt): Promise<void> {
    const kept = this.#keep(made)
      .catch((error: unknown) => {
        const { code, message } = problemOf(error);
        this.#components.log.warn({ id: made.receipt.id, code, reason: message }, 'a receipt could not be kept');
      })
      .finally(() => {
        this.#open.delete(kept);
        for (const id of ids) if (this.#keeping.get(id) === kept) this.#keeping.delete(id);
      });
    const ids = [made.receipt.id, made.order.id];
    for (const id of ids) this.#keeping.set(id, kept);
    this.#open.add(kept);
    return kept;
  }

  async #keep(made: NewReceipt): Promise<void> {
    const { store, clock, random, recorder } = this.#components;
    const { receipt, role, server, tool, intent, session } = made;
    const entry = createUuid7(Math.floor(clock.nowMs()), random.bytes(16));
    const number = this.#next++;
    const writes = [...this.#rowsOf(made, number, entry), ...this.#sessionRow(session), this.#numbersRow()];
    const written = store.batch(writes, { sync: false });
    if (this.count > this.#receiptsMax) this.#makeRoom();
    const recorded = recorder.record(
      'receipt.kept',
      {
        receipt: receipt.id,
        role,
        n: receipt.payload.n,
        half: receipt.payload.half === true,
        outcome: receipt.payload.out,
        server,
        statement: toBase64url(receipt.envelope),
      },
      {
        id: entry,
        subject: receipt.id,
        actor: session.as,
        peer: session.did,
        session: session.sid,
        ...(tool !== undefined && isName(tool) && { tool }),
        ...(intent !== undefined && { intent }),
        isPatient: true,
      },
    );
    await Promise.all([written, recorded]);
  }

  #rowsOf({ receipt, order, taking, salts, ...made }: NewReceipt, number: number, entry: string): StoreWrite[] {
    const { role, server, tool, intent, session } = made;
    const row: ReceiptRow = {
      receipt: receipt.envelope,
      order: order.envelope,
      ...(taking !== undefined && { taking: taking.envelope }),
      ...(salts.req !== undefined && { req: salts.req }),
      ...(salts.res !== undefined && { res: salts.res }),
      role,
      server,
      ...(tool !== undefined && { tool }),
      ...(intent !== undefined && { intent }),
      entry,
      organisation: session.organisation,
    };
    const at = u64be(number);
    return [
      { type: 'put', key: rowKey('receipt', at), value: encodeCbor(row as unknown as Cbor) },
      { type: 'put', key: rowKey('digest', receipt.digest), value: at },
      { type: 'put', key: rowKey('digest', order.digest), value: at },
      { type: 'put', key: rowKey('ofSession', concatBytes(order.payload.hs, at)), value: new Uint8Array() },
    ];
  }

  /** Once for all receipts of a session. */
  #sessionRow({ agreed: { transcript, hash, chain } }: Session): StoreWrite[] {
    const id = toHex(hash);
    if (this.#shown.has(id)) return [];
    if (this.#shown.size >= limits.SESSIONS_MAX) this.#shown.clear(); // written again then, which changes nothing
    this.#shown.add(id);
    const { channel, messages } = transcript;
    const row: HandshakeRow = {
      protocol: channel.protocolId,
      initiator: channel.initiator,
      responder: channel.responder,
      channel: channel.channelBinding ?? new Uint8Array(),
      messages,
      links: chain.map(({ envelope }) => envelope),
    };
    return [{ type: 'put', key: rowKey('handshake', hash), value: encodeCbor(row as unknown as Cbor) }];
  }

  #numbersRow(): StoreWrite {
    const numbers = { first: this.#first, next: this.#next };
    return { type: 'put', key: rowKey('receiptNumbers'), value: encodeCbor(numbers) };
  }

  // Reading

  /** Newest first. `next`: for `before` of the next page; null: there is none. Errors: store_corrupt. */
  async list(query: ReceiptQuery = {}): Promise<{ readonly receipts: KeptReceipt[]; readonly next: number | null }> {
    const { before = this.#next, limit = limits.RECEIPTS_A_PAGE_DEFAULT, as, did } = query;
    const receipts: KeptReceipt[] = [];
    const from = Math.min(before, this.#next) - 1;
    let number = from;
    for (; number >= this.#first && receipts.length < limit && from - number < SCANNED_MAX; number--) {
      const kept = await this.#at(number);
      if (kept === undefined || (as !== undefined && kept.as !== as) || (did !== undefined && kept.did !== did))
        continue;
      receipts.push(kept);
    }
    return { receipts, next: number >= this.#first ? number + 1 : null };
  }

  /** By the id of the receipt or of its order, once what is being kept of it is. Errors: not_found, store_corrupt. */
  async get(id: string): Promise<KeptReceipt> {
    await this.#keeping.get(id);
    const digest = digestOfCid(id);
    const at = digest === undefined ? undefined : await this.#components.store.get(rowKey('digest', digest));
    const kept = at === undefined ? undefined : await this.#at(parseU64(at, 'the number of a receipt'));
    if (kept === undefined) throw new MeshError('not_found', `Cannot find receipt "${id}": none is kept here`, { id });
    return kept;
  }

  async #at(number: number): Promise<KeptReceipt | undefined> {
    const value = await this.#components.store.get(rowKey('receipt', u64be(number)));
    return value === undefined ? undefined : keptOf(number, decodeRow('receipt', value) as unknown as ReceiptRow);
  }

  // Showing

  /**
   * Everything that convinces others, as far as it can be had now: without a proof where no checkpoint covers the entry,
   * without that of the other side where it does not answer. Errors: not_found, store_corrupt, cancelled, too_large.
   */
  async fileOf(id: string, signal: AbortSignal): Promise<Uint8Array> {
    const kept = await this.get(id);
    const handshake = await this.#handshakeOf(kept);
    const [own, other] = await Promise.all([this.#ownProof(kept, signal), this.#otherProof(kept, signal)]);
    const { receipt, order, taking, salts, role } = kept;
    const shown = shownIn(handshake);
    const file: ReceiptFile = {
      receipt,
      order,
      ...(taking !== undefined && { taking }),
      salts,
      parties: shown.parties,
      statements: this.#statementsFor(kept, shown.envelopes),
      ...(receipt.payload.half === true && { handshake: transcriptOf(handshake) }),
      proofs: own === undefined ? [] : [{ role, ...own }],
    };
    const both =
      other === undefined ? file : { ...file, proofs: [...file.proofs, { role: otherRole(role), ...other }] };
    return formatReceiptFile(this.#isShowing(both, kept) ? both : file);
  }

  /** What the other side gave may not spoil what this side can show. */
  #isShowing(file: ReceiptFile, { receipt: { id }, did, role }: KeptReceipt): boolean {
    const check = otherRole(role) === 'caller' ? 'callerLog' : 'calleeLog';
    const report = examineReceiptFile(file, { isSignatureValid: this.#components.isSignatureValid, roots: new Set() });
    const line = report.checks.find((each) => each.check === check);
    if (line?.status === 'failed')
      this.#components.log.info(
        { id, did, code: line.code, reason: line.text },
        'the other side shows a proof that is none',
      );
    return line?.status !== 'failed';
  }

  /**
   * For whoever the receipt is of, and nobody else: what this side's log has of it.
   * Errors: not_found (also for others), quorum, log_halted, cancelled.
   */
  async evidenceOf(id: string, did: string, signal: AbortSignal): Promise<ReceiptEvidence> {
    const kept = await this.get(id);
    if (kept.did !== did) throw new MeshError('not_found', `Cannot find receipt "${id}": none is kept here`, { id });
    return this.#prove(kept, signal);
  }

  async #ownProof(kept: KeptReceipt, signal: AbortSignal): Promise<ReceiptEvidence | undefined> {
    try {
      return await this.#prove(kept, signal);
    } catch (error) {
      return this.#without(kept, error, 'the own log shows no proof of a receipt');
    }
  }

  async #otherProof(kept: KeptReceipt, signal: AbortSignal): Promise<ReceiptEvidence | undefined> {
    try {
      return await this.#ask(kept, signal);
    } catch (error) {
      return this.#without(kept, error, 'the other side shows no proof of a receipt');
    }
  }

  /** Errors: cancelled, where whoever asked does not want it any more. */
  #without({ receipt: { id }, did }: KeptReceipt, error: unknown, what: string): undefined {
    const problem = problemOf(error);
    if (problem.code === 'cancelled') throw problem;
    this.#components.log.debug({ id, did, code: problem.code, reason: problem.message }, what);
  }

  /** Errors: not_found, quorum, log_halted, cancelled. */
  async #prove({ receipt, entry }: KeptReceipt, signal: AbortSignal): Promise<ReceiptEvidence> {
    const { auditLog, cosigning } = this.#components;
    const log = auditLog();
    const index = await log.files.indexOf(parseUuid7(entry).bytes);
    const bytes = index === undefined ? undefined : await log.files.entry(index);
    if (index === undefined || bytes === undefined)
      throw new MeshError('not_found', `Cannot prove receipt "${receipt.id}": the log has no entry of it`, {
        id: receipt.id,
      });
    const released = log.released();
    const isEnough = released !== undefined && released.checkpoint.treeSize > index;
    const signed = isEnough ? released : await cosigning().witnessed(index + 1, 0, { signal });
    const hashes = await log.files.proveInclusion(index, signed.checkpoint.treeSize);
    return { entry: bytes, proof: formatProofFile({ leafIndex: index, hashes, signed }) };
  }

  async #handshakeOf({ receipt, order }: KeptReceipt): Promise<HandshakeRow> {
    const value = await this.#components.store.get(rowKey('handshake', order.payload.hs));
    if (value === undefined)
      throw new MeshError('store_corrupt', `Cannot show receipt "${receipt.id}": its handshake is not held`, {
        id: receipt.id,
      });
    return decodeRow('handshake', value) as unknown as HandshakeRow;
  }

  /** What was shown then, and what is known of everybody in it by now: logs, revocations, heartbeats, bindings. */
  #statementsFor({ organisation }: KeptReceipt, envelopes: readonly Uint8Array[]): Uint8Array[] {
    const { state, clock } = this.#components;
    const links = envelopes.flatMap((envelope) => linkOf(envelope) ?? []);
    const named = new Set(
      links
        .flatMap(({ payload: { sub, spo, iss, aud } }) => [sub, spo, iss, aud].filter(isMeshDid))
        .concat(organisation),
    );
    named.add(this.#components.recorder.organisation);
    const organisations = new Set([...named].flatMap((did) => state.didState(did)?.organisation ?? []));
    const known: Statement[] = [
      ...[...new Set([...organisations, ...named])].flatMap((did) => state.operationsOf(did)),
      ...[...organisations].flatMap((did) => [
        ...state.revocationsBy(did),
        ...state.bindingsOf(did),
        ...state
          .heartbeatsOf(did, clock.nowMs())
          .map(({ statement }) => statement)
          .filter(({ payload: { dseq, head, rseq, rhead } }) => {
            const isWhole = state.holdsOperation(did, dseq, head.text);
            return isWhole && state.holdsRevocations(did, rseq, rhead?.text ?? null);
          }),
      ]),
    ];
    const all = new Map<string, Uint8Array>();
    for (const envelope of [...envelopes, ...known.map((statement) => statement.envelope)])
      all.set(toHex(digestOf(envelope)), envelope);
    return [...all.values()];
  }

  // Making room

  #makeRoom(): void {
    if (this.#isMakingRoom) return;
    this.#isMakingRoom = true;
    const pruned = this.#removals
      .run(() => this.#prune())
      .catch((error: unknown) => this.#components.log.warn({ error }, 'old receipts cannot be removed'))
      .finally(() => {
        this.#isMakingRoom = false;
        this.#open.delete(pruned);
      });
    this.#open.add(pruned);
  }

  /** A sixteenth at a time, so that not every receipt removes one. */
  async #prune(): Promise<void> {
    const want = Math.floor(this.#receiptsMax * (15 / 16));
    while (this.count > want) {
      const to = Math.min(this.#first + PRUNED_AT_ONCE, this.#next - want);
      for (let number = this.#first; number < to; number++) await this.#remove(number);
    }
  }

  async #remove(number: number): Promise<void> {
    const { store } = this.#components;
    const kept = await this.#at(number);
    this.#first = number + 1;
    const at = u64be(number);
    const writes: StoreWrite[] = [{ type: 'del', key: rowKey('receipt', at) }, this.#numbersRow()];
    if (kept !== undefined) {
      const { hs } = kept.order.payload;
      for (const { digest } of [kept.receipt, kept.order]) {
        const held = await store.get(rowKey('digest', digest));
        if (held !== undefined && equalBytes(held, at)) writes.push({ type: 'del', key: rowKey('digest', digest) });
      }
      writes.push({ type: 'del', key: rowKey('ofSession', concatBytes(hs, at)) });
      if (!(await this.#isSessionOfMore(hs, at))) {
        this.#shown.delete(toHex(hs));
        writes.push({ type: 'del', key: rowKey('handshake', hs) });
      }
    }
    await store.batch(writes, { sync: false });
  }

  async #isSessionOfMore(hs: Uint8Array, than: Uint8Array): Promise<boolean> {
    for await (const [key] of this.#components.store.range(...rowRange('ofSession', hs)))
      if (!equalBytes(key.subarray(-than.length), than)) return true;
    return false;
  }

  /** Resolves when what was kept is on disk, and nothing is under way any more. */
  async close(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface Numbers {
  readonly first: number;
  readonly next: number;
}

interface ReceiptRow {
  readonly receipt: Uint8Array;
  readonly order: Uint8Array;
  readonly taking?: Uint8Array;
  readonly req?: Uint8Array;
  readonly res?: Uint8Array;
  readonly role: CallRole;
  readonly server: string;
  readonly tool?: string;
  readonly intent?: string;
  readonly entry: string;
  readonly organisation: string;
}

interface HandshakeRow {
  readonly protocol: string;
  readonly initiator: string;
  readonly responder: string;
  readonly channel: Uint8Array;
  readonly messages: readonly Uint8Array[];
  /** Of the chain for whose sake it was agreed: what a presentation had no room for. */
  readonly links: readonly Uint8Array[];
}

const otherRole = (role: CallRole): CallRole => (role === 'caller' ? 'callee' : 'caller');

/** What an entry may name: longer ones are in the request alone. */
const isName = (tool: string): boolean => tool !== '' && [...tool].length <= limits.LOG_TEXT_MAX;

function keptOf(number: number, row: ReceiptRow): KeptReceipt {
  const order = parseStatementOf('call/v1', row.order);
  const { iss, aud } = order.payload;
  const [as, did] = row.role === 'caller' ? [iss, aud] : [aud, iss];
  return {
    number,
    receipt: parseStatementOf('receipt/v1', row.receipt),
    order,
    taking: row.taking === undefined ? undefined : parseStatementOf('taken/v1', row.taking),
    salts: { ...(row.req !== undefined && { req: row.req }), ...(row.res !== undefined && { res: row.res }) },
    role: row.role,
    server: row.server,
    tool: row.tool ?? null,
    intent: row.intent ?? null,
    entry: row.entry,
    as,
    did,
    organisation: row.organisation,
  };
}

const transcriptOf = ({ protocol, initiator, responder, channel, messages }: HandshakeRow): Transcript => ({
  channel: { protocolId: protocol, initiator, responder, channelBinding: channel },
  messages,
});

/** What both sides showed of themselves: the caller began the handshake. */
function shownIn({ messages, links }: HandshakeRow): {
  readonly parties: ReceiptFile['parties'];
  readonly envelopes: Uint8Array[];
} {
  const [, offer = new Uint8Array(), proof = new Uint8Array()] = messages;
  const callee = parseHandshakeFrame('offer', offer).pres;
  const caller = parseHandshakeFrame('proof', proof).pres;
  const partyOf = ({ ident, grant }: Presentation): ReceiptParty => ({
    ...(ident !== undefined && { ident: ident.text }),
    ...(grant !== undefined && { grant: grant.text }),
  });
  return {
    parties: { caller: partyOf(caller), callee: partyOf(callee) },
    envelopes: [...callee.set, ...caller.set, ...links].filter(isKnown),
  };
}

/** Of a kind that is not known here: no verifier of this version would know it either. */
function isKnown(envelope: Uint8Array): boolean {
  return statementOf(envelope) !== undefined;
}

function linkOf(envelope: Uint8Array): Statement<'delegation/v1'> | undefined {
  const statement = statementOf(envelope);
  return statement !== undefined && isOfKind(statement, 'delegation/v1') ? statement : undefined;
}

function statementOf(envelope: Uint8Array): Statement | undefined {
  try {
    return parseStatement(envelope);
  } catch (error) {
    if (isMeshError(error)) return undefined;
    throw error;
  }
}
