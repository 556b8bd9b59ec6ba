/** The control API over HTTP: the table of protocol/control on a unix socket, and on a loopback port where one is asked for. */
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { AddressInfo, ListenOptions, Socket } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import {
  type AnyCaller,
  API_VERSION,
  checkJson,
  type ControlBackend,
  createOpenApiDocument,
  LINK_UPGRADE,
  OPERATION_IDS,
  type OperationId,
  parseJsonStrict,
  PROBLEM_MEDIA_TYPE,
  type Problem,
  type QueryOf,
  type Readyz,
  type Route,
  routeOf,
} from '../../protocol/control/index.ts';
import { type ErrorCode, limits, MeshError } from '../../protocol/index.ts';
import type { OpenLink } from '../core/calls/caller-ports.ts';
import type { EventBus } from '../core/events.ts';
import type { Logger } from '../ports.ts';
import { callerOf, isCaller, ownInput, type Tokens, tokenOf, verifyLocal, verifyMayCall } from './callers.ts';
import { EventStreams, type EventStreamsOptions, parseEventTypes } from './event-streams.ts';
import { Links, type LinksOptions, linkWantedOf } from './links.ts';
import { isListed, problemOfError } from './problems.ts';

export interface ControlServerOptions {
  /** Its directory is there and ours, and nothing is at the path itself (`claimSocket`). */
  readonly socketPath: string;
  /** Also listen on loopback, where every request but a login needs a token. Port 0: any that is free. */
  readonly tcp?: { readonly host: '127.0.0.1' | '::1'; readonly port: number };
  readonly log: Logger;
  readonly tokens: Tokens;
  readonly events: EventBus;
  readonly ready: () => Readyz;
  /** The daemon's, as in package.json. */
  readonly version: string;
  /** Check every answer against its schema and every code against its route; for tests. Default false. */
  readonly strict?: boolean;
  readonly streams?: EventStreamsOptions;
  /** What opens links to servers of other organisations. */
  readonly links: OpenLink;
  readonly linkOptions?: LinksOptions;
  /** That requests under way have when it stops; default API_STOP_MS. */
  readonly stopMs?: number;
}

export interface ControlServer extends AsyncDisposable {
  readonly socketPath: string;
  readonly tcp: { readonly host: string; readonly port: number } | undefined;
  /** Event streams that are open. */
  readonly streams: number;
  /** Links that are open, or being opened. */
  readonly links: number;
  /** Ends event streams and links, lets requests under way finish for `stopMs`, then cancels them. */
  close(): Promise<void>;
}

