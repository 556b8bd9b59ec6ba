import { afterEach, beforeEach, expect, test } from 'vitest';
import type { NewReceipt } from '../../../../daemon/core/calls/receipts.ts';
import { isMeshError, limits, toHex, verifySignatures } from '../../../../protocol/index.ts';
import { createTaking, requestCommitment, signReceiptPayload } from '../../../../protocol/receipt/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { type CallerWorld, Client, createCallerWorld, encode, honest } from './caller-world.ts';

let world: CallerWorld;
let client: Client;
beforeEach(async () => {
  world = await createCallerWorld();
  client = new Client();
});
afterEach(async () => {
  await world.close();
  expect(world.beta.network.faults).toEqual([]);
});

const only = (): NewReceipt => {
  const [kept, ...more] = world.kept;
  if (kept === undefined || more.length > 0) throw new Error(`${world.kept.length} receipts were kept, want 1`);
  return kept;
};
const codeOf = async (work: () => Promise<unknown>): Promise<string> => {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (isMeshError(error)) return error.code;
    throw error;
  }
};
const outs = (): string[] =>
  world.kept.map(({ receipt: { payload } }) => `${payload.out}${payload.half === true ? ' half' : ''}`);

// A call

test('a call comes back with a receipt of both, which is kept with its order and taking', async () => {
  await world.open(client);
  client.call(1, { path: '/a' });
  await world.pass();
  expect(client.answerTo(1)).toMatchObject({ result: { content: [{ text: 'did {"path":"/a"}' }] } });
  const kept = only();
  expect(kept.receipt.payload).toMatchObject({ out: 'ok', n: 1, srv: 'files', iss: world.beta.agent.did });
  verifySignatures(kept.receipt, isSignatureValidSodium);
  expect(kept.receipt.payload.half).toBeUndefined();
  expect(kept).toMatchObject({ role: 'caller', server: 'files', tool: 'read' });
  expect(kept.taking?.payload.call.text).toBe(kept.order.id);
  expect(kept.intent).toMatch(/^intent-/);
  expect(world.callee().frames('sign')).toHaveLength(1);
  expect(client.receipts()).toMatchObject([{ request: 1, id: kept.receipt.id, out: 'ok', half: false, n: 1 }]);
});

test('the order commits to the request as it is on the wire, by the key of the session', async () => {
  await world.open(client);
  client.call(1, { path: '/a' });
  await world.pass();
  const came = world.callee().calls[0] ?? expect.fail('no call came');
  const { payload } = came.order;
  expect(toHex(payload.req)).toBe(toHex(requestCommitment(came.frame.salt, came.body)));
  const session = world.callee().session;
  expect(toHex(payload.by[0] ?? new Uint8Array())).toBe(toHex(session.agreed.peerKey));
  expect(toHex(payload.hs)).toBe(toHex(session.agreed.hash));
  verifySignatures(came.order, isSignatureValidSodium);
});

test('several calls at once are told apart whatever the order of their answers', async () => {
  world.is.acts = () => {};
  await world.open(client);
  for (const id of [1, 2, 3]) client.call(id, { id });
  await world.pass();
  const { calls } = world.callee();
  expect(calls.map(({ frame }) => frame.n)).toEqual([1, 2, 3]);
  for (const came of [...calls].reverse()) honest(world.callee(), came);
  await world.pass();
  for (const id of [1, 2, 3])
    expect(client.answerTo(id)).toMatchObject({ result: { content: [{ text: `did {"id":${id}}` }] } });
  expect(outs()).toEqual(['ok', 'ok', 'ok']);
});

test('what opens and lists has no order and no receipt', async () => {
  await world.open(client);
  client.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25' } });
  client.send({ jsonrpc: '2.0', id: 2, method: 'tools/list' });
  await world.pass();
  expect(client.answerTo(1)).toMatchObject({ result: { serverInfo: { name: 'files' } } });
  expect(client.answerTo(2)).toMatchObject({ result: { tools: [{ name: 'read' }] } });
  expect(world.callee().calls).toEqual([]);
  expect(world.kept).toEqual([]);
});

