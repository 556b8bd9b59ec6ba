/** Approvals, limits and pins of the real daemon, and what clients do to stretch them; the server's log counts. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { AgentIdentity, type AgentMesh } from '../../sdk/index.ts';
import { openStdio, type Target, type World } from './bypass/run.ts';
import { call, nextId, rawCall, request } from './bypass/trick.ts';
import { type DaemonProcess, startDaemonProcess } from './daemon-process.ts';

const SLOW = { timeout: 60_000 };
const EXPIRES_MS = 2_000;
const POLICY = `
version: "1.0"
default: allow
rules:
  - { name: ask, condition: "tool.name == 'delete_file'", action: require_approval }
  - { name: ask-soon, condition: "tool.name == 'erase'", action: require_approval, expires: 2s }
  - { name: ask-reading, condition: "resource.scheme == 'vault'", action: require_approval }
  - { name: three, condition: "tool.name == 'limited'", limit: 3/hour }
`;

let world: World;
let daemon: DaemonProcess;
let mesh: AgentMesh;
let approver: string;
let policy: string;
const home = (): string => join(world.directory, 'mesh');

beforeAll(async () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-bypass-')));
  world = { directory, open: join(directory, 'open'), closed: join(directory, 'closed') };
  for (const place of [world.open, world.closed, home()]) mkdirSync(place);
  policy = join(directory, 'approvals.yaml');
  writeFileSync(policy, POLICY);
  daemon = await startDaemonProcess({ home: home(), name: 'Acme' });
  mesh = await daemon.connect();
  for (const name of ['clerk', 'other'])
    (await AgentIdentity.create({ name, sponsor: 'ann@example.com', capabilities: ['read:data'], mesh }))[
      Symbol.dispose
    ]();
  approver = (await mesh.sponsors.list())[0]?.did ?? '';
}, 60_000);
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  rmSync(world.directory, { recursive: true });
});

/** What tricks left waiting; an agent may have 16. */
afterEach(async () => {
  for (const { id } of await mesh.approvals.list())
    await mesh.approvals.decide(id, { decision: 'deny', approver, reason: 'a trick' });
});

const proxy = (agent = 'clerk', flags: readonly string[] = []): Promise<Target> =>
  openStdio({
    world,
    like: 'coerce',
    isPatient: true,
    proxy: [
      '--home',
      home(),
      '--agent',
      agent,
      '--policy',
      policy,
      '--server',
      'files',
      '--approval-wait',
      '0',
      ...flags,
    ],
  });

/** How often the server did it. */
async function times(target: Target, ...steps: readonly string[]): Promise<number> {
  const { deeds } = await target.play(steps);
  return deeds.filter((deed) => deed.did !== 'tool' || deed.name !== 'mark').length;
}

/** What it waits for, once it was refused. */
async function refusedFor(target: Target, step: string): Promise<string> {
  const { deeds, heard } = await target.play([step]);
  expect(deeds.filter((deed) => deed.did !== 'tool' || deed.name !== 'mark')).toEqual([]);
  const id = /"approval":\{"id":"([^"]+)"/.exec(heard.join('\n'))?.[1];
  if (id === undefined) throw new Error(`it waits for nothing: ${heard.join('\n')}`);
  return id;
}
const approve = (id: string): Promise<unknown> =>
  mesh.approvals.decide(id, { decision: 'approve', approver, reason: 'looked at it' });

test('an approval is for one call, to the letter, of one agent, once', SLOW, async () => {
  await using clerk = await proxy();
  await using other = await proxy('other');
  await using elsewhere = await proxy('clerk', ['--server', 'elsewhere']);
  const approved = { path: '/tmp/a', amount: 5, list: [1, 2] };
  await approve(await refusedFor(clerk, call('delete_file', approved)));

  const changed: Record<string, string> = {
    'one argument changed': call('delete_file', { ...approved, amount: 6 }),
    'one argument more': call('delete_file', { ...approved, force: true }),
    'one argument less': call('delete_file', { path: '/tmp/a', amount: 5 }),
    'a list in another order': call('delete_file', { ...approved, list: [2, 1] }),
    'a number as text': call('delete_file', { ...approved, amount: '5' }),
    'a number that rounds to it': rawCall(
      '{"name":"delete_file","arguments":{"path":"/tmp/a","amount":5.0000000000000000001,"list":[1,2]}}',
    ),
    'another spelling of the path': call('delete_file', { ...approved, path: '/tmp//a' }),
    'another spelling of the name': call('Delete_File', approved),
    'an argument twice': rawCall(
      '{"name":"delete_file","arguments":{"path":"/tmp/a","amount":6,"amount":5,"list":[1,2]}}',
    ),
    'an argument in two cases': rawCall(
      '{"name":"delete_file","arguments":{"path":"/tmp/a","amount":5,"Amount":6,"list":[1,2]}}',
    ),
    'a batch of two': `[${call('delete_file', approved)},${call('delete_file', approved)}]`,
    'no id': JSON.stringify({
      jsonrpc: '2.0',
      method: 'tools/call',
      params: { name: 'delete_file', arguments: approved },
    }),
  };
  for (const [how, step] of Object.entries(changed)) expect([how, await times(clerk, step)]).toEqual([how, 0]);
  expect(await times(other, call('delete_file', approved))).toBe(0);
  expect(await times(elsewhere, call('delete_file', approved))).toBe(0);

  const replays = Array.from({ length: 8 }, () => call('delete_file', approved));
  expect(await times(clerk, ...replays)).toBe(1);
  expect(await times(clerk, call('delete_file', approved))).toBe(0);
});

