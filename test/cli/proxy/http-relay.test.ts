import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { createUpstream } from '../../../sdk/servers/http-client.ts';
import { createRelayBackend, type RelayOptions } from '../../../cli/proxy/http-relay.ts';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../../cli/proxy/http-server.ts';
import { ask, call, messageOf, type Reply, stateless, until } from './http-requests.ts';
import { event, type Fake, type Got, json, stream, upstreamWith } from './http-upstream.ts';
import { LISTEN, sessionsWith, testGate, type TestGate } from './http-world.ts';

/** Gives sessions, says that it has the tool "read", and answers all else with what it was given. */
const usual = (got: Got): void => {
  const { method, params } = got.message;
  if (got.method !== 'POST' || method === undefined || got.message.id === undefined)
    return void got.response.writeHead(202).end();
  if (method === 'initialize')
    return json(got, { protocolVersion: '2025-11-25', capabilities: {} }, { 'mcp-session-id': 'their-session' });
  if (method === 'tools/list') return json(got, { tools: [{ name: 'read', inputSchema: {} }] });
  json(got, params ?? {});
};

interface World extends AsyncDisposable {
  readonly http: HttpServer;
  readonly url: string;
  readonly up: Fake;
  readonly gate: TestGate;
}

async function serve(
  answer: (got: Got) => void = usual,
  {
    headers,
    gate = testGate(),
    ...options
  }: RelayOptions & Partial<HttpServerOptions> & { headers?: Record<string, string>; gate?: TestGate } = {},
): Promise<World> {
  const up = await upstreamWith(answer);
  const upstream = createUpstream({ url: new URL(up.url), ...(headers !== undefined && { headers }) });
  const backend = createRelayBackend({ openSession: sessionsWith(gate), upstream, report: () => undefined }, options);
  const http = await startHttpServer(backend, { listen: LISTEN, stopMs: 200, report: () => undefined, ...options });
  return {
    http,
    url: http.url,
    up,
    gate,
    async [Symbol.asyncDispose]() {
      await http.close();
      await up[Symbol.asyncDispose]();
    },
  };
}

const SESSION = { 'mcp-session-id': 'their-session', 'mcp-protocol-version': '2025-11-25' };
const INIT = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
const LISTENING = { accept: 'text/event-stream' };

