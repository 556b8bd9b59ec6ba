/** `agentmesh proxy` over HTTP as people run it: the clients of both SDKs, real servers, each side over stdio or HTTP. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client as ModernClient, StreamableHTTPClientTransport as ModernHttp } from '@modelcontextprotocol/client';
import { StdioClientTransport as ModernStdio } from '@modelcontextprotocol/client/stdio';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ask, call, until } from '../cli/proxy/http-requests.ts';
import { json, upstreamWith } from '../cli/proxy/http-upstream.ts';
import { type ConformanceHttpServer, startConformanceServer } from './conformance-server.ts';
import { connectLegacy, type Legacy, legacyTour, modernTour } from './conformance-tours.ts';
import { bareEnv, BIN, EVERYTHING } from './proxy-client.ts';

const CONFORMANCE = [process.execPath, join(import.meta.dirname, 'conformance-server.ts'), 'stdio'];
const SLOW_MS = 30_000;

let directory: string;
let env: Record<string, string>;
let policy: string;
let upstream: ConformanceHttpServer;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'agentmesh-proxy-http-'));
  env = bareEnv(directory);
  policy = join(directory, 'most.yaml');
  writeFileSync(
    policy,
    [
      'version: "1.0"',
      'default: allow',
      'rules:',
      '  - { name: no-audio, condition: "tool.name == \'test_audio_content\'", action: deny }',
      '',
    ].join('\n'),
  );
  upstream = await startConformanceServer();
});
afterAll(async () => {
  await upstream[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

const proxyWords = (...words: readonly string[]): string[] => [
  BIN,
  'proxy',
  '--no-daemon',
  '--policy',
  policy,
  ...words,
];

interface Listening {
  readonly url: string;
  readonly child: ChildProcess;
  readonly said: () => string;
  /** Its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** The command, once it serves. */
