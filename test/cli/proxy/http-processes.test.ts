import { describe, expect, test } from 'vitest';
import {
  createProcessBackend,
  type ProcessBackend,
  type ProcessBackendOptions,
  type ServerProcessEvents,
} from '../../../cli/proxy/http-processes.ts';
import { type HttpServer, startHttpServer } from '../../../cli/proxy/http-server.ts';
import { limits } from '../../../protocol/index.ts';
import type { Id } from '../../../protocol/mcp/index.ts';
import { type Ask, ask, call, messageOf, type Reply, stateless, until } from './http-requests.ts';
import { LISTEN, sessionsWith, testGate, type TestGate } from './http-world.ts';

interface Said {
  readonly id?: Id;
  readonly method?: string;
  readonly params?: { readonly _meta?: Record<string, unknown>; readonly [name: string]: unknown };
  readonly [name: string]: unknown;
}

/** A server in this process. */
interface FakeServer {
  /** All that reached it. */
  readonly got: Said[];
  say(message: unknown): void;
  /** Ends by itself. */
  die(): void;
  isClosed: boolean;
  backlogBytes: number;
}

type Answer = (message: Said, server: FakeServer) => void;

interface World extends AsyncDisposable {
  readonly url: string;
  readonly http: HttpServer;
  readonly backend: ProcessBackend;
  readonly servers: FakeServer[];
  readonly gate: TestGate;
  post(message: unknown, headers?: Record<string, string>, more?: Ask): Promise<Reply>;
  /** Begins a session; its id. */
  begin(): Promise<string>;
}

/** Answers `initialize`, `tools/list` and whatever else with what it was given. */
const usual: Answer = ({ id, method, params }, server) => {
  if (id === undefined || method === undefined) return;
  if (method === 'initialize') return server.say({ id, result: { protocolVersion: '2025-11-25', capabilities: {} } });
  if (method === 'tools/list') return server.say({ id, result: { tools: [{ name: 'read', inputSchema: {} }] } });
  if (method !== 'silent') server.say({ id, result: params ?? {} });
};

async function serve(answer: Answer = usual, options: ProcessBackendOptions = {}, gate = testGate()): Promise<World> {
  const servers: FakeServer[] = [];
  const startServer = ({ line, ended }: ServerProcessEvents) => {
    const server: FakeServer = {
      got: [],
      say: (message) => line(Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...(message as object) }))),
      die: () => ended({ code: 'closed', message: 'The server ended: exit code 7' }),
      isClosed: false,
      backlogBytes: 0,
    };
    servers.push(server);
    return {
      get backlogBytes() {
        return server.backlogBytes;
      },
      send: (bytes: Uint8Array) => {
        const message = JSON.parse(Buffer.from(bytes).toString()) as Said;
        server.got.push(message);
        setImmediate(() => answer(message, server));
      },
      close: async () => {
        server.isClosed = true;
      },
    };
  };
  const backend = createProcessBackend(
    { openSession: sessionsWith(gate), startServer, report: () => undefined },
    options,
  );
  const http = await startHttpServer(backend, { listen: LISTEN, stopMs: 200, report: () => undefined });
  const post: World['post'] = (body, headers = {}, more = {}) => ask(http.url, { body, headers, ...more });
  return {
    url: http.url,
    http,
    backend,
    servers,
    gate,
    post,
    begin: async () => String((await post(call(0, 'initialize', INIT))).headers['mcp-session-id']),
    [Symbol.asyncDispose]: () => http.close(),
  };
}

const INIT = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
const VERSION = { 'mcp-protocol-version': '2025-11-25' };
const inSession = (id: string): Record<string, string> => ({ 'mcp-session-id': id, ...VERSION });
const LISTENING = { accept: 'text/event-stream' };

