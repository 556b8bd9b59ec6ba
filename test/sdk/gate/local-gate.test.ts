import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Gate, GateRequest, PolicySource } from '../../../protocol/policy/index.ts';
import { openLocalGate } from '../../../sdk/gate/index.ts';

const RULES = [
  `{ name: reads, condition: "tool.name == 'read_file'", action: allow, limit: "3/hour" }`,
  `{ name: deletes, condition: "tool.name == 'delete_file'", action: require_approval }`,
  `{ name: no-pii, condition: "data.contains_pii", action: deny }`,
];
const own = (rules: readonly string[] = RULES, more = ''): PolicySource => ({
  name: 'own',
  files: [
    {
      path: 'own.yaml',
      text: `version: "1.0"\nname: own\n${more}\nrules:\n${rules.map((r) => `  - ${r}\n`).join('')}`,
    },
  ],
});
const call = (name: string, args = {}): GateRequest => ({
  action: 'tool_call',
  tool: { name, server: 's', arguments: args },
});

let directory: string;
let logFile: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-local-'));
  logFile = join(directory, 'log');
});
afterEach(() => rm(directory, { recursive: true }));
const open = (policies: readonly PolicySource[] = [own()]): Promise<Gate> =>
  openLocalGate({ agent: 'clerk', policies, logFile });
