/**
 * A server behind Streamable HTTP (`--url`): one request at a time, in Node's own HTTP. Redirects are not followed, since
 * they would carry credentials and messages to a place that nobody named.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { Environment } from '../../protocol/index.ts';
import { MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import { isOwnHeader } from '../../protocol/mcp/index.ts';
import { hearSocketErrors } from './socket-errors.ts';
import { createEventReader, EVENT_STREAM, type ServerEvent } from './sse.ts';

// Not imported, as in sdk/http.ts: fetch would come with it. TLS is loaded for who needs it.
const { Agent, request: requestHttp, validateHeaderName, validateHeaderValue } = process.getBuiltinModule('node:http');

export const JSON_TYPE = 'application/json';

export interface UpstreamOptions {
  readonly url: URL;
  /** Sent with every request, whatever the client sends: credentials. Never shown. */
  readonly headers?: OutgoingHttpHeaders;
  /** Default PROXY_UPSTREAM_HEADERS_MS. */
  readonly headersMs?: number;
  /** PEM of further authorities, as NODE_EXTRA_CA_CERTS has them; for tests. */
  readonly ca?: string;
}

export interface UpstreamRequest {
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly headers: OutgoingHttpHeaders;
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
  /** The request is on its way as a whole: the next one cannot overtake it. */
  readonly onSent?: (() => void) | undefined;
}

export interface UpstreamAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly kind: 'events' | 'json' | 'other';
  /** Errors: too_large; closed, where the stream broke. */
  readEvents(onEvent: (event: ServerEvent) => void | Promise<void>): Promise<void>;
  /** Errors: too_large, closed. */
  readBody(bytesMax: number): Promise<Buffer>;
  discard(): void;
}

export interface Upstream {
  /** Without anything secret in it. */
  readonly name: string;
  /** Errors: unreachable, timeout, cancelled, version (encoded in a way that was not asked for). */
  request(request: UpstreamRequest): Promise<UpstreamAnswer>;
  close(): void;
}

/** Errors: bad_request. */
export function parseServerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new MeshError('bad_request', `Cannot use "${text}" as a server: want http://… or https://…`);
  if (url.username !== '' || url.password !== '')
    throw new MeshError('bad_request', 'Cannot use a server whose URL holds a password', {
      next: 'give it with --header-env Authorization=VARIABLE',
    });
  url.hash = '';
  return url;
}

/** RFC 9110 11.6.2: a scheme, then credentials. Clients that ask for a token alone mean a bearer token (RFC 6750). */
const withScheme = (name: string, value: string): string =>
  /^authorization$/i.test(name) && !/\s/.test(value.trim()) ? `Bearer ${value.trim()}` : value;

/** `--header 'Name: value'` and `--header-env NAME=VARIABLE`. Errors: bad_request, which never holds a value. */
export function parseHeaders(
  given: readonly string[],
  fromEnv: readonly string[],
  env: Environment,
): OutgoingHttpHeaders {
  const headers: Record<string, string> = {};
  const add = (name: string, value: string, flag: string): void => {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch {
      throw new MeshError(
        'bad_request',
        `Cannot send the header "${name}" of ${flag}: it holds what HTTP does not allow`,
      ); // Node's error may quote the value
    }
    if (isOwnHeader(name)) throw new MeshError('bad_request', `Cannot send the header "${name}": the proxy sets it`);
    headers[name.toLowerCase()] = value;
  };
  for (const text of given) {
    const colon = text.indexOf(':');
    if (colon < 1) throw new MeshError('bad_request', "Cannot read a --header: want 'Name: value'");
    add(text.slice(0, colon).trim(), text.slice(colon + 1).trim(), '--header');
  }
  for (const text of fromEnv) {
    const [, name = '', variable = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name === '') throw new MeshError('bad_request', 'Cannot read a --header-env: want NAME=VARIABLE');
    const value = env[variable];
    if (value === undefined || value === '')
      throw new MeshError('bad_request', `Cannot send the header "${name}": the environment has no "${variable}"`);
    add(name, withScheme(name, value), '--header-env');
  }
  return headers;
}

