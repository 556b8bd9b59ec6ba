import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseProxyLine } from '../../../cli/proxy/options.ts';
import { type PeerWorld, runPeerProxy } from '../../../cli/proxy/peer.ts';
import { MeshError } from '../../../protocol/errors.ts';
import * as limits from '../../../protocol/limits.ts';
import { FakeBackend } from '../../daemon/control/fake-backend.ts';
import { FakeLinks, PEER } from '../../daemon/control/fake-links.ts';
import { serveFake } from '../../daemon/control/fake-server.ts';
import { startServer, type Started, until } from '../../daemon/control/start.ts';
import { SAMPLE } from '../../protocol/control/samples.ts';
import { ask } from './http-requests.ts';

let links: FakeLinks;
let fake: FakeBackend;
let started: Started;
beforeEach(async () => {
  links = new FakeLinks();
  links.onMessage = serveFake;
  fake = new FakeBackend();
  started = await startServer({ fake, links: links.open, linkOptions: { checkMs: 20 } });
});
afterEach(() => started[Symbol.asyncDispose]());

const PEER_WORDS = ['--peer', PEER.did, '--server', 'files'];

function run(words: readonly string[] = PEER_WORDS, env: Readonly<Record<string, string>> = {}) {
  const line = parseProxyLine(['proxy', ...words]);
  if (line === undefined) throw new Error(`not understood: ${words.join(' ')}`);
  const input = new PassThrough();
  const output = new PassThrough();
  let told = '';
  let signal: (name: 'SIGTERM') => void = () => undefined;
  const world: PeerWorld = {
    env: { AGENTMESH_SOCKET: started.socketPath, AGENTMESH_AGENT_TOKEN: fake.issueToken(SAMPLE.did), ...env },
    cwd: '/',
    input,
    output,
    errors: { write: (text) => (told += text.toString()) },
    onSignal: (call) => (signal = call),
  };
  const exit = runPeerProxy(line, world);
  exit.catch(() => undefined); // looked at by each test
  let text = '';
  return {
    exit,
    input,
    output,
    told: () => told,
    signal: () => signal('SIGTERM'),
    lines: () => {
      text += (output.read() as Buffer | null)?.toString() ?? '';
      return text
        .split('\n')
        .slice(0, -1)
        .map((one) => JSON.parse(one) as { id?: unknown; error?: unknown; result?: unknown });
    },
  };
}
const echo = (id: number): string =>
  `${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo', arguments: { text: 'hi' } } })}\n`;

test('carries lines both ways, and nothing of what the daemon says beside them', async () => {
  const proxy = run();
  proxy.input.write(`${echo(1)}\n${echo(2)}`);
  await until(() => proxy.lines().length === 2);
  expect(proxy.lines().map(({ id }) => id)).toEqual([1, 2]);
  expect(links.last.received).toEqual([echo(1).trim(), echo(2).trim()]);
  proxy.input.end(echo(3).trim());
  expect(await proxy.exit).toBe(0);
  expect(proxy.lines().map(({ id }) => id)).toEqual([1, 2, 3]);
  expect(proxy.told()).toContain(`Linked to "files" of ${PEER.did}, organisation ${PEER.organisation}`);
  expect(proxy.told()).not.toContain('receipt');
});

test('asks for what its flags say, under "strict" unless another policy is named', async () => {
  const proxy = run([
    ...PEER_WORDS,
    '--grant',
    SAMPLE.id,
    '--purpose',
    'billing',
    '--min-score',
    '400',
    '--approval-wait',
    '7',
  ]);
  await until(() => links.opened.length === 1);
  const { policies = [], ...wanted } = links.last.wanted;
  const rest = { grant: SAMPLE.id, purpose: 'billing', minScore: 400, approvalWaitMs: 7_000 };
  expect(wanted).toEqual({ did: PEER.did, server: 'files', as: SAMPLE.did, ...rest });
  expect(policies).toHaveLength(1);
  const other = run([...PEER_WORDS, '--policy', 'moderate']);
  await until(() => links.opened.length === 2);
  expect(links.last.wanted.policies).not.toEqual(policies);
  expect(links.last.wanted).toMatchObject({ approvalWaitMs: 45_000 });
  for (const one of [proxy, other]) one.input.end();
  expect(await Promise.all([proxy.exit, other.exit])).toEqual([0, 0]);
});

test('ends with the link, with its code and reason', async () => {
  const proxy = run();
  await until(() => links.opened.length === 1);
  links.last.events.ended('revoked', 'Cannot go on: the chain was \u001b[31mrevoked');
  expect(await proxy.exit).toBe(3);
  expect(proxy.told()).toContain('The link ended (revoked): Cannot go on: the chain was �[31mrevoked');
  const other = run();
  await until(() => links.opened.length === 2);
  await started.server.close();
  expect(await other.exit).toBe(1);
  expect(other.told()).toContain('The link ended (closed)');
});

