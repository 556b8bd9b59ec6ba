import { expect, test } from 'vitest';
import type { JsonObject } from '../../../protocol/encoding/jcs.ts';
import { MeshError } from '../../../protocol/errors.ts';
import type { DecideOptions, Verdict } from '../../../protocol/policy/index.ts';
import { APPROVAL, denied, INITIALIZE, quiet, STATELESS, textResult, verdictOf, World } from './session-world.ts';

const waiting = verdictOf({ effect: 'require_approval', code: 'approval_pending', approval: APPROVAL });
const CAN_ASK = { elicitation: {} };

/** A gate that holds what it is asked until the test says how it ends. */
class Holding {
  readonly asked: DecideOptions[] = [];
  #settle: ((verdict: Verdict) => void) | undefined;
  readonly decide = (_: unknown, options: DecideOptions): Verdict | Promise<Verdict> => {
    this.asked.push(options);
    if ((options.holdMs ?? 0) === 0) return waiting;
    return new Promise((settle, fail) => {
      this.#settle = settle;
      options.signal?.addEventListener('abort', () => fail(new MeshError('cancelled', 'Cannot decide: cancelled')));
      options.onWaiting?.(APPROVAL);
    });
  };
  sign(): void {
    this.asked.at(-1)?.onWaiting?.(APPROVAL);
  }
  end(verdict: Verdict): void {
    this.#settle?.(verdict);
  }
}

function held(options: { approvalWaitMs?: number } = {}): { world: World; gate: Holding } {
  const world = new World(options);
  const gate = new Holding();
  world.gate.decideBy = gate.decide;
  return { world, gate };
}

test('a held call goes through once it is approved', async () => {
  const { world, gate } = held();
  world.call(1);
  await quiet();
  expect(world.server).toEqual([]);
  expect(gate.asked[0]?.holdMs).toBe(1_000);
  gate.end(verdictOf());
  await quiet();
  expect(world.server).toHaveLength(1);
  expect(world.client).toEqual([]);
});

test('a client that cannot be asked is told of the approval when the time is over', async () => {
  const { world, gate } = held();
  world.call(1);
  await quiet();
  gate.end(waiting);
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toHaveLength(1);
  expect(world.client[0]).toMatchObject({
    id: 1,
    result: {
      isError: true,
      _meta: { 'agentmesh/decision': { code: 'approval_pending', approval: { id: APPROVAL.id } } },
    },
  });
});

test('without a time to wait nothing is held', async () => {
  const { world, gate } = held({ approvalWaitMs: 0 });
  world.call(1);
  await quiet();
  expect(gate.asked).toEqual([{ origin: 'call 1', signal: expect.any(AbortSignal) }]);
  expect(JSON.stringify(world.client)).toContain(`agentmesh approvals approve ${APPROVAL.id}`);
});

test('who gave a progress token gets signs of life that rise', async () => {
  const { world, gate } = held();
  world.call(1, 'write', {}, { progressToken: 't' });
  await quiet();
  gate.sign();
  gate.sign();
  const sent = world.client.map(({ method, params }) => [
    method,
    (params as JsonObject)['progressToken'],
    (params as JsonObject)['progress'],
  ]);
  expect(sent.map(([method, token]) => [method, token])).toEqual(Array(3).fill(['notifications/progress', 't']));
  const steps = sent.map(([, , progress]) => Number(progress));
  expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b));
  expect(steps.every((step) => step > 0 && step < 0.001)).toBe(true);
  expect(world.routes.every(({ origin, isLast }) => origin === 'call 1' && !isLast)).toBe(true);
});

test('what is held keeps nothing else back', async () => {
  const { world } = held();
  const { decide } = new Holding();
  world.gate.decideBy = (request, options) => (request.tool?.name === 'write' ? decide(request, options) : verdictOf());
  world.call(1, 'write');
  world.call(2, 'read');
  await quiet();
  world.fromServer({ id: 2, result: textResult('read') });
  expect(world.client).toEqual([expect.objectContaining({ id: 2 })]);
});

test('a client of the first era is asked, waits on, and is told when it is decided', async () => {
  const { world, gate } = held();
  world.fromClient(INITIALIZE(CAN_ASK));
  world.call(1);
  await quiet();
  gate.sign();
  expect(world.client).toHaveLength(1);
  const question = world.client[0] as { id: string; method: string; params: { message: string } };
  expect(question.method).toBe('elicitation/create');
  expect(question.params.message).toContain(`agentmesh approvals approve ${APPROVAL.id}`);
  world.fromClient({ id: question.id, result: { action: 'accept' } });
  await quiet();
  expect(world.server).toHaveLength(1); // initialize
  gate.end(verdictOf());
  await quiet();
  expect(world.server).toHaveLength(2);
  expect(world.client).toHaveLength(1);
});

