import { createConnection, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { limits, MeshError } from '../../../protocol/index.ts';
import { SAMPLE } from '../../protocol/control/samples.ts';
import { FakeBackend } from './fake-backend.ts';
import { FakeLinks, never, PEER } from './fake-links.ts';
import { ask, startServer, type Started, until } from './start.ts';

interface Client {
  readonly socket: Socket;
  /** Of the answer's head. */
  readonly status: () => number;
  /** What came after the head. */
  readonly lines: () => Record<string, unknown>[];
  readonly body: () => string;
  readonly isClosed: () => boolean;
}

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number };
const PATH = `/v1/link?did=${PEER.did}&server=files`;

interface Dialled {
  readonly query?: string;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent with the head. */
  readonly early?: string;
  readonly isReading?: boolean;
}

function dial(where: Where, { query = '', token, headers = {}, early = '', isReading = true }: Dialled = {}): Client {
  const socket = 'port' in where ? createConnection(where.port, where.host) : createConnection(where.socketPath);
  sockets.push(socket);
  let text = '';
  let isClosed = false;
  if (isReading) socket.on('data', (chunk) => (text += chunk.toString()));
  socket.on('error', () => undefined); // cut connections are what some tests are about
  socket.on('close', () => (isClosed = true));
  const all = {
    host: 'port' in where ? `${where.host}:${where.port}` : 'localhost',
    connection: 'Upgrade',
    upgrade: 'agentmesh-link',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...headers,
  };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET ${PATH}${query} HTTP/1.1\r\n${head.join('')}\r\n${early}`);
  const body = (): string => (text.includes('\r\n\r\n') ? text.slice(text.indexOf('\r\n\r\n') + 4) : '');
  return {
    socket,
    status: () => Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0),
    lines: () =>
      body()
        .split('\n')
        .slice(0, -1)
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    body,
    isClosed: () => isClosed,
  };
}

async function opened(where: Where, options: Dialled = {}): Promise<Client> {
  const client = dial(where, options);
  await until(() => client.lines().length > 0);
  expect(client.status()).toBe(101);
  return client;
}

async function refused(where: Where, options: Dialled = {}): Promise<[status: number, code: unknown]> {
  const client = dial(where, options);
  await until(client.isClosed);
  const { code, status } = JSON.parse(client.body()) as { code: unknown; status: number };
  expect(status).toBe(client.status());
  return [status, code];
}

const start = async (options: Parameters<typeof startServer>[0] = {}): Promise<Started & { links: FakeLinks }> => {
  const links = new FakeLinks();
  return Object.assign(await startServer({ links: links.open, ...options }), { links });
};
const request = (id: number, text = ''): string =>
  JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo', arguments: { text } } });
const ended = (client: Client): unknown => client.lines().at(-1)?.['agentmesh'];

describe('GET /v1/link', () => {
  test('says first who is there, then carries lines both ways as they are', async () => {
    await using started = await start();
    const client = await opened(started);
    const { last } = started.links;
    expect(client.lines()).toEqual([{ agentmesh: { type: 'opened', ...last.info } }]);
    expect(started.server.links).toBe(1);
    client.socket.write(`${request(1)}\n\n${request(2).slice(0, 20)}`);
    await until(() => last.received.length === 1);
    client.socket.write(`${request(2).slice(20)}\r\n`);
    await until(() => last.received.length === 2);
    expect(last.received).toEqual([request(1), `${request(2)}\r`]);
    last.say({ jsonrpc: '2.0', id: 1, result: {} });
    const receipt = {
      type: 'receipt',
      request: 1,
      id: SAMPLE.id,
      sid: last.info.sid,
      n: 1,
      out: 'ok',
      half: false,
    } as const;
    last.events.control(receipt);
    await until(() => client.lines().length === 3);
    expect(client.lines().slice(1)).toEqual([{ jsonrpc: '2.0', id: 1, result: {} }, { agentmesh: receipt }]);
  });

  test('takes what came with the head of the request', async () => {
    await using started = await start();
    await opened(started, { early: `${request(1)}\n` });
    await until(() => started.links.last.received.length === 1);
    expect(started.links.last.received).toEqual([request(1)]);
  });

  test('asks for what the query says', async () => {
    await using started = await start();
    const digests = ['5a'.repeat(32), '5b'.repeat(32)];
    const query = `&as=${SAMPLE.did}&grant=${SAMPLE.id}&policies=${digests.join(',')}&purpose=billing&minScore=400&wait=20`;
    await opened(started, { query });
    expect(started.links.last.wanted).toEqual({
      did: PEER.did,
      server: 'files',
      as: SAMPLE.did,
      grant: SAMPLE.id,
      policies: digests,
      purpose: 'billing',
      minScore: 400,
      approvalWaitMs: 20_000,
    });
    await opened(started);
    expect(started.links.last.wanted).toEqual({ did: PEER.did, server: 'files' });
  });

  test.each([
    ['&server=Files', 'server'],
    ['&as=nobody', 'as'],
    ['&policies=abc', 'policies'],
    ['&minScore=1001', 'minScore'],
    ['&wait=3601', 'wait'],
    ['&extra=1', ''],
  ])('is refused with %s in its query', async (query) => {
    await using started = await start();
    expect(await refused(started, { query })).toEqual([400, 'bad_request']);
    expect(started.links.signals).toEqual([]);
  });

  test('is refused without asking for the upgrade, and another upgrade is not taken', async () => {
    await using started = await start();
    const plain = await ask(started, PATH);
    expect([plain.status, plain.code, plain.json['data']]).toEqual([400, 'bad_request', { field: 'upgrade' }]);
    const other = { headers: { connection: 'Upgrade', upgrade: 'h2c' } };
    expect((await ask(started, PATH, other)).code).toBe('bad_request');
    expect((await ask(started, '/livez', other)).status).toBe(200);
    expect((await ask(started, '/v1/agents', { ...other, body: { name: 'a', sponsor: 'b' } })).code).toBe(
      'bad_request',
    );
    expect(started.links.signals).toEqual([]);
  });

  test('is a link at its own address alone', async () => {
    await using started = await start();
    const upgrade = { connection: 'Upgrade', upgrade: 'agentmesh-link' };
    expect((await ask(started, '/livez', { headers: upgrade })).status).toBe(200);
    expect((await ask(started, '/v1/nothing', { headers: upgrade })).code).toBe('no_route');
    expect((await ask(started, '/livez', { headers: upgrade })).headers['connection']).toBe('close');
  });

  test('answers with the problem that kept it from opening, as any route does', async () => {
    await using started = await start();
    started.links.before = async () => {
      throw new MeshError('caps_insufficient', 'Cannot call: nothing was granted', { did: PEER.did });
    };
    const client = dial(started);
    await until(client.isClosed);
    expect(client.status()).toBe(422);
    expect(JSON.parse(client.body())).toMatchObject({
      code: 'caps_insufficient',
      detail: 'Cannot call: nothing was granted',
      data: { did: PEER.did },
    });
    expect(started.server.links).toBe(0);
    expect(started.logged.filter(({ level }) => level !== 'debug')).toEqual([]);
  });
});

describe('whose link it is', () => {
  const startBoth = () => {
    const fake = new FakeBackend();
    const token = fake.issueToken(SAMPLE.did);
    return start({ fake, tcp: { host: '127.0.0.1', port: 0 } }).then((started) => ({
      started,
      token,
      tcp: started.server.tcp ?? { host: '', port: 0 },
      [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
    }));
  };

  test('over TCP it wants a token, a local name and no page of another site', async () => {
    await using both = await startBoth();
    const { tcp, token, started } = both;
    expect(await refused(tcp)).toEqual([401, 'unauthorized']);
    expect(await refused(tcp, { token: 'A'.repeat(43) })).toEqual([401, 'unauthorized']);
    expect(await refused(tcp, { token, headers: { host: 'evil.example' } })).toEqual([403, 'forbidden']);
    expect(await refused(tcp, { token, headers: { origin: 'http://evil.example' } })).toEqual([403, 'forbidden']);
    expect(started.links.signals).toEqual([]);
    await opened(tcp, { token });
    expect(started.links.last.wanted.as).toBe(SAMPLE.did);
  });

  test("an agent's token acts for itself alone; a bad one never as the operator", async () => {
    await using both = await startBoth();
    const { token, started } = both;
    expect(await refused(started, { token, query: `&as=${SAMPLE.other}` })).toEqual([403, 'forbidden']);
    expect(await refused(started, { headers: { authorization: 'Basic YTpi' } })).toEqual([401, 'unauthorized']);
    await opened(started, { token });
    expect(started.links.last.wanted.as).toBe(SAMPLE.did);
    await opened(started, { query: `&as=${SAMPLE.other}` });
    expect(started.links.last.wanted.as).toBe(SAMPLE.other);
    await opened(started);
    expect(started.links.last.wanted.as).toBeUndefined();
  });

  test('it ends with its token, whether somebody says something or not', async () => {
    const fake = new FakeBackend();
    const token = fake.issueToken(SAMPLE.did);
    let isGood = true;
    const tokens = { agentOf: (text: string) => (isGood ? fake.tokens.agentOf(text) : undefined) };
    await using started = await start({ fake, tokens, linkOptions: { checkMs: 20 } });
    const silent = await opened(started, { token });
    const { last } = started.links;
    isGood = false;
    await until(silent.isClosed);
    expect(ended(silent)).toMatchObject({ type: 'ended', code: 'unauthorized' });
    expect(last.isClosed).toBe(true);
    expect(started.server.links).toBe(0);
  });

  test('nothing goes through once its token has ended', async () => {
    const fake = new FakeBackend();
    const token = fake.issueToken(SAMPLE.did);
    let isGood = true;
    const tokens = { agentOf: (text: string) => (isGood ? fake.tokens.agentOf(text) : undefined) };
    await using started = await start({ fake, tokens, linkOptions: { checkMs: 60_000 } });
    const [asking, told] = [await opened(started, { token }), await opened(started, { token })];
    const [first, second] = started.links.opened;
    isGood = false;
    asking.socket.write(`${request(1)}\n`);
    second?.say({ jsonrpc: '2.0', id: 1, result: { secret: true } });
    await until(() => asking.isClosed() && told.isClosed());
    expect(first?.received).toEqual([]);
    expect(told.body()).not.toContain('secret');
    expect([ended(asking), ended(told)]).toMatchObject([{ code: 'unauthorized' }, { code: 'unauthorized' }]);
  });
});

describe('what a link may take', () => {
  test('as many as the bound says are open at once, those that are being opened too', async () => {
    await using started = await start({ linkOptions: { linksMax: 2 } });
    const first = await opened(started);
    started.links.before = never;
    const second = dial(started);
    await until(() => started.links.signals.length === 2);
    expect(await refused(started)).toEqual([429, 'busy']);
    first.socket.destroy();
    second.socket.destroy();
    await until(() => started.server.links === 0);
    started.links.before = async () => undefined;
    await opened(started);
  });

  test('a line beyond the bound is refused without being held, and the next is taken', async () => {
    await using started = await start();
    const client = await opened(started);
    const { last } = started.links;
    client.socket.write(Buffer.alloc(limits.MCP_MESSAGE_BYTES_MAX + 1, 'a'));
    await until(() => client.lines().length === 2);
    expect(client.lines()[1]).toMatchObject({ jsonrpc: '2.0', id: null, error: { code: -32600 } });
    client.socket.write(`\n${request(1)}\n`);
    await until(() => last.received.length === 1);
    expect(last.received).toEqual([request(1)]);
  });

  test('a client is not read while the other side takes no more', async () => {
    await using started = await start();
    started.links.onMessage = (_, link) => {
      link.isFull = true;
    };
    const client = await opened(started);
    const { last } = started.links;
    const line = `${request(1, 'x'.repeat(1024))}\n`;
    const all = 16_384;
    let isSent = false;
    client.socket.write(line.repeat(all), () => (isSent = true));
    await until(() => last.received.length > 0);
    await new Promise((settle) => setTimeout(settle, 100));
    expect(isSent).toBe(false);
    expect(last.receivedBytes).toBeLessThan(1024 * 1024);
    started.links.onMessage = () => undefined;
    last.drain();
    await until(() => last.received.length === all);
    expect(isSent).toBe(true);
  });

  test('the other side is not read while the client does not read, nor is the client', async () => {
    await using started = await start({ linkOptions: { backlogBytesMax: 100_000 } });
    const client = dial(started, { isReading: false });
    await until(() => started.links.opened.length === 1);
    const { last } = started.links;
    const big = { jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x'.repeat(50_000) } };
    await until(() => {
      last.say(big);
      return last.paused.length > 0;
    });
    expect(last.paused).toEqual([true]);
    client.socket.write(`${request(1)}\n`);
    await new Promise((settle) => setTimeout(settle, 50));
    expect(last.received).toEqual([]);
    client.socket.resume();
    await until(() => last.paused.length === 2 && last.received.length === 1);
    expect(last.paused).toEqual([true, false]);
  });
});

describe('how a link ends', () => {
  test('with the core: the last line says why, and nothing comes after it', async () => {
    await using started = await start();
    const client = await opened(started);
    const { last } = started.links;
    last.events.ended('revoked', 'Cannot go on: the chain was revoked');
    last.say({ jsonrpc: '2.0', id: 1, result: {} });
    client.socket.write(`${request(1)}\n`);
    await until(client.isClosed);
    expect(client.lines()).toHaveLength(2);
    expect(ended(client)).toEqual({ type: 'ended', code: 'revoked', message: 'Cannot go on: the chain was revoked' });
    expect(last.received).toEqual([]);
    expect([last.isClosed, started.server.links]).toEqual([true, 0]);
  });

  test('even where that happens before it was told that it is open', async () => {
    const links = new FakeLinks();
    await using started = await startServer({
      links: async (wanted, events, signal) => {
        const link = await links.open(wanted, events, signal);
        events.ended('revoked', 'Cannot go on');
        return link;
      },
    });
    const client = dial(started);
    await until(client.isClosed);
    expect(client.lines().map(({ agentmesh }) => (agentmesh as { type: string }).type)).toEqual(['opened', 'ended']);
    expect(links.last.isClosed).toBe(true);
    expect(started.server.links).toBe(0);
  });

  test('with a client that says nothing more, once all that it asked for is answered', async () => {
    await using started = await start();
    const client = await opened(started);
    const { last } = started.links;
    last.isBusy = true;
    client.socket.end(request(1)); // its line ends with the stream
    await until(() => last.hasClientEnded);
    expect(last.received).toEqual([request(1)]);
    last.say({ jsonrpc: '2.0', id: 1, result: {} });
    await new Promise((settle) => setTimeout(settle, 30));
    expect([client.isClosed(), last.isClosed]).toEqual([false, false]);
    last.settle();
    await until(client.isClosed);
    expect(client.lines().slice(1)).toEqual([
      { jsonrpc: '2.0', id: 1, result: {} },
      { agentmesh: { type: 'ended', code: 'closed', message: expect.any(String) as string } },
    ]);
    expect(started.server.links).toBe(0);
  });

  test.each([false, true])('with a client that is gone (after its last word: %s)', async (hasEnded) => {
    await using started = await start({ linkOptions: { checkMs: 20 } });
    const client = await opened(started);
    const { last } = started.links;
    last.isBusy = true;
    if (hasEnded) {
      client.socket.end();
      await until(() => last.hasClientEnded);
    }
    client.socket.destroy();
    await until(() => last.isClosed && started.server.links === 0);
  });

  test('before it began, where the client leaves', async () => {
    await using started = await start();
    started.links.before = never;
    const client = dial(started);
    await until(() => started.links.signals.length === 1);
    client.socket.end();
    await until(() => started.links.signals[0]?.aborted === true && started.server.links === 0);
    expect(started.links.opened).toEqual([]);
  });

  test('at once where the client left while it was opened by somebody who does not look', async () => {
    await using started = await start();
    const gate = Promise.withResolvers<void>();
    started.links.before = () => gate.promise;
    const client = dial(started);
    await until(() => started.links.signals.length === 1);
    client.socket.destroy();
    await until(() => started.links.signals[0]?.aborted === true);
    gate.resolve();
    await until(() => started.links.opened.length === 1 && started.links.last.isClosed);
    expect(started.server.links).toBe(0);
  });

  test('with the daemon, which tells the clients and does not wait for those that do not read', async () => {
    const started = await start({ linkOptions: { lastMs: 50 } });
    const client = await opened(started);
    const deaf = dial(started, { isReading: false });
    await until(() => started.links.opened.length === 2);
    const { last } = started.links;
    for (let i = 0; i < 100; i++)
      last.say({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x'.repeat(50_000) } });
    started.links.before = never;
    const late = dial(started);
    await until(() => started.links.signals.length === 3);
    const before = performance.now();
    await started.server.close();
    expect(performance.now() - before).toBeLessThan(1_500);
    expect(started.links.opened.every(({ isClosed }) => isClosed)).toBe(true);
    await until(() => client.isClosed() && late.isClosed());
    expect(ended(client)).toMatchObject({ type: 'ended', code: 'closed' });
    expect([late.status(), (JSON.parse(late.body()) as { code: string }).code]).toEqual([503, 'read_only']);
    deaf.socket.destroy();
    await started[Symbol.asyncDispose]();
  });
});