export function createUpstream({
  url,
  headers: fixed = {},
  headersMs = limits.PROXY_UPSTREAM_HEADERS_MS,
  ca,
}: UpstreamOptions): Upstream {
  const agentOptions = {
    keepAlive: true,
    maxSockets: limits.PROXY_UPSTREAM_CONNECTIONS_MAX,
    scheduling: 'lifo' as const,
  };
  const tls = url.protocol === 'https:' ? process.getBuiltinModule('node:https') : undefined;
  const agent =
    tls === undefined ? new Agent(agentOptions) : new tls.Agent({ ...agentOptions, ...(ca !== undefined && { ca }) });
  const name = `${url.origin}${url.pathname}`; // without a query, which may hold a key

  const open = (method: string, headers: OutgoingHttpHeaders, signal: AbortSignal | undefined): ClientRequest =>
    (tls?.request ?? requestHttp)(url, {
      method,
      agent,
      headers: { ...headers, 'accept-encoding': 'identity', ...fixed },
      maxHeaderSize: limits.PROXY_HEADER_BYTES_MAX,
      ...(signal !== undefined && { signal }),
    });

  return {
    name,
    async request({ method, headers, body, signal, onSent }) {
      const request = open(
        method,
        { ...headers, ...(body !== undefined && { 'content-length': body.byteLength }) },
        signal,
      );
      const response = await new Promise<IncomingMessage>((settle, fail) => {
        const late = setTimeout(
          () =>
            request.destroy(
              new MeshError(
                'timeout',
                `Cannot wait for "${name}" any longer: it has not answered for ${headersMs / 1000} s`,
              ),
            ),
          headersMs,
        );
        limitConnecting(request, name);
        hearSocketErrors(request);
        request.once('response', settle);
        request.on('error', (cause) => fail(reasonOf(cause, name, signal)));
        request.once('close', () => clearTimeout(late));
        request.once('finish', () => onSent?.());
        request.end(body);
      });
      return answerOf(response, name);
    },
    close: () => agent.destroy(),
  };
}

/** A host that swallows packets would hold a request for minutes. */
function limitConnecting(request: ClientRequest, name: string): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const late = setTimeout(
      () =>
        request.destroy(
          new MeshError(
            'unreachable',
            `Cannot reach "${name}": no connection within ${limits.PROXY_UPSTREAM_CONNECT_MS / 1000} s`,
          ),
        ),
      limits.PROXY_UPSTREAM_CONNECT_MS,
    );
    socket.once('connect', () => clearTimeout(late));
    socket.once('close', () => clearTimeout(late));
  });
}

function reasonOf(cause: Error & { readonly code?: string }, name: string, signal: AbortSignal | undefined): MeshError {
  if (cause instanceof MeshError) return cause;
  if (signal?.aborted === true) return new MeshError('cancelled', `Cancelled the request to "${name}"`);
  const why =
    cause.code === 'ECONNREFUSED'
      ? 'nothing listens there'
      : cause.code === 'ENOTFOUND'
        ? 'no such host'
        : cause.message;
  return new MeshError('unreachable', `Cannot reach "${name}": ${why}`, {}, { cause });
}

/** Errors: unreachable (it redirects), version. */
function answerOf(response: IncomingMessage, name: string): UpstreamAnswer {
  const { statusCode: status = 0, headers } = response;
  const refuse = (error: MeshError): never => {
    response.destroy();
    throw error;
  };
  if (status >= 300 && status < 400) {
    const to = URL.canParse(headers.location ?? '', name) ? new URL(headers.location ?? '', name).origin : 'nowhere';
    refuse(
      new MeshError('unreachable', `Cannot use "${name}": it redirects to "${to}", which is not followed`, {
        next: 'name the address that it has now with --url',
      }),
    );
  }
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity')
    refuse(
      new MeshError('version', `Cannot read the answer of "${name}": it is encoded as "${encoding}", want "identity"`),
    );
  const type = (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase();
  return {
    status,
    headers,
    kind: type === EVENT_STREAM ? 'events' : type === JSON_TYPE ? 'json' : 'other',
    async readEvents(onEvent) {
      let events: ServerEvent[] = [];
      const reader = createEventReader((event) => events.push(event), limits.MCP_MESSAGE_BYTES_MAX);
      for await (const chunk of chunksOf(response, name)) {
        reader.push(chunk);
        for (const event of events) await onEvent(event);
        events = [];
      }
    },
    async readBody(bytesMax) {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of chunksOf(response, name)) {
        bytes += chunk.length;
        if (bytes > bytesMax)
          throw new MeshError('too_large', `Cannot read the answer of "${name}": it has more than ${bytesMax} bytes`, {
            want: bytesMax,
          });
        chunks.push(chunk);
      }
      return Buffer.concat(chunks, bytes);
    },
    discard: () => {
      // What is short is taken, so that the connection can serve again.
      if (Number(headers['content-length'] ?? 0) <= limits.PROXY_ERROR_BYTES_MAX && status !== 200) response.resume();
      else response.destroy();
    },
  };
}

/** Leaving the loop ends the connection. */
async function* chunksOf(response: IncomingMessage, name: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of response) yield chunk as Buffer;
  } catch (cause) {
    throw new MeshError('closed', `The connection to "${name}" broke`, {}, { cause });
  }
}