/** Listens before it resolves. Errors: already_running (something is at the socket's path or port), config_invalid. */
export async function createControlServer(
  backend: ControlBackend,
  options: ControlServerOptions,
): Promise<ControlServer> {
  const server = new HttpControlServer(backend, options);
  try {
    await server.listen();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

interface RouteConfig {
  readonly operationId?: OperationId;
}

class HttpControlServer implements ControlServer {
  readonly socketPath: string;
  readonly #backend: ControlBackend;
  readonly #options: ControlServerOptions;
  readonly #app: FastifyInstance;
  readonly #streams: EventStreams;
  readonly #links: Links;
  readonly #unixServer: Server;
  readonly #tcpServer: Server | undefined;
  readonly #tcpSockets = new WeakSet<Socket>();
  readonly #callers = new WeakMap<FastifyRequest, AnyCaller>();
  /** Requests for a link; the connection is theirs alone. */
  readonly #upgrades = new WeakSet<IncomingMessage>();
  readonly #underWay = new Set<AbortController>();
  #tcp: { host: string; port: number } | undefined;
  #closing: Promise<void> | undefined;

  constructor(backend: ControlBackend, options: ControlServerOptions) {
    this.socketPath = options.socketPath;
    this.#backend = backend;
    this.#options = options;
    this.#streams = new EventStreams(options.events, options.streams);
    this.#links = new Links(options.links, options.linkOptions);
    this.#app = this.#createApp();
    const answer = (request: IncomingMessage, response: ServerResponse): void => this.#app.routing(request, response);
    const upgrade = (request: IncomingMessage, socket: Socket, head: Buffer): void =>
      this.#answerUpgrade(request, socket, head);
    this.#unixServer = createHttpServer(answer, upgrade, options.log);
    if (options.tcp !== undefined) {
      this.#tcpServer = createHttpServer(answer, upgrade, options.log);
      this.#tcpServer.on('connection', (socket) => this.#tcpSockets.add(socket));
    }
  }

  get tcp(): { readonly host: string; readonly port: number } | undefined {
    return this.#tcp;
  }

  get streams(): number {
    return this.#streams.size;
  }

  get links(): number {
    return this.#links.size;
  }

  async listen(): Promise<void> {
    await this.#app.ready();
    await listenPrivately(this.#unixServer, this.socketPath);
    const { tcp } = this.#options;
    if (tcp === undefined || this.#tcpServer === undefined) return;
    if (!['127.0.0.1', '::1'].includes(tcp.host)) {
      throw new MeshError(
        'config_invalid',
        `Cannot listen on "${tcp.host}": want a loopback address, "127.0.0.1" or "::1"`,
        { field: 'control.tcp' },
      );
    }
    await listenOn(this.#tcpServer, { host: tcp.host, port: tcp.port, exclusive: true }, `${tcp.host}:${tcp.port}`);
    this.#tcp = { host: tcp.host, port: (this.#tcpServer.address() as AddressInfo).port };
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #stop(): Promise<void> {
    this.#streams.close();
    const linksClosed = this.#links.close();
    const servers = [this.#unixServer, ...(this.#tcpServer === undefined ? [] : [this.#tcpServer])];
    const closed = servers
      .filter((server) => server.listening)
      .map((server) => new Promise<void>((settle) => server.close(() => settle())));
    const cancel = setTimeout(() => {
      for (const controller of this.#underWay) controller.abort(stopping());
      // A moment for the answers that say so; then whatever is left is cut.
      setTimeout(() => servers.forEach((server) => server.closeAllConnections()), 100);
    }, this.#options.stopMs ?? limits.API_STOP_MS);
    await Promise.all([...closed, linksClosed]);
    clearTimeout(cancel);
    await this.#app.close();
  }

  #createApp(): FastifyInstance {
    const app = fastify({
      logger: false, // Fastify logs addresses and errors with what clients sent; #logAnswer is the whole access log
      bodyLimit: limits.API_BODY_BYTES_MAX,
      exposeHeadRoutes: false,
      routerOptions: { caseSensitive: true, ignoreTrailingSlash: false },
      frameworkErrors: (error, request, reply) => {
        void this.#fail(error, request, reply);
      },
    });
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) =>
      parseBody(body, routeOfRequest(request)?.bodyMax?.depth ?? limits.API_JSON_DEPTH_MAX),
    );
    app.addHook('onRequest', async (request) => this.#admit(request));
    app.addHook('onResponse', async (request, reply) => this.#logAnswer(request, reply));
    app.setErrorHandler((error, request, reply) => this.#fail(error, request, reply));
    app.setNotFoundHandler((request, reply) =>
      this.#fail(new MeshError('no_route', 'Cannot answer: nothing is at this address'), request, reply),
    );
    const handlers = this.#serverHandlers();
    for (const operationId of OPERATION_IDS) {
      const { method, path, bodyMax } = routeOf(operationId);
      const handler =
        handlers[operationId] ??
        ((request: FastifyRequest, reply: FastifyReply) => this.#askBackend(operationId, request, reply));
      app.route({
        method,
        url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
        config: { operationId } satisfies RouteConfig,
        ...(bodyMax !== undefined && { bodyLimit: bodyMax.bytes }),
        handler,
      });
    }
    return app;
  }

  /** Before the body is read: a request that may not be made costs nothing more. */
  #admit(request: FastifyRequest): void {
    if (this.#closing !== undefined) throw stopping();
    const overTcp = this.#tcpSockets.has(request.raw.socket);
    if (overTcp) verifyLocal(request.headers, this.#tcp?.port ?? 0);
    const caller = callerOf(request.headers, overTcp, this.#options.tokens);
    this.#callers.set(request, caller);
    const route = routeOfRequest(request);
    if (route !== undefined) verifyMayCall(route, caller);
    else if (!isCaller(caller)) throw new MeshError('unauthorized', 'Cannot answer without a token over TCP');
  }

  async #askBackend(operationId: OperationId, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const route = routeOf(operationId);
    const caller = this.#callerOf(request);
    const input = ownInput(route, readInput(route, request), caller);
    const controller = new AbortController();
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished) controller.abort(new MeshError('cancelled', 'Cannot go on: the client is gone'));
    });
    this.#underWay.add(controller);
    try {
      const methods = this.#backend as unknown as Readonly<
        Record<string, (input: unknown, caller: AnyCaller, signal: AbortSignal) => Promise<unknown>>
      >;
      const answer = await methods[operationId]?.(input, caller, controller.signal);
      return await this.#answer(route, answer, reply);
    } finally {
      this.#underWay.delete(controller);
    }
  }

  async #answer(route: Route, answer: unknown, reply: FastifyReply, status = 200): Promise<FastifyReply> {
    const text = JSON.stringify(answer);
    if (this.#options.strict === true)
      checkJson(route.response, JSON.parse(text), `the answer of ${route.method} ${route.path}`, 'internal');
    return reply.code(status).headers(JSON_HEADERS).send(Buffer.from(text));
  }

  #serverHandlers(): Partial<
    Record<OperationId, (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>>
  > {
    const { version, ready } = this.#options;
    const document = createOpenApiDocument(version);
    const plain =
      (
        operationId: OperationId,
        answerOf: (caller: AnyCaller) => unknown,
        statusOf: (answer: unknown) => number = () => 200,
      ) =>
      async (request: FastifyRequest, reply: FastifyReply) => {
        const route = routeOf(operationId);
        readInput(route, request);
        const answer = answerOf(this.#callerOf(request));
        return this.#answer(route, answer, reply, statusOf(answer));
      };
    return {
      livez: plain('livez', () => ({ status: 'ok' })),
      readyz: plain('readyz', ready, (answer) => ((answer as Readyz).ready ? 200 : 503)),
      openapi: plain('openapi', () => document),
      version: plain('version', () => ({ version, api: API_VERSION })),
      caller: plain('caller', (caller) => ({ kind: caller.kind, did: caller.kind === 'agent' ? caller.did : null })),
      events: async (request, reply) => this.#stream(request, reply),
      link: async (request, reply) => this.#link(request, reply),
    };
  }

  /** As any other request, so that it is admitted as any other and a refusal is a problem. */
  #answerUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.setTimeout(0); // a link may be silent
    if (head.length > 0) socket.unshift(head);
    this.#upgrades.add(request);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    this.#app.routing(request, response);
  }

  async #link(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const route = routeOf('link');
    const caller = this.#callerOf(request);
    const { query } = ownInput(route, readInput(route, request), caller);
    if (!this.#upgrades.has(request.raw))
      throw new MeshError(
        'bad_request',
        `Cannot open a link: want "Connection: Upgrade" and "Upgrade: ${LINK_UPGRADE}"`,
        {
          field: 'upgrade',
        },
      );
    const { socket } = request.raw;
    await this.#links.start({
      wanted: linkWantedOf(query as QueryOf<'link'>),
      socket,
      mayContinue: this.#mayContinue(request, caller),
      onOpened: () => {
        reply.hijack();
        reply.raw.detachSocket(socket);
      },
    });
    return reply;
  }

  /** Whether the caller's token still counts. */
  #mayContinue(request: FastifyRequest, caller: AnyCaller): () => boolean {
    const token = tokenOf(request.headers);
    const { tokens } = this.#options;
    return () =>
      caller.kind === 'operator' ||
      (caller.kind === 'agent' && token !== undefined && tokens.agentOf(token) === caller.did);
  }

  #stream(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const input = readInput(routeOf('events'), request);
    const types = parseEventTypes((input.query as { types?: string }).types);
    const caller = this.#callerOf(request);
    if (!isCaller(caller)) throw new MeshError('unauthorized', 'Cannot stream events without a token');
    const lastEventId = request.headers['last-event-id'];
    this.#streams.start(reply.raw, {
      caller,
      types,
      lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined,
      mayContinue: this.#mayContinue(request, caller),
    });
    return reply.hijack();
  }

  async #fail(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { log, strict } = this.#options;
    const operationId = operationIdOf(request);
    let problem = problemOfError(error, log, { operationId });
    if (!isListed(problem.code, routeOfRequest(request))) {
      log.warn({ operationId, code: problem.code }, 'answered with a code that the route does not list');
      if (strict === true)
        problem = problemOfError(new Error(`unlisted code "${problem.code}"`, { cause: error }), log, { operationId });
    }
    if (problem.status === 401) reply.header('www-authenticate', 'Bearer');
    return reply
      .code(problem.status)
      .headers({ ...JSON_HEADERS, 'content-type': PROBLEM_MEDIA_TYPE })
      .send(Buffer.from(textOf(problem)));
  }

  /** No address, parameter, header or body: they hold names, contacts, tokens and keys. */
  #logAnswer(request: FastifyRequest, reply: FastifyReply): void {
    const caller = this.#callers.get(request)?.kind ?? 'refused';
    const facts = {
      operationId: operationIdOf(request) ?? null,
      status: reply.statusCode,
      durationMs: Math.round(reply.elapsedTime),
      caller,
    };
    this.#options.log.debug(facts, 'control request');
  }

  #callerOf(request: FastifyRequest): AnyCaller {
    const caller = this.#callers.get(request);
    if (caller === undefined) throw new MeshError('internal', 'Cannot answer a request that was not admitted');
    return caller;
  }
}

