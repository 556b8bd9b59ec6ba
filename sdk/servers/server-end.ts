/** The server as a proxy holds it, whatever it is: a child process that speaks lines, or a link over HTTP. */
import { type Failure, type Id, type Message, MESSAGE_LIMITS, type ReportLevel } from '../../protocol/mcp/index.ts';
import type { Child, Ended, EndSignal } from './child.ts';
import type { HttpLink, LinkEvents } from './http-link.ts';
import { createLineReader, createLineWriter } from './lines.ts';

export interface ServerEvents {
  readonly message: (message: Uint8Array | Message, relatedTo?: Id) => void;
  /** No answer will come to this one. */
  readonly failed: (id: Id, failure: Failure) => void;
  /** It sent what cannot be read, and which request that answers cannot be told. */
  readonly lost: (failure: Failure) => void;
  /** It takes more again. */
  readonly drained: () => void;
}

export interface ServerEnd {
  send(message: Message): void;
  /** It does not take more as fast as it comes. */
  readonly isFull: boolean;
  readonly backlogBytes: number;
  /** Whether to read what it sends. */
  setPaused(isPaused: boolean): void;
  /** What it sent last has been told before. */
  readonly ended: Promise<Ended>;
  end(signal?: EndSignal): Promise<void>;
}

export interface ChildEndOptions {
  readonly report: (level: ReportLevel, text: string) => void;
  /** What the server prints beside its messages. */
  readonly print: (line: Uint8Array) => void;
}

export function childEnd(child: Child, events: ServerEvents, { report, print }: ChildEndOptions): ServerEnd {
  const writer = createLineWriter(child.stdin);
  const bytesMax = MESSAGE_LIMITS.bytesMax;
  const reader = createLineReader({
    bytesMax,
    onLine: (line) => (isMessage(line) ? events.message(line) : print(line)),
    onTooLong: () => {
      report('warn', `The server sent a message of more than ${bytesMax} bytes, which is not passed on`);
      events.lost({
        code: 'too_large',
        message: `Cannot read the answer: the server sent more than ${bytesMax} bytes`,
      });
    },
  });
  child.stdin.on('drain', events.drained);
  child.stdout.on('data', (chunk: Buffer) => reader.push(chunk));
  return {
    send: ({ bytes }) => writer.write(bytes),
    get isFull() {
      return child.stdin.writableNeedDrain;
    },
    get backlogBytes() {
      return writer.backlogBytes;
    },
    setPaused: (isPaused) => setPaused(child.stdout, isPaused),
    ended: child.ended.then((ended) => {
      reader.end();
      return ended;
    }),
    end: (signal) => child.end(signal),
  };
}

export function setPaused(stream: NodeJS.ReadableStream, isPaused: boolean): void {
  if (isPaused) stream.pause();
  else if (stream.isPaused()) stream.resume();
}

/** Anything else that a server prints is for people, who see it on stderr. */
export function isMessage(line: Uint8Array): boolean {
  const first = line.find((byte) => byte !== 32 && byte !== 9);
  return first === 0x7b || first === 0x5b; // { or [
}

/** Requests over HTTP have bounds of their own, and each answer is read as it is asked for. */
export function linkEnd(
  open: (events: LinkEvents) => HttpLink,
  events: ServerEvents,
  report: LinkEvents['report'],
): ServerEnd {
  const link = open({ message: events.message, failed: events.failed, report });
  let settle: (ended: Ended) => void;
  const ended = new Promise<Ended>((resolve) => (settle = resolve));
  return {
    send: (message) => link.send(message),
    isFull: false,
    backlogBytes: 0,
    setPaused: () => undefined,
    ended,
    end: async () => {
      await link.close();
      settle({ exit: 0, how: 'closed' });
    },
  };
}
