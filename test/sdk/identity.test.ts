import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type {
  AgentCreated,
  ControlBackend,
  CredentialPrepared,
  DelegationAnswer,
  OperationAnswer,
} from '../../protocol/control/index.ts';
import { decodeCbor, digestOf, encodeCbor, multikeyText } from '../../protocol/index.ts';
import { AgentIdentity, AgentMesh, createSigner, publicKeyText, verifyChain } from '../../sdk/index.ts';
import { keyOf } from '../builders.ts';
import { FakeBackend } from '../daemon/control/fake-backend.ts';
import { startServer, type Started, until } from '../daemon/control/start.ts';

let started: Started;
let mesh: AgentMesh;
async function start(backend?: (fake: FakeBackend) => ControlBackend): Promise<void> {
  const fake = new FakeBackend();
  started = await startServer({ fake, strict: backend === undefined, ...(backend && { backend: backend(fake) }) });
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
}
beforeEach(() => start());
afterEach(async () => {
  vi.useRealTimers();
  await started[Symbol.asyncDispose]();
});

const analyst = {
  name: 'data-analyst-agent',
  sponsor: 'alice@company.com',
  capabilities: ['read:data', 'write:reports'],
};
const called = (operationId: string): number =>
  started.fake.calls.filter((call) => call.operationId === operationId).length;

describe('AgentIdentity', () => {
  test('create() makes and registers an agent; capabilities in either spelling are as the wire has them', async () => {
    const identity = await AgentIdentity.create({
      ...analyst,
      capabilities: ['execute:tools:calculator', { can: 'read:data', res: ['reports/'] }],
      mesh,
    });
    expect(identity.capabilities).toEqual([
      { can: 'execute:tools/calculator' },
      { can: 'read:data', res: ['reports/'] },
    ]);
    expect(await identity.show()).toMatchObject({
      name: 'data-analyst-agent',
      status: 'active',
      keyHeldBy: 'daemon',
      sponsor: { did: identity.sponsor },
    });
    expect(identity.organisation).toBe(started.fake.organisation.did);
    await expect(AgentIdentity.create({ ...analyst, mesh })).rejects.toMatchObject({ code: 'conflict' });
    await expect(
      AgentIdentity.create({ ...analyst, name: 'x', capabilities: ['everything'], mesh }),
    ).rejects.toMatchObject({ code: 'malformed' });
  });

  test('delegate() makes a sub-agent of the same sponsor whose chain a stranger can verify from bytes', async () => {
    const identity = await AgentIdentity.create({ ...analyst, mesh });
    const sub = await identity.delegate({
      name: 'summarizer-subagent',
      capabilities: ['read:data'],
      ttlSeconds: 600,
      depth: 1,
    });
    expect(sub.sponsor).toBe(identity.sponsor);
    expect(sub.capabilities).toEqual([{ can: 'read:data' }]);
    const report = verifyChain(await sub.bundle(), { roots: [identity.organisation], capabilities: ['read:data'] });
    expect(report.links.map(({ audience }) => audience)).toEqual([identity.did, sub.did]);
    expect(report.effective).toMatchObject({ capabilities: [{ can: 'read:data' }], depth: 1 });
    expect((await sub.show()).parent).toBe(identity.did);
  });

  test('delegate() of more than the agent may do is refused before anything is made', async () => {
    const identity = await AgentIdentity.create({ ...analyst, mesh });
    await expect(identity.delegate({ name: 'x', capabilities: ['read:data', 'admin:all'] })).rejects.toMatchObject({
      code: 'widened',
      data: { dimension: 'capability', is: 'admin:all' },
    });
    expect(called('agentCreate')).toBe(1);
  });

  test('a sub-agent whose delegation fails is revoked again', async () => {
    const identity = await AgentIdentity.create({ ...analyst, mesh });
    await expect(
      identity.delegate({ name: 'sub', capabilities: ['read:data'], ttlSeconds: 2_592_000 }),
    ).rejects.toMatchObject({ code: 'widened', data: { dimension: 'window' } });
    expect((await mesh.agents.list()).find(({ name }) => name === 'sub')?.status).toBe('revoked');
  });

  test('delegate() to a DID gives the link, with the terms that were asked for', async () => {
    const identity = await AgentIdentity.create({ ...analyst, mesh });
    const to = `did:key:${keyOf('friend').text}`;
    const { link } = await identity.delegate({
      to,
      capabilities: ['write:reports'],
      stalenessSeconds: 5,
      purposes: ['billing'],
      minScore: 400,
      private: true,
    });
    expect(link).toMatchObject({
      audience: to,
      issuer: identity.did,
      parent: identity.leaf,
      stalenessSeconds: 5,
      purposes: ['billing'],
      minScore: 400,
      private: true,
    });
  });

  test('revoke() names what falls with it, and the chain verifies no longer', async () => {
    const identity = await AgentIdentity.create({ ...analyst, mesh });
    const sub = await identity.delegate({ name: 'sub', capabilities: ['read:data'] });
    const { cascade, revocation } = await identity.revoke('left the company');
    expect(revocation).toMatchObject({ target: { did: identity.did }, reason: 'left the company', number: 1 });
    expect(cascade).toContain(sub.leaf);
    const bundle = await sub.bundle();
    expect(() => verifyChain(bundle, { roots: [identity.organisation] })).toThrow(
      expect.objectContaining({ code: 'revoked' }) as Error,
    );
    await expect(identity.revoke()).rejects.toMatchObject({ code: 'revoked' });
  });

  test("open() by a token is the token's agent; the operator must say which", async () => {
    const { agent, token } = await mesh.agents.create({
      name: 'one',
      sponsor: 'alice@company.com',
      capabilities: [{ can: 'read:data' }],
    });
    const own = await AgentMesh.connect({ socket: started.socketPath, token });
    expect((await AgentIdentity.open({ mesh: own })).did).toBe(agent.did);
    expect((await AgentIdentity.open({ mesh, did: agent.did })).name).toBe('one');
    await expect(AgentIdentity.open({ mesh })).rejects.toMatchObject({ code: 'bad_request' });
    // A token is one agent's: making agents is the operator's business, delegating to those that exist is its own.
    const identity = await AgentIdentity.open({ mesh: own });
    await expect(identity.delegate({ name: 'sub', capabilities: ['read:data'] })).rejects.toMatchObject({
      code: 'forbidden',
    });
    expect(
      (await identity.delegate({ to: `did:key:${keyOf('friend').text}`, capabilities: ['read:data'] })).published,
    ).toBe(true);
  });

  test('every step ends with its signal', async () => {
    const signal = AbortSignal.abort();
    const identity = await AgentIdentity.create({ ...analyst, mesh });
    for (const step of [
      () => AgentIdentity.create({ ...analyst, name: 'x', mesh, signal }),
      () => AgentIdentity.open({ did: identity.did, mesh, signal }),
      () => identity.delegate({ to: identity.did, capabilities: ['read:data'], signal }),
      () => identity.revoke('x', { signal }),
      () => identity.bundle({ signal }),
    ]) {
      await expect(step()).rejects.toMatchObject({ code: 'cancelled' });
    }
  });
});