/** Beside bytes, since Fastify adds to the media type of texts a charset that JSON does not have (RFC 8259 section 11). */
const JSON_HEADERS = {
  'content-type': 'application/json',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
};

const stopping = (): MeshError => new MeshError('read_only', 'Cannot answer: the daemon is stopping');

const operationIdOf = (request: FastifyRequest): OperationId | undefined =>
  (request.routeOptions.config as RouteConfig | undefined)?.operationId;
function routeOfRequest(request: FastifyRequest): Route | undefined {
  const operationId = operationIdOf(request);
  return operationId === undefined ? undefined : routeOf(operationId);
}

interface Input {
  readonly params: Readonly<Record<string, unknown>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

/** Errors: bad_request. */
function readInput(route: Route, request: FastifyRequest): Input {
  const params = checkJson(
    route.params,
    { ...(request.params as object) },
    'the address',
    'bad_request',
  ) as Input['params'];
  const query = checkJson(route.query, { ...(request.query as object) }, 'the query', 'bad_request') as Input['query'];
  const { body } = request;
  if (route.body !== undefined) return { params, query, body: checkJson(route.body, body, 'the body', 'bad_request') };
  if (body !== undefined && body !== null)
    throw new MeshError('bad_request', 'Cannot accept the body: this route takes none', { field: '' });
  return { params, query, body: undefined };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Errors: bad_request. */
function parseBody(body: Buffer, depthMax: number): unknown {
  let text: string;
  try {
    text = utf8.decode(body);
  } catch (cause) {
    throw new MeshError('bad_request', 'Cannot read the body: it is not UTF-8', { field: '' }, { cause });
  }
  return parseJsonStrict(text, depthMax);
}

function textOf(problem: Problem): string {
  try {
    return JSON.stringify(problem);
  } catch {
    return JSON.stringify({ ...problem, data: {} }); // data that JSON cannot say (a cycle, a BigInt) must not hide the code
  }
}

function createHttpServer(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  upgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void,
  log: Logger,
): Server {
  const options = {
    maxHeaderSize: limits.API_HEADER_BYTES_MAX,
    connectionsCheckingInterval: limits.API_HEADERS_MS / 2,
    // Whatever else a client would like to speak, it is answered in HTTP/1.1 (RFC 9110 section 7.8).
    shouldUpgradeCallback: isForLink,
  };
  const server = createServer(options, answer);
  server.on('upgrade', (request, socket: Socket, head) => {
    // Before Node 24.9 there was nobody to ask, and the body of such a request was not read.
    if (isForLink(request)) upgrade(request, socket, head);
    else refuseAtOnce(socket, [400, 'Bad Request', 'bad_request']);
  });
  server.maxConnections = limits.API_CONNECTIONS_MAX;
  server.headersTimeout = limits.API_HEADERS_MS;
  server.requestTimeout = limits.API_REQUEST_MS;
  server.timeout = limits.API_IDLE_MS;
  server.on('clientError', answerNonsense);
  // A connection that cannot be accepted (too many open files) is no reason to stop.
  server.on('error', (err) => log.error({ err }, 'the control socket could not accept a connection'));
  return server;
}

const isForLink = ({ headers }: IncomingMessage): boolean => headers.upgrade?.toLowerCase() === LINK_UPGRADE;

/** What is not HTTP, or too slow or large a head, never reaches a route. */
function answerNonsense(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  refuseAtOnce(
    socket,
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [413, 'Content Too Large', 'too_large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [504, 'Gateway Timeout', 'timeout']
        : [400, 'Bad Request', 'bad_request'],
  );
}

function refuseAtOnce(socket: Socket, [status, reason, code]: readonly [number, string, ErrorCode]): void {
  const body = JSON.stringify({
    type: `urn:agentmesh:error:${code}`,
    title: reason,
    status,
    code,
    detail: 'Cannot read the request',
    data: {},
  });
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nconnection: close\r\ncontent-type: ${PROBLEM_MEDIA_TYPE}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}

/** The socket has mode 0600 from the first moment at which anybody could connect. */
function listenPrivately(server: Server, path: string): Promise<void> {
  const before = process.umask(0o177);
  try {
    return listenOn(server, { path }, path); // binds before it returns
  } finally {
    process.umask(before);
  }
}

function listenOn(server: Server, where: ListenOptions, shown: string): Promise<void> {
  return new Promise((settle, fail) => {
    const refuse = (cause: NodeJS.ErrnoException): void => {
      const taken = `Cannot listen on "${shown}": something is there`;
      fail(cause.code === 'EADDRINUSE' ? new MeshError('already_running', taken, { path: shown }, { cause }) : cause);
    };
    server.once('error', refuse);
    server.listen(where, () => {
      server.off('error', refuse);
      settle();
    });
  });
}
