/** What servers and clients tried on the engine, each with what came of it. */
import { expect, test } from 'vitest';
import type { JsonObject } from '../../../protocol/encoding/jcs.ts';
import type { GateRequest, Verdict } from '../../../protocol/policy/index.ts';
import { denied, quiet, STATELESS, textOf, textResult, verdictOf, World } from './session-world.ts';

const TOKEN = ['ghp', 'A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8'].join('_');
const REDACTED = '[redacted: secret.github_token]';
const redacting = verdictOf({ output: { ...verdictOf().output, secrets: 'redact' } });
const refusing = verdictOf({ output: { ...verdictOf().output, secrets: 'refuse' } });
const denies =
  (action: string) =>
  (request: GateRequest): Verdict =>
    request.action === action ? denied : verdictOf();
const LISTEN = (resourceSubscriptions: readonly string[]): JsonObject => ({
  id: 1,
  method: 'subscriptions/listen',
  params: { notifications: { resourceSubscriptions }, _meta: STATELESS() },
});
const SAMPLE = { one: { method: 'sampling/createMessage', params: { messages: [] } } };

test('each resource that a client listens to is judged as a reading', async () => {
  const world = new World();
  world.gate.decideBy = ({ resource }) => (resource?.uri === 'vault://key' ? denied : verdictOf());
  world.fromClient(LISTEN(['note://a', 'vault://key']));
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client[0]).toMatchObject({ id: 1, error: { code: -32001 } });
  expect(world.gate.asked.map(({ action, resource }) => resource?.uri ?? action)).toEqual([
    'mcp_request',
    'note://a',
    'vault://key',
  ]);
  world.fromClient(LISTEN(['note://a']));
  await quiet();
  expect(world.server).toHaveLength(1);
});

test('nobody listens to a resource without an id, or in a second spelling', async () => {
  const world = new World();
  const { id: _, ...notice } = LISTEN(['note://a']);
  world.fromClient(notice);
  world.fromClient({
    id: 2,
    method: 'subscriptions/listen',
    params: { notifications: { ResourceSubscriptions: ['note://a'] }, _meta: STATELESS() },
  });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client[0]).toMatchObject({ id: 2, error: { code: -32602 } });
});

test.each(['notifications/message', 'notifications/progress', 'notifications/x', 'notifications/tasks'])(
  'what "%s" says goes through the output rules, before any decision too',
  async (method) => {
    const world = new World();
    world.gate.decideBy = () => redacting;
    world.fromServer({ method, params: { level: 'info', data: [TOKEN] } });
    await quiet();
    world.fromServer({ method, params: { message: TOKEN } });
    expect(world.client).toMatchObject([
      { method, params: { level: 'info', data: [REDACTED] } },
      { method, params: { message: REDACTED } },
    ]);
  },
);

test('a progress token stays what the client made it, and no other does', async () => {
  const world = new World();
  world.gate.decideBy = () => redacting;
  world.call(1, 'a', {}, { progressToken: TOKEN });
  await quiet();
  world.fromServer({ method: 'notifications/progress', params: { progressToken: TOKEN, message: TOKEN } });
  world.fromServer({ id: 1, result: textResult('') });
  world.fromServer({ method: 'notifications/progress', params: { progressToken: TOKEN } });
  expect(world.client[0]).toMatchObject({ params: { progressToken: TOKEN, message: REDACTED } });
  expect(world.client[2]).toMatchObject({ params: { progressToken: REDACTED } });
});

test('notifications before the first decision keep their order, and policy may keep them back', async () => {
  const world = new World();
  world.gate.decideBy = ({ mcp }) => (mcp?.method === 'notifications/message' ? denied : verdictOf());
  world.fromServer({ method: 'notifications/message', params: { data: 'a' } });
  world.fromServer({ method: 'notifications/x', params: { data: 'b' } });
  world.fromServer({ method: 'notifications/y', params: { data: 'c' } });
  await quiet();
  await quiet();
  expect(world.client.map(({ method }) => method)).toEqual(['notifications/x', 'notifications/y']);
});

test('what a task asks of the client is judged', async () => {
  const world = new World();
  world.gate.decideBy = denies('sampling');
  const params = { taskId: 't', status: 'input_required' };
  world.fromServer({ method: 'notifications/tasks', params: { ...params, inputRequests: SAMPLE } });
  world.fromServer({ method: 'notifications/tasks', params: { ...params, InputRequests: SAMPLE } });
  await quiet();
  expect(world.client).toEqual([]);
  world.fromServer({
    method: 'notifications/tasks',
    params: { ...params, inputRequests: { one: { method: 'roots/list' } } },
  });
  await quiet();
  expect(world.client).toHaveLength(1);
});

