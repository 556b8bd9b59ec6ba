/** HTTP over the unix socket or a loopback port, with the protocol's errors. */
import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { PROBLEM_MEDIA_TYPE } from '../protocol/control/http-status.ts';
import { type ErrorCode, type ErrorData, isErrorCode, isMeshError, MeshError } from '../protocol/errors.ts';
import * as limits from '../protocol/limits.ts';
import type { Place } from './place.ts';
import { hearSocketErrors } from './servers/socket-errors.ts';

// Not imported: the names that a module offers are read when it is imported, and one of those of node:http brings
// fetch with it, HTTP/2 and all, which is more than the rest of a proxy.
const { request } = process.getBuiltinModule('node:http');

export interface HttpRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly token: string | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
  /** Keeps connections open from one request to the next; default: each request has one of its own. */
  readonly agent?: Agent;
  /** Without a byte for so long: timeout. */
  readonly idleMs: number;
}

/**
 * The answer, once its head is there. By default each request has a connection of its own: on this machine that costs
 * microseconds, and none is ever reused just as the daemon closes it.
 * Errors: not_running, permissions, cancelled, timeout, closed; what the daemon answers as a problem.
 */
export async function send(place: Place, asked: HttpRequest): Promise<IncomingMessage> {
  verifyNotAborted(asked.signal);
  const response = await open(place, asked);
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 300) return response;
  throw problemError(await readText(response, asked.signal), response, status);
}

function open(place: Place, asking: HttpRequest): Promise<IncomingMessage> {
  const { agent: _, ...again } = asking;
  return new Promise((settle, fail) => {
    const { asked, start } = prepare(place, asking);
    let isAnswered = false;
    asked.once('response', (response) => {
      isAnswered = true;
      settle(response);
    });
    asked.on('error', (cause: NodeJS.ErrnoException) => {
      if (isAnswered) return; // whoever reads the answer is told
      // A connection that was kept, and that the daemon closed just now: it has not read the request.
      if (asked.reusedSocket && CLOSED.includes(cause.code ?? '')) open(place, again).then(settle, fail);
      else fail(transportError(cause, place, asking.signal));
    });
    start();
  });
}

/** A connection on which the daemon speaks another protocol from now on, and what it said in it already. */
export interface Upgraded {
  readonly socket: Socket;
  readonly head: Buffer;
}

/** Errors: those of `send`. */
export async function upgrade(place: Place, asking: HttpRequest & { readonly to: string }): Promise<Upgraded> {
  verifyNotAborted(asking.signal);
  const { signal, headers, to } = asking;
  const found = await new Promise<Upgraded | IncomingMessage>((settle, fail) => {
    const { asked, start } = prepare(place, { ...asking, headers: { ...headers, connection: 'Upgrade', upgrade: to } });
    asked.once('response', settle);
    asked.once('upgrade', (_, socket, head) => {
      socket.removeAllListeners('timeout').setTimeout(0);
      settle({ socket, head });
    });
    asked.on('error', (cause) => fail(transportError(cause, place, signal))); // after an answer nobody listens any more
    start();
  });
  if ('socket' in found && 'head' in found) return found;
  throw problemError(await readText(found, signal), found, found.statusCode ?? 0);
}

function prepare(place: Place, asking: HttpRequest): { readonly asked: ClientRequest; readonly start: () => void } {
  const { method, path, token, body, headers = {}, signal, idleMs, agent } = asking;
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const asked = request({
    ...place,
    method,
    path,
    agent: agent ?? false,
    headers: {
      accept: 'application/json',
      ...(bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    },
  });
  hearSocketErrors(asked);
  // Not the option of this name: its way of noticing the end costs as much as the rest of a request.
  const cancel = (): void => void asked.destroy(signal && cancelled(signal));
  signal?.addEventListener('abort', cancel);
  asked.once('close', () => signal?.removeEventListener('abort', cancel));
  asked.setTimeout(idleMs, () =>
    asked.destroy(new MeshError('timeout', `Cannot wait longer for the daemon: no answer in ${idleMs} ms`)),
  );
  return { asked, start: () => asked.end(bytes) };
}

const CLOSED = ['ECONNRESET', 'EPIPE']; // seen while it is read, and while it is written

/** The whole body. Errors: too_large, cancelled, closed. */
export async function readText(response: IncomingMessage, signal: AbortSignal | undefined): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > limits.API_ANSWER_BYTES_MAX) {
        throw new MeshError(
          'too_large',
          `Cannot read the daemon's answer: more than ${limits.API_ANSWER_BYTES_MAX} bytes`,
          { want: limits.API_ANSWER_BYTES_MAX },
        );
      }
      chunks.push(chunk);
    }
  } catch (cause) {
    throw streamError(cause, signal);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Errors: internal. */
export function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MeshError('internal', "Cannot read the daemon's answer: it is not JSON", {}, { cause });
  }
}

function problemError(text: string, response: IncomingMessage, status: number): MeshError {
  if (response.headers['content-type'] !== PROBLEM_MEDIA_TYPE) {
    return new MeshError('internal', `Cannot read the daemon's answer: status ${status} without a problem in it`, {
      is: status,
    });
  }
  try {
    return problemIn(parseAnswer(text));
  } catch (error) {
    if (isMeshError(error)) return error;
    throw error;
  }
}

/** Without the schemas' compiler, which is larger than the proxies that this has to serve. Errors: internal. */
function problemIn(value: unknown): MeshError {
  const { code, detail, data } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  if (!isErrorCode(code) || typeof detail !== 'string' || typeof data !== 'object' || data === null)
    throw new MeshError('internal', "Cannot read the daemon's answer: its problem has not the form of one");
  return new MeshError(code, detail, data as ErrorData);
}

export function verifyNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw cancelled(signal);
}

export const cancelled = (signal: AbortSignal): MeshError =>
  new MeshError('cancelled', 'Cannot go on: the caller cancelled it', {}, { cause: signal.reason });

/** What went wrong while a body was read. */
export function streamError(cause: unknown, signal: AbortSignal | undefined): MeshError {
  if (isMeshError(cause)) return cause;
  if (signal?.aborted === true) return cancelled(signal);
  return new MeshError('closed', 'Cannot read on: the daemon closed the connection', {}, { cause });
}

const STARTING = 'start one with "agentmeshd" or "npm start"';

function transportError(cause: Error, place: Place, signal: AbortSignal | undefined): MeshError {
  if (isMeshError(cause)) return cause;
  if (signal?.aborted === true) return cancelled(signal);
  const where = 'socketPath' in place ? place.socketPath : `${place.host}:${place.port}`;
  const reasons: Readonly<Record<string, readonly [ErrorCode, string]>> = {
    ENOENT: ['not_running', `Cannot reach the daemon at "${where}": no socket is there; ${STARTING}`],
    ENOTDIR: ['not_running', `Cannot reach the daemon at "${where}": no socket is there; ${STARTING}`],
    ECONNREFUSED: ['not_running', `Cannot reach the daemon at "${where}": nobody answers; ${STARTING}`],
    EACCES: ['permissions', `Cannot reach the daemon at "${where}": it belongs to another user of this machine`],
    EPERM: ['permissions', `Cannot reach the daemon at "${where}": it belongs to another user of this machine`],
  };
  const [code, message] = reasons[(cause as NodeJS.ErrnoException).code ?? ''] ?? [
    'closed',
    `Cannot talk to the daemon at "${where}": the connection broke`,
  ];
  return new MeshError(code, message, { path: where }, { cause });
}
