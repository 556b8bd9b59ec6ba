import { afterEach, describe, expect, test } from 'vitest';
import { createUpstream, parseHeaders, parseServerUrl } from '../../../sdk/servers/http-client.ts';
import { createHttpLink, type HttpLink } from '../../../sdk/servers/http-link.ts';
import { encodeHeader } from '../../../sdk/servers/http-mirror.ts';
import { type Id, type Message, parseMessage } from '../../../protocol/mcp/index.ts';
import { call, stateless, until } from '../../cli/proxy/http-requests.ts';
import { event, type Fake, type Got, json, stream, upstreamWith } from '../../cli/proxy/http-upstream.ts';

interface World {
  readonly up: Fake;
  readonly link: HttpLink;
  /** What came, with the request that it is related to. */
  readonly messages: { readonly message: Record<string, unknown>; readonly relatedTo: Id | undefined }[];
  readonly failed: { readonly id: Id; readonly code: string; readonly message: string }[];
  readonly reports: string[];
  send(message: unknown): void;
  /** The answer to it, or why there is none. */
  answerTo(id: Id): Promise<unknown>;
}

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

async function linked(answer: (got: Got) => void, headers: Record<string, string> = {}): Promise<World> {
  const up = await upstreamWith(answer);
  const messages: World['messages'] = [];
  const failed: World['failed'] = [];
  const reports: string[] = [];
  const link = createHttpLink(createUpstream({ url: new URL(up.url), headers }), {
    message: (message, relatedTo) => {
      const bytes = message instanceof Uint8Array ? message : message.bytes;
      messages.push({ message: JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>, relatedTo });
    },
    failed: (id, { code, message }) => failed.push({ id, code, message }),
    report: (_level, text) => void reports.push(text),
  });
  open.push(
    () => link.close(),
    async () => up[Symbol.asyncDispose](),
  );
  return {
    up,
    link,
    messages,
    failed,
    reports,
    send: (message) => link.send(parseMessage(Buffer.from(JSON.stringify(message)), 'client') as Message),
    answerTo: async (id) => {
      const found = (): unknown =>
        failed.find((one) => one.id === id) ?? messages.find(({ message }) => message['id'] === id)?.message;
      await until(() => found() !== undefined);
      return found();
    },
  };
}

const INITIALIZED = { jsonrpc: '2.0', method: 'notifications/initialized' };
const INIT = call(0, 'initialize', {
  protocolVersion: '2025-11-25',
  capabilities: {},
  clientInfo: { name: 't', version: '1' },
});
const beginSession = (got: Got): void =>
  json(got, { protocolVersion: '2025-06-18', capabilities: {} }, { 'mcp-session-id': 's1' });

/** Begins a session, has no stream of its own, and leaves the rest to `answer`. */
const withSession =
  (answer: (got: Got) => void) =>
  (got: Got): void => {
    if (got.message.method === 'initialize') beginSession(got);
    else if (got.message.method === 'notifications/initialized' || got.method === 'DELETE')
      got.response.writeHead(202).end();
    else answer(got);
  };

