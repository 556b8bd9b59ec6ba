/**
 * Clients over HTTP, the server a process (`--listen` with a command). A server over stdio has one client, so:
 *
 * - up to MCP 2025-11-25 each session has a process of its own, which begins with `initialize` and ends with the
 *   session: by DELETE, after half an hour without a request or stream, or when it ends itself;
 * - from 2026-07-28 on no request knows of another, and one process serves them all. It is started by the first, and
 *   again by the next one after it ended. Ids and progress tokens are exchanged, since clients choose the same ones.
 */
import { randomUUID } from 'node:crypto';
import { MeshError } from '../../protocol/errors.ts';
import type { JsonObject } from '../../protocol/index.ts';
import * as limits from '../../protocol/limits.ts';
import {
  type ClientRoute,
  eraOf,
  eraOfVersion,
  errorResponse,
  type Failure,
  isRefusal,
  type Message,
  META_CLIENT_CAPABILITIES,
  META_PROTOCOL_VERSION,
  metaOf,
  parseMessage,
  type Id,
  RPC_CODES,
  type Session,
  type SessionComponents,
} from '../../protocol/mcp/index.ts';
import { JSON_TYPE, paramFault, type ParamHeaders, readParamHeaders } from '../../sdk/servers/http.ts';
import type { Exchange } from './http-exchange.ts';
import { type Renamed, rename, restore, subjectOf } from './http-ids.ts';
import { createReplies, type Replies, type Reply } from './http-replies.ts';
import type { HttpBackend } from './http-server.ts';

/** A running server, as lines of messages. */
export interface ServerProcess {
  send(message: Uint8Array): void;
  /** Sent, and not taken by the server so far. */
  readonly backlogBytes: number;
  /** Resolves when nothing of it is left. */
  close(): Promise<void>;
}

export interface ServerProcessEvents {
  readonly line: (line: Uint8Array) => void;
  /** It ended by itself. */
  readonly ended: (failure: Failure) => void;
}

export type Wires<Origin> = Pick<SessionComponents<Origin>, 'toClient' | 'toServer' | 'onDropped' | 'tools'>;
/** A governed session between a client and a server; everything else that it needs is bound already. */
export type OpenSession = <Origin>(wires: Wires<Origin>) => Session<Origin>;

export interface ProcessBackendComponents {
  readonly openSession: OpenSession;
  readonly startServer: (events: ServerProcessEvents) => ServerProcess;
  readonly report: SessionComponents<never>['report'];
}

export interface ProcessBackendOptions {
  /** Default PROXY_SESSIONS_MAX. */
  readonly sessionsMax?: number;
  /** Default PROXY_SESSION_IDLE_MS; of the shared process too. */
  readonly idleMs?: number;
  /** Idle for so long a session makes room for a new one; default PROXY_SESSION_SPARE_MS. */
  readonly spareMs?: number;
}

export interface ProcessBackend extends HttpBackend {
  /** Processes that run. */
  readonly processes: number;
}

const JSON_HEADERS = { 'content-type': JSON_TYPE };
const REVISIONS = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'];
const STATELESS = '2026-07-28';
const SERVER_ERROR = -32000;
const CAPABILITY_MISSING = -32021;
const VERSION_UNSUPPORTED = -32022;
const SESSION_UNKNOWN = -32001;

