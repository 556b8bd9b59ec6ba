import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { OPERATION_IDS } from '../../protocol/control/index.ts';
import { MeshError, signingInput } from '../../protocol/index.ts';
import { AgentMesh, createSigner, publicKeyText } from '../../sdk/index.ts';
import { keyOf } from '../builders.ts';
import { startServer, type Started, until } from '../daemon/control/start.ts';
import { SAMPLE, sampleOf } from '../protocol/control/samples.ts';

let started: Started;
let mesh: AgentMesh;
beforeEach(async () => {
  started = await startServer();
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await started[Symbol.asyncDispose]();
});

describe('AgentMesh', () => {
  test('knows the versions of daemon and API once it is connected', () => {
    expect(mesh.version).toEqual({ version: '0.1.0', api: 1 });
  });

  test('has a method for every route, and each asks for what it says', async () => {
    const asked: string[] = [];
    const call = vi.spyOn(mesh, 'call').mockImplementation(async (operationId) => {
      asked.push(operationId);
      throw new MeshError('conflict', 'Cannot go on: this test looks at the request only');
    });
    const { did, id, sid } = SAMPLE;
    const body = (operationId: Parameters<typeof sampleOf>[0]) => sampleOf(operationId).body as never;
    const calls: Promise<unknown>[] = [
      mesh.status(),
      mesh.caller(),
      mesh.readiness(),
      mesh.roots(),
      mesh.peers.list(),
      mesh.peers.dial('/ip4/127.0.0.1/tcp/1'),
      mesh.agents.list(),
      mesh.agents.create(body('agentCreate')),
      mesh.agents.show(did),
      mesh.agents.complete(did, []),
      mesh.agents.register(did),
      mesh.agents.suspend(did),
      mesh.agents.resume(did),
      mesh.agents.revoke(did, 'superseded'),
      mesh.agents.token(did),
      mesh.agents.credential(did),
      mesh.agents.prepareCredential(did),
      mesh.agents.completeCredential(did, body('credentialComplete')),
      mesh.sponsors.list(),
      mesh.sponsors.create(body('sponsorCreate')),
      mesh.sponsors.show(did),
      mesh.dids.show(did),
      mesh.dids.resolve(did),
      mesh.dids.log(did),
      mesh.organisation.rotate({ retire: [] }),
      mesh.organisation.recover(body('organisationRecover'), { signers: [] }),
      mesh.organisation.deactivate({ confirm: did }),
      mesh.organisation.complete(id, []),
      mesh.delegations.create(body('delegationCreate')),
      mesh.delegations.complete(id, []),
      mesh.chains.list(),
      mesh.chains.show(id),
      mesh.chains.bundle(id),
      mesh.chains.verify(id),
      mesh.revocations.list(),
      mesh.revocations.create(body('revocationCreate')),
      mesh.handshake(body('handshakeCreate')),
      mesh.exposed.list(),
      mesh.exposed.add(body('exposeAdd')),
      mesh.exposed.check('files'),
      mesh.exposed.remove('files'),
      mesh.services({ did }),
      mesh.sessions.list(),
      mesh.sessions.show(sid),
      mesh.sessions.close(sid),
      mesh.receipts.list().next(),
      mesh.receipts.get(id),
      mesh.receipts.file(id),
      mesh.log.status(),
      mesh.log.entries().next(),
      mesh.log.entry(0),
      mesh.log.append({}),
      mesh.log.prove(0),
      mesh.log.policy(),
      mesh.log.files().read('checkpoint'),
      mesh.log.recover(body('logRecover')),
      mesh.witness.status(),
      mesh.convictions.list(),
      mesh.convictions.show(did),
      mesh.convictions.lift(did, 'talked to them'),
      mesh.decisions.decide(body('decide')),
      mesh.decisions.filter(body('decisionFilter')),
      mesh.decisions.explain(body('decisionExplain')),
      mesh.decisions.settle(body('decisionSettle')),
      mesh.approvals.list(),
      mesh.approvals.show(id),
      mesh.approvals.decide(id, body('approvalDecide')),
      mesh.policies.list(),
      mesh.policies.show(id),
      mesh.policies.load(body('policyLoad')),
      mesh.policies.reload(),
      mesh.policies.replay(body('policyReplay')),
      mesh.policies.shadow(),
      mesh.tools.check(body('toolCheck')),
      mesh.messages.send(body('messageSend')),
      mesh.messages.outbox(),
      mesh.messages.inbox(),
      mesh.messages.ack([sid]),
    ];
    const settled = await Promise.allSettled(calls);
    expect(settled.every(({ status }) => status === 'rejected')).toBe(true);
    call.mockRestore();
    // The rest are steps of connect, of a login, of events and of links, or said to be there by readiness.
    const inside = ['livez', 'link', 'openapi', 'version', 'events', 'loginChallenge', 'login'];
    expect([...new Set(asked), ...inside].toSorted()).toEqual(OPERATION_IDS.toSorted());
  });

  test('gives answers as the daemon has them', async () => {
    expect((await mesh.status()).organisation.did).toBe(started.fake.organisation.did);
    expect(await mesh.organisationDid()).toBe(started.fake.organisation.did);
    expect(await mesh.caller()).toEqual({ kind: 'operator', did: null });
    expect((await mesh.peers.list())[0]?.protocols).toEqual(['/agentmesh/agentmesh/sync/1.0.0']);
    const [genesis] = await mesh.dids.log(started.fake.organisation.did);
    expect(genesis?.envelope).toEqual(started.fake.organisation.genesis.envelope);
  });

  test("throws the daemon's codes, with detail and data", async () => {
    await expect(mesh.agents.show(SAMPLE.did)).rejects.toMatchObject({
      name: 'MeshError',
      code: 'not_found',
      data: { did: SAMPLE.did },
    });
    await expect(mesh.peers.dial('/ip4/127.0.0.1/tcp/1/p2p/x')).rejects.toMatchObject({ code: 'unreachable' });
    await expect(mesh.agents.show('nobody')).rejects.toMatchObject({ code: 'bad_request', data: { field: 'did' } });
  });

  test('is cancelled before, and while it waits, by its signal; the daemon notices', async () => {
    const reason = new Error('changed my mind');
    await expect(mesh.status({ signal: AbortSignal.abort(reason) })).rejects.toMatchObject({
      code: 'cancelled',
      cause: reason,
    });
    const controller = new AbortController();
    let seen: AbortSignal | undefined;
    started.fake.onCall = (_, signal) =>
      new Promise((_settle, fail) => {
        seen = signal;
        signal.addEventListener('abort', () => fail(signal.reason as Error));
      });
    const waiting = mesh.status({ signal: controller.signal });
    await until(() => seen !== undefined);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await until(() => seen?.aborted === true);
  });

  test('does not wait for ever', async () => {
    const impatient = await AgentMesh.connect({ socket: started.socketPath, token: null, timeoutMs: 50 });
    started.fake.onCall = () => new Promise(() => {});
    await expect(impatient.status()).rejects.toMatchObject({ code: 'timeout' });
  });

  test('says not_running where no daemon is, and where one was', async () => {
    await expect(AgentMesh.connect({ socket: '/nowhere/agentmeshd.sock' })).rejects.toMatchObject({
      code: 'not_running',
      message: expect.stringContaining('agentmeshd'),
    });
    await started.server.close();
    await expect(mesh.status()).rejects.toMatchObject({ code: 'not_running' });
    await expect(AgentMesh.connect({ url: 'http://127.0.0.1:1', token: null })).rejects.toMatchObject({
      code: 'not_running',
    });
  });

  test('acts for the agent of its token, from the environment too, unless it is told not to', async () => {
    const { agent, token } = await mesh.agents.create({
      name: 'one',
      sponsor: 'alice@company.com',
      capabilities: [{ can: 'read:data' }],
    });
    vi.stubEnv('AGENTMESH_AGENT_TOKEN', token ?? '');
    vi.stubEnv('AGENTMESH_SOCKET', started.socketPath);
    const own = await AgentMesh.connect();
    expect(await own.caller()).toEqual({ kind: 'agent', did: agent.did });
    await expect(own.agents.list()).rejects.toMatchObject({ code: 'forbidden' });
    const operator = await AgentMesh.connect({ token: null });
    expect(await operator.caller()).toEqual({ kind: 'operator', did: null });
    await expect(AgentMesh.connect({ token: 'A'.repeat(43) })).rejects.toMatchObject({ code: 'unauthorized' });
  });

  test('works over a loopback port with a token, and only there', async () => {
    await using tcp = await startServer({ fake: started.fake, tcp: { host: '127.0.0.1', port: 0 } });
    const { token } = await mesh.agents.create({
      name: 'one',
      sponsor: 'alice@company.com',
      capabilities: [{ can: 'read:data' }],
    });
    const url = `http://127.0.0.1:${tcp.server.tcp?.port}`;
    expect((await (await AgentMesh.connect({ url, token: token ?? '' })).caller()).kind).toBe('agent');
    await expect(AgentMesh.connect({ url, token: null })).rejects.toMatchObject({ code: 'unauthorized' });
    for (const bad of [
      'http://192.0.2.1:7400',
      'https://127.0.0.1:7400',
      'http://attacker.example',
      'http://127.0.0.1:7400/v1',
      'nonsense',
      'http://localhost.attacker.example',
    ]) {
      await expect(AgentMesh.connect({ url: bad, token: token ?? '' })).rejects.toMatchObject({
        code: 'config_invalid',
      });
    }
  });
});

