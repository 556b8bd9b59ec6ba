/**
 * Exposed MCP servers as processes of this machine or behind HTTP. A process gets the variables that any program needs and
 * what the configuration gives it, nothing else of the daemon's; what it prints goes to the daemon's log, a little of it.
 * None outlives the daemon: they are ended with it, and a watchdog does so where the daemon is killed.
 */
import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { isMeshError, limits } from '../protocol/index.ts';
import { visibleText } from '../protocol/mcp/index.ts';
import {
  type Child,
  childEnd,
  createLineReader,
  createPaths,
  directoriesIn,
  linkEnd,
  loadHttp,
  type ServerEnd,
  type ServerEvents,
  startChild,
} from '../sdk/servers/index.ts';
import type { ExposedServer, Logger, McpServerEnd, McpServerEvents, McpServers } from './ports.ts';

export interface DaemonMcpServers extends McpServers, AsyncDisposable {}

export interface McpServersOptions {
  /** Of which the servers get what any program needs; default this process's. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** As startChild has it. */
  readonly graceMs?: number;
  /** Default: that of this machine. */
  readonly platform?: NodeJS.Platform;
}

/** What sudo and MCP's own SDKs leave a program, and the places of its time and letters. */
const VARIABLES = [
  'HOME',
  'LANG',
  'LC_ALL',
  'LC_CTYPE',
  'LOGNAME',
  'PATH',
  'SHELL',
  'TERM',
  'TMPDIR',
  'TZ',
  'USER',
] as const;

type Command = Extract<ExposedServer, { command: readonly string[] }>;
type Http = Awaited<ReturnType<typeof loadHttp>>;

export async function createMcpServers(
  { log }: { readonly log: Logger },
  { env = process.env, graceMs, platform = process.platform }: McpServersOptions = {},
): Promise<DaemonMcpServers> {
  const http = await loadHttp();
  const running = new Set<McpServerEnd>();
  const base = Object.fromEntries(VARIABLES.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));

  const started = (server: Command, printed: Printed): Child => {
    const [program = '', ...args] = server.command;
    return startChild({
      command: program,
      args,
      cwd: server.cwd,
      env: { ...base, ...server.env },
      ...(graceMs !== undefined && { graceMs }),
      onPrinted: (chunk) => printed.push(chunk),
      onUnwatched: (why) =>
        log.warn({ program, reason: why }, 'an exposed server runs without a watchdog: it may outlive this process'),
    });
  };

  const openCommand = (server: Command, events: McpServerEvents): ServerEnd => {
    const fault = platform === 'win32' ? 'process groups of POSIX are needed to end it' : directoryFault(server.cwd);
    if (fault !== undefined) return endedAlready(fault);
    const printed = createPrinted(log, server.command[0] ?? '', events);
    try {
      const child = started(server, printed);
      void child.ended.then(() => printed.end());
      return childEnd(child, serverEvents(events), {
        report: (level, text) => log[level === 'warn' ? 'warn' : 'debug']({ program: server.command[0] }, text),
        print: (line) => printed.line(line),
      });
    } catch (error) {
      // What spawn refuses before it tries, as more words than the system takes.
      return endedAlready(error instanceof Error ? error.message : String(error));
    }
  };

  return {
    open: (server, events) => {
      const isCommand = 'command' in server;
      const end = isCommand ? openCommand(server, events) : openUrl(server, events, http, log);
      const cwd = isCommand ? server.cwd : '/';
      const paths = createPaths({
        cwd,
        directories: isCommand ? directoriesIn(server.command.slice(1), cwd) : [],
        home: base['HOME'] ?? homedir(),
        env: isCommand ? { ...base, ...server.env } : {},
      });
      const held: McpServerEnd = {
        send: (message) => end.send(message),
        get isFull() {
          return end.isFull;
        },
        get backlogBytes() {
          return end.backlogBytes;
        },
        setPaused: (isPaused) => end.setPaused(isPaused),
        end: async () => {
          try {
            await end.end();
          } catch (error) {
            log.error({ error }, 'an exposed server could not be ended');
          } finally {
            running.delete(held);
          }
        },
        paths,
      };
      running.add(held);
      void end.ended.then(async ({ how }) => {
        events.ended(how);
        await held.end(); // what it started may be left
      });
      return held;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...running].map((each) => each.end()));
    },
  };
}

function openUrl(
  server: Extract<ExposedServer, { url: string }>,
  events: McpServerEvents,
  { createHttpLink, createUpstream, parseServerUrl }: Http,
  log: Logger,
): ServerEnd {
  try {
    const upstream = createUpstream({ url: parseServerUrl(server.url), headers: { ...server.headers } });
    return linkEnd(
      (linkEvents) => createHttpLink(upstream, linkEvents),
      serverEvents(events),
      (level, text) => log[level === 'warn' ? 'warn' : 'debug']({ server: upstream.name }, text),
    );
  } catch (error) {
    if (isMeshError(error)) return endedAlready(error.message);
    throw error;
  }
}

const serverEvents = (events: McpServerEvents): ServerEvents => ({
  message: (message, relatedTo) => events.message(message, relatedTo),
  failed: (id, failure) => events.failed(id, failure),
  lost: (failure) => events.lost(failure),
  drained: () => events.drained(),
});

/** It never ran. Whoever opened it is told as of any other. */
const endedAlready = (how: string): ServerEnd => ({
  send: () => undefined,
  isFull: false,
  backlogBytes: 0,
  setPaused: () => undefined,
  ended: Promise.resolve({ exit: 1, how }),
  end: async () => undefined,
});

/** spawn would say of a missing directory that there is no such command. */
function directoryFault(cwd: string): string | undefined {
  try {
    return statSync(cwd).isDirectory() ? undefined : `"${cwd}" is no directory`;
  } catch {
    return `there is no directory "${cwd}" that this user may enter`;
  }
}

interface Printed {
  push(chunk: Buffer): void;
  line(line: Uint8Array): void;
  end(): void;
}

/** Of each stretch of time the first lines; how many more there were is told with the next one. */
function createPrinted(log: Logger, program: string, events: Pick<McpServerEvents, 'printed'>): Printed {
  let sinceMs = Number.NEGATIVE_INFINITY;
  let count = 0;
  const tellMore = (): void => {
    const more = count - limits.EXPOSED_PRINT_LINES_MAX;
    if (more > 0) log.info({ program, lines: more }, 'an exposed server printed more, which is not kept');
    count = 0;
  };
  const tell = (text: string): void => {
    const nowMs = performance.now();
    if (nowMs - sinceMs >= limits.EXPOSED_PRINT_MS) {
      tellMore();
      sinceMs = nowMs;
    }
    if (++count > limits.EXPOSED_PRINT_LINES_MAX) return;
    log.info({ program, text }, 'an exposed server printed');
    events.printed?.(text);
  };
  const line = (bytes: Uint8Array): void => {
    const cut = bytes.subarray(0, limits.EXPOSED_PRINT_LINE_BYTES_MAX);
    tell(visibleText(Buffer.from(cut.buffer, cut.byteOffset, cut.byteLength).toString('utf8').trimEnd()));
  };
  const reader = createLineReader({
    bytesMax: limits.EXPOSED_PRINT_LINE_BYTES_MAX,
    onLine: line,
    onTooLong: () => tell(`a line of more than ${limits.EXPOSED_PRINT_LINE_BYTES_MAX} bytes`),
  });
  return {
    push: (chunk) => reader.push(chunk),
    line,
    end: () => {
      reader.end();
      tellMore();
    },
  };
}