describe('what passes', () => {
  test('a session is the server’s own: its id goes both ways', async () => {
    await using world = await serve();
    const begun = await ask(world.url, { body: call(1, 'initialize', INIT) });
    expect(begun.headers['mcp-session-id']).toBe('their-session');
    await ask(world.url, { headers: SESSION, body: call(2, 'custom/echo', { a: 1 }) });
    expect(world.up.got.map(({ headers }) => headers['mcp-session-id'])).toEqual([undefined, 'their-session']);
  });

  test('the bytes of a message pass, and so do the client’s headers and the query of the configured address', async () => {
    await using world = await serve();
    const body = '{"method":"custom/x", "id":1,"jsonrpc":"2.0","params":{"n":12345678901234567890}}';
    await ask(world.url, {
      body,
      path: '/mcp?key=of-the-client',
      headers: { authorization: 'Bearer theirs', 'x-custom': 'a', 'mcp-param-region': 'eu' },
    });
    const [got] = world.up.got;
    expect([got?.body, got?.url]).toEqual([body, '/up?key=of-the-server']);
    expect(got?.headers).toMatchObject({
      authorization: 'Bearer theirs',
      'x-custom': 'a',
      'mcp-param-region': 'eu',
      'accept-encoding': 'identity',
      'content-type': 'application/json',
    });
  });

  test('headers of one connection, of pages and those that turn a POST into something else stay here', async () => {
    await using world = await serve();
    await ask(world.url, {
      body: call(1, 'custom/x'),
      headers: {
        connection: 'x-hop',
        'x-hop': '1',
        'x-http-method-override': 'DELETE',
        'x-forwarded-host': 'evil.example',
        'proxy-authorization': 'Basic x',
        origin: world.url.slice(0, -'/mcp'.length),
        'mcp-name': 'delete',
        'accept-encoding': 'gzip',
      },
    });
    const headers = world.up.got[0]?.headers ?? {};
    for (const name of [
      'x-hop',
      'x-http-method-override',
      'x-forwarded-host',
      'proxy-authorization',
      'origin',
      'mcp-name',
    ])
      expect(headers).not.toHaveProperty(name);
    expect(headers['accept-encoding']).toBe('identity');
    expect(headers.host).toBe(new URL(world.up.url).host);
  });

  test('a token of this proxy stays here, and credentials of the server are added', async () => {
    const token = 'a-token-of-twenty-letters';
    await using world = await serve(usual, {
      keepsAuthorization: true,
      token,
      headers: { 'x-api-key': 'of-the-server' },
    });
    await ask(world.url, { body: call(1, 'custom/x'), headers: { authorization: `Bearer ${token}` } });
    expect(world.up.got[0]?.headers).toMatchObject({ 'x-api-key': 'of-the-server' });
    expect(JSON.stringify(world.up.got[0]?.headers)).not.toContain(token);
  });

  test('in the stateless era method and name are said anew, from the body that was judged', async () => {
    await using world = await serve();
    const encoded = `=?base64?${Buffer.from('file:///ä').toString('base64')}?=`;
    const request = stateless(1, 'resources/read', { uri: 'file:///ä' });
    await ask(world.url, { ...request, headers: { ...request.headers, 'mcp-name': encoded } });
    expect(world.up.got[0]?.headers).toMatchObject({
      'mcp-method': 'resources/read',
      'mcp-name': encoded,
      'mcp-protocol-version': '2026-07-28',
    });
  });

  test.each([
    [401, { 'www-authenticate': 'Bearer resource_metadata="https://up.example/.well-known/oauth-protected-resource"' }],
    [403, { 'www-authenticate': 'Bearer error="insufficient_scope", scope="files:write"' }],
    [429, { 'retry-after': '7' }],
    [404, {}],
    [500, {}],
  ])('HTTP %i of the server is the client’s to hear, with what it says about access', async (status, headers) => {
    await using world = await serve(({ response }) => void response.writeHead(status, headers).end());
    for (const request of [
      { body: call(1, 'custom/x') },
      { body: call(1, 'initialize', INIT) },
      { method: 'GET', headers: LISTENING },
      stateless(1, 'tools/list'),
    ]) {
      const reply = await ask(world.url, request);
      expect([reply.status, reply.headers]).toMatchObject([status, headers]);
    }
  });

  test('an error of the server that is an answer keeps its HTTP status', async () => {
    await using world = await serve(({ response, message: { id } }) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32022, message: 'no', data: { supported: ['x'] } } }),
      );
    });
    const reply = await ask(world.url, stateless(3, 'custom/x'));
    expect([reply.status, messageOf(reply)]).toMatchObject([
      400,
      { id: 3, error: { code: -32022, data: { supported: ['x'] } } },
    ]);
  });

  test('an error of the server to no request in particular passes too', async () => {
    const error = { jsonrpc: '2.0', id: null, error: { code: -32000, message: 'Bad Request: no session' } };
    await using world = await serve(({ response }) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify(error));
    });
    const reply = await ask(world.url, { body: call(3, 'custom/x') });
    expect([reply.status, messageOf(reply)]).toEqual([400, error]);
  });

  test('events pass one by one, each as soon as it comes, with their ids', async () => {
    await using world = await serve((got) => {
      stream(got);
      event(got, '', 'e0');
      event(got, { method: 'notifications/message', params: { level: 'info', data: 1 } }, 'e1');
    });
    const seen: (string | undefined)[] = [];
    const asked = ask(world.url, {
      headers: SESSION,
      body: call(1, 'custom/x'),
      onEvent: (_data, id) => seen.push(id),
    });
    await until(() => seen.length === 2); // while the server has more to say
    const [got] = world.up.got;
    if (got === undefined) throw new Error('it did not arrive');
    event(got, { id: 1, result: { ok: true } }, 'e2');
    const reply = await asked;
    expect([seen, messageOf(reply)]).toEqual([['e0', 'e1', 'e2'], { jsonrpc: '2.0', id: 1, result: { ok: true } }]);
  });

  test('a stream that breaks is resumed at the server, and the answer arrives there', async () => {
    await using world = await serve((got) => {
      stream(got);
      if (got.method === 'POST') {
        event(got, '', 'e0');
        event(got, { method: 'notifications/message', params: { level: 'info', data: 1 } }, 'e1');
        got.response.end();
      } else {
        event(got, { id: 1, result: { ok: true } }, 'e2');
        got.response.end();
      }
    });
    const first = await ask(world.url, { headers: SESSION, body: call(1, 'custom/x') });
    expect(first.events.map(({ id }) => id)).toEqual(['e0', 'e1']);
    const second = await ask(world.url, {
      method: 'GET',
      headers: { ...LISTENING, ...SESSION, 'last-event-id': 'e1' },
    });
    expect(world.up.got[1]?.headers['last-event-id']).toBe('e1');
    expect(second.events).toEqual([{ id: 'e2', data: '{"jsonrpc":"2.0","id":1,"result":{"ok":true}}' }]);
  });

  test('what the server asks on a stream is answered through its own POST, which waits for the server', async () => {
    let asked: Got | undefined;
    await using world = await serve((got) => {
      if (got.message.method === 'custom/ask') {
        asked = got;
        stream(got);
        event(got, {
          id: 'q',
          method: 'elicitation/create',
          params: { message: 'ok?', requestedSchema: { type: 'object', properties: {} } },
        });
      } else {
        got.response.writeHead(202).end();
        if (asked !== undefined) {
          event(asked, { id: 1, result: { heard: (got.message as { result?: unknown }).result } });
          asked.response.end();
        }
      }
    });
    const statuses: Promise<Reply>[] = [];
    const reply = await ask(world.url, {
      headers: SESSION,
      body: call(1, 'custom/ask'),
      onEvent: (data) => {
        if (data.includes('elicitation'))
          statuses.push(
            ask(world.url, {
              headers: SESSION,
              body: { jsonrpc: '2.0', id: 'q', result: { action: 'accept', content: {} } },
            }),
          );
      },
    });
    expect(messageOf(reply)).toMatchObject({ id: 1, result: { heard: { action: 'accept' } } });
    expect((await statuses[0])?.status).toBe(202);
    expect(world.gate.decided.map(({ action }) => action)).toContain('elicitation');
  });

  test('DELETE ends the session at the server', async () => {
    await using world = await serve();
    expect((await ask(world.url, { method: 'DELETE', headers: SESSION })).status).toBe(202);
    expect(world.up.got.map(({ method }) => method)).toEqual(['DELETE']);
  });
});