describe('a session (up to MCP 2025-11-25)', () => {
  test('says its id and the version that was agreed on, with everything but initialize', async () => {
    const world = await linked(
      withSession((got) => (got.method === 'GET' ? void got.response.writeHead(405).end() : json(got))),
    );
    world.send(INIT);
    await world.answerTo(0);
    world.send(INITIALIZED);
    world.send(call(1, 'tools/list'));
    await world.answerTo(1);
    const said = world.up.got.map(({ method, headers }) => [
      method,
      headers['mcp-session-id'],
      headers['mcp-protocol-version'],
    ]);
    expect(said[0]).toEqual(['POST', undefined, undefined]);
    expect(said.slice(1)).toContainEqual(['GET', 's1', '2025-06-18']);
    expect(said.filter(([method]) => method === 'POST').slice(1)).toEqual([
      ['POST', 's1', '2025-06-18'],
      ['POST', 's1', '2025-06-18'],
    ]);
    expect(world.reports).toEqual([]);
    await world.link.close();
    expect(world.up.got.at(-1)).toMatchObject({ method: 'DELETE', headers: { 'mcp-session-id': 's1' } });
  });

  test('may be closed at the very moment at which an answer ends', async () => {
    for (let n = 0; n < 20; n++) {
      const world = await linked(
        withSession((got) => {
          if (got.method === 'GET') return stream(got);
          stream(got);
          event(got, { id: 1, result: {} });
          got.response.end();
        }),
      );
      world.send(INIT);
      await world.answerTo(0);
      world.send(INITIALIZED);
      const taken = world.messages.push.bind(world.messages);
      const closed = new Promise<void>((settle) => {
        world.messages.push = (...messages) => {
          queueMicrotask(() => void world.link.close().then(settle));
          return taken(...messages);
        };
      });
      world.send(call(1, 'custom/x'));
      await closed;
      expect(world.failed).toEqual([]);
    }
  });

  test('a message that is no request is at the server before the next one leaves', async () => {
    const late = ({ response }: Got): void => void setTimeout(() => response.writeHead(202).end(), 30);
    const world = await linked(withSession((got) => (got.message.id === undefined ? late(got) : json(got))));
    for (let n = 0; n < 5; n++) {
      world.send({ jsonrpc: '2.0', method: 'notifications/x', params: { n } });
      world.send(call(n, 'custom/x', { n }));
    }
    for (let n = 0; n < 5; n++) await world.answerTo(n);
    const order = world.up.got.map(({ message }) => `${message.method} ${String(message.params?.['n'])}`);
    expect(order.filter((one) => one.startsWith('notifications'))).toEqual(
      [0, 1, 2, 3, 4].map((n) => `notifications/x ${n}`),
    );
    for (let n = 0; n < 5; n++)
      expect(order.indexOf(`custom/x ${n}`)).toBeGreaterThan(order.indexOf(`notifications/x ${n}`));
  });

  test('what comes on the stream of a request is known to be about it; what comes on the session’s own is not', async () => {
    const world = await linked(
      withSession((got) => {
        stream(got);
        if (got.method === 'GET') return event(got, { method: 'notifications/tools/list_changed' });
        event(got, { id: 'q', method: 'roots/list' });
        event(got, { id: 1, result: {} });
        got.response.end();
      }),
    );
    world.send(INIT);
    await world.answerTo(0);
    world.send(INITIALIZED);
    world.send(call(1, 'custom/x'));
    await until(() => world.messages.length === 4);
    const about = world.messages.map(({ message, relatedTo }) => [message['method'] ?? message['id'], relatedTo]);
    expect(about).toContainEqual(['roots/list', 1]);
    expect(about).toContainEqual(['notifications/tools/list_changed', undefined]);
  });

  test('a stream that breaks is resumed from its last event, after the time that the server names', async () => {
    const world = await linked(
      withSession((got) => {
        stream(got);
        if (got.method === 'POST') {
          got.response.write('id: e1\nretry: 20\ndata:\n\n');
          event(got, { method: 'notifications/message', params: { level: 'info', data: 1 } }, 'e2');
          setTimeout(() => got.response.destroy(), 10);
        } else if (got.headers['last-event-id'] === 'e2') {
          event(got, { id: 1, result: { ok: true } }, 'e3');
          got.response.end();
        }
      }),
    );
    world.send(call(1, 'custom/x'));
    expect(await world.answerTo(1)).toMatchObject({ result: { ok: true } });
    expect(world.messages).toHaveLength(2);
  });

  test('a stream that breaks without an id leaves an error', async () => {
    const world = await linked((got) => {
      stream(got);
      event(got, { method: 'notifications/message', params: { level: 'info', data: 1 } });
      setTimeout(() => got.response.destroy(), 10);
    });
    world.send(call(1, 'custom/x'));
    expect(await world.answerTo(1)).toMatchObject({ code: 'closed' });
  });

  test('a session that the server has ended is said, now and from then on, and not begun anew', async () => {
    const world = await linked(withSession(({ response }) => void response.writeHead(404).end()));
    world.send(INIT);
    await world.answerTo(0);
    world.send(call(1, 'tools/list'));
    expect(await world.answerTo(1)).toMatchObject({
      code: 'closed',
      message: expect.stringContaining('connect again'),
    });
    const before = world.up.got.length;
    world.send(call(2, 'tools/list'));
    expect(await world.answerTo(2)).toMatchObject({ code: 'closed' });
    expect(world.up.got).toHaveLength(before);
  });

  test('cancelling is a message like any other', async () => {
    const world = await linked(
      withSession((got) => (got.message.id === undefined ? void got.response.writeHead(202).end() : stream(got))),
    );
    world.send(call(1, 'custom/x'));
    world.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    await until(() => world.up.got.length === 2);
    expect(world.up.got[1]?.message).toMatchObject({ method: 'notifications/cancelled' });
  });
});

