import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createGuard, parseListen, readTokenFile } from '../../../cli/proxy/http-guard.ts';
import type { Exchange } from '../../../cli/proxy/http-exchange.ts';
import {
  type HttpBackend,
  type HttpServer,
  type HttpServerOptions,
  startHttpServer,
} from '../../../cli/proxy/http-server.ts';
import type { Message } from '../../../protocol/mcp/index.ts';
import { type Ask, ask, call, messageOf, type Reply, stateless, until } from './http-requests.ts';
import { LISTEN } from './http-world.ts';

const TOKEN = 'a-token-of-twenty-letters';

interface Fake extends HttpBackend {
  readonly posted: Message[];
  readonly exchanges: Exchange[];
}

/** Answers each request with its params. */
function fakeBackend(onPost?: (exchange: Exchange, message: Message) => void): Fake {
  const posted: Message[] = [];
  const exchanges: Exchange[] = [];
  return {
    posted,
    exchanges,
    post(exchange, message) {
      posted.push(message);
      exchanges.push(exchange);
      if (onPost !== undefined) return onPost(exchange, message);
      if (message.kind !== 'request') return exchange.answer(202);
      exchange.sendMessage(
        Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: message.id, result: message.params ?? {} })),
        true,
      );
    },
    get: (exchange) => {
      exchanges.push(exchange);
      exchange.openStream();
    },
    delete: (exchange) => exchange.answer(200),
    close: async () => {
      for (const exchange of exchanges) exchange.end();
    },
  };
}

async function serve(
  options: Partial<HttpServerOptions> = {},
  backend: Fake = fakeBackend(),
): Promise<HttpServer & { readonly backend: Fake }> {
  const server = await startHttpServer(backend, { listen: LISTEN, stopMs: 200, report: () => undefined, ...options });
  return Object.assign(server, { backend });
}

const rpcCode = (reply: Reply): unknown => (messageOf(reply)['error'] as { code?: unknown } | undefined)?.code;

describe('who may ask', () => {
  test.each(['127.0.0.1', 'localhost', 'LOCALHOST', '[::1]'])(
    'a client that calls the proxy "%s" is answered',
    async (name) => {
      await using server = await serve();
      const { port } = server.address;
      const headers = { host: `${name}:${port}`, origin: `http://${name}:${port}` };
      expect((await ask(server.url, { headers, body: call(1, 'ping') })).status).toBe(200);
    },
  );

  test.each([
    ['another host', { host: 'evil.example' }],
    ['another host with the right port', { host: 'evil.example:PORT' }],
    ['the right host without a port', { host: 'localhost' }],
    ['the right host with another port', { host: 'localhost:1' }],
    ['a host that only begins right', { host: 'localhost.evil.example:PORT' }],
    ['a page of another site', { origin: 'http://evil.example' }],
    ['a page of another port', { origin: 'http://localhost:1' }],
    ['a page of no site', { origin: 'null' }],
    ['a page whose user is called localhost', { origin: 'http://localhost:PORT@evil.example' }],
  ])('%s is refused with 403, and its body is not looked at', async (_name, headers) => {
    await using server = await serve();
    const named = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, value.replace('PORT', String(server.address.port))]),
    );
    for (const method of ['POST', 'GET', 'DELETE']) {
      const reply = await ask(server.url, {
        method,
        headers: { accept: '*/*', ...named },
        ...(method === 'POST' && { body: call(1, 'ping') }),
      });
      expect(reply.status).toBe(403);
    }
    expect(server.backend.posted).toEqual([]);
  });

  test('a name that the owner allows is answered, with its own pages, with our port or none', async () => {
    await using server = await serve({ allowedHosts: ['mcp.internal'] });
    for (const host of ['MCP.internal', `mcp.internal:${server.address.port}`]) {
      const headers = { host, origin: `https://${host}` };
      expect((await ask(server.url, { headers, body: call(1, 'ping') })).status).toBe(200);
    }
    expect((await ask(server.url, { headers: { host: 'mcp.internal:1' }, body: call(1, 'ping') })).status).toBe(403);
  });

  test('on an address that others reach it does not listen without a token', async () => {
    const started = startHttpServer(fakeBackend(), { listen: { host: '0.0.0.0', port: 0 }, report: () => undefined });
    await expect(started).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('without a token'),
    });
  });

  test.each([
    ['no token', undefined],
    ['a wrong token', 'Bearer a-token-of-twenty-letterz'],
    ['a shorter token', 'Bearer a-token'],
    ['another scheme', `Basic ${TOKEN}`],
  ])('with a token set, a request with %s is refused with 401 and a challenge', async (_name, authorization) => {
    await using server = await serve({ token: TOKEN });
    const reply = await ask(server.url, {
      headers: authorization === undefined ? {} : { authorization },
      body: call(1, 'ping'),
    });
    expect([reply.status, reply.headers['www-authenticate']]).toEqual([401, expect.stringMatching(/^Bearer /)]);
    expect(server.backend.posted).toEqual([]);
  });

  test('with a token set, the token is let in', async () => {
    await using server = await serve({ token: TOKEN });
    const reply = await ask(server.url, { headers: { authorization: `bearer ${TOKEN}` }, body: call(1, 'ping') });
    expect(reply.status).toBe(200);
  });

  test('createGuard() takes an address of every interface by the names that the owner gives', () => {
    const guard = createGuard({ address: { host: '0.0.0.0', port: 80 }, allowedHosts: ['box:80'], token: TOKEN });
    const authorization = `Bearer ${TOKEN}`;
    expect(() => guard.verify({ host: 'box:80', authorization })).not.toThrow();
    expect(() => guard.verify({ host: 'other:80', authorization })).toThrow(
      expect.objectContaining({ code: 'forbidden' }),
    );
  });
});

