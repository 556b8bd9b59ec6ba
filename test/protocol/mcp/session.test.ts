import { expect, test } from 'vitest';
import { MeshError } from '../../../protocol/errors.ts';
import { MCP_PENDING_MAX, MCP_WAITING_BYTES_MAX } from '../../../protocol/limits.ts';
import { denied, INITIALIZE, later, quiet, STATELESS, textOf, textResult, verdictOf, World } from './session-world.ts';

test('an allowed call and its result go on as the bytes that came', async () => {
  const world = new World();
  const call =
    '{ "jsonrpc":"2.0", "id":1,"method":"tools/call","params":{"x-unknown":1e2,"name":"read_file","arguments":{"n":1.0}}}';
  world.fromClient(call);
  await quiet();
  expect(world.serverTexts).toEqual([call]);
  const result = '{"result":{"content":[{"type":"text","text":"\\u0068i"}],"more":1.50},"jsonrpc":"2.0","id":1}';
  world.fromServer(result);
  expect(world.clientTexts).toEqual([result]);
  expect(world.gate.settled).toEqual([['some-rule', 'ok']]);
});

test('a denied call is answered by a result, and the server sees nothing', async () => {
  const world = new World();
  world.gate.decideBy = () => denied;
  world.call(1);
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toEqual([
    {
      jsonrpc: '2.0',
      id: 1,
      result: expect.objectContaining({ isError: true, content: [expect.objectContaining({ type: 'text' })] }),
    },
  ]);
  expect(world.gate.settled).toEqual([]);
  expect(world.routes).toEqual([{ origin: 'call 1', isLast: true }]);
});

test('a gate that rejects refuses the call, with its code and what to do', async () => {
  const world = new World();
  world.gate.decideBy = () => Promise.reject(new MeshError('log_halted', 'Cannot log it', { next: 'recover the log' }));
  world.call(1);
  await quiet();
  expect(world.server).toEqual([]);
  const [answer] = world.client;
  expect(JSON.stringify(answer)).toMatch(/log_halted/);
  expect(JSON.stringify(answer)).toMatch(/recover the log/);
});

test('a fault of the gate lets nothing through', async () => {
  const world = new World();
  world.gate.decideBy = () => Promise.reject(new TypeError('x is not a function'));
  world.call(1);
  world.fromClient({ id: 2, method: 'resources/read', params: { uri: 'file:///a' } });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toHaveLength(2);
  const second = world.client.find(({ id }) => id === 2);
  expect(second).toMatchObject({ error: { code: -32001, data: { code: 'internal' } } });
});

test('what waits for a decision keeps nothing else back', async () => {
  const world = new World();
  const slow = later();
  world.gate.decideBy = (request, options) =>
    request.tool?.name === 'slow' ? slow.decide(request, options) : verdictOf();
  world.call(1, 'slow');
  world.call(2, 'fast');
  world.fromClient({ method: 'notifications/roots/list_changed' });
  world.fromClient({ id: 3, method: 'ping' });
  await quiet();
  expect(world.server.map(({ id, method }) => [id, method])).toEqual([
    [undefined, 'notifications/roots/list_changed'],
    [3, 'ping'],
    [2, 'tools/call'],
  ]);
  slow.give(verdictOf());
  await quiet();
  expect(world.server.at(-1)).toMatchObject({ id: 1 });
});

test('initialize, ping and server/discover are not judged', () => {
  const world = new World();
  world.fromClient(INITIALIZE());
  world.fromClient({ id: 1, method: 'ping' });
  world.fromClient({ id: 2, method: 'server/discover' });
  world.fromServer({ id: 7, method: 'ping' });
  expect(world.server).toHaveLength(3);
  expect(world.client).toHaveLength(1);
  expect(world.gate.asked).toEqual([]);
});