describe('login', () => {
  const signer = keyOf('login');

  async function registered(): Promise<string> {
    const { agent, toSign } = await mesh.agents.create({
      name: 'own',
      sponsor: 'alice@company.com',
      capabilities: [{ can: 'read:data' }],
      publicKey: publicKeyText(signer),
    });
    const payload = Uint8Array.from(Buffer.from(toSign[0]?.payload ?? '', 'base64url'));
    await mesh.agents.complete(agent.did, [
      Buffer.from(signer.sign(signingInput('didop/v1', payload))).toString('base64url'),
    ]);
    return agent.did;
  }

  test('gives the agent that has the key its own connection, and once more where the daemon forgot the token', async () => {
    const did = await registered();
    const own = await AgentMesh.connect({
      socket: started.socketPath,
      login: { did, signer, organisation: started.fake.organisation.did },
    });
    expect(await own.caller()).toEqual({ kind: 'agent', did });
    const logins = () => started.fake.calls.filter(({ operationId }) => operationId === 'login').length;
    expect(logins()).toBe(1);
    started.fake.forgetTokens();
    expect(await own.caller()).toEqual({ kind: 'agent', did });
    expect(logins()).toBe(2);
  });

  test('is refused with another key, and refuses a daemon of another organisation', async () => {
    const did = await registered();
    await expect(
      AgentMesh.connect({ socket: started.socketPath, login: { did, signer: createSigner() } }),
    ).rejects.toMatchObject({ code: 'bad_signature' });
    await expect(
      AgentMesh.connect({ socket: started.socketPath, login: { did, signer, organisation: SAMPLE.organisation } }),
    ).rejects.toMatchObject({ code: 'conflict' });
  });
});

