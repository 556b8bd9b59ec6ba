/**
 * One client's conversation with a server of another organisation, on the side that calls: the engine of every MCP
 * conversation (protocol/mcp/session.ts), with the stream of the link where its server would be.
 *
 *   client ── line ──> engine ── decided, logged ──> order + request ──> the other organisation
 *   client <── line ── engine <── output rules ── receipt checked, signed <── result
 */
import {
  type ErrorCode,
  type IsSignatureValid,
  isMeshError,
  limits,
  MeshError,
  toHex,
} from '../../../protocol/index.ts';
import { type CallFrameOf, isCall, openProof } from '../../../protocol/call/index.ts';
import {
  createSession,
  type Failure,
  isRefusal,
  type Message,
  parseMessage,
  type Refusal,
  type ReportLevel,
  type RequestMessage,
  type Session as Engine,
} from '../../../protocol/mcp/index.ts';
import type { CallOutcome, ReceiptStatement } from '../../../protocol/receipt/index.ts';
import type { Clock, Logger, Random, Timer } from '../../ports.ts';
import { type Session, type SessionLink, type Sessions, sidOf } from '../sessions.ts';
import { type Call, CallerCalls, type Settled } from './caller-calls.ts';
import { type Asked, asking, LEXICAL_PATHS, type LinkGate } from './caller-gate.ts';
import type { CallerLink, LinkControl, LinkEvents, LinkInfo } from './caller-ports.ts';
import type { HeldSession } from './caller-sessions.ts';
import type { EarlierCalls } from './earlier-calls.ts';
import type { CallMessages, ReceivedFrame } from './message-stream.ts';
import type { Receipts } from './receipts.ts';

export interface CallerLinkComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  readonly sessions: Pick<Sessions, 'get' | 'useOf'>;
  readonly receipts: Pick<Receipts, 'keep'>;
  readonly earlier: EarlierCalls;
  /** Of the protocol of calls, with the network's name. */
  readonly protocolId: string;
  /** `session`: the newest under the link. `refused`: a call that is not let through. */
  readonly createGate: (session: () => Session, refused: () => void) => LinkGate;
  /** The session that follows. Errors: of the choice of a grant and of the handshake. */
  readonly renew: (signal: AbortSignal) => Promise<HeldSession>;
  /** Told once, when nothing of it is left. */
  readonly over: () => void;
}

export interface CallerLinkOptions {
  readonly approvalWaitMs: number;
}

const RENEW_AGAIN_MS = 15_000; // after a renewal that failed: a third of a session's life holds some
const ANSWERED_LOOK_MS = 20; // between two looks whether a client that said its last word has its answers
const LOOK_MS = 30_000; // between two looks for calls that nobody speaks of any more

/** What is said of calls that have no receipt of both. */
interface Ending {
  readonly code: ErrorCode;
  readonly message: string;
  /** Of its half receipts. */
  readonly out: CallOutcome;
}

export class StreamLink implements CallerLink {
  readonly info: LinkInfo;
  readonly #components: CallerLinkComponents;
  readonly #messages: CallMessages;
  readonly #events: LinkEvents;
  readonly #calls: CallerCalls;
  readonly #engine: Engine<Asked>;
  readonly #stop = new AbortController();
  readonly #over = Promise.withResolvers<void>();
  readonly #shown: SessionLink;
  #held: HeldSession;
  #renewing: { readonly sid: string; readonly settled: PromiseWithResolvers<void> } | undefined;
  #renewal: Timer | undefined;
  #look: Timer | undefined;
  #last: Timer | undefined;
  #paused: PromiseWithResolvers<void> | undefined;
  /** Nothing new goes out; it ends once nothing is under way, or when the time is over. */
  #ending: Ending | undefined;
  #isOver = false;