test('a method that nobody knows is a call', async () => {
  await world.open(client);
  client.send({ jsonrpc: '2.0', id: 1, method: 'tasks/get', params: { taskId: 'x' } });
  await world.pass();
  expect(world.callee().calls.map(({ request }) => request.method)).toEqual(['tasks/get']);
});

test('what its own policy denies does not leave', async () => {
  world.is.decides = ({ action }) =>
    action === 'tool_call' ? { effect: 'deny', code: 'policy_denied', rule: 'no-reads', reason: 'no reads' } : {};
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.codeOf(1)).toBe('policy_denied');
  expect(JSON.stringify(client.answerTo(1))).toContain('no-reads');
  expect(world.callee().calls).toEqual([]);
  const { sid } = world.callee().session;
  expect(world.beta.sessions.useOf(sid)).toMatchObject({ calls: 1, refused: 1, running: 0 });
});

test('policies name the server by the DID behind it', async () => {
  await world.open(client);
  client.call(1, { path: '../etc/passwd' });
  await world.pass();
  const asked = world.decided.find(({ action }) => action === 'tool_call');
  expect(asked?.tool?.server).toBe(`${world.acme.agent.did}/files`);
  expect(asked?.tool?.paths).toEqual(expect.arrayContaining(['../etc/passwd', '/etc/passwd']));
});

test('the output rules of the own policy clean what comes back', async () => {
  const secret = `ghp_${'a1B2c3D4e5F6'.repeat(3)}`;
  world.is.acts = (callee, came) => {
    callee.answer(came, { content: [{ type: 'text', text: `token ${secret}` }] });
  };
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(JSON.stringify(client.answerTo(1))).not.toContain(secret);
  expect(outs()).toEqual(['ok']); // of what was sent
});

test('progress and other notifications come as they are said', async () => {
  world.is.acts = (callee, came) => {
    for (const progress of [1, 2])
      callee.say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'p', progress } });
    honest(callee, came);
  };
  await world.open(client);
  client.call(1, {}, { progressToken: 'p' });
  await world.pass();
  const methods = client.lines.map((line) => (line as { method?: string }).method ?? 'answer');
  expect(methods).toEqual(['notifications/progress', 'notifications/progress', 'answer']);
});

test('what the server asks the client comes back to it', async () => {
  world.is.acts = (callee) => {
    const params = { message: 'Sure?', requestedSchema: { type: 'object', properties: {} } };
    callee.say({ jsonrpc: '2.0', id: 'ask-1', method: 'elicitation/create', params });
  };
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.lines).toMatchObject([{ id: 'ask-1', method: 'elicitation/create' }]);
  client.send({ jsonrpc: '2.0', id: 'ask-1', result: { action: 'accept', content: {} } });
  await world.pass();
  expect(world.callee().said()).toContainEqual({
    jsonrpc: '2.0',
    id: 'ask-1',
    result: { action: 'accept', content: {} },
  });
});

test('a call that the client cancels is cancelled there, and its receipt is kept', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1);
  await world.pass();
  client.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
  await world.pass();
  const callee = world.callee();
  expect(callee.cancelled()).toEqual([1]);
  callee.answer(callee.calls[0] ?? expect.fail('no call'), { content: [], isError: true }, 'cancelled');
  await world.pass();
  expect(client.answerTo(1)).toBeUndefined();
  expect(outs()).toEqual(['cancelled']);
});

test('an id that the client gave up and uses again gets no answer to the first', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1, { which: 'first' });
  await world.pass();
  client.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
  client.call(1, { which: 'second' });
  await world.pass();
  const [first, second] = world.callee().calls;
  honest(world.callee(), first ?? expect.fail('no call'));
  await world.pass();
  expect(client.answerTo(1)).toBeUndefined();
  honest(world.callee(), second ?? expect.fail('no second call'));
  await world.pass();
  expect(JSON.stringify(client.answerTo(1))).toContain('second');
});

// Dishonest callees

