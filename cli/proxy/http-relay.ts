/**
 * Clients over HTTP, the server behind HTTP (`--listen` with `--url`). Sessions, event ids and what the server says about
 * access are the server's own and pass; each request is governed by itself. What the server streams is read one event at
 * a time, no faster than the client reads.
 */
import { createHash } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http';
import { isMeshError, MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import {
  type ClientRoute,
  createKnownTools,
  eraOf,
  eraOfVersion,
  errorResponse,
  idKey,
  isRefusal,
  type KnownTools,
  type Message,
  parseMessage,
  type Id,
  RPC_CODES,
  type Session,
  type SessionComponents,
} from '../../protocol/mcp/index.ts';
import {
  encodeHeader,
  EVENT_STREAM,
  JSON_TYPE,
  nameOf,
  type ServerEvent,
  type Upstream,
  type UpstreamAnswer,
} from '../../sdk/servers/http.ts';
import type { Exchange } from './http-exchange.ts';
import type { OpenSession } from './http-processes.ts';
import type { HttpBackend } from './http-server.ts';

export interface RelayComponents {
  readonly openSession: OpenSession;
  readonly upstream: Upstream;
  readonly report: SessionComponents<never>['report'];
}

export interface RelayOptions {
  /** The client's Authorization is for this proxy, so it stays here. Default false: it is the server's. */
  readonly keepsAuthorization?: boolean;
  /** Default PROXY_RELAYED_SESSIONS_MAX. */
  readonly sessionsMax?: number;
}

const BOTH = `${JSON_TYPE}, ${EVENT_STREAM}`;
const JSON_HEADERS = { 'content-type': JSON_TYPE };
const BAD_GATEWAY = 502;

/** Of one connection (RFC 9110, section 7.6.1), the proxy's own, or read by some servers as another method than POST. */
const NOT_RELAYED = new Set([
  'accept',
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'forwarded',
  'host',
  'keep-alive',
  'mcp-method',
  'mcp-name',
  'origin',
  'referer',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'via',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
]);
const NOT_RELAYED_FAMILIES = /^(?:proxy-|sec-|x-forwarded-|access-control-)/;
/** What the server says to the client beside messages: OAuth begins with a challenge. */
const RELAYED_BACK = ['www-authenticate', 'mcp-session-id', 'retry-after', 'allow'];
const TOOL_LISTS_MAX = 64; // of clients with different credentials, which may see different tools; the oldest goes first

export function createRelayBackend(
  { openSession, upstream, report }: RelayComponents,
  options: RelayOptions = {},
): HttpBackend {
  const { keepsAuthorization = false, sessionsMax = limits.PROXY_RELAYED_SESSIONS_MAX } = options;
  const lanes = new Map<string, Lane>(); // the most recently used last
  const sessionless = new Set<Lane>();
  const toolLists = new Map<string, KnownTools>();

  const headersOf = (exchange: Exchange): OutgoingHttpHeaders => relayedHeaders(exchange, keepsAuthorization);
  const open = (exchange: Exchange, id?: string): Lane =>
    new Lane(
      {
        openSession,
        upstream,
        report,
        headersOf,
        adopt: (lane, given) => adopt(lane, given),
        drop: (lane) => drop(lane),
      },
      toolsOf(exchange, id),
    );
  /** A client that says nothing of a session is known by its credentials only. */
  const toolsOf = (exchange: Exchange, id: string | undefined): KnownTools => {
    if (id !== undefined) return createKnownTools();
    const key = createHash('sha256')
      .update(exchange.header('authorization') ?? '')
      .update('\n')
      .update(exchange.header('cookie') ?? '')
      .digest('base64');
    const known = toolLists.get(key) ?? createKnownTools();
    toolLists.delete(key);
    toolLists.set(key, known);
    for (const oldest of toolLists.keys()) if (toolLists.size > TOOL_LISTS_MAX) toolLists.delete(oldest);
    return known;
  };
  const adopt = (lane: Lane, id: string): void => {
    sessionless.delete(lane);
    lane.id = id;
    lanes.get(id)?.close();
    lanes.set(id, lane);
    for (const [other, { isBusy }] of lanes) {
      if (lanes.size <= sessionsMax) break;
      if (!isBusy && other !== id) drop(lanes.get(other));
    }
  };
  const drop = (lane: Lane | undefined): void => {
    if (lane?.id !== undefined && lanes.get(lane.id) === lane) lanes.delete(lane.id);
    if (lane !== undefined) sessionless.delete(lane);
    lane?.close();
  };
  /** A session that is not known here was begun before this proxy was; the server knows it, or says that it does not. */
  const laneOf = (exchange: Exchange): Lane => {
    const id = exchange.header('mcp-session-id');
    if (id === undefined) {
      const lane = open(exchange);
      sessionless.add(lane);
      exchange.onClosed(() => {
        if (lane.id === undefined) drop(lane);
      });
      return lane;
    }
    if (id.length > limits.PROXY_SESSION_ID_TEXT_MAX || !/^[!-~]+$/.test(id))
      throw new MeshError('bad_request', 'Cannot accept the request: its session id is not what a server gave', {
        field: 'mcp-session-id',
      });
    const lane = lanes.get(id) ?? open(exchange, id);
    lanes.delete(id);
    adopt(lane, id);
    return lane;
  };

  return {
    post: (exchange, message) => laneOf(exchange).post(exchange, message),
    get: (exchange) => void laneOf(exchange).listen(exchange),
    delete: (exchange) => void laneOf(exchange).end(exchange),
    async close() {
      for (const lane of [...lanes.values(), ...sessionless]) lane.close();
      lanes.clear();
      sessionless.clear();
      upstream.close();
    },
  };
}

function relayedHeaders(exchange: Exchange, keepsAuthorization: boolean): OutgoingHttpHeaders {
  const { headersDistinct } = exchange.request;
  const named = (exchange.header('connection') ?? '').split(',').map((name) => name.trim().toLowerCase());
  return Object.fromEntries(
    Object.entries(headersDistinct).flatMap(([name, values]) => {
      if (NOT_RELAYED.has(name) || NOT_RELAYED_FAMILIES.test(name) || named.includes(name)) return [];
      if (keepsAuthorization && name === 'authorization') return [];
      return values === undefined ? [] : [[name, values.length === 1 ? values[0] : values]];
    }),
  );
}

interface LaneComponents extends RelayComponents {
  readonly headersOf: (exchange: Exchange) => OutgoingHttpHeaders;
  /** The server gave the session an id. */
  readonly adopt: (lane: Lane, id: string) => void;
  /** The session is no more. */
  readonly drop: (lane: Lane) => void;
}

/** One session of a client, or one request that belongs to none. */
class Lane {
  id: string | undefined;
  readonly #components: LaneComponents;
  readonly #session: Session<Exchange>;
  /** By the request that opened it. */
  readonly #exchanges = new Map<string, Exchange>();
  readonly #requests = new Map<string, AbortController>();
  /** Of an exchange whose connection broke: the one that goes on with its stream. */
  readonly #successors = new WeakMap<Exchange, Exchange>();
  /** What the server answers instead of a message. */
  readonly #refusals = new WeakMap<
    Exchange,
    { readonly status: number; readonly headers: OutgoingHttpHeaders; readonly body: Uint8Array | undefined }
  >();
  /** Of notifications and answers: whoever sent them waits to hear that they arrived. */
  readonly #unanswered = new WeakSet<Exchange>();
  readonly #closing = new AbortController();
  #standalone: Exchange | undefined;
  #uses = 0;
  #isStateless = false;
  #headers: OutgoingHttpHeaders = {};
  /** Whose event is being handled: what follows from it at once goes where it came from, with its id. */
  #current: { readonly exchange: Exchange; cursor: Pick<ServerEvent, 'id' | 'retryMs'> } | undefined;

  constructor(components: LaneComponents, tools: KnownTools) {
    this.#components = components;
    this.#session = components.openSession<Exchange>({
      toClient: (message, route) => this.#toClient(message, route),
      toServer: (message, { origin }) => void this.#toServer(message, origin),
      onDropped: (exchange) => exchange.end(),
      tools,
    });
  }

  get isBusy(): boolean {
    return this.#uses > 0;
  }

  post(exchange: Exchange, message: Message): void {
    this.#use(exchange);
    const version = exchange.header('mcp-protocol-version');
    this.#isStateless =
      (eraOf(message) ?? (version === undefined ? undefined : eraOfVersion(version))) === '2026-07-28';
    if (message.kind === 'request') {
      const key = idKey(message.id);
      this.#exchanges.set(key, exchange);
      exchange.onClosed(() => {
        if (this.#exchanges.get(key) === exchange && this.#isStateless) this.#exchanges.delete(key);
      });
      if (this.#isStateless)
        exchange.onGone(() => {
          if (!this.#closing.signal.aborted) this.#session.fromClient(cancelled(message.id));
        });
      return this.#session.fromClient(message, exchange);
    }
    this.#unanswered.add(exchange);
    this.#session.fromClient(message, exchange);
    if (this.#unanswered.has(exchange)) exchange.answer(202); // it was for the proxy, or for nobody
  }

  /** GET: for messages to no request, or for a stream that broke. */
  async listen(exchange: Exchange): Promise<void> {
    this.#use(exchange);
    await this.#passing(exchange, async (signal) => {
      const answer = await this.#components.upstream.request({
        method: 'GET',
        headers: { ...this.#headers, accept: EVENT_STREAM },
        signal,
      });
      if (answer.kind !== 'events' || answer.status !== 200) return refuse(exchange, answer);
      if (exchange.header('last-event-id') === undefined) this.#standalone = exchange;
      relayBack(exchange, answer);
      exchange.openStream();
      await this.#read(answer, exchange, undefined);
      exchange.end();
    });
  }

  /** DELETE. */
  async end(exchange: Exchange): Promise<void> {
    this.#use(exchange);
    await this.#passing(exchange, async (signal) => {
      const answer = await this.#components.upstream.request({ method: 'DELETE', headers: this.#headers, signal });
      await refuse(exchange, answer);
      if (answer.status < 300 || answer.status === 404) this.#components.drop(this);
    });
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#session.serverEnded({ code: 'closed', message: 'The session has ended' });
    this.#session.close();
    for (const exchange of this.#exchanges.values()) exchange.end();
    this.#standalone?.end();
  }

  #use(exchange: Exchange): void {
    this.#uses++;
    this.#headers = this.#components.headersOf(exchange);
    exchange.onClosed(() => this.#uses--);
  }

  #toClient(message: Message, { origin, isLast }: ClientRoute<Exchange>): void {
    const successor = origin === undefined ? undefined : this.#successors.get(origin);
    const target = [origin, successor, this.#current?.exchange, this.#standalone].find((one) => one?.isEnded === false);
    if (isLast && origin !== undefined) this.#forget(origin);
    if (target === undefined) return; // its client is gone
    const refusal = this.#refusals.get(target);
    if (refusal !== undefined && isLast) return target.answer(refusal.status, refusal.body, refusal.headers);
    const current = this.#current?.exchange === target ? this.#current : undefined;
    const cursor = current?.cursor ?? {};
    if (current !== undefined) current.cursor = {}; // one message is this event
    target.sendMessage(message.bytes, isLast && target === origin, cursor);
  }

  #forget(exchange: Exchange): void {
    for (const [key, one] of this.#exchanges) if (one === exchange) this.#exchanges.delete(key);
  }

  async #toServer(message: Message, origin: Exchange | undefined): Promise<void> {
    const id = message.kind === 'request' ? message.id : undefined;
    if (this.#isStateless && message.kind === 'notification' && message.method === 'notifications/cancelled') {
      // MCP "Cancellation": over HTTP closing the stream says it.
      const { requestId } = (message.params ?? {}) as { readonly requestId?: Id };
      if (requestId !== undefined) this.#requests.get(idKey(requestId))?.abort();
      return;
    }
    // An answer of ours to the server may be about an exchange without being what it brought.
    const own = origin !== undefined && (id !== undefined || this.#unanswered.delete(origin)) ? origin : undefined;
    try {
      await this.#passing(own, (signal) => this.#send(message, own, signal));
    } finally {
      if (id !== undefined) this.#requests.delete(idKey(id));
    }
  }

  async #send(message: Message, own: Exchange | undefined, stop: AbortSignal): Promise<void> {
    const id = message.kind === 'request' ? message.id : undefined;
    const controller = new AbortController();
    if (id !== undefined) this.#requests.set(idKey(id), controller);
    const signal = AbortSignal.any([stop, controller.signal]);
    const answer = await this.#components.upstream
      .request({ method: 'POST', headers: this.#headersFor(message, own), body: message.bytes, signal })
      .catch((error: unknown) => {
        if (id === undefined || !isMeshError(error)) throw error;
        const body = errorResponse(id, RPC_CODES.internal, error.message);
        if (own !== undefined) this.#refusals.set(own, { status: BAD_GATEWAY, headers: JSON_HEADERS, body });
        this.#session.failRequest(id, { code: error.code, message: error.message });
      });
    if (answer === undefined) return;
    this.#adoptSession(message, answer, own);
    if (id !== undefined) return this.#answer(answer, id, own);
    if (own === undefined) answer.discard();
    else await refuse(own, answer);
  }

  #adoptSession(message: Message, answer: UpstreamAnswer, origin: Exchange | undefined): void {
    const given = answer.headers['mcp-session-id'];
    const begins = message.kind === 'request' && message.method === 'initialize' && answer.status === 200;
    if (
      begins &&
      typeof given === 'string' &&
      origin !== undefined &&
      given.length <= limits.PROXY_SESSION_ID_TEXT_MAX
    ) {
      this.#components.adopt(this, given);
      this.#headers = { ...this.#headers, 'mcp-session-id': given };
    }
  }

  /** What the server says to a request. */
  async #answer(answer: UpstreamAnswer, id: Id, origin: Exchange | undefined): Promise<void> {
    const { status, kind } = answer;
    if (origin !== undefined) relayBack(origin, answer);
    if (kind === 'events' && status === 200) {
      origin?.openStream();
      const { isAnswered, isResumable } = await this.#read(answer, origin, id);
      if (isAnswered) return;
      if (isResumable && !this.#isStateless && origin !== undefined) return origin.end(); // its client goes on with GET
      return this.#session.failRequest(id, {
        code: 'closed',
        message: 'The server ended its answer without a response',
      });
    }
    const body = await answer.readBody(kind === 'json' ? limits.MCP_MESSAGE_BYTES_MAX : limits.PROXY_ERROR_BYTES_MAX);
    const message = kind === 'json' ? readAnswer(body, id) : undefined;
    if (message !== undefined) {
      if (origin !== undefined) origin.status = status;
      return this.#session.fromServer(message, id);
    }
    if (origin !== undefined && status >= 300)
      this.#refusals.set(
        origin,
        kind === 'json' && isNoResponse(body)
          ? { status, headers: JSON_HEADERS, body }
          : { status, headers: {}, body: undefined },
      );
    this.#session.failRequest(id, {
      code: 'unreachable',
      message: `The server answered with HTTP ${status} and no response`,
    });
    if (status === 404 && this.id !== undefined) this.#components.drop(this);
  }

  /** Events as they come, no faster than `exchange` takes them. */
  async #read(
    answer: UpstreamAnswer,
    exchange: Exchange | undefined,
    id: Id | undefined,
  ): Promise<{ readonly isAnswered: boolean; readonly isResumable: boolean }> {
    let isAnswered = false;
    let isResumable = false;
    const broken = await answer
      .readEvents(async (event) => {
        if (event.id !== undefined) isResumable = true;
        if (event.data.length === 0) {
          exchange?.sendEvent(event);
        } else if (event.event === undefined || event.event === 'message') {
          const message = read(event.data);
          const answered = message === undefined ? undefined : answeredBy(message);
          if (answered !== undefined) {
            isAnswered ||= id !== undefined && idKey(answered) === idKey(id);
            const first = this.#exchanges.get(idKey(answered));
            if (first !== undefined && exchange !== undefined && first !== exchange)
              this.#successors.set(first, exchange);
          }
          this.#current = exchange === undefined ? undefined : { exchange, cursor: cursorOf(event) };
          this.#session.fromServer(message ?? event.data, id);
          this.#current = undefined;
        }
        await exchange?.drained();
      })
      .catch((error: unknown) => {
        if (isMeshError(error)) return error;
        throw error;
      });
    if (broken?.code === 'too_large') this.#components.report('warn', broken.message);
    return { isAnswered, isResumable: isResumable && broken?.code !== 'too_large' };
  }

  #headersFor(message: Message, origin: Exchange | undefined): OutgoingHttpHeaders {
    const from = origin === undefined ? withoutParams(this.#headers) : this.#components.headersOf(origin);
    const name = nameOf(message);
    return {
      ...from,
      'content-type': JSON_TYPE,
      accept: BOTH,
      ...(this.id !== undefined && { 'mcp-session-id': this.id }),
      // Said anew, from the body that was judged.
      ...(this.#isStateless && 'method' in message && { 'mcp-method': message.method }),
      ...(this.#isStateless && name !== undefined && { 'mcp-name': encodeHeader(name) }),
    };
  }

  /** The connection to the server ends with the client's. */
  async #passing(exchange: Exchange | undefined, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const controller = new AbortController();
    exchange?.onClosed(() => controller.abort());
    try {
      await run(AbortSignal.any([controller.signal, this.#closing.signal]));
    } catch (error) {
      if (!isMeshError(error)) this.#components.report('warn', `A fault of this program: ${String(error)}`);
      if (exchange === undefined || exchange.isEnded) return;
      if (!isMeshError(error))
        return exchange.answer(500, errorResponse(null, RPC_CODES.internal, 'Internal error'), JSON_HEADERS);
      exchange.answer(BAD_GATEWAY, errorResponse(null, RPC_CODES.internal, error.message), JSON_HEADERS);
    }
  }
}

const withoutParams = (headers: OutgoingHttpHeaders): OutgoingHttpHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('mcp-param-')));

const cursorOf = ({ id, retryMs }: ServerEvent): Pick<ServerEvent, 'id' | 'retryMs'> => ({
  ...(id !== undefined && { id }),
  ...(retryMs !== undefined && { retryMs }),
});

function relayBack(exchange: Exchange, { headers }: UpstreamAnswer): void {
  for (const name of RELAYED_BACK) if (headers[name] !== undefined) exchange.headers[name] = headers[name];
}

/** The server's answer, without what could be a response: nothing judged that. */
async function refuse(exchange: Exchange, answer: UpstreamAnswer): Promise<void> {
  relayBack(exchange, answer);
  const body = answer.kind === 'events' ? undefined : await answer.readBody(limits.PROXY_ERROR_BYTES_MAX);
  if (answer.kind === 'events') answer.discard();
  const isTold = answer.status >= 400 && answer.kind === 'json' && body !== undefined && isNoResponse(body);
  exchange.answer(answer.status, isTold ? body : undefined, isTold ? JSON_HEADERS : {});
}

/** What a server says to no request, or in words of another protocol, as OAuth has them. */
function isNoResponse(body: Uint8Array): boolean {
  const message = read(body);
  if (message !== undefined) return message.kind === 'error' && message.id === null;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    return false; // no JSON, whatever its type says
  }
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject && !Object.keys(value as object).some((name) => RESPONSE_WORD.test(name.normalize('NFKC')));
}
/** In any case: a client that reads leniently takes it for a message. */
const RESPONSE_WORD = /^(?:jsonrpc|id|method|result)$/iu;

function read(bytes: Uint8Array): Message | undefined {
  try {
    return parseMessage(bytes, 'server');
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

const answeredBy = (message: Message): Id | undefined =>
  message.kind === 'result' || message.kind === 'error' ? (message.id ?? undefined) : undefined;

function readAnswer(body: Uint8Array, id: Id): Message | undefined {
  const message = read(body);
  const answered = message === undefined ? undefined : answeredBy(message);
  return answered !== undefined && idKey(answered) === idKey(id) ? message : undefined;
}

const cancelled = (requestId: Id): Uint8Array =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } }));