  constructor(
    components: CallerLinkComponents,
    link: { readonly messages: CallMessages; readonly held: HeldSession; readonly info: LinkInfo },
    events: LinkEvents,
    { approvalWaitMs }: CallerLinkOptions,
  ) {
    const { clock, random, isSignatureValid, earlier, receipts } = components;
    const { info } = link;
    this.#components = components;
    this.info = info;
    this.#messages = link.messages;
    this.#held = link.held;
    this.#events = events;
    this.#shown = { server: info.server, openedMs: clock.nowMs() };
    this.#calls = new CallerCalls(
      { clock, random, isSignatureValid, earlier, keep: (kept) => void receipts.keep(kept) },
      info.server,
    );
    this.#engine = createSession<Asked>(
      {
        gate: components.createGate(
          () => this.#held.session,
          () => this.#count({ calls: 1, refused: 1 }),
        ),
        toClient: ({ bytes }) => this.#toClient(bytes),
        toServer: (message, { origin }) => this.#toServer(message, origin),
        paths: LEXICAL_PATHS,
        after: (ms, run) => {
          const timer = clock.after(ms, run);
          return () => timer.cancel();
        },
        report: (level, text) => this.#report(level, text),
        onDropped: (asked) => {
          asked.isDropped = true;
        },
      },
      { server: serverOf(info), approvalWaitMs },
    );
  }

  /** Call once: listens until it is over. */
  start(): void {
    const { clock } = this.#components;
    this.#components.sessions.useOf(this.#held.session.sid)?.links.add(this.#shown);
    this.#armRenewal(this.#held.renewAtMs - clock.nowMs());
    this.#lookLater();
    void this.#listen();
  }

  fromClient(bytes: Uint8Array): void {
    if (this.#isOver) return;
    let message: Message | undefined;
    try {
      message = parseMessage(bytes, 'client');
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return this.#engine.fromClient(bytes); // which says what is wrong with it
    }
    if (message === undefined) return;
    const isOrdered = message.kind === 'request' && isCall(message.method);
    this.#engine.fromClient(message, asking(isOrdered));
  }

  get isFull(): boolean {
    return this.#messages.isFull;
  }

  onDrained(call: () => void): void {
    this.#messages.onDrained(call);
  }

  setPaused(isPaused: boolean): void {
    if (isPaused) this.#paused ??= Promise.withResolvers();
    else this.#resume();
  }

  async clientEnded(): Promise<void> {
    const { clock } = this.#components;
    const patience = Promise.withResolvers<void>();
    let isPatient = true;
    const timer = clock.after(limits.CALL_LAST_MS, patience.resolve);
    // What is asked beside calls has no receipt, for which `close` would wait.
    const answered = this.#engine.clientEnded().then(async () => {
      while (isPatient && this.#engine.pending > 0)
        await new Promise<void>((settle) => void clock.after(ANSWERED_LOOK_MS, settle));
    });
    await Promise.race([answered, patience.promise, this.#over.promise]);
    isPatient = false;
    timer.cancel();
    await this.close();
  }

  async close(): Promise<void> {
    this.#resume();
    this.#endSoon({ code: 'closed', message: 'Cannot go on: the client ended the link', out: 'cancelled' }, true);
    await this.#over.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The session of this id is over, whether it is under this link or was. */
  sessionEnded(sid: string, code: ErrorCode): void {
    if (sid !== this.#held.session.sid) return;
    const message = `Cannot go on: the session with "${this.info.did}" ended (${code})`;
    this.#endSoon({ code, message, out: 'cancelled' }, false);
  }

  // To the other side

  #toServer(message: Message, asked: Asked | undefined): void {
    if (message.kind === 'request' && isCall(message.method)) this.#order(message, asked);
    else void this.#pass(message);
  }

  #order(message: RequestMessage, asked = asking(true)): void {
    let call: Call;
    try {
      if (this.#ending !== undefined) throw new MeshError(this.#ending.code, this.#ending.message);
      call = this.#calls.begin(message, asked, this.#held);
    } catch (error) {
      return this.#engine.failRequest(message.id, failureOf(error));
    }
    this.#count({ calls: 1, running: 1, bytesOut: message.bytes.length });
    const { n, order, salt } = call;
    this.#messages.send({ f: 'call', n, order: order.envelope, salt }, message.bytes).catch((error: unknown) => {
      const failure = failureOf(error);
      if (failure.code === 'closed') return this.#broken(failure); // whether it arrived is not known
      this.#calls.unsent(call);
      this.#count({ running: -1, refused: 1 }, call);
      this.#engine.failRequest(message.id, failure);
      this.#endIfDone();
    });
  }

  /** What has no order: housekeeping, notifications, answers to what the server asks. Never rejects. */
  async #pass(message: Message): Promise<void> {
    this.#count({ bytesOut: message.bytes.length });
    try {
      await this.#messages.send({ f: 'msg' }, message.bytes);
    } catch (error) {
      const failure = failureOf(error);
      if (failure.code === 'closed') this.#broken(failure);
      else if (message.kind === 'request') this.#engine.failRequest(message.id, failure);
      else this.#report('warn', `A message to "${serverOf(this.info)}" is not passed on: ${failure.message}`);
    }
  }

  // From the other side

  /** Never rejects. */
  async #listen(): Promise<void> {
    try {
      for (;;) {
        await this.#paused?.promise;
        const received = await this.#messages.receive({ signal: this.#stop.signal });
        if (received === undefined) return this.#broken({ code: 'closed', message: 'the other side ended the link' });
        this.#heard(received);
        if (this.#isOver) return;
      }
    } catch (error) {
      if (!this.#isOver) this.#broken(failureOf(error), isOffence(error));
    }
  }

  /** Errors: of what breaks the rules of a link. */
  #heard({ frame, body = new Uint8Array() }: ReceivedFrame): void {
    if (frame.f === 'taken') this.#calls.taken(frame);
    else if (frame.f === 'result') this.#result(frame, body);
    else if (frame.f === 'msg') this.#said(body);
    else if (frame.f === 'renewed') this.#renewed(toHex(frame.sid));
    else if (frame.f === 'rej') this.#renewing?.settled.reject(new MeshError(frame.code, frame.why, { side: 'peer' }));
    else if (frame.f === 'end')
      this.#finish(this.#ending ?? { code: frame.code, message: ended(frame), out: 'timeout' });
    else throw new MeshError('schema', `Cannot go on with the link: a frame "${frame.f}" came`, { field: 'f' });
  }

  #result(frame: CallFrameOf<'result'>, body: Uint8Array): void {
    this.#count({ bytesIn: body.length });
    const call = this.#calls.running().find(({ n, isAnswered }) => n === frame.n && !isAnswered);
    try {
      const settled = this.#calls.result(frame, body);
      if (!(settled instanceof Promise)) return this.#settled(settled);
      settled.then(
        (one) => this.#settled(one),
        (error: unknown) => this.#declined(call, frame, body, error),
      );
    } catch (error) {
      if (call === undefined) throw error; // what is said of no call is said of none: the link is over
      this.#declined(call, frame, body, error);
    }
  }

  #settled(settled: Settled | undefined): void {
    if (settled === undefined) return;
    const { call, message, receipt, sig } = settled;
    const { n } = call;
    const { out } = receipt.payload;
    this.#count({ running: -1, refused: out === 'denied' || out === 'refused' ? 1 : 0 }, call);
    this.#tell(sig === undefined ? { f: 'decline', n, code: 'key_missing' } : { f: 'sign', n, sig });
    if (!call.asked.isDropped) this.#engine.fromServer(message); // its id may be another's by now
    this.#show(call, receipt);
    this.#endIfDone();
  }

  /** What does not fit its receipt is not shown. */
  #declined(call: Call | undefined, frame: CallFrameOf<'result'>, body: Uint8Array, error: unknown): void {
    if (call === undefined) return this.#broken(failureOf(error), true);
    const { code, message } = failureOf(error);
    const { n, key } = call;
    this.#components.log.warn(
      { did: this.info.did, server: this.info.server, n, code, reason: message },
      'a result was declined: the receipt that came with it does not hold',
    );
    this.#tell({ f: 'decline', n, code });
    const isUnknown = code === 'outcome_unknown';
    const why = isUnknown ? message : `the receipt that came with the result does not hold (${code}: ${message})`;
    this.#giveUp(
      call,
      { code: isUnknown ? code : 'bad_proof', message: why, facts: { key } },
      // Of an answer that cannot be checked nothing is said: "error" would contradict the receipt of the first time.
      { out: isUnknown ? 'timeout' : 'error', got: { body, salt: frame.salt } },
    );
    this.#endIfDone();
  }

  /** Anything but results of calls. Errors: bad_proof, where it is one all the same. */
  #said(body: Uint8Array): void {
    this.#count({ bytesIn: body.length });
    const { message, answers } = readSaid(body);
    const call = answers === undefined ? undefined : this.#calls.ofRequest(answers);
    if (call !== undefined)
      throw new MeshError('bad_proof', `Cannot accept an answer to call ${call.n}: it came without a receipt`);
    if (message !== undefined) this.#calls.said(message);
    this.#engine.fromServer(message ?? body);
  }

  // Sessions

  #armRenewal(inMs: number): void {
    this.#renewal = this.#components.clock.after(Math.max(0, inMs), () => void this.#renew());
  }

  /** Never rejects. */
  async #renew(): Promise<void> {
    if (this.#isOver || this.#ending !== undefined) return;
    const { clock, log, sessions, renew } = this.#components;
    let next: HeldSession | undefined;
    try {
      next = await renew(this.#stop.signal);
      if (this.#isOver) return next.release();
      await this.#follow(next);
      if (this.#isOver) return next.release();
      sessions.useOf(this.#held.session.sid)?.links.delete(this.#shown);
      sessions.useOf(next.session.sid)?.links.add(this.#shown);
      this.#held.release();
      this.#held = next;
      this.#armRenewal(next.renewAtMs - clock.nowMs());
    } catch (error) {
      next?.release();
      if (this.#isOver) return;
      const { code, message } = failureOf(error);
      log.info({ did: this.info.did, code, reason: message }, 'a session under a link could not be renewed');
      this.#armRenewal(RENEW_AGAIN_MS);
    } finally {
      this.#renewing = undefined;
    }
  }

  /** Errors: unreachable (it is on another connection), timeout, closed, what the other side refuses with. */
  async #follow({ session }: HeldSession): Promise<void> {
    const { clock, random, protocolId } = this.#components;
    if (session.sid === this.#held.session.sid) return;
    if (session.connection !== this.#messages.connection.id)
      throw new MeshError('unreachable', 'Cannot renew the session: it is on another connection than the link');
    const settled = Promise.withResolvers<void>();
    this.#renewing = { sid: session.sid, settled };
    const timer = clock.after(limits.CALL_OPEN_MS, () =>
      settled.reject(new MeshError('timeout', 'Cannot renew the session: the other side does not answer')),
    );
    try {
      const [sid, nonce] = [sidOf(session), random.bytes(limits.CALL_NONCE_BYTES)];
      const { hash, signer } = session.agreed;
      const claim = { protocolId, hash, sid, frame: 'renew', subject: this.info.server, nonce } as const;
      await Promise.all([
        settled.promise,
        this.#messages.send({ f: 'renew', sid, non: nonce, sig: openProof(claim, signer) }),
      ]);
    } finally {
      timer.cancel();
    }
  }

  /** Errors: conflict. */
  #renewed(sid: string): void {
    if (this.#renewing?.sid !== sid)
      throw new MeshError('conflict', `Cannot go on in session "${sid}": it was not asked for`, { id: sid });
    this.#renewing.settled.resolve();
  }

  // Ending

  #lookLater(): void {
    this.#look = this.#components.clock.after(LOOK_MS, () => {
      this.#giveUpSilent();
      if (!this.#isOver) this.#lookLater();
    });
  }

  /** A server that took a call and says no more of it. */
  #giveUpSilent(): void {
    const before = this.#components.clock.monotonicMs() - limits.CALL_SILENCE_MS;
    for (const call of this.#calls.running()) {
      if (call.heardMs > before) continue;
      const { n, key, request } = call;
      void this.#pass(cancelling(request, 'no answer came'));
      const message = `call ${n} has no answer after ${limits.CALL_SILENCE_MS / 1000} s`;
      this.#giveUp(call, { code: 'outcome_unknown', message, facts: { key } }, { out: 'timeout' });
    }
    this.#endIfDone();
  }

  #giveUp(call: Call, failure: Failure, how: { out: CallOutcome; got?: { body: Uint8Array; salt: Uint8Array } }): void {
    const receipt = this.#calls.giveUp(call, how.out, how.got);
    if (receipt === undefined) return;
    this.#count({ running: -1 }, call);
    if (!call.asked.isDropped) this.#engine.failRequest(call.request, failure);
    this.#show(call, receipt);
  }

  /** Leaves the other side a moment for what it gives up: its receipts are worth more than half ones. */
  #endSoon(ending: Ending, isByClient: boolean): void {
    if (this.#isOver || this.#ending !== undefined) return;
    this.#ending = ending;
    if (isByClient)
      for (const { request } of this.#calls.running()) void this.#pass(cancelling(request, 'the client is gone'));
    this.#last = this.#components.clock.after(limits.CALL_LAST_MS, () => this.#finish(ending));
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#ending !== undefined && this.#calls.size === 0) this.#finish(this.#ending);
  }

  /** The stream is of no use any more. */
  #broken({ code, message }: Failure, isOffence = false): void {
    if (isOffence)
      this.#components.log.warn(
        { did: this.info.did, server: this.info.server, code, reason: message },
        'a link was ended: the other side broke its rules',
      );
    this.#finish(this.#ending ?? { code, message, out: 'timeout' });
  }

  #finish({ code, message, out }: Ending): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const timer of [this.#renewal, this.#look, this.#last]) timer?.cancel();
    for (const call of this.#calls.running()) {
      const why = `the link ended before its answer came (${code}: ${message}); to ask again, use its key "${call.key}"`;
      this.#giveUp(call, { code: 'outcome_unknown', message: why, facts: { key: call.key } }, { out });
    }
    this.#engine.serverEnded({ code, message });
    this.#engine.close();
    this.#components.sessions.useOf(this.#held.session.sid)?.links.delete(this.#shown);
    this.#held.release();
    this.#renewing?.settled.reject(new MeshError(code, message));
    this.#resume();
    void this.#leave(code, message);
  }

  async #leave(code: ErrorCode, message: string): Promise<void> {
    this.#events.ended(code, message);
    this.#tell({ f: 'end', code, why: message.slice(0, limits.CALL_WHY_TEXT_MAX) });
    await this.#messages.close();
    this.#stop.abort(new MeshError(code, message));
    this.#components.over();
    this.#over.resolve();
  }

  // The rest

  #resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  #toClient(bytes: Uint8Array): void {
    this.#events.line(bytes);
  }

  /** A frame without a body. Whether it arrives is for the other side to miss. */
  #tell(frame: CallFrameOf<'sign'> | CallFrameOf<'decline'> | CallFrameOf<'end'>): void {
    this.#messages.send(frame).catch((error: unknown) => {
      this.#components.log.debug({ frame: frame.f, code: failureOf(error).code }, 'a frame of a link was not sent');
    });
  }

  #show({ request, held, n }: Call, receipt: ReceiptStatement): void {
    const { id, payload } = receipt;
    const control: LinkControl = {
      type: 'receipt',
      request,
      id,
      sid: held.session.sid,
      n,
      out: payload.out,
      half: payload.half === true,
    };
    this.#events.control(control);
  }

  #count(more: Partial<Record<Counted, number>>, call?: Call): void {
    const { session } = call?.held ?? this.#held;
    const use = this.#components.sessions.useOf(session.sid);
    if (use === undefined) return;
    for (const name of COUNTED) use[name] += more[name] ?? 0;
  }

  #report(level: ReportLevel, text: string): void {
    const { did, server, as } = this.info;
    this.#components.log[level === 'warn' ? 'warn' : 'info']({ did, server, as }, text);
  }
}

