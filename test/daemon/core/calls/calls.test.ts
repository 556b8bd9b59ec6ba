/** Both sides as they are: Beta's agent, through its own node, calls a server that Acme's node exposes. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LinkWanted } from '../../../../daemon/core/calls/caller.ts';
import { limits, verifySignatures } from '../../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../../protocol/sodium.ts';
import { entriesOf } from '../log/own-log.ts';
import { input, type Member, never, operator } from '../node-world.ts';
import { CalleeWorld, type FakeServer } from './callee-world.ts';
import { Client } from './caller-world.ts';

let world: CalleeWorld;
let client: Client;
let policies: string[];
beforeEach(async () => {
  world = await new CalleeWorld().open();
  policies = [await bring('version: "1.0"\ndefault: allow\n')];
  client = new Client();
});
afterEach(async () => {
  await world.close();
  expect([...world.acme.network.faults, ...world.beta.network.faults]).toEqual([]);
});

async function bring(text: string): Promise<string> {
  const body = { name: 'brought', files: [{ path: 'brought.yaml', text }] };
  return (await world.during(world.beta.api.policyLoad(input(body), operator, never))).policy.digest;
}

async function open(to = client, wanted: Partial<LinkWanted> = {}): Promise<void> {
  const { caller } = world.beta.node.calls;
  const terms = { did: world.clerk, server: 'files', as: world.reader, policies, ...wanted };
  to.link = await world.during(caller.openLink(terms, to.events, never), 1_000);
}

const pass = (ms = 300): Promise<void> => world.nodes.clock.advance(ms);
const tool = (name: string, id: number, args: object = {}, meta?: object): void => {
  const params = { name, arguments: args as never, ...(meta !== undefined && { _meta: meta as never }) };
  client.send({ jsonrpc: '2.0', id, method: 'tools/call', params });
};
const server = (): FakeServer => world.servers.opened.at(-1) ?? expect.fail('no server was started');
const receiptsOf = async ({ node }: Member) => (await node.calls.receipts.list()).receipts;
const outs = async (member: Member): Promise<string[]> =>
  (await receiptsOf(member)).map(({ receipt: { payload } }) => `${payload.out}${payload.half === true ? ' half' : ''}`);
const logged = async ({ auditLog }: Member, type: string) =>
  (await entriesOf(auditLog)).filter((entry) => entry.type === `agentmesh.${type}.v1`);

test('a whole call: one receipt, the same on both sides, and in both logs', async () => {
  await world.grant();
  await open();
  tool('echo', 1, { text: 'hello' });
  await pass();
  expect(client.answerTo(1)).toMatchObject({ result: { content: [{ text: '{"text":"hello"}' }] } });
  const [own = expect.fail('no receipt')] = await receiptsOf(world.beta);
  const [theirs = expect.fail('no receipt there')] = await receiptsOf(world.acme);
  expect(own.receipt.id).toBe(theirs.receipt.id);
  expect(own.receipt.envelope).toEqual(theirs.receipt.envelope);
  expect([own.role, theirs.role]).toEqual(['caller', 'callee']);
  expect(own.receipt.payload).toMatchObject({ out: 'ok', iss: world.reader, aud: world.clerk, srv: 'files', n: 1 });
  verifySignatures(own.receipt, isSignatureValidSodium);
  expect(own.taking?.payload.call.text).toBe(theirs.order.id);
  for (const member of [world.beta, world.acme]) {
    const [kept] = await logged(member, 'receipt.kept');
    const [allowed] = (await logged(member, 'action.allowed')).filter(({ data }) =>
      Object.values(data).includes('tool_call'),
    );
    expect(kept?.subject).toBe(own.receipt.id);
    expect(kept?.data.intent).toBe(allowed?.id);
    const settled = await logged(member, 'intent.settled');
    expect(settled.map(({ data }) => data)).toContainEqual(
      expect.objectContaining({ intent: allowed?.id, result: { code: 'ok' } }),
    );
  }
  const [allowed] = await logged(world.beta, 'action.allowed');
  expect(allowed?.data).toMatchObject({
    actor: world.reader,
    peer: world.clerk,
    server: `${world.clerk}/files`,
    tool: 'echo',
    session: client.link?.info.sid,
  });
});

test('the client is told of the link that it has', async () => {
  const grant = await world.grant();
  await open();
  expect(client.controls).toEqual([{ type: 'opened', ...client.link?.info }]);
  expect(client.link?.info).toMatchObject({
    as: world.reader,
    did: world.clerk,
    server: 'files',
    organisation: world.acme.did,
    grant,
    score: limits.NETWORK_SCORE_NEUTRAL,
    capabilities: [{ can: 'mcp:files/*' }],
  });
});

test('several calls at once, and what fails there is an error here', async () => {
  await world.grant();
  await open();
  for (let id = 1; id <= 20; id++) tool(id === 7 ? 'fail' : 'echo', id, { id });
  await pass(500);
  for (let id = 1; id <= 20; id++) expect(JSON.stringify(client.answerTo(id))).toContain(`{\\"id\\":${id}}`);
  expect((await outs(world.beta)).toSorted()).toEqual(['error', ...Array.from({ length: 19 }, () => 'ok')]);
  expect((await receiptsOf(world.acme)).map(({ receipt }) => receipt.id).toSorted()).toEqual(
    (await receiptsOf(world.beta)).map(({ receipt }) => receipt.id).toSorted(),
  );
});

test('progress and questions of the server come to the client, and its answers go back', async () => {
  await world.grant();
  await open();
  const capabilities = { elicitation: {} };
  client.send({ jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities } });
  await pass();
  tool('hang', 1, {}, { progressToken: 'p' });
  await pass();
  server().say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'p', progress: 1 } });
  const params = { message: 'Sure?', requestedSchema: { type: 'object', properties: {} } };
  server().say({ jsonrpc: '2.0', id: 's1', method: 'elicitation/create', params });
  await pass();
  expect(client.lines).toContainEqual(expect.objectContaining({ method: 'notifications/progress' }));
  expect(client.lines).toContainEqual(expect.objectContaining({ id: 's1', method: 'elicitation/create' }));
  client.send({ jsonrpc: '2.0', id: 's1', result: { action: 'accept', content: {} } });
  await pass();
  expect(server().sent).toContainEqual(expect.objectContaining({ kind: 'result', id: 's1' }));
});

test('what is cancelled is cancelled at the server, and both say so', async () => {
  await world.grant();
  await open();
  tool('hang', 1);
  await pass();
  client.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
  await pass();
  expect(server().sent).toContainEqual(expect.objectContaining({ method: 'notifications/cancelled' }));
  expect([await outs(world.beta), await outs(world.acme)]).toEqual([['cancelled'], ['cancelled']]);
  expect(client.answerTo(1)).toBeUndefined();
});

test("what the own policy denies does not leave, and is in the own log with its rule's name", async () => {
  await world.grant();
  policies = [
    await bring(
      'version: "1.0"\ndefault: allow\nrules:\n  - name: no-echo\n    condition: "tool.name == \'echo\'"\n    action: deny\n',
    ),
  ];
  await open();
  tool('echo', 1);
  tool('read', 2);
  await pass();
  expect(client.codeOf(1)).toBe('policy_denied');
  expect(JSON.stringify(client.answerTo(1))).toContain('no-echo');
  expect(world.servers.did).toEqual(['read']);
  const [refused] = await logged(world.beta, 'action.refused');
  expect(refused?.data).toMatchObject({ actor: world.reader, peer: world.clerk, tool: 'echo', code: 'policy_denied' });
  expect(await logged(world.acme, 'action.refused')).toEqual([]);
});

test('rules may be about who it is that is called', async () => {
  await world.grant();
  policies = [
    await bring(
      `version: "1.0"\ndefault: deny\nrules:\n  - name: acme\n    condition: "peer.organisation == '${world.acme.did}' and trust.score >= 300"\n    action: allow\n`,
    ),
  ];
  await open();
  tool('echo', 1);
  await pass();
  expect(client.answerTo(1)).toMatchObject({ result: { content: [{ text: '{}' }] } });
});

test('what the grant does not cover is refused there, with a receipt of both', async () => {
  await world.grant({ capabilities: [{ can: 'mcp:files/read' }] });
  await open();
  tool('echo', 1);
  await pass();
  expect(client.codeOf(1)).toBe('caps_insufficient');
  expect(world.servers.did).toEqual([]);
  expect([await outs(world.beta), await outs(world.acme)]).toEqual([['refused'], ['refused']]);
});

test('without a grant there is no link', async () => {
  await expect(open()).rejects.toMatchObject({ code: 'caps_insufficient' });
});

test('a server that is not exposed is told as one', async () => {
  await world.grant({ capabilities: [{ can: 'mcp:other/*' }, { can: 'mcp:files/*' }] });
  await expect(open(client, { server: 'other' })).rejects.toMatchObject({ code: 'not_found', data: { side: 'peer' } });
});

test('a revocation in the middle of a call ends link, call and server on both sides', async () => {
  const grant = await world.grant();
  await open();
  tool('hang', 1);
  await pass();
  const revocation = world.acme.api.revocationCreate(
    input({ target: { link: grant }, reason: 'over' }),
    operator,
    never,
  );
  await world.during(revocation, limits.CALL_LAST_MS + 1_000);
  expect(client.endings).toMatchObject([{ code: 'revoked' }]);
  expect(server().isEnded).toBe(true);
  expect(JSON.stringify(client.answerTo(1))).toMatch(/revoked/);
  expect([await outs(world.beta), await outs(world.acme)]).toEqual([['cancelled'], ['cancelled']]);
  await expect(open(new Client())).rejects.toMatchObject({ code: 'caps_insufficient' });
});

test('a link of an agent that is suspended ends, and it opens no other', async () => {
  await world.grant();
  await open();
  tool('hang', 1);
  await pass();
  const suspending = world.beta.api.agentSuspend(input(undefined, { did: world.reader }), operator, never);
  await world.during(suspending, limits.CALL_LAST_MS + 1_000);
  expect(client.endings).toMatchObject([{ code: 'revoked' }]);
  expect(client.codeOf(1) ?? JSON.stringify(client.answerTo(1))).toMatch(/revoked|outcome_unknown/);
  await expect(open(new Client())).rejects.toMatchObject({ code: 'suspended' });
});

test('a session under a link is followed by another, and the server stays the same', async () => {
  await world.grant({ capabilities: [{ can: 'mcp:files/*' }], ttlSeconds: 86_400 });
  await open();
  tool('hang', 1);
  await pass();
  const { sid } = client.link?.info ?? expect.fail('no link');
  for (let minute = 0; minute < 40; minute++) {
    await pass(60_000);
    if (minute % 10 === 0) tool('echo', 100 + minute, { minute });
  }
  await pass();
  expect(client.endings).toEqual([]);
  expect(world.servers.opened).toHaveLength(1);
  expect(client.receipts().every(({ out }) => out === 'ok' || out === 'timeout')).toBe(true);
  const last = (await receiptsOf(world.beta))[0] ?? expect.fail('no receipt');
  expect(last.receipt.payload.out).toBe('ok');
  expect(client.receipts().at(-1)?.sid).not.toBe(sid);
  expect(world.beta.node.sessions.list().flatMap((session) => session.did)).toContain(world.clerk);
});

test('when the connection breaks the outcome is not known, and the key settles it afterwards', async () => {
  await world.grant();
  await open();
  const key = { 'agentmesh/idempotency-key': 'a-key-of-sixteen' };
  world.nodes.mesh.onFrame = (frame, { name, from }) =>
    name === 'call' && from === world.acme.network.peer && world.servers.did.length > 0 ? undefined : frame;
  tool('echo', 1, { once: true }, key);
  await pass();
  expect(world.servers.did).toEqual(['echo']);
  expect(client.answerTo(1)).toBeUndefined();
  world.nodes.mesh.partition([world.acme.network], [world.beta.network]);
  await pass(3_000);
  expect(client.codeOf(1)).toBe('outcome_unknown');
  expect(await outs(world.beta)).toEqual(['cancelled half']);

  world.nodes.mesh.onFrame = undefined;
  world.nodes.mesh.heal();
  world.nodes.mesh.connect(world.beta.network, world.acme.network);
  await pass(5_000);
  const again = new Client();
  await open(again);
  client = again;
  tool('echo', 9, { once: true }, key);
  await pass();
  expect(world.servers.did).toEqual(['echo']); // once
  expect(again.answerTo(9)).toMatchObject({ id: 9, result: { content: [{ text: '{"once":true}' }] } });
  expect((await outs(world.beta))[0]).toBe('ok');
});

test('a key that is used again gives the recorded result, and no second receipt', async () => {
  await world.grant();
  await open();
  const key = { 'agentmesh/idempotency-key': 'a-key-of-sixteen' };
  tool('echo', 1, { once: true }, key);
  await pass();
  tool('echo', 2, { once: true }, key);
  await pass();
  expect(client.answerTo(2)).toMatchObject({ id: 2, result: { content: [{ text: '{"once":true}' }] } });
  expect(world.servers.did).toEqual(['echo']);
  expect([await outs(world.beta), await outs(world.acme)]).toEqual([['ok'], ['ok']]);
  tool('echo', 3, { once: false }, key);
  await pass();
  expect(client.codeOf(3)).toBe('conflict');
});

test('a key is good beyond a restart of the side that calls', async () => {
  await world.grant();
  await open();
  const key = { 'agentmesh/idempotency-key': 'a-key-of-sixteen' };
  tool('echo', 1, { once: true }, key);
  await pass();
  const { node, network, store } = world.beta;
  await world.during(node.close(), 5_000);
  await network.close();
  const beta = await world.nodes.open('beta', store);
  world.nodes.mesh.connect(world.acme.network, beta.network);
  await pass(5_000);
  const again = new Client();
  const terms = { did: world.clerk, server: 'files', as: world.reader, policies };
  again.link = await world.during(beta.node.calls.caller.openLink(terms, again.events, never), 1_000);
  client = again;
  tool('echo', 7, { once: true }, key);
  await pass();
  expect(again.answerTo(7)).toMatchObject({ id: 7, result: { content: [{ text: '{"once":true}' }] } });
  expect(world.servers.did).toEqual(['echo']);
  expect(await outs(beta)).toEqual(['ok']);
});

test('a server that dies under a call is told as not known', async () => {
  await world.grant();
  await open();
  tool('die', 1);
  await pass(3_000);
  expect(client.codeOf(1)).toBeDefined();
  expect(client.endings).toHaveLength(1);
  expect(JSON.stringify(client.lines)).not.toContain('/srv/secret');
});

test('an approval of the own side is waited for before anything leaves', async () => {
  await world.grant();
  policies = [
    await bring(
      'version: "1.0"\ndefault: allow\nrules:\n  - name: ask\n    condition: "tool.name == \'echo\'"\n    action: require_approval\n',
    ),
  ];
  await open();
  tool('echo', 1);
  await pass(1_000);
  expect(world.servers.did).toEqual([]);
  const { approvals } = await world.beta.api.approvalList(input(undefined), operator, never);
  const [approval] = approvals;
  const approver = world.beta.node.registry.sponsors()[0]?.did ?? '';
  const decision = world.beta.api.approvalDecide(
    input({ decision: 'approve', approver, reason: 'fine' }, { id: approval?.id ?? '' }) as never,
    operator,
    never,
  );
  await world.during(decision, 1_000);
  await pass(6_000);
  expect(world.servers.did).toEqual(['echo']);
  expect(client.answerTo(1)).toMatchObject({ result: { content: [{ text: '{}' }] } });
});

test('large bodies go both ways beside small ones', async () => {
  await world.grant();
  await open();
  const text = 'x'.repeat(3 * 1024 * 1024);
  tool('echo', 1, { text });
  tool('echo', 2, { small: true });
  await pass(2_000);
  expect(JSON.stringify(client.answerTo(1)).length).toBeGreaterThan(text.length);
  expect(client.answerTo(2)).toMatchObject({ result: { content: [{ text: '{"small":true}' }] } });
});

test('a session shows on both sides which servers are in use in it, as long as they are', async () => {
  const shownAt = async ({ api }: Member) => {
    const { sessions } = await world.during(api.sessionList(input(undefined), operator, never));
    return sessions.map(({ servers }) => servers.map(({ server: name }) => name));
  };
  await world.grant();
  await open();
  const second = new Client();
  await open(second);
  for (const member of [world.beta, world.acme]) expect(await shownAt(member)).toEqual([['files', 'files']]);
  await world.during(second.link?.close() ?? expect.fail('no link'));
  for (const member of [world.beta, world.acme]) expect(await shownAt(member)).toEqual([['files']]);
  await world.during(client.link?.close() ?? expect.fail('no link'));
  for (const member of [world.beta, world.acme]) expect(await shownAt(member)).toEqual([[]]);
});