describe('sessions (up to MCP 2025-11-25)', () => {
  test('each has a process of its own, and its id comes with the answer to initialize', async () => {
    await using world = await serve();
    const [a, b] = [await world.begin(), await world.begin()];
    expect(a).toMatch(/^[0-9a-f-]{36}$/);
    expect(a).not.toBe(b);
    await world.post(call(1, 'custom/one', { from: 'a' }), inSession(a));
    expect(world.servers.map(({ got }) => got.map(({ method }) => method))).toEqual([
      ['initialize', 'custom/one'],
      ['initialize'],
    ]);
  });

  test('a request without a session is refused with 400, one of a session that there is not with 404', async () => {
    await using world = await serve();
    expect((await world.post(call(1, 'custom/one'))).status).toBe(400);
    expect((await world.post(call(1, 'custom/one'), inSession('nobody'))).status).toBe(404);
    expect(
      (await ask(world.url, { method: 'GET', headers: { ...LISTENING, 'mcp-session-id': 'nobody' } })).status,
    ).toBe(404);
    expect((await ask(world.url, { method: 'DELETE', headers: { 'mcp-session-id': 'nobody' } })).status).toBe(404);
    expect(world.servers).toEqual([]);
  });

  test('GET and DELETE without a session are not allowed', async () => {
    await using world = await serve();
    expect((await ask(world.url, { method: 'GET', headers: LISTENING })).status).toBe(405);
    expect((await ask(world.url, { method: 'DELETE' })).status).toBe(405);
  });

  test('a revision that there is not is refused with 400', async () => {
    await using world = await serve();
    const session = await world.begin();
    expect(
      (await world.post(call(1, 'x'), { ...inSession(session), 'mcp-protocol-version': '1999-01-01' })).status,
    ).toBe(400);
  });

  test('DELETE ends the session and its process', async () => {
    await using world = await serve();
    const session = await world.begin();
    expect((await ask(world.url, { method: 'DELETE', headers: inSession(session) })).status).toBe(200);
    expect([world.servers[0]?.isClosed, world.backend.processes]).toEqual([true, 0]);
    expect((await world.post(call(1, 'x'), inSession(session))).status).toBe(404);
  });

  test('a session that nobody uses ends; one with a stream does not', async () => {
    await using world = await serve(usual, { idleMs: 60 });
    const [idle, used] = [await world.begin(), await world.begin()];
    const stop = new AbortController();
    const listening = ask(world.url, {
      method: 'GET',
      headers: { ...LISTENING, ...inSession(used) },
      signal: stop.signal,
    });
    await until(() => world.servers[0]?.isClosed === true);
    expect((await world.post(call(1, 'x'), inSession(idle))).status).toBe(404);
    expect((await world.post(call(1, 'x'), inSession(used))).status).toBe(200);
    stop.abort();
    await listening.catch(() => undefined);
    await until(() => world.backend.processes === 0);
  });

  test('there are no more than allowed: the idlest makes room, and none that was used lately', async () => {
    await using world = await serve(usual, { sessionsMax: 2, spareMs: 50 });
    const [first, second] = [await world.begin(), await world.begin()];
    expect((await world.post(call(0, 'initialize', INIT))).status).toBe(503);
    await new Promise((settle) => setTimeout(settle, 60));
    await world.post(call(1, 'x'), inSession(first));
    expect(await world.begin()).toMatch(/^[0-9a-f-]{36}$/);
    expect((await world.post(call(1, 'x'), inSession(second))).status).toBe(404);
    expect([world.backend.processes, world.servers[1]?.isClosed]).toEqual([2, true]);
  });

  test('when the process ends, what waits is answered, and the session is no more', async () => {
    await using world = await serve();
    const session = await world.begin();
    const waiting = world.post(call(1, 'silent'), inSession(session));
    await until(() => world.servers[0]?.got.length === 2);
    world.servers[0]?.die();
    expect(messageOf(await waiting)).toMatchObject({
      id: 1,
      error: { message: expect.stringContaining('exit code 7') },
    });
    expect((await world.post(call(2, 'x'), inSession(session))).status).toBe(404);
  });

  test('what the server asks while one request waits goes to its stream, and the answer back', async () => {
    await using world = await serve(({ id, method, result }, server) => {
      if (method === 'initialize') usual({ id: id ?? 0, method }, server);
      else if (method === 'custom/ask') server.say({ id: 'q', method: 'custom/question', params: {} });
      else if (id === 'q') server.say({ id: 5, result: { heard: result } });
    });
    const session = await world.begin();
    const reply = await world.post(call(5, 'custom/ask'), inSession(session), {
      onEvent: (data) => {
        if (data.includes('custom/question'))
          void world.post({ jsonrpc: '2.0', id: 'q', result: { yes: true } }, inSession(session));
      },
    });
    expect(messageOf(reply)).toMatchObject({ id: 5, result: { heard: { yes: true } } });
  });

  test('what belongs to no request goes to the stream that the client opened, and waits until it does', async () => {
    await using world = await serve();
    const session = await world.begin();
    world.servers[0]?.say({ method: 'notifications/tools/list_changed' });
    const stop = new AbortController();
    const seen: string[] = [];
    const listening = ask(world.url, {
      method: 'GET',
      headers: { ...LISTENING, ...inSession(session) },
      signal: stop.signal,
      onEvent: (data) => seen.push((JSON.parse(data) as Said).method ?? ''),
    });
    await until(() => seen.length === 1);
    world.servers[0]?.say({ method: 'notifications/resources/updated', params: { uri: 'a:b' } });
    await until(() => seen.length === 2);
    expect(seen).toEqual(['notifications/tools/list_changed', 'notifications/resources/updated']);
    expect((await ask(world.url, { method: 'GET', headers: { ...LISTENING, ...inSession(session) } })).status).toBe(
      409,
    );
    stop.abort();
    await listening.catch(() => undefined);
  });

  test('a connection that breaks cancels nothing: the client goes on where it was', async () => {
    await using world = await serve();
    const session = await world.begin();
    const stop = new AbortController();
    const ids: string[] = [];
    const broken = world.post(call(9, 'silent', { _meta: { progressToken: 9 } }), inSession(session), {
      signal: stop.signal,
      onEvent: (_data, id) => ids.push(id ?? ''),
    });
    await until(() => world.servers[0]?.got.length === 2);
    const [server] = world.servers;
    const progress = (n: number): void =>
      server?.say({ method: 'notifications/progress', params: { progressToken: 9, progress: n } });
    progress(1);
    progress(2);
    await until(() => ids.length === 3); // the first one primes
    stop.abort();
    await broken.catch(() => undefined);
    progress(3);
    server?.say({ id: 9, result: { done: true } });
    expect(server?.got.map(({ method }) => method)).toEqual(['initialize', 'silent']); // nothing was cancelled
    const [primed, first, second] = ids;
    const resume = (cursor = ''): Promise<Reply> =>
      ask(world.url, { method: 'GET', headers: { ...LISTENING, ...inSession(session), 'last-event-id': cursor } });
    const shown = ({ events }: Reply): unknown[] =>
      events.map(({ data }) => JSON.parse(data) as Said).map(({ params, result }) => params?.['progress'] ?? result);
    expect(shown(await resume(second))).toEqual([3, { done: true }]);
    expect(shown(await resume(first))).toEqual([2, 3, { done: true }]);
    expect(shown(await resume(primed))).toEqual([1, 2, 3, { done: true }]);
    expect((await resume('77-1')).status).toBe(400);
    expect((await resume('x')).status).toBe(400);
  });

  test('one session cannot go on with the stream of another', async () => {
    await using world = await serve();
    const [mine, other] = [await world.begin(), await world.begin()];
    const reply = await world.post(call(1, 'custom/secret', { secret: 'mine' }), inSession(mine));
    const cursor = reply.events[0]?.id ?? '';
    const stolen = await ask(world.url, {
      method: 'GET',
      headers: { ...LISTENING, ...inSession(other), 'last-event-id': cursor },
    });
    expect(JSON.stringify([stolen.status, stolen.events])).not.toContain('mine');
  });

  test('a process that does not read what it has gets no more', async () => {
    await using world = await serve();
    const session = await world.begin();
    const [server] = world.servers;
    if (server !== undefined) server.backlogBytes = limits.PROXY_BACKLOG_BYTES_MAX + 1;
    expect((await world.post(call(1, 'custom/x'), inSession(session))).status).toBe(503);
    expect(server?.got.map(({ method }) => method)).toEqual(['initialize']);
  });

  test('a call that is denied never reaches the process', async () => {
    await using world = await serve(usual, {}, testGate(['delete']));
    const session = await world.begin();
    const reply = await world.post(call(1, 'tools/call', { name: 'delete' }), inSession(session));
    expect(messageOf(reply)).toMatchObject({ id: 1, result: { isError: true } });
    expect(world.servers[0]?.got.map(({ method }) => method)).not.toContain('tools/call');
  });
});

