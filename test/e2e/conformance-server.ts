/**
 * A server with all that the conformance suite asks for, in both eras of MCP, over Streamable HTTP or stdio: what the
 * suite is run against directly and through the proxy. As a program: `http` (says its port on stdout) or `stdio`.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable, type Writable } from 'node:stream';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import {
  CLIENT_CAPABILITIES_META_KEY,
  createMcpHandler,
  hostHeaderValidationResponse,
  inputRequired,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  type McpHttpHandler,
  MissingRequiredClientCapabilityError,
  originValidationResponse,
  ProtocolError,
  Server,
  type ServerContext,
  WebStandardStreamableHTTPServerTransport,
} from '@modelcontextprotocol/server';
import { serveStdio, StdioServerTransport } from '@modelcontextprotocol/server/stdio';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';
const PAUSE_MS = 20;
const CACHE = { ttlMs: 1_000, cacheScope: 'public' } as const;
const INVALID_PARAMS = -32602;

type Json = Record<string, unknown>;
type Reply = Json | Promise<Json>;

interface Call {
  readonly args: Json;
  readonly ctx: ServerContext;
  readonly server: Server;
  readonly era: 'legacy' | 'modern';
  /** What the client declared: in the handshake, or with the request. */
  readonly capabilities: Json;
  readonly responses: Json | undefined;
  readonly state: string | undefined;
}

interface ToolSpec {
  readonly description: string;
  readonly inputSchema?: Json;
  readonly run: (call: Call) => Reply;
}

/** What tells all clients that lists changed. */
interface Announcer {
  readonly toolsChanged: () => void;
  readonly promptsChanged: () => void;
}

const text = (said: string): Json => ({ content: [{ type: 'text', text: said }] });
const embedded = (uri: string, mimeType: string, said: string): Json => ({
  type: 'resource',
  resource: { uri, mimeType, text: said },
});
const object = (properties: Json, required?: readonly string[]): Json => ({
  type: 'object',
  properties,
  ...(required !== undefined && { required }),
});
const ask = (message: string, field: string, type = 'string'): Json => ({
  method: 'elicitation/create',
  params: { mode: 'form', message, requestedSchema: object({ [field]: { type } }, [field]) },
});
const sample = (said: string, maxTokens: number): Json => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: said } }], maxTokens },
});
const roots: Json = { method: 'roots/list', params: {} };
const require = (inputRequests: Json, requestState?: string): Json =>
  inputRequired({ inputRequests, ...(requestState !== undefined && { requestState }) } as never);
const sign = (state: string): string => `${state}.${createHash('sha256').update(`conformance ${state}`).digest('hex')}`;

function verifyState(state: string | undefined, wanted: string): void {
  if (state !== sign(wanted)) throw new ProtocolError(INVALID_PARAMS, 'Invalid params: requestState was changed');
}

function contentOf(response: unknown, field: string): unknown {
  const { action, content } = (response ?? {}) as { action?: unknown; content?: Json };
  return action === 'accept' ? content?.[field] : undefined;
}

async function elicit({ ctx }: Call, message: string, requestedSchema: Json): Promise<Json> {
  const params = { mode: 'form', message, requestedSchema };
  const { action, content } = await ctx.mcpReq.send({ method: 'elicitation/create', params });
  return text(`User response: action=${action}, content=${JSON.stringify(content ?? {})}`);
}

const titled = (...pairs: readonly [string, string][]): Json[] =>
  pairs.map(([name, title]) => ({ const: name, title }));

const SCHEMA_2020_12: Json = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $defs: { address: { $anchor: 'addressDef', ...object({ street: { type: 'string' }, city: { type: 'string' } }) } },
  ...object({
    name: { type: 'string' },
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' },
    email: { type: 'string' },
  }),
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  ...(JSON.parse('{"then":{"required":["phone"]},"else":{"required":["email"]}}') as Json), // as text: an object with "then" looks like a promise
  additionalProperties: false,
};