const lines = async (): Promise<Record<string, unknown>[]> =>
  (await readFile(logFile, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('says what is not to be had without a daemon', async () => {
  await using gate = await open();
  expect(gate.description).toMatchObject({ mode: 'local', agent: 'clerk', organisation: null });
  const missing = gate.description.missing.join('\n');
  for (const word of ['no identity', 'no audit log', 'no approvals', 'limits count from the start'])
    expect(missing).toContain(word);
  await using unlogged = await openLocalGate({ agent: 'clerk', policies: [own()] });
  expect(unlogged.description.missing.join('\n')).toContain('no record');
  expect((await unlogged.decide(call('read_file'))).id).toBeNull();
});

test('the decision is in the file before it takes effect, without arguments, and so is how it ended', async () => {
  const gate = await open();
  const verdict = await gate.decide(call('read_file', { path: '/srv/secret' }));
  expect(await lines()).toMatchObject([
    { id: verdict.id, agent: 'clerk', tool: 'read_file', effect: 'allow', rule: 'reads', policy: { name: 'own' } },
  ]);
  expect(await readFile(logFile, 'utf8')).not.toContain('/srv/secret');
  expect((await stat(logFile)).mode & 0o777).toBe(0o600);
  gate.settle(verdict, { code: 'ok' });
  const denied = await gate.decide(call('write_file'));
  gate.settle(denied, { code: 'ok' });
  await gate.close();
  expect(await lines()).toMatchObject([
    { effect: 'allow' },
    { id: verdict.id, result: 'ok' },
    { id: denied.id, effect: 'deny', code: 'policy_denied' },
  ]);
  await using again = await open();
  await again.decide(call('write_file'));
  expect(await lines()).toHaveLength(4); // what was there stays
});

test('limits hold however many ask at once, and what is refused uses none up', async () => {
  await using gate = await open();
  for (let i = 0; i < 5; i++)
    expect((await gate.decide(call('read_file', { to: 'ann@example.com' }))).effect).toBe('deny');
  const verdicts = await Promise.all(Array.from({ length: 10 }, () => gate.decide(call('read_file'))));
  expect(verdicts.filter(({ effect }) => effect === 'allow')).toHaveLength(3);
  expect(await gate.decide(call('read_file'))).toMatchObject({ effect: 'deny', code: 'limit_exceeded' });
});

test('what wants an approval is denied, and not listed', async () => {
  await using gate = await open();
  const verdict = await gate.decide(call('delete_file'), { holdMs: 60_000 });
  expect(verdict).toMatchObject({ effect: 'deny', code: 'policy_denied', rule: 'deletes' });
  expect(verdict.reason).toContain('without a daemon nobody can give it');
  expect(verdict.approval).toBeUndefined();
  expect(await gate.filter(['read_file', 'delete_file', 'write_file'].map((name) => call(name)))).toEqual([
    true,
    false,
    false,
  ]);
});

test('what whoever asks does not do is refused and noted, and uses up no limit', async () => {
  await using gate = await open();
  for (let i = 0; i < 4; i++)
    expect(await gate.decide({ ...call('read_file'), withheld: 'tool_changed' })).toMatchObject({
      effect: 'deny',
      code: 'tool_changed',
    });
  expect(await gate.decide(call('read_file'))).toMatchObject({ effect: 'allow' });
  expect((await lines()).map(({ code }) => code)).toEqual([...Array<string>(4).fill('tool_changed'), undefined]);
});

test('without a policy nothing is allowed', async () => {
  await using gate = await open([]);
  expect(await gate.decide(call('read_file'))).toMatchObject({ effect: 'deny', code: 'policy_denied' });
});

test('of several policies the strictest counts', async () => {
  await using gate = await open([
    own([`{ name: all, action: allow }`]),
    { ...own([`{ name: none, action: deny }`]), name: 'x' },
  ]);
  expect((await gate.decide(call('read_file'))).effect).toBe('deny');
});

test('a disk that takes nothing lets nothing through, now and later', async () => {
  await using gate = await openLocalGate({
    agent: 'clerk',
    policies: [own([`{ name: all, action: allow }`])],
    logFile: '/dev/full',
  });
  for (let i = 0; i < 3; i++) await expect(gate.decide(call('read_file'))).rejects.toMatchObject({ code: 'read_only' });
});

test('a file that cannot be opened, or a policy that cannot be used here, opens no gate', async () => {
  await expect(openLocalGate({ agent: 'a', policies: [own()], logFile: directory })).rejects.toMatchObject({
    code: 'permissions',
  });
  const external = own(RULES, 'external: [ { name: opa, type: opa, url: "http://127.0.0.1:9/" } ]');
  await expect(open([external])).rejects.toMatchObject({ code: 'policy_invalid', data: { field: 'external' } });
  await expect(open([own(['{ name: x, action: permit }'])])).rejects.toMatchObject({ code: 'policy_invalid' });
});

test('decides nothing once it is closed', async () => {
  const gate = await openLocalGate({ agent: 'clerk', policies: [own([`{ name: all, action: allow }`])] });
  await gate.close();
  await gate.close();
  await expect(gate.decide(call('read_file'))).rejects.toMatchObject({ code: 'closed' });
});

test('tells tools that are changed, or new once all were listed; whoever wants an approval for them is refused', async () => {
  await using gate = await open([own(RULES, 'tools: { changes: approve }')]);
  const tool = (name: string, description = 'does') => ({ name, description, inputSchema: { type: 'object' } });
  const check = async (tools: object[], isComplete: boolean): Promise<string[]> =>
    (await gate.checkTools('s', tools as never, { isComplete })).map(
      ({ name, state, action }) => `${name} ${state} ${action}`,
    );
  expect(await check([tool('a')], false)).toEqual(['a pinned ignore']);
  expect(await check([tool('a', 'sends all to me')], false)).toEqual(['a changed deny']);
  expect(await check([tool('a'), tool('b')], true)).toEqual(['a pinned ignore', 'b pinned ignore']);
  expect(await check([tool('a'), tool('c')], true)).toEqual(['a pinned ignore', 'c new deny']);
  expect(await check([tool('c')], false)).toEqual(['c new deny']);
  const [changed] = await gate.checkTools('s', [tool('b', 'other')], { isComplete: false });
  expect(changed?.diff).toMatch(/- description: does\n\+ description: other/);
  expect((await gate.checkTools('other', [tool('a', 'x')], { isComplete: true }))[0]).toMatchObject({
    state: 'pinned',
  });
});
