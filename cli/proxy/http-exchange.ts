/**
 * One HTTP request of a client and what it is answered with. Whether that is one JSON object or a stream of events is
 * decided when it must be: an answer that comes first and alone is sent as JSON with a status of its own, anything
 * before it makes a stream (MCP "Streamable HTTP": a server chooses either for each request).
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import * as limits from '../../protocol/limits.ts';
import { EVENT_STREAM, formatEvent, JSON_TYPE, KEEP_ALIVE, type ServerEvent } from '../../sdk/servers/http.ts';

const LISTENERS_MAX = 32; // a handful of owners wait for its end

export interface ExchangeOptions {
  /** Unread by the client: more cuts the connection. Default PROXY_BACKLOG_BYTES_MAX. */
  readonly backlogBytesMax?: number | undefined;
  /** Between signs of life on a stream; default PROXY_KEEP_ALIVE_MS. */
  readonly keepAliveMs?: number | undefined;
}

export class Exchange {
  readonly request: IncomingMessage;
  /** Goes with the answer, whatever it is: a session's id. */
  readonly headers: OutgoingHttpHeaders = {};
  /** Of an answer as one object. */
  status = 200;
  readonly #response: ServerResponse;
  readonly #backlogBytesMax: number;
  readonly #keepAliveMs: number;
  #keepAlive: NodeJS.Timeout | undefined;
  #isStream = false;
  #isEnded = false;

  constructor(request: IncomingMessage, response: ServerResponse, options: ExchangeOptions = {}) {
    this.request = request;
    this.#response = response;
    this.#backlogBytesMax = options.backlogBytesMax ?? limits.PROXY_BACKLOG_BYTES_MAX;
    this.#keepAliveMs = options.keepAliveMs ?? limits.PROXY_KEEP_ALIVE_MS;
    response.setMaxListeners(LISTENERS_MAX);
    response.once('close', () => {
      clearInterval(this.#keepAlive);
      this.#isEnded = true;
    });
  }

  /** Nothing can be sent any more: it was answered, or the client is gone. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  get isStream(): boolean {
    return this.#isStream;
  }

  /** Header of the request; of one that is there twice, both, as RFC 9110 joins them. */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** Once, when the client is gone before its answer was complete. */
  onGone(listener: () => void): void {
    this.#response.once('close', () => {
      if (!this.#response.writableEnded) listener();
    });
  }

  /** Once, when nothing can be sent any more, however it ended. */
  onClosed(listener: () => void): void {
    this.#response.once('close', listener);
  }

  /** Starts a stream, unless there is one. The first event primes the client to resume. */
  openStream(first?: ServerEvent): void {
    if (this.#isEnded || this.#isStream) return;
    this.#isStream = true;
    this.#response.writeHead(200, {
      ...this.headers,
      'content-type': EVENT_STREAM,
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no', // nginx holds events back otherwise
    });
    this.#response.flushHeaders();
    this.#keepAlive = setInterval(() => this.#write(KEEP_ALIVE), this.#keepAliveMs).unref();
    if (first !== undefined) this.sendEvent(first);
  }

  sendEvent(event: ServerEvent): void {
    this.openStream();
    if (!this.#isEnded) this.#write(formatEvent(event));
  }

  /** `isLast`: it is the answer. */
  sendMessage(bytes: Uint8Array, isLast: boolean, cursor: Pick<ServerEvent, 'id' | 'retryMs'> = {}): void {
    if (this.#isEnded) return;
    if (isLast && !this.#isStream) {
      this.answer(this.status, bytes, { 'content-type': JSON_TYPE });
      return;
    }
    this.sendEvent({ event: 'message', data: bytes, ...cursor });
    if (isLast) this.end();
  }

  /** One object, or nothing. */
  answer(status: number, body?: Uint8Array, headers: OutgoingHttpHeaders = {}): void {
    if (this.#isEnded || this.#isStream) return this.end();
    this.#isEnded = true;
    const length = body === undefined ? {} : { 'content-length': body.byteLength };
    this.#response.writeHead(status, { ...this.headers, ...headers, ...length });
    this.#response.end(body);
  }

  /** Nothing more comes; a request without an answer so far gets a stream without one. */
  end(): void {
    if (this.#isEnded) return;
    this.openStream();
    this.#isEnded = true;
    clearInterval(this.#keepAlive);
    this.#response.end();
  }

  /** Cuts the connection. */
  destroy(): void {
    this.#isEnded = true;
    this.#response.destroy();
  }

  /** Resolves when the client has taken what was sent, or is gone: whoever copies a stream waits for it. */
  drained(): Promise<void> {
    if (!this.#response.writableNeedDrain || this.#response.destroyed) return Promise.resolve();
    return new Promise((settle) => {
      const done = (): void => {
        this.#response.off('drain', done);
        this.#response.off('close', done);
        settle();
      };
      this.#response.on('drain', done);
      this.#response.on('close', done);
    });
  }

  #write(bytes: Buffer): void {
    // A reader that takes nothing is cut, or it would hold what one process writes for all others.
    if (this.#response.writableLength + bytes.length > this.#backlogBytesMax && this.#response.writableLength > 0) {
      this.destroy();
      return;
    }
    this.#response.write(bytes);
  }
}