test.each(['decline', 'cancel'])('a client that answers "%s" is answered now', async (action) => {
  const { world } = held();
  world.fromClient(INITIALIZE(CAN_ASK));
  world.call(1);
  await quiet();
  world.fromClient({ id: (world.client[0] as { id: string }).id, result: { action } });
  await quiet();
  expect(world.server).toHaveLength(1); // initialize
  expect(world.client[1]).toMatchObject({ id: 1, result: { isError: true } });
  expect(JSON.stringify(world.client[1])).toMatch(/approval_pending/);
  expect(world.client).toHaveLength(2);
});

test('a client that cannot show the question after all waits on', async () => {
  const { world, gate } = held();
  world.fromClient(INITIALIZE(CAN_ASK));
  world.call(1);
  await quiet();
  world.fromClient({ id: (world.client[0] as { id: string }).id, error: { code: -32601, message: 'no' } });
  gate.end(verdictOf());
  await quiet();
  expect(world.server).toHaveLength(2);
});

test('a question whose matter is decided is taken back', async () => {
  const { world, gate } = held();
  world.fromClient(INITIALIZE(CAN_ASK));
  world.call(1);
  await quiet();
  const { id } = world.client[0] as { id: string };
  gate.end(denied);
  await quiet();
  expect(world.client[1]).toMatchObject({ method: 'notifications/cancelled', params: { requestId: id } });
  expect(world.client[2]).toMatchObject({ id: 1, result: { isError: true } });
  world.fromClient({ id, result: { action: 'accept' } });
  await quiet();
  expect(world.client).toHaveLength(3);
});

test('the server neither sees the question nor can answer or use its id', async () => {
  const { world } = held();
  world.fromClient(INITIALIZE(CAN_ASK));
  world.call(1);
  await quiet();
  const { id } = world.client[0] as { id: string };
  world.fromServer({ id, method: 'roots/list' });
  world.fromServer({ method: 'notifications/cancelled', params: { requestId: id } });
  expect(world.server.at(-1)).toMatchObject({ id: null, error: { code: -32600 } });
  expect(world.client).toHaveLength(1);
});

test.each([{}, { elicitation: { url: {} } }, { elicitation: true }])(
  'a client with %j is not asked',
  async (capabilities) => {
    const { world } = held();
    world.fromClient(INITIALIZE(capabilities));
    world.call(1);
    await quiet();
    expect(world.client).toEqual([]);
  },
);

test('a client that leaves drops what it was held for', async () => {
  const { world, gate } = held();
  world.call(1);
  await quiet();
  await world.session.clientEnded();
  gate.end(verdictOf());
  await quiet();
  expect(world.server).toEqual([]);
  expect(gate.asked[0]?.signal?.aborted).toBe(true);
});

test('a stateless client takes the question with it, comes back and waits', async () => {
  const { world, gate } = held();
  world.call(1, 'write', { path: '/a' }, STATELESS(CAN_ASK));
  await quiet();
  expect(gate.asked[0]?.holdMs).toBeUndefined();
  const { result } = world.client[0] as {
    result: { resultType: string; inputRequests: JsonObject; requestState: string };
  };
  expect(result.resultType).toBe('input_required');
  expect(Object.keys(result.inputRequests)).toEqual(['agentmesh/approval']);

  world.fromClient({
    id: 2,
    method: 'tools/call',
    params: {
      name: 'write',
      arguments: { path: '/a' },
      _meta: STATELESS(CAN_ASK),
      requestState: result.requestState,
      inputResponses: { 'agentmesh/approval': { action: 'accept' } },
    },
  });
  await quiet();
  expect(gate.asked[1]?.holdMs).toBe(1_000);
  gate.end(verdictOf());
  await quiet();
  expect(world.server).toEqual([
    {
      jsonrpc: '2.0',
      id: 2,
      method: 'tools/call',
      params: { name: 'write', arguments: { path: '/a' }, _meta: STATELESS(CAN_ASK) },
    },
  ]);
  expect(world.gate.asked[1]).toEqual(world.gate.asked[0]);
});

