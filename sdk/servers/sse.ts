/**
 * Server-sent events, as bytes: WHATWG HTML, section 9.2 "Server-sent events". Nothing is decoded to text before an
 * event is whole, so that no character is cut where two chunks meet.
 *
 *     id: 7\n
 *     retry: 500\n
 *     data: {"jsonrpc":"2.0",\n
 *     data: "id":1,"result":{}}\n
 *     \n
 */
import { MeshError } from '../../protocol/errors.ts';

export const EVENT_STREAM = 'text/event-stream';

const LF = 10;
const CR = 13;
const COLON = 58;
const SPACE = 32;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const NEW_LINE = Buffer.from('\n');
const MARK_BYTES = BYTE_ORDER_MARK.length;

export interface ServerEvent {
  /** Absent: "message". */
  readonly event?: string;
  /** Empty in one that only carries an id or a time to wait: it primes a client to resume. */
  readonly data: Uint8Array;
  readonly id?: string;
  readonly retryMs?: number;
}

export interface EventReader {
  /** Calls `onEvent` for each event that is whole. Errors: too_large. */
  push(chunk: Uint8Array): void;
}

/** `bytesMax`: of one event with its fields, and of one line. An event that the stream's end cuts is dropped, as the standard has it. */
export function createEventReader(onEvent: (event: ServerEvent) => void, bytesMax: number): EventReader {
  let parts: Buffer[] = []; // of a line that is not whole
  let lineBytes = 0;
  let eventBytes = 0;
  let isAfterCr = false;
  let isFirstLine = true;
  let data: Buffer[] = [];
  let fields: { event?: string; id?: string; retryMs?: number } = {};

  const take = (name: string, value: Buffer): void => {
    if (name === 'data') data.push(value);
    else if (name === 'event') fields.event = value.toString('utf8');
    else if (name === 'id' && !value.includes(0)) fields.id = value.toString('utf8');
    else if (name === 'retry' && /^[0-9]{1,9}$/.test(value.toString('latin1'))) fields.retryMs = Number(value);
  };
  const dispatch = (): void => {
    const event: ServerEvent = { ...fields, data: joinLines(data) };
    data = [];
    fields = {};
    eventBytes = 0;
    if (event.data.length > 0 || event.id !== undefined || event.retryMs !== undefined) onEvent(event);
  };
  const endLine = (last: Buffer): void => {
    let line = parts.length === 0 ? last : Buffer.concat([...parts, last]);
    parts = [];
    lineBytes = 0;
    if (isFirstLine && line.subarray(0, MARK_BYTES).equals(BYTE_ORDER_MARK)) line = line.subarray(MARK_BYTES);
    isFirstLine = false;
    if (line.length === 0) return dispatch();
    const colon = line.indexOf(COLON);
    if (colon === 0) return; // a comment, which keeps connections open
    if (colon < 0) return take(line.toString('latin1'), Buffer.alloc(0));
    take(line.toString('latin1', 0, colon), line.subarray(line[colon + 1] === SPACE ? colon + 2 : colon + 1));
  };
  const count = (bytes: number): void => {
    lineBytes += bytes;
    eventBytes += bytes;
    if (Math.max(lineBytes, eventBytes) <= bytesMax) return;
    throw new MeshError('too_large', `Cannot read a server-sent event: it is longer than ${bytesMax} bytes`);
  };

  return {
    push(bytes) {
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      let start = isAfterCr && chunk[0] === LF ? 1 : 0; // of a CR LF that two chunks share
      if (chunk.length > 0) isAfterCr = false;
      for (;;) {
        const end = nextEnd(chunk, start);
        if (end < 0) break;
        count(end - start);
        endLine(chunk.subarray(start, end));
        start = end + 1;
        if (chunk[end] !== CR) continue;
        if (start === chunk.length) isAfterCr = true;
        else if (chunk[start] === LF) start += 1;
      }
      if (start === chunk.length) return;
      count(chunk.length - start);
      parts.push(Buffer.from(chunk.subarray(start))); // a copy: the socket's chunk is larger than what is kept of it
    },
  };
}

function nextEnd(chunk: Buffer, start: number): number {
  const lf = chunk.indexOf(LF, start);
  const cr = chunk.subarray(start, lf < 0 ? chunk.length : lf).indexOf(CR);
  return cr < 0 ? lf : start + cr;
}

function joinLines(lines: readonly Buffer[]): Buffer {
  const [first, ...others] = lines;
  if (first === undefined) return Buffer.alloc(0);
  return others.length === 0 ? first : Buffer.concat([first, ...others.flatMap((line) => [NEW_LINE, line])]);
}

/** Breaks of lines in `data` become LF: in JSON they are white space. */
export function formatEvent({ event, data, id, retryMs }: ServerEvent): Buffer {
  const head =
    (event === undefined ? '' : `event: ${event}\n`) +
    (id === undefined ? '' : `id: ${id}\n`) +
    (retryMs === undefined ? '' : `retry: ${retryMs}\n`);
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (nextEnd(bytes, 0) < 0) return Buffer.concat([Buffer.from(`${head}data: `), bytes, Buffer.from('\n\n')]);
  const lines = bytes.toString('latin1').split(/\r\n|\r|\n/); // one character a byte: nothing is decoded
  return Buffer.from(
    `${Buffer.from(head).toString('latin1')}${lines.map((line) => `data: ${line}\n`).join('')}\n`,
    'latin1',
  );
}

/** What proxies and clients see while nothing happens. */
export const KEEP_ALIVE: Buffer = Buffer.from(': keep-alive\n\n');
