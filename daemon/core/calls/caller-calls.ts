/**
 * Calls under way on one link, from order to receipt, on the side that made them (SPEC "Making calls").
 * What the other side says of a call is held against the caller's own order; nothing that does not fit is kept or shown.
 */
import {
  equalBytes,
  type IsSignatureValid,
  limits,
  MeshError,
  parseStatementOf,
  toHex,
  verifySignatures,
} from '../../../protocol/index.ts';
import type { CallFrameOf } from '../../../protocol/call/index.ts';
import {
  type ErrorMessage,
  type Id,
  idKey,
  isObject,
  type Message,
  metaOf,
  type RequestMessage,
  type ResultMessage,
} from '../../../protocol/mcp/index.ts';
import {
  assembleReceipt,
  type CallOutcome,
  createHalfReceipt,
  createOrder,
  type OrderStatement,
  parseReceiptPayload,
  type ReceiptStatement,
  requestCommitment,
  signReceiptPayload,
  type TakingStatement,
  verifyReceiptOffer,
  verifyTakingOf,
} from '../../../protocol/receipt/index.ts';
import type { Clock, Random } from '../../ports.ts';
import { type Session, sidOf } from '../sessions.ts';
import { type Asked, keyNamedIn, META_KEY } from './caller-gate.ts';
import type { HeldSession } from './caller-sessions.ts';
import { readAnswer, renamed, verifyOutcome } from './caller-answers.ts';
import type { EarlierCalls } from './earlier-calls.ts';
import type { NewReceipt } from './receipts.ts';

export interface CallerCallsComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly isSignatureValid: IsSignatureValid;
  readonly earlier: EarlierCalls;
  /** Keeps a receipt. Never rejects. */
  readonly keep: (kept: NewReceipt) => void;
}

export interface Call {
  readonly n: number;
  readonly request: Id;
  /** With which it may be asked again. */
  readonly key: string;
  readonly order: OrderStatement;
  readonly salt: Uint8Array;
  /** A share of the session under which it was ordered. */
  readonly held: HeldSession;
  readonly asked: Asked;
  readonly startMs: number;
  /** By which progress names it. */
  readonly token: Id | undefined;
  taking: TakingStatement | undefined;
  /** Its result came, and is being looked at. */
  isAnswered: boolean;
  /** monotonicMs() of the last that was heard of it. */
  heardMs: number;
}

/** A result whose receipt holds. */
export interface Settled {
  readonly call: Call;
  readonly message: ResultMessage | ErrorMessage;
  readonly receipt: ReceiptStatement;
  /** Of this side, for the other; undefined: its key of then is gone. */
  readonly sig: Uint8Array | undefined;
}

export class CallerCalls {
  readonly #components: CallerCallsComponents;
  readonly #server: string;
  readonly #running = new Map<number, Call>();
  readonly #byRequest = new Map<string, Call>();
  /** Given up without a receipt of both: an answer to one of these comes too late, and is no offence. */
  readonly #late = new Set<number>();

  constructor(components: CallerCallsComponents, server: string) {
    this.#components = components;
    this.#server = server;
  }

  get size(): number {
    return this.#running.size;
  }