const DISHONEST: readonly (readonly [string, string, Parameters<CallerWorld['callees'][number]['answer']>[3]])[] = [
  [
    'another result than its receipt is of',
    'conflict',
    (given) => void (given.body = encode({ jsonrpc: '2.0', id: 1, result: { content: [] } })),
  ],
  ['another salt', 'conflict', (given) => void (given.salt = new Uint8Array(16).fill(9))],
  ['a signature by nobody', 'bad_signature', (given) => void (given.sig = new Uint8Array(64))],
  ['no receipt', 'malformed', (given) => void (given.rcpt = Uint8Array.of(0xff))],
];
test.each(DISHONEST)('a result with %s is declined (%s), and not shown', async (_what, code, change) => {
  world.is.acts = (callee, came) => callee.answer(came, { content: [{ type: 'text', text: 'SHOWN' }] }, 'ok', change);
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.codeOf(1)).toBe('bad_proof');
  expect(JSON.stringify(client.lines)).not.toContain('SHOWN');
  expect(world.callee().frames('decline')).toMatchObject([{ n: 1, code }]);
  expect(world.callee().frames('sign')).toEqual([]);
  expect(outs()).toEqual(['error half']);
  expect(client.receipts()).toMatchObject([{ request: 1, half: true }]);
  expect(client.endings).toEqual([]);
});

test('a receipt for another call is declined', async () => {
  world.is.acts = () => {};
  await world.open(client);
  client.call(1, { which: 1 });
  client.call(2, { which: 2 });
  await world.pass();
  const callee = world.callee();
  const [first, second] = callee.calls;
  if (first === undefined || second === undefined) throw new Error('no two calls');
  callee.answer(second, { content: [{ type: 'text', text: 'SWAPPED' }] }, 'ok', (given) => {
    given.n = first.frame.n;
  });
  await world.pass();
  expect(client.codeOf(1)).not.toBeUndefined();
  expect(JSON.stringify(client.lines)).not.toContain('SWAPPED');
  expect(callee.frames('decline')).toMatchObject([{ n: 1 }]);
  expect(client.answerTo(2)).toBeUndefined();
});

test('an answer to another request of the client is declined, though its receipt holds', async () => {
  world.is.acts = () => {};
  await world.open(client);
  client.call(1);
  client.call(2);
  await world.pass();
  const callee = world.callee();
  const [first] = callee.calls;
  callee.answer(
    { ...(first ?? expect.fail('no call')), request: { id: 2, method: 'tools/call', params: {} } },
    { content: [] },
  );
  await world.pass();
  expect(client.codeOf(1)).toBe('bad_proof');
  expect(client.answerTo(2)).toBeUndefined();
});

test('a receipt that says all went well over an error is declined', async () => {
  world.is.acts = (callee, came) => callee.answer(came, { content: [], isError: true }, 'ok');
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.codeOf(1)).toBe('bad_proof');
});

test('a receipt of an error with its error is signed', async () => {
  world.is.acts = (callee, came) => callee.answer(came, { content: [], isError: true }, 'error');
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.answerTo(1)).toMatchObject({ result: { isError: true } });
  expect(outs()).toEqual(['error']);
});

test('an answer without a receipt ends the link', async () => {
  world.is.acts = (callee, came) =>
    callee.say({ jsonrpc: '2.0', id: came.request.id, result: { content: [{ type: 'text', text: 'BARE' }] } });
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(JSON.stringify(client.lines)).not.toContain('BARE');
  expect(client.endings).toMatchObject([{ code: 'bad_proof' }]);
  expect(client.codeOf(1)).toBe('outcome_unknown');
});

test('a bare answer that no reader can take ends the link too', async () => {
  world.is.acts = (callee, came) =>
    void callee.messages.send(
      { f: 'msg' },
      new TextEncoder().encode(`{"jsonrpc":"1.0","id":${JSON.stringify(came.request.id)},"result":{}}`),
    );
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.endings).toMatchObject([{ code: 'bad_proof' }]);
});

