/** `agentmesh proxy`: a client, a server, and who decides between them. */
import { homedir } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import {
  createSession,
  type Failure,
  MESSAGE_LIMITS,
  type ReportLevel,
  type SessionComponents,
  visibleText,
} from '../../protocol/mcp/index.ts';
import { isMeshError } from '../../protocol/errors.ts';
import type { Gate } from '../../protocol/policy/index.ts';
import {
  childEnd,
  createLineReader,
  createLineWriter,
  createPaths,
  directoriesIn,
  type EndSignal,
  isMessage,
  linkEnd,
  loadHttp,
  type ServerEnd,
  type ServerEvents,
  type Upstream,
} from '../../sdk/servers/index.ts';
import { type Begun, type BeginWorld, startServer } from './begin.ts';
import type { OpenSession, ServerProcess, ServerProcessEvents } from './http-processes.ts';
import { lateGate } from './late-gate.ts';
import { openGate, type OpenGateOptions } from './open-gate.ts';
import type { ProxyLine } from './options.ts';
import type { Settings } from './settings.ts';
import { serveStdio } from './stdio.ts';

const SIGNAL_EXITS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export interface ProxyWorld extends BeginWorld {
  readonly input: Readable;
  readonly output: Writable;
  /** Calls `run` for each of these signals. */
  readonly onSignal: (run: (signal: EndSignal) => void) => void;
  /** Default: the daemon's, or one in this process. */
  readonly openGate?: (options: OpenGateOptions) => Promise<Gate>;
}

interface Running {
  readonly ended: Promise<number>;
  stop(signal: EndSignal): void;
  fail(failure: Failure): void;
}

/**
 * Until the server ends, the client leaves or a signal comes; the exit code is the server's where it ended by itself.
 * Errors: those of the gate, once everything has ended.
 */
export async function runProxy({ flags, home }: ProxyLine, begun: Begun, world: ProxyWorld): Promise<number> {
  const { settings } = begun;
  const { env, cwd, errors } = world;
  const report = (level: ReportLevel, text: string): void => {
    const lines = text.split('\n').map(visibleText).join('\n');
    errors.write(`agentmesh: ${level === 'warn' ? 'warning: ' : ''}${lines}\n`);
  };
  const closing = new AbortController();
  const opening = (world.openGate ?? openGate)({
    home,
    env,
    cwd,
    policy: flags.policy,
    agent: flags.agent,
    daemon: flags.daemon,
    logFile: flags.log,
    signal: closing.signal,
    note: (text) => report('note', text),
  });
  let refusal: unknown;
  const parts: Parts = { ...begun, world, report, openSession: sessionsOf(settings, world, lateGate(opening), report) };
  const running = settings.listen === undefined ? await overStdio(parts) : await overHttp(parts, settings.listen);
  let signalled: EndSignal | undefined;
  world.onSignal((signal) => {
    signalled ??= signal;
    running.stop(signal);
  });
  opening.catch((error: unknown) => {
    refusal = error;
    running.fail(failureOf(error));
  });
  const exit = await running.ended;
  const isOver = refusal === undefined;
  closing.abort();
  await (await opening.catch(() => undefined))?.close(); // what went wrong is told below, unless nobody waited for it
  if (!isOver) throw refusal;
  return signalled === undefined ? exit : SIGNAL_EXITS[signalled];
}

interface Parts extends Begun {
  readonly world: ProxyWorld;
  readonly report: (level: ReportLevel, text: string) => void;
  readonly openSession: OpenSession;
}

function sessionsOf(
  { session, command }: Settings,
  { env, cwd }: ProxyWorld,
  gate: SessionComponents<never>['gate'],
  report: Parts['report'],
): OpenSession {
  const paths = createPaths({ cwd, directories: directoriesIn(command.slice(1), cwd), home: homedir(), env });
  const after = (ms: number, run: () => void): (() => void) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  };
  return (wires) => createSession({ gate, paths, report, after, ...wires }, session);
}