describe('what does not', () => {
  test('a call that is denied never reaches the server, in a session or without one', async () => {
    await using world = await serve(usual, { gate: testGate(['delete']) });
    for (const request of [
      { headers: SESSION, body: call(1, 'tools/call', { name: 'delete' }) },
      stateless(1, 'tools/call', { name: 'delete' }),
    ]) {
      expect(messageOf(await ask(world.url, request))).toMatchObject({ id: 1, result: { isError: true } });
    }
    expect(world.up.got.map(({ message }) => message.method)).not.toContain('tools/call');
  });

  test('what the server asks and policy denies is refused to the server, while the request goes on', async () => {
    let asked: Got | undefined;
    await using world = await serve(
      (got) => {
        if (got.message.method === 'custom/ask') {
          asked = got;
          stream(got);
          event(got, { id: 'q', method: 'sampling/createMessage', params: { messages: [], maxTokens: 1 } });
          return;
        }
        got.response.writeHead(202).end();
        if (asked !== undefined)
          event(asked, { id: 1, result: { refused: (got.message as { error?: unknown }).error } });
      },
      { gate: testGate(['sampling']) },
    );
    const reply = await ask(world.url, { headers: SESSION, body: call(1, 'custom/ask') });
    expect(reply.events).toHaveLength(1);
    expect(messageOf(reply)).toMatchObject({ id: 1, result: { refused: { code: -32001 } } });
  });

  test('tools are looked at once for all requests of the same credentials, and again for others', async () => {
    await using world = await serve();
    const callRead = (authorization: string): Promise<Reply> => {
      const request = stateless(1, 'tools/call', { name: 'read' });
      return ask(world.url, { ...request, headers: { ...request.headers, authorization } });
    };
    await callRead('Bearer a');
    await callRead('Bearer a');
    await callRead('Bearer b');
    const lists = world.up.got.filter(({ message }) => message.method === 'tools/list');
    expect(lists.map(({ headers }) => [headers.authorization, headers['mcp-method'], headers['mcp-name']])).toEqual([
      ['Bearer a', 'tools/list', undefined],
      ['Bearer b', 'tools/list', undefined],
    ]);
  });

  test('a redirect is not followed, and is said', async () => {
    await using elsewhere = await upstreamWith(usual);
    await using world = await serve(({ response }) => void response.writeHead(307, { location: elsewhere.url }).end());
    const reply = await ask(world.url, { body: call(1, 'custom/x') });
    expect([reply.status, reply.text]).toEqual([502, expect.stringContaining('redirects')]);
    expect(elsewhere.got).toEqual([]);
  });

  test('an encoded answer is not guessed at', async () => {
    await using world = await serve(
      ({ response }) =>
        void response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end('x'),
    );
    expect((await ask(world.url, { body: call(1, 'custom/x') })).status).toBe(502);
  });

  test('a server that is not there is said', async () => {
    const world = await serve();
    await world.up[Symbol.asyncDispose]();
    const reply = await ask(world.url, { body: call(1, 'custom/x') });
    expect([reply.status, messageOf(reply)]).toMatchObject([
      502,
      { id: 1, error: { message: expect.stringContaining('nothing listens there') } },
    ]);
    expect(reply.text).not.toContain('of-the-server');
    await world.http.close();
  });

  test('an answer to another request is not this one’s', async () => {
    await using world = await serve(({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"jsonrpc":"2.0","id":99,"result":{"stolen":true}}');
    });
    const reply = await ask(world.url, { body: call(1, 'custom/x') });
    expect(messageOf(reply)).toMatchObject({ id: 1, error: {} });
    expect(reply.text).not.toContain('stolen');
  });
});