test('what answers a number that was never asked ends the link', async () => {
  world.is.acts = (callee, came) => callee.answer(came, { content: [] }, 'ok', (given) => void (given.n = 77));
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.endings).toMatchObject([{ code: 'conflict' }]);
  expect(client.codeOf(1)).toBe('outcome_unknown');
  expect(outs()).toEqual(['timeout half']);
});

test('what answers twice ends the link, and the first answer stands', async () => {
  world.is.acts = (callee, came) => callee.give(callee.answer(came, { content: [] }));
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.answerTo(1)).toMatchObject({ result: { content: [] } });
  expect(outs()).toEqual(['ok']);
  expect(client.endings).toMatchObject([{ code: 'conflict' }]);
});

test('a taking by another key ends the link', async () => {
  world.is.acts = (callee, came) => {
    const other = world.acme.organisation.keys.auth;
    const taking = createTaking(came.order, { iat: came.order.payload.iat }, other);
    void callee.messages.send({ f: 'taken', n: came.frame.n, stmt: taking.envelope });
  };
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.endings).toMatchObject([{ code: 'conflict' }]);
  expect(only().taking).toBeUndefined();
});

test('a taking of another order ends the link', async () => {
  world.is.acts = () => {};
  await world.open(client);
  client.call(1);
  client.call(2);
  await world.pass();
  const callee = world.callee();
  const [first, second] = callee.calls;
  if (first === undefined || second === undefined) throw new Error('no two calls');
  callee.take({ ...second, frame: first.frame });
  await world.pass();
  expect(client.endings).toMatchObject([{ code: 'conflict' }]);
  expect(world.kept.map(({ taking }) => taking)).toEqual([undefined, undefined]);
});

test('a frame that only callers send ends the link', async () => {
  await world.open(client);
  void world.callee().messages.send({ f: 'sign', n: 1, sig: new Uint8Array(64) });
  await world.pass();
  expect(client.endings).toMatchObject([{ code: 'schema' }]);
});

test('a call that is taken and then not spoken of any more is given up, and cancelled there', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1, {}, { 'agentmesh/idempotency-key': 'a-key-of-sixteen' });
  await world.pass(limits.CALL_SILENCE_MS + 31_000);
  expect(client.codeOf(1)).toBe('outcome_unknown');
  expect(JSON.stringify(client.answerTo(1))).toContain('"key":"a-key-of-sixteen"');
  const kept = only();
  expect(kept.receipt.payload).toMatchObject({ out: 'timeout', half: true });
  expect(kept.taking).toBeDefined();
  expect(world.callee().cancelled()).toEqual([1]);
  honest(world.callee(), world.callee().calls[0] ?? expect.fail('no call'));
  await world.pass();
  expect(outs()).toEqual(['timeout half']); // too late, and no offence
  expect(client.endings).toEqual([]);
});

test('progress is a sign of life, and a call that gives it is waited for', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1, {}, { progressToken: 'p' });
  client.call(2);
  for (let progress = 1; progress <= 3; progress++) {
    await world.pass(limits.CALL_SILENCE_MS / 2);
    world.callee().say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'p', progress } });
  }
  await world.pass();
  expect(client.codeOf(2)).toBe('outcome_unknown');
  expect(client.answerTo(1)).toBeUndefined();
  honest(world.callee(), world.callee().calls[0] ?? expect.fail('no call'));
  await world.pass();
  expect(client.answerTo(1)).toMatchObject({ result: { content: [{ text: 'did {}' }] } });
});

// Keys

test('a key that the client names goes into the order, one that it does not is told with the error', async () => {
  world.is.acts = () => {};
  await world.open(client);
  client.call(1, {}, { 'agentmesh/idempotency-key': 'a-key-of-sixteen' });
  client.call(2);
  await world.pass();
  const [first, second] = world.callee().calls;
  expect(new TextDecoder().decode(first?.order.payload.key)).toBe('a-key-of-sixteen');
  const made = new TextDecoder().decode(second?.order.payload.key);
  expect(made).toMatch(/^[0-9a-f]{32}$/);
  world.callee().messages.abort('gone');
  await world.pass();
  expect([1, 2].map((id) => client.codeOf(id))).toEqual(['outcome_unknown', 'outcome_unknown']);
  expect(JSON.stringify(client.answerTo(2))).toContain(`"key":"${made}"`);
});

