/** What HTTP adds to the bypass corpus: headers against bodies, media types, framing, pages of others, sessions. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Deed } from './bypass-server.ts';
import { type HttpTarget, openHttp, openListening, type World } from './bypass/run.ts';
import { call, request } from './bypass/trick.ts';

const SLOW = { timeout: 60_000 };
const IDLE_MS = 400; // that a connection stays silent before it is given up

let world: World;
let policies: readonly (readonly [string, string])[];
let openPolicy: string;
beforeAll(() => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-bypass-')));
  world = { directory, open: join(directory, 'open'), closed: join(directory, 'closed') };
  mkdirSync(world.open);
  const write = (name: string, text: string): string => {
    const file = join(directory, `${name}.yaml`);
    writeFileSync(file, `version: "1.0"\n${text}`);
    return file;
  };
  const condition = (text: string): string => `condition: "${text}"`;
  policies = [
    [
      'deny',
      write(
        'deny',
        `default: allow\nrules:\n  - { name: no-delete, action: deny, ${condition("tool.name == 'delete_file'")} }\n`,
      ),
    ],
    [
      'allow',
      write('allow', `default: deny\nrules:\n  - { name: mark, action: allow, ${condition("tool.name == 'mark'")} }\n`),
    ],
  ];
  openPolicy = write('open', 'default: allow\n');
});
afterAll(() => rmSync(world.directory, { recursive: true }));

const DELETE = (): string => call('delete_file', {});
const MARK = (): string => call('mark', {});
const base64 = (text: string): string => `=?base64?${Buffer.from(text).toString('base64')}?=`;
const JSON_HEADERS = 'Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n';

type Send = (target: HttpTarget) => Promise<unknown>;
const post =
  (body: () => string | Uint8Array, headers: Readonly<Record<string, string | readonly string[]>> = {}): Send =>
  (target) =>
    target.post(body(), headers);
const raw =
  (write: (host: string) => string): Send =>
  ({ port }) =>
    exchange(port, write(`127.0.0.1:${port}`));

/** All that comes back until nothing more does. */
function exchange(port: number, text: string): Promise<string> {
  return new Promise((settle) => {
    const socket = connect(port, '127.0.0.1');
    let back = '';
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('data', (chunk: Buffer) => (back += chunk.toString()));
    socket.on('error', () => undefined); // told by close
    socket.on('close', () => settle(back));
    socket.write(Buffer.from(text, 'latin1'));
  });
}

