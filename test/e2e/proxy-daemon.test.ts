/** `agentmesh proxy` beside a daemon, each a process: approvals, pinned tools, what is logged, and what a lost daemon costs. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { agentmesh } from './cli-process.ts';
import { startConformanceServer } from './conformance-server.ts';
import { until } from './daemon-process.ts';
import { flipped, keys, rowOf } from './log-home.ts';
import { openLevelStore } from '../../daemon/store/level.ts';
import { EVERYTHING, FILESYSTEM } from './proxy-client.ts';
import { AcmeWorld, answerOf } from './proxy-daemon-world.ts';

const SLOW = { timeout: 60_000 }; // processes start beside other tests on two cores

const POLICY = `version: "1.0"
name: desk
default: allow
rules:
  - name: held
    condition: "tool.name == 'note' and tool.arguments.text != 'soon over'"
    action: require_approval
    approvers: ["alice@acme.example"]
  - name: held-shortly
    condition: "tool.name == 'note' and tool.arguments.text == 'soon over'"
    action: require_approval
    approvers: ["alice@acme.example"]
    expires: 2s
  - name: no-writing
    condition: "tool.name in ['write_file', 'edit_file']"
    action: deny
tools: { changes: approve, approvers: ["alice@acme.example"] }
`;

let acme: AcmeWorld;
beforeAll(async () => {
  acme = await AcmeWorld.make(POLICY);
}, 60_000);
afterEach(() => acme.closeTalks());
afterAll(() => acme[Symbol.asyncDispose]());

// Approvals

test('a held call goes through once it is approved, and shows signs of life meanwhile', SLOW, async () => {
  const diary = acme.diary();
  const from = await acme.treeSize();
  const talk = await acme.open({ server: diary.server() });
  const steps: string[] = [];
  const called = talk.call('note', { text: 'a' }, { onprogress: ({ message }) => void steps.push(message ?? '') });
  const approval = await acme.waiting();
  await until('it shows that it waits', async () => steps.length > 0);
  expect(diary.lines).toEqual([]);
  await acme.decide(approval, 'approve');
  expect(await called).toMatchObject({ isError: false, text: 'did note' });
  expect(diary.lines).toEqual(['note {"text":"a"}']);
  expect(steps[0]).toContain(approval.id);
  expect(talk.said()).toContain(`agentmesh approvals approve ${approval.id}`);
  expect(await acme.calls(from)).toEqual(['note approval_pending', 'note allowed ok']);
});

test('a held call that is denied, or that nobody decides in time, does not reach the server', SLOW, async () => {
  const diary = acme.diary();
  const talk = await acme.open({ server: diary.server() });
  const denied = talk.call('note', { text: 'b' });
  await acme.decide(await acme.waiting(), 'deny');
  expect(await denied).toMatchObject({ isError: true, code: 'approval_denied' });
  expect(await talk.call('note', { text: 'soon over' })).toMatchObject({
    isError: true,
    code: 'approval_denied',
    text: expect.stringContaining('in time'),
  });
  expect(diary.lines).toEqual([]);
});

test(
  'a call that is not held names its approval; asked again it goes through once, and with other arguments not',
  SLOW,
  async () => {
    const diary = acme.diary();
    const talk = await acme.open({ flags: ['--approval-wait', '0'], server: diary.server() });
    const first = await talk.call('note', { text: 'c' });
    const approval = await acme.waiting();
    expect(first).toMatchObject({
      isError: true,
      code: 'approval_pending',
      text: expect.stringContaining(approval.id),
    });
    expect((await talk.call('note', { text: 'c' })).text).toContain(approval.id); // the same one
    await acme.decide(approval, 'approve');
    const other = await talk.call('note', { text: 'c!' });
    expect(other).toMatchObject({ isError: true, code: 'approval_pending' });
    await acme.decide(await acme.waiting(), 'deny');
    const both = await Promise.all([talk.call('note', { text: 'c' }), talk.call('note', { text: 'c' })]);
    expect(new Set(both.map(({ isError }) => isError))).toEqual(new Set([false, true]));
    expect(diary.lines).toEqual(['note {"text":"c"}']);
    await acme.decide(await acme.waiting(), 'deny');
  },
);

test('a client that shows questions is asked: to go on waiting, or to give up', SLOW, async () => {
  const diary = acme.diary();
  const asked: string[] = [];
  const talk = await acme.open({
    server: diary.server(),
    answer: async (message) => {
      asked.push(message);
      return asked.length === 1 ? 'accept' : 'decline';
    },
  });
  const waiting = talk.call('note', { text: 'd' });
  const approval = await acme.waiting();
  await until('it is asked', async () => asked.length === 1);
  expect(asked[0]).toContain(approval.id);
  await acme.decide(approval, 'approve');
  expect(await waiting).toMatchObject({ isError: false });
  expect(await talk.call('note', { text: 'd2' })).toMatchObject({ isError: true, code: 'approval_pending' });
  expect(diary.lines).toEqual(['note {"text":"d"}']);
  await acme.decide(await acme.waiting(), 'deny');
});

test('a client of MCP 2026-07-28 takes the question with it, and comes back to wait or to give up', SLOW, async () => {
  const diary = acme.diary();
  let approved: Promise<void> | undefined;
  const decisions: ('accept' | 'decline')[] = ['accept', 'decline'];
  const client = await acme.openModern({
    server: diary.server(),
    answer: async () => {
      const approval = await acme.waiting();
      const action = decisions.shift() ?? 'decline';
      if (action === 'accept') approved = acme.decide(approval, 'approve');
      return action;
    },
  });
  const call = async (text: string) => answerOf(await client.callTool({ name: 'note', arguments: { text } }));
  expect(await call('e')).toMatchObject({ isError: false, text: 'did note' });
  await approved;
  expect(await call('e2')).toMatchObject({ isError: true, code: 'approval_pending' });
  expect(diary.lines).toEqual(['note {"text":"e"}']);
  await acme.decide(await acme.waiting(), 'deny');
});

test('a held call that its client cancels never reaches the server, approved or not', SLOW, async () => {
  const diary = acme.diary();
  const from = await acme.treeSize();
  const talk = await acme.open({ server: diary.server() });
  const abort = new AbortController();
  const called = talk.call('note', { text: 'f' }, { signal: abort.signal });
  const approval = await acme.waiting();
  abort.abort('enough');
  await expect(called).rejects.toThrow();
  await talk.client.ping(); // the cancellation was read
  await acme.decide(approval, 'approve');
  expect(await talk.call('slow', {})).toMatchObject({ isError: false });
  expect(diary.lines).toEqual(['slow {}']); // not even the cancellation of what it does not know
  expect(await acme.calls(from)).toEqual(['note approval_pending', 'slow allowed ok']);
});

// Pinned tools

test(
  'tools that change between two starts are hidden and refused, in the log too, until somebody approves',
  SLOW,
  async () => {
    const diary = acme.diary();
    const flags = ['--server', 'pinned', '--approval-wait', '0'];
    const first = await acme.open({ flags, server: diary.server() });
    expect(await first.tools()).toEqual(['note', 'slow']);
    await first.close();
    const from = await acme.treeSize();
    const talk = await acme.open({ flags, server: diary.server('--changed') });
    expect(await talk.tools()).toEqual(['note']);
    const approval = await acme.waiting();
    expect(approval.kind).toBe('tool');
    for (const name of ['slow', 'extra'])
      expect(await talk.call(name, {})).toMatchObject({
        isError: true,
        code: 'tool_changed',
        text: expect.stringContaining(approval.id),
      });
    expect(talk.said()).toMatch(/Tool "slow" of "pinned" changed[\s\S]*reads your mail/);
    expect(diary.lines).toEqual([]);
    expect(await acme.calls(from)).toEqual(['slow tool_changed', 'extra tool_changed']);
    await acme.decide(approval, 'approve');
    expect(await talk.call('extra', {})).toMatchObject({ isError: false });
    expect(await talk.tools()).toEqual(['extra', 'note', 'slow']);
    await talk.close();
    const later = await acme.open({ flags, server: diary.server('--changed') });
    expect(await later.tools()).toEqual(['extra', 'note', 'slow']);
  },
);

test("a tool with the name of another server's is told of", SLOW, async () => {
  for (const server of ['one-desk', 'other-desk']) {
    const talk = await acme.open({ flags: ['--server', server], server: acme.diary().server() });
    await talk.tools();
    if (server === 'other-desk')
      expect(talk.said()).toMatch(/Tool "note" of "other-desk" may be taken for .*"note" of "one-desk"/);
    await talk.close();
  }
});

// Real servers

test('on the filesystem server a denied write changes nothing, and reading goes on', SLOW, async () => {
  const root = join(acme.directory, 'files');
  mkdirSync(root);
  writeFileSync(join(root, 'a.txt'), 'hello');
  const talk = await acme.open({ server: [...FILESYSTEM, root], flags: ['--footer'] });
  expect(await talk.tools()).not.toContain('write_file');
  expect(await talk.call('write_file', { path: join(root, 'b.txt'), content: 'x' })).toMatchObject({
    isError: true,
    code: 'policy_denied',
  });
  expect(existsSync(join(root, 'b.txt'))).toBe(false);
  expect((await talk.call('read_text_file', { path: join(root, 'a.txt') })).text).toContain('hello');
});

test('everything that is asked has its entry, the footer names one, and the log verifies', SLOW, async () => {
  const from = await acme.treeSize();
  const talk = await acme.open({ server: EVERYTHING, flags: ['--footer'] });
  const { client } = talk;
  const { text } = await talk.call('echo', { message: 'hi' });
  await client.listPrompts();
  await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Bern' } });
  const { resources } = await client.listResources();
  await client.readResource({ uri: resources[0]?.uri ?? '' });
  await client.setLoggingLevel('error');
  await talk.tools();
  await talk.close();
  const index = Number(/agentmesh log show (\d+)/.exec(text)?.[1]);
  const unsettled = (await acme.calls(from)).filter((call) => call.endsWith('unknown'));
  expect(unsettled).toEqual([]);
  const lines = await acme.log(from);
  expect(lines.find((line) => line.index === index)).toMatchObject({ type: 'action.allowed', data: { tool: 'echo' } });
  const allowed = lines.filter(({ type }) => type === 'action.allowed');
  for (const action of [
    'tool_call',
    'prompts_list',
    'prompt_get',
    'resources_list',
    'resource_read',
    'mcp_request',
    'tools_list',
  ])
    expect(allowed.map(({ data }) => data.action)).toContain(action);
  const settled = new Set(lines.map(({ data }) => data.intent));
  expect(allowed.filter(({ id }) => !settled.has(id))).toEqual([]);
  expect((await agentmesh(acme.home, 'log', 'verify')).exit).toBe(0);
});

test('a list that a server gives as its last words reaches the client', SLOW, async () => {
  const server = `
    process.stdin.once('data', (line) => {
      const { id } = JSON.parse(line);
      process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result: { prompts: [{ name: 'a' }] } }) + '\\n', () => process.exit(0));
    });
  `;
  const [program = '', ...args] = acme.words({ server: [process.execPath, '-e', server] });
  const child = spawn(program, args, { env: acme.env, stdio: ['pipe', 'pipe', 'ignore'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  const exit = new Promise<number | null>((settle) => child.once('close', settle));
  child.stdin.write('{"jsonrpc":"2.0","id":1,"method":"prompts/list"}\n');
  expect(await exit).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ id: 1, result: { prompts: [{ name: 'a' }] } });
});

test('a server elsewhere is governed and logged alike', SLOW, async () => {
  await using upstream = await startConformanceServer();
  const from = await acme.treeSize();
  const talk = await acme.open({ flags: ['--url', upstream.url], server: [] });
  expect(await talk.call('test_simple_text', {})).toMatchObject({ isError: false });
  expect(await acme.calls(from)).toEqual(['test_simple_text allowed ok']);
});

// What changes while a proxy runs

test('another policy, and the suspension of the agent, hold from the next call on', SLOW, async () => {
  const diary = acme.diary();
  const talk = await acme.open({ server: diary.server() });
  expect(await talk.call('slow', { n: 1 })).toMatchObject({ isError: false });
  const before = readFileSync(acme.configured, 'utf8');
  writeFileSync(
    acme.configured,
    `${before}rules:\n  - { name: rest, condition: "tool.name == 'slow'", action: deny }\n`,
  );
  await acme.mesh.policies.reload();
  expect(await talk.call('slow', { n: 2 })).toMatchObject({ isError: true, text: expect.stringContaining('"rest"') });
  writeFileSync(acme.configured, before);
  await acme.mesh.policies.reload();
  expect(await talk.call('slow', { n: 3 })).toMatchObject({ isError: false });
  const from = await acme.treeSize();
  await acme.mesh.agents.suspend(acme.agent);
  expect(await talk.call('slow', { n: 4 })).toMatchObject({ isError: true, code: 'suspended' });
  await acme.mesh.agents.resume(acme.agent);
  expect(await talk.call('slow', { n: 5 })).toMatchObject({ isError: false });
  expect(diary.lines.map((line) => line.slice(5))).toEqual(['{"n":1}', '{"n":3}', '{"n":5}']);
  expect(await acme.calls(from)).toEqual(['slow suspended', 'slow allowed ok']);
});

test('while the daemon is away nothing is passed; it goes on when it is back, and the log says what it cannot know', {
  timeout: 45_000,
}, async () => {
  const diary = acme.diary();
  const talk = await acme.open({ server: diary.server() });
  const from = await acme.treeSize();
  const running = Promise.all([0, 1, 2].map((n) => talk.call('slow', { n, ms: 2_000 })));
  await until('they run', async () => diary.lines.length === 3);
  await acme.end('SIGKILL');
  expect(await talk.call('slow', { n: 3 })).toMatchObject({ isError: true, code: 'not_running' });
  await expect(talk.client.listTools()).rejects.toThrow(/AgentMesh did not let this through/);
  expect((await running).map(({ isError }) => isError)).toEqual([false, false, false]);
  await acme.start();
  expect(await talk.call('slow', { n: 4 })).toMatchObject({ isError: false });
  expect(await talk.call('note', { text: 'g' }, { timeout: 500 }).catch(() => 'held')).toBe('held'); // by the policy that was brought
  await acme.decide(await acme.waiting(), 'deny');
  expect(diary.lines).toHaveLength(4);
  const lines = await acme.calls(from);
  expect(lines.filter((line) => line === 'slow allowed unknown')).toHaveLength(3);
  expect(lines).toContain('slow allowed ok');
  expect((await agentmesh(acme.home, 'log', 'verify')).exit).toBe(0);
});

// A home that is not as it should be; last, since it stays so

test('where the log is halted everything is refused, and the refusal says so', SLOW, async () => {
  await acme.closeTalks();
  const size = await acme.treeSize();
  await acme.end('SIGTERM');
  {
    await using store = await openLevelStore(join(acme.home, 'db'));
    const key = keys.entry(size - 1);
    await store.batch([{ type: 'put', key, value: flipped(await rowOf(store, key), 40, 1) }], { sync: true });
  }
  await acme.start();
  const diary = acme.diary();
  const talk = await acme.open({ server: diary.server() });
  expect(await talk.call('slow', {})).toMatchObject({
    isError: true,
    code: 'log_halted',
    text: expect.stringMatching(/halted/),
  });
  await expect(talk.tools()).rejects.toThrow(/halted/);
  expect(diary.lines).toEqual([]);
  await talk.close();
});

test('a daemon that cannot start is no reason to decide without it', SLOW, async () => {
  await acme.end('SIGTERM');
  writeFileSync(join(acme.home, 'agentmesh.yaml'), 'nosuchsetting: 1\n');
  const diary = acme.diary();
  const [program = '', ...args] = acme.words({ server: diary.server() });
  const child = spawn(program, args, { env: acme.env, stdio: 'pipe' });
  let [out, said] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const exit = new Promise<number | null>((settle) => child.once('exit', settle));
  child.stdin.write('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{}}}\n');
  expect(await exit).not.toBe(0);
  expect(JSON.parse(out.split('\n')[0] ?? '')).toMatchObject({ id: 1, result: { isError: true } });
  expect(said).toMatch(/nosuchsetting/);
  expect(diary.lines).toEqual([]);
});

test('where nothing is set up a proxy says that it decides alone, and what that lacks', SLOW, async () => {
  rmSync(acme.home, { recursive: true });
  const diary = acme.diary();
  const talk = await acme.open({ server: diary.server() });
  expect(await talk.call('note', { text: 'h' })).toMatchObject({ isError: true, code: 'policy_denied' });
  expect(await talk.call('slow', {})).toMatchObject({ isError: false });
  expect(diary.lines).toEqual(['slow {}']);
  expect(talk.said()).toMatch(/Without a daemon: nothing is set up in .*no identity.*no audit log.*no approvals/);
  await talk.close();
});
