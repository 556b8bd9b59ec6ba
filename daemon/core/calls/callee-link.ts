/**
 * One client of another organisation and one server that is exposed to it, over one call stream (SPEC "Serving calls").
 * Between them stands the engine that a proxy has too, with the callee's gate; this file adds what a call across
 * organisations has beside its messages: an order, a number, a taking, a receipt, a key under which it may be asked
 * again.
 *
 *   call ─▶ order ─▶ key ─▶ engine ─▶ gate ─▶ taken ─▶ server ─▶ engine (output rules) ─▶ result with the receipt offered
 */
import type { CallFrame, CallFrameOf } from '../../../protocol/call/index.ts';
import { isCall } from '../../../protocol/call/index.ts';
import {
  equalBytes,
  type ErrorCode,
  isMeshError,
  type IsSignatureValid,
  limits,
  MeshError,
  parseStatementOf,
  toHex,
  verifySignature,
} from '../../../protocol/index.ts';
import {
  createSession,
  errorResponse,
  type Era,
  eraOf,
  type Failure,
  failureOf,
  governedOf,
  type Id,
  isObject,
  isRefusal,
  type Message,
  parseMessage,
  refusalAnswer,
  type RequestMessage,
  RPC_CODES,
  type Session as McpSession,
} from '../../../protocol/mcp/index.ts';
import type { GateRequest, Verdict } from '../../../protocol/policy/index.ts';
import {
  assembleReceipt,
  type CallOutcome,
  createHalfReceipt,
  createTaking,
  type OrderStatement,
  receiptPayload,
  requestCommitment,
  signReceiptPayload,
  type TakingStatement,
} from '../../../protocol/receipt/index.ts';
import type { Clock, Logger, McpServerEnd, McpServers, Random, Timer } from '../../ports.ts';
import type { Session, SessionLink, SessionUse, Sessions } from '../sessions.ts';
import { type CalleeGate, createCalleeGate, type CalleeGateComponents, type GatedCall } from './callee-gate.ts';
import { type CallNumbers, parseOrder } from './call-orders.ts';
import type { Exposure } from './exposures.ts';
import { type IdempotencyKeys, type KeyUse, type Recorded, requestDigest } from './idempotency.ts';
import type { CallMessages, ReceivedFrame } from './message-stream.ts';
import type { Receipts } from './receipts.ts';
import type { SessionProofs } from './session-proofs.ts';

export interface CalleeLinkComponents
  extends Omit<CalleeGateComponents, 'exposure' | 'policy' | 'session' | 'sessions' | 'clock'> {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly sessions: Pick<Sessions, 'get' | 'verify' | 'useOf'>;
  readonly proofs: Pick<SessionProofs, 'verify'>;
  readonly servers: McpServers;
  readonly keys: IdempotencyKeys;
  readonly receipts: Pick<Receipts, 'keep'>;
  /** Of a session, whatever link a call comes over. */
  readonly numbersOf: (sid: string) => CallNumbers;
  /** Shared by all links of one organisation. */
  readonly share: OrganisationShare;
}

/** What the links of one organisation have together, so that none of them hurts others. */
export interface OrganisationShare {
  /** Calls under way. */
  running: number;
  /** Resolves once something that costs this side and did nothing may be answered. */
  pace(signal: AbortSignal): Promise<void>;
}

export interface CalleeLinkOptions {
  readonly exposure: Exposure;
  /** As of CalleeGateComponents. */
  readonly policy: () => string;
  readonly session: Session;
  readonly messages: CallMessages;
}

/** A call that has an order. */
interface Call extends GatedCall {
  readonly n: number;
  readonly order: OrderStatement;
  readonly salt: Uint8Array;
  /** Of its order. */
  readonly session: Session;
  readonly startMs: number;
  /** Undefined: it could not be read. */
  readonly message: RequestMessage | undefined;
  key: KeyUse | undefined;
  phase: 'deciding' | 'sent' | 'over';
  taking: TakingStatement | undefined;
  /** Of the entry that allowed or refused it first. */
  intent: string | undefined;
  tool: string | undefined;
  request: GateRequest | undefined;
  /** What it is, where it does not come to the server. */
  refused: CallOutcome;
  /** Ended by this side or the caller, and as what. */
  ended: { readonly out: CallOutcome; readonly failure: Failure } | undefined;
  /** The server was asked, and did not answer. */
  isUnanswered: boolean;
  /** Policies changed while it was decided. */
  isOutdated: boolean;
  timer: Timer | undefined;
}

