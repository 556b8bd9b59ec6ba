/**
 * One client over stdio, its server behind HTTP (`--url`): the client's side of Streamable HTTP in both eras. A message
 * becomes a POST, its answer and everything on its stream a message back. A session that the server has ended is not
 * begun anew: the client holds state of its own about it, so it is told, and starts again.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMeshError, MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import {
  type Era,
  eraOf,
  type Failure,
  type Id,
  idKey,
  isRefusal,
  type Message,
  META_PROTOCOL_VERSION,
  metaOf,
  parseMessage,
  type SessionComponents,
} from '../../protocol/mcp/index.ts';
import { JSON_TYPE, type Upstream, type UpstreamAnswer } from './http-client.ts';
import { encodeHeader, type ParamHeaders, nameOf, paramHeadersOf, readParamHeaders } from './http-mirror.ts';
import { EVENT_STREAM, type ServerEvent } from './sse.ts';

export interface LinkEvents {
  /** `relatedTo`: the request on whose stream it came. */
  readonly message: (message: Uint8Array | Message, relatedTo: Id | undefined) => void;
  /** No answer will come. */
  readonly failed: (id: Id, failure: Failure) => void;
  readonly report: SessionComponents<never>['report'];
}

export interface HttpLink {
  send(message: Message): void;
  /** Ends the session at the server, and everything under way. */
  close(): Promise<void>;
}

const BOTH = `${JSON_TYPE}, ${EVENT_STREAM}`;
const METHOD_NOT_ALLOWED = 405;
const GOODBYE_MS = 2_000; // that the server has to hear that the session ends