const message = (host: string, line: string, body: string, headers = ''): string =>
  `${line} HTTP/1.1\r\nHost: ${host}\r\n${JSON_HEADERS}${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const chunked = (body: string): string => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
const framed = (host: string, headers: string, body: string): string =>
  `POST /mcp HTTP/1.1\r\nHost: ${host}\r\n${JSON_HEADERS}${headers}\r\n${body}`;

const TRICKS: Readonly<Record<string, Send>> = {
  // Headers that some route by, and bodies that others act on
  'the tool in the header alone': post(MARK, { 'mcp-name': 'delete_file' }),
  'method and tool in headers, a ping in the body': post(() => request('ping', {}), {
    'mcp-method': 'tools/call',
    'mcp-name': 'delete_file',
  }),
  'the tool in the header, encoded': post(MARK, { 'mcp-name': base64('delete_file') }),
  'the tool in the second of two headers': post(MARK, { 'mcp-name': ['mark', 'delete_file'] }),
  'the tool in a list in one header': post(MARK, { 'mcp-name': 'mark, delete_file' }),
  'the tool in the header, space before it': post(MARK, { 'mcp-name': '\tdelete_file' }),
  'method and tool in headers, a notification in the body': post(
    () => '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    { 'mcp-method': 'tools/call', 'mcp-name': 'delete_file' },
  ),
  'a later version in the header': post(DELETE, { 'mcp-protocol-version': '2026-07-28' }),
  'an unknown version in the header': post(DELETE, { 'mcp-protocol-version': '9999-01-01' }),
  'headers that repeat the body': post(DELETE, { 'mcp-method': 'tools/call', 'mcp-name': 'delete_file' }),
  'another method by X-HTTP-Method-Override': post(DELETE, { 'x-http-method-override': 'DELETE' }),
  'the session of nobody': post(DELETE, { 'mcp-session-id': 'nobody' }),
  'a session by a list': post(DELETE, { 'mcp-session-id': ['a', 'b'] }),
  // Media
  'as plain text': post(DELETE, { 'content-type': 'text/plain' }),
  'as a form': post(DELETE, { 'content-type': 'application/x-www-form-urlencoded' }),
  'as a sequence of JSON': post(() => `\u001e${DELETE()}`.slice(1), { 'content-type': 'application/json-seq' }),
  'in UTF-16, as it says': post(() => Buffer.from(DELETE(), 'utf16le'), {
    'content-type': 'application/json; charset=utf-16',
  }),
  'in UTF-16, and does not say so': post(() => Buffer.from(DELETE(), 'utf16le')),
  'another charset that it is not in': post(DELETE, { 'content-type': 'application/json; charset=utf-7' }),
  'in gzip': post(() => gzipSync(DELETE()), { 'content-encoding': 'gzip' }),
  'in deflate': post(() => deflateSync(DELETE()), { 'content-encoding': 'deflate' }),
  // Pages of others (DNS rebinding)
  'for another host': post(DELETE, { host: 'evil.example' }),
  'from a page of another': post(DELETE, { origin: 'https://evil.example' }),
  'from a page of nobody': post(DELETE, { origin: 'null' }),
  // Lines and framing
  'by PUT': raw((host) => message(host, 'PUT /mcp', DELETE())),
  'by GET, with a body': raw((host) => message(host, 'GET /mcp', DELETE())),
  'by DELETE, with a body': raw((host) => message(host, 'DELETE /mcp', DELETE())),
  'at another path': raw((host) => message(host, 'POST /mcp/../x', DELETE())),
  'at an encoded path': raw((host) => message(host, 'POST /%6dcp', DELETE())),
  'at an absolute address': raw((host) => message(host, `POST http://${host}/mcp`, DELETE())),
  'with a query': raw((host) => message(host, 'POST /mcp?x=/mcp', DELETE())),
  chunked: raw((host) => framed(host, 'Transfer-Encoding: chunked\r\n', chunked(DELETE()))),
  'chunked, with extensions': raw((host) => {
    const body = DELETE();
    return framed(
      host,
      'Transfer-Encoding: chunked\r\n',
      `${body.length.toString(16)};a=b\r\n${body}\r\n0\r\nMcp-Name: mark\r\n\r\n`,
    );
  }),
  'of two lengths': raw((host) =>
    framed(host, `Content-Length: 5\r\nContent-Length: ${DELETE().length}\r\n`, DELETE()),
  ),
  'chunked and with a length': raw((host) =>
    framed(host, 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', chunked(DELETE())),
  ),
  'chunked in another spelling': raw((host) =>
    framed(host, 'Transfer-Encoding: xchunked, chunked\r\n', chunked(DELETE())),
  ),
  'a request behind a request': raw(
    (host) => message(host, 'POST /mcp', MARK()) + message(host, 'POST /mcp', DELETE()),
  ),
  'a request behind a body that is too short': raw((host) => {
    const second = message(host, 'POST /mcp', DELETE());
    return framed(host, 'Content-Length: 0\r\nX: ', '') + second;
  }),
  'a request in the body of one with both lengths': raw((host) => {
    const second = message(host, 'POST /mcp', DELETE());
    return framed(host, `Content-Length: ${second.length + 5}\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${second}`);
  }),
  'a request behind one that waits for 100': raw((host) =>
    framed(host, `Expect: 100-continue\r\nContent-Length: ${MARK().length}\r\n`, message(host, 'POST /mcp', DELETE())),
  ),
  'line feeds alone': raw((host) => message(host, 'POST /mcp', DELETE()).replaceAll('\r\n', '\n')),
  'folded headers': raw((host) =>
    framed(host, `Mcp-Name:\r\n delete_file\r\nContent-Length: ${MARK().length}\r\n`, MARK()),
  ),
  'HTTP/1.0': raw((host) => message(host, 'POST /mcp', DELETE()).replace('HTTP/1.1', 'HTTP/1.0')),
};

const isDelete = (deed: Deed): boolean => deed.did === 'tool' && deed.name === 'delete_file';

test('no trick of HTTP gets past a policy', SLOW, async () => {
  const runs = [['direct', undefined], ...policies] as const;
  const table = await Promise.all(
    runs.map(async ([name, policy]) => {
      const proxy = policy === undefined ? undefined : ['--no-daemon', '--policy', policy];
      await using target = await openHttp({ world, like: 'python', proxy });
      const done = new Map<string, boolean>();
      for (const [trick, send] of Object.entries(TRICKS)) {
        await send(target);
        done.set(trick, target.deeds().some(isDelete));
      }
      // Still there, and still at work.
      expect((await target.post(MARK())).body).toMatch(/did mark/);
      expect(target.deeds()).toEqual([{ did: 'tool', name: 'mark' }]);
      return [name, done] as const;
    }),
  );
  const columns = new Map(table);
  const ran = (run: string, trick: string): boolean => columns.get(run)?.get(trick) === true;
  const names = Object.keys(TRICKS);
  const row = (trick: string): string =>
    `${trick.padEnd(58)} ${runs.map(([run]) => (ran(run, trick) ? 'executed' : 'not').padEnd(9)).join(' ')}`;
  console.log(
    [`Bypass corpus of HTTP: ${names.length} tricks (direct, deny list, allow list)`, ...names.map(row)].join('\n'),
  );
  expect(names.filter((trick) => ran('direct', trick)).length).toBeGreaterThan(names.length * 0.7);
  expect(names.filter((trick) => ran('deny', trick) || ran('allow', trick))).toEqual([]);
});

