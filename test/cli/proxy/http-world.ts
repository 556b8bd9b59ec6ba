/** The proxy over HTTP with the real engine and a gate of the test's own. */
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { createLineReader } from '../../../sdk/servers/lines.ts';
import { createUpstream } from '../../../sdk/servers/http-client.ts';
import {
  createProcessBackend,
  type OpenSession,
  type ProcessBackend,
  type ProcessBackendOptions,
  type ServerProcess,
  type ServerProcessEvents,
} from '../../../cli/proxy/http-processes.ts';
import { createRelayBackend, type RelayOptions } from '../../../cli/proxy/http-relay.ts';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../../cli/proxy/http-server.ts';
import { limits } from '../../../protocol/index.ts';
import { createSession } from '../../../protocol/mcp/index.ts';
import type { Gate, GateRequest, Verdict } from '../../../protocol/policy/index.ts';

export const LISTEN = { host: '127.0.0.1', port: 0 };

export interface TestGate extends Gate {
  /** What it was asked to decide. */
  readonly decided: GateRequest[];
}

/** Allows all that `denies` does not name: tools, URIs, prompts or actions. */
export function testGate(denies: readonly string[] = []): TestGate {
  const decided: GateRequest[] = [];
  const isDenied = ({ action, tool, resource, prompt }: GateRequest): boolean =>
    [action, tool?.name, resource?.uri, prompt?.name].some((word) => word !== undefined && denies.includes(word));
  const policy = { name: 'test', digest: '0'.repeat(64) };
  return {
    decided,
    description: { mode: 'local', agent: 'test', organisation: null, policies: [policy], missing: [] },
    async decide(request): Promise<Verdict> {
      decided.push(request);
      const isAllowed = !isDenied(request);
      return {
        id: null,
        effect: isAllowed ? 'allow' : 'deny',
        ...(!isAllowed && { code: 'policy_denied' as const }),
        rule: isAllowed ? null : 'denied-here',
        policy,
        matched: [],
        output: {
          secrets: 'allow',
          pii: 'allow',
          phi: 'allow',
          cards: 'allow',
          instructions: 'allow',
          invisible: 'allow',
          bytesMax: limits.MCP_MESSAGE_BYTES_MAX,
        },
        reason: isAllowed ? 'allowed' : 'denied by the test',
        index: null,
      };
    },
    filter: async (requests) => requests.map((request) => !isDenied(request)),
    settle: () => undefined,
    checkTools: async (_server, tools) =>
      tools.map((tool) => ({
        name: typeof tool['name'] === 'string' ? tool['name'] : '',
        state: 'pinned',
        action: 'ignore',
      })),
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** Adds what it reports to `reports`. */
export function sessionsWith(gate: Gate, reports: string[] = []): OpenSession {
  return (wires) =>
    createSession(
      {
        gate,
        paths: { canonicalPaths: (texts) => texts },
        after: (ms, run) => {
          const timer = setTimeout(run, ms);
          return () => clearTimeout(timer);
        },
        report: (_level, text) => reports.push(text),
        ...wires,
      },
      { server: 'test', approvalWaitMs: 0 },
    );
}

/** A server that speaks lines, in this process: starting one for each session takes most of the time otherwise. */
export function startLines(
  serve: (input: Readable, output: Writable) => { close(): Promise<void> },
): (events: ServerProcessEvents) => ServerProcess {
  return ({ line }) => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const reader = createLineReader({
      bytesMax: limits.MCP_MESSAGE_BYTES_MAX,
      onLine: line,
      onTooLong: () => undefined,
    });
    output.on('data', (chunk: Buffer) => reader.push(chunk));
    const server = serve(input, output);
    return {
      send: (message) => void input.write(Buffer.concat([message, Buffer.from('\n')])),
      backlogBytes: 0,
      close: () => server.close(),
    };
  };
}

export interface HttpProxy extends AsyncDisposable {
  readonly server: HttpServer;
  readonly url: string;
  readonly gate: TestGate;
  readonly reports: string[];
}

interface ProxyOptions extends Partial<HttpServerOptions> {
  readonly gate?: TestGate;
}

async function proxyOf(
  backendOf: (open: OpenSession, reports: string[]) => Parameters<typeof startHttpServer>[0],
  { gate = testGate(), ...options }: ProxyOptions,
): Promise<HttpProxy> {
  const reports: string[] = [];
  const backend = backendOf(sessionsWith(gate, reports), reports);
  const server = await startHttpServer(backend, {
    listen: LISTEN,
    stopMs: 200,
    report: (_level, text) => void reports.push(text),
    ...options,
  });
  return { server, url: server.url, gate, reports, [Symbol.asyncDispose]: () => server.close() };
}

/** HTTP in front of a server over stdio. */
export async function proxyToProgram(
  startServer: (events: ServerProcessEvents) => ServerProcess,
  options: ProxyOptions & ProcessBackendOptions = {},
): Promise<HttpProxy & { readonly backend: ProcessBackend }> {
  const backends: ProcessBackend[] = [];
  const proxy = await proxyOf((openSession, reports) => {
    const report = (_level: string, text: string): void => void reports.push(text);
    const backend = createProcessBackend({ openSession, startServer, report }, options);
    backends.push(backend);
    return backend;
  }, options);
  const [backend] = backends;
  if (backend === undefined) throw new Error('no backend');
  return { ...proxy, backend };
}

/** HTTP in front of HTTP. */
export function proxyToUrl(url: string, options: ProxyOptions & RelayOptions = {}): Promise<HttpProxy> {
  return proxyOf(
    (openSession, reports) =>
      createRelayBackend(
        {
          openSession,
          upstream: createUpstream({ url: new URL(url) }),
          report: (_level, text) => void reports.push(text),
        },
        options,
      ),
    options,
  );
}
