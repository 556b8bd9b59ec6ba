import { afterEach, expect, test } from 'vitest';
import type { ToSign } from '../../../protocol/control/index.ts';
import { assembleStatement, digestOf, isMeshError, limits, signingInput } from '../../../protocol/index.ts';
import { keyOf } from '../../builders.ts';
import { input, type Member, never, NodeWorld, operator } from './node-world.ts';

let world: NodeWorld;
afterEach(async () => {
  await world.close();
});

const codeOf = (work: Promise<unknown>, forMs = 100): Promise<string> =>
  world.during(
    work.then(
      () => 'ok',
      (error: unknown) => (isMeshError(error) ? error.code : String(error)),
    ),
    forMs,
  );
const keysOf = async ({ api, did }: Member): Promise<string[]> =>
  (await api.didShow(input(undefined, { did }), operator, never)).keys
    .filter(({ standing }) => standing === 'current')
    .map(({ key }) => key);
const employ = async ({ api }: Member, name: string): Promise<string> => {
  const capabilities = [{ can: 'read:data/*' }];
  const made = await world.during(
    api.agentCreate(input({ name, sponsor: 'alice@example.com', capabilities }), operator, never),
  );
  return made.agent.did;
};
/** By keys that a person fetched from where they are kept. */
const signatures = (toSign: readonly ToSign[], ...names: readonly string[]): string[] =>
  toSign.map(({ payload }, i) => {
    const bytes = Uint8Array.from(Buffer.from(payload, 'base64url'));
    return Buffer.from(keyOf(names[i] as string).sign(signingInput('didop/v1', bytes))).toString('base64url');
  });
const commitment = (name: string): { commitments: string[]; threshold: number } => ({
  commitments: [Buffer.from(digestOf(keyOf(name).publicKey)).toString('base64url')],
  threshold: 1,
});

/** With one organisation that keeps its rotation key elsewhere from now on. */
async function alone(): Promise<Member> {
  world = new NodeWorld();
  return world.open('acme');
}
const rotateBody = (key: string, next = 'next') => ({
  retire: [{ key, graceSeconds: null }],
  rotationKeys: [keyOf('acme/rotation-1').text],
  next: commitment(next),
});
const recoverBody = (key: string) => ({
  recoveryKeys: [keyOf('acme/recovery-0').text, keyOf('acme/recovery-1').text],
  retire: [{ key, graceSeconds: null }],
  recovery: commitment('recovery again'),
});

test('two rotations asked for at once do not fork the organisation', async () => {
  const a = await alone();
  const [key] = (await keysOf(a)) as [string];
  const rotate = (graceSeconds: number | null) =>
    codeOf(a.api.organisationRotate(input({ retire: [{ key, graceSeconds }] }), operator, never));
  expect(await Promise.all([rotate(null), rotate(60)])).toEqual(['ok', 'not_found']);
  expect(a.node.organisation.state).toMatchObject({ status: 'active', seq: 1 });
});

test('of two rotations that wait for keys kept elsewhere the second is refused, so that the organisation is not forked', async () => {
  const a = await alone();
  const [key] = (await keysOf(a)) as [string];
  const first = await a.api.organisationRotate(input(rotateBody(key)), operator, never);
  const second = await a.api.organisationRotate(input(rotateBody(key, 'another next')), operator, never);
  const complete = ({ id, toSign }: typeof first) =>
    codeOf(
      a.api.operationComplete(input({ signatures: signatures(toSign, 'acme/rotation-1') }, { id }), operator, never),
    );
  expect(await complete(first)).toBe('ok');
  expect(await complete(second)).toBe('conflict');
  expect(a.node.organisation.state).toMatchObject({ status: 'active', seq: 1 });
});

test('a rotation that would undo a revocation made since it was prepared is refused', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const [key] = (await keysOf(a)) as [string];
  const { id, toSign } = await a.api.organisationRotate(input(rotateBody(key)), operator, never);
  await world.during(a.api.agentRevoke(input({ reason: 'left' }, { did: clerk }), operator, never));
  const body = { signatures: signatures(toSign, 'acme/rotation-1') };
  expect(await codeOf(a.api.operationComplete(input(body, { id }), operator, never))).toBe('conflict');
  expect(a.node.state.revocationsOf({ did: clerk })).toHaveLength(1);
});

test('a revocation asked for while keys are replaced survives', async () => {
  const a = await alone();
  const clerk = await employ(a, 'clerk');
  const [key] = (await keysOf(a)) as [string];
  const both = [
    codeOf(a.api.organisationRotate(input({ retire: [{ key, graceSeconds: null }] }), operator, never)),
    codeOf(a.api.agentRevoke(input({ reason: 'left' }, { did: clerk }), operator, never)),
  ];
  expect(await Promise.all(both)).toEqual(['ok', 'ok']);
  expect(a.node.state.revocationsOf({ did: clerk })).toHaveLength(1);
});

