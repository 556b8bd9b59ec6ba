/** Requests as no library would send them. */
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http';
import { createEventReader, type ServerEvent } from '../../../sdk/servers/sse.ts';

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Of a stream, with text for data. */
  readonly events: readonly { readonly id?: string; readonly data: string }[];
}

export interface Ask {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: unknown;
  readonly path?: string;
  readonly signal?: AbortSignal;
  /** Called for each event of a stream as it comes. */
  readonly onEvent?: (data: string, id: string | undefined) => void;
}

const POST = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

/** A body that is no text is sent as JSON. */
export function ask(url: string, { method = 'POST', headers, body, path, signal, onEvent }: Ask): Promise<Reply> {
  return new Promise((settle, fail) => {
    const target = new URL(url);
    const sent = request(
      target,
      {
        method,
        path: path ?? target.pathname,
        headers: { ...(method === 'POST' ? POST : {}), ...headers },
        agent: false,
        ...(signal !== undefined && { signal }),
      },
      (response) => {
        const events: ServerEvent[] = [];
        const reader = createEventReader((event) => {
          events.push(event);
          onEvent?.(Buffer.from(event.data).toString(), event.id);
        }, 1e8);
        const chunks: Buffer[] = [];
        const isStream = response.headers['content-type'] === 'text/event-stream';
        const done = (): void =>
          settle({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(chunks).toString(),
            events: events.map(({ id, data }) => ({
              ...(id !== undefined && { id }),
              data: Buffer.from(data).toString(),
            })),
          });
        response.on('data', (chunk: Buffer) => {
          if (isStream) reader.push(chunk);
          else chunks.push(chunk);
        });
        response.once('end', done);
        response.once('error', done); // cut: what came is told
      },
    );
    sent.once('error', fail);
    sent.end(
      body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    );
  });
}

/** The message of a reply: its object, or the last event of its stream. */
export function messageOf({ text, events }: Reply): Record<string, unknown> {
  return JSON.parse(text === '' ? (events.at(-1)?.data ?? 'null') : text) as Record<string, unknown>;
}

export const call = (id: number | string, method: string, params?: unknown): Record<string, unknown> => ({
  jsonrpc: '2.0',
  id,
  method,
  ...(params !== undefined && { params }),
});

/** What a request of MCP 2026-07-28 carries, in its body and in its headers. */
export function stateless(
  id: number | string,
  method: string,
  params: Record<string, unknown> = {},
  meta: Record<string, unknown> = {},
): Ask {
  const version = '2026-07-28';
  const name = params['name'] ?? params['uri'];
  return {
    headers: {
      'mcp-protocol-version': version,
      'mcp-method': method,
      ...(typeof name === 'string' && { 'mcp-name': name }),
    },
    body: call(id, method, {
      ...params,
      _meta: {
        'io.modelcontextprotocol/protocolVersion': version,
        'io.modelcontextprotocol/clientCapabilities': {},
        ...meta,
      },
    }),
  };
}

/** Waits until it holds. */
export async function until(holds: () => boolean, withinMs = 5_000): Promise<void> {
  for (const untilMs = performance.now() + withinMs; !holds(); ) {
    if (performance.now() > untilMs) throw new Error(`it does not hold after ${withinMs} ms: ${holds.toString()}`);
    await new Promise((settle) => setTimeout(settle, 5));
  }
}