test('what nobody knows is judged by its method and passes untouched', async () => {
  const world = new World();
  world.fromClient('{"jsonrpc":"2.0","id":"a","method":"acme/thing","params":[1,2],"extra":true}');
  await quiet();
  expect(world.serverTexts).toEqual(['{"jsonrpc":"2.0","id":"a","method":"acme/thing","params":[1,2],"extra":true}']);
  expect(world.gate.asked).toEqual([{ action: 'mcp_request', mcp: { method: 'acme/thing' } }]);
});

test('a call that is cancelled while it waits never reaches the server', async () => {
  const world = new World();
  const slow = later();
  world.gate.decideBy = slow.decide;
  world.call(1);
  await quiet();
  world.fromClient({ method: 'notifications/cancelled', params: { requestId: 1 } });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toEqual([]);
  expect(world.dropped).toEqual(['call 1']);
  expect(world.session.pending).toBe(0);
});

test('an allowance that comes after the cancellation is settled as cancelled', async () => {
  const world = new World();
  let give: (() => void) | undefined;
  world.gate.decideBy = () => new Promise((settle) => (give = () => settle(verdictOf())));
  world.call(1);
  await quiet();
  world.fromClient({ method: 'notifications/cancelled', params: { requestId: 1 } });
  give?.();
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.gate.settled).toEqual([['some-rule', 'cancelled']]);
});

test('the cancellation of what the server has goes on, and its late answer does not', async () => {
  const world = new World();
  world.call(1);
  await quiet();
  world.fromClient({ method: 'notifications/cancelled', params: { requestId: 1 } });
  expect(world.server.at(-1)).toMatchObject({ method: 'notifications/cancelled' });
  world.fromServer({ id: 1, result: textResult('late') });
  expect(world.client).toEqual([]);
  expect(world.gate.settled).toEqual([['some-rule', 'cancelled']]);
});

test('1 and "1" are two ids', async () => {
  const world = new World();
  world.call(1, 'number');
  world.call('1', 'text');
  await quiet();
  world.fromServer({ id: '1', result: textResult('of the text') });
  expect(world.client).toEqual([{ jsonrpc: '2.0', id: '1', result: textResult('of the text') }]);
  expect(world.session.pending).toBe(1);
});

test('an id in use is refused without touching the first request', async () => {
  const world = new World();
  world.call(1, 'first');
  await quiet();
  world.call(1, 'second');
  await quiet();
  expect(world.server.map(({ params }) => (params as { name: string }).name)).toEqual(['first']);
  expect(world.client).toEqual([
    expect.objectContaining({ id: null, error: expect.objectContaining({ code: -32600 }) }),
  ]);
  world.fromServer({ id: 1, result: textResult('first') });
  expect(world.client).toHaveLength(2);
});