describe('requests without sessions (MCP 2026-07-28)', () => {
  test('one process serves them all, and clients with the same ids get their own answers', async () => {
    await using world = await serve();
    const replies = await Promise.all(
      ['a', 'b', 'c'].map((who) => ask(world.url, stateless(1, 'custom/echo', { who }))),
    );
    expect(replies.map((reply) => messageOf(reply))).toMatchObject(
      ['a', 'b', 'c'].map((who) => ({ id: 1, result: { who } })),
    );
    expect(world.backend.processes).toBe(1);
    expect(new Set(world.servers[0]?.got.map(({ id }) => id)).size).toBe(3);
  });

  test('progress comes under the token that its client gave, though another gave the same', async () => {
    await using world = await serve((message, server) => {
      const { id, params } = message;
      const progressToken = params?._meta?.['progressToken'];
      server.say({ method: 'notifications/progress', params: { progressToken, progress: Number(params?.['n']) } });
      server.say({ id, result: {} });
    });
    const replies = await Promise.all(
      [1, 2].map((n) => ask(world.url, stateless(1, 'custom/work', { n }, { progressToken: 'same' }))),
    );
    expect(replies.map(({ events }) => (JSON.parse(events[0]?.data ?? '{}') as Said).params)).toEqual([
      { progressToken: 'same', progress: 1 },
      { progressToken: 'same', progress: 2 },
    ]);
  });

  test('a subscription keeps its own id, and ends when the server says so', async () => {
    await using world = await serve(({ id, method }, server) => {
      if (method !== 'subscriptions/listen') return;
      const _meta = { 'io.modelcontextprotocol/subscriptionId': id };
      server.say({ method: 'notifications/subscriptions/acknowledged', params: { _meta, notifications: {} } });
      server.say({ method: 'notifications/tools/list_changed', params: { _meta } });
      server.say({ method: 'notifications/cancelled', params: { requestId: id } });
    });
    const { events, status } = await ask(world.url, stateless('mine', 'subscriptions/listen', { notifications: {} }));
    expect(status).toBe(200);
    expect(
      events.map(({ data }) => JSON.parse(data) as Said).map(({ method, params }) => [method, params?._meta]),
    ).toEqual([
      ['notifications/subscriptions/acknowledged', { 'io.modelcontextprotocol/subscriptionId': 'mine' }],
      ['notifications/tools/list_changed', { 'io.modelcontextprotocol/subscriptionId': 'mine' }],
    ]);
  });

  test('a client that goes away cancels its request, and nobody else’s', async () => {
    await using world = await serve();
    const stop = new AbortController();
    const gone = ask(world.url, { ...stateless(1, 'silent'), signal: stop.signal });
    const stays = ask(world.url, stateless(1, 'silent'));
    await until(() => world.servers[0]?.got.length === 2);
    const [server] = world.servers;
    stop.abort();
    await gone.catch(() => undefined);
    await until(() => server?.got.length === 3);
    const [first, second, cancelled] = server?.got ?? [];
    expect(cancelled).toMatchObject({ method: 'notifications/cancelled', params: { requestId: first?.id } });
    server?.say({ id: second?.id, result: { ok: true } });
    expect(messageOf(await stays)).toMatchObject({ id: 1, result: { ok: true } });
  });

  test('nobody can cancel by the id that another request may have', async () => {
    await using world = await serve();
    const waiting = ask(world.url, stateless(1, 'silent'));
    await until(() => world.servers[0]?.got.length === 1);
    const [own] = world.servers[0]?.got ?? [];
    for (const requestId of [1, own?.id]) {
      const { headers } = stateless(1, 'notifications/cancelled');
      const reply = await ask(world.url, {
        headers: headers ?? {},
        body: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } },
      });
      expect(reply.status).toBe(202);
    }
    world.servers[0]?.say({ id: own?.id, result: { ok: true } });
    expect(messageOf(await waiting)).toMatchObject({ id: 1, result: { ok: true } });
    expect(world.servers[0]?.got).toHaveLength(1);
  });

  test.each([
    [-32601, 404],
    [-32021, 400],
    [-32020, 400],
    [-32602, 200],
    [-32603, 200],
  ])('an error %i of the server has HTTP status %i', async (code, status) => {
    await using world = await serve(({ id }, server) => server.say({ id, error: { code, message: 'no' } }));
    expect((await ask(world.url, stateless(1, 'custom/x'))).status).toBe(status);
  });

  test('a version that the proxy cannot carry is refused with 400 and those that it can', async () => {
    await using world = await serve();
    const { headers } = stateless(1, 'x');
    const meta = {
      'io.modelcontextprotocol/protocolVersion': '2099-01-01',
      'io.modelcontextprotocol/clientCapabilities': {},
    };
    const reply = await ask(world.url, {
      headers: { ...headers, 'mcp-protocol-version': '2099-01-01' },
      body: call(1, 'x', { _meta: meta }),
    });
    expect([reply.status, messageOf(reply)['error']]).toMatchObject([
      400,
      { code: -32022, data: { supported: ['2026-07-28'], requested: '2099-01-01' } },
    ]);
  });

  test('a request that does not say what its client can do is refused with 400', async () => {
    await using world = await serve();
    const { headers } = stateless(1, 'x');
    const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };
    const reply = await ask(world.url, { headers: headers ?? {}, body: call(1, 'x', { _meta: meta }) });
    expect([reply.status, messageOf(reply)['error']]).toMatchObject([400, { code: -32602 }]);
    expect(world.servers).toEqual([]);
  });

  test('a process that ended is started again by the next request', async () => {
    await using world = await serve();
    const waiting = ask(world.url, stateless(1, 'silent'));
    await until(() => world.servers[0]?.got.length === 1);
    world.servers[0]?.die();
    expect(messageOf(await waiting)).toMatchObject({
      id: 1,
      error: { message: expect.stringContaining('exit code 7') },
    });
    expect(messageOf(await ask(world.url, stateless(2, 'custom/echo', { n: 1 })))).toMatchObject({
      id: 2,
      result: { n: 1 },
    });
    expect(world.servers).toHaveLength(2);
  });

  test('a call that is denied never reaches the process; tools are looked at once, not for each call', async () => {
    await using world = await serve(usual, {}, testGate(['delete']));
    const denied = await ask(world.url, stateless(1, 'tools/call', { name: 'delete' }));
    expect(messageOf(denied)).toMatchObject({ id: 1, result: { isError: true } });
    await ask(world.url, stateless(2, 'tools/call', { name: 'read' }));
    await ask(world.url, stateless(3, 'tools/call', { name: 'read' }));
    const methods = world.servers[0]?.got.map(({ method }) => method) ?? [];
    expect(methods.filter((method) => method === 'tools/list')).toHaveLength(1);
    expect(
      world.servers[0]?.got.filter(({ method }) => method === 'tools/call').map(({ params }) => params?.['name']),
    ).toEqual(['read', 'read']);
  });

  test('headers that repeat arguments must say what the body says, once the tool is known', async () => {
    const inputSchema = {
      type: 'object',
      properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, n: { type: 'integer', 'x-mcp-header': 'N' } },
    };
    await using world = await serve((message, server) => {
      if (message.method === 'tools/list')
        server.say({ id: message.id, result: { tools: [{ name: 'query', inputSchema }] } });
      else usual(message, server);
    });
    await ask(world.url, stateless(1, 'tools/list'));
    const status = async (args: Record<string, unknown>, headers: Record<string, string>): Promise<unknown> => {
      const request = stateless(2, 'tools/call', { name: 'query', arguments: args });
      const reply = await ask(world.url, { ...request, headers: { ...request.headers, ...headers } });
      return (messageOf(reply)['error'] as { code?: number } | undefined)?.code ?? reply.status;
    };
    expect(await status({ region: 'eu' }, { 'mcp-param-region': 'eu' })).toBe(200);
    expect(await status({ region: 'Hello' }, { 'mcp-param-region': '=?base64?SGVsbG8=?=' })).toBe(200);
    expect(await status({ n: 42 }, { 'mcp-param-n': '42.0' })).toBe(200);
    expect(await status({ region: null }, {})).toBe(200);
    expect(await status({ region: 'eu' }, {})).toBe(-32020);
    expect(await status({ region: 'eu' }, { 'mcp-param-region': 'us' })).toBe(-32020);
    expect(await status({}, { 'mcp-param-region': 'us' })).toBe(-32020);
    expect(await status({ region: 'Hello' }, { 'mcp-param-region': '=?base64?SGVsbG8?=' })).toBe(-32020);
    expect(await status({ region: 'Hello' }, { 'mcp-param-region': '=?base64?SGVs!!!?=' })).toBe(-32020);
    expect(await status({ n: 0 }, { 'mcp-param-n': '' })).toBe(-32020);
  });

  test('what an answer holds beside its names stays as it was written', async () => {
    const body = `{"jsonrpc":"2.0","id":1,"method":"custom/big","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"n":12345678901234567890,"id":"x"}}`;
    const seen: string[] = [];
    const gate = testGate();
    const backend = createProcessBackend({
      openSession: sessionsWith(gate),
      report: () => undefined,
      startServer: ({ line }) => ({
        send: (bytes) => {
          const text = Buffer.from(bytes).toString();
          seen.push(text);
          const { id } = JSON.parse(text) as Said;
          line(Buffer.from(`{"result":{"n":1.50,"id":"y"},"id":${JSON.stringify(id)}, "jsonrpc":"2.0"}`));
        },
        close: async () => undefined,
        backlogBytes: 0,
      }),
    });
    await using http = await startHttpServer(backend, { listen: LISTEN, report: () => undefined });
    const reply = await ask(http.url, { ...stateless(1, 'custom/big'), body });
    expect(seen).toEqual([body.replace('"id":1,', '"id":"1",')]);
    expect(reply.text).toBe('{"result":{"n":1.50,"id":"y"},"id":1, "jsonrpc":"2.0"}');
  });
});

describe('both eras at once', () => {
  test('sessions and requests without one have processes of their own; all end with the proxy', async () => {
    const world = await serve();
    await world.begin();
    await ask(world.url, stateless(1, 'custom/echo'));
    expect(world.backend.processes).toBe(2);
    await world.http.close();
    expect(world.servers.map(({ isClosed }) => isClosed)).toEqual([true, true]);
  });
});