describe('a daemon that answers nonsense', () => {
  let directory: string;
  let server: Server;
  let answer: { status: number; type: string; body: string };
  const socket = () => join(directory, 's.sock');
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agentmesh-sdk-'));
    server = createServer((request, response) => {
      const { status, type, body } =
        request.url === '/v1/version' && answer.type !== 'version'
          ? { status: 200, type: 'application/json', body: '{"version":"9.9.9","api":1}' }
          : answer;
      response.writeHead(status, { 'content-type': type === 'version' ? 'application/json' : type }).end(body);
    });
    await new Promise<void>((settle) => server.listen(socket(), settle));
  });
  afterAll(async () => {
    await new Promise((settle) => server.close(settle));
    await rm(directory, { recursive: true });
  });

  test.each([
    ['no JSON', { status: 200, type: 'application/json', body: '<html>' }, 'internal'],
    [
      'an answer of another shape',
      { status: 200, type: 'application/json', body: '{"peers":[{"peerId":"x"}]}' },
      'internal',
    ],
    [
      'an answer with more in it than the schema has',
      { status: 200, type: 'application/json', body: '{"peers":[],"more":1}' },
      'internal',
    ],
    ['a status without a problem', { status: 500, type: 'text/html', body: '' }, 'internal'],
    [
      'a problem that is none',
      { status: 404, type: 'application/problem+json', body: '{"code":"not_found"}' },
      'internal',
    ],
    [
      'a problem with a code that does not exist',
      {
        status: 404,
        type: 'application/problem+json',
        body: '{"type":"urn:agentmesh:error:x","title":"","status":404,"code":"x","detail":"","data":{}}',
      },
      'internal',
    ],
    ['a redirect', { status: 302, type: 'text/plain', body: '' }, 'internal'],
  ])('%s is a coded error', async (_, given, code) => {
    answer = given;
    const odd = await AgentMesh.connect({ socket: socket(), token: null });
    await expect(odd.peers.list()).rejects.toMatchObject({ name: 'MeshError', code });
  });

  test('an API of another version is refused at once', async () => {
    answer = { status: 200, type: 'version', body: '{"version":"9.9.9","api":2}' };
    await expect(AgentMesh.connect({ socket: socket(), token: null })).rejects.toMatchObject({
      code: 'version',
      data: { is: 2, want: 1 },
    });
  });
});