function toolsFor(announcer: Announcer): Record<string, ToolSpec> {
  return {
    test_simple_text: {
      description: 'Plain text',
      run: () => text('This is a simple text response for testing.'),
    },
    test_image_content: {
      description: 'An image',
      run: () => ({ content: [{ type: 'image', data: PNG, mimeType: 'image/png' }] }),
    },
    test_audio_content: {
      description: 'Sound',
      run: () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }),
    },
    test_embedded_resource: {
      description: 'A resource',
      run: () => ({
        content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
      }),
    },
    test_multiple_content_types: {
      description: 'Text, an image and a resource',
      run: () => ({
        content: [
          { type: 'text', text: 'Multiple content types test:' },
          { type: 'image', data: PNG, mimeType: 'image/png' },
          embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
        ],
      }),
    },
    test_error_handling: {
      description: 'Fails',
      run: () => ({ ...text('This tool intentionally returns an error for testing'), isError: true }),
    },
    test_tool_with_logging: { description: 'Logs while it works', run: runLogging },
    test_logging_tool: { description: 'Logs while it works', run: runLogging },
    test_tool_with_progress: { description: 'Reports its progress', run: runProgress },
    test_sampling: {
      description: 'Asks for a completion',
      inputSchema: object({ prompt: { type: 'string' } }, ['prompt']),
      run: async ({ args, ctx }) => {
        const { params } = sample(String(args['prompt']), 100);
        const { content } = await ctx.mcpReq.send({ method: 'sampling/createMessage', params: params as Json });
        return text(`LLM response: ${JSON.stringify(content)}`);
      },
    },
    test_elicitation: {
      description: 'Asks the user',
      inputSchema: object({ message: { type: 'string' } }, ['message']),
      run: (call) =>
        elicit(
          call,
          String(call.args['message']),
          object({ username: { type: 'string' }, email: { type: 'string' } }, ['username', 'email']),
        ),
    },
    test_elicitation_sep1034_defaults: {
      description: 'Asks the user, with defaults',
      run: (call) =>
        elicit(
          call,
          'Please review the fields',
          object({
            name: { type: 'string', default: 'John Doe' },
            age: { type: 'integer', default: 30 },
            score: { type: 'number', default: 95.5 },
            status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
            verified: { type: 'boolean', default: true },
          }),
        ),
    },
    test_elicitation_sep1330_enums: {
      description: 'Asks the user to choose',
      run: (call) =>
        elicit(
          call,
          'Please choose',
          object({
            untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
            titledSingle: {
              type: 'string',
              oneOf: titled(['value1', 'First Option'], ['value2', 'Second Option'], ['value3', 'Third Option']),
            },
            legacyEnum: {
              type: 'string',
              enum: ['opt1', 'opt2', 'opt3'],
              enumNames: ['Option One', 'Option Two', 'Option Three'],
            },
            untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
            titledMulti: {
              type: 'array',
              items: {
                anyOf: titled(['value1', 'First Choice'], ['value2', 'Second Choice'], ['value3', 'Third Choice']),
              },
            },
          }),
        ),
    },
    test_reconnection: {
      description: 'Closes its stream, then answers',
      run: async ({ ctx }) => {
        await sleep(PAUSE_MS);
        ctx.http?.closeSSE?.();
        await sleep(PAUSE_MS);
        return text('Reconnection test completed successfully');
      },
    },
    test_missing_capability: {
      description: 'Needs sampling',
      run: ({ capabilities }) => {
        if (capabilities['sampling'] !== undefined) return text('The client can sample');
        throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
      },
    },
    test_streaming_elicitation: {
      description: 'Reports progress and asks the user',
      run: async (call) => {
        await runProgress(call);
        return require({ name: ask('What is your name?', 'name') });
      },
    },
    test_trigger_tool_change: { description: 'Says that tools changed', run: () => announce(announcer.toolsChanged) },
    test_trigger_prompt_change: {
      description: 'Says that prompts changed',
      run: () => announce(announcer.promptsChanged),
    },
    json_schema_2020_12_tool: {
      description: 'Tool with JSON Schema 2020-12 features',
      inputSchema: SCHEMA_2020_12,
      run: () => text('Valid'),
    },
    ...INPUT_TOOLS,
  };
}

function announce(change: () => void): Json {
  setTimeout(change, PAUSE_MS);
  return text('Announced');
}

async function runLogging({ ctx, era }: Call): Promise<Json> {
  for (const said of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
    // On the stream of the request: the session's own may not be open yet, and what is sent there is then lost.
    if (era === 'modern') await ctx.mcpReq.log('info', said);
    else await ctx.mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data: said } });
    await sleep(PAUSE_MS);
  }
  return text('Tool with logging executed successfully');
}

