import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { limits, MeshError } from '../../protocol/index.ts';
import { AgentMesh, TrustBridge } from '../../sdk/index.ts';
import { openLink } from '../../sdk/link.ts';
import { FakeBackend } from '../daemon/control/fake-backend.ts';
import { FakeLinks, PEER } from '../daemon/control/fake-links.ts';
import { ENTRY, RECEIPT, serveFake } from '../daemon/control/fake-server.ts';
import { startServer, type Started, until } from '../daemon/control/start.ts';
import { SAMPLE } from '../protocol/control/samples.ts';

let started: Started;
let links: FakeLinks;
let mesh: AgentMesh;
let bridge: TrustBridge;
beforeEach(async () => {
  links = new FakeLinks();
  links.onMessage = serveFake;
  started = await startServer({ links: links.open, linkOptions: { checkMs: 20 } });
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  bridge = new TrustBridge({ mesh });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await bridge.close();
  await started[Symbol.asyncDispose]();
});

const call = (tool: string, args = {}, options: Parameters<TrustBridge['call']>[4] = {}) =>
  bridge.call(PEER.did, 'files', tool, args, options);
const asked = (method: string) =>
  links.opened.flatMap(({ received }) =>
    received
      .map((line) => JSON.parse(line) as { method?: string; params?: unknown; id?: unknown })
      .filter((one) => one.method === method),
  );

