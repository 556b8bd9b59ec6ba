/**
 * The streams of one session (MCP up to 2025-11-25): one for each request, and one of the session itself, which the
 * client opens with GET. Events have ids, and the last ones are kept, so that a client whose connection broke goes on
 * where it was: losing a connection cancels nothing.
 */
import * as limits from '../../protocol/limits.ts';
import type { Exchange } from './http-exchange.ts';

/** Where messages for one request go, or those for none. */
export interface Reply {
  send(bytes: Uint8Array, isLast: boolean): void;
  /** Nothing comes. */
  end(): void;
}

export interface Replies {
  /** For a request. `canPrime`: its client takes an event without data, and can resume from the start. */
  open(exchange: Exchange, canPrime: boolean): Reply;
  /** For a message that is to no request; if `isUnrelated` is false, to the one that is under way, where one is. */
  standalone(isUnrelated: boolean): Reply;
  /** GET. False: somebody listens already. */
  listen(exchange: Exchange): boolean;
  /** GET with Last-Event-ID. False: nothing is known of that event. */
  resume(exchange: Exchange, cursor: string): boolean;
  /** Somebody listens. */
  readonly isAttached: boolean;
  close(): void;
}

interface Kept {
  readonly stream: Stream;
  readonly count: number;
  readonly bytes: Uint8Array;
  readonly isLast: boolean;
}

interface RepliesOptions {
  readonly eventsMax?: number;
  readonly bytesMax?: number;
}

export function createReplies({
  eventsMax = limits.PROXY_REPLAY_EVENTS_MAX,
  bytesMax = limits.PROXY_REPLAY_BYTES_MAX,
}: RepliesOptions = {}): Replies {
  const streams = new Map<number, Stream>();
  const kept: Kept[] = [];
  let keptBytes = 0;
  let streamCount = 0;

  const keep = (event: Kept): void => {
    kept.push(event);
    keptBytes += event.bytes.length;
    while (kept.length > eventsMax || keptBytes > bytesMax) {
      const oldest = kept.shift();
      if (oldest === undefined) return;
      keptBytes -= oldest.bytes.length;
      oldest.stream.lostCount = oldest.count;
      if (oldest.isLast) streams.delete(oldest.stream.number);
    }
  };
  const add = (): Stream => {
    const number = streamCount++;
    const stream: Stream = new Stream(number, keep, () => streams.delete(number));
    streams.set(stream.number, stream);
    return stream;
  };
  const replay = (stream: Stream, exchange: Exchange, after: number): void => {
    stream.attach(exchange);
    exchange.openStream();
    for (const event of kept) if (event.stream === stream && event.count > after) stream.deliver(event);
  };
  const own = add();

  return {
    open(exchange, canPrime) {
      const stream = add();
      stream.attach(exchange);
      const first = { data: new Uint8Array(), id: `${stream.number}-0`, retryMs: limits.PROXY_RETRY_MS };
      exchange.openStream(canPrime ? first : undefined);
      return stream;
    },
    standalone(isUnrelated) {
      const open = [...streams.values()].filter((stream) => stream !== own && stream.isAttached);
      const newest = open.at(-1);
      if (isUnrelated && own.isAttached) return own;
      if (newest !== undefined && (open.length === 1 || !own.isAttached)) return newest;
      return own;
    },
    listen(exchange) {
      if (own.isAttached) return false;
      replay(own, exchange, own.deliveredCount);
      return true;
    },
    resume(exchange, cursor) {
      const [, number, count] = /^([0-9]{1,9})-([0-9]{1,9})$/.exec(cursor) ?? [];
      const stream = number === undefined ? undefined : streams.get(Number(number));
      if (stream === undefined || Number(count) < stream.lostCount || Number(count) > stream.count) return false;
      replay(stream, exchange, Number(count));
      return true;
    },
    get isAttached() {
      return [...streams.values()].some((stream) => stream.isAttached);
    },
    close() {
      for (const stream of streams.values()) stream.end();
    },
  };
}

class Stream implements Reply {
  readonly number: number;
  /** Of its last event. */
  count = 0;
  /** Of the last event that was written to a connection. */
  deliveredCount = 0;
  /** Of the last event that is kept no more. */
  lostCount = 0;
  readonly #keep: (event: Kept) => void;
  readonly #forget: () => void;
  #exchange: Exchange | undefined;
  #isEnded = false;

  constructor(number: number, keep: (event: Kept) => void, forget: () => void) {
    this.number = number;
    this.#keep = keep;
    this.#forget = forget;
  }

  get isAttached(): boolean {
    return this.#exchange !== undefined && !this.#exchange.isEnded;
  }

  /** An earlier connection, which may be half dead, makes way. */
  attach(exchange: Exchange): void {
    this.#exchange?.end();
    this.#exchange = exchange;
  }

  send(bytes: Uint8Array, isLast: boolean): void {
    if (this.#isEnded) return;
    this.#isEnded = isLast;
    const event: Kept = { stream: this, count: ++this.count, bytes, isLast };
    this.#keep(event);
    this.deliver(event);
  }

  deliver({ bytes, count, isLast }: Kept): void {
    if (!this.isAttached) return;
    this.deliveredCount = Math.max(this.deliveredCount, count);
    this.#exchange?.sendMessage(bytes, isLast, { id: `${this.number}-${count}` });
  }

  end(): void {
    this.#isEnded = true;
    this.#forget();
    this.#exchange?.end();
  }
}