const SMUGGLED = 'of what nobody judged';
const RESULT = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { text: SMUGGLED } });
const NOTICE = { jsonrpc: '2.0', method: 'notifications/initialized' };

describe('what could be taken for a response is not passed on', () => {
  test.each([
    [200, RESULT, { headers: SESSION, body: NOTICE }],
    [202, RESULT, { headers: SESSION, body: NOTICE }],
    [400, RESULT, { headers: SESSION, body: NOTICE }],
    [200, RESULT, { method: 'GET', headers: LISTENING }],
    [200, RESULT, { method: 'DELETE', headers: SESSION }],
    [400, RESULT.replace('{', '{"jsonrpc":"2.0",'), { body: call(1, 'custom/x') }],
    [400, RESULT.replace('result', 'Result'), { body: call(1, 'custom/x') }],
    [400, RESULT.replace('"id":1', '"id":2'), { body: call(1, 'custom/x') }],
    [400, JSON.stringify({ jsonrpc: '2.0', id: 2, error: { code: 1, message: SMUGGLED } }), { body: call(1, 'x') }],
    [500, `[${RESULT}]`, { body: call(1, 'custom/x') }],
  ])('HTTP %i with %s', async (status, body, request) => {
    await using world = await serve(({ response }) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body);
    });
    const reply = await ask(world.url, request);
    expect(reply.status).toBe(status);
    expect(reply.text).not.toContain(SMUGGLED);
    expect(world.up.got).toHaveLength(1);
  });

  test('what OAuth says of a token is', async () => {
    const said = { error: 'invalid_token', error_description: 'it has expired' };
    await using world = await serve(({ response }) => {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(JSON.stringify(said));
    });
    for (const request of [{ body: call(1, 'custom/x') }, { headers: SESSION, body: NOTICE }])
      expect(messageOf(await ask(world.url, request))).toEqual(said);
  });
});

describe('streams that end early', () => {
  test('a stateless client that goes away closes the stream at the server, without a message', async () => {
    await using world = await serve(stream);
    const stop = new AbortController();
    const gone = ask(world.url, { ...stateless(1, 'custom/x'), signal: stop.signal });
    await until(() => world.up.got.length === 1);
    stop.abort();
    await gone.catch(() => undefined);
    await until(() => world.up.got[0]?.isClosed === true);
    expect(world.up.got).toHaveLength(1);
  });

  test('a client with a session that goes away cancels nothing', async () => {
    await using world = await serve((got) => (got.message.method === 'custom/x' ? stream(got) : usual(got)));
    const stop = new AbortController();
    const gone = ask(world.url, { headers: SESSION, body: call(1, 'custom/x'), signal: stop.signal });
    await until(() => world.up.got.length === 1);
    stop.abort();
    await gone.catch(() => undefined);
    await ask(world.url, { headers: SESSION, body: { jsonrpc: '2.0', method: 'notifications/custom' } });
    expect(world.up.got.map(({ message }) => message.method)).toEqual(['custom/x', 'notifications/custom']);
  });

  test('a server that ends its stream without an answer leaves an error', async () => {
    await using world = await serve((got) => {
      stream(got);
      got.response.end();
    });
    expect(messageOf(await ask(world.url, stateless(1, 'custom/x')))).toMatchObject({
      id: 1,
      error: { message: expect.stringContaining('without a response') },
    });
  });

  test('a server is read no faster than its client reads', async () => {
    const chunk = 'x'.repeat(256 * 1024);
    let written = 0;
    await using world = await serve((got) => {
      stream(got);
      const more = (): void => {
        while (written < 64 * 1024 * 1024 && !got.isClosed) {
          written += chunk.length;
          if (!got.response.write(`data: {"jsonrpc":"2.0","method":"x","params":{"text":"${chunk}"}}\n\n`))
            return void got.response.once('drain', more);
        }
      };
      more();
    });
    const { port } = world.http.address;
    const socket = connect(port, '127.0.0.1');
    socket.pause();
    socket.on('error', () => undefined);
    socket.write(
      `GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\nMcp-Session-Id: s\r\n\r\n`,
    );
    await until(() => written > 0);
    let before = -1;
    while (before !== written) {
      before = written;
      await new Promise((settle) => setTimeout(settle, 150));
    }
    expect(written).toBeLessThan(32 * 1024 * 1024); // the kernel's buffers of two connections hold some
    expect(world.http.exchanges).toBe(1); // nothing was cut
    socket.destroy();
  });
});