async function runProgress({ ctx }: Call): Promise<Json> {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  for (const progress of [0, 50, 100]) {
    if (progressToken !== undefined) {
      const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
      await ctx.mcpReq.notify({ method: 'notifications/progress', params });
    }
    await sleep(PAUSE_MS);
  }
  return text(String(progressToken));
}

const INPUT_TOOLS: Record<string, ToolSpec> = {
  test_input_required_result_elicitation: {
    description: 'Asks for a name',
    run: ({ responses }) => {
      const name = contentOf(responses?.['user_name'], 'name');
      return typeof name === 'string'
        ? text(`Hello, ${name}!`)
        : require({ user_name: ask('What is your name?', 'name') });
    },
  },
  test_input_required_result_sampling: {
    description: 'Asks for a completion',
    run: ({ responses }) =>
      responses?.['capital_question'] === undefined
        ? require({ capital_question: sample('What is the capital of France?', 100) })
        : text(JSON.stringify(responses['capital_question'])),
  },
  test_input_required_result_list_roots: {
    description: 'Asks for roots',
    run: ({ responses }) =>
      responses?.['client_roots'] === undefined
        ? require({ client_roots: roots })
        : text(JSON.stringify(responses['client_roots'])),
  },
  test_input_required_result_request_state: {
    description: 'Keeps its state with the client',
    run: ({ responses, state }) => {
      if (responses?.['confirm'] === undefined)
        return require({ confirm: ask('Please confirm', 'ok', 'boolean') }, sign('confirm'));
      verifyState(state, 'confirm');
      return text('state-ok');
    },
  },
  test_input_required_result_tampered_state: {
    description: 'Signs its state',
    run: ({ responses, state }) => {
      if (responses === undefined && state === undefined)
        return require({ confirm: ask('Please confirm', 'ok', 'boolean') }, sign('tampered'));
      verifyState(state, 'tampered');
      return text('state-ok');
    },
  },
  test_input_required_result_multiple_inputs: {
    description: 'Asks for three things at once',
    run: ({ responses, state }) => {
      const wanted = {
        user_name: ask('What is your name?', 'name'),
        greeting: sample('Generate a greeting', 50),
        client_roots: roots,
      };
      if (!Object.keys(wanted).every((key) => responses?.[key] !== undefined)) return require(wanted, sign('three'));
      verifyState(state, 'three');
      return text(JSON.stringify(responses));
    },
  },
  test_input_required_result_multi_round: {
    description: 'Asks twice',
    run: ({ responses, state }) => {
      if (responses?.['step2'] !== undefined) {
        verifyState(state, 'two');
        return text(JSON.stringify(responses));
      }
      if (responses?.['step1'] === undefined)
        return require({ step1: ask('Step 1: What is your name?', 'name') }, sign('one'));
      verifyState(state, 'one');
      return require({ step2: ask('Step 2: What is your favorite color?', 'color') }, sign('two'));
    },
  },
  test_input_required_result_capabilities: {
    description: 'Asks for what the client can do',
    run: ({ capabilities }) =>
      require({
        ...(capabilities['sampling'] !== undefined && { sampled: sample('Say hello', 10) }),
        ...(capabilities['elicitation'] !== undefined && { asked: ask('What is your name?', 'name') }),
      }),
  },
};

const RESOURCES: Record<string, Json> = {
  'test://static-text': { mimeType: 'text/plain', text: 'This is the content of the static text resource.' },
  'test://static-binary': { mimeType: 'image/png', blob: PNG },
  'test://watched-resource': { mimeType: 'text/plain', text: 'Watched resource content' },
  'test://example-resource': { mimeType: 'text/plain', text: 'Example' },
};