async function listen(...words: readonly string[]): Promise<Listening> {
  const child = spawn(process.execPath, proxyWords('--listen', '127.0.0.1:0', ...words), {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended = new Promise<number | null>((settle) => child.once('exit', settle));
  const stop = (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    child.kill(signal);
    return ended;
  };
  opened.push(async () => void (await stop('SIGKILL')));
  await until(() => said.includes('Serving MCP at') || child.exitCode !== null, SLOW_MS);
  const url = /Serving MCP at (\S+)/.exec(said)?.[1];
  if (url === undefined) throw new Error(`it does not serve: ${said}`);
  return { url, child, said: () => said, stop };
}

async function connect(transport: Transport): Promise<Legacy> {
  const connected = await connectLegacy(transport);
  opened.push(() => connected.client.close());
  return connected;
}

const overHttp = (url: string): Transport => new StreamableHTTPClientTransport(new URL(url));
const overStdio = (...words: readonly string[]): Transport =>
  new StdioClientTransport({ command: process.execPath, args: proxyWords(...words), env, stderr: 'ignore' });

/** A tool call's id in the server is of no interest, which SDKs count. */
const DENIED = { isError: true, content: [{ type: 'text', text: expect.stringContaining('no-audio') }] };

test('a client of MCP 2025-11-25 sees the same server directly and through each kind of proxy, but for what is denied', {
  timeout: 2 * SLOW_MS,
}, async () => {
  const direct = await legacyTour(await connect(overHttp(upstream.url)));
  expect(direct).toMatchObject({ progress: [0, 50, 100], asked: ['sampling', 'elicitation'] });
  const tools = (direct['tools'] as string[]).filter((name) => name !== 'test_audio_content');
  expect(tools).toHaveLength((direct['tools'] as string[]).length - 1);
  const [bridge, relay] = await Promise.all([listen('--', ...CONFORMANCE), listen('--url', upstream.url)]);
  for (const transport of [overHttp(bridge.url), overHttp(relay.url), overStdio('--url', upstream.url)]) {
    const connected = await connect(transport);
    expect(await legacyTour(connected)).toEqual({ ...direct, tools });
    expect(await connected.client.callTool({ name: 'test_audio_content', arguments: {} })).toMatchObject(DENIED);
    await connected.client.close();
  }
});

test('a client of MCP 2026-07-28 sees the same server directly and through each kind of proxy, but for what is denied', {
  timeout: 2 * SLOW_MS,
}, async () => {
  const { seen: direct, client: first } = await modernTour(new ModernHttp(new URL(upstream.url)));
  await first.close();
  expect(direct).toMatchObject({ version: '2026-07-28', progress: [0, 50, 100], heard: ['tools'] });
  const tools = (direct['tools'] as string[]).filter((name) => name !== 'test_audio_content');
  const [bridge, relay] = await Promise.all([listen('--', ...CONFORMANCE), listen('--url', upstream.url)]);
  for (const transport of [
    new ModernHttp(new URL(bridge.url)),
    new ModernHttp(new URL(relay.url)),
    new ModernStdio({ command: process.execPath, args: proxyWords('--url', upstream.url), env, stderr: 'ignore' }),
  ]) {
    const { seen, client } = await modernTour(transport);
    // Lists that were filtered for this agent are not for everybody: said of the cache, not shown here.
    expect(seen).toEqual({ ...direct, tools });
    expect(await client.callTool({ name: 'test_audio_content', arguments: {} })).toMatchObject(DENIED);
    await client.close();
  }
});

test('the reference server works over HTTP, and its processes end with their sessions and with the proxy', {
  timeout: SLOW_MS,
}, async () => {
  const proxy = await listen('--', ...EVERYTHING);
  const [a, b] = [await connect(overHttp(proxy.url)), await connect(overHttp(proxy.url))];
  for (const { client } of [a, b]) {
    const { content } = await client.callTool({ name: 'echo', arguments: { message: 'grüße 🚀' } });
    expect(JSON.stringify(content)).toContain('grüße 🚀');
  }
  const children = (): number[] => childrenOf(proxy.child.pid ?? 0);
  await until(() => children().length >= 2);
  const before = children().length;
  await (a.client.transport as StreamableHTTPClientTransport).terminateSession();
  await until(() => children().length < before, SLOW_MS);
  const left = children();
  expect(left.length).toBeGreaterThan(0);
  expect(await proxy.stop()).toBe(143);
  await until(() => left.every((pid) => !isAlive(pid)), SLOW_MS);
});

test('the token of the proxy is asked of clients, the one of the server is sent to it, and none is shown', {
  timeout: SLOW_MS,
}, async () => {
  const [own, theirs] = ['token-of-this-proxy-0123', 'token-of-the-server-4567'];
  const tokenFile = join(directory, 'token');
  writeFileSync(tokenFile, `${own}\n`, { mode: 0o600 });
  await using up = await upstreamWith((got) => json(got, {}));
  env['SERVER_AUTHORIZATION'] = `Bearer ${theirs}`;
  const words = ['--url', up.url, '--header-env', 'Authorization=SERVER_AUTHORIZATION', '--token-file', tokenFile];
  const proxy = await listen(...words);
  const replies = [
    await ask(proxy.url, { body: call(1, 'custom/x') }),
    await ask(proxy.url, { body: call(1, 'custom/x'), headers: { authorization: `Bearer ${theirs}` } }),
    await ask(proxy.url, { body: call(1, 'custom/x'), headers: { authorization: `Bearer ${own}` } }),
  ];
  expect(replies.map(({ status }) => status)).toEqual([401, 401, 200]);
  expect(up.got.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${theirs}`]);
  expect(await proxy.stop()).toBe(143);
  expect(proxy.said() + replies.map(({ text }) => text).join()).not.toMatch(/0123|4567/);
  await expect(ask(proxy.url, { body: call(1, 'custom/x') })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('what a server says of itself is cleaned through each kind of proxy, in both eras', {
  timeout: 2 * SLOW_MS,
}, async () => {
  const token = `ghp_${'a1B2'.repeat(9)}`;
  const lax = join(directory, 'lax.yaml');
  writeFileSync(lax, 'version: "1.0"\ndefault: allow\noutput: { secrets: allow }\n');
  const strict = join(directory, 'strict.yaml');
  writeFileSync(strict, 'version: "1.0"\ndefault: allow\noutput: { secrets: redact }\n');
  const diary = ['--diary', join(directory, 'diary'), '--instructions', `Sign in with ${token}`];
  const server = [process.execPath, join(import.meta.dirname, 'diary-server.ts'), ...diary];
  const open = await listen('--policy', lax, '--', ...server);
  const [bridge, relay] = await Promise.all([
    listen('--policy', strict, '--', ...server),
    listen('--policy', strict, '--url', open.url),
  ]);
  const instructionsOf = async (transport: Transport): Promise<string> =>
    (await connect(transport)).client.getInstructions() ?? '';
  const modernOf = async (transport: ModernHttp | ModernStdio): Promise<string> => {
    const client = new ModernClient(
      { name: 'test', version: '1' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } } },
    );
    await client.connect(transport);
    opened.push(() => client.close());
    return client.getInstructions() ?? '';
  };
  expect(await instructionsOf(overHttp(open.url))).toContain(token);
  const args = proxyWords('--policy', strict, '--', ...server);
  const found = [
    await instructionsOf(overStdio('--policy', strict, '--', ...server)),
    await instructionsOf(overStdio('--policy', strict, '--url', open.url)),
    await instructionsOf(overHttp(bridge.url)),
    await instructionsOf(overHttp(relay.url)),
    await modernOf(new ModernStdio({ command: process.execPath, args, env, stderr: 'ignore' })),
    await modernOf(new ModernHttp(new URL(bridge.url))),
    await modernOf(new ModernHttp(new URL(relay.url))),
  ];
  for (const text of found) expect(text).toMatch(/^Sign in with \[redacted/);
});

/** Without the watchdogs. */
function childrenOf(pid: number): number[] {
  const list = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' });
  return list
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, name]) => Number(parent) === pid && name !== 'sh')
    .map(([child]) => Number(child));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH: there is none
  }
}