test.each(['short', 'x'.repeat(65), 'with a space in it', 7])(
  'a key like %j is refused, and nothing leaves',
  async (key) => {
    await world.open(client);
    client.call(1, {}, { 'agentmesh/idempotency-key': key });
    await world.pass();
    expect(client.codeOf(1)).toBe('schema');
    expect(world.callee().calls).toEqual([]);
  },
);

test('asked again under its key, the receipt of the first time settles the call that was not known', async () => {
  const key = { 'agentmesh/idempotency-key': 'a-key-of-sixteen' };
  world.is.acts = () => {};
  await world.open(client);
  client.call(1, {}, key);
  await world.pass();
  const callee = world.callee();
  const first = callee.calls[0] ?? expect.fail('no call');
  world.beta.network.connections(); // the connection stays; only the stream is lost
  callee.messages.abort('gone');
  await world.pass();
  expect(client.codeOf(1)).toBe('outcome_unknown');

  const again = new Client();
  world.is.acts = (other, came) => {
    const recorded = other.answer(first, { content: [{ type: 'text', text: 'done once' }] }, 'ok', (given) => {
      given.n = came.frame.n;
    });
    expect(recorded.n).toBe(came.frame.n);
  };
  await world.open(again);
  again.call(5, {}, key);
  await world.pass();
  expect(again.answerTo(5)).toMatchObject({ id: 5, result: { content: [{ text: 'done once' }] } });
  expect(outs()).toEqual(['timeout half', 'ok']);
  expect(world.kept[1]?.order.id).toBe(first.order.id);
  expect(world.callee().frames('sign')).toHaveLength(1);
});

test('the receipt of an earlier call under another key is declined', async () => {
  world.is.acts = () => {};
  await world.open(client);
  client.call(1, {}, { 'agentmesh/idempotency-key': 'a-key-of-sixteen' });
  await world.pass();
  const first = world.callee().calls[0] ?? expect.fail('no call');
  world.callee().messages.abort('gone');
  await world.pass();
  const again = new Client();
  world.is.acts = (other, came) =>
    other.answer(first, { content: [{ type: 'text', text: 'OTHER' }] }, 'ok', (given) => void (given.n = came.frame.n));
  await world.open(again);
  again.call(5, {}, { 'agentmesh/idempotency-key': 'another-key-of-17' });
  await world.pass();
  expect(again.codeOf(5)).toBe('bad_proof');
  expect(JSON.stringify(again.lines)).not.toContain('OTHER');
});

test('a receipt of a call that is not held here says that nothing is known', async () => {
  world.is.acts = (callee, came) => {
    const other = { ...came, order: callee.calls[0]?.order ?? came.order };
    const { signer } = callee.sessionOf(came).agreed;
    const { payload } = other.order;
    expect(payload.n).toBe(1);
    callee.answer(came, { content: [] }, 'ok', (given) => {
      const at = given.rcpt.indexOf(came.order.digest[0] ?? 0);
      expect(at).toBeGreaterThan(0);
      // The order's digest in the payload, one bit changed, signed by the callee all the same.
      const digest = toHex(came.order.digest);
      const hex = toHex(given.rcpt).replace(digest, `${digest.slice(0, -1)}${digest.endsWith('0') ? '1' : '0'}`);
      given.rcpt = Uint8Array.from(Buffer.from(hex, 'hex'));
      given.sig = signReceiptPayload(given.rcpt, signer);
    });
  };
  await world.open(client);
  client.call(1);
  await world.pass();
  expect(client.codeOf(1)).toBe('outcome_unknown');
  expect(world.callee().frames('decline')).toMatchObject([{ n: 1, code: 'outcome_unknown' }]);
  expect(outs()).toEqual(['timeout half']); // it says nothing that the receipt of the first time could contradict
});