describe("an agent's own key", () => {
  test('signs genesis, credential and delegations here, and never leaves', async () => {
    const signer = createSigner(digestOf(new TextEncoder().encode('own')));
    const sign = vi.spyOn(signer, 'sign');
    const identity = await AgentIdentity.create({ ...analyst, signer, mesh });
    expect(sign).toHaveBeenCalledTimes(2);
    const agent = await identity.show();
    expect(agent).toMatchObject({ keyHeldBy: 'agent', status: 'active', credential: { id: expect.any(String) } });
    const { keys } = await mesh.dids.show(identity.did);
    expect(keys.map(({ key }) => key)).toEqual([publicKeyText(signer)]);
    const sub = await identity.delegate({ name: 'sub', capabilities: ['read:data'], key: 'own' });
    const report = verifyChain(await sub.bundle(), { roots: [identity.organisation], capabilities: ['read:data'] });
    expect(report.links.at(-1)?.signers[0]?.key).toBe(publicKeyText(signer));
    identity.close();
    sub.close();
  });

  test('without it at hand nothing is signed for the agent', async () => {
    const identity = await AgentIdentity.create({ ...analyst, key: 'own', mesh });
    const stranger = await AgentIdentity.open({ did: identity.did, mesh });
    await expect(stranger.delegate({ to: identity.organisation, capabilities: ['read:data'] })).rejects.toMatchObject({
      code: 'key_missing',
    });
    identity.close();
  });

  test('renews its credential at half-life, goes on after a failure, and stops when it is closed', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const errors: unknown[] = [];
    const identity = await AgentIdentity.create({
      ...analyst,
      key: 'own',
      mesh,
      onRenewalError: (error) => errors.push(error),
    });
    const renewals = (): number => called('credentialComplete');
    expect(renewals()).toBe(1);
    await vi.advanceTimersByTimeAsync(440_000);
    expect(renewals()).toBe(1);
    await vi.advanceTimersByTimeAsync(20_000);
    vi.useRealTimers();
    await until(() => renewals() === 2);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    identity.close();
    await vi.advanceTimersByTimeAsync(3_600_000);
    vi.useRealTimers();
    expect(renewals()).toBe(2);
    expect(errors).toEqual([]);
  });

  test('tells of a renewal that fails', async () => {
    const errors: unknown[] = [];
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const identity = await AgentIdentity.create({
      ...analyst,
      key: 'own',
      mesh,
      onRenewalError: (error) => errors.push(error),
    });
    await started.server.close();
    await vi.advanceTimersByTimeAsync(451_000);
    vi.useRealTimers();
    await until(() => errors.length === 1);
    expect(errors).toMatchObject([{ code: 'not_running' }]);
    identity.close();
  });
});