describe('without sessions (MCP 2026-07-28)', () => {
  test('headers repeat what the body says: version, method, name, and the arguments that a tool asks for', async () => {
    const world = await linked((got) =>
      json(
        got,
        got.message.method === 'tools/list'
          ? {
              tools: [
                {
                  name: 'wetter',
                  inputSchema: {
                    type: 'object',
                    properties: {
                      stadt: { type: 'string', 'x-mcp-header': 'City' },
                      tief: { type: 'object', properties: { n: { type: 'integer', 'x-mcp-header': 'Deep' } } },
                      frei: { type: 'string' },
                    },
                  },
                },
              ],
            }
          : {},
      ),
    );
    world.send(stateless(1, 'tools/list').body);
    await world.answerTo(1);
    world.send(
      stateless(2, 'tools/call', { name: 'wetter', arguments: { stadt: 'Köln', tief: { n: 7 }, frei: 'x' } }).body,
    );
    await world.answerTo(2);
    world.send(stateless(3, 'tools/call', { name: 'wetter', arguments: { tief: {} } }).body);
    await world.answerTo(3);
    const said = world.up.got.map(({ headers }) =>
      Object.entries(headers)
        .filter(([name]) => name.startsWith('mcp-'))
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    );
    expect(said).toEqual([
      [
        ['mcp-method', 'tools/list'],
        ['mcp-protocol-version', '2026-07-28'],
      ],
      [
        ['mcp-method', 'tools/call'],
        ['mcp-name', 'wetter'],
        ['mcp-param-city', encodeHeader('Köln')],
        ['mcp-param-deep', '7'],
        ['mcp-protocol-version', '2026-07-28'],
      ],
      [
        ['mcp-method', 'tools/call'],
        ['mcp-name', 'wetter'],
        ['mcp-protocol-version', '2026-07-28'],
      ],
    ]);
  });

  test('cancelling closes the stream, without a message', async () => {
    const world = await linked(stream);
    world.send(stateless(1, 'custom/x').body);
    await until(() => world.up.got.length === 1);
    world.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    await until(() => world.up.got[0]?.isClosed === true);
    expect([world.up.got.length, world.failed]).toEqual([1, []]);
  });

  test('an error with HTTP 400 is the server’s answer', async () => {
    const world = await linked(({ response, message: { id } }) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32022, message: 'no', data: { supported: [] } } }),
      );
    });
    world.send(stateless(1, 'server/discover').body);
    expect(await world.answerTo(1)).toMatchObject({ error: { code: -32022 } });
  });
});