// Sessions

test('links to one place share a session, and numbers are told apart across them', async () => {
  const other = new Client();
  await world.open(client);
  await world.open(other);
  client.call(1);
  other.call(1);
  client.call(2);
  await world.pass();
  expect(world.beta.sessions.size).toBe(1);
  const numbers = world.callees.flatMap(({ calls }) => calls.map(({ frame }) => frame.n));
  expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
});

test('a session is kept for a moment for the next link, then ended', async () => {
  await world.open(client);
  const closing = client.link?.close();
  await world.pass(1_000);
  await closing;
  expect(world.beta.sessions.size).toBe(1);
  await world.open(client);
  expect(world.beta.sessions.size).toBe(1);
  const again = client.link?.close();
  await world.pass(limits.CALL_SESSION_IDLE_MS + 5_000);
  await again;
  expect(world.beta.sessions.size).toBe(0);
});

test('the session under a link is renewed while it and its calls go on', async () => {
  world.is.acts = () => {};
  await world.open(client);
  const [first] = world.beta.sessions.list();
  client.call(1);
  await world.pass();
  const before = world.callee().calls[0] ?? expect.fail('no call');
  await world.pass(11 * 60_000);
  expect(client.endings).toEqual([]);
  expect(world.callee().frames('renew')).toHaveLength(1);
  const sids = world.beta.sessions.list().map(({ sid }) => sid);
  expect(sids).toHaveLength(2); // the call under way keeps the first
  client.call(2);
  await world.pass();
  const after = world.callee().calls[1] ?? expect.fail('no second call');
  expect(toHex(after.order.payload.sid)).not.toBe(toHex(before.order.payload.sid));
  honest(world.callee(), before);
  honest(world.callee(), after);
  await world.pass();
  expect(outs()).toEqual(['ok', 'ok']);
  expect(world.beta.sessions.list().map(({ sid }) => sid)).not.toContain(first?.sid);
  expect(world.beta.sessions.useOf(world.callee().session.sid)?.links.size).toBe(1);
});

test('a link lives through many sessions', async () => {
  await world.open(client);
  await world.pass(30 * 60_000);
  client.call(1);
  await world.pass();
  expect(client.answerTo(1)).toBeDefined();
  expect(client.endings).toEqual([]);
  expect(world.callee().frames('renew').length).toBeGreaterThanOrEqual(2);
});

test('a session that cannot be renewed ends its link when it ends', async () => {
  await world.open(client);
  world.acme.is.policy = {
    need: () => ({ minScore: 1000 }),
    verify: () => {},
  };
  await world.pass(20 * 60_000);
  expect(client.endings).toMatchObject([{ code: 'expired' }]);
});

test('a revocation in the middle of a call ends the link with its code', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1);
  await world.pass();
  const { sid } = world.callee().session;
  world.beta.sessions.end(sid, 'revoked');
  client.call(2);
  await world.pass(limits.CALL_LAST_MS + 100);
  expect(client.codeOf(1)).toBe('outcome_unknown');
  expect(client.codeOf(2)).toBe('revoked');
  expect(client.endings).toMatchObject([{ code: 'revoked' }]);
  expect(outs()).toEqual(['cancelled half']);
  expect(only().taking).toBeDefined();
});

test('receipts that the other side gives as the session ends are still signed', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1);
  await world.pass();
  const callee = world.callee();
  const came = callee.calls[0] ?? expect.fail('no call');
  callee.sessionOf(came);
  world.beta.sessions.end(callee.session.sid, 'revoked');
  callee.answer(came, { content: [{ type: 'text', text: 'revoked' }], isError: true }, 'cancelled');
  await world.pass();
  expect(outs()).toEqual(['cancelled']);
  expect(client.answerTo(1)).toMatchObject({ result: { isError: true } });
  expect(client.endings).toMatchObject([{ code: 'revoked' }]);
});

