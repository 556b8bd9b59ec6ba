import { execFile } from 'node:child_process';
import { getEventListeners } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isMeshError } from '../../../protocol/index.ts';
import type { Gate, GateRequest, PolicySource } from '../../../protocol/policy/index.ts';
import { openDaemonGate } from '../../../sdk/gate/index.ts';
import { AgentIdentity, AgentMesh } from '../../../sdk/index.ts';
import { FakeBackend } from '../../daemon/control/fake-backend.ts';
import { startServer, type Started, until } from '../../daemon/control/start.ts';
import { repositoryRoot } from '../../house/architecture.ts';

const POLICY = `version: "1.0"
name: own
default: deny
rules:
  - { name: reads, condition: "tool.name == 'read_file'", action: allow }
  - { name: deletes, condition: "tool.name == 'delete_file'", action: require_approval }
`;
const own: PolicySource = { name: 'own', files: [{ path: 'own.yaml', text: POLICY }] };
const call = (name: string, path = '/a'): GateRequest => ({
  action: 'tool_call',
  tool: { name, server: 'files', arguments: { path } },
});
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    (error: unknown) => (isMeshError(error) ? error.code : String(error)),
  );
const callsOf = (started: Started, operationId: string): number =>
  started.fake.calls.filter((each) => each.operationId === operationId).length;

describe('a gate to the daemon', () => {
  let started: Started;
  let mesh: AgentMesh;
  let clerk: AgentIdentity;
  beforeEach(async () => {
    started = await startServer();
    mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
    const terms = { sponsor: 'ann@example.com', capabilities: ['read:data'], mesh };
    clerk = await AgentIdentity.create({ name: 'clerk', ...terms });
  });
  afterEach(() => started[Symbol.asyncDispose]());
  const open = (more: Partial<Parameters<typeof openDaemonGate>[0]> = {}): Promise<Gate> =>
    openDaemonGate({ place: { socketPath: started.socketPath }, as: clerk.did, policies: [own], ...more });
  const approve = async (decision: 'approve' | 'deny' = 'approve'): Promise<void> => {
    const [waiting] = await mesh.approvals.list();
    const [sponsor] = await mesh.sponsors.list();
    await mesh.approvals.decide(waiting?.id ?? '', { decision, approver: sponsor?.did ?? '', reason: 'looked' });
  };

  test('says for whom it decides, and by what', async () => {
    await using gate = await open();
    expect(gate.description).toMatchObject({
      mode: 'daemon',
      agent: clerk.did,
      organisation: started.fake.organisation.did,
      policies: [{ name: 'own' }],
      missing: [],
    });
    const { token } = await mesh.agents.token(clerk.did);
    await using other = await open({ token, as: undefined, policies: [] });
    expect(other.description.agent).toBe(clerk.did);
    expect(await codeOf(open({ token: 'amt_wrong' }))).toBe('unauthorized');
  });

  test('decides, lists, and says how it ended, many outcomes at once', async () => {
    await using gate = await open();
    const verdict = await gate.decide(call('read_file'));
    expect(verdict).toMatchObject({ effect: 'allow', rule: 'reads', policy: { name: 'own' } });
    expect(await gate.decide(call('write_file'))).toMatchObject({ effect: 'deny', code: 'policy_denied' });
    expect(await gate.filter([call('read_file'), call('write_file')])).toEqual([true, false]);
    expect(await gate.filter([])).toEqual([]);
    const verdicts = await Promise.all(Array.from({ length: 10 }, () => gate.decide(call('read_file'))));
    for (const each of [verdict, ...verdicts]) gate.settle(each, { code: 'ok' });
    gate.settle(await gate.decide(call('write_file')), { code: 'ok' });
    await until(() => callsOf(started, 'decisionSettle') > 0);
    expect(callsOf(started, 'decisionSettle')).toBe(1);
  });

  test('tells what is still to be told when it is closed, and decides nothing after that', async () => {
    const gate = await open();
    gate.settle(await gate.decide(call('read_file')), { code: 'failed' });
    const treeSize = started.fake.auditLog.treeSize;
    await gate.close();
    expect(callsOf(started, 'decisionSettle')).toBe(1);
    await until(() => started.fake.auditLog.treeSize > treeSize);
    await gate.close();
    expect(await codeOf(gate.decide(call('read_file')))).toMatch(/^(closed|cancelled)$/);
    expect(await codeOf(gate.filter([call('read_file')]))).toMatch(/^(closed|cancelled)$/);
    gate.settle({ ...(await openAndDecide()), id: 'x' }, { code: 'ok' });
    async function openAndDecide() {
      await using another = await open();
      return await another.decide(call('read_file'));
    }
  });

  test('holds a call until somebody approves, and says so meanwhile', async () => {
    await using gate = await open();
    const told: string[] = [];
    const deciding = gate.decide(call('delete_file'), { holdMs: 20_000, onWaiting: ({ id }) => told.push(id) });
    await until(() => callsOf(started, 'approvalShow') > 0);
    await approve();
    expect(await deciding).toMatchObject({ effect: 'allow', rule: 'deletes' });
    expect(new Set(told).size).toBe(1);
    expect(await gate.decide(call('delete_file'))).toMatchObject({ code: 'approval_pending' });
  });

  test('refuses a call that is denied while it is held; nothing waits then', async () => {
    await using gate = await open();
    const deciding = gate.decide(call('delete_file'), { holdMs: 20_000 });
    await until(() => callsOf(started, 'approvalShow') > 0);
    await approve('deny');
    const verdict = await deciding;
    expect(verdict).toMatchObject({ effect: 'deny', code: 'approval_denied' });
    expect(verdict.approval).toBeUndefined();
  });

  test('lets one of two calls through that hold for the same approval; the other waits for one more', async () => {
    await using gate = await open();
    const deciding = [1, 2].map(() => gate.decide(call('delete_file'), { holdMs: 20_000 }));
    await until(() => callsOf(started, 'approvalShow') > 1);
    await approve();
    const effects = (await Promise.all(deciding)).map(({ effect }) => effect).sort();
    expect(effects).toEqual(['allow', 'require_approval']);
  });

  test('holds no longer than asked for, or than whoever asks', async () => {
    await using gate = await open();
    expect(await gate.decide(call('delete_file'), { holdMs: 1 })).toMatchObject({ effect: 'require_approval' });
    const gone = new AbortController();
    const deciding = codeOf(gate.decide(call('delete_file'), { holdMs: 20_000, signal: gone.signal }));
    const shown = callsOf(started, 'approvalShow');
    await until(() => callsOf(started, 'approvalShow') > shown);
    gone.abort();
    expect(await deciding).toBe('cancelled');
    // And the daemon waits for nobody any more.
    const waiting = started.fake.calls.findLast(({ operationId }) => operationId === 'approvalShow');
    await until(() => waiting?.signal.aborted === true);
  });

  test('brings its policies again to a daemon that started anew without them', async () => {
    await using gate = await open({ as: undefined });
    expect((await gate.decide(call('read_file'))).effect).toBe('allow');
    const { socketPath, fake } = started;
    await started.server.close();
    expect(await codeOf(gate.decide(call('read_file')))).toBe('not_running');
    const second = await startServer({ fake: new FakeBackend(), socketPath });
    try {
      expect((await gate.decide(call('read_file'))).effect).toBe('allow');
      expect((await gate.decide(call('write_file'))).effect).toBe('deny');
      expect(callsOf(second, 'policyLoad')).toBe(1);
      expect(fake.calls.filter(({ operationId }) => operationId === 'policyLoad')).toHaveLength(1);
    } finally {
      await second[Symbol.asyncDispose]();
    }
  });

  test('keeps no process alive once it is closed', async () => {
    const env = { PATH: process.env.PATH, AGENTMESH_SOCKET: started.socketPath };
    const args = ['-C', 'agentmesh-source', 'test/sdk/gate/gate-user.ts'];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: repositoryRoot, env, timeout: 20_000 });
    expect(stdout).toBe('allow\nallow\nclosed\n');
  });
});