describe('a daemon that asks for another signature than was asked of it', () => {
  /** A backend that answers like the fake, but with one method's answer changed. */
  const changing =
    <K extends keyof ControlBackend>(method: K, change: (answer: Awaited<ReturnType<ControlBackend[K]>>) => unknown) =>
    (fake: FakeBackend): ControlBackend =>
      new Proxy(fake, {
        get: (target, name) => {
          const found: unknown = Reflect.get(target, name, target);
          if (typeof found !== 'function') return found;
          const call = found.bind(target) as (...args: unknown[]) => Promise<unknown>;
          return name === method
            ? async (...args: unknown[]) => change((await call(...args)) as Awaited<ReturnType<ControlBackend[K]>>)
            : call;
        },
      });
  type Payload = Record<string, unknown>;
  /** The payload with members changed, in canonical bytes again. */
  const edited = (base64url: string, change: (payload: Payload) => Payload): string => {
    const payload = decodeCbor(Uint8Array.from(Buffer.from(base64url, 'base64url'))) as Payload;
    return Buffer.from(encodeCbor(change(payload) as Parameters<typeof encodeCbor>[0])).toString('base64url');
  };
  const editing = <A extends { toSign: readonly { payload: string }[] }>(
    answer: A,
    change: (payload: Payload) => Payload,
  ): A => ({
    ...answer,
    toSign: answer.toSign.map((one) => ({ ...one, payload: edited(one.payload, change) })),
  });
  const other = keyOf('attacker').publicKey;
  const refusing = (): Promise<unknown> =>
    expect(AgentIdentity.create({ ...analyst, key: 'own', mesh })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('Cannot sign'),
    });

  test.each<[string, (payload: Payload) => Payload]>([
    ['lists a second key', (payload) => ({ ...payload, keys: [...(payload.keys as unknown[]), [other, ['sign']]] })],
    ['lists another key in its place', (payload) => ({ ...payload, keys: [[other, ['auth', 'delegate', 'sign']]] })],
    ['commits to a rotation key', (payload) => ({ ...payload, nxt: [digestOf(other)], nthr: 1 })],
    ['commits to a recovery key', (payload) => ({ ...payload, rec: [digestOf(other)], rthr: 1 })],
    ['is of a person', (payload) => ({ ...payload, kind: 'person' })],
    [
      'is under another organisation',
      (payload) => ({ ...payload, ctl: `${(payload.ctl as string).slice(0, -4)}aaaa` }),
    ],
    ['is dated long ago', (payload) => ({ ...payload, iat: 1 })],
    ['has one more signer', (payload) => ({ ...payload, by: [...(payload.by as unknown[]), other] })],
  ])('gets none for a genesis that %s', async (_, change) => {
    await started[Symbol.asyncDispose]();
    await start(changing('agentCreate', (answer: AgentCreated) => editing(answer, change)));
    await refusing();
    expect(called('agentComplete')).toBe(0);
  });

  test.each<[string, (answer: AgentCreated) => AgentCreated]>([
    [
      'bytes that are no payload',
      (answer) => ({ ...answer, toSign: answer.toSign.map((one) => ({ ...one, payload: 'AAAA' })) }),
    ],
    [
      'bytes that are not canonical',
      (answer) => ({ ...answer, toSign: answer.toSign.map((one) => ({ ...one, payload: `${one.payload}AAAA` })) }),
    ],
    [
      'another purpose',
      (answer) => ({ ...answer, toSign: answer.toSign.map((one) => ({ ...one, purpose: 'credential' as const })) }),
    ],
    [
      'another key',
      (answer) => ({ ...answer, toSign: answer.toSign.map((one) => ({ ...one, key: multikeyText(other) })) }),
    ],
    ['another DID', (answer) => ({ ...answer, agent: { ...answer.agent, did: answer.agent.sponsor.did } })],
  ])('gets none for %s', async (_, change) => {
    await started[Symbol.asyncDispose]();
    await start(changing('agentCreate', change));
    await refusing();
    expect(called('agentComplete')).toBe(0);
  });

  test.each<[string, (payload: Payload) => Payload]>([
    ['is for another holder key', (payload) => ({ ...payload, cnf: other })],
    ['binds no key', ({ cnf: _cnf, ...payload }) => payload],
    ['would be published', ({ pri: _pri, cnf: _cnf, ...payload }) => payload],
    ['is for somebody else', (payload) => ({ ...payload, aud: payload.sub })],
    ['grants more than the agent may do', (payload) => ({ ...payload, cap: [{ can: 'admin:*' }] })],
    ['lives longer', ({ cnf: _cnf, ...payload }) => ({ ...payload, exp: (payload.exp as number) + 3_600 })],
  ])('gets none for a credential that %s', async (_, change) => {
    await started[Symbol.asyncDispose]();
    await start(changing('credentialPrepare', (answer: CredentialPrepared) => editing(answer, change)));
    await refusing();
    expect(called('credentialComplete')).toBe(0);
  });

  test.each<[string, (payload: Payload) => Payload]>([
    ['is for somebody else', (payload) => ({ ...payload, aud: payload.sub })],
    ['grants more', (payload) => ({ ...payload, cap: [{ can: 'read:data' }, { can: 'write:reports' }] })],
    ['grants the same without its resources', (payload) => ({ ...payload, cap: [{ can: 'read:data' }] })],
    ['lives longer', (payload) => ({ ...payload, exp: (payload.exp as number) + 600 })],
    ['allows further hops', ({ dep: _dep, ...payload }) => payload],
    ['tolerates staler knowledge', (payload) => ({ ...payload, stl: 300 })],
    ['asks for less trust', ({ mts: _mts, ...payload }) => payload],
    ['is good for other purposes', (payload) => ({ ...payload, pur: ['billing', 'anything'] })],
    ['is good anywhere', ({ at: _at, ...payload }) => payload],
    ['is faster', (payload) => ({ ...payload, rate: [{ can: 'read:data', n: 100, per: 60 }] })],
    ['would be published', ({ pri: _pri, ...payload }) => payload],
    ['binds a key', (payload) => ({ ...payload, cnf: other })],
    ['continues another link', (payload) => ({ ...payload, prf: null })],
  ])('gets none for a delegation that %s', async (_, change) => {
    await started[Symbol.asyncDispose]();
    await start(changing('delegationCreate', (answer: DelegationAnswer) => editing(answer, change)));
    const identity = await AgentIdentity.create({ ...analyst, key: 'own', mesh });
    const terms = {
      to: `did:key:${keyOf('friend').text}`,
      capabilities: [{ can: 'read:data', res: ['reports/q3'] }],
      ttlSeconds: 500,
      depth: 0,
      stalenessSeconds: 5,
      minScore: 500,
      purposes: ['billing'],
      at: [identity.organisation],
      rates: [{ can: 'read:data', n: 10, per: 60 }],
      private: true,
    };
    await expect(identity.delegate(terms)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('Cannot sign'),
    });
    expect(called('delegationComplete')).toBe(0);
    identity.close();
  });

  test('an organisation is recovered with keys that the daemon never sees, for what was asked alone', async () => {
    const { organisation } = started.fake;
    const signers = organisation.recovery.slice(0, 2);
    const commitments = [keyOf('new recovery').publicKey].map((key) =>
      Buffer.from(digestOf(key)).toString('base64url'),
    );
    const body = { retire: [], recovery: { commitments, threshold: 1 } };
    const answer = await mesh.organisation.recover(body, { signers });
    expect(answer.applied).toBe(true);
    expect(started.fake.state.didState(organisation.did)?.seq).toBe(1);

    await started[Symbol.asyncDispose]();
    await start(
      changing('organisationRecover', (prepared: OperationAnswer) =>
        editing(prepared, (payload) => ({ ...payload, rec: [digestOf(other)] })),
      ),
    );
    await expect(mesh.organisation.recover(body, { signers })).rejects.toMatchObject({ code: 'internal' });
    await expect(
      mesh.organisation.recover(body, { signers: [keyOf('stranger'), keyOf('stranger 2')] }),
    ).rejects.toMatchObject({ code: 'internal' });
    expect(called('operationComplete')).toBe(0);
  });
});