test('when the connection breaks all that is under way is not known, each with its half receipt', async () => {
  world.is.acts = (callee, came) => {
    if (came.frame.n === 1) callee.take(came);
  };
  await world.open(client);
  client.call(1);
  client.call(2);
  await world.pass();
  world.mesh.partition([world.acme.network], [world.beta.network]);
  await world.pass(3_000);
  expect([1, 2].map((id) => client.codeOf(id))).toEqual(['outcome_unknown', 'outcome_unknown']);
  expect(world.kept.map(({ receipt, taking }) => [receipt.payload.half, taking !== undefined])).toEqual([
    [true, true],
    [true, false],
  ]);
  for (const { receipt } of world.kept) verifySignatures(receipt, isSignatureValidSodium);
  expect(client.endings).toHaveLength(1);
  expect(world.caller.size).toBe(0);
});

test('a link that its client closes gives up what is under way, with the receipts of the other side', async () => {
  world.is.acts = (callee, came) => callee.take(came);
  await world.open(client);
  client.call(1);
  await world.pass();
  const closing = client.link?.close();
  await world.pass();
  const callee = world.callee();
  expect(callee.cancelled()).toEqual([1]);
  callee.answer(callee.calls[0] ?? expect.fail('no call'), { content: [], isError: true }, 'cancelled');
  await world.pass();
  await closing;
  expect(outs()).toEqual(['cancelled']);
  expect(callee.frames('end')).toMatchObject([{ code: 'closed' }]);
  expect(client.endings).toMatchObject([{ code: 'closed' }]);
});

test('a client that sends nothing more still has its answers', async () => {
  await world.open(client);
  client.call(1);
  const over = client.link?.clientEnded();
  await world.pass(3_000);
  await over;
  expect(client.answerTo(1)).toMatchObject({ result: { content: [{ text: 'did {}' }] } });
  expect(outs()).toEqual(['ok']);
});

// Opening

test('what the other side refuses is told as its refusal', async () => {
  world.is.rejects = { code: 'not_found', why: 'no server "files" is exposed here' };
  await expect(world.open(client)).rejects.toMatchObject({ code: 'not_found', data: { side: 'peer' } });
  expect(world.caller.size).toBe(0);
});

test('without a grant there is no link, and the error says how one is got', async () => {
  const nobody = world.open(client, { did: world.acme.agent.did, as: world.beta.organisation.did });
  await expect(nobody).rejects.toMatchObject({
    code: 'caps_insufficient',
    data: { next: expect.stringContaining(`agentmesh delegate --to ${world.beta.organisation.did} --can mcp:files/*`) },
  });
});

test('a name that no exposed server has is refused before anything leaves', async () => {
  expect(await codeOf(() => world.open(client, { server: '../x' }))).toBe('malformed');
});

test('an agent has so many links and no more', async () => {
  for (let i = 0; i < limits.CALL_LINKS_AN_AGENT_MAX; i++) {
    const opened = new Client();
    await world.open(opened);
  }
  expect(await codeOf(() => world.open(client))).toBe('busy');
  const closing = world.caller.close();
  await world.pass(3_000);
  await closing;
  expect(await codeOf(() => world.open(client))).toBe('closed');
});

test('a caller that is gone while a link opens leaves nothing behind', async () => {
  const stop = new AbortController();
  const opening = world.open(client, {}, stop.signal);
  stop.abort();
  expect(await codeOf(() => opening)).toBe('cancelled');
  await world.pass(limits.CALL_SESSION_IDLE_MS + 1_000);
  expect([world.caller.size, world.beta.sessions.size]).toEqual([0, 0]);
});

// Back-pressure

test('a client that does not read is sent nothing more', async () => {
  await world.open(client);
  client.link?.setPaused(true);
  client.call(1);
  await world.pass();
  const before = client.lines.length;
  for (let i = 0; i < 50; i++)
    world.callee().say({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: i } });
  await world.pass();
  expect(client.lines.length - before).toBeLessThanOrEqual(1);
  client.link?.setPaused(false);
  await world.pass();
  expect(client.answerTo(1)).toBeDefined();
  expect(client.lines.length).toBeGreaterThan(50);
});