export function createProcessBackend(
  components: ProcessBackendComponents,
  options: ProcessBackendOptions = {},
): ProcessBackend {
  const {
    sessionsMax = limits.PROXY_SESSIONS_MAX,
    idleMs = limits.PROXY_SESSION_IDLE_MS,
    spareMs = limits.PROXY_SESSION_SPARE_MS,
  } = options;
  const sessions = new Map<string, ProcessSession>();
  const ending = new Set<Promise<void>>();
  let shared: SharedProcess | undefined;

  const track = (end: Promise<void>): void => {
    const tracked = end.finally(() => ending.delete(tracked));
    ending.add(tracked);
  };
  const endSession = (id: string): void => {
    const session = sessions.get(id);
    sessions.delete(id);
    if (session !== undefined) track(session.close());
  };
  const endShared = (): void => {
    const process = shared;
    shared = undefined;
    if (process !== undefined) track(process.close());
  };
  const sweep = setInterval(
    () => {
      const nowMs = performance.now();
      for (const [id, session] of sessions) if (session.idleMs(nowMs) >= idleMs) endSession(id);
      if (shared !== undefined && shared.idleMs(nowMs) >= idleMs) endShared();
    },
    Math.min(10_000, idleMs),
  ).unref();

  /** One that is idle leaves: its client may have ended without a word. Errors: busy. */
  const makeRoom = (): void => {
    if (sessions.size < sessionsMax) return;
    const nowMs = performance.now();
    const [idlest] = [...sessions].sort(([, a], [, b]) => b.idleMs(nowMs) - a.idleMs(nowMs));
    if (idlest === undefined || idlest[1].idleMs(nowMs) < spareMs)
      throw new MeshError('busy', `Cannot open another session: ${sessionsMax} are in use`);
    endSession(idlest[0]);
  };

  const initialize = (exchange: Exchange, message: Message): void => {
    makeRoom();
    const id = randomUUID();
    const session = new ProcessSession(id, components, () => endSession(id));
    sessions.set(id, session);
    session.post(exchange, message);
  };
  const postStateful = (exchange: Exchange, message: Message): void => {
    const version = exchange.header('mcp-protocol-version');
    if (version !== undefined && !REVISIONS.includes(version))
      return fail(
        exchange,
        400,
        message,
        SERVER_ERROR,
        `Unsupported protocol version "${version}": want one of ${REVISIONS.join(', ')}`,
      );
    const id = exchange.header('mcp-session-id');
    if (id === undefined) {
      if (message.kind === 'request' && message.method === 'initialize') return initialize(exchange, message);
      return fail(
        exchange,
        400,
        message,
        SERVER_ERROR,
        'Want the header "Mcp-Session-Id": no session without "initialize"',
      );
    }
    const session = sessions.get(id);
    if (session === undefined)
      return fail(
        exchange,
        404,
        message,
        SESSION_UNKNOWN,
        'No such session: it has ended; begin one with "initialize"',
      );
    session.post(exchange, message);
  };
  const postStateless = (exchange: Exchange, message: Message): void => {
    if (message.kind === 'result' || message.kind === 'error')
      return fail(
        exchange,
        400,
        message,
        RPC_CODES.invalidRequest,
        'Responses cannot be sent to the server in MCP 2026-07-28',
      );
    if (message.kind === 'notification') {
      // Closing its stream is how a request is cancelled, and an id here may be another client's.
      if (message.method !== 'notifications/cancelled') shared?.notify(message);
      return exchange.answer(202);
    }
    const version = metaOf(message)?.[META_PROTOCOL_VERSION];
    if (typeof version === 'string' && version !== STATELESS)
      return fail(exchange, 400, message, VERSION_UNSUPPORTED, 'Unsupported protocol version', {
        supported: [STATELESS],
        requested: version,
      });
    const wrong = envelopeFault(message);
    if (wrong !== undefined) return fail(exchange, 400, message, RPC_CODES.invalidParams, wrong);
    shared ??= new SharedProcess(components, (self) => {
      if (shared === self) endShared();
    });
    shared.post(exchange, message);
  };
  const sessionOf = (exchange: Exchange): ProcessSession | undefined => {
    const id = exchange.header('mcp-session-id');
    // MCP 2026-07-28: GET and DELETE are gone with sessions.
    if (id === undefined) exchange.answer(405, undefined, { allow: 'POST' });
    else if (!sessions.has(id))
      fail(exchange, 404, undefined, SESSION_UNKNOWN, 'No such session: it has ended; begin one with "initialize"');
    return sessions.get(id ?? '');
  };

  return {
    post: (exchange, message) => {
      if (isStateless(exchange, message)) postStateless(exchange, message);
      else postStateful(exchange, message);
    },
    get: (exchange) => sessionOf(exchange)?.listen(exchange),
    delete: (exchange) => {
      const session = sessionOf(exchange);
      if (session === undefined) return;
      endSession(session.id);
      exchange.answer(200);
    },
    get processes() {
      return sessions.size + (shared === undefined ? 0 : 1);
    },
    async close() {
      clearInterval(sweep);
      for (const id of sessions.keys()) endSession(id);
      endShared();
      await Promise.all(ending);
    },
  };
}

function isStateless(exchange: Exchange, message: Message): boolean {
  const version = exchange.header('mcp-protocol-version');
  if (
    message.kind === 'request' &&
    message.method === 'initialize' &&
    metaOf(message)?.[META_PROTOCOL_VERSION] === undefined
  )
    return false;
  return (eraOf(message) ?? (version === undefined ? undefined : eraOfVersion(version))) === STATELESS;
}