test('what is not judged asks nothing of the client', async () => {
  const world = new World();
  world.fromClient({ id: 1, method: 'ping' });
  world.fromServer({ id: 1, result: { inputRequests: SAMPLE } });
  await quiet();
  expect(world.client).toMatchObject([{ id: 1, error: { code: -32001 } }]);
  expect(world.gate.asked).toEqual([]);
});

test.each([[{}], [null], [{ one: { method: 'roots/list' } }]])(
  'a list that also asks for %j is cut all the same',
  async (inputRequests) => {
    const world = new World();
    world.gate.shows = ({ tool }) => tool?.name !== 'delete_file';
    world.fromClient({ id: 1, method: 'tools/list' });
    await quiet();
    world.fromServer({ id: 1, result: { tools: [{ name: 'delete_file' }, { name: 'read_file' }], inputRequests } });
    await quiet();
    expect(world.client).toMatchObject([{ id: 1, result: { tools: [{ name: 'read_file' }] } }]);
  },
);

test('definitions in lists go through the output rules, and one that may not be shown goes alone', async () => {
  const world = new World();
  const tools = [
    { name: 'a', description: `use ${TOKEN}` },
    { name: 'b', inputSchema: { maximum: 1 } },
  ];
  world.gate.decideBy = () => redacting;
  world.fromClient({ id: 1, method: 'tools/list' });
  await quiet();
  world.fromServer({ id: 1, result: { tools } });
  await quiet();
  world.gate.decideBy = () => refusing;
  world.fromClient({ id: 2, method: 'tools/list' });
  await quiet();
  world.fromServer({ id: 2, result: { tools } });
  await quiet();
  expect(world.client).toMatchObject([
    { id: 1, result: { tools: [{ name: 'a', description: `use ${REDACTED}` }, tools[1]] } },
    { id: 2, result: { tools: [tools[1]] } },
  ]);
});

test('answers to whatever was asked go through the output rules', async () => {
  const world = new World();
  world.gate.decideBy = () => redacting;
  world.fromClient({ id: 1, method: 'x/y' });
  world.fromClient({ id: 2, method: 'tools/list' });
  await quiet();
  world.fromServer({ id: 1, result: { said: TOKEN } });
  world.fromServer({ id: 2, error: { code: 1, message: TOKEN } });
  expect(world.client).toMatchObject([
    { id: 1, result: { said: REDACTED } },
    { id: 2, error: { code: 1, message: REDACTED } },
  ]);
});

test("what a server asks of the client's model goes through the output rules", async () => {
  const world = new World();
  const ask = (id: string): JsonObject => ({
    id,
    method: 'sampling/createMessage',
    params: { messages: [{ role: 'user', content: { type: 'text', text: TOKEN } }] },
  });
  world.gate.decideBy = () => redacting;
  world.fromServer(ask('a'));
  await quiet();
  expect(JSON.stringify(world.client)).toContain(REDACTED);
  expect(JSON.stringify(world.client)).not.toContain(TOKEN);
  world.gate.decideBy = () => refusing;
  world.fromServer(ask('b'));
  await quiet();
  expect(world.client).toHaveLength(1);
  expect(world.server).toMatchObject([{ id: 'b', error: { code: -32001 } }]);
  expect(world.gate.settled.at(-1)).toEqual(['some-rule', 'policy_denied']);
});

test('a tool that the server does not list is one that nobody has seen', async () => {
  const world = new World();
  world.tools = [{ name: 'read_file' }];
  world.gate.statesOf = (tools) =>
    tools.map(({ name }) =>
      name === 'read_file'
        ? { name, state: 'pinned', action: 'ignore' }
        : { name: textOf(name), state: 'new', action: 'deny' },
    );
  world.call(1, 'hidden_tool');
  world.call(2, 'Read_File');
  await quiet();
  await quiet();
  expect(world.server).toMatchObject([{ id: 2 }]);
  expect(JSON.stringify(world.client)).toContain('tool_changed');
  world.call(3, 'hidden_tool');
  await quiet();
  expect(world.server).toHaveLength(1);
});

test('where a server lists no tools at all, none is unknown', async () => {
  const world = new World();
  world.tools = undefined;
  world.gate.statesOf = (tools) => tools.map(({ name }) => ({ name: textOf(name), state: 'new', action: 'deny' }));
  world.call(1, 'any_tool');
  await quiet();
  const own = world.server[0]?.['id'] ?? null;
  world.fromServer({ id: own, error: { code: -32601, message: 'Method not found' } });
  await quiet();
  expect(world.server).toMatchObject([{ method: 'tools/list' }, { id: 1 }]);
});