export function createHttpLink(upstream: Upstream, events: LinkEvents): HttpLink {
  const underWay = new Map<string, AbortController>();
  const closing = new AbortController();
  let era: Era = '2025-11-25';
  let version: string | undefined;
  let sessionId: string | undefined;
  let isExpired = false;
  let isListening = false;
  let tools: ParamHeaders = new Map();
  /** Messages leave in the order in which they came; what is no request has arrived before the next one leaves. */
  let turn: Promise<void> = Promise.resolve();

  const headersFor = (message: Message | undefined): OutgoingHttpHeaders => {
    const modern = message === undefined ? undefined : metaOf(message)?.[META_PROTOCOL_VERSION];
    if (era === '2025-11-25' || message === undefined || !('method' in message)) {
      return {
        ...(sessionId !== undefined && { 'mcp-session-id': sessionId }),
        ...(version !== undefined && { 'mcp-protocol-version': version }),
      };
    }
    const name = nameOf(message);
    return {
      ...(typeof modern === 'string' && { 'mcp-protocol-version': modern }),
      'mcp-method': message.method,
      ...(name !== undefined && { 'mcp-name': encodeHeader(name) }),
      ...paramHeadersOf(message, tools),
    };
  };

  const take = (bytes: Uint8Array, relatedTo: Id | undefined): Message | undefined => {
    let message: Message | undefined;
    try {
      message = parseMessage(bytes, 'server');
    } catch (error) {
      if (!isRefusal(error)) throw error;
      events.message(bytes, relatedTo); // whoever gets it says what is wrong with it
      return undefined;
    }
    if (message === undefined) return undefined;
    if (message.kind === 'result') {
      const { result } = message;
      const named =
        typeof result === 'object' && result !== null && 'protocolVersion' in result
          ? result['protocolVersion']
          : undefined;
      if (typeof named === 'string' && version === undefined) version = named;
      tools = readParamHeaders(result, tools);
    }
    events.message(message, relatedTo);
    return message;
  };

  /** Whether the answer to `id` was among it; without an id every message is wanted. */
  const readStream = async (
    answer: UpstreamAnswer,
    id: Id | undefined,
    cursor: { id?: string; retryMs?: number },
  ): Promise<boolean> => {
    let isAnswered = false;
    await answer.readEvents((event: ServerEvent) => {
      if (event.id !== undefined) cursor.id = event.id;
      if (event.retryMs !== undefined) cursor.retryMs = event.retryMs;
      if (event.data.length === 0 || (event.event !== undefined && event.event !== 'message')) return;
      const message = take(event.data, id);
      if (message !== undefined && isAnswerTo(message, id)) isAnswered = true;
    });
    return isAnswered;
  };

  /** Goes on reading where a stream broke, for as long as its server lets it. Errors: closed and others, at last. */
  const resume = async (
    id: Id | undefined,
    cursor: { id?: string; retryMs?: number },
    signal: AbortSignal,
  ): Promise<void> => {
    for (let failures = 0; failures < limits.PROXY_RETRIES_MAX; failures++) {
      const waitMs = cursor.retryMs ?? limits.PROXY_RETRY_MS * 2 ** failures;
      await sleep(Math.min(waitMs, limits.PROXY_RETRY_MS_MAX), undefined, { signal });
      const last = cursor.id;
      try {
        const answer = await get(cursor.id, signal);
        if (answer.kind !== 'events' || answer.status !== 200) throw await refusalOf(answer);
        if (id === undefined) failures = -1; // a stream of its own may be silent and end as often as it likes
        if (await readStream(answer, id, cursor)) return;
      } catch (error) {
        if (signal.aborted || isExpired) throw error;
      }
      if (cursor.id !== last) failures = -1;
    }
    throw new MeshError('closed', `The stream from "${upstream.name}" broke and cannot be resumed`);
  };

  const get = (cursor: string | undefined, signal: AbortSignal): Promise<UpstreamAnswer> =>
    upstream.request({
      method: 'GET',
      headers: {
        ...headersFor(undefined),
        accept: EVENT_STREAM,
        ...(cursor !== undefined && { 'last-event-id': cursor }),
      },
      signal,
    });

  /** Messages that are to no request of ours. */
  const listen = async (): Promise<void> => {
    if (isListening || era !== '2025-11-25') return;
    isListening = true;
    const answer = await get(undefined, closing.signal);
    if (answer.status === METHOD_NOT_ALLOWED) return answer.discard(); // it has no such stream, as it may
    if (answer.kind !== 'events' || answer.status !== 200) throw await refusalOf(answer);
    const cursor: { id?: string; retryMs?: number } = {};
    await readStream(answer, undefined, cursor).catch((error: unknown) => {
      if (closing.signal.aborted) throw error;
    });
    await resume(undefined, cursor, closing.signal);
  };

  /** What an answer that carries no message says about itself. */
  const refusalOf = async (answer: UpstreamAnswer): Promise<MeshError> => {
    const { status, headers } = answer;
    answer.discard();
    if (status === 404 && sessionId !== undefined) {
      isExpired = true;
      return expired();
    }
    if (status === 401 || status === 403) {
      const said = headers['www-authenticate'];
      const next = 'give it credentials with --header-env Authorization=VARIABLE';
      events.report(
        'warn',
        `"${upstream.name}" refused access (HTTP ${status}${said === undefined ? '' : `, ${said}`}); ${next}`,
      );
      return new MeshError(
        'unauthorized',
        `"${upstream.name}" refused access (HTTP ${status}); ${next} for agentmesh proxy`,
      );
    }
    return new MeshError('unreachable', `"${upstream.name}" answered with HTTP ${status} and no message`);
  };
  const expired = (): MeshError =>
    new MeshError('closed', `The session at "${upstream.name}" has ended; connect again to begin another one`);

  const post = async (message: Message, signal: AbortSignal, onSent: () => void): Promise<void> => {
    const id = message.kind === 'request' ? message.id : undefined;
    if (isExpired) throw expired();
    const answer = await upstream.request({
      method: 'POST',
      headers: { 'content-type': JSON_TYPE, accept: BOTH, ...headersFor(message) },
      body: message.bytes,
      signal,
      onSent: id === undefined ? undefined : onSent,
    });
    onSent();
    const { status, kind, headers } = answer;
    const given = headers['mcp-session-id'];
    if (message.kind === 'request' && message.method === 'initialize' && status === 200 && typeof given === 'string')
      sessionId = given;
    if (kind === 'json') {
      const body = await answer.readBody(limits.MCP_MESSAGE_BYTES_MAX);
      if (status < 300 || isMessageTo(body, id)) {
        const taken = take(body, id);
        if (id === undefined || (taken !== undefined && isAnswerTo(taken, id))) return;
      } else throw withWords(await refusalOf(answer), body);
    } else if (kind === 'events' && status === 200) {
      const cursor: { id?: string; retryMs?: number } = {};
      const isAnswered = await readStream(answer, id, cursor).catch((error: unknown) => {
        if (cursor.id === undefined || signal.aborted) throw error;
        return false;
      });
      if (isAnswered || id === undefined) return;
      if (cursor.id !== undefined && era === '2025-11-25') return resume(id, cursor, signal);
    } else if (status >= 300 || id !== undefined) throw await refusalOf(answer);
    else answer.discard();
    if (id !== undefined) throw new MeshError('closed', `"${upstream.name}" ended its answer without a response`);
  };

  const failed = (message: Message, error: unknown): void => {
    if (!isMeshError(error) && !closing.signal.aborted) throw error;
    if (closing.signal.aborted) return;
    const { code, message: why } = error as MeshError;
    if (message.kind === 'request') {
      if (code !== 'cancelled') events.failed(message.id, { code, message: why });
    } else events.report('warn', `Cannot deliver a ${message.kind} to the server: ${why}`);
  };

  const start = (message: Message): Promise<void> =>
    new Promise((settle) => {
      const controller = new AbortController();
      const key = message.kind === 'request' ? idKey(message.id) : undefined;
      if (key !== undefined) underWay.set(key, controller);
      void post(message, AbortSignal.any([controller.signal, closing.signal]), settle)
        .then(() => {
          if (message.kind === 'notification' && message.method === 'notifications/initialized')
            void listen().catch((error: unknown) => {
              if (!closing.signal.aborted && isMeshError(error))
                events.report('note', `No stream from the server: ${error.message}`);
              else if (!closing.signal.aborted) throw error;
            });
        })
        .catch((error: unknown) => failed(message, error))
        .finally(() => {
          if (key !== undefined && underWay.get(key) === controller) underWay.delete(key);
          settle();
        });
    });

  return {
    send(message) {
      const own = eraOf(message);
      if (own !== undefined) era = own;
      if (message.kind === 'notification' && message.method === 'notifications/cancelled' && era === '2026-07-28') {
        // MCP "Cancellation": over HTTP closing the stream says it.
        const { requestId } = (message.params ?? {}) as { readonly requestId?: Id };
        if (requestId !== undefined) underWay.get(idKey(requestId))?.abort();
        return;
      }
      turn = turn.then(() => start(message));
    },
    async close() {
      closing.abort();
      if (sessionId === undefined || isExpired) return upstream.close();
      // Its answer is of no interest: the server may not let clients end sessions.
      await upstream
        .request({ method: 'DELETE', headers: headersFor(undefined), signal: AbortSignal.timeout(GOODBYE_MS) })
        .then((answer) => answer.discard())
        .catch(() => undefined); // gone already, or it does not answer: it ends the session by itself then
      upstream.close();
    },
  };
}

const isAnswerTo = (message: Message, id: Id | undefined): boolean =>
  (message.kind === 'result' || message.kind === 'error') &&
  id !== undefined &&
  message.id !== null &&
  idKey(message.id) === idKey(id);

function isMessageTo(bytes: Uint8Array, id: Id | undefined): boolean {
  try {
    const message = parseMessage(bytes, 'server');
    return message !== undefined && isAnswerTo(message, id);
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

/** An error to no request in particular: its words help, though it cannot be passed on. */
function withWords(error: MeshError, body: Uint8Array): MeshError {
  try {
    const message = parseMessage(body, 'server');
    const words = message?.kind === 'error' ? (message.error as { readonly message?: unknown }).message : undefined;
    return typeof words === 'string' ? new MeshError(error.code, `${error.message}: "${words}"`) : error;
  } catch (cause) {
    if (isRefusal(cause)) return error;
    throw cause;
  }
}