test("a server's own round goes on where the question interrupted it", async () => {
  const { world, gate } = held();
  const own = { requestState: 'opaque', inputResponses: { name: { action: 'accept', content: { a: 'b' } } } };
  const call = { name: 'write', _meta: STATELESS(CAN_ASK) };
  world.fromClient({ id: 1, method: 'tools/call', params: { ...call, ...own } });
  await quiet();
  const { result } = world.client[0] as { result: { requestState: string } };
  world.fromClient({
    id: 2,
    method: 'tools/call',
    params: {
      ...call,
      requestState: result.requestState,
      inputResponses: { 'agentmesh/approval': { action: 'accept' } },
    },
  });
  await quiet();
  gate.end(verdictOf());
  await quiet();
  expect(world.server[0]).toMatchObject({ id: 2, params: { ...call, ...own } });
});

test('a stateless client that declines is answered, and nothing is asked of the gate', async () => {
  const { world } = held();
  world.call(1, 'write', {}, STATELESS(CAN_ASK));
  await quiet();
  const { result } = world.client[0] as { result: { requestState: string } };
  world.fromClient({
    id: 2,
    method: 'tools/call',
    params: {
      name: 'write',
      arguments: {},
      _meta: STATELESS(CAN_ASK),
      requestState: result.requestState,
      inputResponses: { 'agentmesh/approval': { action: 'decline' } },
    },
  });
  await quiet();
  expect(world.gate.asked).toHaveLength(1);
  expect(world.client[1]).toMatchObject({ id: 2, result: { isError: true, resultType: 'complete' } });
});

test('a state that somebody made up gives no right', async () => {
  const world = new World();
  world.gate.decideBy = () => denied;
  for (const [id, state] of [
    'agentmesh/1 {"approval":"0123456789abcdef"}',
    'agentmesh/1 nonsense',
    'agentmesh/1 []',
  ].entries())
    world.fromClient({
      id,
      method: 'tools/call',
      params: { name: 'write', requestState: state, inputResponses: { 'agentmesh/approval': { action: 'accept' } } },
    });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client).toHaveLength(3);
});

test('what is put away in a state is read as strictly as any message', async () => {
  const world = new World();
  const state = 'agentmesh/1 {"inputResponses":{"__proto__":{"x":1}}}';
  world.fromClient({
    id: 1,
    method: 'tools/call',
    params: { name: 'write', requestState: state, inputResponses: { 'agentmesh/approval': { action: 'accept' } } },
  });
  await quiet();
  expect(world.server).toEqual([]);
  expect(world.client[0]).toMatchObject({ id: 1, error: { code: -32600 } });
});

test('a call with a number that doubles cannot hold is held, not sent back', async () => {
  const { world, gate } = held();
  world.fromClient(
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"n":12345678901234567890},"_meta":${JSON.stringify(STATELESS(CAN_ASK))}}}`,
  );
  await quiet();
  expect(gate.asked[0]?.holdMs).toBe(1_000);
  expect(world.gate.asked[0]?.exact).toMatch(/^[0-9a-f]{64}$/);
  expect(world.client).toEqual([]);
});

test('what a result asks the client for is judged as if the server asked', async () => {
  const world = new World();
  world.gate.decideBy = ({ action }) => (action === 'sampling' ? denied : verdictOf());
  const asking = (method: string): JsonObject => ({
    resultType: 'input_required',
    inputRequests: { q: { method, params: {} } },
    requestState: 'AKIAIOSFODNN7EXAMPLQ',
  });
  world.call(1, 'a', {}, STATELESS());
  world.call(2, 'b', {}, STATELESS());
  await quiet();
  world.fromServer({ id: 1, result: asking('sampling/createMessage') });
  world.fromServer({ id: 2, result: asking('elicitation/create') });
  await quiet();
  expect(world.client[0]).toMatchObject({ id: 1, result: { isError: true } });
  expect(world.client[1]).toMatchObject({ id: 2, result: asking('elicitation/create') });
  expect(world.gate.settled.map(([, code]) => code)).toEqual(['policy_denied', 'ok', 'ok']);
});

test('a result that asks for input goes through the output rules, but for its state', async () => {
  const world = new World();
  world.gate.decideBy = () => verdictOf({ output: { ...verdictOf().output, pii: 'redact', secrets: 'refuse' } });
  world.call(1);
  await quiet();
  const state = 'ghp_0123456789abcdefghijABCDEFGHIJ012345';
  world.fromServer({
    id: 1,
    result: {
      ...textResult('alice@example.com'),
      resultType: 'input_required',
      inputRequests: { q: { method: 'roots/list' } },
      requestState: state,
    },
  });
  await quiet();
  expect(world.client[0]).toMatchObject({ result: { ...textResult('[redacted: pii.email]'), requestState: state } });
});
