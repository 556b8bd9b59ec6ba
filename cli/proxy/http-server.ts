/**
 * Streamable HTTP for clients of this machine (`--listen`), both eras of MCP at one address. Here a request becomes one
 * message, or is refused: who may ask, what is accepted, and that headers say what the body says. What is done with it
 * is the backend's.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isMeshError, MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import {
  eraOfVersion,
  errorResponse,
  isRefusal,
  type Message,
  parseMessage,
  type RequestMessage,
  refusalAnswer,
  RPC_CODES,
  type SessionComponents,
  verifyHeaders,
} from '../../protocol/mcp/index.ts';
import { EVENT_STREAM, JSON_TYPE } from '../../sdk/servers/http.ts';
import { Exchange, type ExchangeOptions } from './http-exchange.ts';
import { createGuard, type Guard, type HttpAddress, isLoopback } from './http-guard.ts';

// Not imported, as in sdk/http.ts: fetch would come with it.
const { createServer } = process.getBuiltinModule('node:http');

export const MCP_PATH = '/mcp';
const STOP_POLL_MS = 10;
const TOKEN_CHALLENGE = 'Bearer realm="agentmesh proxy"';

/** Said twice they would mean one thing to one reader and another to the next. */
const ONCE = [
  'host',
  'origin',
  'authorization',
  'content-type',
  'content-encoding',
  'mcp-session-id',
  'mcp-protocol-version',
  'mcp-method',
  'mcp-name',
  'last-event-id',
];

/** Where messages go: processes of this machine, or a server behind HTTP. */
export interface HttpBackend {
  /** Answers it, now or later. */
  post(exchange: Exchange, message: Message): void;
  /** The client wants a stream. */
  get(exchange: Exchange): void;
  /** The client ends its session. */
  delete(exchange: Exchange): void;
  close(): Promise<void>;
}

export interface HttpServerOptions extends ExchangeOptions {
  readonly listen: HttpAddress;
  /** Names by which clients may call this proxy beside its address; default none. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Needed where others than this machine can connect. */
  readonly token?: string | undefined;
  /** Default limits.MCP_MESSAGE_BYTES_MAX. */
  readonly bodyBytesMax?: number;
  /** That a client has to send headers, and a body; defaults PROXY_HEADERS_MS and PROXY_BODY_MS. */
  readonly headersMs?: number;
  readonly bodyMs?: number;
  /** That requests under way have when it closes; default PROXY_STOP_MS. */
  readonly stopMs?: number;
  readonly report: SessionComponents<never>['report'];
}

export interface HttpServer extends AsyncDisposable {
  readonly address: HttpAddress;
  /** For clients. */
  readonly url: string;
  /** Requests and streams under way. */
  readonly exchanges: number;
  /** Closes the backend too. */
  close(): Promise<void>;
}

/** Listens before it resolves. Errors: config_invalid (not on loopback, without a token), conflict (the port is taken). */
export async function startHttpServer(backend: HttpBackend, options: HttpServerOptions): Promise<HttpServer> {
  const { listen, token } = options;
  if (!isLoopback(listen.host) && token === undefined)
    throw new MeshError(
      'config_invalid',
      `Cannot listen on "${listen.host}" without a token: everybody who reaches the port could use the server`,
      { field: '--listen', next: 'give one with --token-file FILE, or listen on 127.0.0.1' },
    );
  const server = new McpHttpServer(backend, options);
  await server.listen();
  return server;
}

class McpHttpServer implements HttpServer {
  readonly #backend: HttpBackend;
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  readonly #exchanges = new Set<Exchange>();
  #address: HttpAddress;
  #guard: Guard | undefined;
  #closing: Promise<void> | undefined;