/** A daemon that does what the test says. */
describe('a gate to something else', () => {
  let directory: string;
  let server: Server;
  const sockets = new Set<Socket>();
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const asked: string[] = [];
  const VERDICT = {
    id: '01a1ee56-5e00-79f2-873b-38b491f149f8',
    index: 1,
    effect: 'allow',
    rule: null,
    policy: { name: 'p', digest: 'ab'.repeat(32) },
    matched: [],
    output: {
      secrets: 'redact',
      pii: 'allow',
      phi: 'allow',
      cards: 'allow',
      instructions: 'mark',
      invisible: 'mark',
      bytesMax: 1000,
    },
    reason: 'because',
  };
  const send = (response: ServerResponse, value: unknown): void => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    response
      .writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      .end(text);
  };

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agentmesh-gate-'));
    asked.length = 0;
    answer = (_request, response) => send(response, VERDICT);
    server = createServer((request, response) => {
      const path = request.url ?? '';
      request.resume();
      if (path === '/v1/version') return send(response, { version: '9', api: 1 });
      if (path === '/v1/caller') return send(response, { kind: 'operator', did: null });
      if (path === '/v1/roots') return send(response, { roots: [{ did: 'did:mesh:x', own: true }] });
      asked.push(path);
      request.on('end', () => answer(request, response));
    });
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(join(directory, 's'), resolve));
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });
  const open = (): Promise<Gate> => openDaemonGate({ place: { socketPath: join(directory, 's') } });

  test('uses one connection for what follows on each other, and another where the daemon closed it', async () => {
    await using gate = await open();
    for (let i = 0; i < 5; i++) expect((await gate.decide(call('a'))).effect).toBe('allow');
    expect(sockets.size).toBe(1);
    for (const socket of sockets) socket.destroy();
    for (let i = 0; i < 3; i++) expect((await gate.decide(call('a'))).effect).toBe('allow');
    expect(sockets.size).toBe(1);
  });

  test('asks once more where a connection that was kept is closed without a word', async () => {
    await using gate = await open();
    await gate.decide(call('a'));
    let isFirst = true;
    answer = (request, response) => {
      if (!isFirst) return send(response, VERDICT);
      isFirst = false;
      request.socket.destroy();
    };
    expect((await gate.decide(call('a'))).effect).toBe('allow');
    expect(asked).toHaveLength(3);
    answer = (request) => void request.socket.destroy();
    expect(await codeOf(gate.decide(call('a')))).toBe('closed');
  });

  test('asks no second time once an answer has begun', async () => {
    await using gate = await open();
    await gate.decide(call('a'));
    answer = (request, response) => {
      response
        .writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 })
        .write('{"effect":"allow"');
      setTimeout(() => request.socket.destroy(), 20);
    };
    expect(await codeOf(gate.decide(call('a')))).toBe('closed');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(asked).toHaveLength(2);
  });

  test('ends calls under way when it is closed, and one alone when its caller gives up', async () => {
    const gate = await open();
    answer = () => undefined;
    const gone = new AbortController();
    const signals = [gone.signal, new AbortController().signal, undefined];
    const deciding = signals.map((signal) => codeOf(gate.decide(call('a'), { signal })));
    await until(() => asked.length === 3);
    gone.abort();
    expect(await deciding[0]).toBe('cancelled');
    await until(() => sockets.size === 2);
    await gate.close();
    expect(await Promise.all(deciding)).toEqual(['cancelled', 'cancelled', 'cancelled']);
    expect(await codeOf(gate.decide(call('a'), { signal: signals[1] }))).toBe('cancelled');
    expect(asked).toHaveLength(3);
  });

  test('listens to no signal any more once its call is over', async () => {
    await using gate = await open();
    const { signal } = new AbortController();
    for (let i = 0; i < 3; i++) await gate.decide(call('a'), { signal });
    answer = (_request, response) => send(response, 'null');
    expect(await codeOf(gate.decide(call('a'), { signal }))).toBe('internal');
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  const broken: Readonly<Record<string, unknown>> = {
    'no JSON': '<html>',
    nothing: '',
    null: null,
    'a list': [VERDICT],
    'no effect': { ...VERDICT, effect: undefined },
    'another effect': { ...VERDICT, effect: 'ALLOW' },
    'an effect of a prototype': { ...VERDICT, effect: 'constructor' },
    'allow without an entry': { ...VERDICT, id: null },
    'no output rules': { ...VERDICT, output: null },
    'output rules without one': { ...VERDICT, output: { ...VERDICT.output, pii: undefined } },
    'an output rule that there is not': { ...VERDICT, output: { ...VERDICT.output, pii: 'whatever' } },
    'no policy': { ...VERDICT, policy: undefined },
    'an approval with a command in its id': {
      ...VERDICT,
      effect: 'require_approval',
      approval: { id: 'x; rm -rf /', approvers: [], quorum: 1, expiresAt: '' },
    },
  };
  for (const [what, value] of Object.entries(broken))
    test(`takes nothing for an answer that is none: ${what}`, async () => {
      await using gate = await open();
      answer = (_request, response) => send(response, value);
      expect(await codeOf(gate.decide(call('a')))).toBe('internal');
    });

  test('takes nothing for lists that are none', async () => {
    await using gate = await open();
    const filtering = async (value: unknown): Promise<string> => {
      answer = (_request, response) => send(response, value);
      return codeOf(gate.filter([call('a'), call('b')]));
    };
    for (const value of [null, {}, { allowed: 'all' }, { allowed: [true] }, { allowed: [true, true, true] }])
      expect(await filtering(value), JSON.stringify(value)).toBe('internal');
    answer = (_request, response) => send(response, { allowed: [1, 'true'] });
    expect(await gate.filter([call('a'), call('b')])).toEqual([false, false]);
    const pinned = { name: 'a', state: 'pinned', action: 'ignore' };
    const checking = async (value: unknown): Promise<string> => {
      answer = (_request, response) => send(response, value);
      return codeOf(gate.checkTools('s', [{ name: 'a' }, { name: 'b' }], { isComplete: true }));
    };
    for (const tools of [undefined, 'x', [pinned], [pinned, null], [pinned, { ...pinned, name: 'b', action: 'allow' }]])
      expect(await checking({ tools }), JSON.stringify(tools)).toBe('internal');
    expect(await checking({ tools: [pinned, { ...pinned, name: 'b' }] })).toBe('ok');
  });

  test('never takes an error for leave', async () => {
    await using gate = await open();
    for (const status of [204, 302, 400, 404, 500, 503]) {
      answer = (_request, response) => void response.writeHead(status, { 'content-type': 'text/plain' }).end('allow');
      expect(await codeOf(gate.decide(call('a'))), String(status)).toBe('internal');
    }
  });

  test('is not opened where another version of the API answers', async () => {
    server.removeAllListeners('request');
    server.on('request', (_request, response: ServerResponse) => send(response, { version: '9', api: 2 }));
    expect(await codeOf(open())).toBe('version');
  });
});