describe('parseListen()', () => {
  test.each([
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['localhost:65535', { host: 'localhost', port: 65_535 }],
  ])('reads "%s"', (text, address) => {
    expect(parseListen(text)).toEqual(address);
  });

  test.each(['', '8080', ':8080', 'localhost', '::1:80', '[localhost]:80', '127.0.0.1:65536', 'http://localhost:80'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseListen(text)).toThrow('Cannot listen on');
    },
  );
});

describe('readTokenFile()', () => {
  async function tokenFile(text: string, mode: number): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'agentmesh-token-'));
    const path = join(dir, 'token');
    await writeFile(path, text);
    await chmod(path, mode);
    try {
      return await readTokenFile(path);
    } finally {
      await rm(dir, { recursive: true });
    }
  }

  test('reads the token of a file that is its owner’s alone, without the end of its line', async () => {
    expect(await tokenFile(`${TOKEN}\n`, 0o600)).toBe(TOKEN);
  });

  test.each([0o640, 0o604, 0o660])('refuses a file of mode %o', async (mode) => {
    await expect(tokenFile(TOKEN, mode)).rejects.toMatchObject({ code: 'permissions' });
  });

  test.each(['short', '', 'two tokens of enough letters', 'ümlaut-token-of-twenty'])('refuses "%s"', async (text) => {
    await expect(tokenFile(text, 0o600)).rejects.toMatchObject({ code: 'config_invalid' });
  });

  test('says when there is no such file', async () => {
    await expect(readTokenFile('/nowhere/token')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('what is accepted', () => {
  test.each([
    ['a body of another type', { 'content-type': 'text/plain' }, 415],
    ['no type', { 'content-type': '' }, 415],
    ['another character set', { 'content-type': 'application/json; charset=utf-16' }, 415],
    ['a compressed body', { 'content-encoding': 'gzip' }, 415],
    ['a client that takes no stream', { accept: 'application/json' }, 406],
    ['a client that takes no object', { accept: 'text/event-stream' }, 406],
    ['a client that takes neither', { accept: 'application/json;q=0, text/event-stream' }, 406],
  ])('%s is refused', async (_name, headers, status) => {
    await using server = await serve();
    expect((await ask(server.url, { headers, body: call(1, 'ping') })).status).toBe(status);
    expect(server.backend.posted).toEqual([]);
  });

  test.each([
    { accept: '*/*' },
    { accept: 'application/*;q=0.9, text/*' },
    { 'content-type': 'Application/JSON; charset="UTF-8"' },
    { 'content-encoding': 'identity' },
  ])('%o is accepted', async (headers) => {
    await using server = await serve();
    expect((await ask(server.url, { headers, body: call(1, 'ping') })).status).toBe(200);
  });

  test.each([
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600],
    ['no JSON', '{"jsonrpc"', -32700],
    ['nothing', ' \n', -32700],
    ['a member that is there twice', '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', -32600],
    ['a member in other letters', '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', -32600],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), -32700],
  ])('%s is refused with 400', async (_name, body, code) => {
    await using server = await serve();
    const reply = await ask(server.url, { body });
    expect([reply.status, rpcCode(reply)]).toEqual([400, code]);
    expect(server.backend.posted).toEqual([]);
  });

  test.each([
    ['another method', { 'mcp-method': 'tools/list' }],
    ['another name', { 'mcp-name': 'delete' }],
    ['another name in base64', { 'mcp-name': `=?base64?${Buffer.from('delete').toString('base64')}?=` }],
    ['another version', { 'mcp-protocol-version': '2025-11-25' }],
  ])('headers that say %s than the body are refused with 400 and -32020', async (_name, headers) => {
    await using server = await serve();
    const request = stateless(7, 'tools/call', { name: 'read' });
    const reply = await ask(server.url, { ...request, headers: { ...request.headers, ...headers } });
    expect([reply.status, rpcCode(reply), messageOf(reply)['id']]).toEqual([400, -32020, 7]);
    expect(server.backend.posted).toEqual([]);
  });

  test('a header that is there twice is refused', async () => {
    await using server = await serve();
    const reply = await ask(server.url, { headers: { 'mcp-name': ['read', 'delete'] }, body: call(1, 'ping') });
    expect([reply.status, reply.text]).toEqual([400, expect.stringContaining('mcp-name')]);
  });

  test('what is judged by what it names, and is no method any more, is answered with 404', async () => {
    await using server = await serve();
    const reply = await ask(server.url, stateless(1, 'resources/subscribe'));
    expect([reply.status, rpcCode(reply)]).toEqual([404, -32601]);
  });

  test.each([
    ['another path', { path: '/' }, 404],
    ['a path that goes on', { path: '/mcp/x' }, 404],
    ['another method', { method: 'PUT' }, 405],
    ['a preflight of a browser', { method: 'OPTIONS' }, 405],
    ['a GET that takes no stream', { method: 'GET', headers: { accept: 'application/json' } }, 406],
  ] as [string, Ask, number][])('%s is refused', async (_name, request, status) => {
    await using server = await serve();
    const body = request.method === undefined ? call(1, 'ping') : '';
    expect((await ask(server.url, { body, ...request })).status).toBe(status);
  });

  test('the bytes of a message arrive as they were, big numbers and order too', async () => {
    await using server = await serve();
    const body = '{"id":"ä🙂","method":"x/y", "params":{"b":12345678901234567890,"a":1.0},"jsonrpc":"2.0"}';
    await ask(server.url, { body });
    expect(server.backend.posted.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual([body]);
  });
});

describe('bounds', () => {
  test('a body that says it is too long is refused without being read', async () => {
    await using server = await serve({ bodyBytesMax: 100 });
    const reply = await ask(server.url, { body: call(1, 'ping', { text: 'x'.repeat(200) }) });
    expect([reply.status, reply.headers.connection]).toEqual([413, 'close']);
  });

  test('a body in chunks is refused as soon as it is too long', async () => {
    await using server = await serve({ bodyBytesMax: 100 });
    const socket = connect(server.address.port, '127.0.0.1');
    const said = new Promise<string>((settle) => {
      let text = '';
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.once('close', () => settle(text));
      socket.on('error', () => undefined);
    });
    socket.write(
      `POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:${server.address.port}\r\nContent-Type: application/json\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    socket.write(`c8\r\n${'x'.repeat(200)}\r\n`); // and it never ends
    expect(await said).toMatch(/^HTTP\/1\.1 413 /);
  });

  test('a client that does not send its headers is cut', async () => {
    await using server = await serve({ headersMs: 100, bodyMs: 200 });
    const socket = connect(server.address.port, '127.0.0.1');
    socket.write('POST /mcp HTTP/1.1\r\nHost:');
    await new Promise((settle) =>
      socket
        .once('close', settle)
        .on('error', () => undefined)
        .resume(),
    );
    expect(server.exchanges).toBe(0);
  });

  test('a reader that takes nothing is cut before more than the bound waits for it', async () => {
    const bound = 1024 * 1024;
    const backend = fakeBackend();
    await using server = await serve({ backlogBytesMax: bound }, backend);
    const socket = connect(server.address.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(`GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:${server.address.port}\r\nAccept: text/event-stream\r\n\r\n`);
    await until(() => backend.exchanges.length === 1);
    const [exchange] = backend.exchanges;
    const message = Buffer.from(
      JSON.stringify({ jsonrpc: '2.0', method: 'x', params: { text: 'x'.repeat(64 * 1024) } }),
    );
    let sent = 0;
    // What the kernel takes for the reader is not ours: a few MB.
    while (exchange?.isEnded === false && sent < 1_000) {
      exchange.sendMessage(message, false);
      sent++;
      if (sent % 16 === 0) await new Promise((settle) => setImmediate(settle));
    }
    expect(exchange?.isEnded).toBe(true);
    expect(sent).toBeGreaterThan(bound / message.length - 1);
    await until(() => server.exchanges === 0);
    socket.destroy();
  });

  test('a stream without news shows that it lives', async () => {
    await using server = await serve({ keepAliveMs: 20 });
    const socket = connect(server.address.port, '127.0.0.1');
    socket.write(`GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:${server.address.port}\r\nAccept: text/event-stream\r\n\r\n`);
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await until(() => text.includes(': keep-alive\n\n'));
    socket.destroy();
  });
});

describe('its life', () => {
  test('a port that is taken is said', async () => {
    await using server = await serve();
    await expect(serve({ listen: server.address })).rejects.toMatchObject({ code: 'conflict' });
  });

  test('after close() streams are over and the port is free', async () => {
    const server = await serve();
    const listening = ask(server.url, { method: 'GET', headers: { accept: 'text/event-stream' } });
    await until(() => server.exchanges === 1);
    await server.close();
    expect((await listening).status).toBe(200);
    await using next = await serve({ listen: server.address });
    expect(next.address).toEqual(server.address);
  });

  test('a request that nobody answers does not hold close() for longer than said', async () => {
    const backend = fakeBackend(() => undefined);
    const server = await serve({}, { ...backend, close: async () => undefined });
    const asked = ask(server.url, { body: call(1, 'x') }).catch((error: unknown) => error);
    await until(() => backend.posted.length === 1);
    await server.close();
    expect(await asked).toBeInstanceOf(Error);
  });

  test('a fault in one request is told, and ends neither the proxy nor the other requests', async () => {
    const reports: string[] = [];
    const backend = fakeBackend((exchange, message) => {
      if (message.kind === 'request' && message.id === 1) throw new TypeError('a fault');
      exchange.answer(200);
    });
    await using server = await serve({ report: (_level, text) => void reports.push(text) }, backend);
    expect((await ask(server.url, { body: call(1, 'x') })).status).toBe(500);
    expect((await ask(server.url, { body: call(2, 'x') })).status).toBe(200);
    expect(reports).toEqual([expect.stringContaining('a fault')]);
  });

  test('an answer that comes alone is one object, and one with something before it a stream', async () => {
    const backend = fakeBackend((exchange, message) => {
      const id = message.kind === 'request' ? message.id : 0;
      if (id === 2) exchange.sendMessage(Buffer.from('{"jsonrpc":"2.0","method":"x"}'), false);
      exchange.sendMessage(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, result: {} })), true);
    });
    await using server = await serve({}, backend);
    const [one, two] = [await ask(server.url, { body: call(1, 'x') }), await ask(server.url, { body: call(2, 'x') })];
    expect([one.headers['content-type'], two.headers['content-type']]).toEqual([
      'application/json',
      'text/event-stream',
    ]);
    expect(two.events.map(({ data }) => Object.keys(JSON.parse(data) as object))).toEqual([
      ['jsonrpc', 'method'],
      ['jsonrpc', 'id', 'result'],
    ]);
  });
});