describe('what goes wrong', () => {
  test('access that the server refuses is told with what to do, and the client gets an error', async () => {
    const world = await linked(
      ({ response }) =>
        void response.writeHead(401, { 'www-authenticate': 'Bearer resource_metadata="https://x/"' }).end(),
    );
    world.send(INIT);
    expect(await world.answerTo(0)).toMatchObject({ code: 'unauthorized' });
    expect(world.reports).toEqual([
      expect.stringMatching(/HTTP 401.*resource_metadata.*--header-env Authorization=VARIABLE/),
    ]);
  });

  test('a redirect is not followed', async () => {
    const elsewhere = await upstreamWith(json);
    open.push(async () => elsewhere[Symbol.asyncDispose]());
    const world = await linked(({ response }) => void response.writeHead(308, { location: elsewhere.url }).end(), {
      authorization: 'Bearer secret',
    });
    world.send(INIT);
    expect(await world.answerTo(0)).toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('redirects'),
    });
    expect(elsewhere.got).toEqual([]);
  });

  test.each([
    [
      'a page instead of a message',
      (got: Got) => void got.response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    ],
    ['a failure of the server', (got: Got) => void got.response.writeHead(502).end('bad')],
    [
      'words of the server without an id',
      (got: Got) =>
        void got.response
          .writeHead(400, { 'content-type': 'application/json' })
          .end('{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no session"}}'),
    ],
    [
      'an answer to somebody else',
      (got: Got) =>
        void got.response
          .writeHead(200, { 'content-type': 'application/json' })
          .end('{"jsonrpc":"2.0","id":5,"result":{}}'),
    ],
    ['nothing at all', (got: Got) => void got.response.writeHead(202).end()],
    ['a connection that is cut', (got: Got) => void got.response.destroy()],
    [
      'a stream of something else',
      (got: Got) =>
        void got.response.writeHead(200, { 'content-type': 'text/event-stream' }).end('event: other\ndata: {}\n\n'),
    ],
  ])('%s is an error to the client, without the secrets of the address', async (_name, answer) => {
    const world = await linked(answer, { authorization: 'Bearer secret-token' });
    world.send(call(1, 'custom/x'));
    const failure = await world.answerTo(1);
    expect(failure).toMatchObject({ id: 1, message: expect.stringContaining(new URL(world.up.url).origin) });
    expect(JSON.stringify([failure, world.reports])).not.toMatch(/of-the-server|secret-token/);
  });

  test('words of the server are passed on', async () => {
    const world = await linked(
      (got) =>
        void got.response
          .writeHead(400, { 'content-type': 'application/json' })
          .end('{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no session"}}'),
    );
    world.send(call(1, 'custom/x'));
    expect(await world.answerTo(1)).toMatchObject({ message: expect.stringContaining('"no session"') });
  });

  test('close() ends what is under way', async () => {
    const world = await linked(stream);
    world.send(call(1, 'custom/x'));
    await until(() => world.up.got.length === 1);
    await world.link.close();
    await until(() => world.up.got[0]?.isClosed === true);
    expect(world.failed).toEqual([]);
  });
});

describe('parseHeaders()', () => {
  const env = { TOKEN: 'Bearer secret', EMPTY: '' };

  test('reads names and values, of the environment too', () => {
    expect(parseHeaders(['X-Api-Key: a:b '], ['Authorization=TOKEN'], env)).toEqual({
      'x-api-key': 'a:b',
      authorization: 'Bearer secret',
    });
  });

  test.each([
    [['no colon'], []],
    [[': value'], []],
    [['a b: c'], []],
    [['X-Secret: caf\u0001e'], []],
    [['Host: x'], []],
    [['Content-Length: 1'], []],
    [['Mcp-Session-Id: x'], []],
    [['Transfer-Encoding: chunked'], []],
    [[], ['Authorization']],
    [[], ['Authorization=MISSING']],
    [[], ['Authorization=EMPTY']],
  ])('refuses %j %j', (given, fromEnv) => {
    expect(() => parseHeaders(given, fromEnv, env)).toThrow(/^Cannot/);
  });

  test('never says the value', () => {
    expect(() => parseHeaders([], ['Authorization=BAD'], { BAD: 'Bearer secret\nx' })).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('secret') }),
    );
  });
});

describe('parseServerUrl()', () => {
  test.each(['ftp://x', 'x', 'https://user:password@x/', ''])('refuses "%s"', (text) => {
    expect(() => parseServerUrl(text)).toThrow(/^Cannot use/);
  });

  test('takes http and https, with a path and a query', () => {
    expect(parseServerUrl('https://mcp.example/mcp?x=1#y').href).toBe('https://mcp.example/mcp?x=1');
  });
});

describe('encodeHeader()', () => {
  test.each([
    ['us-west1', 'us-west1'],
    ['two words', 'two words'],
    ['Hello, 世界', '=?base64?SGVsbG8sIOS4lueVjA==?='],
    [' padded ', '=?base64?IHBhZGRlZCA=?='],
    ['line1\nline2', '=?base64?bGluZTEKbGluZTI=?='],
    ['=?base64?literal?=', '=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?='],
    ['', '=?base64??='],
  ])('writes %j as %j, as the examples of the specification have it', (value, header) => {
    expect(encodeHeader(value)).toBe(header);
  });
});
