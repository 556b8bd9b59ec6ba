import { stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ControlBackend,
  HTTP_STATUS,
  OPERATION_IDS,
  type OperationId,
  routeOf,
} from '../../../protocol/control/index.ts';
import { ERRORS, type ErrorCode, MeshError } from '../../../protocol/index.ts';
import { SAMPLES, SAMPLE } from '../../protocol/control/samples.ts';
import { FakeBackend } from './fake-backend.ts';
import { type Answered, ask, startServer, type Started, until } from './start.ts';

/** Every method runs `call` and nothing else. */
const backendOf = (
  call: (operationId: string, input: never, signal: AbortSignal) => Promise<unknown>,
): ControlBackend =>
  Object.fromEntries(
    OPERATION_IDS.map((operationId) => [
      operationId,
      (input: never, _caller: unknown, signal: AbortSignal) => call(operationId, input, signal),
    ]),
  ) as unknown as ControlBackend;

describe('the unix socket', () => {
  test('has mode 0600 once it listens, is gone once it is closed, and the process keeps its umask', async () => {
    const before = process.umask();
    await using started = await startServer();
    const { mode } = await stat(started.socketPath);
    expect((mode & 0o777).toString(8)).toBe('600');
    expect(process.umask()).toBe(before);
    await started.server.close();
    await expect(stat(started.socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('is refused where another server has it, which goes on', async () => {
    await using started = await startServer();
    await expect(startServer({ socketPath: started.socketPath })).rejects.toMatchObject({ code: 'already_running' });
    expect((await ask(started, '/livez')).status).toBe(200);
  });
});

describe('who may call', () => {
  let started: Started;
  let own: string;
  beforeAll(async () => {
    const fake = new FakeBackend();
    own = fake.issueToken(SAMPLE.did);
    started = await startServer({
      fake,
      backend: backendOf(async () => ({})),
      strict: false,
      tcp: { host: '127.0.0.1', port: 0 },
    });
  });
  afterAll(() => started[Symbol.asyncDispose]());

  const rows = SAMPLES.filter(({ operationId }) => !['events', 'link'].includes(operationId)); // link: links.test.ts
  const askAs = (where: Parameters<typeof ask>[0], sample: (typeof rows)[number], token?: string): Promise<Answered> =>
    ask(where, sample.path, {
      method: sample.route.method,
      ...(token === undefined ? {} : { token }),
      ...(sample.body === undefined ? {} : { body: sample.body }),
    });
  const tcp = () => started.server.tcp ?? { host: '', port: 0 };

  test('the table has routes of every kind', () => {
    expect(new Set(rows.map(({ route }) => route.who))).toEqual(new Set(['operator', 'agent', 'anyone']));
    expect(rows.filter(({ route }) => route.who === 'anyone').map(({ operationId }) => operationId)).toEqual([
      'loginChallenge',
      'login',
    ]);
    expect(rows.length).toBeGreaterThan(40);
  });

  test.each(rows.map((sample) => [sample.operationId, sample] as const))(
    '%s: operator, agent, and nobody as the table says',
    async (_, sample) => {
      const { who } = sample.route;
      expect((await askAs(started, sample)).status, 'operator').toBe(200);
      expect((await askAs(started, sample, own)).code, 'agent').toBe(who === 'operator' ? 'forbidden' : undefined);
      expect((await askAs(tcp(), sample, own)).code, 'agent over TCP').toBe(
        who === 'operator' ? 'forbidden' : undefined,
      );
      expect((await askAs(tcp(), sample)).code, 'nobody over TCP').toBe(who === 'anyone' ? undefined : 'unauthorized');
      // A bad token never falls back to the operator's rights.
      const bad = await askAs(started, sample, 'A'.repeat(43));
      expect([bad.status, bad.code, bad.headers['www-authenticate']]).toEqual([401, 'unauthorized', 'Bearer']);
      expect(
        (await ask(started, sample.path, { method: sample.route.method, headers: { authorization: 'Basic YTpi' } }))
          .code,
      ).toBe('unauthorized');
    },
  );

  test.each(rows.filter(({ route }) => route.own !== undefined).map((sample) => [sample.operationId, sample] as const))(
    '%s: an agent that names another is refused, one that names nobody acts for itself',
    async (operationId, sample) => {
      const seen: unknown[] = [];
      await using other = await startServer({
        fake: started.fake,
        backend: backendOf(async (_, input) => ({ seen: seen.push(input) })),
        strict: false,
      });
      const [place, name] = (sample.route.own ?? '').split('.') as ['params' | 'query' | 'body', string];
      const named = (did: string) => {
        const input = { ...sample, [place]: { ...sample[place], [name]: did } };
        const search = new URLSearchParams(input.query).toString();
        const path = sample.route.path.replaceAll(/\{(\w+)\}/g, (_, param: string) => input.params[param] ?? '');
        return { ...input, path: search === '' ? path : `${path}?${search}` };
      };
      expect((await askAs(other, named(SAMPLE.other), own)).code).toBe('forbidden');
      expect(seen).toEqual([]);
      expect((await askAs(other, named(SAMPLE.did), own)).status).toBe(200);
      expect((await askAs(other, named(SAMPLE.other))).status, 'the operator may').toBe(200);
      if (place === 'params') return;
      expect((await askAs(other, sample, own)).status).toBe(200);
      expect(seen.at(-1), operationId).toMatchObject({ [place]: { [name]: SAMPLE.did } });
    },
  );

  test('a token counts no longer once it is forgotten', async () => {
    const token = started.fake.issueToken(SAMPLE.did);
    expect((await ask(started, '/v1/roots', { token })).status).toBe(200);
    started.fake.forgetToken(token);
    expect((await ask(started, '/v1/roots', { token })).code).toBe('unauthorized');
  });

  test('over TCP nothing is told of what is there without a token', async () => {
    for (const path of ['/v1/nothing', '/', '/openapi.json', '/livez', '/v1/events']) {
      expect((await ask(tcp(), path)).code, path).toBe('unauthorized');
    }
  });

  test.each([
    ['another host name', { host: 'attacker.example' }],
    ['the right name with another port', { host: '127.0.0.1:1' }],
    ['a page of another site', { origin: 'https://attacker.example' }],
    ['a page that hides where it is from', { origin: 'null' }],
  ])('over TCP %s is refused, whatever the token', async (_, headers) => {
    expect((await ask(tcp(), '/livez', { token: own, headers })).code).toBe('forbidden');
    expect((await ask(started, '/livez', { headers })).status, 'the unix socket has no names').toBe(200);
  });

  test.each(['127.0.0.1', 'localhost', '[::1]'])('over TCP a page of %s itself may call with a token', async (name) => {
    const host = `${name}:${tcp().port}`;
    expect((await ask(tcp(), '/livez', { token: own, headers: { host, origin: `http://${host}` } })).status).toBe(200);
  });

  test('a port is opened on loopback only', async () => {
    await expect(startServer({ tcp: { host: '0.0.0.0' as '127.0.0.1', port: 0 } })).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });
});

describe('requests', () => {
  let started: Started;
  const calls: unknown[] = [];
  beforeAll(async () => {
    started = await startServer({
      backend: backendOf(async (operationId, input) => ({ calls: calls.push([operationId, input]) })),
      strict: false,
    });
  });
  afterAll(() => started[Symbol.asyncDispose]());
  const refused = async (path: string, asked: Parameters<typeof ask>[2]): Promise<[number, string | undefined]> => {
    const before = calls.length;
    const { status, code } = await ask(started, path, asked);
    expect(calls.length, 'nothing reached the backend').toBe(before);
    return [status, code];
  };
  const good = { contact: 'alice@company.com' };

  test.each([
    ['an unknown member', { ...good, admin: true }],
    ['a member missing', {}],
    ['a wrong type', { contact: 1 }],
    ['a list', [good]],
    ['null', 'null'],
    ['no JSON', '{"contact":'],
    ['nothing at all', ''],
    ['a member twice', '{"contact":"a@b.example","contact":"c@d.example"}'],
    ['a poisoned prototype', '{"contact":"a@b.example","__proto__":{"admin":true}}'],
    ['a poisoned constructor', '{"contact":"a@b.example","constructor":{"prototype":{"admin":true}}}'],
    ['nesting', `{"contact":${'['.repeat(5_000)}${']'.repeat(5_000)}}`],
    ['bytes that are not UTF-8', Uint8Array.of(0x22, 0xff, 0x22)],
    ['half a surrogate pair', '{"contact":"a@b.example","name":"\\ud800"}'],
    ['an inherited name as a member', '{"contact":"a@b.example","toString":1}'],
  ])('%s as a body is a bad_request', async (_, body) => {
    expect(await refused('/v1/sponsors', { method: 'POST', body })).toEqual([400, 'bad_request']);
  });

  test.each([
    [
      'a body where none is taken',
      '/v1/agents',
      { method: 'POST', body: {}, headers: { 'content-type': 'text/plain' } },
    ],
    [
      'a form',
      '/v1/sponsors',
      { body: 'contact=a%40b.example', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    ],
    ['no content type', '/v1/sponsors', { body: JSON.stringify(good), headers: { 'content-type': '' } }],
    ['an empty object where no body is taken', `/v1/agents/${SAMPLE.did}/suspend`, { body: {} }],
    ['a query that the route does not know', '/v1/status?verbose=1', {}],
    ['a query twice', `/v1/chains?root=${SAMPLE.organisation}&root=${SAMPLE.organisation}`, {}],
    ['an address that is empty', '/v1/agents/', {}],
    ['an address longer than any', `/v1/agents/${'a'.repeat(1000)}`, {}],
    ['an address that is no DID', '/v1/agents/did:mesh:x', {}],
    ['a DID with a letter changed', `/v1/agents/${SAMPLE.did.slice(0, -1)}1`, {}],
    ['a path that is not percent-encoded right', '/v1/agents/%zz', {}],
  ] as const)('%s is a bad_request', async (_, path, asked) => {
    expect(await refused(path, asked)).toEqual([400, 'bad_request']);
  });

  test.each([
    ['an unknown path', '/v1/unknown', {}],
    ['a path in capitals', '/V1/AGENTS', {}],
    ['the way up', '/v1/agents/../status', {}],
  ])('%s is no route', async (_, path, asked) => {
    expect(await refused(path, asked)).toEqual([404, 'no_route']);
  });

  test('a method that the table does not have is no route, HEAD and OPTIONS too', async () => {
    for (const path of new Set(SAMPLES.map(({ route }) => route.path))) {
      const rows = SAMPLES.filter(({ route }) => route.path === path);
      const known = rows.map(({ route }) => route.method as string);
      for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']) {
        if (known.includes(method)) continue;
        expect((await ask(started, rows[0]?.path ?? '', { method })).status, `${method} ${path}`).toBe(404);
      }
    }
  });

  test('a body of more than 96 KiB is too_large, announced or not', async () => {
    const body = JSON.stringify({ ...good, name: 'x'.repeat(100_000) });
    expect(await refused('/v1/sponsors', { body })).toEqual([413, 'too_large']);
    const chunked = await new Promise<string>((settle, fail) => {
      const socket = createConnection(started.socketPath);
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('close', () => settle(text));
      socket.on('error', fail);
      socket.write(
        'POST /v1/sponsors HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
      );
      socket.write(`${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`);
      setTimeout(() => socket.end(), 200);
    });
    expect(chunked).toContain('HTTP/1.1 413');
    expect(chunked).toContain('"code":"too_large"');
  });

  test('what is not HTTP, and a head larger than any, are problems too', async () => {
    const send = (text: string): Promise<string> =>
      new Promise((settle, fail) => {
        const socket = createConnection(started.socketPath, () => socket.write(text));
        let answer = '';
        socket.on('data', (chunk) => (answer += chunk.toString()));
        socket.on('close', () => settle(answer));
        socket.on('error', fail);
      });
    expect(await send('\x16\x03\x01\x02\x00')).toMatch(/^HTTP\/1\.1 400 [^]*"code":"bad_request"/);
    expect(await send(`GET /livez HTTP/1.1\r\nx: ${'a'.repeat(10_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 413 [^]*"code":"too_large"/,
    );
  });

  test('the answer is JSON that nobody keeps or guesses at', async () => {
    const { headers } = await ask(started, '/v1/roots');
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
  });
});

describe('problems', () => {
  const failing = (error: Error): Partial<Parameters<typeof startServer>[0]> => ({
    backend: backendOf(() => Promise.reject(error)),
    strict: false,
  });

  test.each(Object.keys(ERRORS) as ErrorCode[])(
    '%s has its status, and detail and data as they were thrown',
    async (code) => {
      await using started = await startServer(
        failing(new MeshError(code, 'Cannot do it: because', { did: 'did:mesh:x', is: 1 })),
      );
      const { status, headers, json } = await ask(started, '/v1/status');
      expect(status).toBe(HTTP_STATUS[code]);
      expect(headers['content-type']).toBe('application/problem+json');
      const told =
        code === 'internal'
          ? { detail: expect.stringContaining('whose log holds'), data: {} }
          : { detail: 'Cannot do it: because', data: { did: 'did:mesh:x', is: 1 } };
      expect(json).toEqual({ type: `urn:agentmesh:error:${code}`, title: ERRORS[code], status, code, ...told });
    },
  );

  test('an error without a code tells nothing of itself, but the log has it', async () => {
    const secret = new TypeError('cannot read seed c2VjcmV0');
    await using started = await startServer(failing(secret));
    const { status, code, text } = await ask(started, '/v1/status');
    expect([status, code]).toEqual([500, 'internal']);
    expect(text).not.toContain('c2VjcmV0');
    expect(started.logged).toContainEqual({
      level: 'error',
      facts: { operationId: 'status', err: secret },
      message: expect.any(String),
    });
  });

  test('data that JSON cannot say does not hide the code', async () => {
    const data: Record<string, unknown> = { big: 1n };
    await using started = await startServer(failing(new MeshError('not_found', 'Cannot find it', data)));
    expect((await ask(started, '/v1/status')).json).toMatchObject({ code: 'not_found', data: {} });
  });

  test('a strict server does not let through a code or an answer that the table does not have', async () => {
    await using codes = await startServer({ ...failing(new MeshError('score_below', 'Cannot do it')), strict: true });
    expect((await ask(codes, '/v1/status')).code).toBe('internal');
    await using answers = await startServer({
      backend: backendOf(async () => ({ agents: [], secret: 1 })),
      strict: true,
    });
    expect((await ask(answers, '/v1/agents')).code).toBe('internal');
    expect(answers.logged.map(({ level }) => level)).toContain('error');
  });
});

describe('answers of the server itself', () => {
  test('livez, version and the document need no backend', async () => {
    await using started = await startServer();
    expect((await ask(started, '/livez')).json).toEqual({ status: 'ok' });
    expect((await ask(started, '/v1/version')).json).toEqual({ version: '0.1.0', api: 1 });
    const { json } = await ask(started, '/openapi.json');
    expect(json).toMatchObject({ openapi: '3.1.0', info: { version: '0.1.0' } });
    expect(started.fake.calls).toEqual([]);
  });

  test('readyz says which check fails, with status 503', async () => {
    let ok = false;
    await using started = await startServer({
      ready: () => ({ ready: ok, checks: [{ name: 'store', ok, detail: 'opening' }] }),
    });
    expect(await ask(started, '/readyz')).toMatchObject({
      status: 503,
      json: { ready: false, checks: [{ name: 'store', ok: false }] },
    });
    ok = true;
    expect(await ask(started, '/readyz')).toMatchObject({ status: 200, json: { ready: true } });
  });

  test('every path and method of the document is answered by this server', async () => {
    await using started = await startServer({ backend: backendOf(async () => ({})), strict: false });
    const { paths } = (await ask(started, '/openapi.json')).json as {
      paths: Record<string, Record<string, { operationId: OperationId }>>;
    };
    const found = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { operationId }]) => [path, method, operationId] as const),
    );
    expect(found.length).toBe(OPERATION_IDS.length);
    for (const [path, method, operationId] of found) {
      expect([path, method]).toEqual([routeOf(operationId).path, routeOf(operationId).method.toLowerCase()]);
      if (operationId === 'events' || operationId === 'link') continue;
      const sample = SAMPLES.find((one) => one.operationId === operationId);
      const answer = await ask(started, sample?.path ?? '', {
        method: method.toUpperCase(),
        ...(sample?.body === undefined ? {} : { body: sample.body }),
      });
      expect(answer.status, operationId).toBe(200);
    }
  });
});

describe('cancelling and stopping', () => {
  const waiting = (seen: AbortSignal[]): ControlBackend =>
    backendOf(
      (_, __, signal) =>
        new Promise((_settle, fail) => {
          seen.push(signal);
          signal.addEventListener('abort', () => fail(signal.reason as Error));
        }),
    );

  test('a client that goes away cancels its call', async () => {
    const seen: AbortSignal[] = [];
    await using started = await startServer({ backend: waiting(seen) });
    const socket = createConnection(started.socketPath, () =>
      socket.write('GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n'),
    );
    await until(() => seen.length === 1);
    expect(seen[0]?.aborted).toBe(false);
    socket.destroy();
    await until(() => seen[0]?.aborted === true);
    expect(seen[0]?.reason).toMatchObject({ code: 'cancelled' });
  });

  test('a request under way is answered while the server stops; then new ones find nobody', async () => {
    let finish = (): void => {};
    await using started = await startServer({
      backend: backendOf(() => new Promise((settle) => (finish = () => settle({ roots: [] })))),
    });
    const underWay = ask(started, '/v1/roots');
    await until(() => String(finish) !== '() => {}');
    const closed = started.server.close();
    finish();
    expect((await underWay).json).toEqual({ roots: [] });
    await closed;
    await expect(ask(started, '/v1/roots')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a request that does not end is cancelled after stopMs, with read_only', async () => {
    const seen: AbortSignal[] = [];
    await using started = await startServer({ backend: waiting(seen), stopMs: 50 });
    const underWay = ask(started, '/v1/status');
    await until(() => seen.length === 1);
    const before = performance.now();
    await started.server.close();
    expect(performance.now() - before).toBeLessThan(1_500);
    expect((await underWay).code).toBe('read_only');
  });

  test('closing twice, and while a keep-alive connection is idle, takes no time', async () => {
    await using started = await startServer();
    const socket = createConnection(started.socketPath, () => socket.write('GET /livez HTTP/1.1\r\nhost: x\r\n\r\n'));
    await new Promise((settle) => socket.once('data', settle));
    const before = performance.now();
    await Promise.all([started.server.close(), started.server.close()]);
    expect(performance.now() - before).toBeLessThan(1_000);
    socket.destroy();
  });
});

describe('the access log', () => {
  test('says what was asked and how it went, at debug, and nothing that anybody sent', async () => {
    await using started = await startServer();
    const create = await ask(started, '/v1/agents', {
      body: { name: 'logged-agent', sponsor: 'alice@secret.example', capabilities: [{ can: 'read:hidden' }] },
    });
    const { agent, token } = create.json as { agent: { did: string }; token: string };
    await ask(started, `/v1/agents/${agent.did}`, { token, headers: { origin: 'http://secret.example' } });
    await ask(started, '/v1/sponsors', { body: { contact: 'bob@secret.example', bad: 'hidden' } });
    await ask(started, '/v1/agents?hidden=1');
    await until(() => started.logged.length >= 4);
    const lines = started.logged.map((line) => JSON.stringify(line));
    expect(started.logged.every(({ level }) => level === 'debug')).toBe(true);
    expect(started.logged[0]).toEqual({
      level: 'debug',
      facts: { operationId: 'agentCreate', status: 200, durationMs: expect.any(Number), caller: 'operator' },
      message: 'control request',
    });
    for (const secret of ['secret.example', 'hidden', token, agent.did, 'logged-agent', started.socketPath]) {
      expect(lines.filter((line) => line.includes(secret))).toEqual([]);
    }
  });
});