function readResource(uri: string): Json {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  const found =
    id === undefined
      ? RESOURCES[uri]
      : { mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
  if (found === undefined) throw new ProtocolError(INVALID_PARAMS, `Resource not found: ${uri}`, { uri });
  return { contents: [{ uri, ...found }] };
}

const say = (said: string): Json => ({ role: 'user', content: { type: 'text', text: said } });

const PROMPTS: Record<string, { readonly arguments?: Json[]; readonly get: (args: Json) => Json[] }> = {
  test_simple_prompt: { get: () => [say('This is a simple prompt for testing.')] },
  test_prompt_with_arguments: {
    arguments: ['arg1', 'arg2'].map((name) => ({ name, description: name, required: true })),
    get: ({ arg1, arg2 }) => [say(`Prompt with arguments: arg1='${String(arg1)}', arg2='${String(arg2)}'`)],
  },
  test_prompt_with_embedded_resource: {
    arguments: [{ name: 'resourceUri', description: 'what to embed', required: true }],
    get: ({ resourceUri }) => [
      { role: 'user', content: embedded(String(resourceUri), 'text/plain', 'Embedded resource content for testing.') },
      say('Please process the embedded resource above.'),
    ],
  },
  test_prompt_with_image: {
    get: () => [
      { role: 'user', content: { type: 'image', data: PNG, mimeType: 'image/png' } },
      say('Please analyze the image above.'),
    ],
  },
  test_input_required_result_prompt: {
    get: ({ context }) => [say(`Use this context: ${String(context)}`)],
  },
};

function createConformanceServer(era: 'legacy' | 'modern', toAll?: Announcer): Server {
  const server = new Server(
    { name: 'agentmesh-conformance-server', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        completions: {},
        logging: {},
      },
      inputRequired: { legacyShim: false },
    },
  );
  const announcer = toAll ?? {
    toolsChanged: () => void server.sendToolListChanged(),
    promptsChanged: () => void server.sendPromptListChanged(),
  };
  const tools = toolsFor(announcer);
  // The SDK's types of results are narrower than what is said here as plain JSON; the suite checks them.
  const on = (method: string, answer: (params: Json, ctx: ServerContext) => Reply): void =>
    server.setRequestHandler(
      method as 'ping',
      (async (request: { params?: Json }, ctx: ServerContext) => answer(request.params ?? {}, ctx)) as never,
    );
  on('tools/list', () => ({
    tools: Object.entries(tools).map(([name, { description, inputSchema }]) => ({
      name,
      description,
      inputSchema: inputSchema ?? object({}),
    })),
    ...CACHE,
  }));
  on('tools/call', (params, ctx) => {
    const { name, arguments: args } = params as { name: string; arguments?: Json };
    const tool = tools[name];
    if (tool === undefined) throw new ProtocolError(INVALID_PARAMS, `Unknown tool: ${name}`);
    const capabilities = ((ctx.mcpReq.envelope as Json | undefined)?.[CLIENT_CAPABILITIES_META_KEY] ??
      server.getClientCapabilities() ??
      {}) as Json;
    const responses: Json | undefined = ctx.mcpReq.inputResponses;
    return tool.run({ args: args ?? {}, ctx, server, era, capabilities, responses, state: stateOf(ctx) });
  });
  on('resources/list', () => ({
    resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({ uri, name: uri, mimeType })),
    ...CACHE,
  }));
  on('resources/templates/list', () => ({
    resourceTemplates: [{ uriTemplate: 'test://template/{id}/data', name: 'template', mimeType: 'application/json' }],
    ...CACHE,
  }));
  on('resources/read', ({ uri }) => ({ ...readResource(String(uri)), ...CACHE }));
  on('prompts/list', () => ({
    prompts: Object.entries(PROMPTS).map(([name, { arguments: args }]) => ({
      name,
      description: name,
      ...(args !== undefined && { arguments: args }),
    })),
    ...CACHE,
  }));
  on('prompts/get', (params, ctx) => {
    const { name, arguments: args } = params as { name: string; arguments?: Json };
    const prompt = PROMPTS[name];
    if (prompt === undefined) throw new ProtocolError(INVALID_PARAMS, `Unknown prompt: ${name}`);
    if (name !== 'test_input_required_result_prompt') return { messages: prompt.get(args ?? {}) };
    const context = contentOf(ctx.mcpReq.inputResponses?.['user_context'], 'context');
    if (context === undefined) return require({ user_context: ask('What context should the prompt use?', 'context') });
    return { messages: prompt.get({ context }) };
  });
  on('completion/complete', () => ({ completion: { values: ['paris', 'park'], total: 2, hasMore: false } }));
  if (era === 'legacy') {
    on('resources/subscribe', () => ({}));
    on('resources/unsubscribe', () => ({}));
  }
  return server;
}

function stateOf(ctx: ServerContext): string | undefined {
  const { requestState } = ctx.mcpReq as { requestState?: unknown };
  const state = typeof requestState === 'function' ? (requestState as () => unknown)() : requestState;
  return typeof state === 'string' ? state : undefined;
}