test('fails with the code that kept the link from opening', async () => {
  links.before = async () => {
    throw new MeshError('caps_insufficient', 'Cannot call: nothing was granted');
  };
  await expect(run().exit).rejects.toMatchObject({ code: 'caps_insufficient' });
  await expect(run(PEER_WORDS, { AGENTMESH_SOCKET: '/nonexistent/x.sock' }).exit).rejects.toMatchObject({
    code: 'not_running',
  });
});

test('ends with a signal, before the link is open too', async () => {
  const proxy = run();
  await until(() => links.opened.length === 1);
  proxy.signal();
  expect(await proxy.exit).toBe(143);
  await until(() => started.server.links === 0);
  links.before = () => new Promise(() => undefined);
  const early = run();
  await until(() => links.signals.length === 2);
  early.signal();
  expect(await early.exit).toBe(143);
});

test('ends when nobody reads any more', async () => {
  const proxy = run();
  await until(() => links.opened.length === 1);
  proxy.output.destroy(new Error('EPIPE'));
  expect(await proxy.exit).toBe(0);
  await until(() => started.server.links === 0);
});

describe('with --listen', () => {
  const listening = async (proxy: ReturnType<typeof run>): Promise<string> => {
    await until(() => proxy.told().includes('Serving MCP at'));
    return /Serving MCP at (\S+)/.exec(proxy.told())?.[1] ?? '';
  };
  const INIT = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } },
  };

  test('serves HTTP, with a link for each session, which ends with it', async () => {
    const proxy = run([...PEER_WORDS, '--listen', '127.0.0.1:0']);
    const url = await listening(proxy);
    expect(proxy.told()).toContain(`Linked to "files" of ${PEER.did}`);
    await until(() => started.server.links === 0); // the first was a look
    const begun = await Promise.all([ask(url, { body: INIT }), ask(url, { body: INIT })]);
    expect(begun.map(({ status }) => status)).toEqual([200, 200]);
    const ids = begun.map(({ headers }) => headers['mcp-session-id']);
    expect(new Set(ids).size).toBe(2);
    expect([links.opened.length, started.server.links]).toEqual([3, 2]);
    const tools = await ask(url, {
      body: { jsonrpc: '2.0', id: 2, method: 'tools/list' },
      headers: { 'mcp-session-id': ids[0] },
    });
    expect(tools.events.at(-1)?.data ?? tools.text).toContain('"name":"a"');
    expect((await ask(url, { method: 'DELETE', headers: { 'mcp-session-id': ids[0] } })).status).toBe(200);
    await until(() => started.server.links === 1);
    links.last.events.ended('revoked', 'Cannot go on: the chain was revoked');
    await until(() => started.server.links === 0);
    const gone = await ask(url, { body: INIT, headers: { 'mcp-session-id': ids[1] } });
    expect(gone.status).toBe(404);
    proxy.signal();
    expect(await proxy.exit).toBe(143);
    expect(started.server.links).toBe(0);
  });

  test('tells a client why it has no link, and whoever starts it', async () => {
    const proxy = run([...PEER_WORDS, '--listen', '127.0.0.1:0']);
    const url = await listening(proxy);
    links.before = async () => {
      throw new MeshError('caps_insufficient', 'Cannot call: nothing was granted');
    };
    const refused = await ask(url, { body: INIT });
    expect(refused.events.at(-1)?.data ?? refused.text).toContain('nothing was granted');
    await expect(run([...PEER_WORDS, '--listen', '127.0.0.1:0']).exit).rejects.toMatchObject({
      code: 'caps_insufficient',
    });
    proxy.signal();
    expect(await proxy.exit).toBe(143);
  });
});

test('answers a message that is too long itself, and goes on', async () => {
  const proxy = run();
  proxy.input.write(Buffer.alloc(limits.MCP_MESSAGE_BYTES_MAX + 1, 'a'));
  await until(() => proxy.lines().length === 1);
  expect(proxy.lines()[0]).toMatchObject({ id: null, error: { code: -32600 } });
  proxy.input.end(`\n${echo(1)}`);
  expect(await proxy.exit).toBe(0);
  expect(proxy.lines()[1]?.id).toBe(1);
});

test.each([
  [['--', 'node', 'x.js'], /Cannot start a program/],
  [['--target', 'node'], /--target/],
  [['--url', 'https://example.com'], /--url/],
  [['--token-file', 'x'], /--token-file without --listen/],
  [['--allow-host', 'x'], /--allow-host without --listen/],
  [['--listen', 'somewhere'], /Cannot listen/],
  [['--header-env', 'A=B'], /--header-env/],
  [['--footer'], /--footer/],
  [['--no-daemon'], /--no-daemon/],
  [['--min-score', '1001'], /--min-score/],
  [['--approval-wait', 'long'], /--approval-wait/],
])('is refused with %j', async (words, message) => {
  await expect(run([...PEER_WORDS.slice(0, 4), ...words]).exit).rejects.toThrow(message);
  expect(links.signals).toEqual([]);
});

test('wants the name of the server', async () => {
  await expect(run(['--peer', PEER.did]).exit).rejects.toThrow(/--server/);
});