  constructor(backend: HttpBackend, options: HttpServerOptions) {
    this.#backend = backend;
    this.#options = options;
    this.#address = options.listen;
    this.#server = createServer(
      {
        maxHeaderSize: limits.PROXY_HEADER_BYTES_MAX,
        headersTimeout: options.headersMs ?? limits.PROXY_HEADERS_MS,
        requestTimeout: options.bodyMs ?? limits.PROXY_BODY_MS, // of receiving it; answers take as long as they take
        keepAliveTimeout: limits.PROXY_IDLE_MS,
        connectionsCheckingInterval: Math.min(1_000, options.headersMs ?? limits.PROXY_HEADERS_MS),
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = limits.PROXY_CONNECTIONS_MAX;
  }

  get address(): HttpAddress {
    return this.#address;
  }

  get url(): string {
    const { host, port } = this.#address;
    return `http://${host.includes(':') ? `[${host}]` : host}:${port}${MCP_PATH}`;
  }

  get exchanges(): number {
    return this.#exchanges.size;
  }

  async listen(): Promise<void> {
    const { host, port } = this.#options.listen;
    await new Promise<void>((settle, fail) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) =>
        fail(
          new MeshError(
            cause.code === 'EADDRINUSE' ? 'conflict' : 'config_invalid',
            `Cannot listen on "${host}:${port}": ${cause.code === 'EADDRINUSE' ? 'something else does' : cause.message}`,
            { field: '--listen' },
            { cause },
          ),
        ),
      );
      this.#server.listen({ host, port, exclusive: true }, settle);
    });
    this.#address = { host, port: (this.#server.address() as AddressInfo).port };
    const { allowedHosts = [], token } = this.#options;
    this.#guard = createGuard({ address: this.#address, allowedHosts, token });
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #stop(): Promise<void> {
    const closed = new Promise<void>((settle) => this.#server.close(() => settle()));
    this.#server.closeIdleConnections();
    await this.#backend.close(); // answers what waits for it, and ends streams
    const untilMs = performance.now() + (this.#options.stopMs ?? limits.PROXY_STOP_MS);
    while (this.#exchanges.size > 0 && performance.now() < untilMs)
      await new Promise((settle) => setTimeout(settle, STOP_POLL_MS));
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = new Exchange(request, response, this.#options);
    this.#exchanges.add(exchange);
    exchange.onClosed(() => this.#exchanges.delete(exchange));
    try {
      this.#admit(exchange);
      const { method } = request;
      if (method === 'POST') await this.#post(exchange);
      else if (method === 'GET') this.#get(exchange);
      else if (method === 'DELETE') this.#backend.delete(exchange);
      else exchange.answer(405, undefined, { allow: 'GET, POST, DELETE' });
    } catch (error) {
      refuse(exchange, error, this.#options.report);
    }
    // Of a body that nobody wants any more; the connection ends rather than take it in.
    if (!request.complete && exchange.isEnded) response.once('finish', () => request.destroy());
  }

  /** Errors: busy, forbidden, unauthorized, not_found, bad_request. */
  #admit({ request }: Exchange): void {
    if (this.#closing !== undefined || this.#guard === undefined)
      throw new MeshError('closed', 'Cannot answer: the proxy is stopping');
    if (this.#exchanges.size > limits.PROXY_EXCHANGES_MAX)
      throw new MeshError('busy', `Cannot answer: ${limits.PROXY_EXCHANGES_MAX} requests and streams are open already`);
    this.#guard.verify(request.headers);
    for (const name of ONCE) {
      if ((request.headersDistinct[name]?.length ?? 0) > 1)
        throw new MeshError('bad_request', `Cannot accept the request: its header "${name}" is there twice`, {
          field: name,
        });
    }
    const [path] = (request.url ?? '').split('?', 1);
    if (path !== MCP_PATH) throw new MeshError('not_found', `Cannot answer: nothing is here, MCP is at "${MCP_PATH}"`);
  }

  #get(exchange: Exchange): void {
    if (!accepts(exchange.header('accept'), EVENT_STREAM))
      return exchange.answer(
        406,
        errorResponse(
          null,
          RPC_CODES.invalidRequest,
          `Not acceptable: a GET opens a stream, want "${EVENT_STREAM}" in Accept`,
        ),
        JSON_HEADERS,
      );
    this.#backend.get(exchange);
  }

  async #post(exchange: Exchange): Promise<void> {
    const unacceptable = mediaFault(exchange);
    if (unacceptable !== undefined) {
      const { status, why } = unacceptable;
      return exchange.answer(status, errorResponse(null, RPC_CODES.invalidRequest, why), JSON_HEADERS);
    }
    const body = await readBody(exchange.request, this.#options.bodyBytesMax ?? limits.MCP_MESSAGE_BYTES_MAX);
    if (exchange.isEnded) return; // its client went away meanwhile
    const message = parseMessage(body, 'client');
    if (message === undefined)
      return exchange.answer(
        400,
        errorResponse(null, RPC_CODES.parse, 'Cannot read the message: it is empty'),
        JSON_HEADERS,
      );
    verifyHeaders(message, (name) => exchange.header(name));
    if (isGone(message, exchange)) {
      const why = `Method not found: MCP 2026-07-28 has no "${message.method}"`;
      return exchange.answer(404, errorResponse(message.id, RPC_CODES.methodNotFound, why), JSON_HEADERS);
    }
    this.#backend.post(exchange, message);
  }
}

/** What is judged by what it names, and names nothing any more: `subscriptions/listen` came in its place. */
function isGone(message: Message, exchange: Exchange): message is RequestMessage {
  if (message.kind !== 'request' || !/^resources\/(?:un)?subscribe$/.test(message.method)) return false;
  return eraOfVersion(exchange.header('mcp-protocol-version') ?? '') === '2026-07-28'; // which its body says too
}

const JSON_HEADERS = { 'content-type': JSON_TYPE };

/** What a client is told, with a status that says the same to programs that know only HTTP. */
function refuse(exchange: Exchange, error: unknown, report: HttpServerOptions['report']): void {
  if (!isMeshError(error)) {
    report('warn', `A fault of this program: ${String(error)}`); // of one request; the others are not to end with it
    return exchange.answer(500, errorResponse(null, RPC_CODES.internal, 'Internal error'), JSON_HEADERS);
  }
  const body = isRefusal(error) ? refusalAnswer(error) : undefined;
  const headers = {
    ...JSON_HEADERS,
    ...(error.code === 'unauthorized' && { 'www-authenticate': TOKEN_CHALLENGE }),
    ...((error.code === 'busy' || error.code === 'closed') && { 'retry-after': '1' }),
    ...(exchange.request.complete ? {} : { connection: 'close' }),
  };
  exchange.answer(statusOf(error), body ?? errorResponse(null, RPC_CODES.invalidRequest, error.message), headers);
}

const STATUS: Readonly<Record<string, number>> = {
  busy: 503,
  closed: 503,
  forbidden: 403,
  unauthorized: 401,
  not_found: 404,
  too_large: 413,
};

const statusOf = ({ code }: MeshError): number => STATUS[code] ?? 400;

/** MCP "Sending Messages": both kinds of answers must be acceptable, and a body is JSON, which is UTF-8 (RFC 8259). */
function mediaFault(exchange: Exchange): { readonly status: number; readonly why: string } | undefined {
  const type = exchange.header('content-type') ?? '';
  if (!/^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(type.trim()))
    return { status: 415, why: `Unsupported media type: want "content-type: ${JSON_TYPE}", in UTF-8` };
  if (!/^(?:identity)?$/i.test((exchange.header('content-encoding') ?? '').trim()))
    return { status: 415, why: 'Unsupported content encoding: want none' };
  const accept = exchange.header('accept');
  if (!accepts(accept, JSON_TYPE) || !accepts(accept, EVENT_STREAM))
    return { status: 406, why: `Not acceptable: want both "${JSON_TYPE}" and "${EVENT_STREAM}" in Accept` };
  return undefined;
}

/** RFC 9110, section 12.5.1; without the header everything is acceptable. */
function accepts(header: string | undefined, type: string): boolean {
  if (header === undefined) return true;
  const family = `${type.slice(0, type.indexOf('/'))}/*`;
  return header.split(',').some((range) => {
    const [name = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    return (
      [type, family, '*/*'].includes(name) && !parameters.some((parameter) => /^q\s*=\s*0(?:\.0*)?$/.test(parameter))
    );
  });
}

/** Errors: too_large, closed (its sender went away). */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const tooLarge = (): MeshError =>
    new MeshError('too_large', `Cannot accept the message: it has more than ${bytesMax} bytes`, { want: bytesMax });
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise((settle, fail) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        request.pause();
        fail(tooLarge());
      } else chunks.push(chunk);
    });
    request.once('end', () => settle(Buffer.concat(chunks, bytes)));
    request.once('close', () => fail(new MeshError('closed', 'Cannot read the message: its sender went away')));
    request.once('error', () => fail(new MeshError('closed', 'Cannot read the message: its sender went away')));
  });
}