/** One client, in lines; both eras, as its first message says. */
export function serveConformanceLines(input: Readable, output: Writable): { close(): Promise<void> } {
  return serveStdio(({ era }) => createConformanceServer(era), { transport: new StdioServerTransport(input, output) });
}

export interface ConformanceHttpServer extends AsyncDisposable {
  readonly url: string;
}

/** Keeps what it sent of each stream, so that clients can resume. */
function createEventStore(): {
  storeEvent(streamId: string, message: unknown): Promise<string>;
  replayEventsAfter(
    lastEventId: string,
    to: { send: (eventId: string, message: never) => Promise<void> },
  ): Promise<string>;
} {
  const events: { streamId: string; message: unknown }[] = [];
  return {
    async storeEvent(streamId, message) {
      return String(events.push({ streamId, message }));
    },
    async replayEventsAfter(lastEventId, { send }) {
      const { streamId } = events[Number(lastEventId) - 1] ?? { streamId: '' };
      for (const [index, event] of events.entries()) {
        const isMissed = index >= Number(lastEventId) && event.streamId === streamId;
        if (isMissed && Object.keys(event.message as object).length > 0)
          await send(String(index + 1), event.message as never);
      }
      return streamId;
    },
  };
}

/** 2025-11-25 with sessions, 2026-07-28 without. */
export async function startConformanceServer(port = 0): Promise<ConformanceHttpServer> {
  const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>();
  const announcer: Announcer = {
    toolsChanged: () => modern.notify.toolsChanged(),
    promptsChanged: () => modern.notify.promptsChanged(),
  };
  const modern: McpHttpHandler = createMcpHandler(() => createConformanceServer('modern', announcer), {
    legacy: 'reject',
  });
  const serveLegacy = async (request: Request): Promise<Response> => {
    const id = request.headers.get('mcp-session-id');
    const known = id === null ? undefined : sessions.get(id);
    if (known !== undefined) return known.handleRequest(request);
    if (id !== null)
      return Response.json(
        { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } },
        { status: 404 },
      );
    const transport: WebStandardStreamableHTTPServerTransport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: createEventStore(),
      retryInterval: 100,
      onsessioninitialized: (session) => void sessions.set(session, transport),
      onsessionclosed: (session) => void sessions.delete(session),
    });
    await createConformanceServer('legacy', announcer).connect(transport);
    return transport.handleRequest(request);
  };
  const answer = async (request: Request): Promise<Response> => {
    const refused =
      hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
      originValidationResponse(request, localhostAllowedOrigins());
    if (refused !== undefined) return refused;
    return (await isLegacyRequest(request)) ? serveLegacy(request) : modern.fetch(request);
  };
  const http = createServer((request, response) => {
    void toWebRequest(request, response)
      .then(answer)
      .then((reply) => sendReply(reply, response));
  });
  await new Promise<void>((settle) => http.listen(port, '127.0.0.1', settle));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    async [Symbol.asyncDispose]() {
      await modern.close();
      for (const transport of sessions.values()) await transport.close();
      http.closeAllConnections();
      await new Promise<void>((settle) => http.close(() => settle()));
    },
  };
}

async function toWebRequest(request: IncomingMessage, response: ServerResponse): Promise<Request> {
  const controller = new AbortController();
  response.once('close', () => controller.abort());
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headersDistinct)) headers.set(name, (value ?? []).join(', '));
  const { method = 'GET', url = '/' } = request;
  return new Request(new URL(url, 'http://127.0.0.1'), {
    method,
    headers,
    signal: controller.signal,
    ...(method === 'POST' && { body: Buffer.concat(chunks) }),
  });
}

function sendReply(reply: Response, response: ServerResponse): void {
  response.writeHead(reply.status, Object.fromEntries(reply.headers));
  if (reply.body === null) {
    response.end();
    return;
  }
  response.flushHeaders();
  const body = Readable.fromWeb(reply.body as NodeReadableStream);
  response.once('close', () => body.destroy());
  body.once('error', () => response.destroy());
  body.pipe(response);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (process.argv[2] === 'stdio') {
    serveConformanceLines(process.stdin, process.stdout);
  } else {
    const server = await startConformanceServer(Number(process.argv[3] ?? 0));
    process.stdout.write(`${server.url}\n`);
  }
}