test('a client cannot take the id of a question of ours', async () => {
  const world = new World();
  world.tools = undefined;
  world.call(1);
  await quiet();
  const own = world.server[0]?.['id'];
  expect(own).toMatch(/^agentmesh\//);
  world.fromClient({ id: textOf(own), method: 'ping' });
  expect(world.client[0]).toMatchObject({ id: null, error: { code: -32600 } });
  world.fromClient({ method: 'notifications/cancelled', params: { requestId: textOf(own) } });
  expect(world.server).toHaveLength(1);
});

test('an answer to what is still being decided, or was never asked, is dropped', async () => {
  const world = new World();
  const slow = later();
  world.gate.decideBy = slow.decide;
  world.call(1);
  await quiet();
  world.fromServer({ id: 1, result: textResult('guessed') });
  world.fromServer({ id: 99, result: textResult('unasked') });
  world.fromServer('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse"}}');
  expect(world.client).toEqual([]);
  slow.give(denied);
  await quiet();
  expect(world.client).toHaveLength(1);
  expect(JSON.stringify(world.client)).not.toMatch(/guessed/);
});

test("the server's requests are judged, and its id space is its own", async () => {
  const world = new World();
  world.gate.decideBy = ({ action }) => (action === 'sampling' ? denied : verdictOf());
  world.call(1);
  await quiet();
  world.fromServer({ id: 1, method: 'sampling/createMessage', params: { messages: [] } });
  world.fromServer({ id: 2, method: 'elicitation/create', params: { message: 'name?' } });
  await quiet();
  expect(world.server.at(-1)).toMatchObject({ id: 1, error: { code: -32001, data: { code: 'policy_denied' } } });
  expect(world.client).toEqual([expect.objectContaining({ id: 2, method: 'elicitation/create' })]);
  world.fromClient({ id: 2, result: { action: 'accept', content: {} } });
  expect(world.server.at(-1)).toMatchObject({ id: 2, result: { action: 'accept' } });
  expect(world.gate.settled).toEqual([['some-rule', 'ok']]);
  world.fromServer({ id: 1, result: textResult('done') });
  expect(world.client.at(-1)).toMatchObject({ id: 1, result: textResult('done') });
});

test('an answer of the client that nobody asked for does not reach the server', async () => {
  const world = new World();
  const slow = later();
  world.gate.decideBy = slow.decide;
  world.fromServer({ id: 5, method: 'sampling/createMessage', params: {} });
  world.fromClient({ id: 5, result: {} });
  world.fromClient({ id: 6, error: { code: 1, message: 'x' } });
  expect(world.server).toEqual([]);
});

test('a sampling request that the server cancels while it waits never reaches the client', async () => {
  const world = new World();
  world.gate.decideBy = later().decide;
  world.fromServer({ id: 5, method: 'sampling/createMessage', params: {} });
  await quiet();
  world.fromServer({ method: 'notifications/cancelled', params: { requestId: 5 } });
  await quiet();
  expect(world.client).toEqual([]);
});

test('progress goes to the exchange whose token it has, in order with the result', async () => {
  const world = new World();
  world.call(1, 'a', {}, { progressToken: 'one' });
  world.call(2, 'b', {}, { progressToken: 2 });
  await quiet();
  world.fromServer({ method: 'notifications/progress', params: { progressToken: 2, progress: 1 } });
  world.fromServer({ method: 'notifications/progress', params: { progressToken: 'one', progress: 1 } });
  world.fromServer({ id: 2, result: textResult('b') });
  world.fromServer({ method: 'notifications/message', params: { level: 'info', data: 'x' } });
  expect(world.routes).toEqual([
    { origin: 'call 2', isLast: false },
    { origin: 'call 1', isLast: false },
    { origin: 'call 2', isLast: true },
    { origin: undefined, isLast: false },
  ]);
});

test('what came on the stream of a request goes to its exchange', async () => {
  const world = new World();
  world.call(1);
  await quiet();
  world.fromServer({ id: 'r', method: 'roots/list' }, 1);
  world.fromServer({ method: 'notifications/message', params: {} }, 1);
  await quiet();
  expect(world.routes.map(({ origin }) => origin)).toEqual(['call 1', 'call 1']);
});

test('a call without an id is not carried out', async () => {
  const world = new World();
  world.fromClient({ method: 'tools/call', params: { name: 'delete_file' } });
  world.fromClient({ method: 'resources/read', params: { uri: 'file:///etc/passwd' } });
  world.fromServer({ method: 'sampling/createMessage', params: {} });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toEqual([]);
  expect(world.reports).toHaveLength(3);
});

test('another message without an id is judged by its method', async () => {
  const world = new World();
  world.gate.decideBy = ({ mcp }) => (mcp?.method === 'acme/forbidden' ? denied : verdictOf());
  world.fromClient({ method: 'acme/forbidden' });
  world.fromClient({ method: 'acme/known' });
  await quiet();
  expect(world.server).toEqual([{ jsonrpc: '2.0', method: 'acme/known' }]);
});

test('what cannot be read is answered with what is wrong, and goes nowhere', () => {
  const world = new World();
  world.fromClient('{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping"}');
  world.fromClient('[{"jsonrpc":"2.0","id":1,"method":"ping"}]');
  world.fromClient('not json');
  expect(world.server).toEqual([]);
  expect(world.client.map(({ error }) => (error as { code: number }).code)).toEqual([-32600, -32600, -32700]);
});

test('an answer that cannot be read fails the request that it is to', async () => {
  const world = new World();
  world.call(1);
  await quiet();
  world.fromServer('{"jsonrpc":"2.0","id":1,"result":{"content":[],"content":[{"type":"text","text":"two"}]}}');
  expect(world.client).toHaveLength(1);
  expect(JSON.stringify(world.client)).not.toMatch(/two/);
  expect(world.gate.settled).toEqual([['some-rule', 'malformed']]);
});

test("a tool's own error is the server's to tell, and settled as failed", async () => {
  const world = new World();
  world.call(1);
  world.call(2);
  await quiet();
  world.fromServer({ id: 1, result: { ...textResult('no such file'), isError: true } });
  world.fromServer({ id: 2, error: { code: -32602, message: 'bad', data: { why: 1 } } });
  expect(world.client.at(-1)).toMatchObject({ error: { code: -32602, message: 'bad', data: { why: 1 } } });
  expect(world.gate.settled.map(([, code]) => code)).toEqual(['failed', 'failed']);
});

test('results and errors go through the output rules', async () => {
  const world = new World();
  const output = { ...verdictOf().output, pii: 'redact', secrets: 'refuse' } as const;
  world.gate.decideBy = () => verdictOf({ output });
  for (const id of [1, 2, 3]) world.call(id);
  await quiet();
  world.fromServer({ id: 1, result: textResult('write to alice@example.com') });
  world.fromServer({ id: 2, error: { code: 1, message: 'alice@example.com is unknown' } });
  world.fromServer({ id: 3, result: textResult('AKIAIOSFODNN7EXAMPLQ is the key') });
  expect(JSON.stringify(world.client.slice(0, 2))).not.toMatch(/alice/);
  expect(world.client[0]).toMatchObject({ id: 1, result: textResult('write to [redacted: pii.email]') });
  expect(world.client[1]).toMatchObject({ id: 2, error: { code: 1 } });
  expect(JSON.stringify(world.client[2])).not.toMatch(/AKIA/);
  expect(world.client[2]).toMatchObject({ id: 3, result: { isError: true } });
  expect(world.gate.outcomes[0]?.labels).toEqual(['pii.email']);
  expect(world.gate.settled.map(([, code]) => code)).toEqual(['ok', 'failed', 'policy_denied']);
});

test('a server that ends fails what waits for it, and what comes after', async () => {
  const world = new World();
  const slow = later();
  world.call(1);
  await quiet();
  world.gate.decideBy = slow.decide;
  world.call(2);
  await quiet();
  world.session.serverEnded({ code: 'closed', message: 'Cannot go on: the server ended (exit code 1)' });
  world.call(3);
  expect(world.client.map(({ id }) => id)).toEqual([1, 2, 3]);
  expect(JSON.stringify(world.client)).toMatch(/exit code 1/);
  expect(world.gate.settled).toEqual([['some-rule', 'closed']]);
  expect(world.session.pending).toBe(0);
});

test('a request that cannot be delivered is answered', async () => {
  const world = new World();
  world.call(1);
  await quiet();
  world.session.failRequest(1, { code: 'unreachable', message: 'Cannot reach the server' });
  world.session.failRequest(2, { code: 'unreachable', message: 'Cannot reach the server' });
  expect(world.client).toHaveLength(1);
  expect(world.gate.settled).toEqual([['some-rule', 'unreachable']]);
});

test('too many requests without an answer are refused', () => {
  const world = new World();
  for (let id = 0; id < MCP_PENDING_MAX + 1; id++) world.fromClient({ id, method: 'ping' });
  expect(world.server).toHaveLength(MCP_PENDING_MAX);
  expect(world.client).toEqual([expect.objectContaining({ id: MCP_PENDING_MAX })]);
  expect(JSON.stringify(world.client)).toMatch(/busy/);
});

test('clientEnded() waits for what is being decided, and not for approvals', async () => {
  const world = new World();
  const slow = later();
  world.gate.decideBy = slow.decide;
  world.call(1);
  let isOver = false;
  void world.session.clientEnded().then(() => (isOver = true));
  await quiet();
  expect(isOver).toBe(false);
  slow.give(verdictOf());
  await quiet();
  expect(isOver).toBe(true);
  expect(world.server).toHaveLength(1);
});

test('close() sends nothing more and gives up what is under way', async () => {
  const world = new World();
  world.call(1);
  await quiet();
  world.session.close();
  world.fromServer({ id: 1, result: textResult('late') });
  world.call(2);
  await quiet();
  expect(world.client).toEqual([]);
  expect(world.gate.settled).toEqual([['some-rule', 'closed']]);
});

test('what is told again and again is told a few times', () => {
  const world = new World();
  for (let i = 0; i < 100; i++) world.fromServer({ id: i, result: {} });
  expect(world.reports.length).toBeLessThan(10);
  expect(world.reports.length).toBeGreaterThan(0);
});

test('what is wrong with arguments is said, and the server sees nothing', async () => {
  const world = new World();
  world.fromClient({ id: 1, method: 'tools/call', params: { name: 5 } });
  world.fromClient({ id: 2, method: 'tools/call', params: { name: 'a', arguments: [] } });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toEqual([
    expect.objectContaining({ id: 1, error: expect.objectContaining({ code: -32602 }) }),
    expect.objectContaining({ id: 2, error: expect.objectContaining({ code: -32602 }) }),
  ]);
});

test('a footer says what was checked, as text of its own', async () => {
  const world = new World({ footer: true });
  world.tools = [{ name: 'plain' }, { name: 'typed', outputSchema: { type: 'object' } }];
  world.gate.decideBy = () => verdictOf({ index: 41 });
  world.call(1, 'plain');
  world.call(2, 'typed');
  await quiet();
  world.fromServer({ id: 1, result: textResult('one') });
  world.fromServer({ id: 2, result: textResult('two') });
  const [plain, typed] = world.client.map(({ result }) => result as { content: { text: string }[]; _meta?: object });
  expect(plain?.content).toHaveLength(2);
  expect(plain?.content[1]?.text).toMatch(/agentmesh log show 41/);
  expect(typed?.content).toHaveLength(1);
  expect(typed?._meta).toMatchObject({ 'agentmesh/verification': { index: 41 } });
});

const SELF = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'files', version: '1' } };
const REDACTING = verdictOf({ output: { ...verdictOf().output, secrets: 'redact' } });
const TOKEN = `ghp_${'a1B2'.repeat(9)}`;