/** Given, and not yet signed by the caller. */
interface Offered {
  readonly call: Call;
  readonly payload: Uint8Array;
  readonly sig: Uint8Array;
  readonly salt: Uint8Array;
  readonly res: Uint8Array;
  readonly out: CallOutcome;
  readonly endMs: number;
  readonly timer: Timer;
}

const CANCELLED = 'notifications/cancelled';
const BY_CALLER = {
  out: 'cancelled',
  failure: { code: 'cancelled', message: 'Cannot go on: the caller cancelled it' },
} as const;
const FIRST_ERA: Era = '2025-11-25'; // of requests that do not say theirs
const encoder = new TextEncoder();

export class CalleeLink {
  readonly exposure: Exposure;
  readonly #components: CalleeLinkComponents;
  readonly #messages: CallMessages;
  readonly #gate: CalleeGate;
  readonly #engine: McpSession<Call>;
  readonly #server: McpServerEnd;
  readonly #calls = new Set<Call>();
  readonly #offered = new Map<number, Offered>();
  /** Bodies that wait until the caller took what was sent before. */
  readonly #waiting: { readonly frame: CallFrame; readonly body: Uint8Array | undefined }[] = [];
  #waitingBytes = 0;
  readonly #stop = new AbortController();
  readonly #shown: SessionLink;
  /** Refusals that are being logged. */
  readonly #refusals = new Set<Promise<void>>();
  #session: Session;
  /** The one before, as long as it holds: orders of it may be under way. */
  #earlier: Session | undefined;
  #ending: { readonly code: ErrorCode } | undefined;
  #over: Promise<void> | undefined;
  #room: PromiseWithResolvers<void> | undefined;
  #counted = { in: 0, out: 0 };
  /** Answers that did nothing, and are not paid for by waiting. */
  #owed = 0;

