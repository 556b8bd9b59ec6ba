/** `GET /v1/events`: the bus as server-sent events (WHATWG HTML, "Server-sent events"). */
import type { ServerResponse } from 'node:http';
import {
  type Caller,
  EVENT_TYPES,
  type EventType,
  isEventType,
  isVisibleTo,
  type MeshEvent,
} from '../../protocol/control/index.ts';
import { limits, MeshError } from '../../protocol/index.ts';
import type { EventBus } from '../core/events.ts';

export interface EventStreamsOptions {
  /** A comment line so often; default EVENT_HEARTBEAT_MS. */
  readonly heartbeatMs?: number;
  /** Unread bytes at which a stream is cut; default EVENT_BACKLOG_BYTES_MAX. */
  readonly backlogBytesMax?: number;
  /** Open at once; default EVENT_STREAMS_MAX. */
  readonly streamsMax?: number;
}

export interface StreamRequest {
  readonly caller: Caller;
  readonly types: readonly EventType[];
  readonly lastEventId: string | undefined;
  /** Whether the caller's token still counts. */
  readonly mayContinue: () => boolean;
}

export class EventStreams {
  readonly #bus: EventBus;
  readonly #heartbeatMs: number;
  readonly #backlogBytesMax: number;
  readonly #streamsMax: number;
  readonly #open = new Set<() => void>();

  constructor(bus: EventBus, options: EventStreamsOptions = {}) {
    this.#bus = bus;
    this.#heartbeatMs = options.heartbeatMs ?? limits.EVENT_HEARTBEAT_MS;
    this.#backlogBytesMax = options.backlogBytesMax ?? limits.EVENT_BACKLOG_BYTES_MAX;
    this.#streamsMax = options.streamsMax ?? limits.EVENT_STREAMS_MAX;
  }

  /** Errors: busy. Returns when the stream has begun; it ends with its connection, its token or `close`. */
  start(response: ServerResponse, request: StreamRequest): void {
    if (this.#open.size >= this.#streamsMax) {
      throw new MeshError(
        'busy',
        `Cannot open an event stream: ${this.#open.size} are open, want < ${this.#streamsMax}`,
      );
    }
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    const write = (text: string): void => {
      if (response.writableEnded || response.destroyed) return;
      if (!request.mayContinue()) return end();
      response.write(text);
      // A reader that does not read would have the daemon hold its mail: it may come back and resume from the ring.
      if (response.writableLength > this.#backlogBytesMax) response.destroy();
    };
    const send = (event: MeshEvent): void => {
      if (isWanted(event, request)) write(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    };
    const heartbeat = setInterval(() => write(':\n\n'), this.#heartbeatMs).unref();
    const subscription = this.#bus.subscribe(request.lastEventId, send);
    const stop = (): void => {
      clearInterval(heartbeat);
      subscription.close();
      this.#open.delete(end);
    };
    const end = (): void => {
      stop();
      response.end();
    };
    this.#open.add(end);
    response.on('close', stop);
    write('retry: 1000\n\n');
    for (const event of subscription.missed) send(event);
  }

  get size(): number {
    return this.#open.size;
  }

  /** Ends every stream in order, so that clients know to come back later. */
  close(): void {
    for (const end of this.#open) end();
  }
}

const isWanted = (event: MeshEvent, { caller, types }: StreamRequest): boolean =>
  (event.type === 'gap' || types.includes(event.type)) &&
  (caller.kind === 'operator' || isVisibleTo(event, caller.did));

/** Errors: bad_request, for a name that is none. */
export function parseEventTypes(text: string | undefined): readonly EventType[] {
  if (text === undefined) return EVENT_TYPES;
  return text.split(',').map((type) => {
    if (!isEventType(type))
      throw new MeshError(
        'bad_request',
        `Cannot send events of type "${type}": want of "${EVENT_TYPES.join('", "')}"`,
        { field: 'types' },
      );
    return type;
  });
}