const COUNTED = ['calls', 'refused', 'running', 'bytesIn', 'bytesOut'] as const;
type Counted = (typeof COUNTED)[number];

/** As policies and pins name the server. */
export const serverOf = ({ did, server }: Pick<LinkInfo, 'did' | 'server'>): string => `${did}/${server}`;

const ended = ({ code, why }: CallFrameOf<'end'>): string =>
  `Cannot go on: the other side ended the link (${code}${why === '' ? '' : `: ${why}`})`;

/** Whether the other side broke the rules, or the stream just broke. */
const isOffence = (error: unknown): boolean =>
  isMeshError(error) && !['closed', 'timeout', 'cancelled', 'busy'].includes(error.code);

function failureOf(error: unknown): Failure {
  if (isMeshError(error)) return { code: error.code, message: error.message };
  return { code: 'internal', message: `Cannot go on: a fault of this program (${String(error)})` };
}

/** What a message that should be no answer to a call says that it answers. */
function readSaid(body: Uint8Array): { readonly message?: Message; readonly answers?: string | number } {
  try {
    const message = parseMessage(body, 'server');
    const isAnswer = message?.kind === 'result' || message?.kind === 'error';
    return {
      ...(message !== undefined && { message }),
      ...(isAnswer && message.id !== null && { answers: message.id }),
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const { rpcId, kind } = error.data as unknown as Partial<Refusal>;
    const isAnswer = kind === 'result' || kind === 'error';
    return isAnswer && rpcId !== null && rpcId !== undefined ? { answers: rpcId } : {};
  }
}

function cancelling(request: string | number, reason: string): Message {
  const params = { requestId: request, reason };
  const method = 'notifications/cancelled';
  const bytes = new TextEncoder().encode(JSON.stringify({ jsonrpc: '2.0', method, params }));
  return { kind: 'notification', method, params, bytes, hasInexact: false };
}