/** What each request of MCP 2026-07-28 says of itself; the rest of it is the server's to judge. */
function envelopeFault(message: Message): string | undefined {
  const meta = metaOf(message);
  if (typeof meta?.[META_PROTOCOL_VERSION] !== 'string') return `Invalid params: want _meta "${META_PROTOCOL_VERSION}"`;
  const capabilities = meta[META_CLIENT_CAPABILITIES];
  if (typeof capabilities !== 'object' || capabilities === null || Array.isArray(capabilities))
    return `Invalid params: want _meta "${META_CLIENT_CAPABILITIES}"`;
  return undefined;
}

function fail(
  exchange: Exchange,
  status: number,
  message: Message | undefined,
  code: number,
  why: string,
  data?: JsonObject,
): void {
  const id = message?.kind === 'request' ? message.id : null;
  exchange.answer(status, errorResponse(id, code, why, data), JSON_HEADERS);
}

/** Errors: busy: what a server does not read would pile up here. */
function verifyTakes({ backlogBytes }: ServerProcess): void {
  if (backlogBytes > limits.PROXY_BACKLOG_BYTES_MAX)
    throw new MeshError('busy', 'Cannot take the message: the server does not read those that it has');
}

/** A session up to MCP 2025-11-25, and its process. */
class ProcessSession {
  readonly id: string;
  readonly #process: ServerProcess;
  readonly #session: Session<Reply>;
  readonly #replies: Replies;
  #lastMs = performance.now();
  #isClosed = false;

  constructor(id: string, { openSession, startServer }: ProcessBackendComponents, onEnded: () => void) {
    this.id = id;
    this.#replies = createReplies();
    this.#session = openSession<Reply>({
      toClient: (message, route) => this.#toClient(message, route),
      toServer: ({ bytes }) => this.#process.send(bytes),
      onDropped: (reply) => reply.end(),
    });
    this.#process = startServer({
      line: (line) => {
        if (!this.#isClosed) this.#session.fromServer(line);
      },
      ended: (failure) => {
        this.#session.serverEnded(failure);
        onEnded();
      },
    });
  }

  /** Since when nobody asks or listens. */
  idleMs(nowMs: number): number {
    return this.#replies.isAttached || this.#session.pending > 0 ? 0 : nowMs - this.#lastMs;
  }

  post(exchange: Exchange, message: Message): void {
    this.#touch(exchange);
    verifyTakes(this.#process);
    exchange.headers['mcp-session-id'] = this.id;
    if (message.kind !== 'request') {
      this.#session.fromClient(message);
      return exchange.answer(202);
    }
    const canPrime = (exchange.header('mcp-protocol-version') ?? '') >= '2025-11-25'; // older clients read no empty data
    this.#session.fromClient(message, this.#replies.open(exchange, canPrime));
  }

  listen(exchange: Exchange): void {
    this.#touch(exchange);
    exchange.headers['mcp-session-id'] = this.id;
    const cursor = exchange.header('last-event-id');
    const isListening = cursor === undefined ? this.#replies.listen(exchange) : this.#replies.resume(exchange, cursor);
    if (isListening) return;
    if (cursor === undefined)
      fail(exchange, 409, undefined, SERVER_ERROR, 'Conflict: this session has a stream already');
    else fail(exchange, 400, undefined, SERVER_ERROR, 'Cannot resume: no such event, or it is too long ago');
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#session.serverEnded({ code: 'closed', message: 'The session has ended' });
    this.#session.close();
    this.#replies.close();
    await this.#process.close();
  }

  #touch(exchange: Exchange): void {
    this.#lastMs = performance.now();
    exchange.onClosed(() => {
      this.#lastMs = performance.now();
    });
  }

  #toClient(message: Message, { origin, isLast }: ClientRoute<Reply>): void {
    (origin ?? this.#replies.standalone(isAboutNoRequest(message))).send(message.bytes, isLast);
  }
}

/** Changes of lists and resources come when they come; what else a server says by itself most likely serves the request at hand. */
const isAboutNoRequest = (message: Message): boolean =>
  message.kind === 'notification' &&
  /^notifications\/(?:[a-z]+\/list_changed|resources\/updated)$/.test(message.method);

interface Asked {
  readonly exchange: Exchange;
  readonly renamed: Renamed;
  readonly wantsLogs: boolean;
}

const META_LOG_LEVEL = 'io.modelcontextprotocol/logLevel';