test('numbers beyond 2^53 are approved by their letters', SLOW, async () => {
  await using clerk = await proxy();
  const big = (amount: string): string => rawCall(`{"name":"delete_file","arguments":{"amount":${amount}}}`);
  await approve(await refusedFor(clerk, big('9007199254740993')));
  for (const near of ['9007199254740992', '9007199254740994', '9007199254740993.0', '9.007199254740993e15'])
    expect([near, await times(clerk, big(near))]).toEqual([near, 0]);
  expect(await times(clerk, big('9007199254740993'), big('9007199254740993'))).toBe(1);
});

test('what was approved too long ago, and what was denied, does not go through', SLOW, async () => {
  await using clerk = await proxy();
  await approve(await refusedFor(clerk, call('erase', { amount: 1 })));
  const denied = await refusedFor(clerk, call('erase', { amount: 2 }));
  await mesh.approvals.decide(denied, { decision: 'deny', approver, reason: 'no' });
  expect(await times(clerk, call('erase', { amount: 2 }))).toBe(0);
  await sleep(EXPIRES_MS + 200);
  expect(await times(clerk, call('erase', { amount: 1 }), call('erase', { amount: 2 }))).toBe(0);
});

const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': { elicitation: { form: {} } },
};
const ACCEPTED = { 'agentmesh/approval': { action: 'accept', content: {} } };

test('who comes back with a state of its own making is asked again', SLOW, async () => {
  await using clerk = await proxy();
  const args = { amount: 11 };
  const { heard } = await clerk.play([call('delete_file', args, { _meta: META })]);
  const state = /"requestState":("(?:[^"\\]|\\.)*")/.exec(heard.join('\n'))?.[1];
  if (state === undefined) throw new Error(`it is not asked to come back: ${heard.join('\n')}`);
  const requestState = JSON.parse(state) as string;
  const id = /"approval":"([^"]+)"/.exec(requestState)?.[1] ?? '';
  const back = (params: object): string =>
    request('tools/call', {
      name: 'delete_file',
      arguments: args,
      _meta: META,
      requestState,
      inputResponses: ACCEPTED,
      ...params,
    });

  // Nobody approved; the answer of a client is none.
  expect(await times(clerk, back({}), back({ inputResponses: { 'agentmesh/approval': { action: 'approve' } } }))).toBe(
    0,
  );
  await approve(id);
  expect(await times(clerk, back({ arguments: { amount: 12 } }))).toBe(0);
  expect(
    await times(
      clerk,
      back({ requestState: 'agentmesh/1 {"approval":"x","arguments":{"amount":11}}', arguments: { amount: 12 } }),
    ),
  ).toBe(0);
  const smuggled = `agentmesh/1 {"approval":"${id}","name":"delete_file","name":"mark"}`;
  expect(
    await times(
      clerk,
      request('tools/call', {
        name: 'erase',
        arguments: args,
        _meta: META,
        requestState: smuggled,
        inputResponses: ACCEPTED,
      }),
    ),
  ).toBe(0);
  expect(await times(clerk, back({}), back({}), back({}))).toBe(1);
});

test('a resource that needs an approval is not listened to without one', SLOW, async () => {
  await using clerk = await proxy();
  await approve(await refusedFor(clerk, request('resources/read', { uri: 'vault://a' })));
  const listen = (uris: readonly string[]): string =>
    request('subscriptions/listen', { notifications: { resourceSubscriptions: uris } });
  expect(await times(clerk, listen(['vault://b']), listen(['note://a', 'vault://b']))).toBe(0);
  expect(await times(clerk, request('resources/read', { uri: 'vault://a' }))).toBe(1);
  expect(await times(clerk, request('resources/read', { uri: 'vault://a' }))).toBe(0);
});

test('requests side by side, of several proxies, use up one limit', SLOW, async () => {
  await using one = await proxy();
  await using two = await proxy();
  const many = (): string[] => Array.from({ length: 12 }, () => call('limited', { amount: nextId() }));
  const spelt = ['Limited', 'LIMITED', 'limited\u200b', ' limited'].map((name) => call(name, {}));
  const found = await Promise.all([times(one, ...many(), ...spelt), times(two, ...many())]);
  expect(found[0] + found[1]).toBe(3);
  await using again = await proxy();
  expect(await times(again, call('limited', {}))).toBe(0);
});
