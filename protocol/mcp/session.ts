/**
 * The state of one client's conversation with one server, between which it stands (SPEC "MCP as governed"). Requests are
 * decided one by one; each goes on as soon as it was, so one that waits keeps no other message back. What goes on
 * unchanged goes on as the bytes that came.
 *
 *   client ── request ──> decide ──> server ── result ──> output rules ──> client
 *   server ── request ──> decide ──> client ── result ──────────────────> server
 */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { type ErrorCode, isMeshError, MeshError } from '../errors.ts';
import {
  MCP_HELD_MAX,
  MCP_LIST_MS,
  MCP_MESSAGE_BYTES_MAX,
  MCP_PENDING_MAX,
  MCP_REPORTS_MAX,
  MCP_WAITING_BYTES_MAX,
} from '../limits.ts';
import type { OutputRules } from '../policy/decision.ts';
import type { GateRequest, Outcome, PendingApproval, Verdict } from '../policy/gate.ts';
import {
  APPROVAL_QUESTION_METHOD,
  approvalStep,
  approveCommand,
  canAsk,
  inputRequired,
  progressOf,
  questionOf,
  requestMessage,
  returnOf,
  whatOf,
} from './approval-questions.ts';
import { denialOf, failureOf } from './denial.ts';
import { clientCapabilitiesOf, type Era, eraOf, metaOf } from './era.ts';
import { footed } from './footer.ts';
import { type GovernedContext, governedOf, subscribedOf } from './governed.ts';
import { inputRequestsOf } from './input-requests.ts';
import { filteredBytes, filteredResult, isListing, membersOf } from './listing.ts';
import {
  type ErrorMessage,
  errorResponse,
  type Id,
  idKey,
  isObject,
  isRefusal,
  type Message,
  type NotificationMessage,
  parseMessage,
  refusalAnswer,
  type Refusal,
  type RequestMessage,
  resultResponse,
  type ResultMessage,
  RPC_CODES,
  type Sender,
} from './messages.ts';
import { hasVariant } from './names.ts';
import type { Failure, ReportLevel, Session, SessionComponents, SessionOptions } from './ports.ts';
import { isKeptBack, rewritten, scanned, scannedNotice, scannedQuestion } from './shown-results.ts';
import { nameOf, ToolChecks } from './tool-checks.ts';

export const createSession = <Origin = undefined>(
  components: SessionComponents<Origin>,
  options: SessionOptions,
): Session<Origin> => new McpSession(components, options);

/** MCP's own life, which does nothing for anybody: to be judged would only keep it from beginning. */
const PASSED: ReadonlySet<string> = new Set(['initialize', 'ping', 'server/discover']);
const NOTIFICATION = 'notifications/';
const CANCELLED = 'notifications/cancelled';
const SUBSCRIPTION_ID = 'io.modelcontextprotocol/subscriptionId';
const OWN_ID = 'agentmesh/';

/** A request that has no answer yet. */
interface Asked<Origin> {
  readonly message: RequestMessage;
  readonly from: Sender;
  readonly origin: Origin | undefined;
  readonly era: Era;
  /** Fires when nobody wants it any more. */
  readonly abort: AbortController;
  phase: 'deciding' | 'sent' | 'answering';
  /** Undefined: it needs none. */
  verdict: Verdict | undefined;
  /** What it waits for, while it does. */
  approval: PendingApproval | undefined;
  /** Our question to the client about it. */
  question: Id | undefined;
  signsOfLife: number;
}

/** A request of our own to the server. */
interface Own {
  readonly settle: (answer: ResultMessage | ErrorMessage) => void;
  readonly fail: (error: MeshError) => void;
}

class McpSession<Origin> implements Session<Origin> {
  readonly #components: SessionComponents<Origin>;
  readonly #options: SessionOptions;
  readonly #context: GovernedContext;
  readonly #tools: ToolChecks;
  readonly #asked: Readonly<Record<Sender, Map<string, Asked<Origin>>>> = { client: new Map(), server: new Map() };
  /** Requests by the progress token that they gave. */
  readonly #byToken = new Map<string, Asked<Origin>>();
  readonly #own = new Map<string, Own>();
  /** Our questions to the client, each with what it is about. */
  readonly #questions = new Map<string, Asked<Origin>>();
  /** How often something of a kind was told. */
  readonly #told = new Map<string, number>();
  readonly #idle: (() => void)[] = [];
  #era: Era = '2025-11-25';
  #clientCapabilities: JsonObject | undefined;
  #ids = 0;
  #held = 0;
  #waitingBytes = 0;
  /** Requests and answers that are being judged. */
  #deciding = 0;
  /** Of the newest decision. */
  #output: OutputRules | undefined;
  /** Of the server, one after the other, as they wait for a decision. */
  #notices: Promise<void> = Promise.resolve();
  #noticesWaiting = 0;
  #ended: Failure | undefined;
  #isClientGone = false;
  #isClosed = false;