/** The one process of all requests from MCP 2026-07-28 on. */
class SharedProcess {
  readonly #process: ServerProcess;
  readonly #session: Session<Asked>;
  readonly #asked = new Map<Id, Asked>();
  #tools: ParamHeaders = new Map();
  #count = 0;
  #lastMs = performance.now();
  #isClosed = false;

  constructor({ openSession, startServer }: ProcessBackendComponents, onEnded: (self: SharedProcess) => void) {
    this.#session = openSession<Asked>({
      toClient: (message, route) => this.#toClient(message, route),
      toServer: ({ bytes }) => this.#process.send(bytes),
      onDropped: (asked) => this.#forget(asked),
    });
    this.#process = startServer({
      line: (line) => this.#fromServer(line),
      ended: (failure) => {
        this.#session.serverEnded(failure);
        onEnded(this);
      },
    });
  }

  idleMs(nowMs: number): number {
    return this.#asked.size > 0 ? 0 : nowMs - this.#lastMs;
  }

  notify(message: Message): void {
    this.#session.fromClient(message);
  }

  post(exchange: Exchange, request: Message & { readonly kind: 'request' }): void {
    verifyTakes(this.#process);
    const wrong = paramFault(request, this.#tools, (name) => exchange.header(name));
    if (wrong !== undefined)
      return fail(exchange, 400, request, RPC_CODES.headerMismatch, `Headers and body of the request differ: ${wrong}`);
    this.#lastMs = performance.now();
    const [message, renamed] = rename(request, String(++this.#count));
    const asked = { exchange, renamed, wantsLogs: metaOf(request)?.[META_LOG_LEVEL] !== undefined };
    this.#asked.set(renamed.own, asked);
    exchange.onGone(() => {
      // MCP "Cancellation": a client that disconnects cancels.
      if (!this.#asked.delete(renamed.own) || this.#isClosed) return;
      this.#session.fromClient(cancelled(renamed.own));
    });
    this.#session.fromClient(message, asked);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#session.serverEnded({ code: 'closed', message: 'The server is stopping' });
    this.#session.close();
    for (const { exchange } of this.#asked.values()) exchange.end();
    this.#asked.clear();
    await this.#process.close();
  }

  #fromServer(line: Uint8Array): void {
    if (this.#isClosed) return;
    let message: Message | undefined;
    try {
      message = parseMessage(line, 'server');
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return this.#session.fromServer(line); // which says what is wrong with it
    }
    if (message === undefined) return;
    const subject = subjectOf(message);
    if (message.kind === 'notification' && message.method === 'notifications/cancelled') {
      // So a server over stdio ends a subscription; over HTTP it closes the stream.
      const asked = subject === undefined ? undefined : this.#asked.get(subject);
      if (asked !== undefined) this.#forget(asked);
      return;
    }
    if (message.kind === 'result') this.#tools = readParamHeaders(message.result, this.#tools);
    this.#session.fromServer(message, subject);
  }

  #toClient(message: Message, { origin, isLast }: ClientRoute<Asked>): void {
    const asked = origin ?? this.#audienceOf(message);
    if (asked === undefined) return; // for nobody: no client has a stream of its own in this era
    const { exchange, renamed } = asked;
    if (message.kind === 'error') exchange.status = statusOf(message.error);
    if (isLast) {
      this.#asked.delete(renamed.own);
      this.#lastMs = performance.now();
    }
    exchange.sendMessage(restore(message, renamed).bytes, isLast);
  }

  /** Of a message that names no request: a log line, most likely of the newest that wanted any. */
  #audienceOf(message: Message): Asked | undefined {
    const subject = subjectOf(message);
    if (subject !== undefined) return this.#asked.get(subject);
    if (message.kind !== 'notification' || message.method !== 'notifications/message') return undefined;
    return [...this.#asked.values()].findLast(({ wantsLogs }) => wantsLogs);
  }

  #forget({ exchange, renamed }: Asked): void {
    this.#asked.delete(renamed.own);
    exchange.end();
  }
}

const cancelled = (requestId: Id): Uint8Array =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } }));

/** MCP 2026-07-28: a method that there is not is 404; what concerns versions, headers and capabilities is 400. */
function statusOf(error: unknown): number {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (code === RPC_CODES.methodNotFound) return 404;
  const isOfTheRequest = [
    RPC_CODES.parse,
    RPC_CODES.invalidRequest,
    RPC_CODES.headerMismatch,
    CAPABILITY_MISSING,
    VERSION_UNSUPPORTED,
  ].some((one) => one === code);
  return isOfTheRequest ? 400 : 200;
}