describe('TrustBridge.call()', () => {
  test('gives what the tool answered, with its receipt', async () => {
    const { content, isError, receipt, structuredContent, result } = await call(
      'echo',
      { text: 'Grüße' },
      { key: 'k'.repeat(16) },
    );
    expect(content).toEqual([{ type: 'text', text: 'Grüße' }]);
    expect([isError, structuredContent]).toEqual([false, { key: 'k'.repeat(16) }]);
    expect(receipt).toEqual({ id: RECEIPT, out: 'ok', half: false });
    expect(result['content']).toEqual(content);
    expect((await call('late_receipt')).receipt?.id).toBe(RECEIPT);
  });

  test('begins as the standard wants it, once for all calls of one kind, under the policy that lets through', async () => {
    await Promise.all([call('echo'), call('echo')]);
    await call('echo');
    expect(links.opened).toHaveLength(1);
    expect(asked('initialize')[0]?.params).toMatchObject({ protocolVersion: '2025-11-25', capabilities: {} });
    expect(asked('notifications/initialized')).toHaveLength(1);
    const { policies = [] } = links.last.wanted;
    expect(policies).toHaveLength(1);
    expect((await mesh.policies.show(policies[0] ?? '')).policy.name).toBe('permissive');
    await call('echo', {}, { grant: SAMPLE.id, purpose: 'billing', policy: 'strict' });
    expect(links.opened).toHaveLength(2);
    expect(links.last.wanted).toMatchObject({ grant: SAMPLE.id, purpose: 'billing' });
    expect((await mesh.policies.show(links.last.wanted.policies?.[0] ?? '')).policy.name).toBe('strict');
  });

  test('sends a key of its own with each call that brings none', async () => {
    const keys = [await call('echo'), await call('echo')].map(({ structuredContent }) => structuredContent?.['key']);
    expect(keys.every((key) => /^[A-Za-z0-9_-]{22}$/.test(String(key)))).toBe(true);
    expect(new Set(keys).size).toBe(2);
  });

  test("tells a tool's own error from a refusal", async () => {
    const broken = await call('broken');
    expect([broken.isError, broken.content, broken.receipt?.out]).toEqual([
      true,
      [{ type: 'text', text: 'no such file' }],
      'error',
    ]);
    await expect(call('denied')).rejects.toMatchObject({ code: 'policy_denied', data: { rule: 'none', entry: ENTRY } });
    await expect(call('nothing')).rejects.toMatchObject({ code: 'failed', data: { is: -32602 } });
    const key = 'a'.repeat(20);
    await expect(call('unknown_outcome', {}, { key })).rejects.toMatchObject({
      code: 'outcome_unknown',
      data: { key },
    });
  });

  test('says what it waits for, and names the approval to approve only where it is ours', async () => {
    const approval = { id: '0123456789abcdef' };
    await expect(call('waiting', { ours: true })).rejects.toMatchObject({
      code: 'approval_pending',
      data: { approval, id: approval.id },
    });
    const theirs = await call('waiting').catch((error: unknown) => error as MeshError);
    expect(theirs).toMatchObject({ code: 'approval_pending', data: { approval } });
    expect((theirs as MeshError).data.id).toBeUndefined();
  });

  test('passes on progress, and gives up when told to, which the other side is told', async () => {
    const seen: unknown[] = [];
    const controller = new AbortController();
    const waiting = call('slow', {}, { signal: controller.signal, onProgress: (progress) => seen.push(progress) });
    await until(() => seen.length === 1);
    expect(seen).toEqual([{ progress: 1, total: 2, message: 'half' }]);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await expect(call('slow', {}, { timeoutMs: 20, key: 'b'.repeat(16) })).rejects.toMatchObject({
      code: 'timeout',
      data: { key: 'b'.repeat(16) },
    });
    await until(() => asked('notifications/cancelled').length === 2);
    const ids = asked('tools/call').map(({ id }) => id);
    expect(asked('notifications/cancelled').map(({ params }) => (params as { requestId: unknown }).requestId)).toEqual(
      ids,
    );
    await expect(call('echo', {}, { signal: controller.signal })).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('answers what the server asks with an error, and a ping', async () => {
    const waiting = call('asks', {}, { timeoutMs: 5_000 }).catch((error: unknown) => error);
    await until(() => links.opened[0]?.received.some((line) => line.includes('"q1"')) === true);
    expect(JSON.parse(links.last.received.at(-1) ?? '')).toMatchObject({ id: 'q1', error: { code: -32601 } });
    links.last.say({ jsonrpc: '2.0', id: 'p', method: 'ping' });
    await until(() => links.last.received.at(-1)?.includes('"p"') === true);
    expect(JSON.parse(links.last.received.at(-1) ?? '')).toEqual({ jsonrpc: '2.0', id: 'p', result: {} });
    await bridge.close();
    expect(await waiting).toMatchObject({ code: 'outcome_unknown' });
  });

  test('opens a new link after the one before ended, and does not know what became of a call under way', async () => {
    const key = 'c'.repeat(16);
    await expect(call('ends', {}, { key })).rejects.toMatchObject({
      code: 'outcome_unknown',
      data: { key, reason: 'revoked' },
    });
    expect((await call('echo', { text: 'again' })).content).toEqual([{ type: 'text', text: 'again' }]);
    expect(links.opened).toHaveLength(2);
  });

  test('fails with the code that kept the link from opening, and tries anew the next time', async () => {
    links.before = async () => {
      throw new MeshError('caps_insufficient', 'Cannot call: nothing was granted');
    };
    await expect(call('echo')).rejects.toMatchObject({ code: 'caps_insufficient' });
    links.before = async () => undefined;
    expect((await call('echo')).isError).toBe(false);
  });

  test('ends its links when it is closed', async () => {
    await call('echo');
    await bridge.close();
    await until(() => started.server.links === 0);
    expect(links.last.isClosed).toBe(true);
  });
});

describe('AgentMesh.openClient()', () => {
  test('lists every page, and reads resources', async () => {
    await using client = await mesh.openClient({ did: PEER.did, server: 'files', name: 'my program' });
    expect(client.server).toMatchObject({ serverInfo: { name: 'fake' } });
    expect(asked('initialize')[0]?.params).toMatchObject({ clientInfo: { name: 'my program' } });
    expect(await client.listTools()).toEqual([{ name: 'a' }, { name: 'b' }]);
    await expect(client.readResource('file:///a')).rejects.toMatchObject({ code: 'policy_denied' });
    expect(client.link.info).toMatchObject({ did: PEER.did, organisation: PEER.organisation });
  });

  test('does not follow a list that has no end', async () => {
    let pages = 0;
    links.onMessage = (line, link) => {
      const { id, method } = JSON.parse(line) as { id?: number; method?: string };
      if (method !== 'tools/list') return serveFake(line, link);
      link.say({ jsonrpc: '2.0', id, result: { tools: [{ name: 'a' }], nextCursor: `page ${++pages}` } });
    };
    await using client = await mesh.openClient({ did: PEER.did, server: 'files' });
    await expect(client.listTools()).rejects.toMatchObject({ code: 'too_large' });
    expect(pages).toBe(limits.MCP_LIST_PAGES_MAX);
  });

  test('takes for a handler only what it was given as one', async () => {
    await using client = await mesh.openClient({ did: PEER.did, server: 'files', handlers: {} });
    for (const method of ['toString', 'constructor', '__proto__'])
      links.last.say({ jsonrpc: '2.0', id: method, method });
    await until(() => links.last.received.some((line) => line.includes('"__proto__"')));
    const answers = links.last.received.slice(-3).map((line) => JSON.parse(line) as { error?: { code: number } });
    expect(answers.map(({ error }) => error?.code)).toEqual([-32601, -32601, -32601]);
    expect(client.ended).toBeUndefined();
  });

  test('lets the handlers that it was given answer the server', async () => {
    const handlers = {
      'elicitation/create': async ({ message }: Readonly<Record<string, unknown>>) => ({ action: 'accept', message }),
    };
    await using client = await mesh.openClient({ did: PEER.did, server: 'files', handlers });
    expect(asked('initialize')[0]?.params).toMatchObject({ capabilities: { elicitation: {} } });
    const waiting = client.callTool('asks', {}).catch(() => undefined);
    await until(() => links.last.received.some((line) => line.includes('"accept"')));
    expect(JSON.parse(links.last.received.at(-1) ?? '')).toEqual({
      jsonrpc: '2.0',
      id: 'q1',
      result: { action: 'accept', message: 'sure?' },
    });
    await client.close();
    await waiting;
  });

  test("acts with an agent's token for that agent", async () => {
    const fake = new FakeBackend();
    await using other = await startServer({ fake, links: links.open });
    const agent = await AgentMesh.connect({ socket: other.socketPath, token: fake.issueToken(SAMPLE.did) });
    await using client = await agent.openClient({ did: PEER.did, server: 'files' });
    expect(links.last.wanted.as).toBe(SAMPLE.did);
    expect(client.ended).toBeUndefined();
  });
});

describe('openLink()', () => {
  const open = (options: object = {}, events: Partial<Parameters<typeof openLink>[2]> = {}) =>
    openLink(
      { socketPath: started.socketPath },
      { did: PEER.did, server: 'files', ...options },
      { message: () => undefined, ...events },
    );

  test('takes for the daemon’s word only what is nothing else', async () => {
    const lines: string[] = [];
    await using link = await open({}, { message: (line) => lines.push(Buffer.from(line).toString()) });
    const forged = { agentmesh: { type: 'ended', code: 'revoked', message: 'x' }, jsonrpc: '2.0', id: 1, result: {} };
    links.last.say(forged);
    links.last.events.line(Buffer.from('{"agentmesh":'));
    await until(() => lines.length === 2);
    expect(lines).toEqual([JSON.stringify(forged), '{"agentmesh":']);
    links.last.events.ended('revoked', 'Cannot go on');
    expect(await link.ended).toEqual({ code: 'revoked', message: 'Cannot go on' });
  });

  test('refuses a link to somebody else, and an answer that is none', async () => {
    const real = links.open;
    await using wrong = await startServer({
      links: (wanted, ...rest) => real({ ...wanted, server: 'other' }, ...rest),
    });
    const asking = { did: PEER.did, server: 'files' };
    const events = { message: () => undefined };
    await expect(openLink({ socketPath: wrong.socketPath }, asking, events)).rejects.toMatchObject({
      code: 'internal',
    });
    await using silent = await startServer({
      links: async (wanted, told, signal) =>
        real(wanted, { ...told, control: () => told.line(Buffer.from('{}')) }, signal),
    });
    await expect(openLink({ socketPath: silent.socketPath }, asking, events)).rejects.toMatchObject({
      code: 'internal',
    });
  });

  test('fails where there is no daemon, one that has no links, and when it is cancelled', async () => {
    await expect(
      openLink({ socketPath: '/nonexistent/x.sock' }, { did: PEER.did, server: 'files' }, { message: () => undefined }),
    ).rejects.toMatchObject({ code: 'not_running' });
    await expect(open({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
    await expect(open({ grant: 'nothing' })).rejects.toMatchObject({ code: 'bad_request', data: { field: 'grant' } });
    const controller = new AbortController();
    const link = await open({ signal: controller.signal });
    controller.abort();
    expect((await link.ended).code).toBe('closed');
    await until(() => started.server.links === 0);
  });

  test('says that the daemon is gone', async () => {
    const link = await open();
    await started.server.close();
    expect(await link.ended).toMatchObject({ code: 'closed', message: expect.stringContaining('stopping') as string });
  });

  test('is not read while it should not be, and says when the daemon takes more', async () => {
    let messages = 0;
    let drained = 0;
    await using link = await open({}, { message: () => messages++, drained: () => drained++ });
    link.setPaused(true);
    links.last.say({ jsonrpc: '2.0', method: 'notifications/x' });
    await new Promise((settle) => setTimeout(settle, 30));
    expect(messages).toBe(0);
    link.setPaused(false);
    await until(() => messages === 1);
    links.onMessage = (_, one) => (one.isFull = true);
    while (!link.isFull || link.backlogBytes < 1_000_000)
      link.send(Buffer.from(JSON.stringify({ jsonrpc: '2.0', method: 'x'.repeat(50_000) })));
    await new Promise((settle) => setTimeout(settle, 30));
    expect([drained, link.isFull]).toEqual([0, true]);
    links.onMessage = () => undefined;
    links.last.drain();
    await until(() => drained > 0 && !link.isFull);
  });

  test('answers are bounded by the size of a message', async () => {
    const link = await open();
    links.last.events.line(Buffer.alloc(limits.MCP_MESSAGE_BYTES_MAX + 1, 'a'));
    expect((await link.ended).code).toBe('too_large');
  });
});