  constructor(components: CalleeLinkComponents, { exposure, policy, session, messages }: CalleeLinkOptions) {
    const { servers, clock, log, organisation } = components;
    this.exposure = exposure;
    this.#components = components;
    this.#session = session;
    this.#messages = messages;
    this.#shown = { server: exposure.name, openedMs: clock.nowMs() };
    this.#gate = createCalleeGate({ ...components, exposure, policy, session: () => this.#session });
    this.#server = servers.open(exposure.server, {
      message: (message, relatedTo) => {
        this.#engine.fromServer(message, relatedTo);
        this.#regulate();
      },
      failed: (id, failure) => this.#unanswered(this.#byId(id), () => this.#engine.failRequest(id, told(failure))),
      lost: (failure) => this.#unanswered([...this.#calls], () => this.#engine.failSent(told(failure))),
      drained: () => this.#regulate(),
      ended: (how) => this.#serverEnded(how),
    });
    this.#engine = createSession<Call>(
      {
        gate: this.#gate,
        paths: this.#server.paths,
        toClient: (message, { origin, isLast }) => this.#toClient(message, origin, isLast),
        toServer: (message, { origin }) => this.#toServer(message, origin),
        after: (ms, run) => {
          const timer = clock.after(ms, run);
          return () => timer.cancel();
        },
        report: (level, text) => log[level === 'warn' ? 'warn' : 'debug']({ server: exposure.name }, text),
        onDropped: (call) => this.#dropped(call),
      },
      {
        server: exposure.name,
        serverOrigin: originOf(exposure),
        approvalWaitMs: limits.EXPOSED_APPROVAL_WAIT_MS,
        approvedBy: organisation,
      },
    );
    messages.onDrained(() => {
      this.#flush();
      this.#regulate();
    });
  }

  get session(): Session {
    return this.#session;
  }

  /** Calls under way. */
  get running(): number {
    return this.#calls.size;
  }

  /** Until the link is over, with its server gone and its receipts kept. Never rejects. */
  async serve(): Promise<void> {
    this.#useOf(this.#session)?.links.add(this.#shown);
    try {
      void this.#send({ f: 'opened' });
      await this.#read();
      this.end('closed', 'the caller ended the link');
    } catch (error) {
      this.#broken(error);
    }
    this.#stop.abort(); // nothing more is heard of it
    await this.#over;
    this.#useOf(this.#session)?.links.delete(this.#shown);
  }

  /** Ends it and every call of it, and tells the caller why. Calls after the first have no effect. */
  end(code: ErrorCode, why: string): void {
    if (this.#ending !== undefined) return;
    this.#ending = { code };
    this.#over = this.#end(code, why);
  }

  /** A session that was under the link is over: what was ordered in it is not carried on for the sake of the next one. */
  sessionEnded(sid: string, failure: Failure): void {
    for (const call of this.#calls) {
      const { message, phase } = call;
      if (call.session.sid !== sid || message === undefined) continue;
      if (phase === 'sent') this.#stopCall(call, 'cancelled', failure);
      else {
        call.ended = { out: 'cancelled', failure };
        this.#engine.fromClient(cancelling(message.id, failure.message)); // which drops what is being decided
        this.#dropped(call); // where it had not come to the engine
      }
    }
  }

  /** Policies are others than before: what they would refuse now is not carried on. */
  async rejudge(): Promise<void> {
    for (const call of this.#calls) {
      if (call.phase === 'deciding')
        call.isOutdated = true; // by the old ones it may be allowed, and only waits for the log
      else await this.#rejudge(call);
    }
  }

  async #rejudge(call: Call): Promise<void> {
    const failure: Failure = { code: 'policy_changed', message: 'Cannot go on: the policies changed, and deny it now' };
    const { request } = call;
    if (call.phase !== 'sent' || request === undefined) return;
    try {
      if (await this.#gate.isDenied(request)) this.#stopCall(call, 'cancelled', failure);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#stopCall(call, 'cancelled', failure); // what cannot be decided is not done
    }
  }

  // Reading

  async #read(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await this.#whileFull();
      await this.#payOff();
      const received = await this.#messages.receive({ signal });
      if (received === undefined) return;
      this.#countBytes();
      if (received.frame.f === 'end') return;
      await this.#take(received);
    }
  }

  /** Back-pressure: who does not take what it is given is not given more. */
  async #whileFull(): Promise<void> {
    while (this.#ending === undefined && (this.#server.isFull || this.#isBehind)) {
      this.#room = Promise.withResolvers();
      await this.#room.promise;
    }
  }

  /** Each answer that did nothing costs an entry of the log, or asks the server: whoever wants many waits. */
  async #payOff(): Promise<void> {
    for (; this.#owed > 0 && this.#ending === undefined; this.#owed--)
      await this.#components.share.pace(this.#stop.signal);
  }

  get #isBehind(): boolean {
    return this.#messages.isFull || this.#waiting.length > 0;
  }

  #regulate(): void {
    this.#server.setPaused(this.#isBehind);
    if (this.#server.isFull || this.#isBehind) return;
    this.#room?.resolve();
    this.#room = undefined;
  }

  /** Errors: what an honest caller never sends. */
  async #take({ frame, body }: ReceivedFrame): Promise<void> {
    if (frame.f === 'sign') return this.#signed(frame);
    if (frame.f === 'decline') return this.#declined(frame);
    if (this.#ending !== undefined) return;
    if (frame.f === 'call') return this.#takeCall(frame, body ?? new Uint8Array());
    if (frame.f === 'msg') return this.#takeMessage(body ?? new Uint8Array());
    if (frame.f === 'renew') return this.#renew(frame);
    throw new MeshError('schema', `Cannot go on: a frame "${frame.f}" has no place in a link`, { field: 'f' });
  }

  /** What is no call: what MCP needs to begin and to list, and what goes with calls. */
  #takeMessage(body: Uint8Array): void {
    const message = readOr(body);
    if (message?.kind === 'request') {
      if (isCall(message.method)) {
        const text = `Cannot do "${message.method}": a call needs an order`;
        return void this.#send({ f: 'msg' }, errorResponse(message.id, RPC_CODES.invalidRequest, text));
      }
      this.#owed += 1;
    }
    // A lax server may carry out a request without an id, of which nobody would have a receipt.
    if (message?.kind === 'notification' && !message.method.startsWith('notifications/')) return;
    this.#engine.fromClient(message ?? body);
  }

  #renew(frame: CallFrameOf<'renew'>): void {
    const next = this.#components.proofs.verify(frame, this.#messages.connection, this.exposure.name);
    const { did, as, organisation } = this.#session;
    if (next.did !== did || next.as !== as || next.organisation !== organisation)
      throw new MeshError('conflict', 'Cannot renew the link: the session is of others');
    if (next.sid !== this.#session.sid) this.#earlier = this.#session;
    this.#countBytes();
    this.#useOf(this.#session)?.links.delete(this.#shown);
    this.#session = next;
    this.#useOf(next)?.links.add(this.#shown);
    void this.#send({ f: 'renewed', sid: frame.sid });
  }

  // Calls

  /** Errors: bad_signature, conflict, replay, those of parseStatement: of what no honest caller sends. */
  async #takeCall(frame: CallFrameOf<'call'>, body: Uint8Array): Promise<void> {
    const { isSignatureValid, numbersOf, clock } = this.#components;
    const session = this.#sessionOf(frame.order);
    const order = parseOrder(frame.order, { session, n: frame.n, isSignatureValid, nowMs: clock.nowMs() });
    // Frames name calls by their number alone: after a renewal too, one of it is under way at a time.
    if ([...this.#calls].some(({ n }) => n === frame.n))
      throw new MeshError('replay', `Cannot take call ${frame.n}: another of this number is under way`, {
        is: frame.n,
      });
    numbersOf(session.sid).take(frame.n);
    this.#half(frame.n, 'was followed by another of its number, unsigned');
    const parsed = parsedCall(body);
    const call = newCall(frame, order, { session, startMs: Math.floor(clock.nowMs()), message: parsed.message });
    this.#calls.add(call);
    const { use, share } = { use: this.#useOf(session), share: this.#components.share };
    share.running += 1;
    if (use !== undefined) [use.calls, use.running] = [use.calls + 1, use.running + 1];
    const problem = parsed.problem ?? this.#problemOf(call, body);
    if (problem !== undefined) return this.#refuse(call, problem);
    try {
      const isNew = await this.#takeKey(call);
      if (call.phase === 'over' || !isNew) return;
      if (call.message !== undefined) this.#engine.fromClient(call.message, call);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#refuse(call, error);
    }
  }

  /** Of the newest session, or the one before as long as it holds. Errors: conflict, those of parseStatement. */
  #sessionOf(envelope: Uint8Array): Session {
    const earlier = this.#earlier;
    if (earlier === undefined) return this.#session;
    if (this.#components.sessions.get(earlier.sid) === undefined) this.#earlier = undefined;
    else if (isOf(envelope, earlier.sid)) return earlier;
    return this.#session;
  }

  /** Why it is not looked at further. */
  #problemOf(call: Call, body: Uint8Array): MeshError | undefined {
    const { order, session, salt, message } = call;
    const { sessions, share } = this.#components;
    if (sessions.get(session.sid) === undefined) return new MeshError('closed', 'Cannot go on: the session is over');
    if (order.payload.srv !== this.exposure.name)
      return new MeshError('conflict', `Cannot take the call: its order is for server "${order.payload.srv}"`, {
        field: 'srv',
      });
    if (!equalBytes(order.payload.req, requestCommitment(salt, body)))
      return new MeshError('conflict', 'Cannot take the call: its order is for another request', { field: 'req' });
    if (message !== undefined && !isCall(message.method))
      return new MeshError('malformed', `Cannot take the call: "${message.method}" is none`);
    const [is, want] =
      this.#calls.size > limits.CALLS_A_LINK_MAX
        ? [this.#calls.size, limits.CALLS_A_LINK_MAX]
        : [share.running, limits.CALLS_AN_ORGANISATION_MAX];
    if (is <= want) return undefined;
    return new MeshError('busy', `Cannot take the call: ${want} others are under way; try again later`, { is, want });
  }

  /** False: it is answered. Errors: conflict, busy, caps_insufficient, outcome_unknown, of the store. */
  async #takeKey(call: Call): Promise<boolean> {
    const { key } = call.order.payload;
    const { message } = call;
    if (key === undefined || message === undefined) return true;
    const { did, organisation, as } = this.#session;
    const request = requestDigest(message, { as, server: this.exposure.name });
    const taken = await this.#components.keys.take({ did, organisation }, key, request);
    if (taken.state === 'new') {
      if (call.phase === 'over')
        taken.use.release(); // it ended meanwhile
      else call.key = taken.use;
      return true;
    }
    if (taken.state === 'unknown')
      throw new MeshError('outcome_unknown', `Cannot do it again under this idempotency key: ${taken.why}`);
    // What was given once is not given to whoever may not ask for it any more.
    const asked = this.#requestOf(message);
    if (asked !== undefined) {
      this.#gate.verify(asked);
      if (await this.#gate.isDenied(asked))
        throw new MeshError('policy_denied', 'Cannot give the result again: policies deny the request now');
    }
    await this.#repeat(call, taken.recorded);
    return false;
  }

  /** The answer that was given before, with the receipt of then: it is one call. */
  async #repeat(call: Call, { payload, sig, salt, body }: Recorded): Promise<void> {
    await this.#logRefusal(call, new MeshError('duplicate', 'It was done before, under this idempotency key'));
    if (call.phase === 'over') return;
    this.#owed += 1;
    this.#close(call);
    void this.#send({ f: 'result', n: call.n, rcpt: payload, sig, salt }, body);
  }

  #requestOf(message: RequestMessage): GateRequest | undefined {
    return governedOf(message, 'client', { server: this.exposure.name, paths: this.#server.paths });
  }

  /** Answers and logs a call that does not come to the engine. */
  #refuse(call: Call, problem: MeshError): void {
    this.#owed += 1;
    const refused = this.#answerRefused(call, problem).finally(() => this.#refusals.delete(refused));
    this.#refusals.add(refused);
  }

  async #answerRefused(call: Call, problem: MeshError): Promise<void> {
    await this.#logRefusal(call, problem);
    const { code, message: reason } = problem;
    const { message } = call;
    const body =
      message === undefined
        ? (refusalAnswer(problem) ?? errorResponse(null, RPC_CODES.invalidRequest, reason))
        : failureOf({ message, code, reason, era: eraOf(message) ?? FIRST_ERA });
    this.#finish(call, body, 'refused');
  }

  async #logRefusal(call: Call, { code, message: reason }: MeshError): Promise<void> {
    let request: GateRequest = { action: 'peer_call' };
    try {
      if (call.message !== undefined) request = this.#requestOf(call.message) ?? request;
    } catch (error) {
      if (!isMeshError(error)) throw error; // what cannot be judged is logged without what it asks for
    }
    try {
      call.intent ??= (await this.#gate.refuse(request, { code, reason })).id ?? undefined;
      call.tool ??= request.tool?.name;
    } catch (error) {
      this.#components.log.warn({ n: call.n, code, error }, 'that a call was refused is not in the audit log');
    }
  }

  // What the engine gives

  #toServer(message: Message, call: Call | undefined): void {
    if (call !== undefined && message.kind === 'request' && call.phase === 'deciding') this.#takeOrder(call);
    this.#server.send(message);
  }

  /** It is in the log, and about to be done. */
  #takeOrder(call: Call): void {
    const { signer } = call.session.agreed;
    call.phase = 'sent';
    call.taking = createTaking(call.order, { iat: this.#nowSeconds() }, signer);
    void this.#send({ f: 'taken', n: call.n, stmt: call.taking.envelope });
    this.#watch(call);
    if (call.isOutdated) this.#rejudge(call).catch((error: unknown) => this.#broken(error));
  }

  #watch(call: Call): void {
    call.timer?.cancel();
    call.timer = this.#components.clock.after(limits.CALL_IDLE_MS, () => {
      const message = `Cannot go on: the server said nothing for ${limits.CALL_IDLE_MS / 1000} s`;
      this.#stopCall(call, 'timeout', { code: 'timeout', message });
    });
  }

  #toClient(message: Message, call: Call | undefined, isLast: boolean): void {
    if (call?.phase === 'sent') this.#watch(call);
    if (call === undefined || !isLast) return void this.#send({ f: 'msg' }, message.bytes);
    if (call.phase === 'deciding') this.#owed += 1;
    const isDone = call.phase === 'sent' && call.ended === undefined;
    const out = call.ended?.out ?? (isDone ? (isFailed(message) ? 'error' : 'ok') : call.refused);
    this.#finish(call, message.bytes, out);
  }

  /** Cancelled by the caller. */
  #dropped(call: Call): void {
    if (call.phase === 'over') return;
    const { out, failure } = call.ended ?? BY_CALLER;
    this.#finishFailed(call, out, failure);
  }

  /** Ended by this side. The server is told, and the engine answers. */
  #stopCall(call: Call, out: CallOutcome, failure: Failure): void {
    const { message, phase } = call;
    if (phase !== 'sent' || message === undefined) return;
    call.ended = { out, failure };
    call.isUnanswered = true;
    this.#server.send(cancelling(message.id, failure.message));
    this.#engine.failRequest(message.id, { ...failure, isBegun: true });
    this.#finishFailed(call, out, failure); // where its answer was being judged: else that is over
  }

  // The server

  #byId(id: unknown): Call[] {
    return [...this.#calls].filter(({ message }) => message?.id === id);
  }

  #unanswered(calls: readonly Call[], tell: () => void): void {
    for (const call of calls) if (call.phase === 'sent') call.isUnanswered = true;
    tell();
  }

  #serverEnded(how: string): void {
    const { name } = this.exposure;
    if (this.#ending === undefined)
      this.#components.log.info({ server: name, how }, 'an exposed server ended while somebody used it');
    const message = `server "${name}" ended`;
    this.#unanswered([...this.#calls], () => {
      this.#engine.failSent({ code: 'outcome_unknown', message: `${message} before it answered` });
      this.#engine.serverEnded({ code: 'closed', message: `Cannot go on: ${message}` });
    });
    this.end('closed', `server "${name}" ended`);
  }

  // Answers and receipts

  /** Without effect on what is over. */
  #finishFailed(call: Call, out: CallOutcome, { code, message: reason }: Failure): void {
    const { message, phase } = call;
    if (phase === 'sent') call.isUnanswered = true;
    const body =
      message === undefined
        ? errorResponse(null, RPC_CODES.invalidRequest, reason)
        : failureOf({ message, code, reason, era: eraOf(message) ?? FIRST_ERA, isBegun: phase === 'sent' });
    this.#finish(call, body, out);
  }

  #finish(call: Call, body: Uint8Array, out: CallOutcome): void {
    if (call.phase === 'over') return;
    const { random, clock } = this.#components;
    const { signer } = call.session.agreed;
    const [wasSent, key] = [call.phase === 'sent', call.key];
    this.#close(call);
    const salt = random.bytes(limits.CALL_SALT_BYTES);
    const res = requestCommitment(salt, body);
    const endMs = Math.max(call.startMs, Math.floor(clock.nowMs()));
    const happened = { res, out, startMs: call.startMs, endMs, iat: this.#nowSeconds() };
    const payload = receiptPayload(call.order, { ...happened, calleeKey: signer.publicKey });
    const sig = signReceiptPayload(payload, signer);
    if (!wasSent) key?.release();
    else if (call.isUnanswered) key?.unknown();
    else key?.done({ payload, sig, salt, body });
    const use = this.#useOf(call.session);
    if (use !== undefined && !wasSent) use.refused += 1;
    const timer = clock.after(limits.CALL_SIGN_MS, () => this.#half(call.n, 'was not signed in time'));
    this.#offered.set(call.n, { call, payload, sig, salt, res, out, endMs, timer });
    const [oldest] = this.#offered.keys();
    if (this.#offered.size > limits.CALL_UNSIGNED_MAX && oldest !== undefined) this.#half(oldest, 'is too old');
    void this.#send({ f: 'result', n: call.n, rcpt: payload, sig, salt }, body);
  }

  #close(call: Call): void {
    call.phase = 'over';
    call.timer?.cancel();
    this.#calls.delete(call);
    this.#components.share.running -= 1;
    const use = this.#useOf(call.session);
    if (use !== undefined) use.running -= 1;
  }

  #signed({ n, sig }: CallFrameOf<'sign'>): void {
    const offered = this.#offered.get(n);
    if (offered === undefined) return; // signed too late, or of a result that was given again
    const { call, payload } = offered;
    const { isSignatureValid } = this.#components;
    try {
      verifySignature(isSignatureValid, 'receipt', payload, sig, call.session.agreed.peerKey);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      return this.#half(n, 'is signed by somebody else');
    }
    this.#settled(offered);
    this.#keep(offered, assembleReceipt(payload, [sig, offered.sig]));
  }

  #declined({ n, code }: CallFrameOf<'decline'>): void {
    this.#half(n, `was declined: "${code}"`);
  }

  /** What this side says alone. */
  #half(n: number, why: string): void {
    const offered = this.#offered.get(n);
    if (offered === undefined) return;
    const { call, res, out, endMs } = offered;
    this.#settled(offered);
    this.#components.log.debug({ n, sid: call.session.sid }, `a receipt ${why} by the caller`);
    const happened = { res, out, startMs: call.startMs, endMs, iat: this.#nowSeconds() };
    this.#keep(offered, createHalfReceipt(call.order, happened, 'callee', call.session.agreed.signer));
  }

  #settled({ call, timer }: Offered): void {
    timer.cancel();
    this.#offered.delete(call.n);
    if (this.#offered.size === 0 && this.#ending !== undefined) this.#stop.abort();
  }

  #keep({ call, salt }: Offered, receipt: Parameters<Receipts['keep']>[0]['receipt']): void {
    void this.#components.receipts.keep({
      receipt,
      order: call.order,
      taking: call.taking,
      salts: { req: call.salt, res: salt },
      role: 'callee',
      server: this.exposure.name,
      tool: call.tool,
      intent: call.intent,
      session: call.session,
    });
  }

  // Sending

  async #send(frame: CallFrame, body?: Uint8Array): Promise<void> {
    const isBehind = this.#waiting.length > 0 || this.#messages.backlogBytes > limits.CALL_QUEUE_BYTES_MAX / 2;
    if (body !== undefined && isBehind && this.#ending === undefined) return this.#sendLater(frame, body);
    try {
      await this.#messages.send(frame, body);
      this.#countBytes();
    } catch (error) {
      this.#broken(error);
    } finally {
      this.#regulate();
    }
  }

  #sendLater(frame: CallFrame, body: Uint8Array): void {
    this.#waiting.push({ frame, body });
    this.#waitingBytes += body.length;
    this.#regulate();
    if (this.#waitingBytes > limits.CALL_WAITING_BYTES_MAX)
      this.#broken(new MeshError('busy', 'Cannot go on: the caller does not take what it asked for'));
  }

  #flush(): void {
    const next = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    for (const { frame, body } of next) void this.#send(frame, body);
  }

  #countBytes(): void {
    const { bytesIn, bytesOut } = this.#messages;
    const use = this.#useOf(this.#session);
    if (use !== undefined) {
      use.bytesIn += bytesIn - this.#counted.in;
      use.bytesOut += bytesOut - this.#counted.out;
    }
    this.#counted = { in: bytesIn, out: bytesOut };
  }

  #useOf({ sid }: Session): SessionUse | undefined {
    return this.#components.sessions.useOf(sid);
  }

  #nowSeconds(): number {
    return Math.floor(this.#components.clock.nowMs() / 1000);
  }

  // Ending

  #broken(error: unknown): void {
    const { log } = this.#components;
    const { peer } = this.#messages.connection;
    const { code, message } = isMeshError(error)
      ? error
      : new MeshError('internal', 'Cannot go on: a fault of this program');
    if (!isMeshError(error)) log.error({ peer, error }, 'a link could not be served');
    if (isMeshError(error) && !ORDINARY.includes(code) && this.#ending === undefined) {
      const logged = this.#logViolation(error).finally(() => this.#refusals.delete(logged));
      this.#refusals.add(logged);
    }
    this.end(code, message);
  }

  async #logViolation({ code, message: reason }: MeshError): Promise<void> {
    try {
      await this.#gate.refuse({ action: 'peer_call' }, { code, reason });
    } catch (error) {
      this.#components.log.warn({ code, error }, 'that a link was ended is not in the audit log');
    }
  }

  async #end(code: ErrorCode, why: string): Promise<void> {
    const failure: Failure = { code, message: `Cannot go on: ${why}` };
    for (const call of this.#calls) this.#finishFailed(call, 'cancelled', failure);
    this.#engine.close();
    this.#room?.resolve();
    this.#flush();
    void this.#send({ f: 'end', code, why: why.slice(0, limits.CALL_WHY_TEXT_MAX) });
    const gone = this.#server.end();
    await this.#lastSignatures();
    for (const n of this.#offered.keys()) this.#half(n, 'was not signed before the link ended');
    this.#countBytes();
    await Promise.all([gone, this.#messages.close(), ...this.#refusals]);
  }

  /** The caller may sign what it was given last. */
  async #lastSignatures(): Promise<void> {
    if (this.#offered.size === 0) this.#stop.abort();
    const { signal } = this.#stop;
    if (signal.aborted) return;
    const last = this.#components.clock.after(limits.CALL_LAST_MS, () => this.#stop.abort());
    await new Promise<void>((settle) => signal.addEventListener('abort', () => settle(), { once: true }));
    last.cancel();
  }
}

/** How a link ends that is not for what the caller did. */
const ORDINARY: readonly ErrorCode[] = ['closed', 'cancelled', 'timeout', 'busy', 'internal', 'read_only'];

function newCall(
  frame: CallFrameOf<'call'>,
  order: OrderStatement,
  own: Pick<Call, 'session' | 'startMs' | 'message'>,
): Call {
  const call: Call = {
    ...own,
    n: frame.n,
    order,
    salt: frame.salt,
    method: own.message?.method ?? '',
    key: undefined,
    phase: 'deciding',
    taking: undefined,
    intent: undefined,
    tool: undefined,
    request: undefined,
    refused: 'refused',
    ended: undefined,
    isUnanswered: false,
    isOutdated: false,
    timer: undefined,
    // What is decided later is about what comes back.
    written: async () => {
      if (call.phase === 'deciding') await call.key?.written();
    },
    decided: (verdict: Verdict, request: GateRequest, isRefused: boolean) => {
      if (call.phase !== 'deciding') return;
      call.intent = verdict.id ?? undefined;
      call.tool = request.tool?.name;
      call.request = request;
      if (verdict.effect !== 'allow') call.refused = isRefused ? 'refused' : 'denied';
    },
    waits: () => {
      if (call.phase === 'deciding') call.refused = 'denied';
    },
  };
  return call;
}

interface ParsedCall {
  readonly message: RequestMessage | undefined;
  readonly problem?: MeshError;
}

function parsedCall(body: Uint8Array): ParsedCall {
  try {
    const message = parseMessage(body, 'client');
    if (message?.kind === 'request') return { message };
    const is = message?.kind ?? 'empty';
    return {
      message: undefined,
      problem: new MeshError('malformed', `Cannot take the call: it is ${is}, want a request`),
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { message: undefined, problem: error };
  }
}

/** Undefined: whoever reads it next says what is wrong with it. */
function readOr(body: Uint8Array): Message | undefined {
  try {
    return parseMessage(body, 'client');
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return undefined;
  }
}

const isOf = (envelope: Uint8Array, sid: string): boolean =>
  toHex(parseStatementOf('call/v1', envelope).payload.sid) === sid;

const isFailed = (message: Message): boolean =>
  message.kind === 'error' ||
  (message.kind === 'result' && isObject(message.result) && message.result['isError'] === true);

function cancelling(requestId: Id, reason: string): Message {
  const params = { requestId, reason };
  const bytes = encoder.encode(JSON.stringify({ jsonrpc: '2.0', method: CANCELLED, params }));
  return { kind: 'notification', method: CANCELLED, params, bytes, hasInexact: false };
}

/** What a server's end says of itself may name files of this machine. */
const told = ({ code }: Failure): Failure => ({
  code,
  message: 'Cannot go on: the server gave no answer that can be passed on',
});

/** By which a server is told from another of its name. */
const originOf = ({ server }: Exposure): string =>
  'command' in server ? server.command.join(' ') : new URL(server.url).origin + new URL(server.url).pathname;