test('what a server says of itself goes through the output rules, and nothing is asked where they have nothing to say', async () => {
  const world = new World();
  world.gate.decideBy = () => REDACTING;
  world.fromClient(INITIALIZE());
  world.fromServer({ id: 0, result: { ...SELF, instructions: 'Read before you write' } });
  expect(world.client).toMatchObject([{ id: 0, result: { instructions: 'Read before you write' } }]); // at once
  expect(world.gate.asked).toEqual([]);
  world.fromClient(INITIALIZE());
  world.fromServer({ id: 0, result: { ...SELF, instructions: `Use ${TOKEN}` } });
  await quiet();
  expect(world.gate.asked).toEqual([{ action: 'mcp_request', mcp: { method: 'initialize' } }]);
  expect(world.client[1]).toMatchObject({
    id: 0,
    result: { ...SELF, instructions: expect.stringContaining('[redacted') },
  });
  expect(world.clientTexts.join()).not.toContain(TOKEN);
  expect(world.gate.settled).toEqual([['some-rule', 'ok']]);
});

test('a server that cannot be asked about says nothing that a rule could keep back', async () => {
  const world = new World();
  world.gate.decideBy = () => Promise.reject(new MeshError('not_running', 'Cannot reach the daemon'));
  world.fromClient(INITIALIZE());
  world.fromServer({ id: 0, error: { code: -32603, message: `Bad token ${TOKEN}` } });
  await quiet();
  expect(world.client).toMatchObject([
    { id: 0, error: { message: expect.stringContaining('Cannot reach the daemon') } },
  ]);
  expect(world.clientTexts.join()).not.toContain(TOKEN);
});

