/** A client on standard input and output. */
import type { Readable, Writable } from 'node:stream';
import {
  type ClientRoute,
  errorResponse,
  type Failure,
  type Message,
  MESSAGE_LIMITS,
  type ReportLevel,
  RPC_CODES,
  type ServerRoute,
  type Session,
} from '../../protocol/mcp/index.ts';
import {
  createLineReader,
  createLineWriter,
  type EndSignal,
  type ServerEnd,
  type ServerEvents,
  setPaused,
} from '../../sdk/servers/index.ts';

/** That one side has not read, before the other is not listened to. */
const BACKLOG_BYTES_MAX = 4 * 1024 * 1024;
/** For decisions under way when the client sends nothing more, and for what it has not read when all is over. */
const LAST_MS = 2_000;

export interface StdioComponents {
  readonly openSession: (wires: {
    readonly toClient: (message: Message, route: ClientRoute<undefined>) => void;
    readonly toServer: (message: Message, route: ServerRoute<undefined>) => void;
  }) => Session<undefined>;
  readonly openServer: (events: ServerEvents) => ServerEnd;
  readonly input: Readable;
  readonly output: Writable;
  readonly report: (level: ReportLevel, text: string) => void;
}

export interface StdioProxy {
  /** Exit code: that of the server, where it ended by itself. */
  readonly ended: Promise<number>;
  /** Ends everything at once, as with a signal to the proxy. */
  stop(signal: EndSignal): void;
  /** Nothing can be decided: whatever comes is refused, and everything ends. */
  fail(failure: Failure): void;
}

export function serveStdio({ openSession, openServer, input, output, report }: StdioComponents): StdioProxy {
  const toClient = createLineWriter(output);
  const server = openServer({
    message: (message, relatedTo) => {
      session.fromServer(message, relatedTo);
      regulate();
    },
    failed: (id, failure) => session.failRequest(id, failure),
    lost: (failure) => session.failSent(failure),
    drained: () => regulate(),
  });
  const session = openSession({
    toClient: ({ bytes }) => toClient.write(bytes),
    toServer: (message) => server.send(message),
  });
  // Whoever is not read from is not listened to, nor who makes us answer it; so nothing piles up here.
  const regulate = (): void => {
    setPaused(input, server.isFull || toClient.backlogBytes > BACKLOG_BYTES_MAX);
    server.setPaused(output.writableNeedDrain || server.backlogBytes > BACKLOG_BYTES_MAX);
  };
  let isEnding = false;
  const endAll = (signal?: EndSignal): void => {
    isEnding = true;
    void server.end(signal);
  };

  const bytesMax = MESSAGE_LIMITS.bytesMax;
  const reader = createLineReader({
    bytesMax,
    onLine: (line) => session.fromClient(line),
    onTooLong: () => {
      const text = `Cannot accept the message: it has more than ${bytesMax} bytes`;
      toClient.write(errorResponse(null, RPC_CODES.invalidRequest, text));
    },
  });
  output.on('drain', regulate);
  input.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    regulate();
  });
  input.once('end', () => {
    reader.end();
    void Promise.race([session.clientEnded(), pause(LAST_MS)]).then(() => endAll());
  });
  input.once('error', () => endAll());
  output.once('error', () => endAll()); // nobody reads any more

  const ended = server.ended.then(async ({ exit, how }) => {
    session.serverEnded({ code: 'closed', message: `Cannot go on: the server ended (${how})` });
    if (!isEnding) report('warn', `The server ended: ${how}`);
    await server.end();
    // Answers that it gave just before may still be judged; nothing else waits for anything now.
    await Promise.race([session.clientEnded(), pause(LAST_MS)]);
    await Promise.race([flushed(output), pause(LAST_MS)]);
    session.close();
    input.destroy();
    return exit;
  });
  return {
    ended,
    stop: endAll,
    fail: (failure) => {
      session.serverEnded(failure);
      endAll('SIGTERM');
    },
  };
}

const pause = (ms: number): Promise<void> =>
  new Promise((settle) => {
    setTimeout(settle, ms).unref();
  });

const flushed = (stream: Writable): Promise<void> =>
  new Promise((settle) => {
    if (stream.destroyed || stream.writableLength === 0) settle();
    else stream.write('', () => settle());
  });