test('a deactivated organisation says so to whoever would change it', async () => {
  const a = await alone();
  const [key] = (await keysOf(a)) as [string];
  await world.during(a.api.organisationDeactivate(input({ confirm: a.did }), operator, never));
  expect(await codeOf(a.api.organisationRotate(input({ retire: [] }), operator, never))).toBe('did_deactivated');
  expect(await codeOf(a.api.organisationRecover(input(recoverBody(key)), operator, never))).toBe('did_deactivated');
  expect(await codeOf(a.api.organisationDeactivate(input({ confirm: a.did }), operator, never))).toBe(
    'did_deactivated',
  );
});

test('the daemon of a deactivated organisation goes on, and starts again', async () => {
  const a = await alone();
  await employ(a, 'clerk');
  await world.during(a.api.organisationDeactivate(input({ confirm: a.did }), operator, never));
  await world.clock.advance(130_000);
  await world.during(a.node.close());
  await a.network.close();
  const again = await world.open('acme', a.store);
  await world.clock.advance(130_000);
  expect((await again.api.status(input(undefined), operator, never)).organisation.status).toBe('deactivated');
});

test('an honest peer is not penalised because this side cannot sign', async () => {
  world = new NodeWorld();
  const [a, b] = [await world.open('acme'), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  world.mesh.onMessage = () => false;
  const asked = new Uint8Array(limits.NONCE_BYTES).fill(1);
  expect(await codeOf(a.api.organisationDeactivate(input({ confirm: a.did }), operator, never))).toBe('ok');
  // Before the news of it is out.
  const pull = b.node.sync.pullHeartbeats([a.did], a.network.peer, { nonce: asked });
  expect(await codeOf(pull)).toBe('key_missing');
  expect(a.network.penalties.get(b.network.peer)).toBeUndefined();
});

test('a recovery takes the organisation back from a thief: new keys, this node listed, agents as before', async () => {
  world = new NodeWorld();
  const [a, b] = [await world.open('acme'), await world.open('beta')];
  world.mesh.connect(a.network, b.network);
  await world.clock.advance(200);
  const clerk = await employ(a, 'clerk');
  const before = a.node.agents.agent(clerk).rootLink;
  const [key] = (await keysOf(a)) as [string];
  const { id, toSign } = await a.api.organisationRecover(input(recoverBody(key)), operator, never);
  const body = { signatures: signatures(toSign, 'acme/recovery-0', 'acme/recovery-1') };
  expect(await codeOf(a.api.operationComplete(input(body, { id }), operator, never))).toBe('ok');
  await world.clock.advance(6_000);
  const state = b.node.state.didState(a.did);
  expect(state).toMatchObject({ status: 'active', seq: 1, peers: [a.network.peer] });
  expect(await keysOf(a)).not.toContain(key);
  expect(b.node.sync.organisationOf(a.network.peer)).toBe(a.did);
  // The agents go on with root links that the new key signed.
  expect(a.node.agents.agent(clerk).rootLink).not.toBe(before);
});

test('a recovery from a fork takes no key that lay in the home before', async () => {
  const a = await alone();
  const [key] = (await keysOf(a)) as [string];
  const fork = await a.api.organisationRotate(input(rotateBody(key, 'thief')), operator, never);
  await world.during(a.api.organisationRotate(input({ retire: [{ key, graceSeconds: null }] }), operator, never));
  const [second] = (await keysOf(a)) as [string];
  // The thief's, which needs nobody's leave.
  const payload = Uint8Array.from(Buffer.from(fork.toSign[0]?.payload as string, 'base64url'));
  const sign = keyOf('acme/rotation-1').sign(signingInput('didop/v1', payload));
  a.node.pipeline.receive(assembleStatement(payload, [sign]).envelope, { via: 'pulled', peer: 'thief' });
  expect(a.node.organisation.state.status).toBe('frozen');
  expect(await codeOf(a.api.organisationRotate(input({ retire: [] }), operator, never))).toBe('did_forked');
  const { id, toSign } = await a.api.organisationRecover(input(recoverBody(key)), operator, never);
  const body = { signatures: signatures(toSign, 'acme/recovery-0', 'acme/recovery-1') };
  expect(await codeOf(a.api.operationComplete(input(body, { id }), operator, never))).toBe('ok');
  expect(a.node.organisation.state.status).toBe('active');
  expect(await keysOf(a)).not.toContain(second);
  expect(a.node.organisation.state.next.commitments).not.toContainEqual(digestOf(keyOf('acme/rotation-2').publicKey));
});