test('requests without an answer are bounded in bytes too, sent or not', async () => {
  const world = new World();
  const blob = 'x'.repeat(MCP_WAITING_BYTES_MAX / 4);
  for (let id = 1; id <= 4; id++) world.fromClient({ id, method: 'ping', params: { blob } });
  expect(world.server.map(({ id }) => id)).toEqual([1, 2, 3]);
  expect(JSON.stringify(world.client)).toMatch(/"id":4.*"code":"busy"/);
  world.fromServer({ id: 1, result: textResult('done') });
  world.fromClient({ id: 5, method: 'ping', params: { blob } });
  expect(world.server.map(({ id }) => id)).toEqual([1, 2, 3, 5]);
});

test('clientEnded() waits for a list that is still judged', async () => {
  const world = new World();
  world.fromClient({ id: 1, method: 'prompts/list' });
  await quiet();
  const filtered = Promise.withResolvers<readonly boolean[]>();
  world.gate.filter = () => filtered.promise;
  world.fromServer({ id: 1, result: { prompts: [{ name: 'a' }] } });
  world.session.serverEnded({ code: 'closed', message: 'Cannot go on: the server ended' });
  let isOver = false;
  void world.session.clientEnded().then(() => (isOver = true));
  await quiet();
  expect(isOver).toBe(false);
  filtered.resolve([true]);
  await quiet();
  expect(isOver).toBe(true);
  expect(world.client).toMatchObject([{ id: 1, result: { prompts: [{ name: 'a' }] } }]);
});