async function overStdio(parts: Parts): Promise<Running> {
  const { openSession, report, world } = parts;
  const openServer = parts.settings.url === undefined ? childOf(parts) : await linkOf(parts, parts.settings.url);
  return serveStdio({ openSession, openServer, input: world.input, output: world.output, report });
}

type OpenServer = (events: ServerEvents) => ServerEnd;

const childOf =
  ({ settings, child, report, world }: Parts): OpenServer =>
  (events) =>
    childEnd(child ?? startServer(settings, world), events, { report, print: printTo(world) });

const printTo =
  ({ errors }: ProxyWorld) =>
  (line: Uint8Array): void => {
    errors.write(line);
    errors.write('\n');
  };

async function linkOf(parts: Parts, url: URL): Promise<OpenServer> {
  const upstream = await upstreamOf(parts, url);
  const { createHttpLink } = await loadHttp();
  return (events) => linkEnd((linkEvents) => createHttpLink(upstream, linkEvents), events, parts.report);
}

async function upstreamOf({ settings, world }: Parts, url: URL): Promise<Upstream> {
  const { createUpstream, parseHeaders } = await loadHttp();
  const { headers, headersFromEnv } = settings;
  return createUpstream({ url, headers: parseHeaders(headers, headersFromEnv, world.env) });
}

/** One of the children behind `--listen`. */
function processOf(parts: Parts, events: ServerProcessEvents): ServerProcess {
  const { report, world } = parts;
  const child = startServer(parts.settings, world);
  const writer = createLineWriter(child.stdin);
  const bytesMax = MESSAGE_LIMITS.bytesMax;
  const print = printTo(world);
  const reader = createLineReader({
    bytesMax,
    onLine: (line) => (isMessage(line) ? events.line(line) : print(line)),
    onTooLong: () => {
      report('warn', `A server sent a message of more than ${bytesMax} bytes, and is ended`);
      void child.end();
    },
  });
  child.stdout.on('data', (chunk: Buffer) => reader.push(chunk));
  let isEnding = false;
  void child.ended.then(async ({ how }) => {
    reader.end();
    events.ended({ code: 'closed', message: `Cannot go on: the server ended (${how})` });
    if (!isEnding) report('warn', `A server ended: ${how}`);
    await child.end();
  });
  return {
    send: (message) => writer.write(message),
    get backlogBytes() {
      return writer.backlogBytes;
    },
    close: () => {
      isEnding = true;
      return child.end();
    },
  };
}

async function overHttp(parts: Parts, listen: string): Promise<Running> {
  const { settings, openSession, report } = parts;
  const [{ parseListen, readTokenFile }, { startHttpServer }] = await Promise.all([
    import('./http-guard.ts'),
    import('./http-server.ts'),
  ]);
  const token = settings.tokenFile === undefined ? undefined : await readTokenFile(settings.tokenFile);
  const backend =
    settings.url === undefined
      ? (await import('./http-processes.ts')).createProcessBackend({
          openSession,
          report,
          startServer: (events) => processOf(parts, events),
        })
      : (await import('./http-relay.ts')).createRelayBackend(
          { openSession, upstream: await upstreamOf(parts, settings.url), report },
          { keepsAuthorization: token !== undefined },
        );
  const server = await startHttpServer(backend, {
    listen: parseListen(listen),
    allowedHosts: settings.allowedHosts,
    token,
    report,
  });
  report('note', `Serving MCP at ${server.url}`);
  let settle: (exit: number) => void;
  const ended = new Promise<number>((resolve) => (settle = resolve));
  const stop = (): void => void server.close().then(() => settle(0));
  return { ended, stop, fail: stop };
}

const failureOf = (error: unknown): Failure =>
  isMeshError(error)
    ? { code: error.code, message: error.message }
    : { code: 'internal', message: error instanceof Error ? error.message : String(error) };