  /** The oldest first. */
  running(): readonly Call[] {
    return [...this.#running.values()];
  }

  /** What the server says beside results may be a sign that it is at work on one of them. */
  said(message: Message): void {
    if (message.kind !== 'notification' || message.method !== 'notifications/progress') return;
    const token = isObject(message.params) ? message.params['progressToken'] : undefined;
    if (typeof token !== 'string' && typeof token !== 'number') return;
    for (const call of this.#running.values())
      if (call.token !== undefined && idKey(call.token) === idKey(token))
        call.heardMs = this.#components.clock.monotonicMs();
  }

  ofRequest(id: Id): Call | undefined {
    return this.#byRequest.get(idKey(id));
  }

  /** A signed order. Errors: busy, schema (its key). */
  begin(message: RequestMessage, asked: Asked, held: HeldSession): Call {
    if (this.#running.size >= limits.CALLS_RUNNING_A_LINK_MAX)
      throw new MeshError('busy', `Cannot send the call: ${this.#running.size} others of this link have no answer yet`);
    const { clock, random } = this.#components;
    const key = keyOf(message) ?? toHex(random.bytes(limits.CALL_KEY_BYTES_MIN));
    const salt = random.bytes(limits.CALL_SALT_BYTES);
    const n = held.next((taken) => this.#running.has(taken) || this.#late.has(taken));
    const { session } = held;
    const order = createOrder(
      {
        iat: Math.floor(clock.nowMs() / 1000),
        iss: session.as,
        aud: session.did,
        sid: sidOf(session),
        n,
        hs: session.agreed.hash,
        srv: this.#server,
        req: requestCommitment(salt, message.bytes),
        key: new TextEncoder().encode(key),
      },
      session.agreed.signer,
    );
    const startMs = Math.floor(clock.nowMs());
    const heardMs = clock.monotonicMs();
    const call: Call = {
      n,
      request: message.id,
      key,
      order,
      salt,
      held: held.share(),
      asked,
      startMs,
      token: tokenOf(message),
      taking: undefined,
      isAnswered: false,
      heardMs,
    };
    this.#running.set(n, call);
    this.#byRequest.set(idKey(message.id), call);
    return call;
  }

  /** It never left. */
  unsent(call: Call): void {
    this.#over(call);
  }

  /** Errors: conflict (of no call, or another), bad_signature, those of parseStatement. */
  taken({ n, stmt }: CallFrameOf<'taken'>): void {
    const call = this.#running.get(n);
    if (call === undefined) return this.#verifyLate(n);
    const taking = parseStatementOf('taken/v1', stmt);
    verifySignatures(taking, this.#components.isSignatureValid);
    verifyTakingOf(taking, call.order);
    verifyKey(taking.payload.by[0], call.held.session);
    call.taking ??= taking;
    call.heardMs = this.#components.clock.monotonicMs();
  }

  /**
   * Undefined: it is of a call that was given up. Errors: conflict with data.field "n", where there is no such call;
   * others are of that call alone, and it is for whoever asked to decline it.
   */
  result(frame: CallFrameOf<'result'>, body: Uint8Array): Settled | Promise<Settled | undefined> | undefined {
    const call = this.#running.get(frame.n);
    if (call === undefined || call.isAnswered) {
      this.#verifyLate(frame.n);
      return undefined;
    }
    call.isAnswered = true;
    const { call: named } = parseReceiptPayload(frame.rcpt);
    // Of a key that was used before, the other side shows the receipt of then.
    if (named !== undefined && named.text !== call.order.id) return this.#settledEarlier(call, named.text, frame, body);
    const { session } = call.held;
    const message = readAnswer(body, call.request);
    const offer = { sig: frame.sig, calleeKey: session.agreed.peerKey, body, salt: frame.salt };
    verifyOutcome(verifyReceiptOffer(frame.rcpt, call.order, offer, this.#components.isSignatureValid), message);
    const sig = signReceiptPayload(frame.rcpt, session.agreed.signer);
    const receipt = assembleReceipt(frame.rcpt, [sig, frame.sig]);
    this.#over(call);
    this.#keepFull(call, { ...call, session }, receipt, frame.salt);
    return { call, message, receipt, sig };
  }

  /** Errors: conflict, outcome_unknown (nothing is held here by which it could be checked), those of verifyReceiptOffer. */
  async #settledEarlier(
    call: Call,
    id: string,
    frame: CallFrameOf<'result'>,
    body: Uint8Array,
  ): Promise<Settled | undefined> {
    const { earlier, isSignatureValid } = this.#components;
    const first = await earlier.of(id, call.order);
    const message = readAnswer(body, undefined);
    const offer = { sig: frame.sig, calleeKey: first.calleeKey, body, salt: frame.salt };
    verifyOutcome(verifyReceiptOffer(frame.rcpt, first.order, offer, isSignatureValid), message);
    if (!this.#over(call)) return undefined; // given up while the first one was looked up: its id may be another's by now
    const sig = first.sign(frame.rcpt);
    if (sig === undefined) return { call, message: renamed(message, call.request), receipt: first.receipt, sig };
    const receipt = assembleReceipt(frame.rcpt, [sig, frame.sig]);
    if (first.session !== undefined) {
      earlier.settled(id);
      this.#keepFull(call, { ...first, session: first.session }, receipt, frame.salt);
    }
    return { call, message: renamed(message, call.request), receipt, sig };
  }

  #keepFull(
    { asked: { intent, tool } }: Call,
    { order, salt, taking, session }: Pick<NewReceipt, 'order' | 'taking' | 'session'> & Pick<Call, 'salt'>,
    receipt: ReceiptStatement,
    res: Uint8Array,
  ): void {
    this.#keep({ receipt, order, taking, salts: { req: salt, res }, session, intent, tool });
  }

  /** What this side alone says of it; `got`: an answer that it does not accept. Undefined: it is over already. */
  giveUp(
    call: Call,
    out: CallOutcome,
    got?: { readonly body: Uint8Array; readonly salt: Uint8Array },
  ): ReceiptStatement | undefined {
    if (!this.#over(call)) return undefined;
    if (got === undefined) this.#expectLate(call.n);
    const { clock, earlier } = this.#components;
    const { order, salt, taking, held } = call;
    const { intent, tool } = call.asked;
    const endMs = Math.max(call.startMs, Math.floor(clock.nowMs()));
    const receipt = createHalfReceipt(
      order,
      {
        res: got === undefined ? null : requestCommitment(got.salt, got.body),
        out,
        startMs: call.startMs,
        endMs,
        iat: Math.floor(clock.nowMs() / 1000),
      },
      'caller',
      held.session.agreed.signer,
    );
    earlier.add({ order, salt, taking, session: held.session, receipt });
    this.#keep({ receipt, order, taking, salts: { req: salt, res: got?.salt }, session: held.session, intent, tool });
    return receipt;
  }

  #keep(kept: Omit<NewReceipt, 'role' | 'server'>): void {
    this.#components.keep({ ...kept, role: 'caller', server: this.#server });
  }

  /** False: it was over. */
  #over(call: Call): boolean {
    if (this.#running.get(call.n) !== call) return false;
    this.#running.delete(call.n);
    if (this.#byRequest.get(idKey(call.request)) === call) this.#byRequest.delete(idKey(call.request));
    call.held.release();
    return true;
  }

  #expectLate(n: number): void {
    this.#late.add(n);
    if (this.#late.size <= limits.CALLS_ENDED_MAX) return;
    const [oldest] = this.#late;
    if (oldest !== undefined) this.#late.delete(oldest);
  }

  /** Errors: conflict. */
  #verifyLate(n: number): void {
    if (!this.#late.has(n))
      throw new MeshError('conflict', `Cannot accept what is said of call ${n}: it is not under way`, {
        field: 'n',
        is: n,
      });
  }
}

function tokenOf(message: RequestMessage): Id | undefined {
  const token = metaOf(message)?.['progressToken'];
  return typeof token === 'string' || typeof token === 'number' ? token : undefined;
}

/** Errors: schema. */
function keyOf(message: RequestMessage): string | undefined {
  const key = keyNamedIn(metaOf(message));
  if (key === undefined) return undefined;
  const { CALL_KEY_BYTES_MIN: min, CALL_KEY_BYTES_MAX: max } = limits;
  if (typeof key === 'string' && /^[\x21-\x7e]+$/.test(key) && key.length >= min && key.length <= max) return key;
  const want = `${min} to ${max} visible ASCII letters`;
  throw new MeshError('schema', `Cannot send the call: its "${META_KEY}" is not ${want}`, { field: META_KEY, want });
}

/** Errors: conflict. */
function verifyKey(key: Uint8Array | undefined, { agreed }: Session): void {
  if (key === undefined || !equalBytes(key, agreed.peerKey))
    throw new MeshError('conflict', 'Cannot accept a taking: it is not by the key of the session', { field: 'by' });
}