test('a list that is cancelled while it is judged ends once', async () => {
  const world = new World();
  world.fromClient({ id: 1, method: 'prompts/list' });
  await quiet();
  const filtered = Promise.withResolvers<readonly boolean[]>();
  world.gate.filter = () => filtered.promise;
  world.fromServer({ id: 1, result: { prompts: [{ name: 'a' }] } });
  world.fromClient({ method: 'notifications/cancelled', params: { requestId: 1 } });
  filtered.resolve([true]);
  await quiet();
  expect(world.client).toEqual([]);
  expect(world.gate.settled).toEqual([['some-rule', 'cancelled']]);
});

test('of several questions in a result that is cancelled meanwhile, each that was allowed is told how it ended', async () => {
  const world = new World();
  const slow = later();
  world.call(1, 'read_file', {}, STATELESS());
  await quiet();
  let questions = 0;
  world.gate.decideBy = (request, options) =>
    ++questions === 1 ? verdictOf({ rule: 'first' }) : slow.decide(request, options);
  const question = { method: 'elicitation/create', params: { message: 'Who?', requestedSchema: {} } };
  world.fromServer({ id: 1, result: { resultType: 'input_required', inputRequests: { a: question, b: question } } });
  await quiet();
  world.fromClient({ method: 'notifications/cancelled', params: { requestId: 1 } });
  await quiet();
  expect(questions).toBe(2);
  expect(world.gate.settled).toHaveLength(2);
  expect(Object.fromEntries(world.gate.settled)).toEqual({ first: 'cancelled', 'some-rule': 'cancelled' });
  expect(world.client).toEqual([]);
});