  constructor(components: SessionComponents<Origin>, options: SessionOptions) {
    this.#components = components;
    this.#options = options;
    this.#context = { server: options.server, paths: components.paths };
    this.#tools = new ToolChecks(
      {
        gate: components.gate,
        context: this.#context,
        tools: components.tools,
        ask: (method, params) => this.#ask(method, params),
        tell: (...told) => this.#tell(...told),
      },
      options,
    );
  }

  get pending(): number {
    return this.#asked.client.size;
  }

  fromClient(input: Uint8Array | Message, origin?: Origin): void {
    const message = this.#read(input, 'client', origin);
    if (message === undefined) return;
    if (message.kind === 'request') this.#take(message, 'client', origin);
    else if (message.kind === 'notification') this.#notice(message, 'client', origin);
    else this.#answerToServer(message);
  }

  fromServer(input: Uint8Array | Message, relatedTo?: Id): void {
    const message = this.#read(input, 'server', undefined);
    if (message === undefined) return;
    const origin = relatedTo === undefined ? undefined : this.#asked.client.get(idKey(relatedTo))?.origin;
    if (message.kind === 'request') this.#take(message, 'server', origin);
    else if (message.kind === 'notification') this.#notice(message, 'server', origin);
    else this.#answerToClient(message);
  }

  failRequest(id: Id, failure: Failure): void {
    const own = this.#takeOwn(id);
    if (own !== undefined) return own.fail(new MeshError(failure.code, failure.message));
    const asked = this.#asked.client.get(idKey(id));
    if (asked?.phase === 'sent') this.#fail(asked, failure.code, failure.message, failure);
  }

  failSent(failure: Failure): void {
    for (const [key, own] of this.#own) {
      this.#own.delete(key);
      own.fail(new MeshError(failure.code, failure.message));
    }
    for (const asked of this.#asked.client.values())
      if (asked.phase === 'sent') this.#fail(asked, failure.code, failure.message, failure);
  }

  serverEnded(failure: Failure): void {
    this.#ended = failure;
    this.failSent(failure);
    for (const asked of this.#asked.client.values())
      if (asked.phase === 'deciding') {
        asked.abort.abort();
        this.#fail(asked, failure.code, failure.message);
      }
    for (const asked of this.#asked.server.values()) this.#drop(asked, 'closed');
  }

  clientEnded(): Promise<void> {
    this.#isClientGone = true;
    for (const asked of this.#asked.client.values()) if (asked.approval !== undefined) this.#drop(asked, 'cancelled');
    return new Promise((settle) => {
      this.#idle.push(settle);
      this.#tellIdle();
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const table of Object.values(this.#asked)) for (const asked of table.values()) this.#drop(asked, 'closed');
    for (const own of this.#own.values()) own.fail(new MeshError('closed', 'Cannot go on: the session is over'));
    this.#own.clear();
    this.#questions.clear();
  }

  // Reading

  #read(input: Uint8Array | Message, from: Sender, origin: Origin | undefined): Message | undefined {
    if (this.#isClosed) return undefined;
    if (!(input instanceof Uint8Array)) return input;
    try {
      return parseMessage(input, from);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#refuseMessage(error, from, origin);
      return undefined;
    }
  }

  /** Whoever waits is told: the sender of a request, or who asked for what a bad answer was to. */
  #refuseMessage(error: MeshError, from: Sender, origin: Origin | undefined): void {
    const { kind, rpcId } = error.data as unknown as Partial<Refusal>;
    this.#tell(`refused ${from}`, 'warn', `The ${from} sent what is not passed on: ${error.message}`);
    if (kind === 'result' || kind === 'error') {
      if (rpcId === null || rpcId === undefined) return;
      if (from === 'server') return this.failRequest(rpcId, { code: 'malformed', message: error.message });
      const asked = this.#asked.server.get(idKey(rpcId));
      if (asked?.phase === 'sent') this.#fail(asked, 'malformed', error.message);
      return;
    }
    const answer = refusalAnswer(error);
    // Over stdio, servers print what is no message at all; that asks for nothing.
    if (answer === undefined || (from === 'server' && (rpcId === null || rpcId === undefined))) return;
    this.#send(from, read(answer, other(from)), origin, true);
  }

  // Requests

  #take(message: RequestMessage, from: Sender, origin: Origin | undefined): void {
    const key = idKey(message.id);
    const isOurs = from === 'client' ? this.#own.has(key) : this.#questions.has(key);
    if (isOurs || this.#asked[from].has(key)) {
      // Answered without the id: with it, the answer would be taken for the first one's.
      const text = `Cannot accept the request: its id ${JSON.stringify(message.id)} is that of another without an answer`;
      this.#send(from, read(errorResponse(null, RPC_CODES.invalidRequest, text), other(from)), origin, true);
      return;
    }
    const asked: Asked<Origin> = {
      message,
      from,
      origin,
      era: eraOf(message) ?? this.#era,
      abort: new AbortController(),
      phase: 'deciding',
      verdict: undefined,
      approval: undefined,
      question: undefined,
      signsOfLife: 0,
    };
    const refusal = this.#isTooMuch(asked);
    this.#open(asked);
    if (refusal !== undefined) return this.#fail(asked, refusal.code, refusal.message);
    if (message.method === 'initialize' && from === 'client') {
      this.#era = '2025-11-25';
      this.#clientCapabilities = clientCapabilitiesOf(message);
    }
    if (PASSED.has(message.method)) return this.#forward(asked, message);
    void this.#judge(asked);
  }

  #isTooMuch({ message, from }: Asked<Origin>): Failure | undefined {
    if (from === 'client' && this.#ended !== undefined) return this.#ended;
    if (this.#asked[from].size >= MCP_PENDING_MAX)
      return {
        code: 'busy',
        message: `Cannot take the request: ${MCP_PENDING_MAX} others have no answer yet`,
      };
    if (this.#waitingBytes + message.bytes.length > MCP_WAITING_BYTES_MAX)
      return { code: 'busy', message: 'Cannot take the request: too much waits for an answer' };
    return undefined;
  }

  #open(asked: Asked<Origin>): void {
    this.#asked[asked.from].set(idKey(asked.message.id), asked);
    const token = metaOf(asked.message)?.['progressToken'];
    if (asked.from === 'client' && isId(token)) this.#byToken.set(idKey(token), asked);
    this.#waitingBytes += asked.message.bytes.length;
    this.#deciding++;
  }

  /** Never rejects. */
  async #judge(asked: Asked<Origin>): Promise<void> {
    try {
      const returned = asked.from === 'client' ? returnOf(asked.message) : undefined;
      const message = returned?.message ?? asked.message;
      const request = governedOf(message, asked.from, this.#context);
      if (request === undefined) return this.#forward(asked, message);
      const subscribed = subscribedOf(message, asked.from, this.#context);
      if (returned?.isWaitingOn === false) return this.#giveUp(asked, returned.approval);
      const name = message.method === 'tools/call' ? request.tool?.name : undefined;
      const problem = name === undefined ? undefined : await this.#problemOf(name, asked);
      if (!this.#isOpen(asked)) return;
      if (problem !== undefined) return await this.#withhold(asked, request, problem);
      const isHolding = returned !== undefined || !this.#canReturn(asked);
      const verdict = await this.#decide(asked, request, isHolding);
      if (verdict === undefined) return;
      if (verdict.effect !== 'allow') return this.#deny(asked, verdict, isHolding);
      asked.verdict = verdict;
      if (asked.from === 'client') this.#output = verdict.output;
      for (const each of subscribed) {
        const one = await this.#decide(asked, each, isHolding);
        if (one === undefined) return;
        this.#settle(one, { code: 'ok' });
        if (one.effect === 'allow') continue;
        this.#settle(verdict, { code: one.code ?? 'policy_denied' });
        return this.#deny(asked, one, isHolding);
      }
      // The list may have changed while somebody thought about the call.
      if (name !== undefined) await this.#tools.verify(name, asked.message);
      if (this.#isOpen(asked))
        this.#forward(asked, asked.from === 'server' ? scannedQuestion(message, verdict.output) : message);
    } catch (error) {
      this.#refuse(asked, error);
    }
  }

  /** Why the tool may not be called, as far as its definition says. */
  async #problemOf(name: string, asked: Asked<Origin>): Promise<MeshError | undefined> {
    try {
      await this.#tools.verify(name, asked.message);
      return undefined;
    } catch (error) {
      if (isMeshError(error)) return error;
      throw error;
    }
  }

  /** What is refused here is in the log all the same. Errors: as of the gate. */
  async #withhold(asked: Asked<Origin>, request: GateRequest, problem: MeshError): Promise<void> {
    const verdict = await this.#components.gate.decide(
      { ...request, withheld: problem.code },
      { signal: asked.abort.signal, origin: asked.origin },
    );
    this.#settle(verdict, { code: problem.code });
    if (!this.#isOpen(asked)) return;
    const isOurs = verdict.effect !== 'deny' || verdict.code === problem.code;
    this.#deny(
      asked,
      isOurs ? { ...verdict, effect: 'deny', code: problem.code, reason: sentenceOf(problem) } : verdict,
      true,
    );
  }

  /** Undefined: nobody waits for it any more. Errors: as of the gate. */
  async #decide(asked: Asked<Origin>, request: GateRequest, isHolding: boolean): Promise<Verdict | undefined> {
    const isHeld = isHolding && this.#options.approvalWaitMs > 0 && this.#held < MCP_HELD_MAX;
    if (isHeld) this.#held++;
    try {
      const verdict = await this.#components.gate.decide(request, {
        signal: asked.abort.signal,
        origin: asked.origin,
        ...(isHeld && {
          holdMs: this.#options.approvalWaitMs,
          onWaiting: (approval: PendingApproval) => this.#wait(asked, approval),
        }),
      });
      if (this.#isOpen(asked)) return verdict;
      this.#settle(verdict, { code: 'cancelled' });
      return undefined;
    } finally {
      if (isHeld) this.#held--;
      asked.approval = undefined;
      this.#closeQuestion(asked);
    }
  }

  #isOpen(asked: Asked<Origin>): boolean {
    return this.#asked[asked.from].get(idKey(asked.message.id)) === asked;
  }

  #forward(asked: Asked<Origin>, message: RequestMessage): void {
    this.#leavePhase(asked, 'sent');
    this.#send(other(asked.from), message, asked.origin, false);
  }

  #leavePhase(asked: Asked<Origin>, next: Asked<Origin>['phase'] | undefined): void {
    if (asked.phase === 'deciding') this.#deciding--;
    if (next === undefined) {
      this.#waitingBytes -= asked.message.bytes.length;
      this.#asked[asked.from].delete(idKey(asked.message.id));
      const token = metaOf(asked.message)?.['progressToken'];
      if (isId(token) && this.#byToken.get(idKey(token)) === asked) this.#byToken.delete(idKey(token));
      this.#closeQuestion(asked);
    }
    asked.phase = next ?? 'answering';
    this.#tellIdle();
  }

  /** The end of it: its asker gets this answer. */
  #answer(asked: Asked<Origin>, answer: Message): void {
    if (!this.#isOpen(asked)) return;
    this.#leavePhase(asked, undefined);
    this.#send(asked.from, answer, asked.origin, true);
  }

  /** The end of it without an answer. */
  #drop(asked: Asked<Origin>, code: 'cancelled' | 'closed'): void {
    if (!this.#isOpen(asked)) return;
    asked.abort.abort();
    this.#leavePhase(asked, undefined);
    this.#settle(asked.verdict, { code });
    if (asked.from === 'client' && asked.origin !== undefined) this.#components.onDropped?.(asked.origin);
  }

  #settle(verdict: Verdict | undefined, outcome: Outcome): void {
    if (verdict?.effect === 'allow') this.#components.gate.settle(verdict, outcome);
  }

  // Refusing

  #deny(asked: Asked<Origin>, verdict: Verdict, isHolding: boolean): void {
    const { message, era, from } = asked;
    const { approvedBy } = this.#options;
    const question =
      verdict.approval === undefined || isHolding
        ? undefined
        : inputRequired(verdict.approval, message, whatOf(message, this.#options.server), approvedBy);
    const answer =
      question === undefined ? denialOf({ message, verdict, era, approvedBy }) : resultResponse(message.id, question);
    this.#answer(asked, read(answer, other(from)));
  }

  #giveUp(asked: Asked<Origin>, approval: string): void {
    const step = approvalStep(approval, this.#options.approvedBy);
    const reason = `it was not waited for any longer; ${step} still lets it through`;
    this.#fail(asked, 'approval_pending', reason);
  }

  /** What could not be decided is not done. */
  #refuse(asked: Asked<Origin>, error: unknown): void {
    if (!this.#isOpen(asked)) return;
    if (isRefusal(error)) {
      this.#settle(asked.verdict, { code: error.code });
      this.#answer(asked, read(refusalAnswer(error) ?? new Uint8Array(), other(asked.from)));
      return;
    }
    if (!isMeshError(error)) this.#tell('fault', 'warn', `A fault of this program: ${String(error)}`);
    const problem = isMeshError(error) ? error : new MeshError('internal', 'Cannot decide it');
    this.#fail(asked, problem.code, sentenceOf(problem));
  }

  #fail(
    asked: Asked<Origin>,
    code: ErrorCode,
    reason: string,
    { facts, isBegun }: Pick<Failure, 'facts' | 'isBegun'> = {},
  ): void {
    if (!this.#isOpen(asked)) return;
    const { message, era, verdict, from } = asked;
    this.#answer(asked, read(failureOf({ message, code, reason, era, facts, isBegun }), other(from)));
    this.#settle(verdict, { code });
  }

  // Waiting for approvals

  /** MCP 2026-07-28: the client takes the question with it and comes back. */
  #canReturn({ message, from, era }: Asked<Origin>): boolean {
    return from === 'client' && era === '2026-07-28' && !message.hasInexact && canAsk(clientCapabilitiesOf(message));
  }

  #wait(asked: Asked<Origin>, approval: PendingApproval): void {
    if (!this.#isOpen(asked)) return;
    if (this.#isClientGone) return this.#drop(asked, 'cancelled');
    const isFirst = asked.approval === undefined;
    asked.approval = approval;
    this.#tellIdle();
    const { message, from, era, origin } = asked;
    const what = whatOf(message, this.#options.server);
    const token = metaOf(message)?.['progressToken'];
    if (isId(token)) {
      const params = progressOf(
        token,
        ++asked.signsOfLife,
        `AgentMesh holds ${what}: approval ${approval.id} is awaited`,
      );
      this.#send(from, notification('notifications/progress', params), origin, false);
    }
    if (!isFirst) return;
    this.#tell(
      `approval ${approval.id}`,
      'note',
      `Approval ${approval.id} is awaited for ${what}: ${approveCommand(approval.id)}`,
    );
    if (from !== 'client' || era !== '2025-11-25' || !canAsk(this.#clientCapabilities)) return;
    asked.question = this.#newId();
    this.#questions.set(idKey(asked.question), asked);
    this.#send(
      'client',
      requestMessage(asked.question, APPROVAL_QUESTION_METHOD, questionOf(approval, what, this.#options.approvedBy)),
      origin,
      false,
    );
  }

  #answerToQuestion(asked: Asked<Origin>, answer: ResultMessage | ErrorMessage): void {
    const { question, approval } = asked;
    asked.question = undefined;
    if (question !== undefined) this.#questions.delete(idKey(question));
    if (answer.kind === 'error' || !isObject(answer.result) || answer.result['action'] === 'accept') return; // it waits on
    asked.abort.abort();
    this.#giveUp(asked, approval?.id ?? '');
  }

  /** The client need not answer it any more. */
  #closeQuestion(asked: Asked<Origin>): void {
    const { question, origin } = asked;
    if (question === undefined) return;
    asked.question = undefined;
    this.#questions.delete(idKey(question));
    this.#send('client', notification(CANCELLED, { requestId: question, reason: 'it is decided' }), origin, false);
  }

  // Notifications

  #notice(message: NotificationMessage, from: Sender, origin: Origin | undefined): void {
    if (message.method === CANCELLED && this.#cancel(message, from)) return;
    if (message.method === 'notifications/tools/list_changed' && from === 'server') this.#tools.setChanged();
    if (message.method.startsWith(NOTIFICATION)) {
      if (from === 'client') this.#send('server', message, origin, false);
      else this.#tellClient(message, origin);
      return;
    }
    void this.#judgeNotice(message, from, origin);
  }

  /** A request without an id, which lax receivers carry out all the same. Never rejects. */
  async #judgeNotice(message: NotificationMessage, from: Sender, origin: Origin | undefined): Promise<void> {
    const { gate } = this.#components;
    let why = 'it is a request, and has no id';
    try {
      const request = governedOf(message, from, this.#context);
      const isPlain = subscribedOf(message, from, this.#context).length === 0;
      if (isPlain && request?.action === 'mcp_request' && !PASSED.has(message.method)) {
        const verdict = await gate.decide(request);
        if (verdict.effect === 'allow') {
          this.#send(other(from), message, origin, false);
          this.#settle(verdict, { code: 'ok' });
          return;
        }
        why = verdict.reason;
      }
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    this.#tell(`notice ${from}`, 'warn', `A notification "${message.method}" of the ${from} is not passed on: ${why}`);
  }

  #tellClient(message: NotificationMessage, origin: Origin | undefined): void {
    if (message.params === undefined && this.#noticesWaiting === 0)
      return this.#send('client', message, origin ?? this.#originOf(message), false);
    if (this.#output !== undefined && this.#noticesWaiting === 0 && !asksForInput(message.params))
      return this.#tellShown(message, origin, this.#output);
    if (this.#noticesWaiting >= MCP_PENDING_MAX) return this.#keepBack(message, 'too many wait to be decided');
    this.#noticesWaiting++;
    this.#notices = this.#notices.then(() => this.#tellOnceJudged(message, origin));
  }

  /** Before anything was decided the output rules are not known; a task may ask the client for something. Never rejects. */
  async #tellOnceJudged(message: NotificationMessage, origin: Origin | undefined): Promise<void> {
    const { gate } = this.#components;
    const { method, params = null } = message;
    try {
      const requests: GateRequest[] = inputRequestsOf(params).map(({ request }) => request);
      if (this.#output === undefined) requests.push({ action: 'mcp_request', mcp: { method } });
      for (const request of requests) {
        const verdict = await gate.decide(request);
        if (verdict.effect !== 'allow') return this.#keepBack(message, verdict.reason);
        this.#settle(verdict, { code: 'ok' });
        this.#output ??= verdict.output;
      }
      if (this.#output !== undefined) this.#tellShown(message, origin, this.#output);
    } catch (error) {
      this.#keepBack(message, error instanceof Error ? error.message : String(error));
    } finally {
      this.#noticesWaiting--;
    }
  }

  /** What it is about may be long over: the rules are those of the newest decision. */
  #tellShown(message: NotificationMessage, origin: Origin | undefined, rules: OutputRules): void {
    const shown = scannedNotice(message, rules, this.#clientsOwn(message));
    if (shown === undefined) return this.#keepBack(message, 'policy keeps back what it holds');
    this.#send('client', shown, origin ?? this.#originOf(message), false);
  }

  #keepBack({ method }: NotificationMessage, why: string): void {
    this.#tell(`notice ${method}`, 'warn', `A notification "${method}" of the server is not passed on: ${why}`);
  }

  /** Members by which the client knows its own requests. */
  #clientsOwn({ params }: NotificationMessage): readonly string[] {
    if (!isObject(params)) return [];
    const { progressToken, requestId } = params;
    return [
      ...(isId(progressToken) && this.#byToken.has(idKey(progressToken)) ? ['progressToken'] : []),
      ...(isId(requestId) && this.#asked.client.has(idKey(requestId)) ? ['requestId'] : []),
    ];
  }

  /** What of the client's a notification of the server serves. */
  #originOf({ method, params }: NotificationMessage): Origin | undefined {
    if (!isObject(params)) return undefined;
    const token = method === 'notifications/progress' ? params['progressToken'] : undefined;
    if (isId(token)) return this.#byToken.get(idKey(token))?.origin;
    const ended = method === CANCELLED ? params['requestId'] : undefined; // of a subscription, by the server
    if (isId(ended)) return this.#asked.client.get(idKey(ended))?.origin;
    const subscription = isObject(params['_meta']) ? params['_meta'][SUBSCRIPTION_ID] : undefined;
    return isId(subscription) ? this.#asked.client.get(idKey(subscription))?.origin : undefined;
  }

  /** True: it ends here. */
  #cancel({ params }: NotificationMessage, from: Sender): boolean {
    const id = isObject(params) ? params['requestId'] : undefined;
    if (!isId(id)) return false;
    const key = idKey(id);
    if (from === 'client' ? this.#own.has(key) : this.#questions.has(key)) return true; // ours to cancel
    const asked = this.#asked[from].get(key);
    if (asked === undefined || PASSED.has(asked.message.method)) return false;
    const isThere = asked.phase === 'sent';
    this.#drop(asked, 'cancelled');
    return !isThere;
  }

  // Answers

  #answerToServer(message: ResultMessage | ErrorMessage): void {
    const key = message.id === null ? '' : idKey(message.id);
    const question = this.#questions.get(key);
    if (question !== undefined) return this.#answerToQuestion(question, message);
    const asked = this.#asked.server.get(key);
    if (asked?.phase !== 'sent') return this.#dropAnswer(message, 'client');
    const { verdict } = asked;
    this.#answer(asked, message);
    this.#settle(verdict, { code: message.kind === 'error' ? 'failed' : 'ok' });
  }

  #answerToClient(message: ResultMessage | ErrorMessage): void {
    const own = message.id === null ? undefined : this.#takeOwn(message.id);
    if (own !== undefined) return own.settle(message);
    const asked = message.id === null ? undefined : this.#asked.client.get(idKey(message.id));
    if (asked?.phase !== 'sent') return this.#dropAnswer(message, 'server');
    asked.phase = 'answering';
    const { verdict } = asked;
    const isAsking = message.kind === 'result' && asksForInput(message.result);
    if (verdict === undefined) {
      if (!isAsking) return this.#answerUnjudged(asked, message);
      return this.#fail(
        asked,
        'malformed',
        `Cannot pass on what a server asks: "${asked.message.method}" asks nothing back`,
      );
    }
    if (message.kind === 'result' && (isListing(asked.message.method) || isAsking))
      return void this.#answerOnceJudged(asked, message, verdict);
    try {
      this.#answerScanned(asked, message, verdict);
    } catch (error) {
      this.#refuse(asked, error);
    }
  }

  /** Nothing that was not asked for is passed on: a server might guess the id of what is still being decided. */
  #dropAnswer({ id }: ResultMessage | ErrorMessage, from: Sender): void {
    this.#tell(
      `answer ${from}`,
      'note',
      `The ${from} answered what was not asked, or is over: id ${JSON.stringify(id)}`,
    );
  }

  /**
   * What a server says of itself is read by models too, its instructions above all. Few say anything that an output rule
   * could be about: only then is it asked what the rules are, which is no question whether the client may begin.
   */
  #answerUnjudged(asked: Asked<Origin>, message: ResultMessage | ErrorMessage): void {
    const { shown, refused } = scanned(message, ALL_FOUND);
    if (refused === undefined && shown === message) this.#answer(asked, message);
    else void this.#answerOnceAsked(asked, message);
  }

  /** Never rejects. */
  async #answerOnceAsked(asked: Asked<Origin>, message: ResultMessage | ErrorMessage): Promise<void> {
    this.#deciding++;
    try {
      const { method } = asked.message;
      const verdict = await this.#components.gate.decide(
        { action: 'mcp_request', mcp: { method } },
        { signal: asked.abort.signal },
      );
      if (this.#isOpen(asked)) this.#answerScanned(asked, message, verdict);
      else this.#settle(verdict, { code: 'cancelled' });
    } catch (error) {
      this.#refuse(asked, error);
    } finally {
      this.#deciding--;
      this.#tellIdle();
    }
  }

  /** Never rejects. */
  async #answerOnceJudged(asked: Asked<Origin>, message: ResultMessage, verdict: Verdict): Promise<void> {
    this.#deciding++;
    try {
      if (asksForInput(message.result) && !(await this.#allowsInputs(asked, message, verdict))) return;
      if (!isListing(asked.message.method)) return this.#answerScanned(asked, message, verdict);
      const keep = await this.#tools.kept(asked.message, message, asked.abort.signal);
      if (this.#isOpen(asked))
        this.#answerScanned(asked, listed(message, asked.message.method, keep, verdict.output), verdict);
    } catch (error) {
      this.#refuse(asked, error);
    } finally {
      this.#deciding--;
      this.#tellIdle();
    }
  }

  #answerScanned(asked: Asked<Origin>, message: ResultMessage | ErrorMessage, verdict: Verdict): void {
    const { shown, labels, refused } = scanned(message, verdict.output);
    const outcome: Outcome = refused ?? { code: isFailed(message) ? 'failed' : 'ok' };
    if (refused !== undefined) {
      const { era } = asked;
      this.#answer(asked, read(failureOf({ message: asked.message, ...refused, era }), 'server'));
    } else this.#answer(asked, shown.kind === 'result' ? this.#footed(asked, shown, verdict) : shown);
    this.#settle(verdict, { code: outcome.code, labels });
  }

  #footed({ message: { method, params } }: Asked<Origin>, answer: ResultMessage, verdict: Verdict): ResultMessage {
    if (this.#options.footer !== true || method !== 'tools/call' || !isObject(params)) return answer;
    const hasSchema = this.#tools.hasOutputSchema(nameOf(params));
    const result = footed(answer.result, { verdict, description: this.#components.gate.description, hasSchema });
    return rewritten(answer, result) as ResultMessage;
  }

  // MCP 2026-07-28: results that ask the client for something

  /** False: it is answered, or nobody waits for it any more. */
  async #allowsInputs(asked: Asked<Origin>, message: ResultMessage, verdict: Verdict): Promise<boolean> {
    const allowed: Verdict[] = [];
    let code: Outcome['code'] = 'cancelled';
    try {
      for (const { request } of inputRequestsOf(message.result)) {
        const one = await this.#decide(asked, request, true);
        if (one === undefined) return false;
        if (one.effect !== 'allow') {
          code = one.code ?? 'policy_denied';
          this.#answer(
            asked,
            read(
              denialOf({ message: asked.message, verdict: one, era: asked.era, approvedBy: this.#options.approvedBy }),
              'server',
            ),
          );
          this.#settle(verdict, { code });
          return false;
        }
        allowed.push(one);
      }
      code = 'ok';
      return true;
    } finally {
      for (const each of allowed) this.#settle(each, { code });
    }
  }

  // Questions of our own to the server

  /** Errors: timeout, closed, and what `failRequest` says. */
  #ask(method: string, params: JsonObject): Promise<ResultMessage | ErrorMessage> {
    const id = this.#newId();
    return new Promise((settle, fail) => {
      if (this.#ended !== undefined) return fail(new MeshError(this.#ended.code, this.#ended.message));
      const stop = this.#components.after(MCP_LIST_MS, () => {
        this.#own.delete(idKey(id));
        const server = `"${this.#options.server}"`;
        fail(new MeshError('timeout', `Cannot look at the tools of ${server}: no answer in ${MCP_LIST_MS / 1000} s`));
      });
      this.#own.set(idKey(id), {
        settle: (answer) => {
          stop();
          settle(answer);
        },
        fail: (error) => {
          stop();
          fail(error);
        },
      });
      this.#send('server', requestMessage(id, method, params), undefined, false);
    });
  }

  #takeOwn(id: Id): Own | undefined {
    const key = idKey(id);
    const own = this.#own.get(key);
    this.#own.delete(key);
    return own;
  }

  // The rest

  /** In use by nobody. */
  #newId(): Id {
    for (;;) {
      const id = `${OWN_ID}${++this.#ids}`;
      const key = idKey(id);
      if (!this.#asked.client.has(key) && !this.#asked.server.has(key)) return id;
    }
  }

  #send(to: Sender, message: Message, origin: Origin | undefined, isLast: boolean): void {
    if (this.#isClosed) return;
    if (to === 'client') this.#components.toClient(message, { origin, isLast });
    else if (this.#ended === undefined) this.#components.toServer(message, { origin });
  }

  #tellIdle(): void {
    if (!this.#isClientGone || this.#deciding > 0) return;
    for (const settle of this.#idle.splice(0)) settle();
  }

  #tell(kind: string, level: ReportLevel, text: string, max: number = MCP_REPORTS_MAX): void {
    const times = this.#told.get(kind) ?? 0;
    if (times >= max || this.#told.size > MCP_PENDING_MAX) return;
    this.#told.set(kind, times + 1);
    const more = times + 1 === max && max > 1 ? ' (more like it is not told)' : '';
    this.#components.report(level, text + more);
  }
}

/** Output rules that leave nothing that the detectors find. */
const ALL_FOUND: OutputRules = {
  secrets: 'redact',
  pii: 'redact',
  phi: 'redact',
  cards: 'redact',
  instructions: 'redact',
  invisible: 'redact',
  bytesMax: MCP_MESSAGE_BYTES_MAX,
};

const other = (side: Sender): Sender => (side === 'client' ? 'server' : 'client');

/** What is wrong, and what to do. */
const sentenceOf = ({ message, data: { next } }: MeshError): string =>
  typeof next === 'string' ? `${message}; ${next}` : message;

const isId = (value: unknown): value is Id => typeof value === 'string' || typeof value === 'number';

/** Of bytes that were made here. */
function read(bytes: Uint8Array, from: Sender): Message {
  const message = parseMessage(bytes, from);
  if (message === undefined) throw new MeshError('internal', 'Cannot send a message: it is empty');
  return message;
}

const utf8Encoder = new TextEncoder();

function notification(method: string, params: JsonObject): NotificationMessage {
  const bytes = utf8Encoder.encode(JSON.stringify({ jsonrpc: '2.0', method, params }));
  return { kind: 'notification', method, params, bytes, hasInexact: false };
}

/** In whatever spelling; `inputRequestsOf` refuses what readers may take for it. */
const asksForInput = (value: Json | undefined): boolean => {
  if (!isObject(value)) return false;
  return value['inputRequests'] !== undefined || hasVariant(value, 'inputRequests');
};

/** A list cut to what is kept; a member of which nothing may be shown goes alone. Errors: malformed. */
function listed(message: ResultMessage, method: string, keep: readonly boolean[], rules: OutputRules): ResultMessage {
  const cut = filtered(message, method, keep);
  if (scanned(cut, rules).refused === undefined) return cut;
  const members = membersOf(method, message.result);
  return filtered(
    message,
    method,
    keep.map((isKept, i) => isKept && !isKeptBack(members[i] ?? null, rules)),
  );
}

function filtered(message: ResultMessage, method: string, keep: readonly boolean[]): ResultMessage {
  const { result } = message;
  return {
    ...message,
    bytes: filteredBytes(message, method, keep),
    result: isObject(result) ? filteredResult(method, result, keep) : result,
  };
}

const isFailed = (message: ResultMessage | ErrorMessage): boolean =>
  message.kind === 'error' || (isObject(message.result) && message.result['isError'] === true);