const INITIALIZE = (): string =>
  request('initialize', {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
  });

async function begin(target: HttpTarget): Promise<string> {
  const { headers } = await target.post(INITIALIZE());
  const id = headers['mcp-session-id'];
  if (typeof id !== 'string') throw new Error('no session');
  return id;
}

test('sessions are of those who have their ids, and end', SLOW, async () => {
  await using target = await openListening({ world, like: 'python', proxy: ['--no-daemon', '--policy', openPolicy] });
  const [a, b] = [await begin(target), await begin(target)];
  expect(a).not.toBe(b);
  expect(await target.post(MARK(), { 'mcp-session-id': a })).toMatchObject({ status: 200 });
  target.deeds();
  const ids = [
    '',
    'x',
    a.slice(0, -1),
    `${a} `.trim().toUpperCase(),
    `${a},${b}`,
    `${a}0`,
    '00000000-0000-4000-8000-000000000000',
  ];
  for (const id of ids)
    expect([id, (await target.post(DELETE(), { 'mcp-session-id': id })).status]).toEqual([id, expect.any(Number)]);
  await target.post(DELETE());
  await target.post(DELETE(), { 'mcp-session-id': [a, b] });
  expect(target.deeds()).toEqual([]);
  await exchange(target.port, `DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nMcp-Session-Id: ${a}\r\n\r\n`);
  expect(await target.post(DELETE(), { 'mcp-session-id': a })).toMatchObject({ status: 404 });
  expect(target.deeds()).toEqual([]);
  expect(await target.post(DELETE(), { 'mcp-session-id': b })).toMatchObject({ status: 200 });
  expect(target.deeds()).toHaveLength(1); // it does work for who has it
});

test('what a server asks one client, another does not answer, and does not see', SLOW, async () => {
  await using target = await openListening({ world, like: 'python', proxy: ['--no-daemon', '--policy', openPolicy] });
  const [a, b] = [await begin(target), await begin(target)];
  const asked = target.post(call('ask', { how: 'roots/list' }), { 'mcp-session-id': a });
  await expect.poll(() => target.deeds().some((deed) => deed.did === 'tool')).toBe(true);
  const answer = '{"jsonrpc":"2.0","id":"ask","result":{"roots":[{"uri":"file:///"}]}}';
  await target.post(answer, { 'mcp-session-id': b });
  await target.post(answer);
  const seen = exchange(
    target.port,
    `GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nAccept: text/event-stream\r\nMcp-Session-Id: ${b}\r\nLast-Event-ID: 1\r\n\r\n`,
  );
  expect(await seen).not.toMatch(/roots\/list/);
  expect((await asked).body).toMatch(/asked/);
  expect(target.deeds()).toEqual([]);
});

test('with a token, nobody comes in without it, whatever session they name', SLOW, async () => {
  const token = 't'.repeat(40);
  const file = join(world.directory, 'token');
  writeFileSync(file, token, { mode: 0o600 });
  await using target = await openListening({
    world,
    like: 'python',
    proxy: ['--no-daemon', '--policy', openPolicy, '--token-file', file],
  });
  const authorization = `Bearer ${token}`;
  const { headers } = await target.post(INITIALIZE(), { authorization });
  const session = { 'mcp-session-id': String(headers['mcp-session-id']) };
  for (const wrong of [
    undefined,
    '',
    'Bearer',
    `Bearer ${token.slice(1)}`,
    `Bearer ${token}x`,
    `Basic ${token}`,
    token,
  ])
    expect(
      (await target.post(DELETE(), { ...session, ...(wrong !== undefined && { authorization: wrong }) })).status,
    ).toBe(401);
  expect(
    (await target.post(DELETE(), { ...session, authorization: [authorization, 'Bearer x'] })).status,
  ).toBeGreaterThan(399);
  expect(target.deeds()).toEqual([]);
  expect((await target.post(DELETE(), { ...session, authorization })).status).toBe(200);
  expect(target.deeds()).toEqual([{ did: 'tool', name: 'delete_file' }]);
});
